"""Errors of reconstructions. Pixels are clipped to [0, 1] first.

Errors are those of displayed images, so only metrics clip: a loss through a clip has no gradient at
saturated pixels.
"""

from collections.abc import Iterator

import numpy as np


def mse(
    pixels: np.ndarray,
    reconstruction: np.ndarray,
    padding: int = 0,
    held: np.ndarray | None = None,
) -> np.ndarray:
    """Mean squared error per image, in float64.

    Args:
        pixels, reconstruction: float, `(n, height, width, channels)`; clipped to [0, 1].
        padding: rows and columns at each border that do not count: 2 for 28x28 images in 32x32.
        held: None, or 1 where a pixel counts and 0 where it does not, same shape.

    Returns:
        float64 array `(n,)`; NaN for an image without pixels that count.

    Raises:
        ValueError: if the shapes differ or the padding leaves no pixel.

    Example:
        >>> de.metrics.mse(np.zeros((1, 4, 4, 1)), np.full((1, 4, 4, 1), 0.5)).tolist()
        [0.25]
    """
    weights = None if held is None else content(held, pixels, padding, np.float64)[0]
    pixels, reconstruction = content(pixels, reconstruction, padding, np.float64)
    squares = (pixels - reconstruction) ** 2
    if weights is None:
        return np.mean(squares, axis=(1, 2, 3))
    with np.errstate(invalid="ignore"):
        return np.sum(weights * squares, axis=(1, 2, 3)) / np.sum(weights, axis=(1, 2, 3))


def psnr(pixels: np.ndarray, reconstruction: np.ndarray, padding: int = 0) -> np.ndarray:
    """Peak signal-to-noise ratio per image in decibels (tf.image.psnr); arguments as for `mse`."""
    import tensorflow as tf  # not at the top: the mean squared error needs NumPy alone

    pixels, reconstruction = content(pixels, reconstruction, padding, np.float32)
    return tf.image.psnr(pixels, reconstruction, max_val=1.0).numpy()


def ssim(pixels: np.ndarray, reconstruction: np.ndarray, padding: int = 0) -> np.ndarray:
    """Structural similarity per image (tf.image.ssim, 11x11 window); arguments as for `mse`."""
    import tensorflow as tf

    pixels, reconstruction = content(pixels, reconstruction, padding, np.float32)
    return tf.image.ssim(pixels, reconstruction, max_val=1.0).numpy()


def content(pixels, reconstruction, padding, dtype):
    """Returns two sets of images clipped to [0, 1] and without the padding; raises as `mse`."""
    pixels, reconstruction = np.asarray(pixels, dtype), np.asarray(reconstruction, dtype)
    if pixels.shape != reconstruction.shape or pixels.ndim != 4:
        raise ValueError(
            "Both sets of pixels must have the same shape (n, height, width, channels). "
            f"Received: {pixels.shape} and {reconstruction.shape}"
        )
    if padding < 0 or 2 * padding >= min(pixels.shape[1:3]):
        raise ValueError(
            f"`padding` must leave some of {pixels.shape[1]}x{pixels.shape[2]} pixels. "
            f"Received: {padding}"
        )
    window = slice(padding, -padding or None)
    return tuple(np.clip(images, 0, 1)[:, window, window] for images in (pixels, reconstruction))


def clipped_batches(pixels: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yields batches of pixels, clipped to [0, 1]; raises a ValueError for `batch_size` below 1."""
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: {batch_size}")
    for i in range(0, len(pixels), batch_size):
        yield np.clip(pixels[i : i + batch_size], 0, 1)
