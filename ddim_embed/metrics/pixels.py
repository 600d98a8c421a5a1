"""Errors of reconstructions. Pixels are clipped to [0, 1] first.

Errors are those of displayed images, so only metrics clip: a loss through a clip has no gradient at
saturated pixels. Clipping would also hide pixels in other units, so what is far beyond [0, 1] is
refused: see `check_pixels` and `check_reconstruction`.
"""

from collections.abc import Iterator

import numpy as np

from ddim_embed import arguments

# Decoded pixels overshoot: those of the shipped generators, from Gaussian latents, are in
# [-0.08, 1.12]. Images in [-1, 1], [-0.5, 0.5] or [0, 255], normalised images and latents go far
# beyond this.
LOWEST, HIGHEST = -0.4, 1.4
_SSIM_REACH = 5  # of the 11x11 window of SSIM, from its centre


def mse(
    pixels: np.ndarray,
    reconstruction: np.ndarray,
    padding: int = 0,
    held: np.ndarray | None = None,
) -> np.ndarray:
    """Mean squared error per image, in float64.

    Args:
        pixels: floating-point, `(n, height, width, channels)` in [0, 1]. Decoded pixels may leave
            it a little, within [-0.4, 1.4], and are clipped to it.
        reconstruction: as `pixels`; a bad one may be further off, and is clipped, too, unless it
            looks like other units: no value above 1 and one below -0.4, as of images in [-1, 1]; or
            no value below 0 and one above 1.4, as of images in [0, 255].
        padding: rows and columns at each border that do not count: 2 for 28x28 images in 32x32.
        held: None, or 1 where a pixel counts and 0 where it does not, same shape.

    Returns:
        float64 array `(n,)`; NaN for an image without pixels that count.

    Raises:
        ValueError: if the shapes differ or the padding leaves no pixel; for pixels that are
            integers, not finite, or in other ranges than these.

    Example:
        >>> de.metrics.mse(np.zeros((1, 4, 4, 1)), np.full((1, 4, 4, 1), 0.5)).tolist()
        [0.25]
    """
    check_pixels("pixels", pixels)
    check_reconstruction("reconstruction", reconstruction)
    return clipped_mse(pixels, reconstruction, padding, held)


def clipped_mse(pixels, reconstruction, padding=0, held=None):
    """`mse` of whatever was decoded, however far it is beyond [0, 1]; NaN where it is NaN."""
    weights = None if held is None else _weights(held, pixels, padding)
    pixels, reconstruction = content(pixels, reconstruction, padding, np.float64)
    squares = (pixels - reconstruction) ** 2
    if weights is None:
        return np.mean(squares, axis=(1, 2, 3))
    with np.errstate(invalid="ignore"):
        return np.sum(weights * squares, axis=(1, 2, 3)) / np.sum(weights, axis=(1, 2, 3))


def psnr(pixels: np.ndarray, reconstruction: np.ndarray, padding: int = 0) -> np.ndarray:
    """Peak signal-to-noise ratio per image in decibels (tf.image.psnr); arguments as for `mse`."""
    import tensorflow as tf  # not at the top: the mean squared error needs NumPy alone

    pixels, reconstruction = checked_content(pixels, reconstruction, padding)
    return tf.image.psnr(pixels, reconstruction, max_val=1.0).numpy()


def ssim(
    pixels: np.ndarray, reconstruction: np.ndarray, padding: int = 0, zero_padded: bool = False
) -> np.ndarray:
    """Structural similarity per image (tf.image.ssim, 11x11 window).

    Args:
        pixels, reconstruction, padding: as for `mse`.
        zero_padded: whether windows reach beyond the borders, where pixels are taken for 0, as in
            the published code of diffusion autoencoders; by default they lie within the image.
    """
    import tensorflow as tf

    pixels, reconstruction = checked_content(pixels, reconstruction, padding)
    if arguments.flag("zero_padded", zero_padded):
        sides = (0, 0), (_SSIM_REACH, _SSIM_REACH), (_SSIM_REACH, _SSIM_REACH), (0, 0)
        pixels, reconstruction = np.pad(pixels, sides), np.pad(reconstruction, sides)
    return tf.image.ssim(pixels, reconstruction, max_val=1.0).numpy()


def content(pixels, reconstruction, padding, dtype):
    """Returns two sets of images clipped to [0, 1] and without the padding.

    Raises:
        ValueError: if the shapes differ or the padding leaves no pixel.
    """
    pixels = arguments.array("pixels", pixels, dtype)
    reconstruction = arguments.array("reconstruction", reconstruction, dtype)
    if pixels.shape != reconstruction.shape or pixels.ndim != 4:
        raise ValueError(
            "Both sets of pixels must have the same shape (n, height, width, channels). "
            f"Received: {pixels.shape} and {reconstruction.shape}"
        )
    padding = arguments.integer("padding", padding, 0, (min(pixels.shape[1:3]) - 1) // 2)
    window = slice(padding, -padding or None)
    return tuple(np.clip(images, 0, 1)[:, window, window] for images in (pixels, reconstruction))


def checked_content(pixels, other, padding, name="reconstruction"):
    """`content` of two sets of pixels in float32; raises as `mse`, and calls the second `name`."""
    check_pixels("pixels", pixels)
    check_reconstruction(name, other)
    return content(pixels, other, padding, np.float32)


def check_pixels(name, values, lowest=LOWEST, highest=HIGHEST):
    """Raises a ValueError that names the values and their range unless they can be pixels.

    Pixels are finite floating-point numbers in [0, 1]; decoded ones may lie beyond it, from
    `lowest` to `highest`. So images in [0, 255], uint8 or not, in [-1, 1] (if any pixel is darker
    than 0.3), normalised images and latents are refused.
    """
    low, high = _ends(name, values)
    if not lowest <= low <= high <= highest:
        beyond = "" if (lowest, highest) == (0, 1) else ", or clipped to it where they were decoded"
        raise ValueError(
            f"`{name}` must be in [0, 1]{beyond}. Received values from {low:.4g} to {high:.4g}"
        )


def check_reconstruction(name, values):
    """As `check_pixels`, but decoded pixels may be as far off as a bad reconstruction is.

    So only what looks like other units is refused: values that are all at most 1, as images in
    [-1, 1] are, or all at least 0, as images in [0, 255] are, and yet beyond [-0.4, 1.4].
    """
    low, high = _ends(name, values)
    if (low < LOWEST and high <= 1) or (low >= 0 and high > HIGHEST):
        check_pixels(name, values)


def _ends(name, values):
    values = arguments.array(name, values, dtype=None)
    if values.dtype.kind in "biu":
        ends = f" from {values.min()} to {values.max()}" if values.size else ""
        check_floating(name, values.dtype.name, ends)
    values = arguments.finite_array(name, values)
    return (values.min(), values.max()) if values.size else (0.0, 0.0)


def check_floating(name, dtype, ends=""):
    """Raises a ValueError unless a dtype's name is a floating-point one; `ends` is the range."""
    if "float" not in dtype:
        raise ValueError(
            f"`{name}` must be floating-point numbers in [0, 1]; divide uint8 by 255. "
            f"Received: {dtype} values{ends}"
        )


def clipped_batches(pixels: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yields batches of pixels, clipped to [0, 1]."""
    for i in range(0, len(pixels), arguments.integer("batch_size", batch_size)):
        yield np.clip(pixels[i : i + batch_size], 0, 1)


def _weights(held, pixels, padding):
    held = arguments.finite_array("held", held, np.float64)
    if held.size and not 0 <= held.min() <= held.max() <= 1:
        raise ValueError(
            "`held` must be 1 where a pixel counts and 0 where it does not. Received values from "
            f"{held.min():.4g} to {held.max():.4g}"
        )
    return content(held, pixels, padding, np.float64)[0]
