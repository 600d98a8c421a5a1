"""The set of all latents of one image, emb(x): its spread, its shape and its centre.

Asperti et al., Secs. 5.1 and 5.1.1. Members are found by a descent from many Gaussian latents:

    image = np.repeat(pixels[:1], 2000, axis=0)
    latents = de.embed(generator, image, method="descent").latents
    cloud = de.LatentCloud().fit(latents)
"""

import dataclasses

import numpy as np

KINDS = ("convex", "affine")
# Variances below that share of the largest are rounding, not shape.
_RELATIVE_NOISE = 1e-10


@dataclasses.dataclass(frozen=True)
class Spread:
    """How far apart two members are, over all pairs of different members.

    Attributes:
        distance: mean Euclidean distance.
        mean_square: mean squared difference of one coordinate; 2 for N(0, 1).
        rms: its square root.
    """

    distance: float
    mean_square: float
    rms: float


def spread(latents, block=512):
    """The distances in a cloud, exactly.

    The mean distance runs over all pairs, block by block. The mean square has a closed form through
    the mean z of n members: 2 / (n - 1) times the sum of |z_i - z|**2.

    Args:
        latents: `(n, height, width, channels)`, n at least 2.
        block: members whose distances to all others are held at a time, which bounds memory.

    Returns:
        A `Spread`.

    Raises:
        ValueError: for fewer than two latents, or another shape.
    """
    rows = _rows(latents, least=2)
    rows = rows - rows.mean(axis=0)  # so that little cancels in the squares below
    squares = np.sum(rows**2, axis=1)
    total, count = 0.0, len(rows)
    for i in range(0, count, block):
        part = slice(i, i + block)
        distances = squares[part, None] + squares - 2 * rows[part] @ rows.T
        np.fill_diagonal(distances[:, i:], 0.0)
        total += np.sqrt(np.maximum(distances, 0)).sum()
    mean_square = 2 * squares.sum() / ((count - 1) * rows.shape[1])
    return Spread(total / (count * (count - 1)), mean_square, np.sqrt(mean_square))


def combination_weights(members, n, kind="convex", seed=0, of=None, reach=0.5):
    """Random weights that sum to 1.

    Convex weights are uniform on the simplex (Dirichlet). Affine ones are convex weights p of some
    members, extrapolated away from convex weights q of others: (1 + r) p - r q, where r is uniform
    in (0, reach]. So their negative part sums to r.

    Args:
        members: how many members there are.
        n: how many combinations.
        kind: "convex" or "affine".
        seed: integer.
        of: how many members, drawn for each combination, have a weight; None for all. A combination
            of all of many members is close to their mean.
        reach: how far affine combinations go at most; positive.

    Returns:
        float64 array `(n, members)`.

    Raises:
        ValueError: for another kind, fewer than 2 members to combine, or more than there are.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: {kind!r}")
    of = members if of is None else of
    if not 2 <= of <= members:
        raise ValueError(f"`of` must be from 2 to the {members} members. Received: {of}")
    if n < 1:
        raise ValueError(f"`n` must be at least 1. Received: {n}")
    if not 0 < reach < np.inf:
        raise ValueError(f"`reach` must be positive. Received: {reach}")
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


def combinations(latents, n, kind="convex", seed=0, of=None, reach=0.5):
    """Random linear combinations of members (Fig. 12): is the cloud convex, is it flat?

    Args:
        latents: `(members, height, width, channels)`.
        n, kind, seed, of, reach: as for `combination_weights`.

    Returns:
        float32 array `(n, height, width, channels)`.
    """
    rows = _rows(latents, least=2)
    weights = combination_weights(len(rows), n, kind, seed, of, reach)
    return _latents(weights @ rows, latents)


def running_means(latents):
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


def distances_to(latents, point):
    """Euclidean distances of latents from one point, float64 `(n,)`."""
    rows = _rows(latents, least=1)
    return np.linalg.norm(rows - np.asarray(point, np.float64).reshape(1, rows.shape[1]), axis=1)


@dataclasses.dataclass(frozen=True)
class Quartiles:
    """Members by their distance from the centre, the inner quarter first.

    Attributes:
        distances: mean distance in each quarter, `(4,)`.
        errors: mean error in each quarter, `(4,)`.
        correlation: Spearman's rank correlation of distance and error: negative where members on
            the border reconstruct better.
        p_value: how often a correlation as strong comes by chance.
    """

    distances: np.ndarray
    errors: np.ndarray
    correlation: float
    p_value: float


def border_quartiles(distances, errors):
    """Whether members on the border of a cloud reconstruct better than inner ones.

    Args:
        distances: of each member from the centre, `(n,)`, n at least 8; as `distances_to` or
            `LatentCloud.mahalanobis` give them.
        errors: of each member's reconstruction, `(n,)`.

    Returns:
        `Quartiles`; a correlation of 0 where all distances, or all errors, are the same.

    Raises:
        ValueError: for two lengths, fewer than 8 members, or values that are not finite.
    """
    from scipy.stats import spearmanr  # not at the top: importing the library needs no SciPy

    distances, errors = np.asarray(distances, np.float64), np.asarray(errors, np.float64)
    if distances.ndim != 1 or distances.shape != errors.shape or len(distances) < 8:
        raise ValueError(
            "`distances` and `errors` must be one per member, of at least 8 members. "
            f"Received shapes: {distances.shape} and {errors.shape}"
        )
    if not np.isfinite([distances, errors]).all():
        raise ValueError("`distances` and `errors` must be finite. Received NaN or infinity.")
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
    """How near a point is to the mean of a cloud, beside its members.

    Attributes:
        distance: Euclidean, from the mean.
        members: mean distance of a member from the mean.
        nearer: share of members that are nearer to the mean than the point.
        error_of_mean: how far the mean itself is off, for want of members (root mean square).
        correlation: of the coordinates of point and mean.
        correlation_of_members: the mean of that of members, each with the mean of all others.
    """

    distance: float
    members: float
    nearer: float
    error_of_mean: float
    correlation: float
    correlation_of_members: float


def centrality(latents, point):
    """Whether a point, such as an embedding network's "canonical" latents, is central in a cloud.

    Args:
        latents: `(n, height, width, channels)`, n at least 2.
        point: `(height, width, channels)`.

    Returns:
        A `Centrality`.
    """
    rows = _rows(latents, least=2)
    point = np.asarray(point, np.float64).ravel()
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


def marchenko_pastur(members, dimensions):
    """The range of sample eigenvalues of N(0, I), all of whose true ones are 1.

    As many members as dimensions, or a few times as many, spread the spectrum that much by chance
    (Marchenko & Pastur, 1967): what lies inside the range says nothing of a cloud's shape.

    Args:
        members, dimensions: how many there are.

    Returns:
        The least eigenvalue (of those that are not 0 for want of members) and the largest.
    """
    root = np.sqrt(dimensions / members)
    return float((1 - root) ** 2), float((1 + root) ** 2)


class LatentCloud:
    """The ellipsoid of a cloud: its mean and principal components (Sec. 5.1.1, Fig. 14).

    An estimator in the manner of scikit-learn. All of it is in float64. Fewer members than
    dimensions leave the directions that they do not span unknown: there are no components for them.

    Args:
        n_components: how many components are kept, the widest first; None for all, one less than
            there are members or as many as dimensions.

    Attributes:
        mean_: `(height, width, channels)`.
        components_: `(k, height, width, channels)`, orthonormal, the major one first.
        explained_variance_: `(k,)`, the variance of members along each component.
        explained_variance_ratio_: `(k,)`, as a share of the variance in all directions.
        n_members_: how many latents were fitted.
    """

    def __init__(self, n_components=None):
        self.n_components = n_components

    def get_params(self, deep=True):
        """The options, as scikit-learn's tools ask for them."""
        return {"n_components": self.n_components}

    def set_params(self, **params):
        """Changes options; returns the estimator."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"The options are {[*self.get_params()]}. Received: {name!r}")
            setattr(self, name, value)
        return self

    def fit(self, latents, y=None):
        """Learns mean and components.

        Args:
            latents: `(n, height, width, channels)`, members of emb(x); n at least 2.
            y: ignored.

        Returns:
            The estimator.

        Raises:
            ValueError: for fewer than two latents, another shape, values that are not finite, or
                more components than there can be.
        """
        from sklearn.decomposition import PCA  # not at the top: importing the library needs none

        rows = _rows(latents, least=2)
        if not np.ptp(rows, axis=0).any():
            raise ValueError(f"`latents` must differ. Received {len(rows)} times the same.")
        most = min(len(rows) - 1, rows.shape[1])
        count = most if self.n_components is None else self.n_components
        if not 1 <= count <= most:
            raise ValueError(
                f"`n_components` must be from 1 to {most} for {len(rows)} latents of "
                f"{rows.shape[1]} dimensions. Received: {count}"
            )
        # Other solvers square the data, and with them the range of the spectrum.
        self._pca = PCA(count, svd_solver="full").fit(rows)
        shape = np.shape(latents)[1:]
        self.mean_ = self._pca.mean_.reshape(shape)
        self.components_ = self._pca.components_.reshape(count, *shape)
        self.explained_variance_ = self._pca.explained_variance_
        self.explained_variance_ratio_ = self._pca.explained_variance_ratio_
        self.n_members_ = len(rows)
        return self

    def transform(self, latents):
        """Coordinates along the components, `(n, k)`, of latents; the mean has zeros."""
        return self._fitted().transform(self._checked(latents))

    def fit_transform(self, latents, y=None):
        """`fit`, then the coordinates of the same latents."""
        return self.fit(latents).transform(latents)

    def inverse_transform(self, coordinates):
        """Latents, float32 `(n, height, width, channels)`, of coordinates `(n, k)`."""
        rows = self._fitted().inverse_transform(np.asarray(coordinates, np.float64))
        return rows.reshape(-1, *self.mean_.shape).astype(np.float32)

    def sample(self, n, seed=0):
        """Draws latents from the fitted Gaussian.

        Args:
            n: how many.
            seed: integer.

        Returns:
            float32 array `(n, height, width, channels)`; all are in the span of the components.
        """
        deviations = np.sqrt(self._fitted().explained_variance_)
        drawn = np.random.default_rng(seed).normal(size=(n, len(deviations)))
        return self.inverse_transform(drawn * deviations)

    def mahalanobis(self, latents):
        """Distances from the mean in units of the deviation along each component, `(n,)`.

        Of the fitted members it tells nothing unless they are many more than the components: with
        one member more than components all are equally far.
        """
        coordinates = self.transform(latents)
        variances = self.explained_variance_
        wide = variances > _RELATIVE_NOISE * variances.max()
        return np.sqrt(np.sum(coordinates[:, wide] ** 2 / variances[wide], axis=1))

    def walk(self, component, steps, length=None):
        """Latents along a component, through the mean.

        Args:
            component: its index; 0 is the major one, -1 the least.
            steps: `(k,)` numbers.
            length: of a step; None for the deviation along the component.

        Returns:
            float32 array `(k, height, width, channels)`: mean + step * length * component.
        """
        self._fitted()
        if not -len(self.components_) <= component < len(self.components_):
            raise ValueError(
                f"`component` must be one of {len(self.components_)}. Received: {component}"
            )
        if length is None:
            length = np.sqrt(self.explained_variance_[component])
        steps = np.asarray(steps, np.float64).reshape(-1, 1, 1, 1) * length
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


def decoded_changes(generator, origin, directions, length=1.0):
    """By how much the decoded image changes along directions, per unit of latent distance.

    A symmetric difference over steps of a given length: for short steps the length of J direction.

    Args:
        generator: a `Generator`.
        origin: `(height, width, channels)`, where the steps start.
        directions: `(k, height, width, channels)`, of unit length.
        length: of a step; a number, or one per direction.

    Returns:
        float64 array `(k,)`: |decode(origin + step) - decode(origin - step)| / |2 step|.

    Raises:
        ValueError: for a length that is not positive.
    """
    directions = np.asarray(directions, np.float64)
    length = np.broadcast_to(np.asarray(length, np.float64), (len(directions),))
    if not (length > 0).all():
        raise ValueError(f"`length` must be positive. Received: {length.min()}")
    steps = length[:, None, None, None] * directions
    ends = np.concatenate([origin + steps, origin - steps]).astype(np.float32)
    ahead, behind = np.split(np.asarray(generator.decode(ends), np.float64), 2)
    return np.sqrt(np.sum((ahead - behind) ** 2, axis=(1, 2, 3))) / (2 * length)


def _rows(latents, least):
    """Latents as float64 rows, or what is wrong with them."""
    rows = np.asarray(latents, np.float64)
    if rows.ndim != 4 or len(rows) < least or not rows.size:
        raise ValueError(
            f"`latents` must have shape (n, height, width, channels), n at least {least}. "
            f"Received shape: {rows.shape}"
        )
    if not np.isfinite(rows).all():
        raise ValueError("`latents` must be finite. Received NaN or infinity.")
    return rows.reshape(len(rows), -1)


def _latents(rows, latents):
    """Rows as float32 latents of the shape of others."""
    return rows.reshape(len(rows), *np.shape(latents)[1:]).astype(np.float32)


def _correlations(first, second):
    """Of rows; 0 where one of them is constant."""
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.sum(first * second, axis=1) / np.where(norms > 0, norms, 1)
