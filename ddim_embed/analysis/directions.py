"""Directions in latents along which images change, what finds them, and what they do."""

import dataclasses
from typing import NamedTuple

import numpy as np

from ddim_embed import metrics
from ddim_embed.analysis.clouds import LatentCloud
from ddim_embed.metrics.perceptual import lpips

_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Directions:
    """Directions of unit length, at right angles, the most important first.

    Attributes:
        vectors: float64 `(k, height, width, channels)`.
        values: float64 `(k,)`, what they are ordered by, descending.
    """

    vectors: np.ndarray
    values: np.ndarray


class ClassDirection(NamedTuple):
    """What `class_direction` returns.

    Attributes:
        direction: float64 `(height, width, channels)`, of unit length, towards the class.
        accuracy: of the classifier on latents it was not fitted to, in [0, 1]: the mean of its
            accuracies on the class and on the others, 0.5 by chance.
    """

    direction: np.ndarray
    accuracy: float


@dataclasses.dataclass(frozen=True)
class EditEffect:
    """What an edit does to each image.

    Attributes:
        probability: by how much the probability of the class that is aimed at rises, `(n,)`, or
            None where there is none.
        lpips: LPIPS between the images before and after, `(n,)`: how much changes in all.
        mse: the mean squared difference of the same, `(n,)`.
    """

    probability: np.ndarray | None
    lpips: np.ndarray
    mse: np.ndarray


def principal_directions(latents, n):
    """Principal components of the latents of many images (Harkonen et al. 2020 do so for GANs).

    Latents that were drawn have none: they vary alike in all directions. Those that a method finds
    for the images of a data set vary most in what most images differ in.

    Args:
        latents: `(m, height, width, channels)`, embeddings of m images.
        n: how many directions; at most m - 1, and no more than there are dimensions.

    Returns:
        `Directions`; the values are variances.

    Raises:
        ValueError: for fewer than two latents, another shape, values that are not finite, or more
            directions than there can be.
    """
    fitted = LatentCloud(n).fit(latents)
    return Directions(fitted.components_, fitted.explained_variance_)


def class_direction(latents, labels, positive, strength=1e-4, seed=0):
    """The normal of a plane that tells a class from all others (Shen et al., InterFaceGAN).

    Logistic regression on latents, class and rest weighed alike. Where the penalty is strong the
    normal is nearly the difference of the two means, which is a direction to edit in. A classifier
    that is left free, or takes covariances into account, may tell classes apart better; but it
    reads coordinates that the generator hardly heeds, and a step along its normal does nothing.

    Args:
        latents: `(m, height, width, channels)`, embeddings of m images.
        labels: `(m,)`, what they show.
        positive: which label is the class; there must be at least 5 of it, and of others.
        strength: of the fit, 1 over that of the L2 penalty; small for more dimensions than images.
        seed: integer; who is left out in each of the 5 folds of cross-validation.

    Returns:
        A `ClassDirection`.

    Raises:
        ValueError: for other shapes, values that are not finite, too few of either side, or a
            `strength` that is not positive.
    """
    # Not at the top: importing the library needs no scikit-learn.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    latents, labels = np.asarray(latents, np.float64), np.asarray(labels)
    if latents.ndim != 4 or labels.shape != latents.shape[:1]:
        raise ValueError(
            "`latents` must have shape (m, height, width, channels), `labels` (m,). "
            f"Received shapes: {latents.shape} and {labels.shape}"
        )
    if not np.isfinite(latents).all():
        raise ValueError("`latents` must be finite; some values are NaN or infinite.")
    if not 0 < strength < np.inf:
        raise ValueError(f"`strength` must be positive. Received: {strength}")
    of_class = labels == positive
    count = int(of_class.sum())
    if min(count, len(labels) - count) < _FOLDS:
        raise ValueError(
            f"There must be at least {_FOLDS} latents of class {positive!r}, and as many others. "
            f"Received: {count} and {len(labels) - count}"
        )
    rows = latents.reshape(len(latents), -1)
    classifier = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_score(classifier, rows, of_class, cv=folds, scoring="balanced_accuracy")
    normal = classifier.fit(rows, of_class).coef_.reshape(latents.shape[1:])
    return ClassDirection(normal / np.linalg.norm(normal), float(scores.mean()))


def first_layer_directions(generator, n):
    """Singular vectors of the denoiser's first layer: SeFa (Shen & Zhou 2021), for a DDIM.

    SeFa takes the code of a GAN through the first layer's weights A and finds the n unit steps that
    change A z most: eigenvectors of A'A, without images or training. Here A is the linear part of
    the map from latents, at t=1, to what enters the first nonlinearity: the 1x1 convolution,
    BatchNorm with its statistics as they are, and the first block's 3x3 convolution. Biases and
    the embedded noise variance are the same for all latents and drop out.

    The difference: SeFa's A is fully connected, and its directions mix the code's coordinates as
    training has found best. Here it is a convolution, nine weights per channel for all positions,
    which commutes with shifts but for the borders. So its singular vectors are waves across the
    whole image, ordered by how much the filters answer to their frequency, whatever the images
    show: with the shipped weights the slowest come first, brighter in all, to one side, in the
    middle. They move the image further than any other step of their length, and to no attribute.

    A is never formed; the residual connection passes the first layer by and is not part of it.

    Args:
        generator: a `Generator`.
        n: how many directions, at least 1 and fewer than there are dimensions.

    Returns:
        `Directions`; the values are singular values, of each vector the entry of largest size is
        positive.

    Raises:
        ValueError: for an n that cannot be.
    """
    from scipy.sparse.linalg import LinearOperator, svds  # not at the top, as above

    shape = generator.image_shape
    size = int(np.prod(shape))
    if not 1 <= n < size:
        raise ValueError(f"`n` must be at least 1 and less than {size}. Received: {n}")
    kernel = _first_kernel(generator.network)
    height, width, outputs = *shape[:2], kernel.shape[3]

    def forward(vector):
        padded = np.pad(vector.reshape(shape), ((1, 1), (1, 1), (0, 0)))
        return sum(
            padded[i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)
        ).ravel()

    def transposed(vector):
        images = vector.reshape(height, width, outputs)
        padded = np.zeros((height + 2, width + 2, shape[2]))
        for i in range(3):
            for j in range(3):
                padded[i : i + height, j : j + width] += images @ kernel[i, j].T
        return padded[1:-1, 1:-1].ravel()

    operator = LinearOperator(
        (height * width * outputs, size), matvec=forward, rmatvec=transposed, dtype=np.float64
    )
    start = np.random.default_rng(0).normal(size=min(operator.shape))
    _, values, vectors = svds(operator, k=n, v0=start, return_singular_vectors="vh")
    order = np.argsort(values)[::-1]
    vectors = vectors[order]
    largest = np.abs(vectors).argmax(axis=1)
    vectors *= np.sign(vectors[np.arange(n), largest])[:, None]
    return Directions(vectors.reshape(n, *shape), values[order])


def edit_strip(generator, latents, direction, steps):
    """Images along a direction.

    Args:
        generator: a `Generator`.
        latents: `(n, height, width, channels)`, of the images to edit.
        direction: `(height, width, channels)`, of any length but 0.
        steps: `(k,)` numbers, how far to go, as Euclidean distances in latents; 0 for the image as
            it is. Gaussian latents of d dimensions are about sqrt(d) long.

    Returns:
        Pixels, float32 array `(n, k, height, width, channels)`, not clipped.

    Raises:
        ValueError: for other shapes, values that are not finite, or a direction of length 0.
    """
    latents = generator.check_latents(latents)
    direction = _unit(generator, direction)
    steps = np.asarray(steps, np.float64)
    if steps.ndim != 1 or not len(steps) or not np.isfinite(steps).all():
        raise ValueError(f"`steps` must be finite numbers, at least one. Received: {steps}")
    moved = latents[:, None] + steps[:, None, None, None] * direction
    decoded = generator.decode(moved.reshape(-1, *generator.image_shape).astype(np.float32))
    return decoded.numpy().reshape(moved.shape)


def edit_effect(generator, latents, direction, length, classifier=None, positive=None, seed=0):
    """What a step along a direction does, beside a random step of the same length.

    A direction is worth its name if it moves the class much more than chance does, and the rest of
    the image no more than the class asks for.

    Args:
        generator: a `Generator`.
        latents: `(n, height, width, channels)`, of the images to edit.
        direction: `(height, width, channels)`, of any length but 0.
        length: of the step.
        classifier: a `FeatureClassifier` of the same images, whose opinion is asked; or None.
        positive: index of the class that is aimed at, if any.
        seed: integer, of the random steps: another Gaussian direction for each image.

    Returns:
        Two `EditEffect`: of the direction, and of the random ones.

    Raises:
        ValueError: for other shapes, a class that is not there, values that are not finite, or a
            direction of length 0.
    """
    latents = generator.check_latents(latents)
    aimed = classifier is not None and positive is not None
    if aimed and not 0 <= positive < classifier.classes:
        raise ValueError(
            f"`positive` must be one of {classifier.classes} classes. Received: {positive}"
        )
    if not np.isfinite(length):
        raise ValueError(f"`length` must be finite. Received: {length}")
    random = np.random.default_rng(seed).normal(size=latents.shape)
    random /= np.sqrt(np.sum(random**2, axis=(1, 2, 3), keepdims=True))
    before = generator.decode(latents).numpy()

    def probability(pixels):
        return classifier.class_probabilities(pixels)[:, positive].astype(np.float64)

    def effect(directions):
        after = generator.decode((latents + length * directions).astype(np.float32)).numpy()
        return EditEffect(
            probability(after) - probability(before) if aimed else None,
            lpips(before, after, generator.padding),
            metrics.mse(before, after, generator.padding),
        )

    return effect(_unit(generator, direction)), effect(random)


def _first_kernel(network):
    """The 3x3 convolution, float64 `(3, 3, channels, width)`, that the first layer is of images."""
    block = network.blocks[0]
    inputs = network.input_conv.kernel.numpy().astype(np.float64)[0, 0]
    scale = 1 / np.sqrt(block.norm.moving_variance.numpy().astype(np.float64) + block.norm.epsilon)
    kernel = block.conv1.kernel.numpy().astype(np.float64)
    count = inputs.shape[1]  # after these come the channels of the embedded variance
    return np.einsum("cm,m,ijmo->ijco", inputs, scale[:count], kernel[:, :, :count])


def _unit(generator, direction):
    direction = np.asarray(direction, np.float64)
    length = np.linalg.norm(direction)
    if direction.shape != generator.image_shape or not np.isfinite(length) or not length:
        raise ValueError(
            f"`direction` must be finite, not 0, and of shape {generator.image_shape}. "
            f"Received shape: {direction.shape}, length: {length}"
        )
    return direction / length
