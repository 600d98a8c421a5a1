"""Singular vectors of the decoder's Jacobian, which is never formed.

To first order a step changes the decoded image by J step. Steps along right singular vectors with
large singular values change the image most, so the latents of one image cannot spread there; along
directions that J maps to almost 0 they can. So one linearisation forecasts the shape of a whole
cloud. If decode were linear, N(0, I) latents of an image that is known up to N(0, e**2 I) would be
Gaussian with variance 1 / (1 + (s / e)**2) along a vector of singular value s: the first right
singular vectors lie in the span of the cloud's minor components, and the last ones in that of the
major components.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from ddim_embed import arguments
from ddim_embed.generator.generator import Generator, as_generator
from ddim_embed.generator.linearization import linearize
from ddim_embed.memory import require_memory


@dataclasses.dataclass(frozen=True)
class SingularVectors:
    """J = sum over i of values[i] * pixels[i] latents[i]', the largest value first.

    Attributes:
        values: float64 `(k,)`: length of the change of the image per length of the step.
        latents: float64 `(k, height, width, channels)`, orthonormal: directions to step in.
        pixels: the same shape, orthonormal: how the image then changes.
    """

    values: np.ndarray
    latents: np.ndarray
    pixels: np.ndarray


def singular_vectors(
    generator: Generator,
    latents: np.ndarray,
    rank: int | None = None,
    oversampling: int = 10,
    iterations: int = 2,
    seed: int = 0,
    batch_size: int = 64,
) -> SingularVectors:
    """Singular vectors of decode's Jacobian at one point.

    Randomised subspace iteration (Halko, Martinsson & Tropp, Algorithms 4.4 and 5.1). At full rank
    the whole Jacobian is factorised, without random numbers. Products run many vectors at a time;
    each costs about as much as one gradient of a descent.

    Args:
        generator: a `Generator`; one with a condition has the condition of this point alone.
        latents: the point, of the generator's `image_shape`.
        rank: number of vectors; None for all, which for d latents costs d products.
        oversampling: vectors that are iterated beyond those returned.
        iterations: power iterations; each adds two products per vector.
        seed: integer, of the random subspace to start from.
        batch_size: vectors in each product, which bounds memory.

    Returns:
        `SingularVectors`.

    Raises:
        ValueError: for latents of another shape or not finite, a rank that is not from 1 to d, or
            negative `oversampling` or `iterations`.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=1)
        >>> point = generator.latents(1)[0]
        >>> found = de.singular_vectors(generator, point, rank=2, oversampling=2, iterations=0)
        >>> found.values.shape, found.latents.shape
        ((2,), (2, 32, 32, 1))
    """
    as_generator(generator)
    latents = arguments.array("latents", latents)
    if latents.shape != generator.image_shape:
        raise ValueError(
            f"`latents` must be one point, of shape {generator.image_shape}. "
            f"Received shape: {latents.shape}"
        )
    point = generator.check_latents(latents[None])
    size = point.size
    rank = size if rank is None else arguments.integer("rank", rank, 1, size)
    oversampling = arguments.integer("oversampling", oversampling, 0)
    iterations = arguments.integer("iterations", iterations, 0)
    batch_size = arguments.integer("batch_size", batch_size)
    seed = arguments.seed(seed)
    columns = min(rank + oversampling, size)
    # The basis, what it is mapped to, and the factors of that.
    require_memory(
        4 * 8 * size * columns, f"{columns} singular vectors of {size} dimensions (see `rank`)"
    )
    points = np.repeat(point, min(batch_size, columns), axis=0)
    repeated = generator.take(np.zeros(len(points), int))
    product = _batched(repeated.traced(_product), points)
    transposed = _batched(repeated.traced(_transposed), points)
    if columns == size:
        basis = np.eye(size)
    else:
        directions = np.random.default_rng(seed).normal(size=(size, columns))
        basis = _orthonormal(product(directions))
        for _ in range(iterations):
            basis = _orthonormal(product(_orthonormal(transposed(basis))))
    left, values, right = np.linalg.svd(transposed(basis).T, full_matrices=False)
    shape = (rank, *generator.image_shape)
    return SingularVectors(
        values[:rank], right[:rank].reshape(shape), (basis @ left[:, :rank]).T.reshape(shape)
    )


def forecast_variances(values: np.ndarray, tolerance: float) -> np.ndarray:
    """A cloud's variances along right singular vectors, if decode were linear.

    For latents that are N(0, I) a priori these are 1 / (1 + (values / tolerance)**2), float64; the
    tolerance e is the standard deviation of a pixel's error.
    """
    tolerance = arguments.number("tolerance", tolerance, above=0)
    return 1 / (1 + (arguments.finite_array("values", values, np.float64) / tolerance) ** 2)


def fit_tolerance(values: np.ndarray, variances: np.ndarray) -> float:
    """The tolerance whose forecast is nearest to measured variances, on a logarithmic scale.

    Args:
        values: singular values, `(k,)`, not all 0.
        variances: of a cloud along the vectors, `(k,)`.

    Returns:
        The tolerance, a float between the least and the largest value that is not 0.
    """
    values = arguments.finite_array("values", values, np.float64)
    variances = arguments.finite_array("variances", variances, np.float64)
    if values.ndim != 1 or values.shape != variances.shape or not (values > 0).any():
        raise ValueError(
            "`values` and `variances` must be one for each vector, and one value above 0. "
            f"Received shapes: {values.shape} and {variances.shape}"
        )
    known = (values > 0) & (variances > 0)
    values, logs = values[known], np.log(variances[known])
    # The error may have more than one minimum, so all tolerances of a grid are tried.
    tolerances = np.geomspace(values.min(), values.max(), 400)
    errors = [np.mean((np.log(forecast_variances(values, e)) - logs) ** 2) for e in tolerances]
    return float(tolerances[np.argmin(errors)])


def principal_angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The principal angles between the spans of two sets of directions.

    Args:
        first, second: `(k, ...)` and `(m, ...)` linearly independent directions of one shape.

    Returns:
        float64 array `(min(k, m),)` in degrees, ascending: 0 for a direction that both spans share,
        90 for one that is orthogonal to the other span.

    Raises:
        ValueError: for an empty set, or sets of directions of different shapes.

    Example:
        >>> x, y, z = np.eye(3)
        >>> de.principal_angles(np.stack([x, y]), np.stack([x, y + z])).round().tolist()
        [0.0, 45.0]
    """
    from scipy.linalg import subspace_angles  # not at the top: importing the library needs no SciPy

    first = arguments.finite_array("first", first, np.float64)
    second = arguments.finite_array("second", second, np.float64)
    if first.ndim < 2 or first.shape[1:] != second.shape[1:] or not len(first) or not len(second):
        raise ValueError(
            "Both sets must hold at least one direction of the same shape. "
            f"Received shapes: {first.shape} and {second.shape}"
        )
    columns = (directions.reshape(len(directions), -1).T for directions in (first, second))
    return np.rad2deg(subspace_angles(*columns))[::-1]


def _product(generator, points, vectors):
    return linearize(generator.decode_tensor, points)[1](vectors)


def _transposed(generator, points, vectors):
    return linearize(generator.decode_tensor, points)[2](vectors)


def _batched(multiply, points):
    """`multiply(points, vectors)` as a map of a float64 matrix, one batch of columns at a time."""
    size, points = len(points), tf.constant(points)

    def apply(matrix):
        parts = []
        for i in range(0, matrix.shape[1], size):
            columns = matrix[:, i : i + size]
            # The last batch is padded, so that a graph is traced for one shape only.
            rows = np.zeros((size, len(matrix)), np.float32)
            rows[: columns.shape[1]] = columns.T
            moved = multiply(points, tf.constant(rows.reshape(points.shape))).numpy()
            parts.append(moved[: columns.shape[1]].reshape(columns.shape[1], -1).T)
        return np.concatenate(parts, axis=1).astype(np.float64)

    return apply


def _orthonormal(matrix):
    return np.linalg.qr(matrix)[0]
