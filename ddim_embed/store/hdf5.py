"""HDF5 files of weights, which may be anyone's: read without a surprise."""

import contextlib
import hashlib
import math
from pathlib import Path

import h5py
import numpy as np

# Far beyond those of models, and little work to walk through.
_MAX_DEPTH = 64
_MAX_OBJECTS = 20_000
# Bytes in a chunk of an array: it is read whole, however little of it the array needs.
_MAX_CHUNK = 2**24


class WeightsError(ValueError):
    """A file of weights, or the record of one, is damaged or not what it should be."""


@contextlib.contextmanager
def open_hdf5(path, sha256=None):
    """Opens a file for reading, and checks its checksum if `sha256` is not None.

    What is no HDF5 file of weights, or is damaged, as far as the `with` block reads it, is a
    WeightsError. Raises a FileNotFoundError if there is no such file.
    """
    check_format(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    # One open file for all: no other one can take its place between the checks and the reading.
    with open(path, "rb") as file:
        if sha256 is not None:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256.lower():
                raise WeightsError(
                    f"The checksum of {path} is wrong: the file is damaged, or another one. "
                    f"Expected sha256: {sha256}. Received: {found}"
                )
            file.seek(0)
        if not h5py.is_hdf5(path):
            raise WeightsError(f"{path} is not an HDF5 file.")
        try:
            with h5py.File(file, "r") as opened:
                yield opened
        except WeightsError:
            raise
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError) as error:
            raise WeightsError(f"{path} is truncated or damaged: {error}") from error


def check_format(path):
    """Raises a WeightsError, which says what it is, for what other libraries save weights as."""
    path, kind = Path(path), None
    if path.is_dir():
        kind = "a folder"
        if (path / "saved_model.pb").exists():
            kind = "a TensorFlow SavedModel"
        elif (path / "checkpoint").exists() or any(path.glob("*.index")):
            kind = "a folder of TensorFlow checkpoints"
    elif path.suffix == ".index" or ".data-0" in path.suffix or Path(f"{path}.index").is_file():
        kind = "a TensorFlow checkpoint"
    elif path.is_file() and _begins_with(path, b"PK\x03\x04"):
        kind = "a zip archive, as Keras 3 makes of whole models (`.keras`)"
    if kind is not None:
        raise WeightsError(
            f"{path} is {kind}, not an HDF5 file of weights. Load it as the model that it is of, "
            f"and write such a file with `model.save_weights`. Expected: `.weights.h5` of Keras 3 "
            f"for `load_weights`, `.h5` or `.hdf5` of Keras 2 for `load_legacy_weights`."
        )


def _begins_with(path, signature):
    with open(path, "rb") as file:
        return file.read(len(signature)) == signature


def find_datasets(group, path, skip=None):
    """Returns a dict from name to h5py dataset, for all inside a group but a child named `skip`.

    Links are not followed: they can lead out of the file. Raises a WeightsError for groups nested
    too deep, too many objects, or names that are no text, before it has read anything else.
    """
    datasets, seen = {}, set()
    stack = [("", group)]
    while stack:
        prefix, item = stack.pop()
        where = h5py.h5o.get_info(item.id).addr
        if where in seen:
            continue
        seen.add(where)
        if isinstance(item, h5py.Dataset):
            datasets[prefix] = item
        if not isinstance(item, h5py.Group):
            continue
        children = []
        for name in item:
            if isinstance(name, bytes):
                raise WeightsError(f"{path} has an object whose name is not UTF-8: {name!r}")
            full = f"{prefix}/{name}" if prefix else name
            if full != skip and isinstance(item.get(name, getlink=True), h5py.HardLink):
                children.append(full)
        if children and prefix.count("/") >= _MAX_DEPTH:
            raise WeightsError(f"{path} has groups nested more than {_MAX_DEPTH} deep.")
        if len(seen) + len(stack) + len(children) > _MAX_OBJECTS:
            raise WeightsError(f"{path} has more than {_MAX_OBJECTS:,} arrays and groups.")
        stack += [(full, group[full]) for full in reversed(children)]
    return datasets


def read_array(dataset, path, name):
    """Reads an h5py dataset, whose shape was checked, as an array of finite values.

    Raises a WeightsError, which names the file and the dataset, for values that are no floats of 16
    to 64 bits or not finite in float32, are kept in other files, or expand to far more than they
    are.
    """
    if dataset.external or dataset.is_virtual:
        raise WeightsError(f"{path}: the values of {describe(name)} are kept in other files.")
    try:
        dtype = dataset.dtype
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {describe(name)} is of a type unknown here: {error}") from None
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise WeightsError(f"{path}: {describe(name)} is of type {dtype}, not a float type.")
    if dataset.chunks is not None:
        size = math.prod(dataset.chunks) * dtype.itemsize
        if size > max(_MAX_CHUNK, dataset.nbytes):
            raise WeightsError(
                f"{path}: {describe(name)} has {dataset.nbytes:,} bytes, but is stored in chunks "
                f"that take {size:,} bytes each when they are read."
            )
    values = dataset[()]
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as not finite
        if not np.isfinite(values.astype(np.float32)).all():
            raise WeightsError(f"{path}: {describe(name)} has values that are not finite.")
    return values


def describe(name):
    """`block/conv1/vars/0`, as Keras names arrays, in words."""
    layer, _, index = name.rpartition("/vars/")
    return f"array {index} of layer `{layer}`" if layer else f"array `{name}`"
