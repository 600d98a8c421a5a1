"""The verb `interpolate-codes`: between images, in codes, latents and pixels (Figs 4, 14)."""

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import commands
from ddim_embed.methods.cache import embed_in_chunks
from experiments.autoencoder import encoded
from experiments.autoencoder.attribute_sections import CODE_INTERPOLATION
from experiments.toolkit import results, sources

OURS, DDIM, PIXELS = "ours", "DDIM", "cross-fade"
_SAMPLES, _FEW_SAMPLES, _RESAMPLES = 8, 2, 2000
# Pairs of images in the figure.
_PAIRS = 2


def run(verb):
    """Interpolates between pairs of images; writes strips, path lengths and their ratios."""
    config = verb.config
    generator, autoencoder = sources.load_generator(config), sources.load_autoencoder(config)
    if verb.files:
        pixels = commands.read_images(generator, verb.files)
        code = autoencoder.encode(pixels, encoded.METHOD, config.seed)
        of_ddim = de.embed(generator, pixels, encoded.METHOD, seed=config.seed)
    else:
        pixels = sources.load(sources.reported(config), "test", 2 * verb.ways)
        code = encoded.codes(config, autoencoder, pixels)
        of_ddim = embed_in_chunks(
            generator,
            pixels,
            encoded.METHOD,
            config.seed,
            chunk_size=40,
            folder=config.run_folder / "autoencode" / "DDIM-implicit-correction",
        )
    half = len(pixels) // 2
    ends = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    paths = {
        OURS: (autoencoder, "spherical", [code[end] for end in ends]),
        DDIM: (generator, "spherical", [of_ddim.latents[end] for end in ends]),
        PIXELS: (generator, "pixels", [of_ddim.latents[end] for end in ends]),
    }
    samples = _FEW_SAMPLES if config.smoke else _SAMPLES
    lengths, strips = {}, {}
    for name, (model, kind, (first, last)) in tqdm(
        paths.items(), desc="paths", disable=not config.progress
    ):
        length = de.path_length(model, first, last, kind, samples, seed=config.seed)
        lengths[name] = length.each
        few = slice(min(_PAIRS, half))
        strips[name] = de.interpolate(model, first[few], last[few], verb.frames, kind)
    contents = {
        "dataset": config.name,
        "pairs": half,
        "of_files": bool(verb.files),
        "mse": {
            OURS: results.estimate(code.embedding.mse),
            DDIM: results.estimate(of_ddim.mse),
        },
        "path_lengths": {name: results.estimate(each) for name, each in lengths.items()},
        "ratios": {
            f"{above} / {below}": ratio(lengths[above], lengths[below], config.seed)
            for above, below in ((DDIM, OURS), (PIXELS, OURS))
        },
        "options": verb.options,
        **results.provenance(config, verb.command, "pillow"),
    }

    def figures():
        rows = {
            f"{name}{' ' * i}": images[i].clip(0, 1)
            for i in range(min(_PAIRS, half))
            for name, images in reversed(strips.items())
        }
        return {"fig04_codes.png": de.image_grid([*rows.values()], [*rows])}

    CODE_INTERPOLATION.publish(verb.outputs, contents, figures)


def ratio(above, below, seed=0):
    """The ratio of two means over the same pairs, and the 95% interval of a bootstrap over pairs.

    Returns:
        A dict of `mean`, the ratio, and `low` and `high`, None for a single pair.
    """
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    found = {"mean": float(above.mean() / max(below.mean(), 1e-12)), "low": None, "high": None}
    if len(above) > 1:
        drawn = np.random.default_rng(seed).integers(len(above), size=(_RESAMPLES, len(above)))
        ratios = above[drawn].mean(axis=1) / below[drawn].mean(axis=1).clip(1e-12)
        low, high = np.quantile(ratios, (0.025, 0.975))
        found |= {"low": float(low), "high": float(high)}
    return found
