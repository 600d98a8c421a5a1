"""What the verbs of attributes share: training vectors, the classifier, codes, edits."""

import hashlib

import numpy as np

import ddim_embed as de
from experiments.autoencoder import autoencode
from experiments.toolkit import sources
from experiments.toolkit.command_line import UsageError, command_of
from experiments.toolkit.labelled import cached, data_key

# How codes are found whose images are edited: they decode to the images themselves.
_NAME = "implicit, correction"
METHOD = autoencode.INVERSIONS[_NAME]


def training_vectors(config, autoencoder, limit=None, mirrored=False):
    """Standardised semantic vectors of training images, or of their mirror images, in their order.

    Returns:
        `(names, vectors, labels)`: k names, float32 `(n, dims)`, bool `(n, k)`.
    """

    def compute():
        pixels, names, labels = sources.load_with_attributes(config, "train", limit)
        pixels = pixels[:, :, ::-1] if mirrored else pixels
        vectors = autoencoder.standardize(autoencoder.encode(pixels))
        return {"names": np.array(names), "vectors": vectors, "labels": labels}

    name = "training-mirrored" if mirrored else "training"
    path = config.run_folder / "attributes" / f"{name}.npz"
    found = cached(path, data_key(config, autoencoder.checksum, "train", limit), compute)
    return tuple(map(str, found["names"])), found["vectors"], found["labels"]


def load_classifier(config, autoencoder):
    """Loads the attributes' classifier, which must be of this autoencoder."""
    classifier = de.load_attribute_classifier(config.name, config.weights)
    if classifier.autoencoder not in (None, autoencoder.checksum):
        raise UsageError(
            "The classifier of attributes is of other weights of the autoencoder, before they were "
            f"trained again. Fit it with `{command_of(config.name, ['attributes'])}`."
        )
    return classifier


def codes(config, autoencoder, pixels):
    """Codes of images, whose latents are found in chunks that are cached, as `autoencode`'s are."""
    semantic = autoencoder.encode(pixels).semantic
    own = autoencoder.generator.given(semantic)
    embedding = autoencode.embed(config, own, pixels, f"ours, {_NAME}", METHOD)
    return de.Code(semantic, embedding.latents, embedding, autoencoder.checksum)


def decoded(config, autoencoder, code, name):
    """Pixels, clipped, that codes decode to; cached under `name`."""
    digest = hashlib.sha256(f"{autoencoder.generator.fingerprint()}".encode())
    for array in (code.semantic, code.latents):
        digest.update(np.ascontiguousarray(array))
    path = config.run_folder / "manipulate" / f"{name}.npz"
    compute = lambda: {"pixels": autoencoder.decode(code).numpy().clip(0, 1)}  # noqa: E731
    return cached(path, digest.hexdigest(), compute)["pixels"]
