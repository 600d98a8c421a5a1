"""Images that lie in memory: checks, padding, resizing, and their training stream."""

import functools
from dataclasses import dataclass

import numpy as np

from ddim_embed import arguments
from ddim_embed.data.pictures import PADDING, UNPADDED_SIZE
from ddim_embed.memory import require_memory


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory, uint8 or float32 in [0, 1], and integer labels `(n, ...)`."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.images)

    @property
    def nbytes(self):
        """Size of the images in memory."""
        return self.images.nbytes

    def load(self):
        """Returns images and labels."""
        return self.images, self.labels

    def stream(self, batch_size, seed, start_step, rows):
        """Returns an infinite `tf.data.Dataset` of rows of batches, in the dtype of the images."""
        import tensorflow as tf

        order = EpochOrder(len(self), batch_size, seed)
        dtype = self.images.dtype

        def gather(step):
            return self.images[order.batch(int(step))[rows]]

        steps = tf.data.Dataset.range(start_step, tf.int64.max)
        return steps.map(
            lambda step: tf.ensure_shape(
                tf.numpy_function(gather, [step], dtype, stateful=False),
                (rows.stop - rows.start, *self.images.shape[1:]),
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )


class EpochOrder:
    """Which images make up which batch of an infinite, reshuffled stream, without any state.

    Epoch `e` visits the images in the order `np.random.default_rng([seed, e]).permutation(n)`, so
    that a resumed run continues exactly where it stopped. A batch never spans two epochs: each
    epoch drops its remainder, which differs between epochs.
    """

    def __init__(self, num_images, batch_size, seed):
        self.batch_size = batch_size
        self.steps_per_epoch = num_images // batch_size
        # Batches prepared in parallel may belong to two neighbouring epochs.
        self.permutation = functools.lru_cache(maxsize=2)(
            lambda epoch: np.random.default_rng([seed, epoch]).permutation(num_images)
        )

    def batch(self, step):
        """The indices of the images in batch `step`, `(batch_size,)`."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        start = step_in_epoch * self.batch_size
        return self.permutation(epoch)[start : start + self.batch_size]

    def candidates(self, position):
        """Yields the image at position `step * batch_size + place`, then those to replace it.

        These are the indices of all images, each once, in the epoch's order.
        """
        step, place = divmod(position, self.batch_size)
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        first = step_in_epoch * self.batch_size + place
        permutation = self.permutation(epoch)
        for offset in range(len(permutation)):
            yield permutation[(first + offset) % len(permutation)]


def rows_of_batches(items, batch_size, rows):
    """Of a `tf.data.Dataset` of what makes up batches in turn, what is in some rows of each.

    Before anything is read or decoded: what other workers have costs a number or an encoded image.
    """
    if rows == slice(0, batch_size):
        return items

    def is_own(number, item):
        row = number % batch_size
        return (row >= rows.start) & (row < rows.stop)

    return items.enumerate().filter(is_own).map(lambda number, item: item)


def pad_images(images):
    """Adds `PADDING` black pixels, 0, on each side: 28x28 images become 32x32.

    Raises a ValueError if `images` does not have the axes `(batch, height, width, channels)`.
    """
    images = np.asarray(images)
    _require_four_axes(images)
    return np.pad(images, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))


def crop_padding(images, padding=PADDING):
    """Removes `padding` pixels on each side of an array or tensor: the inverse of `pad_images`.

    Raises a ValueError if `images` does not have four axes, or `padding` leaves nothing of them.
    """
    _require_four_axes(images)
    height, width = images.shape[1:3]
    padding = arguments.integer("padding", padding, 0, (min(height, width) - 1) // 2)
    return images[:, padding : height - padding, padding : width - padding, :]


def _require_four_axes(images):
    if len(images.shape) != 4:
        raise ValueError(
            "`images` must have the shape (batch, height, width, channels). "
            f"Received: {tuple(images.shape)}"
        )


def as_pixels(images):
    """uint8 images, or floats in [0, 1], as float32 pixels in [0, 1]."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32, copy=False)


def checked_arrays(images, labels, name):
    """Converts stored images to `(n, height, width, 1 or 3)`, and labels to int64.

    Images are integers in [0, 255], which become uint8, bool, which becomes 0 and 255, or floats in
    [0, 1], which become float32. Integers that are all 0 and 1 are refused: they would be black.
    Labels are integers, `(n,)`, `(n, 1)` as Keras has them, or `(n, attributes)`. Raises a
    ValueError, which names the source, for anything else, or if there are none.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"The images of {name} must have the shape (n, height, width), or that with 1 or 3 "
            f"channels last, and at least one pixel. Received: {images.shape}"
        )
    if np.issubdtype(images.dtype, np.floating):
        if not (images.min() >= 0 and images.max() <= 1):  # True for NaN
            raise ValueError(
                f"The floating-point images of {name} must be finite and lie in [0, 1]. "
                f"Received: values in [{images.min()}, {images.max()}]"
            )
        images = images.astype(np.float32, copy=False)
    elif images.dtype == bool:
        images = images.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(images.dtype, np.integer):
        if images.dtype != np.uint8 and not (images.min() >= 0 and images.max() <= 255):
            raise ValueError(
                f"The integer images of {name} must lie in [0, 255]; scale other depths. "
                f"Received: values in [{images.min()}, {images.max()}]"
            )
        if (images.min(), images.max()) == (0, 1):
            raise ValueError(
                f"The integer images of {name} are all 0 and 1, of 255: nearly black. Store masks "
                "as bool, or pixels in [0, 1] as floats."
            )
        images = images.astype(np.uint8, copy=False)
    else:
        raise ValueError(
            f"The images of {name} must be integers, floats or bool. Received: {images.dtype}"
        )

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or len(labels) != len(images):
        raise ValueError(
            f"{name} must hold one label for each of its {len(images)} images. "
            f"Received: labels of shape {labels.shape}"
        )
    if not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise ValueError(f"The labels of {name} must be integers. Received: {labels.dtype}")
    if labels.dtype == np.uint64 and labels.max(initial=0) > np.iinfo(np.int64).max:
        raise ValueError(f"The labels of {name} must be below 2**63. Received: {labels.max()}")
    return images, labels.astype(np.int64)


def fit_arrays(images, image_size, channels, name):
    """Pads 28x28 to 32x32, then crops to a square, resizes and converts channels on request.

    None keeps the images' own size or channels, and the dtype stays. Raises a ValueError if the
    images are not square and no `image_size` is given.
    """
    if images.shape[1:3] == (UNPADDED_SIZE, UNPADDED_SIZE):
        images = pad_images(images)
    height, width, stored_channels = images.shape[1:]
    if image_size is None:
        if height != width:
            raise ValueError(
                f"`image_size` is needed, since the images of {name} are not square. "
                f"Received: images of {width}x{height}"
            )
        image_size = height
    channels = channels or stored_channels
    if channels > stored_channels:
        images = np.repeat(images, channels, axis=-1)
    elif channels < stored_channels:
        luma = images @ np.array([0.299, 0.587, 0.114], np.float32)
        luma = np.rint(luma) if images.dtype == np.uint8 else luma.clip(0, 1)
        images = luma.astype(images.dtype)[..., None]
    if (height, width) != (image_size, image_size):
        size = len(images) * image_size**2 * channels * images.itemsize
        require_memory(2 * size, f"{len(images)} images of {image_size}x{image_size} pixels")
        images = np.stack([_resize(image, image_size) for image in images])
    return images


def _resize(image, image_size):
    from PIL import Image, ImageOps

    def fit(plane):  # Pillow has no three-channel float images
        size = (image_size, image_size)
        return np.asarray(ImageOps.fit(Image.fromarray(plane), size, Image.Resampling.LANCZOS))

    planes = np.stack([fit(np.ascontiguousarray(plane)) for plane in np.moveaxis(image, -1, 0)], -1)
    return planes if image.dtype == np.uint8 else planes.clip(0, 1)  # Lanczos overshoots edges
