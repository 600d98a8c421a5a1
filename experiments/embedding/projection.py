"""The verb `project`: edited images, projected to the nearest generated ones (Figs. 4, 5)."""

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import commands, metrics
from experiments.embedding import inputs
from experiments.embedding.sections import PROJECTION, PROJECTION_OF_FILES
from experiments.toolkit import results, sources
from experiments.toolkit.command_line import UsageError

# Images in a row of a figure, at most.
_SHOWN = 64
# Lines that are drawn across each test image, corners of a line, and its width over the image's.
_LINES, _CORNERS, _WIDTH = 2, 3, 0.09


def run(verb):
    """Projects a user's images, or test images with lines drawn on them.

    Writes `project.json` and `fig05_projection.png`, or for a user's images `project_files.json`
    and `fig04_projection.png`.
    """
    config, files, mask = verb.config, verb.files, verb.mask
    method = inputs.configured(config, verb.method)
    if mask is not None and not method.takes_mask:
        raise UsageError(f"--method must be one that takes a mask. Received: {verb.method}")
    generator = sources.load_generator(config)
    original, free = None, None
    if files:
        edited = commands.read_images(generator, files)
        if mask is not None:
            free = commands.read_mask(generator, mask, files[0])
    else:
        original, _ = inputs.test_images(config, config.shown)
        edited, free = draw(original, generator.padding, config.seed)

    network = inputs.unet(config)
    runs = {} if network is None else {"network": (network, None)}
    runs["whole"] = (method, None)
    if free is not None and method.takes_mask:
        runs["masked"] = (method, free)
    embeddings = {
        name: de.project(generator, edited, way, region, config.seed)
        for name, (way, region) in tqdm(runs.items(), desc="project", disable=not config.progress)
    }

    contents = {
        "dataset": config.name,
        "images": len(edited),
        "free": None if free is None else float(free.mean()),
        "method": verb.method,
        "projections": [
            measure(generator, name, edited, free, original, embedding)
            for name, embedding in embeddings.items()
        ],
    }
    if original is not None:
        contents["edit"] = _under_mask(generator, edited, free, original)
    if network is not None:
        images = {"edited": edited}
        images |= {name: embedding.reconstruction for name, embedding in embeddings.items()}
        contents["network_mse"] = {
            name: results.estimate(inputs.unlikeness(generator, pixels, network))
            for name, pixels in images.items()
        }
    contents |= inputs.provenance(verb)
    section, name = (PROJECTION_OF_FILES, "fig04") if files else (PROJECTION, "fig05")

    def figures():
        drawn = _figure(original, edited, free, embeddings, verb.method)
        return {f"{name}_projection.png": drawn}

    section.publish(verb.outputs, contents, figures)


def draw(pixels, padding, seed):
    """Draws random lines across images: white, black or grey, or on colour images of any colour.

    Returns the pixels with lines, and bool `(n, height, width)`, True where there are lines.
    """
    from PIL import Image, ImageDraw

    count, height, width, channels = pixels.shape
    inner = (width - 2 * padding, height - 2 * padding)
    rng = np.random.default_rng(seed)
    free = np.zeros((count, height, width), bool)
    edited = pixels.copy()
    for i in range(count):
        picture = Image.new("1", inner)
        for _ in range(_LINES):
            corners = rng.uniform(0.1, 0.9, (_CORNERS, 2)) * inner
            points = [tuple(corner) for corner in corners]
            thick = max(1, round(_WIDTH * min(inner)))
            ImageDraw.Draw(picture).line(points, fill=1, width=thick, joint="curve")
        free[i, padding : height - padding, padding : width - padding] = np.asarray(picture)
        colour = rng.uniform(size=channels) if channels > 1 else np.array([i % 3 / 2])
        edited[i][free[i]] = colour
    return edited, free


def measure(generator, name, edited, free, original, embedding):
    """Returns the results of one projection, with 95% intervals over images: a dict.

    `free` is True where images were edited, and `original` their pixels before; both may be None.
    """
    decoded = embedding.reconstruction.clip(0, 1)
    held = None if free is None else np.repeat(~free[..., None], edited.shape[-1], 3)
    row = {
        "name": name,
        "held_mse": results.estimate(metrics.mse(edited, decoded, generator.padding, held)),
        "latents_std": results.estimate(embedding.latents_std),
        "evaluations": float(embedding.evaluations.mean()),
        "seconds_per_image": embedding.seconds / len(edited),
    }
    if original is not None:
        row |= _under_mask(generator, decoded, free, original)
    return row


def _under_mask(generator, pixels, free, original):
    """Returns errors from the images before they were edited."""
    drawn = np.repeat(free[..., None], original.shape[-1], 3)
    return {
        "free_mse": results.estimate(metrics.mse(original, pixels, generator.padding, drawn)),
        "lpips": results.estimate(de.lpips(original, pixels, generator.padding)),
    }


def _figure(original, edited, free, embeddings, method):
    rows = {} if original is None else {"original": original}
    rows["edited"] = edited
    if free is not None:
        rows["free"] = free[..., None].astype(np.float32)
    words = {"network": "unet", "whole": method, "masked": f"{method},\nmask"}
    rows |= {words[name]: np.clip(e.reconstruction, 0, 1) for name, e in embeddings.items()}
    return de.image_grid([row[:_SHOWN] for row in rows.values()], [*rows])
