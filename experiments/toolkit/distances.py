"""Frechet distances of sets of images, and of vectors, with their intervals."""

import numpy as np

import ddim_embed as de
from ddim_embed.metrics.pixels import clipped_batches
from experiments.toolkit import sources

# Parts of the jackknife: each leaves out a tenth of both sets.
_PARTS = 10
_BATCH = 64


def image_features(config, padding=0):
    """The name of a network, and a function from pixels `(n, height, width, channels)` to features.

    It is the classifier of the data set's own classes, for grey images, and elsewhere AlexNet, its
    last convolution, with the weights of LPIPS. Neither is Inception: the distances are no FIDs.
    """
    classifier = sources.load_classifier(config)
    if classifier is not None:
        return f"the classifier of {config.name}", classifier.features
    network = de.load_perceptual_distance(config.weights)

    def features(pixels):
        inner = slice(padding, -padding or None)
        parts = clipped_batches(pixels[:, inner, inner], _BATCH)
        return np.concatenate([network.features(part).numpy() for part in parts])

    return "AlexNet (LPIPS)", features


def frechet(features, reference):
    """The Frechet distance of two sets of vectors: an estimate, with the interval of a jackknife.

    Args:
        features, reference: `(n, d)` and `(m, d)`, each of 2 at least.

    Returns:
        A dict of the distance, `mean`, and the half width of its 95% interval, `interval`; None for
        sets of which a tenth cannot be left out.
    """
    distance = de.frechet_distance(features, reference)
    if min(len(features), len(reference)) < 2 * _PARTS:
        return {"mean": distance, "interval": None}
    without = [
        de.frechet_distance(*(_without(each, part) for each in (features, reference)))
        for part in range(_PARTS)
    ]
    # Tukey's jackknife: each distance lacks a tenth of the images.
    error = np.sqrt((_PARTS - 1) * np.var(without))
    return {"mean": distance, "interval": float(1.96 * error)}


def _without(vectors, part):
    """All but every tenth vector, from the one called `part` on."""
    return vectors[np.arange(len(vectors)) % _PARTS != part]
