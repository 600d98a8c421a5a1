"""How well scores tell the images that have an attribute from the others: AUROC and its like.

All are computed from how many positives and negatives have at least each score, by weights, so
that a bootstrap, which weighs images by how often they were drawn, is one more axis.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ddim_embed import arguments

_BLOCK = 2**22  # weights that are used at a time, which bounds memory


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A measure of k attributes; intervals are 95%, percentiles of a bootstrap over images.

    Average precision grows a little where images are repeated: its intervals lie somewhat high.

    Attributes:
        names: the k attributes.
        values: float64 `(k,)`; NaN without a positive or a negative.
        intervals: `(k, 2)`, (low, high).
        positives: `(k,)`, how many images have each attribute.
        macro: mean of the values of the attributes with enough positives, and negatives; NaN
            without one.
        macro_interval: (low, high), from the same draws of images for all attributes.
        counted: bool `(k,)`, which attributes `macro` is of.
        macro_draws: float64 `(resamples,)`, `macro` of each draw.
    """

    names: tuple[str, ...]
    values: np.ndarray
    intervals: np.ndarray
    positives: np.ndarray
    macro: float
    macro_interval: tuple[float, float]
    counted: np.ndarray
    macro_draws: np.ndarray

    def macro_difference(self, other: "Ranking") -> tuple[float, tuple[float, float]]:
        """How much higher `macro` is than that of other scores of the same images.

        Args:
            other: a `Ranking` of the same images, attributes, `resamples` and `seed`, so that each
                draw is one of the same images.

        Returns:
            The difference; and its 95% interval, (low, high), which is narrower than those of both
            macro averages suggest: images that are hard are hard for both.

        Raises:
            ValueError: if `other` counts other attributes, or has other draws.
        """
        named = [np.array(one.names)[one.counted].tolist() for one in (self, other)]
        if named[0] != named[1] or len(self.macro_draws) != len(other.macro_draws):
            raise ValueError(
                f"`other` must be of the same attributes, {named[0]}, and as many draws, "
                f"{len(self.macro_draws)}. Received: {named[1]}, {len(other.macro_draws)}"
            )
        return self.macro - other.macro, _interval(self.macro_draws - other.macro_draws)


def auroc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve: how often a positive scores above a negative, ties by half.

    Args:
        scores: float `(n,)`.
        labels: bool `(n,)`.
        weights: `(..., n)`, at least 0; None for equal ones.

    Returns:
        float64 array, of the shape of `weights` without its last axis; NaN where positives or
        negatives have no weight.
    """
    hits, false = _curve(scores, labels, weights)
    steps = np.diff(false, axis=-1)
    areas = np.sum(steps * (hits[..., 1:] + hits[..., :-1]), axis=-1) / 2
    return _ratio(areas, hits[..., -1] * false[..., -1])


def average_precision(scores, labels, weights=None):
    """Mean precision over the positives, each at its own score (scikit-learn's definition).

    Arguments and result as for `auroc`.
    """
    hits, false = (counts[..., 1:] for counts in _curve(scores, labels, weights))
    gains = np.diff(hits, axis=-1, prepend=0)
    precisions = hits / np.maximum(hits + false, np.finfo(float).tiny)
    mean = _ratio(np.sum(gains * precisions, axis=-1), hits[..., -1])
    return np.where(false[..., -1] > 0, mean, np.nan)


def balanced_accuracy(scores, labels, weights=None):
    """Mean of the accuracies on positives and on negatives, where a score above 0 says positive.

    Arguments and result as for `auroc`.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    right = (scores > 0) == labels
    return sum(
        _ratio(np.sum(weights * (right & side), axis=-1), np.sum(weights * side, axis=-1))
        for side in (labels, ~labels)
    ) / 2  # fmt: skip


def rank(
    measure: Callable,
    scores: np.ndarray,
    labels: np.ndarray,
    names: tuple[str, ...],
    *,
    least: int = 20,
    resamples: int = 1000,
    seed: int = 0,
) -> Ranking:
    """A measure of each attribute, with intervals.

    Args:
        measure: `auroc`, `average_precision` or `balanced_accuracy`.
        scores: float `(n, k)`.
        labels: bool `(n, k)`.
        names: of the k attributes.
        least: positives, and negatives, that an attribute needs to be part of the macro average.
        resamples: draws of the bootstrap, at least 1.
        seed: integer, of the bootstrap.

    Returns:
        A `Ranking`.
    """
    n = len(scores)
    least = arguments.integer("least", least)
    resamples = arguments.integer("resamples", resamples)
    random = np.random.default_rng(arguments.seed(seed))
    positives = labels.sum(axis=0)
    counted = np.minimum(positives, n - positives) >= least
    columns = [*zip(scores.T, labels.T, strict=True)]
    values = np.stack([measure(*column) for column in columns])
    drawn, rows = [], max(1, _BLOCK // n)
    for start in range(0, resamples, rows):
        weights = random.multinomial(n, np.full(n, 1 / n), min(rows, resamples - start))
        drawn.append(np.stack([measure(*column, weights) for column in columns], axis=1))
    drawn = np.concatenate(drawn)
    macro = [_mean(each[..., counted]) for each in (values, drawn)]
    intervals = np.stack([_interval(column) for column in drawn.T])
    return Ranking(
        tuple(names), values, intervals, positives, float(macro[0]), _interval(macro[1]), counted,
        macro[1],
    )  # fmt: skip


def _curve(scores, labels, weights):
    """Weights of the positives, and of the negatives, that score at least each threshold.

    From above all scores to the lowest one, `(..., thresholds)`; equal scores are one threshold.
    """
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    ordered, start = weights[..., order], np.zeros((*weights.shape[:-1], 1))
    return [
        np.concatenate([start, np.cumsum(ordered * side[order], axis=-1)[..., last]], axis=-1)
        for side in (labels, ~labels)
    ]


def _ratio(numerators, denominators):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominators > 0, numerators / denominators, np.nan)


def _mean(values):
    """Mean over the last axis of what is not NaN; NaN of nothing."""
    known = np.isfinite(values)
    return _ratio(np.sum(np.where(known, values, 0), axis=-1), known.sum(axis=-1))


def _interval(values):
    values = values[np.isfinite(values)]
    if not values.size:
        return np.nan, np.nan
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
