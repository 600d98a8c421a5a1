"""The verb `embed`: latents and reconstructions of image files."""

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.data import crop_padding
from ddim_embed.store.atomic import replacing
from experiments.configuration import NETWORKS
from experiments.embedding import inputs
from experiments.embedding.reporting import embed_in_parts
from experiments.toolkit import results

COLUMNS = ("file", "reconstruction", "mse", "psnr", "ssim", "latents_std", "single_mse", "error")


def embed_files(config, files, method, folder=None, command=None):
    """Embeds image files; writes `latents.npz`, a PNG per image and `errors.csv` to a folder.

    `embed.json` holds the provenance. Coupled methods have a second array of latents, `partner`:
    reconstruction and error are those of the pair, `single_mse` that of the latents alone.

    A file that cannot be read is skipped, with the reason on stderr and in `errors.csv`.

    Args:
        config: an `Experiment`.
        files: paths of images.
        method: a name of `de.METHODS`.
        folder: folder to write to; None for `embed` in the experiment's folder of results.
        command: what a user types to repeat it.

    Returns:
        The rows of `errors.csv`, a list of dicts in the order of `files`.

    Raises:
        FileNotFoundError: if weights are missing, or none of the files can be read.
    """
    configured = _configured(config, method)
    folder = folder or config.result_folder / "embed"
    generator = de.load_generator(config.name, config.weights, config.num_steps)
    padding = generator.padding
    pixels, readable, problems = de.read_image_files(files, generator.image_shape, padding)
    for path, reason in problems:
        print(f"Skipped {path}: {reason}", file=sys.stderr)
    if not readable:
        raise FileNotFoundError(f"None of the {len(files)} files can be read as an image.")

    with tqdm(total=len(readable), desc="embed", unit="image", disable=len(readable) < 2) as bar:
        embedding = embed_in_parts(generator, pixels, configured, bar, config.seed)
    names = _unique_names(readable, folder)
    inner = crop_padding(embedding.reconstruction, padding)
    for name, reconstruction in zip(names, inner, strict=True):
        _save_png(folder / name, reconstruction)
    arrays = {"latents": embedding.latents, "files": np.array([*map(str, readable)])}
    if embedding.partner is not None:
        arrays["partner"] = embedding.partner
    with replacing(folder / "latents.npz") as path:
        np.savez_compressed(path, **arrays)
    rows = _rows(readable, names, pixels, embedding, padding) + [
        {"file": str(path), "error": reason} for path, reason in problems
    ]
    _save_csv(folder / "errors.csv", rows)
    results.save_json(
        folder / "embed.json", {"method": method, **results.provenance(config, command)}
    )
    print(
        f"{folder}: {len(readable)} of {len(files)} images, "
        f"mean squared error {embedding.mse.mean():.5f}"
    )
    return rows


def _configured(config, method):
    """Returns the method with its weights loaded, so that they are loaded once."""
    if method in NETWORKS:
        return de.Network(method, embedder=de.load_embedder(config.name, method, config.weights))
    return inputs.configured(config, method)


def _unique_names(paths, folder):
    """Returns `<stem>.png` for each path, numbered where names collide, also with input files.

    Names are compared without case, as on some file systems.
    """
    taken = {str(Path(path).resolve()).casefold() for path in paths}
    names = []
    for path in paths:
        number = 1
        name = f"{Path(path).stem}.png"
        while str((folder / name).resolve()).casefold() in taken:
            number += 1
            name = f"{Path(path).stem}-{number}.png"
        taken.add(str((folder / name).resolve()).casefold())
        names.append(name)
    return names


def _rows(paths, names, pixels, embedding, padding):
    columns = zip(
        map(str, paths),
        names,
        embedding.mse.tolist(),
        metrics.psnr(pixels, embedding.reconstruction, padding).tolist(),
        metrics.ssim(pixels, embedding.reconstruction, padding).tolist(),
        embedding.latents_std.tolist(),
        [""] * len(names) if embedding.single_mse is None else embedding.single_mse.tolist(),
        [""] * len(names),
        strict=True,
    )
    return [dict(zip(COLUMNS, values, strict=True)) for values in columns]


def _save_png(path, pixels):
    image = np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    with replacing(path) as temporary:
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(temporary)


def _save_csv(path, rows):
    # A file name may hold bytes that are not UTF-8; they are written unchanged.
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
