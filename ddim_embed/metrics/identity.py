"""Whose face it is: a descriptor of faces by dlib's ResNet (King, 2017), as face-api has it.

A measuring device, and never a guide of an edit: it would be fooled, and measure nothing more.
"""

import itertools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ddim_embed import arguments
from ddim_embed.metrics.pixels import check_floating, checked_content, clipped_batches
from ddim_embed.networks.blocks import register
from ddim_embed.store.schema import integer
from ddim_embed.store.weights import find_instrument, load_recorded

STEM = 32
# Residual blocks as (channels, whether they halve the size).
BLOCKS = (
    *[(32, False)] * 3,
    *[(64, True), *[(64, False)] * 3],
    *[(128, True), *[(128, False)] * 2],
    *[(256, True), *[(256, False)] * 2, (256, True)],
)
DESCRIPTOR = 128
# Of RGB in 0..255, which is divided by 255 afterwards.
MEAN = (122.782, 117.001, 104.298)
_LEAST_SIZE = 103  # smaller images leave the last block no position


@register
class FaceIdentity(keras.Model):
    """128 numbers of a face, close to each other for images of one person.

    A residual network of 29 layers: a 7x7 convolution of stride 2 and a pool, 14 blocks of two 3x3
    convolutions, the mean over positions, and a projection. A block that halves the size pools what
    it adds by means, and pads its channels with zeros. Behind each convolution the published
    network has a factor and a bias for each channel, which are parts of the convolution here.
    Weights are not trainable; `load_face_identity` loads the published ones.

    On aligned portraits of CelebA at 64x64 other people are about 0.67 apart, a face and its mirror
    image 0.26. It measures what an edit leaves of a person; it must never be what an edit is guided
    by.

    Args:
        size: images are resized to `size` x `size`, bilinearly, whatever their proportions; at
            least 103. The published network was trained at 150.

    Call: pixels, float `(batch, height, width, 1 or 3)` in [0, 1], a face that fills the image ->
    descriptors, float32 `(batch, 128)`. Nothing is clipped. Grey is repeated over three channels.
    Computes in float32 whatever Keras' policy.

    Raises:
        ValueError: for a `size` below 103, or when called with other shapes or with integers.

    Example:
        >>> identity = de.load_face_identity()
        >>> pixels = np.random.default_rng(0).uniform(size=(2, 64, 64, 3))
        >>> identity.descriptors(pixels).shape, identity.distance(pixels, pixels).tolist()
        ((2, 128), [0.0, 0.0])
    """

    def __init__(self, size=150, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.size = arguments.integer("size", size, _LEAST_SIZE)
        self.stem = _conv(STEM, "stem", 7, 2, "valid")
        self.blocks = [
            [
                _conv(channels, f"block{i}_conv1", 3, *((2, "valid") if halves else (1, "same"))),
                _conv(channels, f"block{i}_conv2", 3, 1, "same", activation=None),
            ]
            for i, (channels, halves) in enumerate(BLOCKS)
        ]
        self.project = keras.layers.Dense(
            DESCRIPTOR, use_bias=False, dtype="float32", name="project"
        )
        self.trainable = False
        self.build()

    @property
    def convs(self):
        """All convolutions, from the images on."""
        return [self.stem, *itertools.chain.from_iterable(self.blocks)]

    def build(self, input_shape=None):
        """Creates all variables; their shapes do not depend on the input."""
        if self.built:
            return
        inputs = 3
        for conv in self.convs:
            conv.build((None, None, None, inputs))
            inputs = conv.filters
        self.project.build((None, inputs))
        self.built = True

    def call(self, pixels):
        check_floating("pixels", pixels.dtype.name)
        _check_shape(pixels.shape)
        x = tf.image.resize(tf.cast(pixels, tf.float32), (self.size, self.size), "bilinear")
        x = x - tf.constant(MEAN) / 255  # grey becomes three channels
        x = tf.nn.max_pool2d(self.stem(x), 3, 2, "VALID")
        for (conv1, conv2), (channels, halves) in zip(self.blocks, BLOCKS, strict=True):
            change = conv2(conv1(x))
            if halves:
                x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
                x = tf.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[3])))
                missing = [x.shape[axis] - change.shape[axis] for axis in (1, 2)]
                change = tf.pad(change, ((0, 0), *((0, rows) for rows in missing), (0, 0)))
            x = tf.nn.relu(x + change)
        return self.project(tf.reduce_mean(x, axis=(1, 2)))

    def descriptors(self, pixels: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Descriptors of faces, whose Euclidean distances tell people apart.

        Args:
            pixels: floating-point, `(n, height, width, 1 or 3)` in [0, 1]; decoded ones may leave
                it as `pixels` of `metrics.mse`, and are clipped.
            batch_size: images per batch, which bounds memory; no result depends on it.

        Returns:
            float32 array `(n, 128)`.

        Raises:
            ValueError: for other shapes, a `batch_size` below 1, or pixels that `metrics.mse`
                refuses: integers, NaN, other ranges.
        """
        pixels, _ = checked_content(pixels, pixels, 0)
        _check_shape(pixels.shape)
        found = [self(part).numpy() for part in clipped_batches(pixels, batch_size)]
        return np.concatenate([np.empty((0, DESCRIPTOR), np.float32), *found])

    def distance(self, pixels: np.ndarray, other: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Distance of two faces, for each image: 0 for equal ones; dlib takes 0.6 for two people.

        Args:
            pixels, other: as for `descriptors`, of one shape; `other` may be further off, as
                `reconstruction` of `metrics.mse`.
            batch_size: as for `descriptors`.

        Returns:
            float32 array `(n,)`.

        Raises:
            ValueError: for different shapes, or as `descriptors`.
        """
        pixels, other = checked_content(pixels, other, 0, "other")
        found, others = (self.descriptors(images, batch_size) for images in (pixels, other))
        return np.linalg.norm(found - others, axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], DESCRIPTOR)

    def get_config(self):
        return super().get_config() | {"size": self.size}


def load_face_identity(root: Path | None = None) -> FaceIdentity:
    """Loads the published descriptor of faces, to measure with: never to guide an edit by.

    Args:
        root: folder of weights; the shipped one by default, or if it has no such weights.

    Returns:
        A `FaceIdentity`.

    Raises:
        FileNotFoundError: if the weights do not exist.
        ValueError: if the file is not what its record says.

    Example:
        >>> de.load_face_identity().count_params()
        5607488
    """
    return load_recorded(
        lambda config: FaceIdentity(**config),
        {"size": integer(_LEAST_SIZE, 2**12)},
        "identity",
        "resnet29",
        root,
        find=find_instrument,
    )[0]


def _conv(channels, name, size, stride, padding, activation="relu"):
    return keras.layers.Conv2D(
        channels,
        size,
        stride,
        padding,
        data_format="channels_last",
        activation=activation,
        dtype="float32",
        name=name,
    )


def _check_shape(shape):
    shape = tuple(shape)
    if len(shape) != 4 or shape[3] not in (1, 3) or not (shape[1] and shape[2]):
        raise ValueError(
            "`pixels` must have shape (n, height, width, 1 or 3), height and width known and "
            f"positive. Received: {shape}"
        )
