"""The energy distance between two sets of vectors, which sees more than their moments."""

import numpy as np

from ddim_embed import arguments

# Rows whose distances to all others are computed at a time, which bounds memory.
_BLOCK = 512


def energy_distance(vectors: np.ndarray, others: np.ndarray) -> float:
    """The energy distance between the distributions of two sets of vectors.

    2 E|x - y| - E|x - x'| - E|y - y'| (Szekely and Rizzo, 2013), the means over all pairs of
    different vectors: so it has no bias, and may be slightly below 0 for sets of one distribution.
    Of whole distributions it is 0 for equal ones alone; the Frechet distance is 0 for equal means
    and covariances.

    Args:
        vectors, others: float, `(n, d)`, each with its own n of at least 2.

    Returns:
        A float, in the units of the vectors.

    Raises:
        ValueError: for other shapes, fewer than 2 vectors, different d, or values that are not
            finite.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(500, 2))
        >>> coins = np.random.default_rng(1).choice([-1, 1], size=(500, 2))  # the same moments
        >>> round(de.frechet_distance(vectors, coins), 1), de.energy_distance(vectors, coins) > 0.05
        (0.0, True)
    """
    vectors, others = _check("vectors", vectors), _check("others", others)
    if vectors.shape[1] != others.shape[1]:
        raise ValueError(
            "`vectors` and `others` must have the same number of dimensions. "
            f"Received shapes: {vectors.shape} and {others.shape}"
        )
    between = _total(vectors, others) / (len(vectors) * len(others))
    within = [_total(each, each) / (len(each) * (len(each) - 1)) for each in (vectors, others)]
    return float(2 * between - sum(within))


def _total(vectors, others):
    """The sum of the distances of all pairs."""
    from scipy.spatial.distance import cdist  # not at the top: importing needs no SciPy

    parts = range(0, len(vectors), _BLOCK)
    return sum(cdist(vectors[i : i + _BLOCK], others).sum() for i in parts)


def _check(name, vectors):
    vectors = arguments.finite_array(name, vectors, np.float64)
    if vectors.ndim != 2 or len(vectors) < 2 or not vectors.shape[1]:
        raise ValueError(
            f"`{name}` must have shape (n, d) with at least 2 vectors. "
            f"Received shape: {vectors.shape}"
        )
    return vectors
