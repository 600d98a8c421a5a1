"""Shipped weights by name: `load_generator`, `load_embedder`, `load_feature_classifier`."""

from ddim_embed.embedders import build_embedder
from ddim_embed.frechet import FeatureClassifier
from ddim_embed.generator import Generator
from ddim_embed.weights import find_weights, load_weights


def load_generator(name, root=None, num_steps=10, precision="float32", last_step="predicted_image"):
    """Loads a trained generator.

    Args:
        name: data set, a folder of `weights/`.
        root: folder of weights; by default the shipped one (see `weights.weights_root`).
        num_steps: sampler steps of a decode.
        precision: "float32" or "bfloat16", of the convolutions.
        last_step: "predicted_image" or "transfer", as for `sampling.sample`.

    Returns:
        A `Generator`.

    Raises:
        FileNotFoundError: if there are no such weights; says what there is and what makes them.
        ValueError: if the file is not what the manifest says, or for options that `Generator`
            refuses.
    """
    path, entry = find_weights(name, "generator", root)
    options = {"num_steps": num_steps, "precision": precision, "last_step": last_step}
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
    """
    path, entry = find_weights(name, network, root)
    embedder = build_embedder(network, **entry["config"])
    load_weights(embedder, path, entry["sha256"])
    return embedder


def load_feature_classifier(name, root=None):
    """Loads the classifier on whose features `frechet_distance` compares images of a data set.

    Args:
        name: data set, a folder of `weights/`; "fashion_mnist" and "mnist" are shipped.
        root: folder of weights; by default the shipped one.

    Returns:
        A `FeatureClassifier`.

    Raises:
        FileNotFoundError: if there are no such weights; says what there is and what makes them.
        ValueError: if the file is not what the manifest says.
    """
    path, entry = find_weights(name, "features", root)
    classifier = FeatureClassifier(**entry["config"])
    load_weights(classifier, path, entry["sha256"])
    return classifier
