"""Figures as matplotlib `Figure` objects: nothing is shown, no global state is touched."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ddim_embed import arguments
from ddim_embed.memory import require_memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS = 100  # per inch, as matplotlib draws
_IMAGE_BYTES = 200_000  # what matplotlib takes for an image and its axes


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Pixels of any shape, clipped to [0, 1] and rounded to 8 bits: uint8."""
    return np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def to_picture(image: np.ndarray):
    """The `PIL.Image.Image` of bytes `(height, width, 1 or 3)`, uint8."""
    from PIL import Image  # not at the top: figures do without

    return Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)


def image_grid(
    rows: Sequence[np.ndarray], labels: Sequence[str] | None = None, cell: float = 1.0
) -> "Figure":
    """Draws sets of images as rows of one figure.

    Pixels are clipped to [0, 1]. A row of which more than a fifth lies outside [-0.1, 1.1] shows
    latents or differences: it is scaled so that three standard deviations fill the range.

    Args:
        rows: list of arrays `(n, height, width, channels)` with 1 or 3 channels; rows may differ in
            n.
        labels: None, or a string for each row.
        cell: size of an image in inches.

    Returns:
        A `matplotlib.figure.Figure`; call its `savefig(path)`.

    Raises:
        ValueError: for rows that are not images or are integers, another number of labels, or a
            figure that does not fit into memory.

    Example:
        >>> pixels, _ = de.load_images("fashion_mnist", "test", source="sample", limit=4)
        >>> de.image_grid([pixels, 1 - pixels], labels=["image", "negative"]).savefig("grid.png")
    """
    from matplotlib.figure import Figure  # slow

    if not isinstance(rows, Iterable) or isinstance(rows, str):
        raise ValueError(f"`rows` must be a list of arrays. Received: {arguments.received(rows)}")
    rows = [arguments.array("rows", row, dtype=None) for row in rows]
    cell = arguments.number("cell", cell, above=0)
    for row in rows:
        if row.dtype.kind in "iu":
            raise ValueError(
                "Each row must be floating-point, latents or pixels; divide uint8 by 255. "
                f"Received: {row.dtype}"
            )
        if row.ndim != 4 or row.shape[-1] not in (1, 3) or not len(row):
            raise ValueError(
                "Each row must have shape (n, height, width, 1 or 3), n at least 1. "
                f"Received shape: {row.shape}"
            )
    if not rows:
        raise ValueError("`rows` must hold at least one array. Received: none")
    texts = [*labels] if isinstance(labels, Iterable) and not isinstance(labels, str) else []
    are_strings = all(isinstance(text, str) for text in texts)
    if labels is not None and not (are_strings and len(texts) == len(rows)):
        raise ValueError(
            f"`labels` must be a string for each of {len(rows)} rows. "
            f"Received: {arguments.received(labels)}"
        )
    rows = [row.astype(np.float32) for row in rows]
    columns = max(len(row) for row in rows)
    images = sum(len(row) for row in rows)
    pixels = columns * len(rows) * (cell * _DOTS) ** 2
    require_memory(_IMAGE_BYTES * images + 4 * pixels, f"a figure of {images} images")
    margin = 0.0 if labels is None else 1.2
    figure = Figure((columns * cell + margin, len(rows) * cell))
    left = margin / (columns * cell + margin)
    for i, row in enumerate(rows):
        bottom, height = 1 - (i + 1) / len(rows), 1 / len(rows)
        if labels is not None:
            figure.text(left * 0.95, bottom + height / 2, texts[i], ha="right", va="center")
        for j, image in enumerate(displayable(row)):
            width = (1 - left) / columns
            corner = left + (j + 0.02) * width, bottom + 0.02 * height
            axes = figure.add_axes((*corner, 0.96 * width, 0.96 * height))
            axes.imshow(
                image.squeeze(-1) if image.shape[-1] == 1 else image, "gray", vmin=0, vmax=1
            )
            axes.axis("off")
    return figure


def displayable(images):
    """Returns what is shown: pixels clipped to [0, 1], other values scaled to three deviations."""
    # Decoded pixels lie slightly beyond [0, 1]; two thirds of Gaussian latents lie outside it.
    if np.mean((images < -0.1) | (images > 1.1)) > 0.2:
        images = 0.5 + (images - images.mean()) / (6 * max(images.std(), 1e-9))
    return np.clip(images, 0, 1)
