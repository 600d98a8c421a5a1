"""The verbs `report` and `sample`: tables, figures and a page, with the weights there are."""

import time

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.methods.protocol import concatenate
from experiments.configuration import NETWORKS
from experiments.embedding import sections
from experiments.toolkit import markup, page, results, sources

# Images between two moves of a progress bar; a multiple of the batch that decoding uses.
_CHUNK = 256
# Images whose decoding is no embedding.
_FEW = 64
# The paper's Table 2 is of that many.
_TABLE2_IMAGES = 1000
# The stream of their latents.
_TABLE2 = -2


def report(config, command):
    """Embeds test images with every network that has weights, and writes what comes out.

    Writes `report.json`, figures and `index.html` to `config.result_folder`.

    Args:
        config: an `Experiment`.
        command: what a user would type to repeat it.

    Returns:
        The report, as in `report.json`.

    Raises:
        FileNotFoundError: if there is no generator.
        ConnectionError: if the data are not there and cannot be fetched.
    """
    started = time.perf_counter()
    generator = sources.load_generator(config)
    reported = sources.reported(config)
    pixels = sources.load(reported, "test", config.images)
    if len(pixels) < config.images:
        print(
            f"There are {len(pixels)} images, not {config.images}, in the {reported.source} data."
        )
    embedders = _load_embedders(config)

    num_generated = min(len(pixels), _TABLE2_IMAGES)
    # A unit of the bar is one decode of one image: each network's, and generating for Table 2.
    total = len(pixels) * len(embedders) + num_generated * (1 + ("unet" in embedders))
    with tqdm(total=total, desc="report", unit="image", disable=not config.progress) as bar:
        embeddings = {
            network: embed_in_parts(generator, pixels, de.Network(network, embedder), bar)
            for network, embedder in embedders.items()
        }
        # None of them is among the pairs that the networks' training began with.
        generated = _generate(generator, num_generated, config.seed, bar, stream=_TABLE2)[1]
        table2 = dict.fromkeys(("dataset", "generated", "dataset_interval", "generated_interval"))
        of_generated = None
        if "unet" in embedders:
            method = de.Network("unet", embedders["unet"])
            of_generated = embed_in_parts(generator, generated, method, bar)
            for name, embedding in (("dataset", embeddings["unet"]), ("generated", of_generated)):
                table2[name] = float(embedding.mse.mean())
                table2[f"{name}_interval"] = results.interval(embedding.mse)

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
        **results.provenance(config, command),
    }
    folder = config.result_folder
    figures = _figures(config, generator, pixels, embeddings) | {
        "samples.png": _samples(config, generated)
    }
    if of_generated is not None:
        figures["fig17_generated.png"] = _examples(
            generated, of_generated, [slice(0, config.shown)], difference=True
        )
    for stale in sections.REPORT.captions.keys() - figures.keys():
        (folder / stale).unlink(missing_ok=True)
    for name, figure in figures.items():
        results.save_figure(folder / name, figure)
    results.save_json(folder / "report.json", contents)
    index = page.write_page(folder)
    _print_tables(config, contents)
    print(f"{time.perf_counter() - started:.0f} s; the whole report is {index}")
    return contents


def frechet_distances(config, pixels, generated, embeddings):
    """How far sets of images are from the data, on features of the data set's own classifier.

    Distances of few images depend on how many there are: all sets here have the same size, and the
    distance between two sets of real images says what a perfect generator would reach.

    Args:
        config: an `Experiment`.
        pixels: test images.
        generated: generated ones, as many or fewer.
        embeddings: dict from network to the `Embedding` of the test images.

    Returns:
        Dict of "images", the size of the sets; distances from the first test images of
        "generated", of "data" (the next test images) and of "reconstructed" (per network). None
        where there is no classifier, or fewer than two images for each set.
    """
    classifier = sources.load_classifier(config)
    if classifier is None:
        return None
    count = min(len(pixels) // 2, len(generated))
    if count < 2:
        return None
    real = classifier.features(pixels[:count])

    def distance(images):
        return de.frechet_distance(real, classifier.features(images[:count]))

    return {
        "images": count,
        "generated": distance(generated),
        "data": distance(pixels[count:]),
        "reconstructed": {
            network: distance(embedding.reconstruction) for network, embedding in embeddings.items()
        },
    }


def sample(config, command=None):
    """Generates `config.images` images; writes `samples.npz` (latents, pixels) and `samples.png`.

    How they were made is in `samples.json`.

    Args:
        config: an `Experiment`.
        command: what a user would type to repeat it.

    Raises:
        FileNotFoundError: if there is no generator.
    """
    generator = de.load_generator(config.name, config.weights, config.num_steps)
    with tqdm(total=config.images, desc="sample", unit="image", disable=not config.progress) as bar:
        latents, pixels = _generate(generator, config.images, config.seed, bar)
    folder = config.result_folder
    with results.replacing(folder / "samples.npz") as path:
        np.savez_compressed(path, latents=latents, pixels=pixels)
    results.save_figure(folder / "samples.png", _samples(config, pixels))
    results.save_json(folder / "samples.json", results.provenance(config, command))
    print(f"{folder / 'samples.png'} and samples.npz: {len(pixels)} images")


def embed_in_parts(generator, pixels, method, bar, seed=0):
    """`de.embed`, with a progress bar that moves.

    Args:
        generator, pixels, method: as for `de.embed`; a configured method loads nothing twice.
        bar: a tqdm bar, moved by one per image.
        seed: as for `de.embed`; each part draws its own.

    Returns:
        An `Embedding` of all images.
    """
    parts = []
    for i in range(0, len(pixels), _CHUNK):
        parts.append(de.embed(generator, pixels[i : i + _CHUNK], method, seed=seed + i))
        bar.update(len(parts[-1].mse))
    return concatenate(parts)


def _load_embedders(config):
    embedders = {}
    for network in NETWORKS:
        try:
            embedders[network] = de.load_embedder(config.name, network, config.weights)
        except FileNotFoundError as error:
            print(f"Left out: {network}. {error}")
            continue
        # The first call builds a graph, and that with the first odd batch builds one for any
        # batch; neither is a part of an image's embedding.
        blank = np.zeros((de.Network.batch_size + 1, *config.image_shape), np.float32)
        embedders[network].predict(blank, verbose=0)
    return embedders


def _generate(generator, count, seed, bar, stream=0):
    """Latents and what they decode to, clipped: as images of a data set are."""
    latents = generator.latents(count, seed, stream)
    parts = []
    for i in range(0, count, _CHUNK):
        parts.append(np.clip(generator.decode(latents[i : i + _CHUNK], precision="float32"), 0, 1))
        bar.update(len(parts[-1]))
    return latents, np.concatenate(parts)


def _table1_row(config, generator, embedder, network, pixels, embedding):
    measured = (pixels, embedding.reconstruction, generator.padding)
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
    found = de.denoising_errors(generator, pixels[:_TABLE2_IMAGES], seed)
    return {
        "levels": [
            {"signal": rates.signal, "mse": float(mse)}
            for rates, mse in zip(found.rates, found.mse, strict=True)
        ],
        "mean_image": found.mean_image,
    }


def _no_embeddings(generator, pixels, seed):
    """Errors of Figs 1 and 2: images x, 0.02 x, and that with noise, taken for latents."""
    attempts = {"x": generator.normalizer(pixels).numpy()} | dict(
        zip(("faint", "noisy"), _faint(generator, pixels, seed), strict=True)
    )
    decoded = {name: generator.decode(latents).numpy() for name, latents in attempts.items()}
    return {
        name: float(metrics.mse(pixels, images, generator.padding).mean())
        for name, images in decoded.items()
    }


def _figures(config, generator, pixels, embeddings):
    """The paper's figures by file name; those of the `unet` only where there is one."""
    shown = pixels[: config.shown]
    figures = {
        "fig01_images_as_latents.png": _images_as_latents(generator, shown),
        "fig02_faint_images_as_latents.png": _faint_images_as_latents(
            generator, shown, config.seed
        ),
    }
    if embeddings:
        rows = [_displayed(e.reconstruction[: config.shown]) for e in embeddings.values()]
        figures["fig15_networks.png"] = de.image_grid([shown, *rows], ["image", *embeddings])
    if "unet" in embeddings:
        unet = embeddings["unet"]
        figures["fig03_embedding.png"] = _examples(pixels, unet, [slice(0, config.shown)])
        # Other images than those of Figure 3, if there are more.
        starts = range(config.shown, min(3 * config.shown, len(pixels)), config.shown) or (0,)
        blocks = [slice(start, start + config.shown) for start in starts]
        figures["fig16_examples.png"] = _examples(pixels, unet, blocks, difference=True)
    return figures


def _images_as_latents(generator, pixels):
    images = generator.normalizer(pixels).numpy()
    return de.image_grid([pixels, _displayed(generator.decode(images))], ["image x", "decode(x)"])


def _faint_images_as_latents(generator, pixels, seed):
    """The latents of Fig. 2: x as it is at t = 1, without the noise and with it."""
    rows = [pixels, *(_displayed(generator.decode(z)) for z in _faint(generator, pixels, seed))]
    return de.image_grid(rows, ["image x", f"{generator.grid[-1].signal:.2g} x", "with noise"])


def _faint(generator, pixels, seed):
    images = generator.normalizer(pixels).numpy()
    rates = generator.grid[-1]
    faint = rates.signal * images
    # Another seed than that of the samples, so that no image here is one of theirs.
    return faint, faint + rates.noise * generator.latents(len(pixels), seed + 1)


def _examples(pixels, embedding, blocks, difference=False):
    rows, labels = [], []
    for block in blocks:
        reconstruction = _displayed(embedding.reconstruction[block])
        rows += [pixels[block], embedding.latents[block], reconstruction]
        labels += ["image", "latents", "decoded"]
        if difference:
            rows.append(np.abs(pixels[block] - reconstruction))
            labels.append("difference")
    return de.image_grid(rows, labels)


def _samples(config, pixels):
    """At most as many rows as there are images in one."""
    pixels = pixels[: config.shown**2]
    rows = [pixels[i : i + config.shown] for i in range(0, len(pixels), config.shown)]
    return de.image_grid(rows)


def _displayed(pixels):
    return np.clip(pixels, 0, 1)


def _print_tables(config, contents):
    print(f"\nTable 1, {config.name}: mean squared error on {contents['images']} test images")
    print(
        f"{'':12}{'parameters':>12}{'ours':>10}{'paper':>10}{'psnr':>8}{'ssim':>8}{'ms/image':>10}"
    )
    for row in contents["table1"]:
        print(
            f"{row['network']:12}{row['parameters']:>12,}{markup.number(row['mse'], 5):>10}"
            f"{markup.number(row['paper_mse'], 5):>10}{markup.number(row['psnr'], 2):>8}"
            f"{markup.number(row['ssim'], 3):>8}{1000 * row['seconds_per_image']:>10.2f}"
        )
    print("\nTable 2: mean squared error of the unet")
    paper = config.paper_table2 or (None, None)
    for name, value in zip(("dataset", "generated"), paper, strict=True):
        mse = contents["table2"][name]
        print(f"{name:12}{markup.number(mse, 5):>22}{markup.number(value, 5):>10}")
    found = contents["denoiser"]
    errors = " ".join(markup.number(level["mse"], 3) for level in found["levels"])
    print(
        "\nError of the image that is predicted at each step, 1 the variance of the data\n"
        f"{errors}  (the mean image {markup.number(found['mean_image'], 3)})"
    )
    found = contents["frechet"]
    if found:
        print(
            f"\nFrechet distance on classifier features (no FID), {found['images']} images each\n"
            f"other images of the data {found['data']:9.3f}\n"
            f"generated images         {found['generated']:9.3f}"
        )
        for network, distance in found["reconstructed"].items():
            print(f"{f'reconstructed, {network}':25}{distance:9.3f}")
    print()
