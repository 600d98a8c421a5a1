"""Images in files: single files, plain folders, and CelebA's official layout."""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddim_embed import arguments
from ddim_embed.data.arrays import EpochOrder, as_pixels, rows_of_batches
from ddim_embed.data.pictures import (
    MAX_IMAGE_PIXELS,
    PADDING,
    UNPADDED_SIZE,
    celeba_crop,
    celeba_crop_box,
    is_grey,
    open_picture,
    read_picture,
)
from ddim_embed.memory import require_memory

__all__ = ["CELEBA_ATTRIBUTES", "MAX_IMAGE_PIXELS", "read_image_files"]

CELEBA_FOLDER = "img_align_celeba"
# In the order of list_attr_celeba.txt, which is sorted.
CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
_CELEBA_PARTITIONS = {"train": "0", "validation": "1", "test": "2"}

_MAX_NAMED_PROBLEMS = 100
_READ_AHEAD = 1024


def read_image_files(
    paths: Sequence[str | os.PathLike], image_shape: Sequence[int], padding: int = 0
) -> tuple[np.ndarray, list, list[tuple]]:
    """Reads a user's own images, in any format that Pillow reads.

    EXIF rotation is applied, transparency is laid on white, and the image is cropped to its centre
    and resized.

    Args:
        paths: sequence of paths.
        image_shape: `(height, width, channels)`, channels 1 or 3.
        padding: rows and columns at each border, within `image_shape`, that stay black: the
            generator's padding, as in its training images.

    Returns:
        `(pixels, read_paths, problems)`: float32 pixels in [0, 1] of shape `(n, *image_shape)`, the
        `n` paths that they were read from, and a list of `(path, reason)` for files that were
        skipped because they are broken, empty, missing, too large, or nearly black for a reason
        that `load_images` names.

    Raises:
        ValueError: if `image_shape` is not three positive integers with 1 or 3 channels, or
            `padding` leaves nothing of it; for one path in place of a sequence.

    Example:
        >>> pixels, read, problems = de.read_image_files(["missing.png"], (32, 32, 1))
        >>> pixels.shape, problems
        ((0, 32, 32, 1), [('missing.png', 'no such file')])
    """
    image_shape = arguments.integers("image_shape", image_shape, count=3)
    if image_shape[2] not in (1, 3):
        raise ValueError(
            "`image_shape` must be (height, width, channels) with 1 or 3 channels. "
            f"Received: {image_shape}"
        )
    height, width, channels = image_shape
    padding = arguments.integer("padding", padding, 0, (min(height, width) - 1) // 2)
    content = (height - 2 * padding, width - 2 * padding, channels)
    if isinstance(paths, (str, os.PathLike)) or not isinstance(paths, Iterable):
        raise ValueError(
            f"`paths` must be a sequence of paths. Received: {arguments.received(paths)}"
        )
    paths = list(paths)
    images, read, problems = read_many(
        paths, lambda path: read_picture(path, content), content, len(paths)
    )
    images = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    return as_pixels(images), [paths[i] for i in read], [(paths[i], why) for i, why in problems]


def read_many(items, read, image_shape, limit):
    """Reads images in parallel, by `read(item)` which may raise, until `limit` of them are read.

    Returns uint8 images, the indices of their items, and a list of `(index, reason)` for the items
    that cannot be read.
    """
    from PIL import Image

    def attempt(item):
        try:
            return read(item)
        except Exception as error:  # Pillow's decoders raise many types
            return _reason(error)

    shape = min(limit, len(items)), *image_shape
    require_memory(math.prod(shape), f"{shape[0]} images of {shape[2]}x{shape[1]} pixels")
    images = np.empty(shape, np.uint8)
    indices, problems = [], []
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        start = 0
        while start < len(items) and len(indices) < limit:
            stop = min(start + min(_READ_AHEAD, limit - len(indices)), len(items))
            for i, image in enumerate(pool.map(attempt, items[start:stop]), start):
                if isinstance(image, str):
                    problems.append((i, image))
                else:
                    images[len(indices)] = image
                    indices.append(i)
            start = stop
    return images[: len(indices)], indices, problems


def _reason(error):
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return str(error) or type(error).__name__


@dataclass(frozen=True)
class FileImages:
    """Images that are read from their files on demand."""

    folder: Path
    paths: Sequence[Path]
    labels: np.ndarray
    image_shape: tuple  # after cropping and resizing
    crop: Callable | None  # crops a picture first
    problems: list  # (path, reason) of files that are known to be unreadable
    limit: int

    def __len__(self):
        return min(self.limit, len(self.paths))

    @property
    def nbytes(self):
        """Size of the images in memory, as uint8."""
        return len(self) * int(np.prod(self.image_shape))

    def _read(self, path):
        return read_picture(path, self.image_shape, self.crop)

    def load(self):
        """Returns images, uint8, and labels; warns of files that cannot be read."""
        images, indices, problems = read_many(self.paths, self._read, self.image_shape, self.limit)
        problems = self.problems + [(self.paths[i], why) for i, why in problems]
        if not indices:
            raise _nothing_left(self.folder, problems)
        _warn_of(problems, self.folder)
        return images, self.labels[indices]

    def stream(self, batch_size, seed, start_step, rows):
        """Returns an infinite `tf.data.Dataset` of rows of uint8 batches, decoded in parallel.

        A broken file is reported once, and the next one in the epoch's order replaces it.
        """
        import tensorflow as tf

        _warn_of(self.problems, self.folder)
        order = EpochOrder(len(self), batch_size, seed)
        broken = set()

        def read(position):
            for index in order.candidates(int(position)):
                if index in broken:
                    continue
                try:
                    return self._read(self.paths[index])
                except Exception as error:  # as in `read_many`
                    broken.add(index)
                    _warn_of([(self.paths[index], _reason(error))], self.folder)
            raise _nothing_left(self.folder, [])

        positions = tf.data.Dataset.range(start_step * batch_size, tf.int64.max)
        positions = rows_of_batches(positions, batch_size, rows)
        images = positions.map(
            lambda position: tf.ensure_shape(
                tf.numpy_function(read, [position], tf.uint8), self.image_shape
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return images.batch(rows.stop - rows.start, drop_remainder=True)


def _list_of(problems, folder):
    named = problems[:_MAX_NAMED_PROBLEMS]
    lines = [f"  {os.path.relpath(path, folder)}: {reason}" for path, reason in named]
    if len(problems) > _MAX_NAMED_PROBLEMS:
        lines.append(f"  and {len(problems) - _MAX_NAMED_PROBLEMS} more")
    return "\n".join(lines)


def _warn_of(problems, folder):
    if problems:
        warnings.warn(
            f"{len(problems)} file(s) of {folder} were skipped:\n{_list_of(problems, folder)}",
            stacklevel=4,  # the caller of `load_images`
        )


def _nothing_left(folder, problems):
    return ValueError(f"{folder} contains no readable image.\n{_list_of(problems, folder)}")


def open_folder(folder, split, image_size, channels, limit):
    """Images of a folder and all its subfolders, sorted by their paths, with labels -1.

    Subfolders `train`, `validation` (or `val`) and `test`, if any, are the splits; otherwise every
    split has all images. Hidden files are ignored. Raises a ValueError if the split is missing, no
    image can be read, or the images are not squares of one size and no `image_size` is given.
    """
    from PIL import Image

    root = _real(folder)
    split_folder = _split_folder(root, split)
    if not _real(split_folder).is_relative_to(root):
        raise ValueError(f"{split_folder} is a link out of {folder}; pass the folder it links to")
    found, problems = _walk(split_folder, root)
    paths, sizes, all_grey = [], set(), True
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for path in found:
            try:
                with open_picture(path) as picture:
                    paths.append(path)
                    sizes.add(picture.size)
                    all_grey = all_grey and is_grey(picture)
            except Exception as error:  # as in `read_many`
                problems.append((path, _reason(error)))
    if not paths:
        raise _nothing_left(root, problems)
    if image_size is None:
        width, height = min(sizes)
        if len(sizes) > 1 or width != height:
            shown = sorted(sizes)[:3]
            raise ValueError(
                f"`image_size` is needed, since the images of {folder} are not all squares of one "
                f"size. Received: {len(sizes)} size(s) (width, height), such as {shown}"
            )
        image_size = width + 2 * PADDING if width == UNPADDED_SIZE else width
    image_shape = (image_size, image_size, channels or (1 if all_grey else 3))
    labels = np.full(len(paths), -1, np.int64)
    return FileImages(root, paths, labels, image_shape, None, problems, limit or len(paths))


def _real(path):
    """As `Path.resolve`, which raises an error of its own for a circle of links."""
    return Path(os.path.realpath(path))


def _split_folder(folder, split):
    present = {name: folder / name for name in ("train", "validation", "test")}
    if not present["validation"].is_dir():
        present["validation"] = folder / "val"
    present = {name: path for name, path in present.items() if path.is_dir()}
    if present:
        arguments.choice("split", split, present, f" for {folder}")
    return present.get(split, folder)


def walk(folder: Path, root: Path) -> Iterator[tuple[Path, str | None]]:
    """Yields `(path, problem)` of the files of a folder and its subfolders, in the paths' order.

    The names of one folder at a time are in memory. Hidden ones are left out; the problem of a file
    is None, that of a link out of `root`, or to a folder, that it is not followed.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Path(folder), error.strerror or str(error)
        return
    for entry in found:
        path = Path(folder, entry.name)
        if entry.is_dir():
            if entry.is_symlink():
                yield path, "a link to a folder is not followed"
            elif not entry.name.startswith("."):
                yield from walk(path, root)
        elif not entry.name.startswith("."):
            out = entry.is_symlink() and not _real(path).is_relative_to(root)
            yield path, "a link out of the folder is not followed" if out else None


def _walk(folder, root):
    every = [*walk(folder, root)]
    return [path for path, why in every if why is None], [each for each in every if each[1]]


def open_celeba(folder, split, image_size, channels, limit):
    """CelebA's official layout: img_align_celeba/, list_attr_celeba.txt, list_eval_partition.txt.

    The images may have any size in the proportions of 178x218; each is cropped to
    `celeba_crop_box`. Labels are int8 0/1 attributes, `(n, 40)`, in the order of
    `CELEBA_ATTRIBUTES`. Raises a ValueError if a part of the layout is missing or malformed, or no
    image can be read.
    """
    root = _real(folder)
    image_folder = root / CELEBA_FOLDER
    if not image_folder.is_dir() or not _real(image_folder).is_relative_to(root):
        raise ValueError(f"{folder} must contain a folder {CELEBA_FOLDER}, not a link out of it")
    names = _celeba_names(root / "list_eval_partition.txt", split)
    with os.scandir(image_folder) as entries:
        present = {entry.name: entry.is_symlink() for entry in entries}
    paths, problems = [], []
    for name in names:
        path = image_folder / name
        if name not in present:
            problems.append((path, "no such file"))
        elif present[name] and not _real(path).is_relative_to(root):
            problems.append((path, "a link out of the folder is not followed"))
        else:
            paths.append(path)
    side = _first_celeba_side(paths, problems, root) if image_size is None else image_size
    if not paths:
        raise _nothing_left(root, problems)
    labels = _celeba_attributes(root / "list_attr_celeba.txt", [path.name for path in paths])
    image_shape = (side, side, channels or 3)
    return FileImages(root, paths, labels, image_shape, celeba_crop, problems, limit or len(paths))


def _celeba_lines(path):
    try:
        if path.exists() and not path.is_file():  # reading a pipe, or a device, does not end
            raise ValueError("not a regular file")
        return path.read_text().splitlines()
    except (OSError, ValueError) as error:  # bytes that are no text are a ValueError, too
        raise ValueError(f"CelebA's {path.name} cannot be read: {error}") from error


def _celeba_names(path, split):
    partition = _CELEBA_PARTITIONS[split]
    rows = [line.split() for line in _celeba_lines(path) if line.strip()]
    if any(len(row) != 2 for row in rows):
        raise ValueError(f"{path} must hold a file name and a partition on each line")
    names = [name for name, number in rows if number == partition]
    if not names:
        raise ValueError(f"{path} puts no image into the split {split!r} (partition {partition})")
    return names


def _celeba_attributes(path, names):
    lines = _celeba_lines(path)
    header = lines[1].split() if len(lines) > 1 else []
    missing = [attribute for attribute in CELEBA_ATTRIBUTES if attribute not in header]
    if missing:
        raise ValueError(f"The second line of {path} must name the attributes {missing}")
    rows = {name: values for name, _, values in (line.partition(" ") for line in lines[2:])}
    unlisted = [name for name in names if name not in rows]
    if unlisted:
        raise ValueError(f"{path} lists {len(unlisted)} image(s) not, such as {unlisted[:3]}")
    try:
        # `loadtxt` leaves out empty lines, and more values that all lines have pass unnoticed.
        if wrong := [name for name in names if len(rows[name].split()) != len(header)]:
            raise ValueError(f"{wrong[0]} has {len(rows[wrong[0]].split())}")
        values = np.loadtxt([rows[name] for name in names], np.int8, comments=None, ndmin=2)
        values = values[:, [header.index(attribute) for attribute in CELEBA_ATTRIBUTES]]
    except ValueError as error:
        raise ValueError(f"{path} must hold {len(header)} numbers on each line: {error}") from error
    return (values > 0).astype(np.int8)


def _first_celeba_side(paths, problems, root):
    seen = []
    for path in paths:
        try:
            with open_picture(path) as picture:
                left, _, right, _ = celeba_crop_box(*picture.size)
                return right - left
        except Exception as error:  # as in `read_many`
            seen.append((path, _reason(error)))
    raise _nothing_left(root, problems + seen)
