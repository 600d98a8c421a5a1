"""`load_images` and `stream_images`: images of every source."""

import itertools
import os
import warnings
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddim_embed import arguments
from ddim_embed.backend import is_tensorflow
from ddim_embed.data.arrays import (
    ArrayImages,
    EpochOrder,
    as_pixels,
    checked_arrays,
    fit_arrays,
)
from ddim_embed.data.catalogue import CATALOGUE, open_catalogue, prepared_folder
from ddim_embed.data.files import CELEBA_FOLDER, open_celeba, open_folder
from ddim_embed.data.npz import read_npz
from ddim_embed.memory import require_memory
from ddim_embed.parallel import check_shard, share
from ddim_embed.process import noise

if TYPE_CHECKING:
    import tensorflow as tf

SOURCES = ("auto", "sample", "tfds", "npz", "folder", "celeba")
SPLITS = ("train", "validation", "test")
SAMPLES = ("fashion_mnist", "mnist")
_NAMES = {"sample": SAMPLES, "tfds": tuple(CATALOGUE)}  # of sources by name, not by path

# Bytes (as uint8) up to which `stream_images` loads the images into memory: CelebA at 64x64 fits.
CACHE_BYTES = 2 * 1024**3

SIZE_MULTIPLE = 8  # the U-Net halves its images three times


def load_images(
    name_or_path: str | os.PathLike,
    split: str = "train",
    image_size: int | None = None,
    source: str = "auto",
    limit: int | None = None,
    channels: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Loads images and labels from any source.

    Images of 28x28 are padded with black to 32x32. If `image_size` is not the source's size, images
    are cropped to their central square and resized with antialiasing. CelebA is always cropped
    around the face.

    Arrays of integers are greys from 0 to 255, whatever their type, and bool is black and white. In
    files, greys of 12 and 16 bits are scaled by their range; integers of 32 bits, whose range no
    file states, are greys of 8 bits up to 255, and of 16 bits up to 65535; floating-point values
    must lie in [0, 1]. What would be nearly black is refused, or skipped in a folder: values of 0
    and 1 only, as of a mask, and more than 8 bits of which less than a 16th of the range is used.

    Args:
        name_or_path: a catalogue name ("mnist", "fashion_mnist", "cifar10", "oxford_flowers102",
            "celeba"), or the path of an .npz file, of a folder of images, or of a folder with
            CelebA's official layout.
        split: "train", "validation" (if the source has one) or "test". An .npz file or a folder
            without splits has all its images in each of them.
        image_size: height and width in pixels, a multiple of 8; `None` for the source's size.
        source: "tfds" (prepared data, else a download), "sample" (bundled, needs no network),
            "npz", "folder" or "celeba". "auto" recognises an existing path, and loads a catalogue
            name from prepared data, else from the bundled sample with a warning, else by download.
        limit: how many images to load at most, the first ones of the split.
        channels: 1 or 3, to convert colour to grey or the reverse; `None` for the source's number.
            A folder has 3 unless all its images are grey.

    Returns:
        `(pixels, labels)`: float32 `(n, height, width, channels)` in [0, 1]; and int64 `(n,)`, -1
        for a source without labels, or for CelebA int8 0/1 attributes `(n, 40)`.

    Raises:
        ValueError: for an argument that is not as above, or a source without a readable image.
        ConnectionError: within 10 seconds, if a download is needed and there is no network.

    Warns:
        UserWarning: names the files of a folder that were skipped: broken, empty, too large, or
            links out of the folder.

    Example:
        >>> pixels, labels = de.load_images("fashion_mnist", "test", source="sample", limit=8)
        >>> pixels.shape, labels.shape
        ((8, 32, 32, 1), (8,))
    """
    source, where = resolve(name_or_path, split, source)
    found = open_images(source, where, split, image_size, limit, channels)
    in_memory = isinstance(found, ArrayImages)
    if not (in_memory and found.images.dtype == np.float32):  # float32, beside what is yet to read
        needed = (4 if in_memory else 5) * found.nbytes
        require_memory(needed, f"{len(found)} images; a `limit` or a smaller `image_size` helps")
    images, labels = found.load()
    return as_pixels(images), labels


def stream_images(
    name_or_path: str | os.PathLike,
    split: str,
    batch_size: int,
    image_size: int | None = None,
    source: str = "auto",
    limit: int | None = None,
    seed: int = 0,
    start_step: int = 0,
    channels: int | None = None,
    mirror: bool = False,
    shard: tuple[int, int] = (0, 1),
) -> "tf.data.Dataset":
    """Streams training batches without end, each epoch in a new order that `seed` determines.

    Data sets of up to `CACHE_BYTES` are loaded into memory, larger ones are read and decoded in
    parallel. A batch never spans two epochs; each epoch drops its remainder.

    Args:
        name_or_path, split, image_size, source, limit, channels: as in `load_images`.
        batch_size: images in a batch.
        seed: integer from 0 to 2**63 - 1; the same seed gives the same batches.
        start_step: how many batches to skip, for a run that is resumed; the others are exactly
            those of the whole stream.
        mirror: whether a random half of the images of each batch is flipped left to right.
        shard: (worker, number of workers) of a training by several: the worker has its rows of each
            batch, and decodes no others; together they have the stream of one. See
            `training_strategy`.

    Returns:
        An infinite `tf.data.Dataset` of float32 `(batch_size, height, width, channels)` in [0, 1],
        of the worker's rows alone; on JAX an iterator of the same batches as arrays, from memory.

    Raises:
        ValueError, ConnectionError: as `load_images`, or for fewer images than `batch_size`.

    Example:
        >>> batches = de.stream_images("mnist", "test", batch_size=16, source="sample")
        >>> next(iter(batches)).shape
        TensorShape([16, 32, 32, 1])
    """
    batch_size = arguments.integer("batch_size", batch_size)
    seed = arguments.seed(seed)
    start_step = arguments.integer("start_step", start_step, 0)
    arguments.flag("mirror", mirror)
    rows = share(batch_size, *check_shard(shard, batch_size))
    source, where = resolve(name_or_path, split, source)
    images = open_images(source, where, split, image_size, limit, channels)
    if images.nbytes <= CACHE_BYTES or not is_tensorflow():
        images = ArrayImages(*images.load())
    if batch_size <= len(images):
        needed = 4 * images.nbytes // len(images) * batch_size
        require_memory(needed, f"batches of {batch_size} images")
    else:
        raise ValueError(
            f"`batch_size` must be at most the number of images, {len(images)}. "
            f"Received: {batch_size}"
        )
    if not is_tensorflow():
        return _iterate(images, batch_size, seed, start_step, mirror, rows)
    import tensorflow as tf

    batches = images.stream(batch_size, seed, start_step, rows).map(_as_pixel_tensor)
    if mirror:
        # The seed depends on the step, so that a resumed stream mirrors the same images.
        batches = batches.enumerate(start_step).map(
            lambda step, batch: _mirror_half(batch, (seed, step), batch_size, rows)
        )
    return batches.prefetch(tf.data.AUTOTUNE)


def _iterate(images, batch_size, seed, start_step, mirror, rows):
    order = EpochOrder(len(images), batch_size, seed)
    for step in itertools.count(start_step):
        batch = as_pixels(images.images[order.batch(step)[rows]])
        if mirror:
            shape = (batch_size, 1, 1, 1)
            flipped = noise.uniform(shape, noise.seed_words(seed, step), numpy=True) < 0.5
            batch = np.where(flipped[rows], batch[:, :, ::-1], batch)
        yield batch


def _mirror_half(images, seed, batch_size, rows):
    import tensorflow as tf

    turned = tf.random.stateless_uniform((batch_size, 1, 1, 1), seed) < 0.5
    return tf.where(turned[rows], tf.reverse(images, [2]), images)


def _as_pixel_tensor(images):
    import tensorflow as tf

    if images.dtype == tf.uint8:
        return tf.cast(images, tf.float32) / 255.0
    return images


def open_images(source, where, split, image_size, limit, channels=None):
    """The images of what `resolve` returned, not yet read: `ArrayImages`, for example.

    The other arguments are those of `load_images`, which are checked here.
    """
    if channels is not None and arguments.integer("channels", channels) not in (1, 3):
        raise ValueError(f"`channels` must be one of (None, 1, 3). Received: {channels!r}")
    if limit is not None:
        limit = arguments.integer("limit", limit)
    if image_size is not None:
        image_size = arguments.integer("image_size", image_size, SIZE_MULTIPLE)
        if image_size % SIZE_MULTIPLE:
            raise ValueError(
                f"`image_size` must be a multiple of {SIZE_MULTIPLE}. Received: {image_size}"
            )
    openers = {
        "sample": _open_sample,
        "tfds": open_catalogue,
        "npz": _open_npz,
        "folder": open_folder,
        "celeba": open_celeba,
    }
    return openers[source](where, split, image_size, channels, limit)


def resolve(name_or_path, split, source):
    """Returns `(source, where)`: one of `SOURCES` but "auto", and a catalogue name or a `Path`."""
    arguments.choice("source", source, SOURCES)
    arguments.choice("split", split, SPLITS)
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise ValueError(
            f"`name_or_path` must be a name or a path. Received: {arguments.received(name_or_path)}"
        )
    name = os.fspath(name_or_path)
    path = Path(name).expanduser()
    if source == "auto":
        source = _recognise(name, path, split)
    _require(name, path, source)
    return source, name if source in _NAMES else path


def _recognise(name, path, split):
    # Not methods of `Path`, which raise an OSError for a name that is too long.
    if os.path.isfile(path):
        return "npz"
    # As a path, an empty name would be the current folder.
    if name and os.path.isdir(path / CELEBA_FOLDER):
        return "celeba"
    if name and os.path.isdir(path):
        return "folder"
    if name not in CATALOGUE:
        raise ValueError(
            f"`name_or_path` must be one of {tuple(CATALOGUE)}, or the path of an .npz file or "
            f"of a folder. Received: {arguments.received(name)}{arguments.nearest(name, CATALOGUE)}"
        )
    if prepared_folder(name) is None and name in SAMPLES and split == "test":
        warnings.warn(
            f"{name!r} is not prepared; these are the 1,000 test images of the bundled sample. "
            'Pass source="tfds" to download all images.',
            stacklevel=4,  # the caller of `load_images`
        )
        return "sample"
    return "tfds"


def _require(name, path, source):
    names = _NAMES.get(source)
    if names is not None and name not in names:
        raise ValueError(
            f'`name_or_path` must be one of {names} for source="{source}". '
            f"Received: {arguments.received(name)}{arguments.nearest(name, names)}"
        )
    if source == "npz" and not os.path.isfile(path):
        raise ValueError(f"`name_or_path` must be an .npz file. Received: {name!r}")
    if source in ("folder", "celeba") and not os.path.isdir(path):
        raise ValueError(f"`name_or_path` must be a folder. Received: {name!r}")


def _open_npz(path, split, image_size, channels, limit):
    images, labels = checked_arrays(*read_npz(path, split, limit=limit), path)
    return ArrayImages(fit_arrays(images, image_size, channels, path), labels)


def _open_sample(name, split, image_size, channels, limit):
    if split != "test":
        raise ValueError(
            f"`split` must be 'test' for the bundled sample of {name!r}. Received: {split!r}. "
            'Pass source="tfds" for all images.'
        )
    file_name = f"{name}_test.npz"
    with resources.files("ddim_embed").joinpath("samples", file_name).open("rb") as file:
        images, labels = read_npz(file, split, name=file_name)
    images, labels = images[:limit], labels[:limit].astype(np.int64)
    return ArrayImages(fit_arrays(images, image_size, channels, name), labels)
