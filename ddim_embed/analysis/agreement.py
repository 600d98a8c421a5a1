"""How similar the images are that different networks generate from the same latents.

The claim of Asperti et al. (Sec. 3.3, Fig. 10): the image depends on the latents alone, whatever
network was trained on the data; networks differ by two to three orders of magnitude less than
random images do.
"""

import dataclasses
import itertools

import numpy as np

from ddim_embed import arguments
from ddim_embed.memory import require_memory
from ddim_embed.metrics.pixels import check_pixels


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Mean squared distances per pixel between images of k networks; returned by `agreement`.

    Attributes:
        same: between two networks' images of the same latents, float64 `(k, k)`; 0 on the diagonal.
        other: between two networks' images of different latents, `(k, k)`.
        ratio: how many times closer images of the same latents are: the mean of `other` divided by
            that of `same`, over pairs of different networks.
        interval: its 95% interval, (low, high), by a bootstrap over latents.

    Example:
        >>> images = np.random.default_rng(0).uniform(size=(2, 4, 8, 8, 1))
        >>> de.agreement(images).same.shape
        (2, 2)
    """

    same: np.ndarray
    other: np.ndarray
    ratio: float
    interval: tuple[float, float]


def agreement(
    images: np.ndarray, padding: int = 0, resamples: int = 1000, seed: int = 0
) -> Agreement:
    """Compares networks' images of the same latents with their images of different latents.

    Args:
        images: float, `(k, n, height, width, channels)`, clipped to [0, 1]: of at least 2 networks,
            each from the same n latents, at least 2, in the same order.
        padding: rows and columns at each border that do not count.
        resamples: number of bootstrap samples; 0 for no interval.
        seed: integer from 0 to 2**63 - 1, of the bootstrap.

    Returns:
        An `Agreement`. The ratio is infinite where networks agree exactly.

    Raises:
        ValueError: for another shape, fewer than two networks or latents, images that are integers
            or not finite, or options out of their ranges.

    Example:
        >>> images = np.random.default_rng(0).uniform(size=(1, 4, 8, 8, 1))
        >>> pair = np.concatenate([images, images + 0.001])  # two networks that almost agree
        >>> bool(de.agreement(pair).ratio > 1000)
        True
    """
    check_pixels("images", images, -np.inf, np.inf)
    images = np.asarray(images)
    resamples = arguments.integer("resamples", resamples, least=0)
    seed = arguments.seed(seed)
    if images.ndim != 5 or min(images.shape[:2]) < 2 or 0 in images.shape:
        raise ValueError(
            "`images` must have shape (k, n, height, width, channels), k and n at least 2. "
            f"Received shape: {images.shape}"
        )
    count, n = images.shape[:2]
    padding = arguments.integer("padding", padding, 0, (min(images.shape[2:4]) - 1) // 2)
    require_memory(
        8 * resamples * n + 24 * n**2, f"`resamples` {resamples} and the pairs of {n} latents"
    )
    window = slice(padding, -padding or None)
    rows = np.clip(images[:, :, window, window], 0, 1).reshape(count, n, -1).astype(np.float64)
    same, other = np.zeros((count, count)), np.zeros((count, count))
    matched, crossed = np.zeros(n), np.zeros((n, n))  # means over the pairs of networks
    for a, b in itertools.combinations_with_replacement(range(count), 2):
        distances = _distances(rows[a], rows[b])
        matches = np.mean((rows[a] - rows[b]) ** 2, axis=1)  # exactly 0 for equal images
        same[a, b] = same[b, a] = matches.mean()
        other[a, b] = other[b, a] = (distances.sum() - distances.trace()) / (n * (n - 1))
        if a != b:
            matched += matches
            crossed += distances
    np.fill_diagonal(crossed, 0)
    # Latents that are drawn twice are no pair of different latents.
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples)
    weights = np.concatenate([np.ones((1, n)), weights])
    pairs = n**2 - np.sum(weights**2, axis=1)
    # A sample that consists of one latent only has no pairs.
    weights, pairs = weights[pairs > 0], pairs[pairs > 0]
    with np.errstate(divide="ignore"):
        ratios = np.einsum("ri,ij,rj->r", weights, crossed, weights, optimize=True) / pairs
        ratios /= weights @ matched / n
    # "nearest", as infinite ratios cannot be interpolated.
    low, high = np.quantile(ratios[bool(resamples) :], (0.025, 0.975), method="nearest")
    return Agreement(same, other, float(ratios[0]), (float(low), float(high)))


def _distances(first, second):
    """Mean squared distances between all rows of two matrices, `(n, n)`."""
    products = first @ second.T
    squares = np.sum(first**2, axis=1)[:, None] + np.sum(second**2, axis=1)
    return np.maximum(squares - 2 * products, 0) / first.shape[1]
