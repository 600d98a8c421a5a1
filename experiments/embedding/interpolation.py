"""The verb `interpolate`: from one image to another, in latents and in pixels (Fig. 19)."""

import numpy as np
from PIL import Image
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.analysis import editing
from ddim_embed.data import crop_padding
from experiments.configuration import UsageError, require
from experiments.embedding import inputs
from experiments.toolkit import markup, page, results, sources

# Distances on the way that is shown, and on each of several.
_SAMPLES, _FEW_SAMPLES = 64, 8
# Among so many test images at least two unlike ones are looked for.
_LOOKED_AT = 16
# Milliseconds of a frame of the animation and of its ends, and pixels of its smaller side at least.
_FRAME, _PAUSE, _SIDE = 90, 700, 160


def interpolate(config, command, files=(), method="hybrid", frames=9, ways=16):
    """Interpolates between two images; writes `interpolate.json`, a strip and an animation.

    Args:
        config: an `Experiment`.
        command: what a user would type to repeat it.
        files: paths of two images; none for the first test image and the next of another class.
        method: name of the method that embeds them.
        frames: images on the way, both ends included.
        ways: between pairs of other test images, embedded by the U-Net, that are measured, too; 0
            for none. Not with files.

    Returns:
        What is in `interpolate.json`.

    Raises:
        UsageError: for another number of files, a coupled method, fewer than 2 frames, or more ways
            than there are images.
        FileNotFoundError: if a file cannot be read, or weights are missing.
        ConnectionError: if the data are not there and cannot be fetched.
    """
    if len(files) not in (0, 2):
        raise UsageError(f"`interpolate` takes two images, or none. Received: {len(files)}")
    require(frames >= 2, "frames", "at least 2", frames)
    require(ways >= 0, "ways", "at least 0", ways)
    chosen = inputs.configured(config, method)
    if isinstance(chosen, de.EDICT | de.BDIA):
        raise UsageError(f"--method must find single latents; those of {method} come in pairs.")
    generator = sources.load_generator(config)
    others = None
    if files:
        pixels = inputs.read(generator, files)
    else:
        loaded, labels = inputs.test_images(config, max(_LOOKED_AT, 2 + 2 * ways))
        both = _unlike(labels)
        pixels, others = loaded[both], np.delete(loaded, both, axis=0)[: 2 * ways]
    network = inputs.unet(config)

    total = 8 if ways and not files else 4
    with tqdm(total=total, desc="interpolate", disable=not config.progress) as bar:
        embedding = de.embed(generator, pixels, chosen, seed=config.seed)
        bar.update()
        ends = embedding.latents[:1], embedding.latents[1:]
        strips, shown = {}, {}
        for kind in editing.KINDS:
            strips[kind] = editing.interpolate(generator, *ends, frames, kind)[0]
            shown[kind] = smoothness(generator, strips[kind], network)
            samples = _FEW_SAMPLES if config.smoke else _SAMPLES
            shown[kind] |= _length(generator, ends, kind, samples, config.seed)
            bar.update()
        several = None
        if network is not None and others is not None and ways:
            latents = de.embed(generator, others, network).latents
            bar.update()
            several = {}
            for kind in editing.KINDS:
                several[kind] = _several(generator, latents, kind, config.seed, network)
                bar.update()

    contents = {
        "dataset": config.name,
        "method": method,
        "mse": embedding.mse.tolist(),
        "latents_std": embedding.latents_std.tolist(),
        "shown": shown,
        "ways": ways if several else 0,
        "several": several,
        **inputs.notes(config, command, files=files, method=method, frames=frames, ways=ways),
    }
    folder = config.result_folder
    results.save_json(folder / "interpolate.json", contents)
    results.save_figure(folder / "fig19_interpolation.png", _figure(ends, frames, strips))
    _save_animation(folder / "interpolation.gif", strips, generator.padding)
    _print(contents)
    print(f"The page is {page.write_page(folder)}")
    return contents


def _unlike(labels):
    """The indices of the first image, and of the next of another class if there is one."""
    differs = (labels != labels[0]).reshape(len(labels), -1).any(axis=1)
    return [0, int(differs.argmax()) or 1]


def smoothness(generator, strip, network=None):
    """How even the frames of one way are, and how near to images of the data.

    Args:
        generator: a `Generator`.
        strip: pixels `(frames, height, width, channels)`.
        network: a `Network`, or None.

    Returns:
        A dict: `steps`, LPIPS between neighbours; `largest_share`, of the largest step in the sum
        of all, which for an even way is one over their number; `network_mse`, by how much the
        network fails to embed each frame, or None: it has only learnt images.
    """
    steps = de.lpips(strip[:-1], strip[1:], generator.padding)
    return {
        "steps": steps.tolist(),
        "largest_share": float(steps.max() / max(steps.sum(), 1e-12)),
        "network_mse": (
            None if network is None else inputs.unlikeness(generator, strip, network).tolist()
        ),
    }


def _length(generator, ends, kind, samples, seed):
    found = editing.path_length(generator, *ends, kind, samples, seed=seed)
    return {"path_length": {"mean": found.mean, "interval": found.interval}}


def _several(generator, latents, kind, seed, network):
    """Means over pairs of images: the length of the way, and how unlike an image its middle is."""
    first, second = latents[0::2], latents[1::2]
    found = editing.path_length(generator, first, second, kind, _FEW_SAMPLES, seed=seed)
    middle = editing.interpolate(generator, first, second, 3, kind)[:, 1]
    return {
        "path_length": {"mean": found.mean, "interval": found.interval},
        "path_length_median": float(np.median(found.each)),
        "middle_network_mse": results.estimate(inputs.unlikeness(generator, middle, network)),
    }


def _figure(ends, frames, strips):
    shares = np.linspace(0, 1, frames)
    latents = {
        kind: np.concatenate([move(*ends, share) for share in shares])
        for kind, move in (("linear", editing.lerp), ("spherical", editing.slerp))
    }
    rows = {
        "cross-fade": strips["pixels"],
        "linear:\nlatents": latents["linear"],
        "decoded": strips["linear"],
        "spherical:\nlatents": latents["spherical"],
        "decoded ": strips["spherical"],
    }
    shown = [row if "latents" in name else np.clip(row, 0, 1) for name, row in rows.items()]
    return de.image_grid(shown, [*rows])


def _save_animation(path, strips, padding):
    """There and back: the cross-fade on the left, spherical on the right."""
    frames = np.concatenate(
        [crop_padding(strips[kind], padding) for kind in ("pixels", "spherical")], axis=2
    )
    scale = -(-_SIDE // min(frames.shape[1:3]))
    frames = np.rint(255 * np.clip(frames, 0, 1)).astype(np.uint8)
    frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    pictures = [Image.fromarray(f.squeeze(-1) if f.shape[-1] == 1 else f) for f in frames]
    pictures += pictures[-2:0:-1]
    pauses = [_PAUSE if i in (0, len(frames) - 1) else _FRAME for i in range(len(pictures))]
    with results.replacing(path) as temporary:
        pictures[0].save(
            temporary, save_all=True, append_images=pictures[1:], duration=pauses, loop=0
        )


def _print(contents):
    errors = ", ".join(f"{value:.6f}" for value in contents["mse"])
    print(f"\nEmbedded by {contents['method']}: mean squared errors {errors}")
    for name in ("shown", "several"):
        for kind, row in (contents[name] or {}).items():
            words = "this way" if name == "shown" else f"{contents['ways']} ways"
            print(f"{words:10}{kind:12}path length {markup.interval(row['path_length'], 2)}")
    print()
