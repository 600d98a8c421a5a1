"""Interpolation between latents, and the perceptual length of its paths."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ddim_embed import arguments
from ddim_embed.autoencoder.autoencoder import Autoencoder, Code
from ddim_embed.generator.generator import Generator, as_generator
from ddim_embed.memory import require_memory
from ddim_embed.metrics.perceptual import lpips

KINDS = ("spherical", "linear", "pixels")
# Directions whose sum is shorter than this are opposite to float32 precision: many great circles
# join them.
_OPPOSITE = 1e-6
_NUMBER_BYTES = 40  # both ends and the place between them in float64, then float32; and pixels


def lerp(latents: np.ndarray, other: np.ndarray, fraction: float | np.ndarray) -> np.ndarray:
    """Linear interpolation, (1 - fraction) * latents + fraction * other.

    Interpolated Gaussian latents are shorter than both ends: their mean has 0.7 of their length.

    Args:
        latents, other: float, `(n, ...)` of one shape.
        fraction: 0 for `latents`, 1 for `other`; a number, or one for each image.

    Returns:
        float32 array of the same shape.

    Raises:
        ValueError: if the shapes differ, for values that are not finite, or fractions that are
            neither one number nor n.

    Example:
        >>> de.lerp(np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]]), 0.5).tolist()
        [[1.0, 1.0]]
    """
    latents, other, fraction = _check_pair(latents, other, fraction)
    return ((1 - fraction) * latents + fraction * other).astype(np.float32)


def slerp(latents: np.ndarray, other: np.ndarray, fraction: float | np.ndarray) -> np.ndarray:
    """Spherical interpolation, each image's latents taken as one vector (Song et al. 2021, D.5).

    The angle grows evenly along a great circle; where both ends have one length, so has the result.
    Shoemake's weights sin((1 - f) a) / sin(a) and sin(f a) / sin(a) are written without a division
    by 0 at the angle a = 0, where this is `lerp`.

    Args:
        latents, other, fraction: as for `lerp`.

    Returns:
        float32 array of the same shape.

    Raises:
        ValueError: as `lerp`; for latents that are all 0, or opposite: many circles join those.

    Example:
        >>> de.slerp(np.array([[2.0, 0.0]]), np.array([[0.0, 2.0]]), 0.5).round(3)
        array([[1.414, 1.414]], dtype=float32)
    """
    latents, other, fraction = _check_pair(latents, other, fraction)
    first, second = (_directions(array) for array in (latents, other))
    differences, sums = (np.linalg.norm(v, axis=1) for v in (first - second, first + second))
    if (sums < _OPPOSITE).any():
        raise ValueError(
            "`latents` and `other` must not be opposite. Received opposite ones for images: "
            f"{np.flatnonzero(sums < _OPPOSITE).tolist()}"
        )
    # The arc cosine of the inner product would lose small angles.
    angle = 2 * np.arctan2(differences, sums).reshape(
        fraction.shape[:1] + (1,) * (latents.ndim - 1)
    )

    def weight(share):
        return share * np.sinc(share * angle / np.pi) / np.sinc(angle / np.pi)

    return (weight(1 - fraction) * latents + weight(fraction) * other).astype(np.float32)


def interpolate(
    generator: Generator | Autoencoder,
    latents: np.ndarray | Code,
    other: np.ndarray | Code,
    num: int,
    kind: str = "spherical",
) -> np.ndarray:
    """Images on the path from one to another (Fig. 19), evenly spaced, both ends included.

    Args:
        generator: a `Generator`, or an `Autoencoder`.
        latents, other: `(n, height, width, channels)`, where each path starts and ends; of an
            autoencoder, codes with latents. Their semantic vectors are always interpolated
            linearly (Preechakul et al., Sec. 5.2).
        num: images on each path, at least 2.
        kind: "spherical" or "linear", in latents; or "pixels", a cross-fade of the two decoded
            images, for comparison.

    Returns:
        Pixels, float32 array `(n, num, height, width, channels)`, not clipped.

    Raises:
        ValueError: for another kind, fewer than 2 images, or latents that do not fit.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=1)
        >>> ends = generator.latents(1, seed=0), generator.latents(1, seed=1)
        >>> de.interpolate(generator, *ends, num=5).shape
        (1, 5, 32, 32, 1)
    """
    num = arguments.integer("num", num, least=2)
    ends = _check_ends(generator, latents, other)
    size = len(ends[0]) * math.prod(generator.image_shape)
    require_memory(_NUMBER_BYTES * num * size, f"`num` {num} images on each path")
    fractions = np.tile(np.linspace(0, 1, num), (len(ends[0]), 1))
    return _decoded(generator, *ends, kind, fractions)


@dataclasses.dataclass(frozen=True)
class PathLength:
    """The result of `path_length`.

    Attributes:
        mean: the mean length of all paths.
        interval: half-width of its 95% interval, from the variation between paths; for one path
            from the variation between the places where distances are measured.
        each: length of each path, float64 `(n,)`.
    """

    mean: float
    interval: float
    each: np.ndarray


def path_length(
    generator: Generator | Autoencoder,
    latents: np.ndarray | Code,
    other: np.ndarray | Code,
    kind: str = "spherical",
    samples: int = 16,
    epsilon: float = 1e-3,
    seed: int = 0,
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> PathLength:
    """Perceptual path length: how fast images change on a path (Karras et al. 2019, Sec. 4.1).

    The mean of LPIPS(x(t), x(t + epsilon)) / epsilon**2 over t uniform in (0, 1). For small
    differences LPIPS is quadratic, so this is a mean squared speed: of all paths between two images
    an even one has the least, and abrupt changes cost most. It measures smoothness only; the
    cross-fade, which shows two images at once, is smooth.

    Karras et al. use VGG's LPIPS with an epsilon of 1e-4, where differences in float32 are rounding
    as much as change. Compare only lengths of one epsilon and one size of images.

    Args:
        generator, latents, other, kind: as for `interpolate`.
        samples: distances on each path, at least 2.
        epsilon: positive.
        seed: integer, of the places where distances are measured.
        distance: `distance(pixels, other) -> (n,)`, quadratic for small differences; None for
            `lpips`.

    Returns:
        A `PathLength`.

    Raises:
        ValueError: for values out of their ranges, or latents that do not fit.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=1)
        >>> ends = generator.latents(1, seed=0), generator.latents(1, seed=1)
        >>> de.path_length(generator, *ends, samples=2, distance=de.metrics.mse).each.shape
        (1,)
    """
    samples = arguments.integer("samples", samples, least=2)
    epsilon = arguments.number("epsilon", epsilon, above=0, below=1)
    seed = arguments.seed(seed)
    if distance is not None:
        arguments.function("distance", distance)
    else:

        def distance(pixels, other):
            return lpips(pixels.clip(0, 1), other.clip(0, 1), generator.padding)

    ends = _check_ends(generator, latents, other)
    size = len(ends[0]) * math.prod(generator.image_shape)
    require_memory(2 * _NUMBER_BYTES * samples * size, f"`samples` {samples} on each path")
    places = np.random.default_rng(seed).uniform(size=(len(ends[0]), samples))
    before, after = (
        _decoded(generator, *ends, kind, fractions).reshape(-1, *generator.image_shape)
        for fractions in (places, places + epsilon)
    )
    distances = np.asarray(distance(before, after), np.float64).reshape(places.shape)
    speeds = distances / epsilon**2
    each = speeds.mean(axis=1)
    independent = each if len(each) > 1 else speeds[0]
    interval = 1.96 * independent.std(ddof=1) / np.sqrt(len(independent))
    return PathLength(float(each.mean()), float(interval), each)


def _check_ends(generator, *ends):
    if not isinstance(generator, Autoencoder):
        return [as_generator(generator).check_latents(end) for end in ends]
    ends = [generator.check_code(end) for end in ends]
    if any(end.latents is None for end in ends):
        raise ValueError(
            "Codes must have latents to be interpolated: `encode(pixels, method=...)` finds them."
        )
    return ends


def _decoded(generator, first, last, kind, fractions):
    """Pixels `(n, k, height, width, channels)` at fractions `(n, k)` of the paths."""
    arguments.choice("kind", kind, KINDS)
    (n, k), places = fractions.shape, fractions.ravel()

    def moved(move, *ends):
        return move(*(np.repeat(end, k, axis=0) for end in ends), places)

    along = slerp if kind == "spherical" else lerp
    if kind == "pixels":
        pixels = moved(lerp, *(generator.decode(end).numpy() for end in (first, last)))
    elif isinstance(generator, Autoencoder):
        latents = moved(along, first.latents, last.latents)
        code = Code(moved(lerp, first.semantic, last.semantic), latents)
        pixels = generator.decode(code).numpy()
    else:
        part = generator.take(np.repeat(np.arange(n), k))
        pixels = part.decode(moved(along, first, last)).numpy()
    return pixels.reshape(*fractions.shape, *generator.image_shape)


def _check_pair(latents, other, fraction):
    latents = arguments.finite_array("latents", latents, np.float64)
    other = arguments.finite_array("other", other, np.float64)
    fraction = arguments.finite_array("fraction", fraction, np.float64)
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
    fraction = np.broadcast_to(fraction, latents.shape[:1])
    return latents, other, fraction.reshape(-1, *[1] * (latents.ndim - 1))


def _directions(latents):
    rows = latents.reshape(len(latents), -1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError("`latents` and `other` must not be 0: 0 has no direction.")
    return rows / norms
