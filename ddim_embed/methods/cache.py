"""Embeddings cached on disk: a run that was killed resumes where it stopped."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from ddim_embed import arguments
from ddim_embed.generator.generator import Generator, as_generator
from ddim_embed.methods import driver
from ddim_embed.methods.embedding import Embedding, Trace, concatenate
from ddim_embed.methods.protocol import Method
from ddim_embed.methods.registry import configured, embed
from ddim_embed.methods.sending import embed_sent, sender
from ddim_embed.store.sealed import read_arrays, write_arrays
from ddim_embed.workers import FailedChunksError, Failure, pool


def embed_in_chunks(
    generator: Generator,
    pixels: np.ndarray,
    method: Method | str = "unet",
    seed: int = 0,
    latents: np.ndarray | None = None,
    *,
    chunk_size: int = 256,
    folder: Path | None = None,
    callback: Callable[[int], None] | None = None,
    warm_up: Method | None = None,
    workers: int | None = None,
    cluster=None,
    retries: int = 2,
) -> Embedding:
    """Embeds many images chunk by chunk, with progress, and with each chunk cached in a file.

    Args:
        generator, pixels, method, latents: as for `embed`.
        seed: integer; the chunk that starts at image i is embedded with `seed + i`.
        chunk_size: images in a chunk.
        folder: where chunks are cached, `<index of the first image>.npz`; None caches nothing.
        callback: called with the number of images after each chunk, such as `tqdm.update`.
        warm_up: a method that embeds the first chunk of each size that is not cached, before it is
            timed, so that `seconds` do not include tracing and compilation.
        workers, cluster, retries: as for `embed_many`; `seconds` add up those of all workers.

    Raises:
        ValueError: as `embed`, before anything is embedded; or as `embed_many`.
        FailedChunksError: if chunks failed in every try; all others are cached by then.
    """
    method, chunk_size = configured(method), arguments.integer("chunk_size", chunk_size)
    seed, retries = arguments.seed(seed), arguments.integer("retries", retries, 0)
    pixels, latents, _ = driver.check(method, as_generator(generator), pixels, latents)
    parts, failed = {}, []

    def done(start, embedding):
        parts[start] = embedding
        if callback is not None:
            callback(len(embedding.mse))

    def missing(pack):
        """Yields the chunks that are not cached."""
        for start in range(0, len(pixels), chunk_size):
            chunk = slice(start, start + chunk_size)
            own, part = generator.take(chunk), pixels[chunk]
            first, path = None if latents is None else latents[chunk], None
            if folder is not None:
                path = folder / f"{start}.npz"
                key = cache_key(own, part, method, seed + start, first)
                if (embedding := _read(path, key)) is not None:
                    done(start, embedding)
                    continue
            yield (
                (start, None if path is None else functools.partial(_write, path, key)),
                pack(own, part, seed + start, first),
            )

    with pool(workers, cluster) as place:
        if place.remote:
            compute, pack = embed_sent, sender(generator, method, warm_up)
        else:
            compute, pack = _embedder(method, warm_up), lambda *chunk: chunk
            retries = 0  # in the same process, with the same error
        for (start, write), result in place.run(compute, missing(pack), retries):
            if isinstance(result, Failure):
                if result.error is not None:
                    raise result.error
                stop = min(start + chunk_size, len(pixels))
                failed.append((f"images {start} to {stop - 1}", result.reason))
                continue
            if write is not None:
                write(result)
            done(start, result)
    if failed:
        raise FailedChunksError(failed)
    return concatenate([parts[start] for start in sorted(parts)])


def _embedder(method, warm_up):
    """A function that embeds a chunk in this process."""
    warm = set()

    def compute(generator, pixels, seed, latents):
        if warm_up is not None and len(pixels) not in warm:
            embed(generator, pixels, warm_up, seed=seed, latents=latents)
            warm.add(len(pixels))
        return embed(generator, pixels, method, seed=seed, latents=latents)

    return compute


def cached_embed(
    path: Path,
    generator: Generator,
    pixels: np.ndarray,
    method: Method | str = "unet",
    latents: np.ndarray | None = None,
    seed: int = 0,
) -> Embedding:
    """`embed`, or its cached result: `path` is read if its key is that of the arguments."""
    arguments, options = (generator, pixels, method), {"seed": seed, "latents": latents}
    return _cached(path, lambda: embed(*arguments, **options), *arguments, **options)


def cache_key(
    generator: Generator,
    pixels: np.ndarray,
    method: Method | str,
    seed: int,
    latents: np.ndarray | None = None,
) -> str:
    """Returns a hash of everything that an embedding depends on; arguments as for `embed`."""
    options = configured(method).fingerprint(generator)
    words = generator.fingerprint(), options, str(seed), generator.precision
    digest = hashlib.sha256("\n".join(words).encode())
    condition = [] if generator.condition is None else keras.tree.flatten(generator.condition)
    for values in (pixels, latents, *condition):
        array = np.asarray(() if values is None else values)
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _cached(path, compute, generator, pixels, method, seed, latents):
    if path is None:
        return compute()
    key = cache_key(generator, pixels, method, seed, latents)
    embedding = _read(path, key)
    if embedding is None:
        embedding = compute()
        _write(path, key, embedding)
    return embedding


def _write(path, key, embedding):
    arrays = {
        field.name: value
        for field in dataclasses.fields(Embedding)
        if (value := getattr(embedding, field.name)) is not None and field.name != "trace"
    }
    if embedding.trace is not None:
        trace = dataclasses.asdict(embedding.trace)
        arrays |= {f"trace.{name}": value for name, value in trace.items()}
    write_arrays(path, key, **arrays)


def _read(path, key):
    """The cached `Embedding`, or None as `read_arrays`."""
    arrays = read_arrays(path, key)
    if arrays is None:
        return None
    trace = {name[6:]: arrays.pop(name) for name in [*arrays] if name.startswith("trace.")}
    return Embedding(
        **arrays | {"seconds": float(arrays["seconds"])}, trace=Trace(**trace) if trace else None
    )
