"""The verbs `report` and `sample`: tables, figures and a page, for all networks with weights."""

import time

import numpy as np
import scipy.fft
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.data import crop_padding
from ddim_embed.methods.cache import embed_in_chunks
from experiments.configuration import NETWORKS
from experiments.embedding.sections import REPORT
from experiments.toolkit import distances, pages, results, sources

# Images between two updates of a progress bar; a multiple of the batch that decoding uses.
_CHUNK = 256
# Images of Figs 1 and 2, which are decoded as if they were latents.
_FEW = 64
# Generated images of the paper's Table 2, and the stream of their latents.
_TABLE2_IMAGES = 1000
_TABLE2 = -2
# Borders of bands of spatial frequency, in half periods a pixel: from coarse structure to texture.
_BANDS = (1 / 8, 1 / 4, 1 / 2)


def report(verb):
    """Embeds test images with every network that has weights.

    Writes `report.json` and figures to the folder of results, and prints the tables.
    """
    started = time.perf_counter()
    config = verb.config
    generator = sources.load_generator(config)
    reported = sources.reported(config)
    pixels = sources.load(reported, "test", config.images)
    if len(pixels) < config.images:
        print(
            f"There are {len(pixels)} images, not {config.images}, in the {reported.source} data."
        )
    embedders = _load_embedders(config)

    num_generated = min(len(pixels), _TABLE2_IMAGES)
    # The bar counts decoded images: one per network and image, and those of Table 2.
    total = len(pixels) * len(embedders) + num_generated * (1 + ("unet" in embedders))
    with tqdm(total=total, desc="report", unit="image", disable=not config.progress) as bar:
        embeddings = {
            network: embed_in_chunks(
                generator, pixels, de.Network(network, embedder), callback=bar.update
            )
            for network, embedder in embedders.items()
        }
        # These images are not among the pairs of the networks' warm start.
        generated = _generate(generator, num_generated, config.seed, bar, stream=_TABLE2)[1]
        names = ("dataset", "generated")
        table2 = dict.fromkeys([*names, *(f"{name}_interval" for name in names), "bands"])
        of_generated = None
        if "unet" in embedders:
            method = de.Network("unet", embedders["unet"])
            of_generated = embed_in_chunks(generator, generated, method, callback=bar.update)
            table2["bands"] = {}
            for name, images, embedding in zip(
                names, (pixels, generated), (embeddings["unet"], of_generated), strict=True
            ):
                table2[name] = float(embedding.mse.mean())
                table2[f"{name}_interval"] = results.interval(embedding.mse)
                errors = (images - embedding.reconstruction.clip(0, 1))[:_TABLE2_IMAGES]
                table2["bands"][name] = by_frequency(crop_padding(errors, generator.padding))

    contents = {
        "dataset": config.name,
        "images": len(pixels),
        "table1": [
            _table1_row(config, generator, embedders[network], network, pixels, embedding)
            for network, embedding in embeddings.items()
        ],
        "table2": table2,
        "no_embeddings": _no_embeddings(generator, pixels[:_FEW], config.seed),
        "denoiser": _denoiser(generator, pixels, config.seed),
        "frechet": frechet_distances(config, pixels, generated, embeddings),
        **results.provenance(config, verb.command),
    }

    def figures():
        of_samples = None
        if of_generated is not None:
            first = [slice(0, config.shown)]
            of_samples = _examples(generated, of_generated, first, difference=True)
        return _figures(config, generator, pixels, embeddings) | {
            "samples.png": _samples(config, generated),
            "fig17_generated.png": of_samples,
        }

    REPORT.publish(verb.outputs, contents, figures)
    print(f"{time.perf_counter() - started:.0f} s")


def by_frequency(errors):
    """Returns the mean square of errors `(n, height, width, channels)` in each band of frequencies.

    The bands are those of `_BANDS`, the coarsest first; their sum is the mean square (Parseval).
    """
    power = scipy.fft.dctn(errors, axes=(1, 2), norm="ortho") ** 2
    across, along = (np.arange(size) / size for size in errors.shape[1:3])
    bands = np.digitize(np.hypot(across[:, None], along), _BANDS)
    of_frequencies = power.sum(axis=(0, 3), dtype=np.float64) / errors.size
    return np.bincount(bands.ravel(), of_frequencies.ravel(), len(_BANDS) + 1).tolist()


def frechet_distances(config, pixels, generated, embeddings):
    """Returns Frechet distances from the data, on features of the data set's own classifier.

    The distance depends on the number of images: all sets have the same size, and the distance
    between two sets of real images ("data") is what a perfect generator would reach. Each has the
    half width of a jackknife's interval beside it ("data_interval"), None for few images. None if
    there is no classifier, or fewer than two images for each set.
    """
    classifier = sources.load_classifier(config)
    if classifier is None:
        return None
    count = min(len(pixels) // 2, len(generated))
    if count < 2:
        return None
    real = classifier.features(pixels[:count])

    def distance(images):
        return distances.frechet(classifier.features(images[:count].clip(0, 1)), real)

    of_sets = {"generated": distance(generated), "data": distance(pixels[count:])}
    of_networks = {
        network: distance(embedding.reconstruction) for network, embedding in embeddings.items()
    }
    return {
        "images": count,
        **{name: found["mean"] for name, found in of_sets.items()},
        **{f"{name}_interval": found["interval"] for name, found in of_sets.items()},
        "reconstructed": {name: found["mean"] for name, found in of_networks.items()},
        "reconstructed_interval": {name: found["interval"] for name, found in of_networks.items()},
    }


def sample(verb):
    """Generates images; writes `samples.npz` (latents, pixels), `samples.png`, `samples.json`."""
    config = verb.config
    generator = de.load_generator(config.name, config.weights, config.num_steps)
    with tqdm(total=config.images, desc="sample", unit="image", disable=not config.progress) as bar:
        latents, pixels = _generate(generator, config.images, config.seed, bar)
    outputs = verb.outputs
    with outputs.replacing("samples.npz") as path:
        np.savez_compressed(path, latents=latents, pixels=pixels)
    pages.save_json(outputs, "samples.json", results.provenance(config, verb.command))
    pages.save_figures(outputs, {"samples.png": _samples(config, pixels)})
    print(f"{outputs / 'samples.png'} and samples.npz: {len(pixels)} images")


def _load_embedders(config):
    embedders = {}
    # The first call traces a graph, and the first batch of another size one for any size; neither
    # counts as time of an embedding.
    blank = np.zeros((de.Network.batch_size + 1, *config.image_shape), np.float32)
    for network in NETWORKS:
        with sources.left_out_without_weights(network):
            embedders[network] = de.load_embedder(config.name, network, config.weights)
            embedders[network].predict(blank, verbose=0)
    return embedders


def _generate(generator, count, seed, bar, stream=0):
    """Returns latents and the pixels that they decode to, clipped."""
    latents = generator.latents(count, seed, stream)
    parts = []
    for i in range(0, count, _CHUNK):
        parts.append(np.clip(generator.decode(latents[i : i + _CHUNK], precision="float32"), 0, 1))
        bar.update(len(parts[-1]))
    return latents, np.concatenate(parts)


def _table1_row(config, generator, embedder, network, pixels, embedding):
    measured = (pixels, embedding.reconstruction.clip(0, 1), generator.padding)
    return {
        "network": network,
        "parameters": embedder.count_params(),
        "mse": float(embedding.mse.mean()),
        "mse_interval": results.interval(embedding.mse),
        "paper_mse": config.paper_mse.get(network),
        "psnr": results.finite(metrics.psnr(*measured).mean()),
        "ssim": results.finite(metrics.ssim(*measured).mean()),
        "seconds_per_image": embedding.seconds / len(pixels),
    }


def _denoiser(generator, pixels, seed):
    errors = de.denoising_errors(generator, pixels[:_TABLE2_IMAGES], seed)
    return {
        "levels": [
            {
                "signal": rates.signal,
                "mse": float(each.mean()),
                "mse_interval": results.interval(each),
            }
            for rates, each in zip(errors.rates, errors.each, strict=True)
        ],
        "mean_image": errors.mean_image,
    }


def _no_embeddings(generator, pixels, seed):
    """Returns errors of the attempts of Figs 1 and 2."""
    errors = {}
    for name, latents in _attempts(generator, pixels, seed).items():
        decoded = generator.decode(latents).numpy()
        errors[name] = float(metrics.clipped_mse(pixels, decoded, generator.padding).mean())
    return errors


def _attempts(generator, pixels, seed):
    """Returns the latents of Figs 1 and 2: images x, x at the signal rate of t = 1, with noise."""
    images = generator.normalizer(pixels).numpy()
    rates = generator.grid[-1]
    faint = rates.signal * images
    # Not the seed of the samples, so that the noise is not theirs.
    noise = rates.noise * generator.latents(len(pixels), seed + 1)
    return {"x": images, "faint": faint, "noisy": faint + noise}


def _figures(config, generator, pixels, embeddings):
    """Returns the paper's figures by file name; None for those of networks without weights."""
    shown = pixels[: config.shown]
    names = ("fig03_embedding.png", "fig15_networks.png", "fig16_examples.png")
    attempts = _attempts(generator, shown, config.seed)
    x, faint, noisy = (np.clip(generator.decode(each), 0, 1) for each in attempts.values())
    faintness = f"{generator.grid[-1].signal:.2g} x"
    figures = dict.fromkeys(names) | {
        "fig01_images_as_latents.png": de.image_grid([shown, x], ["image x", "decode(x)"]),
        "fig02_faint_images_as_latents.png": de.image_grid(
            [shown, faint, noisy], ["image x", faintness, "with noise"]
        ),
    }
    if embeddings:
        rows = [np.clip(e.reconstruction[: config.shown], 0, 1) for e in embeddings.values()]
        figures["fig15_networks.png"] = de.image_grid([shown, *rows], ["image", *embeddings])
    if "unet" in embeddings:
        unet = embeddings["unet"]
        figures["fig03_embedding.png"] = _examples(pixels, unet, [slice(0, config.shown)])
        # Images after those of Figure 3, if there are more.
        starts = range(config.shown, min(3 * config.shown, len(pixels)), config.shown) or (0,)
        blocks = [slice(start, start + config.shown) for start in starts]
        figures["fig16_examples.png"] = _examples(pixels, unet, blocks, difference=True)
    return figures


def _examples(pixels, embedding, blocks, difference=False):
    rows, labels = [], []
    for block in blocks:
        reconstruction = np.clip(embedding.reconstruction[block], 0, 1)
        rows += [pixels[block], embedding.latents[block], reconstruction]
        labels += ["image", "latents", "decoded"]
        if difference:
            rows.append(np.abs(pixels[block] - reconstruction))
            labels.append("difference")
    return de.image_grid(rows, labels)


def _samples(config, pixels):
    """Shows at most as many rows as a row has images."""
    pixels = pixels[: config.shown**2]
    rows = [pixels[i : i + config.shown] for i in range(0, len(pixels), config.shown)]
    return de.image_grid(rows)
