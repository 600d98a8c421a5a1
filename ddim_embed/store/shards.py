"""Embeddings of many images in a folder: a sealed .npz file for each chunk, and what they are.

`<number of the first image>.npz` has the arrays of a chunk, as `write_arrays` writes them, and
`index.json` how they were made.
"""

import contextlib
import functools
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ddim_embed import arguments
from ddim_embed.store.atomic import replacing
from ddim_embed.store.records import to_json
from ddim_embed.store.sealed import DamagedError, read_sealed

INDEX = "index.json"
# Digits of the number in a name: the order of names is that of images.
_DIGITS = 12
_OF_PROBLEMS = ("skipped", "reasons")
_NAME = re.compile(rf"\d{{{_DIGITS}}}\.npz")


def shard_path(folder: Path, start: int) -> Path:
    """The file of the chunk whose first image has the number `start`."""
    return folder / f"{start:0{_DIGITS}}.npz"


def shard_key(path: Path) -> str | None:
    """The key of a chunk that is there; None if there is none.

    Raises a `DamagedError` if it is not as it was written.
    """
    try:
        with np.load(io.BytesIO(read_sealed(path)), allow_pickle=False) as file:
            return str(file["key"])
    except FileNotFoundError:
        return None


def list_shards(folder: Path) -> list[int]:
    """The numbers of the first images of the chunks that are there, sorted."""
    with os.scandir(folder) as entries:
        return sorted(int(entry.name[:_DIGITS]) for entry in entries if _NAME.fullmatch(entry.name))


def read_index(folder: Path) -> dict | None:
    """What `write_index` wrote; None if it did not.

    Raises a ValueError if the file is another one.
    """
    path = folder / INDEX
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(contents, dict) or not isinstance(contents.get("settings"), dict):
        raise ValueError(f"{path} is not an index of embeddings: it has no `settings`.")
    return contents


def write_index(folder: Path, contents: dict):
    """Writes `index.json`: a dict with "settings", a dict, and other JSON values."""
    with replacing(folder / INDEX) as temporary:
        temporary.write_text(to_json(contents) + "\n", encoding="utf-8")


def open_embeddings(folder: str | os.PathLike) -> "StoredEmbeddings":
    """Opens the embeddings that `embed_many` wrote; arrays are read where they are indexed.

    Args:
        folder: the folder.

    Returns:
        `StoredEmbeddings`.

    Raises:
        FileNotFoundError: if there is no such folder, or there are no embeddings in it.
        ValueError: if a file is damaged; the message names it.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> pixels = generator.sample(5).clip(0, 1)
        >>> made = de.embed_many(generator, pixels, "embedded", "conv1", chunk_size=2)
        >>> found = de.open_embeddings("embedded")
        >>> len(found), found.latents.shape, found.mse[3:].shape, found.files[:1].tolist()
        (5, (5, 32, 32, 1), (2,), [''])
        >>> [len(part["latents"]) for part in found]
        [2, 2, 1]
    """
    folder = arguments.path("folder", folder)
    index = read_index(folder) if folder.is_dir() else None
    if index is None:
        raise FileNotFoundError(
            f"`folder` must be one that `embed_many` wrote, with {INDEX} in it. Received: {folder}"
        )
    return StoredEmbeddings(folder, index)


class StoredEmbeddings:
    """Embeddings in a folder, in the order of the images; made by `open_embeddings`.

    `latents`, `mse`, `evaluations`, `files`, `index` (the place of each image in its source), and
    of coupled methods `partner` and `single_mse`, are `Column`s: `found.latents[100:200]` reads the
    files of these images alone, `found.mse[:]` all of them. Iteration yields a dict of arrays for
    each file in turn. Files that are added later are not seen.

    Attributes:
        folder: where they are.
        about: contents of `index.json`: how they were made, and which images failed.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> pixels = generator.sample(3).clip(0, 1)
        >>> found = de.embed_many(generator, pixels, "embedded", "conv1")
        >>> generator.decode(found.latents[1:]).shape, found.mse[-1] < 0.1
        (TensorShape([2, 32, 32, 1]), np.True_)
    """

    def __init__(self, folder: Path, about: dict):
        self.folder, self.about = folder, about
        self._starts = list_shards(folder)
        # For those who take one image after the other.
        self._array = functools.lru_cache(maxsize=2)(self._read)

    def __len__(self):
        return int(self._ends[-1]) if self._starts else 0

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for start in self._starts:
            with _words_for(path := shard_path(self.folder, start)):
                contents = read_sealed(path)
                with np.load(io.BytesIO(contents), allow_pickle=False) as file:
                    part = {name: file[name] for name in file.files if name != "key"}
            yield part

    def __getattr__(self, name):
        if not name.startswith("_") and self._starts and name in self._shapes:
            return Column(self, name)
        raise AttributeError(f"There are no `{name}` in {self.folder}.")

    def __dir__(self):
        return [*super().__dir__(), *(self._shapes if self._starts else ())]

    @property
    def problems(self) -> list[tuple[str, str]]:
        """`(file, reason)` of the files that could not be read as images."""
        pairs = (
            zip(*(self._read(number, name) for name in _OF_PROBLEMS), strict=True)
            for number in range(len(self._starts))
        )
        return [(str(file), str(reason)) for each in pairs for file, reason in each]

    @functools.cached_property
    def _ends(self):
        """How many images the first file has, the first two have, and so on."""
        counts = [_shape(shard_path(self.folder, start), "mse")[0] for start in self._starts]
        return np.cumsum(counts, dtype=np.int64)

    @functools.cached_property
    def _first(self):
        """The first file with an image: another one has nothing but files that are no images."""
        return int(np.argmax(self._ends > 0))

    @functools.cached_property
    def _shapes(self):
        path = shard_path(self.folder, self._starts[self._first])
        with _words_for(path), np.load(path, allow_pickle=False) as file:
            names = {*file.files} - {"key", *_OF_PROBLEMS}
        return {name: _shape(path, name)[1:] for name in sorted(names)}

    def _read(self, number, name):
        """An array of a file, which has a checksum of its own in it."""
        path = shard_path(self.folder, self._starts[number])
        with _words_for(path), np.load(path, allow_pickle=False) as file:
            return file[name]


class Column(Sequence):
    """One array of `StoredEmbeddings`, in as many files as there are: read where it is indexed.

    Takes an integer, a slice, or an array of integers or bools, of images, and returns an array.

    Attributes:
        shape: that of the whole array.
    """

    def __init__(self, stored: StoredEmbeddings, name: str):
        self._stored, self._name = stored, name
        self.shape = (len(stored), *stored._shapes[name])

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"<`{self._name}` {self.shape} in {self._stored.folder}>"

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)

    def __iter__(self):
        for number in range(len(self._stored._starts)):
            yield from self._stored._read(number, self._name)

    def __getitem__(self, item):
        chosen = np.arange(len(self))[item]
        if chosen.ndim == 0:
            return self._take(chosen[None])[0]
        return self._take(chosen)

    def _take(self, chosen):
        stored = self._stored
        numbers = np.searchsorted(stored._ends, chosen, side="right")
        found = None
        for number in np.unique(numbers):
            own = numbers == number
            values = stored._array(int(number), self._name)
            before = stored._ends[number] - len(values)
            values = values[chosen[own] - before]
            if found is None:
                found = np.zeros((len(chosen), *values.shape[1:]), values.dtype)
            elif values.dtype != found.dtype:  # names of different lengths
                found = found.astype(np.promote_types(found.dtype, values.dtype))
            found[own] = values
        return stored._array(stored._first, self._name)[:0] if found is None else found


def _shape(path, name):
    """The shape of an array of a file, without reading it."""
    with _words_for(path), zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as member:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return read(member)[0]


@contextlib.contextmanager
def _words_for(path):
    """Raises the errors of reading a damaged file as a `DamagedError` that names it."""
    try:
        yield
    except (OSError, DamagedError):
        raise
    except Exception as error:  # zipfile and NumPy's parser raise many types
        raise DamagedError(
            f"{path} is damaged: {error}. The command that wrote it makes it anew."
        ) from error
