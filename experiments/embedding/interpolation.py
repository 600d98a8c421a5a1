"""The verb `interpolate`: between two images, in latents and in pixels (Fig. 19)."""

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import commands
from ddim_embed.analysis import interpolation
from ddim_embed.data import crop_padding
from experiments.embedding import inputs
from experiments.embedding.sections import INTERPOLATION
from experiments.toolkit import results, sources

# Samples of the path length of the interpolation that is shown, and of each of several.
_SAMPLES, _FEW_SAMPLES = 64, 8
# Frames that a figure shows, at most.
_FRAMES = 64
# Number of test images among which two of different classes are searched, at least.
_CANDIDATES = 16


def run(verb):
    """Interpolates between two images; writes `interpolate.json`, a strip and an animation."""
    config, files, frames, ways = verb.config, verb.files, verb.frames, verb.ways
    method = inputs.configured(config, verb.method)
    generator = sources.load_generator(config)
    others = None
    if files:
        pixels = commands.read_images(generator, files)
    else:
        loaded, labels = inputs.test_images(config, max(_CANDIDATES, 2 + 2 * ways))
        both = _unlike(labels)
        pixels, others = loaded[both], np.delete(loaded, both, axis=0)[: 2 * ways]
    network = inputs.unet(config)

    total = 8 if ways and not files else 4
    with tqdm(total=total, desc="interpolate", disable=not config.progress) as bar:
        embedding = de.embed(generator, pixels, method, seed=config.seed)
        bar.update()
        ends = embedding.latents[:1], embedding.latents[1:]
        strips, shown = {}, {}
        for kind in interpolation.KINDS:
            strips[kind] = interpolation.interpolate(generator, *ends, frames, kind)[0]
            shown[kind] = smoothness(generator, strips[kind], network)
            samples = _FEW_SAMPLES if config.smoke else _SAMPLES
            length = _path_length(generator, *ends, kind, samples, config.seed)
            shown[kind]["path_length"] = length["path_length"]
            bar.update()
        several = None
        if network is not None and others is not None and ways:
            latents = de.embed(generator, others, network).latents
            bar.update()
            several, pairs = {}, (latents[0::2], latents[1::2])
            for kind in interpolation.KINDS:
                middle = interpolation.interpolate(generator, *pairs, 3, kind)[:, 1]
                error = results.estimate(inputs.unlikeness(generator, middle, network))
                several[kind] = _path_length(generator, *pairs, kind, _FEW_SAMPLES, config.seed)
                several[kind]["middle_network_mse"] = error
                bar.update()

    contents = {
        "dataset": config.name,
        "method": verb.method,
        "mse": embedding.mse.tolist(),
        "latents_std": embedding.latents_std.tolist(),
        "shown": shown,
        "ways": ways if several else 0,
        "several": several,
        **inputs.provenance(verb),
    }
    INTERPOLATION.publish(
        verb.outputs,
        contents,
        lambda: {"fig19_interpolation.png": _figure(ends, frames, strips)},
    )
    sides = [crop_padding(strips[kind], generator.padding) for kind in ("pixels", "spherical")]
    commands.save_animation(verb.outputs, "interpolation.gif", sides)


def _unlike(labels):
    """Returns the indices of the first image and of the next one of another class, if any."""
    differs = (labels != labels[0]).reshape(len(labels), -1).any(axis=1)
    return [0, int(differs.argmax()) or 1]


def smoothness(generator, strip, network=None):
    """Returns how evenly an interpolation proceeds, and how well a network embeds its frames.

    The dict has `steps`, LPIPS between neighbours; `largest_share`, the largest step over the sum
    of all; and `network_mse` of each frame, or None without a network.
    """
    shown = strip.clip(0, 1)
    steps = de.lpips(shown[:-1], shown[1:], generator.padding)
    return {
        "steps": steps.tolist(),
        "largest_share": float(steps.max() / max(steps.sum(), 1e-12)),
        "network_mse": (
            None if network is None else inputs.unlikeness(generator, strip, network).tolist()
        ),
    }


def _path_length(generator, first, second, kind, samples, seed):
    length = interpolation.path_length(generator, first, second, kind, samples, seed=seed)
    return {
        "path_length": {"mean": length.mean, "interval": length.interval},
        "path_length_median": float(np.median(length.each)),
    }


def _figure(ends, frames, strips):
    chosen = np.unique(np.linspace(0, frames - 1, min(frames, _FRAMES)).round().astype(int))
    shares = np.linspace(0, 1, frames)[chosen]
    latents = {
        kind: np.concatenate([move(*ends, share) for share in shares])
        for kind, move in (("linear", interpolation.lerp), ("spherical", interpolation.slerp))
    }
    rows = {
        "cross-fade": strips["pixels"][chosen],
        "linear:\nlatents": latents["linear"],
        "decoded": strips["linear"][chosen],
        "spherical:\nlatents": latents["spherical"],
        "decoded ": strips["spherical"][chosen],
    }
    shown = [row if "latents" in name else np.clip(row, 0, 1) for name, row in rows.items()]
    return de.image_grid(shown, [*rows])
