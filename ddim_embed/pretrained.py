"""Shipped weights by name: `load_generator`, `load_embedder`, `load_feature_classifier`."""

import warnings

from ddim_embed.embedders import build_embedder
from ddim_embed.frechet import FeatureClassifier
from ddim_embed.generator import Generator
from ddim_embed.weights import find_instrument, find_weights, load_weights, read_manifest


def load_generator(name, root=None, num_steps=10, precision="float32", last_step=None):
    """Loads a trained generator.

    Args:
        name: data set, a folder of `weights/`.
        root: folder of weights; by default the shipped one (see `weights.weights_root`).
        num_steps: sampler steps of a decode.
        precision: "float32" or "bfloat16", of the convolutions.
        last_step: "predicted_image" or "transfer", as for `sampling.sample`; None for that which
            the weights were recorded with.

    Returns:
        A `Generator`.

    Raises:
        FileNotFoundError: if there are no such weights; says what there is and what makes them.
        ValueError: if the file is not what the manifest says, or for options that `Generator`
            refuses.
    """
    path, entry = find_weights(name, "generator", root)
    options = {"num_steps": num_steps, "precision": precision}
    if last_step is not None:
        options["last_step"] = last_step
    generator = Generator(**entry["config"] | options)
    load_weights(generator, path, entry["sha256"])
    generator.dataset, generator.root = name, root
    return generator


def load_embedder(name, network, root=None):
    """Loads a trained embedding network.

    Args:
        name: data set, a folder of `weights/`.
        network: a name of `embedders.NETWORKS`.
        root: folder of weights; by default the shipped one.

    Returns:
        A `keras.Model` from images in model space to latents.

    Raises:
        FileNotFoundError: if there are no such weights; says what there is and what makes them.
        ValueError: if the file is not what the manifest says.

    Warns:
        If it was trained through another generator than the one that is there now.
    """
    path, entry = find_weights(name, network, root)
    trained_through = entry["budget"].get("generator")
    generator = read_manifest(root).get(f"{name}/generator", {}).get("sha256")
    if trained_through and generator and trained_through != generator:
        warnings.warn(
            f"{path} was trained through another generator than that in its folder. Train it "
            f"again: `python -m experiments.{name} train-embedders {network}`.",
            stacklevel=2,
        )
    embedder = build_embedder(network, **entry["config"])
    load_weights(embedder, path, entry["sha256"])
    return embedder


def load_feature_classifier(name, root=None):
    """Loads the classifier on whose features `frechet_distance` compares images of a data set.

    Args:
        name: data set, a folder of `weights/`; "fashion_mnist" and "mnist" are shipped.
        root: folder of weights; the shipped one by default, and where it has none.

    Returns:
        A `FeatureClassifier`.

    Raises:
        FileNotFoundError: if there are no such weights; says what there is and what makes them.
        ValueError: if the file is not what the manifest says.
    """
    path, entry = find_instrument(name, "features", root)
    classifier = FeatureClassifier(**entry["config"])
    load_weights(classifier, path, entry["sha256"])
    return classifier
