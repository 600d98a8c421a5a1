"""Embeddings kept on disk, so that a killed run goes on: each file knows what it is of."""

import dataclasses
import hashlib

import numpy as np

import ddim_embed as de
from ddim_embed.methods.protocol import Embedding, Trace
from ddim_embed.store.weights import read_manifest
from experiments.toolkit import results


def embed(path, generator, pixels, method, latents, seed=0):
    """`de.embed` from given latents, or what an earlier run of the same has left.

    Args:
        path: an .npz file; read if it holds the same, else written.
        generator, pixels, method, latents, seed: as for `de.embed`.

    Returns:
        An `Embedding`.
    """
    key = identity(generator, pixels, method, seed, latents)
    embedding = read(path, key)
    if embedding is None:
        embedding = de.embed(generator, pixels, method, seed=seed, latents=latents)
        write(path, key, embedding)
    return embedding


def identity(generator, pixels, method, seed, latents=None):
    """Words that tell one embedding from another: a hash of everything that it depends on."""
    words = [generator.fingerprint(), repr(method), str(seed), generator.precision]
    # A method names the networks that it runs; their weights may be trained further.
    words += [
        entry["sha256"]
        for name, entry in sorted(read_manifest(generator.root).items())
        if name.startswith(f"{generator.dataset}/") and f"'{name.split('/')[1]}'" in repr(method)
    ]
    found = hashlib.sha256("\n".join(words).encode() + pixels.tobytes())
    if latents is not None:
        found.update(latents.tobytes())
    return found.hexdigest()


def write(path, identity, embedding):
    """Writes an `Embedding`, whole or not at all, under its `identity`."""
    arrays = {
        field.name: value
        for field in dataclasses.fields(Embedding)
        if (value := getattr(embedding, field.name)) is not None and field.name != "trace"
    }
    if embedding.trace is not None:
        arrays |= {
            f"trace.{name}": value for name, value in dataclasses.asdict(embedding.trace).items()
        }
    with results.replacing(path) as temporary:
        np.savez(temporary, identity=identity, **arrays)


def read(path, identity):
    """The `Embedding` of an earlier run, or None if there is none of this `identity`."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        if str(file["identity"]) != identity:
            return None
        arrays = {name: file[name] for name in file.files if name != "identity"}
    trace = {name[6:]: arrays.pop(name) for name in [*arrays] if name.startswith("trace.")}
    return Embedding(
        **arrays | {"seconds": float(arrays["seconds"])}, trace=Trace(**trace) if trace else None
    )
