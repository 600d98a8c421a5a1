"""`embed_many`: any number of images, in any number of processes, into a folder of results."""

import hashlib
import importlib.metadata
import os
import warnings
from collections.abc import Callable

import keras
import numpy as np
from tqdm.auto import tqdm

from ddim_embed import arguments
from ddim_embed.data.chunks import count_images, read_chunks
from ddim_embed.generator.generator import Generator, as_generator
from ddim_embed.generator.pretrained import load_generator
from ddim_embed.methods.protocol import Method
from ddim_embed.methods.registry import configured, embed
from ddim_embed.methods.sending import embed_sent, sender
from ddim_embed.store.locks import LockedError, locked
from ddim_embed.store.sealed import DamagedError, write_arrays
from ddim_embed.store.shards import (
    StoredEmbeddings,
    list_shards,
    open_embeddings,
    read_index,
    shard_key,
    shard_path,
    write_index,
)
from ddim_embed.version import __version__
from ddim_embed.workers import FailedChunksError, Failure, pool

# What is kept of an `Embedding`: the reconstruction follows from the latents, and times differ.
_ARRAYS = ("latents", "mse", "evaluations", "partner", "single_mse")


def embed_many(
    generator: Generator | str,
    source,
    folder: str | os.PathLike,
    method: Method | str = "unet",
    seed: int = 0,
    *,
    chunk_size: int = 256,
    workers: int | None = None,
    cluster=None,
    retries: int = 2,
    progress: bool = False,
    report: Callable[[str, str], None] | None = None,
    notes: dict | None = None,
) -> StoredEmbeddings:
    """Embeds any number of images into a folder, chunk by chunk, in processes or on a cluster.

    Images are read, and results written, by this process: workers need no common disk. A few chunks
    for each worker are in memory, however many images there are. A run that was stopped or killed
    goes on where it was, with any number of workers: the files are the same, byte by byte, on
    processors of one kind.

    Args:
        generator: a `Generator` without a condition, or a name for `load_generator`.
        source: a folder of images, whose subfolders count, too; an .npz file; an array, which may
            be mapped from a file; or an iterable, such as a `tf.data.Dataset`, of image files, of
            images or of batches of them. Images are cropped and resized as by `load_images`; files
            that are no images are left out.
        folder: where results are written; made if it is missing.
        method, seed: as for `embed`; the chunk that starts at image i is embedded with `seed + i`.
        chunk_size: images in a chunk, and in a file of the results.
        workers: processes of this machine, which share its cores; 1 for this process itself. None
            for what `joblib.parallel_config` says around this call, else 1.
        cluster: instead of them a Dask cluster (`pip install 'ddim-embed[dask]'`): the address of
            its scheduler, such as "tcp://host:8786", or a `distributed.Client`.
        retries: how often a chunk that fails is tried again, in another process or on another Dask
            worker.
        progress: whether to show a progress bar.
        report: called with `(file, reason)` for each file that is left out.
        notes: JSON values to be added to `index.json`.

    Returns:
        `StoredEmbeddings`, as `open_embeddings(folder)`.

    Raises:
        ValueError: for other arguments, or a source without images.
        FileExistsError: if the folder has embeddings by another generator, method or seed, or of
            other images: nothing of it is replaced.
        FileNotFoundError: for a source or weights that do not exist.
        FailedChunksError: if chunks failed in every try. All others are written by then.
        ImportError, ConnectionError: for a cluster without Dask, or one that does not answer.
        LockedError: if another process writes to the folder.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> pixels = generator.sample(5).clip(0, 1)
        >>> found = de.embed_many(generator, pixels, "embedded", "conv1", chunk_size=2)
        >>> found.latents[1:3].shape, found.mse[:].shape
        ((2, 32, 32, 1), (5,))
        >>> sorted(path.name for path in found.folder.glob("*.npz"))
        ['000000000000.npz', '000000000002.npz', '000000000004.npz']
    """
    method, seed = configured(method), arguments.seed(seed)
    chunk_size = arguments.integer("chunk_size", chunk_size)
    retries = arguments.integer("retries", retries, 0)
    arguments.flag("progress", progress)
    folder = arguments.path("folder", folder)
    generator = load_generator(generator) if isinstance(generator, str) else generator
    if as_generator(generator).condition is not None:
        raise ValueError(
            "`generator` must be without a condition. Embed the images of each condition with "
            "`embed`."
        )
    settings = {
        "generator": generator.fingerprint(),
        "method": method.fingerprint(generator),
        "precision": generator.precision,
        "image_shape": [*generator.image_shape],
        "seed": seed,
        "chunk_size": chunk_size,
    }
    chunks = read_chunks(source, generator.image_shape, generator.padding, chunk_size)
    with pool(workers, cluster) as place:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with locked(folder / ".lock", wait=False):
                work = _Work(folder, settings, report, notes or {})
                total = count_images(source) if progress else None
                with tqdm(total=total, unit="image", disable=not progress) as work.bar:
                    work.run(place, generator, method, chunks, retries)
        except LockedError as error:
            raise LockedError(f"`folder` {folder} is written to by {error}.") from None
    return open_embeddings(folder)


class _Work:
    """The results of one run, and what is known of those that are there already."""

    def __init__(self, folder, settings, report, notes):
        self.folder, self.settings, self.report, self.notes = folder, settings, report, notes
        self.images = self.embedded = 0
        before = read_index(folder)
        if before is None and list_shards(folder):
            raise FileExistsError(
                f"`folder` {folder} has numbered .npz files that are none of `embed_many`, which "
                "has an index of its own. Choose another folder."
            )
        if before is not None and before["settings"] != settings:
            differing = [
                f"{name} {before['settings'].get(name)!r}, not {value!r}"
                for name, value in settings.items()
                if before["settings"].get(name) != value
            ]
            raise FileExistsError(
                f"`folder` {folder} has embeddings made otherwise: {'; '.join(differing)}. Choose "
                "another folder, or delete it."
            )
        self.index(complete=False)

    def run(self, place, generator, method, chunks, retries):
        if place.remote:
            compute, pack = embed_sent, sender(generator, method)
        else:

            def compute(pixels, seed):
                return embed(generator, pixels, method, seed=seed)

            def pack(own, pixels, seed):
                return pixels, seed

        def missing():
            """Yields the chunks that are not there yet."""
            for chunk in chunks:
                self.images += chunk.count
                for problem in chunk.problems if self.report else ():
                    self.report(*problem)
                key = self.key(chunk)
                if self.has(chunk, key):
                    self.done(chunk)
                elif not len(chunk.pixels):
                    self.write(chunk, key, _nothing(generator.image_shape))
                else:
                    seed = self.settings["seed"] + chunk.start
                    yield (chunk, key), pack(generator, chunk.pixels, seed)

        failed = []
        for (chunk, key), result in place.run(compute, missing(), retries):
            if isinstance(result, Failure):
                failed.append(_failed(chunk, result))
                continue
            arrays = {name: getattr(result, name) for name in _ARRAYS}
            self.write(
                chunk, key, {n: values for n, values in arrays.items() if values is not None}
            )
        if not self.images:
            raise ValueError("`source` must have at least one image. Received none.")
        beyond = [start for start in list_shards(self.folder) if start >= self.images]
        if beyond:
            warnings.warn(
                f"{self.folder} has the embeddings of more images than the {self.images:,} of "
                f"`source`: from {shard_path(self.folder, beyond[0]).name} on.",
                stacklevel=3,
            )
        self.index(complete=not failed, failed=failed)
        if failed:
            raise FailedChunksError([(each["images"], each["reason"]) for each in failed])

    def key(self, chunk):
        """A hash of everything that the results of a chunk depend on."""
        words = [f"{name} {value}" for name, value in self.settings.items()]
        words += [*chunk.files, "problems", *(word for pair in chunk.problems for word in pair)]
        words += [f"{chunk.start} {chunk.index.tolist()} {chunk.pixels.shape}"]
        digest = hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(chunk.pixels))
        return digest.hexdigest()

    def has(self, chunk, key):
        path = shard_path(self.folder, chunk.start)
        try:
            found = shard_key(path)
        except DamagedError as error:
            warnings.warn(f"{error} It is computed again.", stacklevel=2)
            return False
        if found not in (None, key):
            raise FileExistsError(
                f"{path} has the embeddings of other images than images {_range(chunk)} of "
                "`source`, or of the same ones before they changed. Choose another folder, or "
                "delete the file."
            )
        return found is not None

    def write(self, chunk, key, arrays):
        files, reasons = zip(*chunk.problems, strict=True) if chunk.problems else ((), ())
        words = {"files": chunk.files, "skipped": files, "reasons": reasons}
        words = {name: np.array(values, np.str_) for name, values in words.items()}
        path = shard_path(self.folder, chunk.start)
        write_arrays(path, key, index=chunk.index, **arrays, **words)
        self.done(chunk)

    def done(self, chunk):
        self.embedded += len(chunk.pixels)
        self.bar.update(chunk.count)

    def index(self, complete, failed=()):
        packages = ("keras", keras.backend.backend(), "numpy")
        contents = self.notes | {
            "settings": self.settings,
            "versions": {"ddim_embed": __version__}
            | {package: importlib.metadata.version(package) for package in packages},
            "complete": complete,
            "images": self.images,
            "embedded": self.embedded,
            "failed": [*failed],
        }
        write_index(self.folder, contents)


def _nothing(image_shape):
    return {
        "latents": np.zeros((0, *image_shape), np.float32),
        "mse": np.zeros(0),
        "evaluations": np.zeros(0),
    }


def _range(chunk):
    return f"{chunk.start} to {chunk.start + chunk.count - 1}"


def _failed(chunk, failure):
    files = [chunk.files[0], chunk.files[-1]] if chunk.files[0] else []
    words = f"images {_range(chunk)}"
    return {
        "images": f"{words}, {files[0]} to {files[1]}" if files else words,
        "start": chunk.start,
        "stop": chunk.start + chunk.count,
        "files": [*chunk.files] if files else [],
        "reason": failure.reason,
        "where": failure.where,
    }
