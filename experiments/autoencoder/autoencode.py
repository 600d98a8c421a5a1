"""The verb `autoencode`: images to codes and back, and what the semantic vector knows of them."""

import itertools

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.methods.cache import cache_key, embed_in_chunks
from ddim_embed.process import sampling
from ddim_embed.store.sealed import read_arrays, write_arrays
from experiments.autoencoder import autoencode_figures, baseline
from experiments.autoencoder.sections import AUTOENCODE
from experiments.toolkit import results, sources

# How latents are inferred, by name; `--lbfgs` adds one more.
INVERSIONS = {
    "naive": de.DDIMInversion(),
    "implicit": de.ImplicitInversion(),
    "implicit, correction": de.Hybrid("implicit", de.DefectCorrection()),
}
RANDOM, ONE_STEP = "random", "one step"
MEAN_IMAGE, PLAIN = "mean image", "plain autoencoder"
# Images that are embedded, and cached, at a time; it divides the default number.
_CHUNK = 40
# Images of Fig. 6, and of each kind in Figs 11 and 12.
_FEW, _MAPS = 64, 16
# The stream of random latents: not that of the latents that inversions start from.
STREAM = -3
# Shifts to the right, in parts of the width (Fig. 11).
_SHIFTS = (16, 8, 4)


def run(verb):
    """Encodes and decodes test images; writes `autoencode.json` and figures.

    Results are cached in `config.run_folder`, 40 images at a time; a killed run resumes.
    """
    config = verb.config
    generator, autoencoder = sources.load_generator(config), sources.load_autoencoder(config)
    pixels = sources.load(sources.reported(config), "test", config.images)
    semantic = autoencoder.encode(pixels).semantic
    models = {"DDIM": generator, "ours": autoencoder.generator.given(semantic)}
    inversions, embeddings, decoded = _inversions(verb.lbfgs, verb.penalty), {}, {}
    for (model, own), (name, method) in itertools.product(models.items(), inversions.items()):
        embeddings[model, name] = embed(config, own, pixels, f"{model}, {name}", method)
        decoded[model, name] = embeddings[model, name].reconstruction
    best = [*inversions][-1]
    codes = autoencoder.dims, int(np.prod(config.image_shape))
    random = _by_steps(config, models["ours"], pixels, RANDOM)[1]
    decoded["ours", RANDOM] = random
    decoded["ours", ONE_STEP] = autoencoder.predict(semantic, config.seed).numpy()
    decoded[MEAN_IMAGE, None] = np.broadcast_to(pixels.mean(axis=0), pixels.shape)
    if verb.baseline_steps:
        decoded[PLAIN, None] = baseline.reconstruct(
            config, verb.baseline_steps, autoencoder, pixels
        )
    padding = generator.padding
    varied, variations = variation(autoencoder, pixels[: config.shown], verb.members, config.seed)
    best_latents = {model: embeddings[model, best].latents for model in models}
    paths, predictions = predicted(models, best_latents, pixels, _FEW)
    finest = autoencoder.with_steps(max(verb.steps))
    mapped, noise_maps = unfamiliar(config, finest, pixels[:_MAPS], other_images(config, _MAPS))
    contents = {
        "dataset": config.name,
        "images": len(pixels),
        "num_steps": config.num_steps,
        "semantic_dims": autoencoder.dims,
        "best": best,
        "table1": [
            row(key, pixels, images, padding, codes, embeddings.get(key), config.num_steps)
            for key, images in decoded.items()
        ],
        "table2": _table2(verb, models, pixels, padding),
        "collapse": collapse(generator, autoencoder, semantic, pixels, config.seed),
        "predictions": predictions,
        "variations": variations,
        "noise_maps": noise_maps,
        "options": verb.options,
        **results.provenance(config, verb.command),
    }

    def figures():
        shown = {key: images[: config.shown] for key, images in decoded.items()}
        return {
            "reconstructions.png": autoencode_figures.reconstructions(
                pixels[: config.shown], shown, best
            ),
            "fig03_variations.png": autoencode_figures.variations(
                pixels[: config.shown], shown["ours", best], varied
            ),
            "fig06_predicted.png": autoencode_figures.predicted(pixels, paths),
            "fig11_shifted.png": autoencode_figures.noise_maps(mapped, "shifted"),
            "fig12_other_data.png": autoencode_figures.noise_maps(mapped, "other"),
            "autoencode.png": autoencode_figures.curves(contents),
        }

    AUTOENCODE.publish(verb.outputs, contents, figures)


def _inversions(lbfgs, penalty=0.0):
    if not lbfgs:
        return INVERSIONS
    # With a penalty from the less extreme latents, those that were not corrected.
    name = "implicit" if penalty else [*INVERSIONS][-1]
    method = de.Hybrid(INVERSIONS[name], de.LBFGS(num_steps=lbfgs, penalty=penalty))
    return INVERSIONS | {f"{name}, lbfgs" + f" with penalty {penalty:g}" * bool(penalty): method}


def embed(config, generator, pixels, name, method):
    """Embeds images in chunks that are cached under a name; shows its progress."""
    folder = config.run_folder / "autoencode" / name.replace(", ", "-")
    with tqdm(total=len(pixels), desc=name, unit="image", disable=not config.progress) as bar:
        return embed_in_chunks(
            generator,
            pixels,
            method,
            config.seed,
            chunk_size=_CHUNK,
            folder=folder,
            callback=bar.update,
        )


def measured(pixels, decoded, padding=0):
    """Table 1's errors of decoded images, clipped: estimates by name.

    "ssim" has windows within the image, "padded_ssim" those of the published code.
    """
    pair = pixels, np.clip(decoded, 0, 1), padding
    values = {
        "ssim": metrics.ssim(*pair),
        "padded_ssim": metrics.ssim(*pair, zero_padded=True),
        "lpips": de.lpips(*pair),
        "mse": metrics.mse(*pair),
    }
    return {name: results.estimate(each) for name, each in values.items()}


def row(key, pixels, decoded, padding, codes, embedding, num_steps):
    """A row of Table 1.

    Args:
        key: model, and how it has its latents.
        pixels, decoded, padding: as for `measured`.
        codes: lengths of the semantic vector and of the latents.
        embedding: the `Embedding` of inferred latents, or None.
        num_steps: evaluations of a decode.
    """
    model, latents = key
    length = {"DDIM": 0, MEAN_IMAGE: 0}.get(model, codes[0])
    evaluations = {RANDOM: num_steps, ONE_STEP: 1}.get(latents, 0)
    if embedding is not None:
        length, evaluations = length + codes[1], num_steps
    return {
        "model": model,
        "latents": latents,
        "code": length,
        **measured(pixels, decoded, padding),
        "encoding": 0.0 if embedding is None else float(embedding.evaluations.mean()),
        "decoding": evaluations,
        "latents_std": None if embedding is None else results.estimate(embedding.latents_std),
    }


def decode(generator, latents):
    """`generator.decode` in float32, by one graph for all steps.

    That of `Generator.decode` has a copy of the network for each: of a hundred, minutes to trace.
    """
    denoise = generator.denoiser("float32").compiled
    sampler = generator.schedule, latents, generator.num_steps, generator.last_step
    return generator.normalizer.inverse(sampling.sample(denoise, *sampler)).numpy()


def naive(generator, pixels):
    """The latents of naive inversion."""
    return INVERSIONS["naive"].solve(generator, pixels, None, lambda: None).latents


def _by_steps(config, generator, pixels, name):
    """Latents, by naive inversion or random, and what they decode to; cached by chunks."""
    num_steps, parts = generator.num_steps, []
    folder = config.run_folder / "autoencode" / f"{name}-{num_steps}-steps".replace(", ", "-")
    random = name == RANDOM
    latents = generator.latents(len(pixels), config.seed, STREAM) if random else None
    words = f"{name}, {num_steps} steps"
    with tqdm(total=len(pixels), desc=words, unit="image", disable=not config.progress) as bar:
        for start in range(0, len(pixels), _CHUNK):
            part = slice(start, start + _CHUNK)
            own, given = generator.take(part), latents[part] if random else None
            key = cache_key(own, pixels[part], INVERSIONS["naive"], config.seed, given)
            path = folder / f"{start}.npz"
            arrays = read_arrays(path, f"by steps {key}")
            if arrays is None:
                given = given if random else naive(own, pixels[part])
                arrays = {"latents": given, "decoded": decode(own, given)}
                write_arrays(path, f"by steps {key}", **arrays)
            parts.append(arrays)
            bar.update(len(arrays["decoded"]))
    return [np.concatenate([part[name] for part in parts]) for name in ("latents", "decoded")]


def _table2(verb, models, pixels, padding):
    """Rows of Table 2: naive inversion there and back, and random latents, by number of steps.

    "gain" is by how much the error of each image is below that of DDIM with as many steps.
    """
    rows, ddim = [], None
    for num_steps in verb.steps:
        for model, name in (("DDIM", "DDIM"), ("ours", "ours"), ("ours", RANDOM)):
            own = models[model].with_steps(num_steps)
            latents, decoded = _by_steps(verb.config, own, pixels, name)
            errors = metrics.mse(pixels, decoded.clip(0, 1), padding)
            ddim = errors if name == "DDIM" else ddim
            rows.append(
                {
                    "model": "ours, random latents" if name == RANDOM else name,
                    "num_steps": num_steps,
                    **measured(pixels, decoded, padding),
                    "gain": results.estimate(ddim - errors),
                    "latents_std": results.estimate(latents.std(axis=(1, 2, 3))),
                }
            )
    return rows


def collapse(generator, autoencoder, semantic, pixels, seed=0):
    """Whether the decoder uses the vector: errors of predicted images at each noise level.

    With an image's own vector, with that of another image, and of the unconditional generator, all
    with the same noise; 1 is the variance of the data's pixels.

    Returns:
        A dict of `mean_image`, the error of the mean image, and `levels`, a list from t = 1 on of
        dicts: the `signal` rate; estimates of `own`, `other` and `unconditional`; and of the
        `gain`, other - own of each image.
    """
    decoder = autoencoder.generator
    own, other, unconditional = (
        de.denoising_errors(each, pixels, seed)
        for each in (
            decoder.given(semantic), decoder.given(np.roll(semantic, 1, axis=0)), generator,
        )
    )  # fmt: skip
    levels = [
        {"signal": rates.signal}
        | {
            name: results.estimate(errors)
            for name, errors in (
                ("own", mine), ("other", others), ("unconditional", none), ("gain", others - mine),
            )
        }
        for rates, mine, others, none in zip(
            own.rates, own.each, other.each, unconditional.each, strict=True
        )
    ]  # fmt: skip
    return {"mean_image": own.mean_image, "levels": levels}


def variation(autoencoder, pixels, members, seed=0):
    """Decodes each vector with the same random latents (Figs 3 and 10).

    Returns:
        Pixels `(n, members, height, width, channels)`, clipped, and a dict: estimates over images
        of the deviation of a pixel as the latents vary, `of_latents`, and over latents as the
        vectors vary, `of_vectors`; and of the errors of a single image, `single_mse`, and of the
        mean of all members, `mean_mse`.
    """
    semantic = autoencoder.encode(pixels).semantic
    latents = autoencoder.generator.latents(members, seed, STREAM - 1)
    decoded = np.stack(
        [
            decode(autoencoder.generator.given(np.repeat(one[None], members, axis=0)), latents)
            for one in semantic
        ]
    ).clip(0, 1)
    padding = autoencoder.generator.padding
    window = slice(padding, -padding or None)
    inner = decoded[:, :, window, window]

    def deviation(axis):
        variances = inner.var(axis=axis, ddof=min(1, inner.shape[axis] - 1))
        return results.estimate(np.sqrt(variances.mean(axis=(1, 2, 3))))

    singles = [metrics.mse(pixels, decoded[:, j], padding) for j in range(members)]
    return decoded, {
        "images": len(pixels),
        "members": members,
        "of_latents": deviation(1),
        "of_vectors": deviation(0),
        "single_mse": results.estimate(np.mean(singles, axis=0)),
        "mean_mse": results.estimate(metrics.mse(pixels, decoded.mean(axis=1), padding)),
    }


def predicted(models, latents, pixels, count):
    """The images predicted at each step, on the way from inferred latents (Fig. 6).

    Args:
        models: name -> generator of `pixels`.
        latents: name -> the latents of `pixels`.
        pixels: `(n, height, width, channels)`.
        count: images at most.

    Returns:
        Dict from a model to pixels `(num_steps, n, height, width, channels)`, not clipped, and a
        list from t = 1 on of dicts: the `signal` rate; an estimate of the error for each model; and
        of the `gain` of the last one, by how much the error of each image is below the first one's.
    """
    some, paths, errors = slice(0, count), {}, {}
    for name, generator in models.items():
        own, steps = generator.take(some), []
        sampling.sample(
            own.denoiser("float32").compiled,
            own.schedule,
            latents[name][some],
            own.num_steps,
            own.last_step,
            callback=steps.append,
        )
        inverse = own.normalizer.inverse
        paths[name] = np.stack([inverse(step.parts.pred_images).numpy() for step in steps])
        errors[name] = np.stack(
            [metrics.clipped_mse(pixels[some], images, own.padding) for images in paths[name]]
        )
    first, *_, last = [*errors.values()]
    errors["gain"] = first - last
    return paths, [
        {"signal": step.rates.signal}
        | {name: results.estimate(each[index]) for name, each in errors.items()}
        for index, step in enumerate(steps)
    ]


def other_images(config, count):
    """Images that the autoencoder was not made for: those of a bundled sample, resized."""
    name = "mnist" if config.data == "fashion_mnist" else "fashion_mnist"
    return de.load_images(
        name,
        "test",
        image_size=config.image_size,
        source="sample",
        limit=count,
        channels=config.channels,
    )[0]


def unfamiliar(config, autoencoder, pixels, other):
    """The latents that naive inversion gives images beyond the data (Figs 11 and 12).

    Args:
        config: the `Experiment`.
        autoencoder: an `Autoencoder`.
        pixels: its own images; shifted to the right, where the left column is repeated.
        other: images of other data.

    Returns:
        Dict from a name to (pixels, latents, reconstruction), and a list of dicts: `images`, the
        name; estimates of the `mse`, of the deviation of latents, and of the `correlation` of
        horizontal neighbours, which is 0 in Gaussian latents.
    """
    width = pixels.shape[2]
    sets = {"own": pixels}
    for shift in sorted({max(1, width // part) for part in _SHIFTS}):
        columns = np.maximum(np.arange(width) - shift, 0)
        sets[f"shifted by {shift}"] = pixels[:, :, columns]
    sets["other data"] = other
    mapped, rows = {}, []
    for name, images in sets.items():
        own = autoencoder.generator.given(autoencoder.encode(images).semantic)
        latents, decoded = _by_steps(config, own, images, f"ours, {name}")
        mapped[name] = images, latents, decoded
        rows.append(
            {
                "images": name,
                "mse": results.estimate(metrics.clipped_mse(images, decoded, own.padding)),
                "latents_std": results.estimate(latents.std(axis=(1, 2, 3))),
                "correlation": results.estimate(neighbour_correlation(latents)),
            }
        )
    return mapped, rows


def neighbour_correlation(latents):
    """The correlation of horizontally adjacent values of each image's latents, `(n,)`."""
    centred = latents - latents.mean(axis=(1, 2), keepdims=True)
    left, right = centred[:, :, :-1], centred[:, :, 1:]
    products, squares = left * right, (left**2 + right**2) / 2
    return products.mean(axis=(1, 2, 3)) / squares.mean(axis=(1, 2, 3)).clip(1e-12)
