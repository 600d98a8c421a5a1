"""The verb `project`: edited images, taken to the nearest that the generator makes (Figs. 4, 5)."""

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from experiments.configuration import UsageError
from experiments.embedding import inputs
from experiments.toolkit import markup, page, results, sources

# Lines that are drawn across each test image, corners of each, and their width as a share of the
# image's.
_LINES, _CORNERS, _WIDTH = 2, 3, 0.09


def project(config, command, files=(), mask=None, method="hybrid"):
    """Projects a user's images, or test images with lines drawn on them.

    Writes the page, and `project.json` and `fig05_projection.png`, or of a user's images
    `project_files.json` and `fig04_projection.png`.

    Args:
        config: an `Experiment`; `shown` test images are taken if there is no file.
        command: what a user would type to repeat it.
        files: paths of images, or none.
        mask: path of a picture of the size of the one image, white where it was edited, or None.
        method: name of a method; with a mask one that takes it.

    Returns:
        What is in `project.json`.

    Raises:
        UsageError: for a method that takes no mask, or a mask that does not fit.
        FileNotFoundError: if a file cannot be read, or weights are missing.
        ConnectionError: if the data are not there and cannot be fetched.
    """
    chosen = inputs.configured(config, method)
    if mask is not None and len(files) != 1:
        raise UsageError(
            f"--mask belongs to one image: project FILE --mask FILE. Received images: {len(files)}"
        )
    if mask is not None and not chosen.takes_mask:
        raise UsageError(f"--method must be one that takes a mask. Received: {method}")
    generator = sources.load_generator(config)
    original, free = None, None
    if files:
        edited = inputs.read(generator, files)
        if mask is not None:
            free = inputs.read_mask(generator, mask, files[0])
    else:
        original, _ = inputs.test_images(config, config.shown)
        edited, free = draw(original, generator.padding, config.seed)

    network = inputs.unet(config)
    runs = {} if network is None else {"network": (network, None)}
    runs["whole"] = (chosen, None)
    if free is not None and chosen.takes_mask:
        runs["masked"] = (chosen, free)
    found = {
        name: de.project(generator, edited, way, region, config.seed)
        for name, (way, region) in tqdm(runs.items(), desc="project", disable=not config.progress)
    }

    contents = {
        "dataset": config.name,
        "images": len(edited),
        "free": None if free is None else float(free.mean()),
        "method": method,
        "projections": [
            measure(generator, name, edited, free, original, embedding)
            for name, embedding in found.items()
        ],
    }
    if original is not None:
        contents["edit"] = _under_mask(generator, edited, free, original)
    if network is not None:
        seen = [("edited", edited)]
        seen += [(name, embedding.reconstruction) for name, embedding in found.items()]
        contents["network_mse"] = {
            name: results.estimate(inputs.unlikeness(generator, pixels, network))
            for name, pixels in seen
        }
    contents |= inputs.notes(config, command, files=files, mask=mask, method=method)
    folder = config.result_folder
    file, figure = (
        ("project_files.json", "fig04_projection.png")
        if files
        else ("project.json", "fig05_projection.png")
    )
    results.save_json(folder / file, contents)
    results.save_figure(folder / figure, _figure(original, edited, free, found, method))
    _print(contents)
    print(f"The page is {page.write_page(folder)}")
    return contents


def draw(pixels, padding, seed):
    """Draws lines across images, others on each: white, black or grey, or of any colour.

    Args:
        pixels: `(n, height, width, channels)`.
        padding: rows and columns at each border that are left alone.
        seed: integer; the lines depend on it alone.

    Returns:
        The pixels with lines; bool `(n, height, width)`, True where there are lines.
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
    """What is reported of one way to project: numbers with 95% intervals over images.

    Args:
        generator: a `Generator`.
        name: of the way.
        edited, free, original: images, their masks or None, and what they were before or None.
        embedding: an `Embedding` of the edited images.
    """
    decoded = embedding.reconstruction
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
    """How near images are to what they were before they were edited."""
    drawn = np.repeat(free[..., None], original.shape[-1], 3)
    return {
        "free_mse": results.estimate(metrics.mse(original, pixels, generator.padding, drawn)),
        "lpips": results.estimate(de.lpips(original, pixels, generator.padding)),
    }


def _figure(original, edited, free, found, method):
    rows = {} if original is None else {"original": original}
    rows["edited"] = edited
    if free is not None:
        rows["free"] = free[..., None].astype(np.float32)
    words = {"network": "unet", "whole": method, "masked": f"{method},\nmask"}
    rows |= {words[name]: np.clip(e.reconstruction, 0, 1) for name, e in found.items()}
    return de.image_grid([*rows.values()], [*rows])


def _print(contents):
    print(f"\nProjections of {contents['images']} images by {contents['method']}")
    columns = {"held_mse": 6, "free_mse": 4, "lpips": 4, "latents_std": 3}
    print(f"{'':12}" + "".join(f"{key.replace('_', ' '):>22}" for key in columns))
    for row in contents["projections"]:
        cells = [markup.interval(row.get(key), digits) for key, digits in columns.items()]
        print(f"{row['name']:12}" + "".join(f"{cell:>22}" for cell in cells))
    print()
