"""Images in .npz files, which may be anyone's: read without unpickling, and without a surprise."""

import contextlib
import math
import zipfile

import numpy as np
from numpy.lib import format as npy

from ddim_embed.limits import ExpansionError, check_expansion

_KEYS = ("{split}_images", "{split}_labels"), ("x_{split}", "y_{split}")
_CHUNK = 2**24  # bytes that are read at a time
# Bytes of an array that is read to its end although the first images are enough: a small file can
# expand for hours.
_MOST_CHECKED = 2**33
_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Words(Exception):
    """What is wrong with a file that can be read."""


def read_npz(path, split, name=None, limit=None):
    """Reads one split of an .npz file without unpickling anything.

    The names of the arrays are `train_images` and `train_labels`, or Keras' `x_train` and
    `y_train` (and likewise for the other splits). A file without splits has `images` and
    optionally `labels`, which are used for every split; without labels they are -1.

    `path` is the file, or an open binary file with `name` for messages; `limit` the number of
    images, of the first ones, that are read, or None. Raises a ValueError if it cannot be read,
    does not contain that split, or expands to more than the limit of `check_expansion`.
    """
    name = name or path
    with _words_for(name), zipfile.ZipFile(path) as archive:
        members = _members(archive)
        keys = _find_keys(members, split, name)
        (images, rows), *labels = (
            _read_array(archive, members[key], limit, f"`{key}` of {name}")
            for key in keys
            if key in members
        )
        for _, count in labels:
            if count != rows:
                raise _Words(
                    f"{name} must hold one label for each of its {rows} images. "
                    f"Received: {count} labels"
                )
        images = images[:limit]
        return images, labels[0][0][:limit] if labels else np.full(len(images), -1)


def stream_npz(path, rows):
    """Yields the images of an .npz file, `rows` at a time, without unpickling anything.

    They are `images`, or those of the only split. `path` and what is raised are as for `read_npz`;
    an array in Fortran's order, whose images do not follow each other, is read whole.
    """
    with _words_for(path), zipfile.ZipFile(path) as archive:
        members = _members(archive)
        splits = ("train", "validation", "val", "test")
        names = {key.format(split=split) for key, _ in _KEYS for split in splits} | {"images"}
        found = sorted(names & members.keys())
        if len(found) != 1:
            raise _Words(
                f"{path} must hold `images`, or the images of one split and no other. "
                f"Received: {sorted(members)}"
            )
        what = f"`{found[0]}` of {path}"
        yield from _read_rows(archive, members[found[0]], rows, what)


def read_arrays(path, names):
    """Reads arrays of an .npz file by their names, a dict, without unpickling anything.

    Raises a FileNotFoundError if there is no such file; a ValueError if it cannot be read, lacks
    one of the arrays, or expands to more than the limit of `check_expansion`.
    """
    with open(path, "rb") as file, _words_for(path), zipfile.ZipFile(file) as archive:
        members = _members(archive)
        if missing := [name for name in names if name not in members]:
            raise _Words(f"{path} must hold `{missing[0]}`. Received: {sorted(members)}")
        return {
            name: _read_array(archive, members[name], None, f"`{name}` of {path}")[0]
            for name in names
        }


@contextlib.contextmanager
def _words_for(name):
    """Raises the errors of reading a file as a ValueError that names it."""
    try:
        yield
    except _Words as error:
        raise ValueError(str(error)) from None
    except ExpansionError:
        raise
    # zipfile, the decompressors and NumPy's parser raise many types, LZMAError among them.
    except Exception as error:
        raise ValueError(f"{name} is not an .npz file of plain arrays: {error}") from error


def _members(archive):
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}


def _find_keys(members, split, name):
    present = []
    for candidate in ("train", "validation", "val", "test"):
        for keys in _KEYS:
            images_key, labels_key = (key.format(split=candidate) for key in keys)
            if images_key in members:
                official = "validation" if candidate == "val" else candidate
                if official == split:
                    return images_key, labels_key
                present.append(official)
    if present:
        raise _Words(f"`split` must be one of {tuple(present)} for {name}. Received: {split!r}")
    if "images" not in members:
        raise _Words(
            f"{name} must hold `images`, or `{split}_images`, or `x_{split}`. "
            f"Received: {sorted(members)}"
        )
    return "images", "labels"


def _read_array(archive, member, limit, what):
    """Reads an array, or its first `limit` rows, and how many it has; checks them before."""
    with archive.open(member) as file:
        shape, fortran, dtype = _read_header(file, member, what)
        rows = shape[0] if shape else None
        if limit is not None and shape and not fortran:
            shape = (min(limit, rows), *shape[1:])
        check_expansion(what, math.prod(shape) * dtype.itemsize, member.compress_size)
        values = _read_values(file, shape, dtype, what)
        # At the end its checksum is compared.
        while member.file_size <= _MOST_CHECKED and file.read(_CHUNK):
            pass
        return values.reshape(shape, order="F" if fortran else "C"), rows


def _read_rows(archive, member, rows, what):
    """Yields an array, `rows` at a time; its checksum is compared at the end."""
    with archive.open(member) as file:
        shape, fortran, dtype = _read_header(file, member, what)
        if fortran or not shape:
            yield _read_array(archive, member, None, what)[0]
            return
        one = math.prod(shape[1:]) * dtype.itemsize
        check_expansion(f"{rows} images of {what}", rows * one, member.compress_size)
        for start in range(0, shape[0], rows):
            part = (min(rows, shape[0] - start), *shape[1:])
            yield _read_values(file, part, dtype, what).reshape(part)
        file.read(1)


def _read_header(file, member, what):
    """The shape, order and type of an array that is there, of plain numbers."""
    version = npy.read_magic(file)
    if version not in _READ_HEADER:
        raise ValueError(f"{what} is in version {version} of the format, which is not read")
    shape, fortran, dtype = _READ_HEADER[version](file)
    if dtype.hasobject:
        raise ValueError(f"{what} has Python objects, which are not read")
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared > member.file_size:
        raise ValueError(f"{what} has fewer bytes than its shape {shape} takes")
    return shape, fortran, dtype


def _read_values(file, shape, dtype, what):
    """The numbers of a shape that come next, flat."""
    values = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        read = file.read(len(part))
        if len(read) != len(part):
            raise ValueError(f"{what} is truncated")
        part[:] = np.frombuffer(read, np.uint8)
    return values.view(dtype)
