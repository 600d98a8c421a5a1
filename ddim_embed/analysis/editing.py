"""Images through their latents: ways from one to another, and to the nearest that is generated."""

import dataclasses

import numpy as np

from ddim_embed.methods.registry import embed
from ddim_embed.metrics.perceptual import lpips

KINDS = ("spherical", "linear", "pixels")
# Beyond it, in units of the directions' length, two directions are opposite for all that float32
# can tell, and every great circle through one meets the other.
_OPPOSITE = 1e-6


def lerp(latents, other, fraction):
    """Linear interpolation, (1 - fraction) * latents + fraction * other.

    Between two Gaussian latents it is shorter than both: their mean has 0.7 of their length.

    Args:
        latents, other: float, `(n, ...)` of one shape.
        fraction: 0 for `latents`, 1 for `other`; a number, or one for each image.

    Returns:
        float32 array of the same shape.

    Raises:
        ValueError: if the shapes differ, for values that are not finite, or fractions that are
            neither one number nor n.
    """
    latents, other, fraction = _check_pair(latents, other, fraction)
    return ((1 - fraction) * latents + fraction * other).astype(np.float32)


def slerp(latents, other, fraction):
    """Spherical interpolation, each image's latents taken as one vector (Song et al. 2021, D.5).

    The angle grows evenly along a great circle; where both have one length, it is kept.
    Shoemake's weights sin((1 - f) a) / sin(a) and sin(f a) / sin(a) are written so that they have
    no division by 0 for an angle a of 0, where it becomes `lerp`.

    Args:
        latents, other, fraction: as for `lerp`.

    Returns:
        float32 array of the same shape.

    Raises:
        ValueError: as `lerp`; for latents that are all 0, or opposite, which no one circle joins.
    """
    latents, other, fraction = _check_pair(latents, other, fraction)
    first, second = (_directions(array) for array in (latents, other))
    apart, together = (np.linalg.norm(v, axis=1) for v in (first - second, first + second))
    if (together < _OPPOSITE).any():
        raise ValueError(
            "`latents` and `other` must not be opposite. Received opposite ones for images: "
            f"{np.flatnonzero(together < _OPPOSITE).tolist()}"
        )
    # The arc cosine of the product is blind to small angles.
    angle = 2 * np.arctan2(apart, together).reshape(fraction.shape[:1] + (1,) * (latents.ndim - 1))

    def weight(share):
        return share * np.sinc(share * angle / np.pi) / np.sinc(angle / np.pi)

    return (weight(1 - fraction) * latents + weight(fraction) * other).astype(np.float32)


def interpolate(generator, latents, other, num, kind="spherical"):
    """Images on the way from one to another (Fig. 19), evenly spaced, both ends included.

    Args:
        generator: a `Generator`.
        latents, other: `(n, height, width, channels)`, where each way starts and ends.
        num: images on each way, at least 2.
        kind: "spherical" or "linear", in latents; or "pixels", a cross-fade of the two decoded
            images, for comparison.

    Returns:
        Pixels, float32 array `(n, num, height, width, channels)`, not clipped.

    Raises:
        ValueError: for another kind, fewer than 2 images, or latents that do not fit.
    """
    if num < 2:
        raise ValueError(f"`num` must be at least 2. Received: {num}")
    latents = generator.check_latents(latents)
    fractions = np.tile(np.linspace(0, 1, num), (len(latents), 1))
    return _decoded(generator, latents, other, kind, fractions)


@dataclasses.dataclass(frozen=True)
class PathLength:
    """What `path_length` found.

    Attributes:
        mean: over all paths.
        interval: half of its 95% interval: for several paths, which are taken for a sample of
            more, from how they differ; for one, from where on it distances were taken.
        each: of each path, float64 `(n,)`.
    """

    mean: float
    interval: float
    each: np.ndarray


def path_length(
    generator, latents, other, kind="spherical", samples=16, epsilon=1e-3, seed=0, distance=None
):
    """Perceptual path length: how fast images change on the way (Karras et al. 2019, Sec. 4.1).

    The mean of LPIPS(x(t), x(t + epsilon)) / epsilon**2 over t uniform in (0, 1). LPIPS is in the
    small a square of differences, so this is a mean square of speed: of all ways between two images
    an even one has the least, and abrupt changes cost most. It sees smoothness only; the
    cross-fade, which shows two images at once, is smooth.

    Theirs is of VGG's LPIPS with an epsilon of 1e-4, where differences in float32 are rounding as
    much as change. Compare only lengths of one epsilon, and of one size of images.

    Args:
        generator: a `Generator`.
        latents, other: `(n, height, width, channels)`, where each path starts and ends.
        kind: as for `interpolate`.
        samples: distances on each path, at least 2.
        epsilon: positive.
        seed: integer, of the places where distances are taken.
        distance: `distance(pixels, other) -> (n,)`, a square in the small; None for `lpips`.

    Returns:
        A `PathLength`.

    Raises:
        ValueError: for values out of their ranges, or latents that do not fit.
    """
    if samples < 2:
        raise ValueError(f"`samples` must be at least 2. Received: {samples}")
    if not 0 < epsilon < 1:
        raise ValueError(f"`epsilon` must be between 0 and 1. Received: {epsilon}")
    if distance is None:

        def distance(pixels, other):
            return lpips(pixels, other, generator.padding)

    latents = generator.check_latents(latents)
    places = np.random.default_rng(seed).uniform(size=(len(latents), samples))
    before, after = (
        _decoded(generator, latents, other, kind, fractions).reshape(-1, *generator.image_shape)
        for fractions in (places, places + epsilon)
    )
    found = np.asarray(distance(before, after), np.float64).reshape(places.shape) / epsilon**2
    each = found.mean(axis=1)
    independent = each if len(each) > 1 else found[0]
    interval = 1.96 * independent.std(ddof=1) / np.sqrt(len(independent))
    return PathLength(float(each.mean()), float(interval), each)


def project(generator, pixels, method="hybrid", mask=None, seed=0):
    """Takes images to the nearest ones that the generator makes (Figs. 4 and 5).

    What lies off the manifold of images, such as a painting or a sketched edit, is drawn towards
    it, as far as the method goes: a network can only do what it has learnt, and blends in what it
    does not know; a descent finds latents even for that, and comes close to the image as it is.

    With a mask only the pixels outside are held to the image. What is under it has no influence at
    all, and becomes what the generator makes of the rest.

    Args:
        generator: a `Generator`.
        pixels: `(n, height, width, channels)` in [0, 1], of the generator's `image_shape`.
        method: a name of `METHODS`, or a configured method.
        mask: bool `(n, height, width)` or `(n, height, width, 1)`, True where the image was edited
            and is free; for methods that take one: `LBFGS`, `Descent`, `GaussNewton`, and a
            `Hybrid` that ends with one of them.
        seed: integer; what a method draws depends on it alone.

    Returns:
        An `Embedding`: `reconstruction` is the projection, `mse` the error of the held pixels.

    Raises:
        ValueError: as for `embed`; for a mask of another shape or type, one that holds no pixel, or
            a method that takes none.
        FileNotFoundError: for a network whose weights are not there.
    """
    return embed(generator, pixels, method, seed, mask=mask)


def _decoded(generator, latents, other, kind, fractions):
    """Pixels `(n, k, height, width, channels)` at fractions `(n, k)` of the ways."""
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: {kind!r}")
    ends = [generator.check_latents(end) for end in (latents, other)]
    if kind == "pixels":
        ends = [generator.decode(end).numpy() for end in ends]
    move = slerp if kind == "spherical" else lerp
    ends = [np.repeat(end, fractions.shape[1], axis=0) for end in ends]
    moved = move(*ends, fractions.ravel())
    if kind != "pixels":
        moved = generator.decode(moved).numpy()
    return moved.reshape(*fractions.shape, *generator.image_shape)


def _check_pair(latents, other, fraction):
    latents, other = np.asarray(latents, np.float64), np.asarray(other, np.float64)
    fraction = np.asarray(fraction, np.float64)
    if latents.shape != other.shape or latents.ndim < 2 or not latents.size:
        raise ValueError(
            "`latents` and `other` must have the same shape (n, ...), n at least 1. "
            f"Received: {latents.shape} and {other.shape}"
        )
    if fraction.shape not in ((), latents.shape[:1]):
        raise ValueError(
            f"`fraction` must be a number, or one for each of {len(latents)} images. "
            f"Received shape: {fraction.shape}"
        )
    for name, values in (("latents", latents), ("other", other), ("fraction", fraction)):
        if not np.isfinite(values).all():
            raise ValueError(f"`{name}` must be finite; some values are NaN or infinite.")
    fraction = np.broadcast_to(fraction, latents.shape[:1])
    return latents, other, fraction.reshape(-1, *[1] * (latents.ndim - 1))


def _directions(latents):
    rows = latents.reshape(len(latents), -1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError("`latents` and `other` must not be 0: 0 has no direction.")
    return rows / norms
