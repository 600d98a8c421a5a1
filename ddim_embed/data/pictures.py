"""One picture: from any of Pillow's formats to a uint8 array of a given shape."""

import math
import os
import stat

import numpy as np

# Pillow's default, above which it warns of a decompression bomb; here it is an error.
MAX_IMAGE_PIXELS = 89_478_485

# MNIST's 28x28 cannot be halved three times; two pixels on each side make it 32x32.
UNPADDED_SIZE = 28
PADDING = 2

_GREY_MODES = ("1", "L", "LA", "La", "I", "F")


def open_picture(file):
    """Opens an image, a path or a binary file, and reads its header only; close it after use.

    Raises a ValueError if it is empty, not a regular file, PostScript, or larger than
    `MAX_IMAGE_PIXELS`; an OSError, and others of Pillow, if it is not an image.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(file, (str, os.PathLike)):
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise ValueError("not a regular file")
        if status.st_size == 0:
            raise ValueError("empty file")
    try:
        picture = Image.open(file)
    except UnidentifiedImageError:
        raise ValueError("not an image that Pillow reads") from None
    if picture.format == "EPS":  # a program that Pillow would pass to Ghostscript
        picture.close()
        raise ValueError("PostScript, a program, which is not run")
    # Pillow checks this, too, but the check can be disabled.
    if picture.width * picture.height > MAX_IMAGE_PIXELS:
        picture.close()
        raise ValueError(
            f"{picture.width}x{picture.height} is over {MAX_IMAGE_PIXELS} pixels, "
            "perhaps a decompression bomb"
        )
    return picture


def is_grey(picture):
    """Whether a picture has one channel besides alpha."""
    return picture.mode in _GREY_MODES or picture.mode.startswith("I;16")


def read_picture(file, image_shape, crop=None):
    """Reads one image in any of Pillow's formats, a uint8 array of `image_shape`.

    EXIF rotation is applied, transparency is laid on white, other depths are scaled to 8 bits, and
    of an animation the first frame is taken. `crop` is a function that crops the picture first, as
    `celeba_crop` does, or None. Raises as `open_picture` does; if the data are broken; or if the
    picture would be nearly black for want of scaling (see `_eight_bits` and `_check_brightness`).
    """
    from PIL import Image, ImageOps

    height, width, channels = image_shape
    with open_picture(file) as picture:
        unpadded = picture.size == (UNPADDED_SIZE, UNPADDED_SIZE) != (width, height)
        if crop is None:
            # A JPEG decodes several times faster at a fraction of its size; twice the requested
            # size preserves the quality of the resize. Other formats ignore this.
            picture.draft(None, (2 * max(height, width),) * 2)
        bits = _bits(picture)
        picture.load()
        colours_were_reduced = bits > 8 and len(picture.getbands()) > 1  # by Pillow
        picture = _eight_bits(_upright(picture), bits)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        picture = picture.convert("L" if channels == 1 else "RGB")
        values = np.asarray(picture)
        _check_brightness(values.min(), values.max(), bits if colours_were_reduced else 8)
    if crop is not None:
        picture = crop(picture)
    elif unpadded:
        picture = ImageOps.expand(picture, PADDING, fill=0)
    picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(image_shape)


def _upright(picture):
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # the image may be good although its metadata are broken
        return picture


def _bits(picture):
    """Bits of a value of a picture that is not loaded yet; 8 for fewer, which Pillow scales."""
    stored = " ".join(str(tile[3]) for tile in picture.tile)
    if ";12" in stored:
        return 12
    if ";16" in stored or picture.mode.startswith("I;16"):
        return 16
    if picture.mode == "I":  # Pillow scales a PPM's maximum, and older versions so read PNG
        return 16 if picture.format in ("PNG", "PPM") else 32
    return 8


def _eight_bits(picture, bits):
    """Scales greys by the range of their bits to 8 bits.

    Which part of 32 bits is used no file says: values up to 255 are taken for 8 bits, and up to
    65535 for 16.
    """
    from PIL import Image

    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.int64)
        least, most = values.min(), values.max()
        if bits == 32:
            bits = 8 if most <= 255 else 16
        highest = 2**bits - 1
        if least < 0 or most > highest:
            raise ValueError(f"integers from {least} to {most}, not from 0 to {highest}")
        if most:
            _check_brightness(least, most * 255 / highest, bits)
        return Image.fromarray(np.rint(values * (255 / highest)).astype(np.uint8))
    if picture.mode == "F":
        values = np.asarray(picture)
        if not (values.min() >= 0 and values.max() <= 1):  # True for NaN
            raise ValueError(
                f"floating-point values from {values.min():.4g} to {values.max():.4g}, "
                "not in [0, 1]"
            )
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    return picture


def _check_brightness(darkest, brightest, bits):
    """Raises a ValueError if the ends of a picture's 0 to 255 show that it was not scaled."""
    if bits > 8 and brightest < 16:  # 12 bits stored in 16, for example
        raise ValueError(
            f"nearly black: {bits} bits of which less than a 16th of the range is used; scale it"
        )
    if (darkest, brightest) == (0, 1):
        raise ValueError("nearly black: values of 0 and 1 only, a mask perhaps; save 255 for 1")


def celeba_crop_box(width, height):
    """The usual square around the face, for an aligned CelebA image of any size.

    Returns `(left, top, right, bottom)`: in the official 178x218 the centre is (89, 121) and the
    half-width 64. Raises a ValueError if the image is not in these proportions.
    """
    scale = width / 178
    if abs(height - 218 * scale) > 2:
        raise ValueError(f"{width}x{height} is not in CelebA's proportions of 178x218")
    # At half size the corner (25, 57) falls on half pixels; the usual choice is (12, 29).
    left, top, side = math.floor(25 * scale), math.ceil(57 * scale), round(128 * scale)
    return left, top, left + side, top + side


def celeba_crop(picture):
    """Crops a picture to `celeba_crop_box`."""
    return picture.crop(celeba_crop_box(*picture.size))
