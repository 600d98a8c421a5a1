"""Images of any source in chunks of one length: neither all images nor all names are in memory."""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ddim_embed import arguments
from ddim_embed.data.arrays import as_pixels, checked_arrays, fit_arrays
from ddim_embed.data.files import read_image_files, walk
from ddim_embed.data.npz import stream_npz

# Where an element of a data set that is a dict has its images.
_KEYS = ("image", "images")


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Images that follow each other in a source, without those that cannot be read.

    Attributes:
        start: place of the first one in the source, from 0.
        count: how many there are, with those that cannot be read.
        index: place of each of `pixels` in the source, int64 `(n,)`.
        pixels: float32 `(n, height, width, channels)` in [0, 1].
        files: their names, a list; empty strings where a source has none.
        problems: list of `(file, reason)` of those that cannot be read.
    """

    start: int
    count: int
    index: np.ndarray
    pixels: np.ndarray
    files: list[str]
    problems: list[tuple[str, str]]


def read_chunks(source, image_shape: tuple, padding: int, chunk_size: int) -> Iterator[Chunk]:
    """Yields the images of a source as `Chunk`s of `chunk_size`, the last one of what is left.

    Each image is cropped and resized to `image_shape` as `read_image_files` and `load_images` do.

    Args:
        source: a folder, whose images are taken in the order of their paths, with those of its
            subfolders; an .npz file as for `load_images`, without splits; an array, also one that
            is mapped from a file, `(n, height, width, channels)`; or an iterable, such as a
            `tf.data.Dataset`, of paths, of images, of batches of them, or of pairs whose first
            part that is.
        image_shape, padding: as for `read_image_files`.
        chunk_size: images in a chunk.

    Raises:
        ValueError: for another source, or images that are neither integers from 0 to 255, nor bool,
            nor floats in [0, 1].
        FileNotFoundError: for a path where nothing is.
    """
    where = _path(source)
    if where is not None and where.is_dir():
        names = (os.path.relpath(path, where) for path in _files(where))
        return _of_files(names, where, image_shape, padding, chunk_size)
    if where is not None:
        return _of_arrays(stream_npz(where, chunk_size), where, image_shape, chunk_size)
    if isinstance(source, np.ndarray):
        parts = (source[i : i + chunk_size] for i in range(0, len(source), chunk_size))
        return _of_arrays(parts, "the array", image_shape, chunk_size)
    if not isinstance(source, Iterable) or isinstance(source, (bytes, dict)):
        raise ValueError(
            "`source` must be a folder of images, an .npz file, an array or an iterable of images. "
            f"Received: {arguments.received(source)}"
        )
    elements = iter(source)
    first = next(elements, None)
    elements = itertools.chain([] if first is None else [first], elements)
    if isinstance(first, (str, os.PathLike)):
        return _of_files(map(os.fspath, elements), Path(), image_shape, padding, chunk_size)
    return _of_arrays(map(_images, elements), "the source", image_shape, chunk_size)


def count_images(source) -> int | None:
    """How many images a source has, with those that cannot be read; None if that takes reading."""
    where = _path(source)
    if where is not None:
        return sum(1 for _ in _files(where)) if where.is_dir() else None
    return len(source) if isinstance(source, (np.ndarray, list, tuple)) else None


def _path(source):
    """The path of a source, or None; a FileNotFoundError where nothing is."""
    if not isinstance(source, (str, os.PathLike)):
        return None
    path = arguments.path("source", source).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"`source` must be a folder of images or an .npz file. There is none: {path}"
        )
    return path


def _files(folder):
    return (path for path, _ in walk(folder, Path(os.path.realpath(folder))))


def _of_files(names, folder, image_shape, padding, chunk_size):
    start = 0
    while group := [*itertools.islice(names, chunk_size)]:
        paths = [folder / name for name in group]
        pixels, read, problems = read_image_files(paths, image_shape, padding)
        place = {path: number for number, path in enumerate(paths)}
        index = [place[path] for path in read]
        yield Chunk(
            start,
            len(group),
            np.array(index, np.int64) + start,
            pixels,
            [group[number] for number in index],
            [(group[place[path]], reason) for path, reason in problems],
        )
        start += len(group)


def _of_arrays(batches, name, image_shape, chunk_size):
    start, parts = 0, []

    def chunk():
        pixels = np.concatenate(parts)[:chunk_size]
        places = start + np.arange(len(pixels), dtype=np.int64)
        return Chunk(start, len(pixels), places, pixels, [""] * len(pixels), [])

    for batch in batches:
        batch = np.asarray(batch)
        for at in range(0, len(batch), chunk_size):
            parts.append(_pixels(batch[at : at + chunk_size], image_shape, name))
            while sum(map(len, parts)) >= chunk_size:
                yield chunk()
                start, parts = start + chunk_size, [np.concatenate(parts)[chunk_size:]]
    if sum(map(len, parts)):
        yield chunk()


def _pixels(images, image_shape, name):
    """Stored images as pixels of a shape."""
    images, _ = checked_arrays(images, np.full(len(images), -1), name)
    if images.shape[1:] != image_shape:
        height, width, channels = image_shape
        if height != width:
            raise ValueError(
                f"The images of {name} must have the shape {image_shape}. "
                f"Received: {images.shape[1:]}"
            )
        images = fit_arrays(images, height, channels, name)
    return as_pixels(images)


def _images(element):
    """The images of an element of a data set, `(n, height, width, channels)`."""
    if isinstance(element, dict):
        found = [element[key] for key in _KEYS if key in element]
        if not found:
            raise ValueError(
                f"`source` must have its images under one of {_KEYS}. Received: {sorted(element)}"
            )
        element = found[0]
    elif isinstance(element, tuple):
        element = element[0]
    images = np.asarray(element)
    return images if images.ndim == 4 else images[None]
