"""How alike the images are that different networks make of the same latents (Asperti et al.).

The paper's claim (Sec. 3.3, Fig. 10): the latents alone decide, whatever network was trained on
the data; networks differ by two to three orders of magnitude less than random images do.
"""

import dataclasses
import itertools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Mean squared distances per pixel between images of k networks; returned by `agreement`.

    Attributes:
        same: of two networks' images of the same latents, float64 `(k, k)`; 0 on the diagonal.
        other: of two networks' images of different latents, `(k, k)`.
        ratio: how many times closer images of the same latents are: the mean of `other` over that
            of `same`, pairs of different networks only.
        interval: its 95% interval, (low, high): a bootstrap over latents.
    """

    same: np.ndarray
    other: np.ndarray
    ratio: float
    interval: tuple[float, float]


def agreement(images, padding=0, resamples=1000, seed=0):
    """Compares what networks made of the same latents with what they made of different ones.

    Args:
        images: float, `(k, n, height, width, channels)`: of k networks, at least 2, each from the
            same n latents, at least 2, in the same order. Clipped to [0, 1].
        padding: rows and columns at each border that do not count.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        An `Agreement`. The ratio is infinite where networks agree exactly.

    Raises:
        ValueError: for another shape, or fewer networks or latents.
    """
    images = np.asarray(images)
    if images.ndim != 5 or min(images.shape[:2]) < 2:
        raise ValueError(
            "`images` must have shape (k, n, height, width, channels), k and n at least 2. "
            f"Received shape: {images.shape}"
        )
    count, n = images.shape[:2]
    window = slice(padding, -padding or None)
    rows = np.clip(images[:, :, window, window], 0, 1).reshape(count, n, -1).astype(np.float64)
    same, other = np.zeros((count, count)), np.zeros((count, count))
    matched, crossed = np.zeros(n), np.zeros((n, n))  # means over the pairs of networks
    for a, b in itertools.combinations_with_replacement(range(count), 2):
        distances = _distances(rows[a], rows[b])
        mine = np.mean((rows[a] - rows[b]) ** 2, axis=1)  # exactly 0 where equal
        same[a, b] = same[b, a] = mine.mean()
        other[a, b] = other[b, a] = (distances.sum() - distances.trace()) / (n * (n - 1))
        if a != b:
            matched += mine
            crossed += distances
    np.fill_diagonal(crossed, 0)
    # A latent that was drawn twice makes no pair of different latents with itself.
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples)
    weights = np.concatenate([np.ones((1, n)), weights])
    pairs = n**2 - np.sum(weights**2, axis=1)
    # One latent drawn n times makes no pair at all.
    weights, pairs = weights[pairs > 0], pairs[pairs > 0]
    with np.errstate(divide="ignore"):
        ratios = np.einsum("ri,ij,rj->r", weights, crossed, weights, optimize=True) / pairs
        ratios /= weights @ matched / n
    # "nearest", for no interpolation is defined between infinite ones.
    low, high = np.quantile(ratios[bool(resamples) :], (0.025, 0.975), method="nearest")
    return Agreement(same, other, float(ratios[0]), (float(low), float(high)))


def _distances(first, second):
    """Mean squared distances between all rows of two matrices, `(n, n)`."""
    products = first @ second.T
    squares = np.sum(first**2, axis=1)[:, None] + np.sum(second**2, axis=1)
    return np.maximum(squares - 2 * products, 0) / first.shape[1]
