"""The cloud of one image, the set emb(x) of all its latents: its spread, shape and centre.

Asperti et al., Secs. 5.1 and 5.1.1. Its members are found by descents from many Gaussian latents:

    image = np.repeat(pixels[:1], 2000, axis=0)
    latents = de.embed(generator, image, method="descent").latents
    cloud = de.LatentCloud().fit(latents)
"""

import dataclasses
import math

import numpy as np

from ddim_embed import arguments
from ddim_embed.generator.generator import Generator, as_generator
from ddim_embed.memory import require_memory

KINDS = ("convex", "affine")
# Variances below this share of the largest one are rounding errors.
_RELATIVE_NOISE = 1e-10


@dataclasses.dataclass(frozen=True)
class Spread:
    """Distances between members, over all pairs of different members.

    Attributes:
        distance: mean Euclidean distance.
        mean_square: mean squared difference of one coordinate; 2 for N(0, 1).
        rms: square root of `mean_square`.
    """

    distance: float
    mean_square: float
    rms: float


def spread(latents: np.ndarray, block: int = 512) -> Spread:
    """The distances between the members of a cloud, exactly.

    The mean distance runs over all pairs, block by block. The mean square has a closed form with
    the mean z of n members: 2 / (n - 1) times the sum of |z_i - z|**2.

    Args:
        latents: `(n, height, width, channels)`, n at least 2.
        block: members whose distances to all others are computed at a time, which bounds memory.

    Returns:
        A `Spread`.

    Raises:
        ValueError: for fewer than two latents, or another shape.
    """
    block = arguments.integer("block", block)
    rows = _rows(latents, least=2)
    require_memory(
        24 * min(block, len(rows)) * len(rows), f"the distances of `block` {block} members"
    )
    rows = rows - rows.mean(axis=0)  # avoids cancellation in the squares below
    squares = np.sum(rows**2, axis=1)
    total, count = 0.0, len(rows)
    for i in range(0, count, block):
        part = slice(i, i + block)
        distances = squares[part, None] + squares - 2 * rows[part] @ rows.T
        np.fill_diagonal(distances[:, i:], 0.0)
        total += np.sqrt(np.maximum(distances, 0)).sum()
    mean_square = 2 * squares.sum() / ((count - 1) * rows.shape[1])
    return Spread(total / (count * (count - 1)), mean_square, np.sqrt(mean_square))


def combination_weights(
    members: int,
    n: int,
    kind: str = "convex",
    seed: int = 0,
    of: int | None = None,
    reach: float = 0.5,
) -> np.ndarray:
    """Random weights that sum to 1.

    Convex weights are uniform on the simplex (Dirichlet). Affine ones are convex weights p of some
    members, extrapolated away from convex weights q of others: (1 + r) p - r q, where r is uniform
    in (0, reach]. So their negative part sums to r.

    Args:
        members: number of members.
        n: number of combinations.
        kind: "convex" or "affine".
        seed: integer.
        of: number of members, drawn for each combination, that have a weight; None for all. A
            combination of all of many members is close to their mean.
        reach: the largest r of affine combinations; positive.

    Returns:
        float64 array `(n, members)`.

    Raises:
        ValueError: for another kind, no combinations, a `reach` that is not positive, or an `of`
            below 2 or above `members`.
    """
    arguments.choice("kind", kind, KINDS)
    members, n = arguments.integer("members", members, least=2), arguments.integer("n", n)
    of = members if of is None else arguments.integer("of", of, 2, members)
    reach = arguments.number("reach", reach, above=0)
    seed = arguments.seed(seed)
    require_memory(8 * n * members, f"the weights of {n} combinations of {members} members")
    rng = np.random.default_rng(seed)
    weights = np.zeros((n, members))
    for row in weights:
        drawn = rng.permutation(members)[:of]
        if kind == "convex":
            row[drawn] = rng.dirichlet(np.ones(of))
        else:
            beyond = reach * (1 - rng.random())
            towards, away = np.array_split(drawn, 2)
            row[towards] = (1 + beyond) * rng.dirichlet(np.ones(len(towards)))
            row[away] = -beyond * rng.dirichlet(np.ones(len(away)))
    return weights


def combinations(
    latents: np.ndarray,
    n: int,
    kind: str = "convex",
    seed: int = 0,
    of: int | None = None,
    reach: float = 0.5,
) -> np.ndarray:
    """Random linear combinations of members, which test whether the cloud is convex (Fig. 12).

    Args:
        latents: `(members, height, width, channels)`.
        n, kind, seed, of, reach: as for `combination_weights`.

    Returns:
        float32 array `(n, height, width, channels)`.
    """
    rows = _rows(latents, least=2)
    weights = combination_weights(len(rows), n, kind, seed, of, reach)
    return _latents(weights @ rows, latents)


def running_means(latents: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Means of the first 1, 2, 4, 8 ... members, and of all (Fig. 13).

    Args:
        latents: `(n, height, width, channels)`, n at least 1.

    Returns:
        The counts, a list of k integers; the means, float32 `(k, height, width, channels)`.
    """
    rows = _rows(latents, least=1)
    counts = [2**power for power in range(len(rows).bit_length()) if 2**power < len(rows)]
    counts.append(len(rows))
    means = np.stack([rows[:count].mean(axis=0) for count in counts])
    return counts, _latents(means, latents)


def distances_to(latents: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Euclidean distances between latents and one point, float64 `(n,)`."""
    rows = _rows(latents, least=1)
    return np.linalg.norm(rows - _point("point", point, np.shape(latents)[1:]), axis=1)


@dataclasses.dataclass(frozen=True)
class Quartiles:
    """Members in quarters by their distance from the centre, the inner quarter first.

    Attributes:
        distances: mean distance in each quarter, `(4,)`.
        errors: mean error in each quarter, `(4,)`.
        correlation: Spearman's rank correlation of distance and error: negative where members on
            the border reconstruct better.
        p_value: the probability of a correlation as strong by chance.
    """

    distances: np.ndarray
    errors: np.ndarray
    correlation: float
    p_value: float


def border_quartiles(distances: np.ndarray, errors: np.ndarray) -> Quartiles:
    """Tests whether members on the border of a cloud reconstruct better than inner ones.

    Args:
        distances: of each member from the centre, `(n,)`, n at least 8, by `distances_to` or
            `LatentCloud.mahalanobis`.
        errors: of each member's reconstruction, `(n,)`.

    Returns:
        `Quartiles`; a correlation of 0 where all distances, or all errors, are the same.

    Raises:
        ValueError: for different lengths, fewer than 8 members, or values that are not finite.
    """
    from scipy.stats import spearmanr  # not at the top: importing the library needs no SciPy

    distances = arguments.finite_array("distances", distances, np.float64)
    errors = arguments.finite_array("errors", errors, np.float64)
    if distances.ndim != 1 or distances.shape != errors.shape or len(distances) < 8:
        raise ValueError(
            "`distances` and `errors` must be one per member, of at least 8 members. "
            f"Received shapes: {distances.shape} and {errors.shape}"
        )
    quarters = np.array_split(np.argsort(distances, kind="stable"), 4)
    correlation, p_value = 0.0, 1.0
    if np.ptp(distances) > 0 and np.ptp(errors) > 0:
        correlation, p_value = map(float, spearmanr(distances, errors))
    return Quartiles(
        np.array([distances[quarter].mean() for quarter in quarters]),
        np.array([errors[quarter].mean() for quarter in quarters]),
        correlation,
        p_value,
    )


@dataclasses.dataclass(frozen=True)
class Centrality:
    """How near a point is to the mean of a cloud, compared with the members.

    Attributes:
        distance: Euclidean distance between the point and the mean.
        members: mean distance between a member and the mean.
        nearer: share of members that are nearer to the mean than the point.
        error_of_mean: standard error of the mean itself (root mean square).
        correlation: of the coordinates of point and mean.
        correlation_of_members: mean correlation of a member and the mean of all others.
    """

    distance: float
    members: float
    nearer: float
    error_of_mean: float
    correlation: float
    correlation_of_members: float


def centrality(latents: np.ndarray, point: np.ndarray) -> Centrality:
    """How central a point is in a cloud, such as the "canonical" latents of an embedding network.

    Args:
        latents: `(n, height, width, channels)`, n at least 2.
        point: `(height, width, channels)`.

    Returns:
        A `Centrality`.
    """
    rows = _rows(latents, least=2)
    point = _point("point", point, np.shape(latents)[1:])
    mean, count = rows.mean(axis=0), len(rows)
    members = np.linalg.norm(rows - mean, axis=1)
    distance = float(np.linalg.norm(point - mean))
    others = (count * mean - rows) / (count - 1)
    return Centrality(
        distance,
        float(members.mean()),
        float(np.mean(members < distance)),
        float(np.sqrt(np.sum(members**2) / (count - 1) / count)),
        float(_correlations(point[None], mean[None])[0]),
        float(_correlations(rows, others).mean()),
    )


def marchenko_pastur(members: int, dimensions: int) -> tuple[float, float]:
    """The range of sample eigenvalues of N(0, I), whose true eigenvalues are all 1.

    With as many members as dimensions, or a few times as many, chance spreads the spectrum that
    much (Marchenko & Pastur, 1967): eigenvalues inside the range show no shape of the cloud. The
    range is from the least eigenvalue that is not 0 for lack of members to the largest.
    """
    members = arguments.integer("members", members)
    root = np.sqrt(arguments.integer("dimensions", dimensions) / members)
    return float((1 - root) ** 2), float((1 + root) ** 2)


class LatentCloud:
    """The ellipsoid of a cloud: its mean and principal components (Sec. 5.1.1, Fig. 14).

    An estimator in the style of scikit-learn, in float64. There are no components for directions
    that the members do not span, where these are fewer than the dimensions.

    Args:
        n_components: number of components, the widest first; None for all, the number of dimensions
            or one less than the number of members.

    Attributes:
        mean_: `(height, width, channels)`.
        components_: `(k, height, width, channels)`, orthonormal, the major one first.
        explained_variance_: `(k,)`, the variance of members along each component.
        explained_variance_ratio_: `(k,)`, as a share of the variance in all directions.
        n_members_: number of latents that were fitted.

    Example:
        >>> latents = np.random.default_rng(0).normal(size=(50, 4, 4, 1))
        >>> cloud = de.LatentCloud(n_components=3).fit(latents)
        >>> cloud.components_.shape, cloud.transform(latents).shape, cloud.sample(2).shape
        ((3, 4, 4, 1), (50, 3), (2, 4, 4, 1))
    """

    def __init__(self, n_components: int | None = None):
        self.n_components = n_components

    def get_params(self, deep=True):
        """Returns the options, as scikit-learn's tools require."""
        return {"n_components": self.n_components}

    def set_params(self, **params):
        """Changes options; returns the estimator."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"The options are {[*self.get_params()]}. Received: {name!r}")
            setattr(self, name, value)
        return self

    def fit(self, latents: np.ndarray, y=None) -> "LatentCloud":
        """Fits mean and components.

        Args:
            latents: `(n, height, width, channels)`, members of emb(x); n at least 2.
            y: ignored.

        Returns:
            The estimator.

        Raises:
            ValueError: for fewer than two latents, another shape, values that are not finite, or
                more components than possible.
        """
        from sklearn.decomposition import PCA  # not at the top: importing the library needs none

        rows = _rows(latents, least=2)
        if not np.ptp(rows, axis=0).any():
            raise ValueError(f"`latents` must differ. Received {len(rows)} times the same.")
        most = min(len(rows) - 1, rows.shape[1])
        count = most
        if self.n_components is not None:
            count = arguments.integer("n_components", self.n_components, 1, most)
        # Other solvers form the covariance, which squares the range of the spectrum.
        self._pca = PCA(count, svd_solver="full").fit(rows)
        shape = np.shape(latents)[1:]
        self.mean_ = self._pca.mean_.reshape(shape)
        self.components_ = self._pca.components_.reshape(count, *shape)
        self.explained_variance_ = self._pca.explained_variance_
        self.explained_variance_ratio_ = self._pca.explained_variance_ratio_
        self.n_members_ = len(rows)
        return self

    def transform(self, latents: np.ndarray) -> np.ndarray:
        """Coordinates of latents along the components, `(n, k)`; those of the mean are 0."""
        return self._fitted().transform(self._checked(latents))

    def fit_transform(self, latents: np.ndarray, y=None) -> np.ndarray:
        """`fit`, then the coordinates of the same latents."""
        return self.fit(latents).transform(latents)

    def inverse_transform(self, coordinates: np.ndarray) -> np.ndarray:
        """Latents, float32 `(n, height, width, channels)`, with coordinates `(n, k)`."""
        count = len(self._fitted().components_)
        coordinates = arguments.finite_array("coordinates", coordinates, np.float64)
        if coordinates.ndim != 2 or coordinates.shape[1] != count:
            raise ValueError(
                f"`coordinates` must have shape (n, {count}). Received shape: {coordinates.shape}"
            )
        rows = self._pca.inverse_transform(coordinates)
        return rows.reshape(-1, *self.mean_.shape).astype(np.float32)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Draws latents from the fitted Gaussian.

        Args:
            n: number of latents.
            seed: integer.

        Returns:
            float32 array `(n, height, width, channels)`, in the span of the components.
        """
        deviations = np.sqrt(self._fitted().explained_variance_)
        n, seed = arguments.integer("n", n), arguments.seed(seed)
        require_memory(12 * n * self.mean_.size, f"{n} latents of a cloud")
        drawn = np.random.default_rng(seed).normal(size=(n, len(deviations)))
        return self.inverse_transform(drawn * deviations)

    def mahalanobis(self, latents: np.ndarray) -> np.ndarray:
        """Distances from the mean in units of the deviation along each component, `(n,)`.

        For the fitted members they are meaningful only if there are many more than components: with
        one member more than components all distances are equal.
        """
        coordinates = self.transform(latents)
        variances = self.explained_variance_
        valid = variances > _RELATIVE_NOISE * variances.max()
        return np.sqrt(np.sum(coordinates[:, valid] ** 2 / variances[valid], axis=1))

    def walk(self, component: int, steps: np.ndarray, length: float | None = None) -> np.ndarray:
        """Latents along a component, through the mean.

        Args:
            component: index of the component; 0 has the largest variance, -1 the least.
            steps: `(k,)` numbers.
            length: of a step; None for the standard deviation along the component.

        Returns:
            float32 array `(k, height, width, channels)`: mean + step * length * component.
        """
        self._fitted()
        count = len(self.components_)
        component = arguments.integer("component", component, -count, count - 1)
        if length is None:
            length = np.sqrt(self.explained_variance_[component])
        else:
            length = arguments.number("length", length)
        steps = arguments.finite_array("steps", steps, np.float64).reshape(-1, 1, 1, 1) * length
        return (self.mean_ + steps * self.components_[component]).astype(np.float32)

    def _fitted(self):
        if not hasattr(self, "_pca"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError("This cloud is empty: call `fit` first.")
        return self._pca

    def _checked(self, latents):
        rows = _rows(latents, least=1)
        if np.shape(latents)[1:] != self.mean_.shape:
            raise ValueError(
                f"`latents` must have shape (n, {', '.join(map(str, self.mean_.shape))}). "
                f"Received shape: {np.shape(latents)}"
            )
        return rows


def decoded_changes(
    generator: Generator,
    origin: np.ndarray,
    directions: np.ndarray,
    length: float | np.ndarray = 1.0,
) -> np.ndarray:
    """Changes of the decoded image along directions, per unit of distance in latents.

    A symmetric difference over steps of a given length; for short steps it is the length of the
    Jacobian times the direction.

    Args:
        generator: a `Generator`; one with a condition has the condition of the origin alone.
        origin: `(height, width, channels)`, where the steps start.
        directions: `(k, height, width, channels)`, of unit length.
        length: of a step; one number, or one per direction.

    Returns:
        float64 array `(k,)`: |decode(origin + step) - decode(origin - step)| / |2 step|.

    Raises:
        ValueError: for a length that is not positive.
    """
    as_generator(generator)
    origin = _point("origin", origin, generator.image_shape).reshape(generator.image_shape)
    directions = arguments.finite_array("directions", directions, np.float64)
    length = arguments.finite_array("length", length, np.float64)
    if directions.shape[1:] != origin.shape or length.shape not in ((), directions.shape[:1]):
        raise ValueError(
            f"`directions` must have shape (k, {', '.join(map(str, origin.shape))}), and `length` "
            f"be a number or k of them. Received shapes: {directions.shape} and {length.shape}"
        )
    if not (length > 0).all():
        raise ValueError(f"`length` must be positive. Received: {length.min()}")
    length = np.broadcast_to(length, (len(directions),))
    steps = length[:, None, None, None] * directions
    ends = np.concatenate([origin + steps, origin - steps]).astype(np.float32)
    own = generator.take(np.zeros(len(ends), int))
    ahead, behind = np.split(np.asarray(own.decode(ends), np.float64), 2)
    return np.sqrt(np.sum((ahead - behind) ** 2, axis=(1, 2, 3))) / (2 * length)


def _rows(latents, least):
    """Latents as float64 rows; raises a ValueError if they do not fit."""
    rows = arguments.finite_array("latents", latents, np.float64)
    if rows.ndim != 4 or len(rows) < least or not rows.size:
        raise ValueError(
            f"`latents` must have shape (n, height, width, channels), n at least {least}. "
            f"Received shape: {rows.shape}"
        )
    return rows.reshape(len(rows), -1)


def _point(name, point, shape):
    """One point of a shape as a float64 row; raises a ValueError if it does not fit."""
    row = arguments.finite_array(name, point, np.float64)
    if row.size != math.prod(shape):
        raise ValueError(f"`{name}` must have shape {tuple(shape)}. Received shape: {row.shape}")
    return row.ravel()


def _latents(rows, latents):
    """Rows as float32 latents of the shape of given latents."""
    return rows.reshape(len(rows), *np.shape(latents)[1:]).astype(np.float32)


def _correlations(first, second):
    """Correlations of the rows of two matrices; 0 where one of them is constant."""
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.sum(first * second, axis=1) / np.where(norms > 0, norms, 1)
