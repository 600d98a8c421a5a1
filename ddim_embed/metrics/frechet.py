"""The Frechet distance between two sets of images: between Gaussians fitted to their features.

With Inception's features it is the FID of Heusel et al. (2017). These features are not sensitive to
small grey images; those of a `FeatureClassifier`, trained on the images' own classes, are. That
number is a "Frechet distance on classifier features": it is not comparable with any FID.
"""

from collections.abc import Callable

import numpy as np

from ddim_embed import arguments
from ddim_embed.metrics.pixels import check_pixels, clipped_batches

INCEPTION_SIZE = 299


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """The squared Frechet (2-Wasserstein) distance between Gaussians fitted to two sets (FID's).

    |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)), Dowson and Landau (1982), with
    unbiased covariances. No covariance is formed, nor its square root: with centred features
    A^T A = cov_a and B^T B = cov_b the trace is the least |A - Q B|^2 over orthogonal Q. So it is
    never negative, 0 for equal sets, and exact for fewer samples than features, too.

    Estimates from few samples are biased: two sets of one distribution have a distance above 0 that
    falls about as 1/n. Compare only distances of sets of the same sizes, and state these.

    Args:
        features_a, features_b: float, `(n, d)`, each with its own n of at least 2.

    Returns:
        A float, computed in float64.

    Raises:
        ValueError: for other shapes, fewer than 2 samples, different d, or values that are not
            finite.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(100, 4))
        >>> round(de.frechet_distance(features, features + 1), 6)  # the squared shift
        4.0
    """
    from scipy import linalg  # not at the top: importing the library needs no SciPy

    features_a = _check_features(features_a, "features_a")
    features_b = _check_features(features_b, "features_b")
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(
            "`features_a` and `features_b` must have the same number of features. "
            f"Received shapes: {features_a.shape} and {features_b.shape}"
        )
    root_a, root_b = _covariance_root(features_a), _covariance_root(features_b)
    rows = max(len(root_a), len(root_b))
    root_a, root_b = (np.pad(root, ((0, rows - len(root)), (0, 0))) for root in (root_a, root_b))
    # SciPy minimises |A Q - B|, so both are transposed.
    rotation, _ = linalg.orthogonal_procrustes(root_b.T, root_a.T)
    mean_difference = features_a.mean(axis=0) - features_b.mean(axis=0)
    return float(np.sum(mean_difference**2) + np.sum((root_b.T @ rotation - root_a.T) ** 2))


def _covariance_root(features):
    """R, `(min(n, d), d)`, with R^T R the unbiased covariance."""
    centred = features - features.mean(axis=0)
    return np.linalg.qr(centred / np.sqrt(len(features) - 1), mode="r")


def _check_features(features, name):
    features = arguments.finite_array(name, features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not features.shape[1]:
        raise ValueError(
            f"`{name}` must have shape (n, d) with at least 2 samples and a feature. "
            f"Received shape: {features.shape}"
        )
    return features


def fid(
    pixels_a: np.ndarray, pixels_b: np.ndarray, inception: Callable, batch_size: int = 64
) -> float:
    """The Frechet inception distance between two sets of images, with a given Inception network.

    Grey is repeated over three channels, and images are resized to 299x299, bilinearly and with
    antialiasing. A FID depends on the resizing and on the weights of Inception: compare it with
    published ones only if both agree.

    Args:
        pixels_a, pixels_b: floating-point, `(n, height, width, 1 or 3)` in [0, 1], each with its
            own n and size; decoded ones may leave it as `pixels` of `metrics.mse`, and are clipped.
        inception: any callable from images, float32 `(n, 299, 299, 3)` in [-1, 1], to features
            `(n, d)`; d is 2048 for the FID of Heusel et al. For example
            `keras.applications.InceptionV3(include_top=False, pooling="avg")`, the ImageNet
            weights of which differ from those of the original FID.
        batch_size: images per batch.

    Returns:
        A float, as `frechet_distance`.

    Raises:
        ValueError: for pixels or features of other shapes, features that are not finite, or pixels
            that `metrics.mse` refuses: integers, NaN, other ranges.

    Example:
        >>> def inception(images):  # instead of a network with downloaded weights
        ...     return images[:, 100:102, 100, 0]
        >>> pixels = np.random.default_rng(0).uniform(size=(4, 8, 8, 1))
        >>> round(de.fid(pixels, pixels, inception), 6)
        0.0
    """
    arguments.function("inception", inception)
    return frechet_distance(
        _inception_features("pixels_a", pixels_a, inception, batch_size),
        _inception_features("pixels_b", pixels_b, inception, batch_size),
    )


def _inception_features(name, pixels, inception, batch_size):
    import tensorflow as tf  # not at the top: the distance of vectors needs NumPy alone

    check_pixels(name, pixels)
    pixels = np.asarray(pixels, np.float32)
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or not pixels.size:
        raise ValueError(
            f"`{name}` must have shape (n, height, width, 1 or 3), n at least 1. "
            f"Received shape: {pixels.shape}"
        )
    parts = []
    for part in clipped_batches(pixels, batch_size):
        images = tf.image.resize(part, (INCEPTION_SIZE, INCEPTION_SIZE), antialias=True)
        features = np.asarray(inception(2 * tf.repeat(images, 3 // part.shape[3], axis=3) - 1))
        if features.ndim != 2 or len(features) != len(part):
            raise ValueError(
                f"`inception` must return shape ({len(part)}, d) for that many images. "
                f"Received shape: {features.shape}"
            )
        parts.append(features)
    return np.concatenate(parts)
