"""Directions in latents along which images change: how to find them, and what they change."""

import dataclasses
from typing import NamedTuple

import numpy as np

from ddim_embed import arguments, metrics
from ddim_embed.analysis.clouds import LatentCloud
from ddim_embed.generator.generator import Generator, as_generator
from ddim_embed.memory import require_memory
from ddim_embed.metrics.classifier import FeatureClassifier
from ddim_embed.metrics.perceptual import lpips

_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Directions:
    """Orthonormal directions, the most important first.

    Attributes:
        vectors: float64 `(k, height, width, channels)`.
        values: float64 `(k,)`, descending: variances or singular values.
    """

    vectors: np.ndarray
    values: np.ndarray


class ClassDirection(NamedTuple):
    """The result of `class_direction`.

    Attributes:
        direction: float64 `(height, width, channels)`, of unit length, towards the class.
        accuracy: cross-validated balanced accuracy of the classifier in [0, 1]: the mean of its
            accuracies on the class and on the others, 0.5 by chance.
    """

    direction: np.ndarray
    accuracy: float


@dataclasses.dataclass(frozen=True)
class EditEffect:
    """What an edit changes in each image.

    Attributes:
        probability: change of the probability of the target class, `(n,)`, or None without one.
        lpips: LPIPS between the images before and after, `(n,)`: the change as a whole.
        mse: their mean squared difference, `(n,)`.
    """

    probability: np.ndarray | None
    lpips: np.ndarray
    mse: np.ndarray


def principal_directions(latents: np.ndarray, n: int) -> Directions:
    """Principal components of the latents of many images, as Harkonen et al. (2020) do for GANs.

    Gaussian latents have none, as they vary alike in all directions. The embeddings of a data set's
    images vary most in what most images differ in.

    Args:
        latents: `(m, height, width, channels)`, embeddings of m images.
        n: number of directions; at most m - 1, and at most the number of dimensions.

    Returns:
        `Directions`; the values are variances.

    Raises:
        ValueError: for fewer than two latents, another shape, values that are not finite, or more
            directions than possible.

    Example:
        >>> latents = np.random.default_rng(0).normal(size=(10, 4, 4, 1))
        >>> de.principal_directions(latents, n=3).vectors.shape
        (3, 4, 4, 1)
    """
    fitted = LatentCloud(arguments.integer("n", n)).fit(latents)
    return Directions(fitted.components_, fitted.explained_variance_)


def class_direction(
    latents: np.ndarray,
    labels: np.ndarray,
    positive: int,
    strength: float = 1e-4,
    seed: int = 0,
) -> ClassDirection:
    """The normal of a plane that separates a class from all others (InterFaceGAN, Shen et al.).

    Logistic regression on latents, with equal weights of the class and the rest. With a strong
    penalty the normal is nearly the difference of the two means, a useful direction to edit in. A
    classifier with a weak penalty, or with covariances, may separate the classes better; but it
    uses coordinates that hardly affect the image, and a step along its normal changes nothing.

    Args:
        latents: `(m, height, width, channels)`, embeddings of m images.
        labels: `(m,)`, the classes of the images.
        positive: label of the class; it and the others need at least 5 images each.
        strength: inverse of the L2 penalty's strength; small for more dimensions than images.
        seed: integer, of the 5 folds of cross-validation.

    Returns:
        A `ClassDirection`.

    Raises:
        ValueError: for other shapes, values that are not finite, too few of either side, or a
            `strength` that is not positive.

    Example:
        >>> labels = np.arange(20) % 2
        >>> noise = np.random.default_rng(0).normal(size=(20, 4, 4, 1))
        >>> found = de.class_direction(noise + 3 * labels[:, None, None, None], labels, positive=1)
        >>> found.direction.shape, found.accuracy
        ((4, 4, 1), 1.0)
    """
    # Not at the top: importing the library needs no scikit-learn.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    latents = arguments.finite_array("latents", latents, np.float64)
    labels = np.asarray(labels)
    strength = arguments.number("strength", strength, above=0)
    seed = arguments.seed(seed)
    if latents.ndim != 4 or 0 in latents.shape or labels.shape != latents.shape[:1]:
        raise ValueError(
            "`latents` must have shape (m, height, width, channels), `labels` (m,). "
            f"Received shapes: {latents.shape} and {labels.shape}"
        )
    if np.ndim(positive):
        raise ValueError(f"`positive` must be one label. Received: {arguments.received(positive)}")
    of_class = labels == positive
    count = int(of_class.sum())
    if min(count, len(labels) - count) < _FOLDS:
        raise ValueError(
            f"There must be at least {_FOLDS} latents of class {positive!r}, and as many others. "
            f"Received: {count} and {len(labels) - count}"
        )
    rows = latents.reshape(len(latents), -1)
    classifier = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    # scikit-learn takes seeds of 32 bits.
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed % 2**32)
    scores = cross_val_score(classifier, rows, of_class, cv=folds, scoring="balanced_accuracy")
    normal = classifier.fit(rows, of_class).coef_.reshape(latents.shape[1:])
    return ClassDirection(normal / np.linalg.norm(normal), float(scores.mean()))


def first_layer_directions(generator: Generator, n: int) -> Directions:
    """Singular vectors of the denoiser's first layer: SeFa (Shen & Zhou 2021), for a DDIM.

    SeFa multiplies the code of a GAN by the first layer's weights A and finds the n unit steps that
    change A z most: eigenvectors of A'A, without images or training. Here A is the linear part of
    the map from latents, at t=1, to the input of the first nonlinearity: the 1x1 convolution,
    BatchNorm with its moving statistics, and the first block's 3x3 convolution. Biases and the
    embedded noise variance are the same for all latents and cancel.

    There is a difference. SeFa's A is fully connected, and its directions mix the coordinates of
    the code as training found best. Here A is a convolution, which commutes with shifts except at
    the borders. So its singular vectors are waves across the whole image, in the order of the
    filters' frequency response, whatever the images show. With the shipped weights the lowest
    frequencies come first: brighter everywhere, on one side, in the middle. They change the image
    more than other steps of their length, but change no attribute.

    A is never formed; the residual connection around the first layer is not part of it.

    Args:
        generator: a `Generator`.
        n: number of directions, at least 1 and less than the number of dimensions.

    Returns:
        `Directions`; the values are singular values. The largest entry of each vector in absolute
        value is positive.

    Raises:
        ValueError: for an n out of its range.

    Example:
        >>> generator = de.load_generator("fashion_mnist")
        >>> de.first_layer_directions(generator, n=2).vectors.shape
        (2, 32, 32, 1)
    """
    from scipy.sparse.linalg import LinearOperator, svds  # not at the top, as above

    shape = as_generator(generator).image_shape
    size = int(np.prod(shape))
    n = arguments.integer("n", n, 1, size - 1)
    require_memory(3 * 8 * n * size, f"{n} directions of {size} dimensions")
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


def edit_strip(
    generator: Generator, latents: np.ndarray, direction: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Images along a direction.

    Args:
        generator: a `Generator`.
        latents: `(n, height, width, channels)`, of the images to edit.
        direction: `(height, width, channels)`, of any length but 0.
        steps: `(k,)` Euclidean distances in latents; 0 for the image itself. Gaussian latents of d
            dimensions are about sqrt(d) long.

    Returns:
        Pixels, float32 array `(n, k, height, width, channels)`, not clipped.

    Raises:
        ValueError: for other shapes, values that are not finite, or a direction of length 0.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=1)
        >>> direction = de.first_layer_directions(generator, n=1).vectors[0]
        >>> de.edit_strip(generator, generator.latents(2), direction, [-5, 0, 5]).shape
        (2, 3, 32, 32, 1)
    """
    latents = np.asarray(as_generator(generator).check_latents(latents))
    direction = _unit(generator, direction)
    steps = arguments.finite_array("steps", steps, np.float64)
    if steps.ndim != 1 or not len(steps):
        raise ValueError(
            f"`steps` must be numbers, at least one. Received: {arguments.received(steps)}"
        )
    require_memory(
        20 * len(steps) * latents.size, f"{len(steps)} steps of each of {len(latents)} images"
    )
    moved = latents[:, None] + steps[:, None, None, None] * direction
    own = generator.take(np.repeat(np.arange(len(latents)), len(steps)))
    decoded = own.decode(moved.reshape(-1, *generator.image_shape).astype(np.float32))
    return decoded.numpy().reshape(moved.shape)


def edit_effect(
    generator: Generator,
    latents: np.ndarray,
    direction: np.ndarray,
    length: float,
    classifier: FeatureClassifier | None = None,
    positive: int | None = None,
    seed: int = 0,
) -> tuple[EditEffect, EditEffect]:
    """Measures the effect of a step along a direction, and of random steps of the same length.

    A useful direction changes the class much more than a random step does, and the rest of the
    image no more than the class requires.

    Args:
        generator: a `Generator`.
        latents: `(n, height, width, channels)`, of the images to edit.
        direction: `(height, width, channels)`, of any length but 0.
        length: length of the step.
        classifier: a `FeatureClassifier` of the same images, or None.
        positive: index of the target class, or None.
        seed: integer, of the random steps: an own Gaussian direction for each image.

    Returns:
        Two `EditEffect`: of the direction, and of the random steps.

    Raises:
        ValueError: for other shapes, an unknown class, values that are not finite, or a direction
            of length 0.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=1)
        >>> direction = de.first_layer_directions(generator, n=1).vectors[0]
        >>> effect, random = de.edit_effect(generator, generator.latents(2), direction, length=9)
        >>> bool((effect.mse > random.mse).all())
        True
    """
    latents = np.asarray(as_generator(generator).check_latents(latents))
    targeted = classifier is not None and positive is not None
    if targeted:
        positive = arguments.integer("positive", positive, 0, classifier.classes - 1)
    length = arguments.number("length", length)
    seed = arguments.seed(seed)
    random = np.random.default_rng(seed).normal(size=latents.shape)
    random /= np.sqrt(np.sum(random**2, axis=(1, 2, 3), keepdims=True))
    before = generator.decode(latents).numpy().clip(0, 1)

    def probability(pixels):
        return classifier.class_probabilities(pixels)[:, positive].astype(np.float64)

    def effect(directions):
        moved = (latents + length * directions).astype(np.float32)
        after = generator.decode(moved).numpy().clip(0, 1)
        return EditEffect(
            probability(after) - probability(before) if targeted else None,
            lpips(before, after, generator.padding),
            metrics.mse(before, after, generator.padding),
        )

    return effect(_unit(generator, direction)), effect(random)


def _first_kernel(network):
    """The first layer as one 3x3 convolution of images, float64 `(3, 3, channels, width)`."""
    block = network.blocks[0]
    inputs = network.input_conv.kernel.numpy().astype(np.float64)[0, 0]
    scale = 1 / np.sqrt(block.norm.moving_variance.numpy().astype(np.float64) + block.norm.epsilon)
    kernel = block.conv1.kernel.numpy().astype(np.float64)
    count = inputs.shape[1]  # the other channels are those of the embedded noise variance
    return np.einsum("cm,m,ijmo->ijco", inputs, scale[:count], kernel[:, :, :count])


def _unit(generator, direction):
    direction = arguments.array("direction", direction, np.float64)
    length = np.linalg.norm(direction)
    if direction.shape != generator.image_shape or not np.isfinite(length) or not length:
        raise ValueError(
            f"`direction` must be finite, not 0, and of shape {generator.image_shape}. "
            f"Received shape: {direction.shape}, length: {length}"
        )
    return direction / length
