"""LPIPS, a perceptual distance of two images on AlexNet's features (Zhang et al., 2018)."""

import functools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ddim_embed import arguments
from ddim_embed.metrics.pixels import check_floating, checked_content
from ddim_embed.networks.blocks import register
from ddim_embed.store.schema import check, integer
from ddim_embed.store.weights import find_instrument, load_weights

# AlexNet's convolutions as (channels, kernel size, stride, padding), each followed by a ReLU, whose
# output LPIPS uses; a 3x3 max pool of stride 2 follows each of the first two.
CONVOLUTIONS = (
    (64, 11, 4, 2),
    (192, 5, 1, 2),
    (384, 3, 1, 1),
    (256, 3, 1, 1),
    (256, 3, 1, 1),
)
POOLED = 2
# LPIPS's own normalisation of RGB in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
# Feature vectors are not normalised below this norm: at 0 the direction has no gradient.
_SMALLEST_NORM = 1e-8


@register
class PerceptualDistance(keras.Model):
    """LPIPS of two batches of pixels, differentiable with respect to both.

    Zhang et al. (2018), Eq. 1, version 0.1: features of five layers, normalised to unit length at
    each position; their squared differences, weighted by channel, averaged over positions, summed
    over layers. Weights are not trainable; `load_perceptual_distance` loads the published ones.

    Images with a side shorter than `min_size` are upsampled bilinearly, in proportion, until their
    smaller side has that length: for fewer pixels AlexNet's last layers have hardly any positions.

    Args:
        min_size: least side in pixels, at least 32; LPIPS is usually computed at 64 and more.

    Call: `[pixels, other]`, each float `(batch, height, width, 1 or 3)` in [0, 1], height and width
    known -> float32 `(batch,)`. Nothing is clipped: a loss through a clip has no gradient at
    saturated pixels. Grey is repeated over three channels. Computes in float32 whatever Keras'
    policy.

    Raises:
        ValueError: for a `min_size` below 32, or when called with other shapes or with integers.

    Example:
        >>> pixels = np.zeros((2, 32, 32, 1), np.float32)
        >>> de.PerceptualDistance()([pixels, pixels]).numpy().shape  # with random weights
        (2,)
    """

    def __init__(self, min_size=64, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.min_size = arguments.integer("min_size", min_size, 32)
        self.convs = [
            keras.layers.Conv2D(
                channels,
                size,
                stride,
                data_format="channels_last",
                activation="relu",
                dtype="float32",
                name=f"conv{i}",
            )
            for i, (channels, size, stride, _) in enumerate(CONVOLUTIONS)
        ]
        self.heads = [
            keras.layers.Conv2D(
                1,
                1,
                data_format="channels_last",
                use_bias=False,
                dtype="float32",
                name=f"head{i}",
            )
            for i in range(len(CONVOLUTIONS))
        ]
        self.trainable = False
        self.build()

    def build(self, input_shape=None):
        """Creates all variables; their shapes do not depend on the input."""
        if self.built:
            return
        inputs = 3
        for conv, head in zip(self.convs, self.heads, strict=True):
            conv.build((None, None, None, inputs))
            head.build((None, None, None, conv.filters))
            inputs = conv.filters
        self.built = True

    def call(self, inputs):
        for images in inputs:
            check_floating("pixels", images.dtype.name)
        pixels, other = (tf.cast(images, tf.float32) for images in inputs)
        _check_shapes(pixels.shape, other.shape)
        # One pass for both: one batch of twice the size is faster.
        taps = self._taps(tf.concat([pixels, other], axis=0))
        distances = 0.0
        for tap, head in zip(taps, self.heads, strict=True):
            features, other_features = tf.split(_unit_length(tap), 2, axis=0)
            squares = tf.math.squared_difference(features, other_features)
            distances += tf.reduce_mean(head(squares), axis=(1, 2, 3))
        return distances

    def coordinates(self, pixels):
        """Vectors `(batch, d)` whose squared Euclidean distances are LPIPS, for many comparisons.

        Args:
            pixels: float `(batch, height, width, 1 or 3)` in [0, 1]; nothing is clipped.
        """
        check_floating("pixels", pixels.dtype.name)
        parts = []
        for tap, head in zip(self._taps(tf.cast(pixels, tf.float32)), self.heads, strict=True):
            positions = tap.shape[1] * tap.shape[2]
            weighted = _unit_length(tap) * tf.sqrt(head.kernel[0, 0, :, 0] / positions)
            parts.append(tf.reshape(weighted, (-1, positions * tap.shape[3])))
        return tf.concat(parts, axis=1)

    def features(self, pixels):
        """What AlexNet's last convolution says of images: its means over positions.

        Args:
            pixels: float tensor `(batch, height, width, 1 or 3)` in [0, 1], as when called.

        Returns:
            float32 tensor `(batch, 256)`, for `frechet_distance` for example.
        """
        check_floating("pixels", pixels.dtype.name)
        pixels = tf.cast(pixels, tf.float32)
        _check_shapes(pixels.shape, pixels.shape)
        return tf.reduce_mean(self._taps(pixels)[-1], axis=(1, 2))

    def _taps(self, pixels):
        x = self._upsample(pixels)
        x = (2 * x - 1 - tf.constant(SHIFT)) / tf.constant(SCALE)  # grey becomes three channels
        taps = []
        for i, (conv, (*_, pad)) in enumerate(zip(self.convs, CONVOLUTIONS, strict=True)):
            x = conv(tf.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))))
            taps.append(x)
            if i < POOLED:
                x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        return taps

    def _upsample(self, pixels):
        height, width = pixels.shape[1:3]
        smaller = min(height, width)
        if smaller >= self.min_size:
            return pixels
        size = [round(side * self.min_size / smaller) for side in (height, width)]
        return tf.image.resize(pixels, size, "bilinear")

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0],)

    def get_config(self):
        return super().get_config() | {"min_size": self.min_size}


def lpips(
    pixels: np.ndarray,
    other: np.ndarray,
    padding: int = 0,
    batch_size: int = 64,
    root: Path | None = None,
) -> np.ndarray:
    """LPIPS per image, AlexNet variant (version 0.1): 0 for equal images, more for less alike ones.

    Pixels are clipped to [0, 1] first. Images with a side of less than 64 pixels, without padding,
    are upsampled: compare only distances of images of one size.

    Args:
        pixels, other: floating-point, `(n, height, width, 1 or 3)` in [0, 1]; they may leave it as
            `pixels` and `reconstruction` of `metrics.mse` may, and are clipped.
        padding: rows and columns at each border that do not count: 2 for 28x28 images in 32x32.
        batch_size: pairs per batch, which bounds memory; no result depends on it.
        root: folder of weights; the shipped one by default, or if it has no such weights. A file is
            loaded once.

    Returns:
        float32 array `(n,)`.

    Raises:
        ValueError: for different or other shapes, padding that leaves no pixel, a `batch_size`
            below 1, or pixels that `metrics.mse` refuses: integers, NaN, other ranges.
        FileNotFoundError: if there are no weights in `root`, nor shipped.

    Example:
        >>> black, white = np.zeros((1, 32, 32, 1)), np.ones((1, 32, 32, 1))
        >>> bool(de.lpips(black, white)[0] > de.lpips(black, black)[0])
        True
    """
    pixels, other = checked_content(pixels, other, padding, "other")
    _check_shapes(pixels.shape, other.shape)
    batch_size = arguments.integer("batch_size", batch_size)
    distance = _load_once(*_find(root))
    distances = np.empty(len(pixels), np.float32)
    for i in range(0, len(pixels), batch_size):
        part = slice(i, i + batch_size)
        distances[part] = distance([pixels[part], other[part]])
    return distances


def load_perceptual_distance(root: Path | None = None) -> PerceptualDistance:
    """Loads the published LPIPS as a differentiable `PerceptualDistance`, for losses.

    Args:
        root: folder of weights; the shipped one by default, or if it has no such weights.

    Returns:
        A `PerceptualDistance`.

    Raises:
        FileNotFoundError: if the weights do not exist.
        ValueError: if the file is not what its record says.

    Example:
        >>> distance = de.load_perceptual_distance()
        >>> pixels = np.zeros((1, 32, 32, 3), np.float32)
        >>> round(float(distance([pixels, pixels])[0]), 6)
        0.0
    """
    return _load(*_find(root))


def _find(root):
    """Path, checksum and options of the weights."""
    path, entry = find_instrument("lpips", "alexnet", root)
    config = {"min_size": integer(32, 2**12)}
    check(entry["config"], config, f"The record of {path}, in `config`", only=True)
    return path, entry["sha256"], tuple(entry["config"].items())


def _load(path, sha256, options):
    distance = PerceptualDistance(**dict(options))
    load_weights(distance, path, sha256)
    return distance


_load_once = functools.lru_cache(maxsize=4)(_load)  # per checksum, not only per path


def _check_shapes(shape, other_shape):
    shape, other_shape = tuple(shape), tuple(other_shape)
    # Only the number of images may be unknown while a graph is traced.
    counts = {shape[:1], other_shape[:1]} - {(None,)}
    if len(shape) != 4 or shape[1:] != other_shape[1:] or len(counts) > 1 or shape[3] not in (1, 3):
        raise ValueError(
            "Both sets of pixels must have the same shape (n, height, width, 1 or 3). "
            f"Received: {shape} and {other_shape}"
        )
    if not (shape[1] and shape[2]):
        raise ValueError(f"Height and width must be known and positive. Received: {shape}")


def _unit_length(features):
    """Normalises the feature vector at each position; zeros stay zeros, with a finite gradient."""
    return tf.math.l2_normalize(features, axis=-1, epsilon=_SMALLEST_NORM**2)
