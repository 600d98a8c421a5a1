"""Files with a checksum of their contents at the end, by which damage is found."""

import hashlib
import io
import warnings
from pathlib import Path

import numpy as np

from ddim_embed.store.atomic import replacing

_MARK = b"\nsha256 "
_LENGTH = len(_MARK) + 64 + 1


class DamagedError(ValueError):
    """A file does not have the checksum that it was written with."""


def write_sealed(path, *parts):
    """Writes buffers one after the other, and their checksum, replacing `path` in one rename.

    What reads HDF5, .npz or .npy files reads them with the checksum behind them, too.
    """
    digest = _digest_for(path)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        file.write(_seal(digest))


def read_sealed(path):
    """Returns the bytes that `write_sealed` wrote, a memoryview.

    Raises a FileNotFoundError if there is no such file, a DamagedError if a bit of it is another.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # reading a pipe, or a device, does not end
        raise DamagedError(f"{path} is not a regular file.")
    contents = memoryview(path.read_bytes())
    body, digest = contents[:-_LENGTH], _digest_for(path)
    digest.update(body)
    if contents[-_LENGTH:] != _seal(digest):
        raise DamagedError(f"{path} is damaged, or of an earlier version: its checksum is wrong.")
    return body


def write_arrays(path, key, **arrays):
    """Writes a cache: arrays, and a key of what they were computed from, as .npz."""
    memory = io.BytesIO()
    np.savez(memory, key=key, **arrays)
    write_sealed(path, memory.getbuffer())


def read_arrays(path, key):
    """The arrays of a cache, a dict; None if there is none, or one with another key.

    Warns of a cache that is damaged, and returns None: it is to be computed again.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        contents = read_sealed(path)
    except DamagedError as error:
        warnings.warn(f"{error} It is computed again.", stacklevel=2)
        return None
    with np.load(io.BytesIO(contents), allow_pickle=False) as file:
        if str(file["key"]) != key:
            return None
        return {name: file[name] for name in file.files if name != "key"}


def _digest_for(path):
    # It begins with the ending of the name: one kind of file is not taken for another.
    return hashlib.sha256(Path(path).suffix.encode())


def _seal(digest):
    return _MARK + digest.hexdigest().encode() + b"\n"
