"""Attributes in semantic vectors: linear classifiers, steps along their normals, class sampling.

All vectors are standardised, of zero mean and unit variance in each number over the training
images, as `Autoencoder.standardize` makes them: a step of one length then means the same in all.
"""

import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddim_embed import arguments
from ddim_embed.metrics import ranking
from ddim_embed.metrics.ranking import Ranking
from ddim_embed.store.arrays import load_arrays, record_arrays
from ddim_embed.store.schema import CHECKSUM, Kind, integer
from ddim_embed.store.weights import load_recorded

NAME = "classifier"  # of the weights file
# Of the mean loss: the sum of 8,000 images then has a gradient of at most 1e-8.
_TOLERANCE = 1e-12
_BATCH = 256


# What a record says of a classifier.
_CONFIG = {
    "names": Kind(
        lambda value: (
            isinstance(value, list)
            and 1 <= len(value) <= 2**12
            and all(isinstance(name, str) for name in value)
            and len({*value}) == len(value)
        ),
        "a list of different names",
    ),
    "dims": integer(1, 2**20),
    "penalty": Kind(lambda value: type(value) in (int, float) and value > 0, "a positive number"),
    "autoencoder": CHECKSUM,
}


@dataclasses.dataclass(frozen=True, eq=False)
class AttributeClassifier:
    """A linear logistic classifier for each of k attributes of standardised semantic vectors.

    The attributes are independent: an image can have several, and the probabilities of classes
    need not sum to 1. `fit_attribute_classifier` returns one.

    Attributes:
        names: the k attributes.
        weights: float64 `(k, d)`.
        biases: float64 `(k,)`.
        patterns: float64 `(k, d)`, how much the training vectors change on average where a logit
            grows by 1: the slopes of their regression on it, cov(z) w / (w' cov(z) w).
        positive_medians, negative_medians: `(k,)`, the median logits of the training vectors with
            and without each attribute.
        penalty: of the squared weights in training.
        autoencoder: sha256 of the weights of the autoencoder that made the vectors; None if it is
            not known.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(40, 2))
        >>> classifier = de.fit_attribute_classifier(vectors, vectors > 0, ("left", "up"))
        >>> classifier.direction("up").round().tolist()
        [0.0, 1.0]
        >>> classifier.auroc(vectors, vectors > 0).values.round(1).tolist()
        [1.0, 1.0]
    """

    names: tuple[str, ...]
    weights: np.ndarray
    biases: np.ndarray
    patterns: np.ndarray
    positive_medians: np.ndarray
    negative_medians: np.ndarray
    penalty: float
    autoencoder: str | None = None

    @property
    def dims(self) -> int:
        """The length d of a vector."""
        return self.weights.shape[1]

    def index(self, name: str) -> int:
        """The column of an attribute; a ValueError, with the nearest name, if there is none."""
        return self.names.index(arguments.choice("name", name, self.names))

    def direction(self, name: str, kind: str = "normal") -> "AttributeDirection":
        """The unit vector `(d,)` along which the logit of an attribute grows.

        Args:
            name: the attribute.
            kind: "normal", the weights, as published: the shortest way to another logit. It goes
                where images hardly differ, if that tells them apart, and then changes them little.
                Or "pattern" (Haufe et al. 2014): the way on which vectors of images lie. With
                Gaussian vectors it leads to the most likely one of all that have a logit.
        """
        vectors = {"normal": self.weights, "pattern": self.patterns}
        row = vectors[arguments.choice("kind", kind, vectors)][self.index(name)]
        direction = (row / np.linalg.norm(row)).view(AttributeDirection)
        direction.classifier, direction.name = self, name
        return direction

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """Logits of the attributes, float64 `(n, k)`; above 0 an attribute is likely.

        Args:
            vectors: standardised, `(n, d)`.

        Raises:
            ValueError: for another shape or values that are not finite.
        """
        return _check_vectors(vectors, self.dims) @ self.weights.T + self.biases

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Probabilities of the attributes, float64 `(n, k)`; arguments as for `logits`."""
        return 0.5 + 0.5 * np.tanh(self.logits(vectors) / 2)  # the logistic, without overflow

    def auroc(self, vectors: np.ndarray, labels: np.ndarray, **options) -> Ranking:
        """Areas under the ROC curves, 0.5 by chance.

        Args:
            vectors: standardised, `(n, d)`, of images that were not trained on.
            labels: bool, or 0 and 1, `(n, k)`.
            options: `least`, positives and negatives that an attribute needs to count in the macro
                average, by default 20; `resamples` (1000) and `seed` (0) of the bootstrap.

        Returns:
            A `Ranking`: values and 95% intervals of the attributes, and their macro average.

        Raises:
            ValueError: for other shapes, vectors that are not finite, or other labels.
        """
        return self._rank(ranking.auroc, vectors, labels, options)

    def average_precision(self, vectors: np.ndarray, labels: np.ndarray, **options) -> Ranking:
        """Average precisions, by chance the share of positives; arguments as for `auroc`."""
        return self._rank(ranking.average_precision, vectors, labels, options)

    def balanced_accuracy(self, vectors: np.ndarray, labels: np.ndarray, **options) -> Ranking:
        """Means of the accuracies on positives and negatives; arguments as for `auroc`."""
        return self._rank(ranking.balanced_accuracy, vectors, labels, options)

    def _rank(self, measure, vectors, labels, options):
        logits = self.logits(vectors)
        labels = _check_labels(labels, (len(logits), len(self.names)))
        return ranking.rank(measure, logits, labels, self.names, **options)


class AttributeDirection(np.ndarray):
    """A direction of vectors that knows its attribute; what is computed of it is an array.

    Attributes:
        classifier: the `AttributeClassifier`, or None.
        name: the attribute, or None.
    """

    classifier = None
    name = None

    def __array_wrap__(self, values, context=None, return_scalar=False):
        return np.asarray(values)[()] if return_scalar else np.asarray(values)


def fit_attribute_classifier(
    vectors: np.ndarray,
    labels: np.ndarray,
    names: Iterable[str],
    penalty: float = 1.0,
    balanced: bool = False,
    autoencoder: str | None = None,
) -> AttributeClassifier:
    """Fits a logistic regression for each attribute, by scikit-learn, to the optimum.

    For each attribute it minimises the sum over images of the logistic loss, plus `penalty` / 2
    times the squared length of the weights; the bias is not penalised. That is convex, with one
    minimum, which Newton's method finds to about 1e-8 of the gradient: no learning rate, no seed.

    Args:
        vectors: standardised, `(n, d)`.
        labels: bool, or 0 and 1, `(n, k)`.
        names: of the k attributes.
        penalty: above 0; 1 / C of scikit-learn.
        balanced: whether positives and negatives weigh alike in sum, n / 2 each, however few.
        autoencoder: sha256 of the weights of the autoencoder that made the vectors, or None.

    Returns:
        An `AttributeClassifier`.

    Raises:
        ValueError: for other shapes or labels, names that are not different strings, values that
            are not finite, an attribute, which is named, without positives or negatives, a penalty
            that is not positive, or one too small to find the minimum.

    Example:
        >>> names, labels = de.load_attributes("mnist", "test", source="sample", limit=200)
        >>> vectors = np.random.default_rng(0).normal(size=(200, 8))
        >>> vectors[:, 3] += 4 * labels[:, names.index("7")]
        >>> classifier = de.fit_attribute_classifier(vectors, labels, names)
        >>> int(np.argmax(classifier.direction("7")))
        3
    """
    from sklearn.exceptions import ConvergenceWarning  # not at the top: few need it
    from sklearn.linear_model import LogisticRegression

    vectors = _check_vectors(vectors)
    names = _check_names(names)
    labels = _check_labels(labels, (len(vectors), len(names)))
    penalty = arguments.number("penalty", penalty, above=0)
    weighting = "balanced" if arguments.flag("balanced", balanced) else None
    if not CHECKSUM.holds(autoencoder):
        raise ValueError(
            "`autoencoder` must be a sha256, 64 hexadecimal digits, or None. "
            f"Received: {arguments.received(autoencoder)}"
        )
    _require_both(labels, names)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for name, column in zip(names, labels.T, strict=True):
            regression = LogisticRegression(
                C=1 / penalty,
                solver="newton-cholesky",
                tol=_TOLERANCE,
                max_iter=1000,
                class_weight=weighting,
            )
            try:
                regression.fit(vectors, column)
            except (ConvergenceWarning, np.linalg.LinAlgError) as error:
                raise ValueError(
                    f"`penalty` must be larger to fit {name!r} with these vectors, or they must be "
                    f"standardised. Received: {penalty} ({error})"
                ) from error
            found.append((regression.coef_[0], regression.intercept_[0]))
    weights, biases = map(np.stack, zip(*found, strict=True))
    logits = vectors @ weights.T + biases
    positive, negative = (
        np.stack([np.median(row[of]) for row, of in zip(logits.T, side.T, strict=True)])
        for side in (labels, ~labels)
    )
    patterns = _patterns(vectors, logits)
    return AttributeClassifier(
        names, weights, biases, patterns, positive, negative, penalty, autoencoder
    )


def _patterns(vectors, logits):
    """The slopes `(k, d)` of the regression of vectors on each logit; 0 where that is constant."""
    centred = logits - logits.mean(axis=0)
    variances = (centred**2).sum(axis=0)
    slopes = centred.T @ (vectors - vectors.mean(axis=0))
    return slopes / np.where(variances > 0, variances, 1)[:, None]


def fit_few_shot_classifier(
    vectors: np.ndarray,
    labels: np.ndarray,
    name: str,
    positives: int = 50,
    others: int | None = 50,
    unlabelled: bool = False,
    seed: int = 0,
    penalty: float = 1.0,
) -> AttributeClassifier:
    """Fits the classifier of one attribute to few labels, for class sampling.

    Preechakul et al. (2022), Sec. 5.6: 50 positives and 50 negatives; or, positive-unlabelled, 100
    positives and many unlabelled images, which are taken for negatives although some are positive.
    Both sides weigh alike, as if the smaller one were repeated.

    Args:
        vectors: standardised, `(n, d)`, from which the few are drawn.
        labels: bool, or 0 and 1, `(n,)`, of the attribute.
        name: of the attribute.
        positives: how many are drawn.
        others: how many others are drawn; None for all.
        unlabelled: whether the others are any but those positives, or negatives alone.
        seed: integer, of the drawing.
        penalty: as for `fit_attribute_classifier`.

    Returns:
        An `AttributeClassifier` of this attribute.

    Raises:
        ValueError: if there are not as many of them, or as `fit_attribute_classifier`.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(400, 2))
        >>> classifier = de.fit_few_shot_classifier(
        ...     vectors, vectors[:, 1] > 1, "up", positives=20, others=None, unlabelled=True
        ... )
        >>> bool(classifier.direction("up")[1] > 0.9)
        True
    """
    vectors = _check_vectors(vectors)
    labels = _check_labels(labels, (len(vectors),))
    arguments.flag("unlabelled", unlabelled)
    random = np.random.default_rng(arguments.seed(seed))
    chosen = _draw(random, "positives", positives, np.flatnonzero(labels))
    rest = np.ones_like(labels) if unlabelled else ~labels
    rest[chosen] = False
    others = _draw(random, "others", others, np.flatnonzero(rest))
    rows = np.concatenate([chosen, others])
    taken = (np.arange(len(rows)) < len(chosen))[:, None]
    return fit_attribute_classifier(vectors[rows], taken, (name,), penalty, balanced=True)


def record_attribute_classifier(
    root: str | os.PathLike | None,
    dataset: str,
    classifier: AttributeClassifier,
    *,
    data,
    budget: dict,
    errors: dict,
) -> tuple[Path, dict]:
    """Saves a classifier as `<root>/<dataset>/classifier.weights.h5`, with its record.

    Args:
        root, dataset, data, budget, errors: as for `record_weights`.
        classifier: an `AttributeClassifier`.

    Returns and raises as `record_weights`.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(40, 2))
        >>> classifier = de.fit_attribute_classifier(vectors, vectors > 0, ("left", "up"))
        >>> path, entry = de.record_attribute_classifier(
        ...     "my_weights", "arrows", classifier, data="arrows", budget={}, errors={}
        ... )
        >>> path.name, de.load_attribute_classifier("arrows", "my_weights").names
        ('classifier.weights.h5', ('left', 'up'))
    """
    arguments.instance("classifier", classifier, AttributeClassifier)
    config = {
        "names": [*classifier.names],
        "dims": classifier.dims,
        "penalty": classifier.penalty,
        "autoencoder": classifier.autoencoder,
    }
    arrays = {name: getattr(classifier, name) for name in _shapes(config)}
    about = {"config": config, "data": data, "budget": budget, "errors": errors}
    return record_arrays(root, dataset, NAME, arrays, ("numpy", "scikit-learn"), **about)


def load_attribute_classifier(
    name: str, root: str | os.PathLike | None = None
) -> AttributeClassifier:
    """Loads the classifier that `record_attribute_classifier` recorded.

    Args:
        name: data set, a folder of the weights.
        root: folder of weights; the shipped one by default.

    Returns:
        An `AttributeClassifier`.

    Raises:
        FileNotFoundError: if the weights do not exist.
        ValueError: if the file is not what its record says.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(40, 2))
        >>> classifier = de.fit_attribute_classifier(vectors, vectors > 0, ("left", "up"))
        >>> about = {"data": "arrows", "budget": {}, "errors": {}}
        >>> _ = de.record_attribute_classifier("my_weights", "arrows", classifier, **about)
        >>> loaded = de.load_attribute_classifier("arrows", "my_weights")
        >>> np.array_equal(loaded.logits(vectors), classifier.logits(vectors))
        True
    """
    arrays, _, entry = load_recorded(
        lambda config: {key: np.empty(shape) for key, shape in _shapes(config).items()},
        _CONFIG,
        name,
        NAME,
        root,
        # In half precision, if anyone stores it so.
        least_size=lambda config: 2 * sum(map(math.prod, _shapes(config).values())),
        load=load_arrays,
    )
    config = entry["config"]
    return AttributeClassifier(
        tuple(config["names"]),
        **arrays,
        penalty=float(config["penalty"]),
        autoencoder=config["autoencoder"],
    )


def _shapes(config):
    """The arrays of a classifier that its file holds."""
    count = len(config["names"])
    vectors = dict.fromkeys(("biases", "positive_medians", "negative_medians"), (count,))
    return dict.fromkeys(("weights", "patterns"), (count, config["dims"])) | vectors


def move(vectors: np.ndarray, direction: np.ndarray, strength: float = 0.3) -> np.ndarray:
    """Standardised vectors a step further along a direction.

    The step has the length `strength` * sqrt(d), in units of the length of a vector: 0.3 is that of
    Preechakul et al.'s published code.

    Args:
        vectors: standardised, `(n, d)`.
        direction: `(d,)`, of any length but 0, as of `AttributeClassifier.direction`.
        strength: a number; below 0 for the other way.

    Returns:
        float64 `(n, d)`.

    Raises:
        ValueError: for other shapes, values that are not finite, or a direction of length 0.
    """
    vectors = _check_vectors(vectors)
    dims = vectors.shape[1]
    direction = arguments.finite_array("direction", direction, np.float64)
    if direction.shape != (dims,) or not direction.any():
        raise ValueError(
            f"`direction` must be {dims} numbers, not all 0. Received shape: {direction.shape}"
        )
    length = arguments.number("strength", strength) * math.sqrt(dims)
    return vectors + length * direction / np.linalg.norm(direction)


def move_to_median(
    vectors: np.ndarray,
    classifier: AttributeClassifier,
    name: str,
    positive: bool = True,
    median: float | None = None,
    direction: np.ndarray | None = None,
) -> np.ndarray:
    """Standardised vectors moved to the median logit of an attribute: Preechakul et al., Eq. 11.

    Each goes as far along a direction as it is from there: a vector that has the median does not
    move, and one beyond it is moved back.

    Args:
        vectors: standardised, `(n, d)`.
        classifier: an `AttributeClassifier`.
        name: the attribute.
        positive: whether to give the attribute, or to take it away.
        median: the logit to move to; None for the median of the training vectors with (without)
            the attribute.
        direction: `(d,)`, not along the boundary; None for the normal, as in the paper.

    Returns:
        float64 `(n, d)`, whose logit of the attribute is the median.

    Raises:
        ValueError: for an attribute that the classifier does not have, vectors of another shape or
            not finite, or a direction along which the logit does not change.
    """
    index = classifier.index(name)
    medians = (
        classifier.positive_medians
        if arguments.flag("positive", positive)
        else classifier.negative_medians
    )
    target = medians[index] if median is None else arguments.number("median", median)
    logits = classifier.logits(vectors)[:, index]
    weights = along = classifier.weights[index]
    if direction is not None:
        along = arguments.finite_array("direction", direction, np.float64)
    slope = weights @ along if along.shape == weights.shape else 0.0
    if not abs(slope) > 1e-6 * np.linalg.norm(weights) * np.linalg.norm(along):
        raise ValueError(
            f"`direction` must be {len(weights)} numbers, along which the logit changes. "
            f"Received: {arguments.received(direction)}"
        )
    return np.asarray(vectors, np.float64) + ((target - logits) / slope)[:, None] * along


class Accepted(NamedTuple):
    """Vectors of a class, returned by `rejection`.

    Attributes:
        vectors: `(n, d)`, those that were accepted first.
        accepted: how many were accepted.
        drawn: of how many that were drawn.
    """

    vectors: np.ndarray
    accepted: int
    drawn: int


def rejection(
    draw: Callable,
    probability: Callable,
    n: int,
    threshold: float = 0.5,
    seed: int = 0,
    most: int | None = None,
) -> Accepted:
    """Draws vectors of a class: each is accepted with its probability, where that is large enough.

    With the density q of what is drawn, what is accepted has the density q p [p >= threshold] / Z,
    and Z, the mean of p [p >= threshold], is the rate of acceptance (Preechakul et al., Sec. 5.6,
    after D2C: rejection sampling behind a threshold).

    Args:
        draw: function of a count and a seed, both integers, to vectors `(count, d)`: the sampler of
            a prior.
        probability: function of vectors `(count, d)` to probabilities of the class `(count,)`.
        n: how many are wanted.
        threshold: in [0, 1]; 0 for rejection sampling alone.
        seed: integer; the same seed gives the same vectors.
        most: how many are drawn at most; None for 100 n, and at least 10,000.

    Returns:
        `Accepted`.

    Raises:
        ValueError: if fewer than n are accepted among `most`, for options out of their ranges, or
            functions that return something else.
    """
    arguments.function("draw", draw)
    arguments.function("probability", probability)
    n = arguments.integer("n", n)
    threshold = arguments.number("threshold", threshold, at_least=0, at_most=1)
    most = max(100 * n, 10_000) if most is None else arguments.integer("most", most)
    random = np.random.default_rng(arguments.seed(seed))
    kept, accepted, drawn = [], 0, 0
    while accepted < n and drawn < most:
        count = min(_BATCH, most - drawn)
        vectors = np.asarray(draw(count, int(random.integers(2**31))))
        if vectors.ndim != 2 or len(vectors) != count:
            raise ValueError(
                f"`draw` must return {count} vectors for that count. Received: {vectors.shape}"
            )
        found = np.asarray(probability(vectors), np.float64)
        if found.shape != (count,) or not ((found >= 0) & (found <= 1)).all():
            raise ValueError(
                f"`probability` must return {count} numbers from 0 to 1, one for each vector. "
                f"Received shape: {found.shape}"
            )
        kept.append(vectors[(found >= threshold) & (random.uniform(size=count) < found)])
        accepted, drawn = accepted + len(kept[-1]), drawn + count
    if accepted < n:
        raise ValueError(
            f"`n` must be at most the number of vectors that are accepted, {accepted} of {drawn}: "
            "the class is rare among what is drawn, or its classifier never that certain. Lower "
            f"the `threshold` ({threshold}) or `n`, or raise `most`. Received: {n}"
        )
    return Accepted(np.concatenate(kept)[:n], accepted, drawn)


def _check_vectors(vectors, dims=None):
    vectors = arguments.finite_array("vectors", vectors, np.float64)
    if vectors.ndim != 2 or 0 in vectors.shape or dims not in (None, vectors.shape[1]):
        raise ValueError(
            f"`vectors` must have shape (n, {dims or 'd'}), n at least 1. "
            f"Received shape: {vectors.shape}"
        )
    return vectors


def _check_names(names):
    wrong = isinstance(names, str) or not isinstance(names, Iterable)
    found = () if wrong else tuple(names)
    if not (found and all(isinstance(name, str) for name in found) and len({*found}) == len(found)):
        raise ValueError(
            "`names` must be different strings, at least one. "
            f"Received: {arguments.received(names)}"
        )
    return found


def _check_labels(labels, shape):
    labels = arguments.array("labels", labels, None)
    if labels.shape != shape or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"`labels` must be 0 and 1, or bool, of shape {shape}: a row for each vector"
            f"{', a column for each attribute' * (len(shape) - 1)}. "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    return labels.astype(bool)


def _require_both(labels, names):
    for side, words in ((labels, "positives"), (~labels, "negatives")):
        lacking = [name for name, any_ in zip(names, side.any(axis=0), strict=True) if not any_]
        if lacking:
            raise ValueError(
                f"`labels` must have {words} of each attribute; leave out those without. "
                f"Received none of: {', '.join(lacking)}"
            )


def _draw(random, argument, count, among):
    if count is None:
        return among
    return random.choice(among, arguments.integer(argument, count, 1, len(among)), replace=False)
