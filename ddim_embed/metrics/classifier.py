"""A classifier of a data set's images, whose features serve the Frechet distance."""

import itertools
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ddim_embed import arguments
from ddim_embed.memory import require_memory
from ddim_embed.metrics.pixels import check_floating, check_pixels, clipped_batches
from ddim_embed.networks.blocks import BatchNorm, register
from ddim_embed.store.schema import integer, integers
from ddim_embed.store.weights import find_instrument, load_recorded

# Moving statistics over the last few thousand images; a hundred steps are enough to settle them.
_MOMENTUM = 0.95
# What a record says of a classifier.
_CONFIG = {
    "image_shape": integers(1, 2**15, 3, 3),
    "classes": integer(1, 2**20),
    "widths": integers(1, 2**15, 0, 16),
    "num_features": integer(1, 2**20),
    "padding": integer(0, 2**14),
}


@register
class FeatureClassifier(keras.Model):
    """A small convolutional classifier whose last hidden layer serves as features.

    Per width: BatchNorm - 3x3 convolution, ReLU - 2x2 max pool. Then a dense layer with BatchNorm,
    the features: each has about zero mean and unit variance over the training images, so that a
    Frechet distance of 1 is one variance of one feature. Then ReLU and a dense layer, the logits.

    Args:
        image_shape: (height, width, channels) of pixels.
        classes: number of classes.
        widths: channels of the convolutions.
        num_features: length of a feature vector.
        padding: rows and columns at each border that are cut off first.
        seed: integer from 0 to 2**63 - 1, of the initial weights.

    Call: pixels `(batch, *image_shape)` in [0, 1], not clipped -> logits, float32
    `(batch, classes)`. Computes in float32 whatever Keras' policy.

    Raises:
        ValueError: for an option out of its range, or if no pixel is left after the padding and the
            pools.

    Example:
        >>> classifier = de.FeatureClassifier((8, 8, 1), classes=3, widths=(4,), num_features=5)
        >>> pixels = np.zeros((2, 8, 8, 1))
        >>> classifier.features(pixels).shape, classifier.class_probabilities(pixels).shape
        ((2, 5), (2, 3))
    """

    def __init__(
        self,
        image_shape=(32, 32, 1),
        classes=10,
        widths=(32, 64, 128),
        num_features=64,
        padding=0,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.image_shape = arguments.integers("image_shape", image_shape, count=3)
        self.classes = arguments.integer("classes", classes)
        self.widths = arguments.integers("widths", widths, least_count=0)
        self.num_features = arguments.integer("num_features", num_features)
        self.padding = arguments.integer("padding", padding, 0)
        self.seed = arguments.seed(seed)
        seed = self.seed % 2**62  # each layer adds to it, and Keras takes less than 2**63
        height, width = (
            (side - 2 * padding) // 2 ** len(self.widths) for side in self.image_shape[:2]
        )
        if min(height, width) < 1:
            raise ValueError(
                f"`image_shape` must leave a pixel after padding and {len(self.widths)} pools. "
                f"Received: {self.image_shape}, `padding` {padding}"
            )
        self._flat = height * width * (self.widths[-1] if self.widths else self.image_shape[-1])
        self._require_memory()
        self.norms = [
            BatchNorm(_MOMENTUM, dtype="float32", name=f"norm{i}") for i in range(len(self.widths))
        ]
        self.convs = [
            keras.layers.Conv2D(
                filters,
                3,
                padding="same",
                data_format="channels_last",
                activation="relu",
                kernel_initializer=keras.initializers.HeNormal(seed + i),
                dtype="float32",
                name=f"conv{i}",
            )
            for i, filters in enumerate(self.widths)
        ]
        # No bias: BatchNorm subtracts it, so that Adam would move it at random.
        self.project = keras.layers.Dense(
            self.num_features,
            use_bias=False,
            kernel_initializer=keras.initializers.GlorotUniform(seed + len(self.widths)),
            dtype="float32",
            name="project",
        )
        self.feature_norm = BatchNorm(_MOMENTUM, dtype="float32", name="feature_norm")
        self.classify = keras.layers.Dense(
            self.classes,
            kernel_initializer=keras.initializers.GlorotUniform(seed + len(self.widths) + 1),
            dtype="float32",
            name="classify",
        )
        self.build()

    def _require_memory(self):
        inputs = (self.image_shape[-1], *self.widths)
        weights = sum(9 * a * b for a, b in itertools.pairwise(inputs))
        weights += (self._flat + self.classes) * self.num_features
        require_memory(4 * weights, f"a classifier of {weights:,} weights")

    def build(self, input_shape=None):
        """Creates all variables; their shapes follow from the options alone."""
        if self.built:
            return
        channels = self.image_shape[-1]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            norm.build((None, None, None, channels))
            conv.build((None, None, None, channels))
            channels = conv.filters
        self.project.build((None, self._flat))
        self.feature_norm.build((None, 1, 1, self.num_features))
        self.classify.build((None, self.num_features))
        self.built = True

    def feature_tensor(self, pixels, training=False):
        """`features` as a plain differentiable function of tensors; pixels are not clipped."""
        height, width, _ = self.image_shape
        p = self.padding
        check_floating("pixels", pixels.dtype.name)
        x = tf.cast(pixels, tf.float32)[:, p : height - p, p : width - p]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = tf.nn.max_pool2d(conv(norm(x, training=training)), 2, 2, "VALID")
        x = self.project(tf.reshape(x, (-1, self._flat)))
        # The fused kernel of BatchNorm requires four axes.
        x = self.feature_norm(tf.reshape(x, (-1, 1, 1, self.num_features)), training=training)
        return tf.reshape(x, (-1, self.num_features))

    def call(self, pixels, training=False):
        return self.classify(tf.nn.relu(self.feature_tensor(pixels, training)))

    def features(self, pixels: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """The features of images, for `frechet_distance`.

        Args:
            pixels: floating-point, `(n, *image_shape)` in [0, 1]; decoded ones may leave it as
                `pixels` of `metrics.mse`, and are clipped.
            batch_size: images per batch, which bounds memory; no result depends on it.

        Returns:
            float32 array `(n, num_features)`.

        Raises:
            ValueError: for another shape, n = 0, a `batch_size` below 1, or pixels that
                `metrics.mse` refuses: integers, NaN, other ranges.
        """
        return self._in_batches(self.feature_tensor, pixels, batch_size)

    def classify_pixels(self, pixels: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """The most likely class of each image, integers `(n,)`; arguments as for `features`."""
        return self._in_batches(self.call, pixels, batch_size).argmax(axis=1)

    def class_probabilities(self, pixels: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Probabilities of the classes, float32 `(n, classes)`; arguments as for `features`."""
        return self._in_batches(lambda part: tf.nn.softmax(self(part)), pixels, batch_size)

    def _in_batches(self, function, pixels, batch_size):
        check_pixels("pixels", pixels)
        pixels = np.asarray(pixels, np.float32)
        _check_shape(pixels, self.image_shape)
        return np.concatenate(
            [function(part).numpy() for part in clipped_batches(pixels, batch_size)]
        )

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.classes)

    def get_config(self):
        names = "image_shape", "classes", "widths", "num_features", "padding", "seed"
        return super().get_config() | {name: getattr(self, name) for name in names}


def load_feature_classifier(name: str, root: Path | None = None) -> FeatureClassifier:
    """Loads the classifier whose features `frechet_distance` compares for images of a data set.

    Args:
        name: data set, a folder of `weights/`; "fashion_mnist" and "mnist" are shipped.
        root: folder of weights; the shipped one by default, or if it has no such weights.

    Returns:
        A `FeatureClassifier`.

    Raises:
        FileNotFoundError: if the weights do not exist; lists those that do and how to train them.
        ValueError: if the file is not what its record says.

    Example:
        >>> de.load_feature_classifier("fashion_mnist").image_shape
        (32, 32, 1)
    """
    return load_recorded(
        lambda config: FeatureClassifier(**config),
        _CONFIG,
        name,
        "features",
        root,
        find=find_instrument,
        least_size=_least_size,
    )[0]


def _least_size(config):
    """The bytes that a file of such a classifier has at least, in half precision."""
    widths, (height, width, channels) = [*config["widths"]], config["image_shape"]
    height, width = (
        max(0, side - 2 * config["padding"]) >> len(widths) for side in (height, width)
    )
    flat = height * width * (widths[-1] if widths else channels)
    kernels = 9 * sum(map(math.prod, itertools.pairwise([channels, *widths])))
    return 2 * (kernels + config["num_features"] * (flat + config["classes"]))


def train_feature_classifier(
    pixels: np.ndarray,
    labels: np.ndarray,
    seed: int = 0,
    epochs: int = 6,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    padding: int = 0,
    widths: tuple[int, ...] = (32, 64, 128),
    num_features: int = 64,
    progress: bool = False,
) -> FeatureClassifier:
    """Trains a `FeatureClassifier`: cross-entropy, Adam with cosine decay.

    Args:
        pixels: floating-point, `(n, height, width, channels)` in [0, 1].
        labels: integers from 0, `(n,)`.
        seed: integer, of the initial weights and of the order of images; the same seed gives the
            same classifier, as far as the machine's kernels are deterministic.
        epochs: passes over the images; each drops the last incomplete batch.
        batch_size: images per step.
        learning_rate: its initial value.
        padding, widths, num_features: as for `FeatureClassifier`.
        progress: whether to show a progress bar.

    Returns:
        A `FeatureClassifier`.

    Raises:
        ValueError: for other shapes, labels that are not such integers, pixels that are integers,
            not finite or not in [0, 1], fewer images than `batch_size`, or numbers that are not
            positive.

    Example:
        >>> pixels, labels = np.random.default_rng(0).uniform(size=(8, 8, 8, 1)), np.arange(8) % 2
        >>> options = {"epochs": 1, "batch_size": 4, "widths": (4,)}
        >>> de.train_feature_classifier(pixels, labels, **options).classes
        2
    """
    check_pixels("pixels", pixels, 0, 1)
    pixels, labels = np.asarray(pixels, np.float32), np.asarray(labels)
    _check_shape(pixels, pixels.shape[1:])
    _check_labels(labels, len(pixels))
    epochs = arguments.integer("epochs", epochs)
    learning_rate = arguments.number("learning_rate", learning_rate, above=0)
    arguments.integer("batch_size", batch_size, 1, len(pixels))
    arguments.flag("progress", progress)
    classifier = FeatureClassifier(
        pixels.shape[1:], int(labels.max()) + 1, widths, num_features, padding, seed
    )
    steps = len(pixels) // batch_size
    classifier.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(learning_rate, steps * epochs, alpha=0.01)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = _Batches(pixels, labels, seed, batch_size)
    classifier.fit(batches, epochs=epochs, shuffle=False, verbose=1 if progress else 0)
    return classifier


class _Batches(keras.utils.PyDataset):
    """Batches in a new order each epoch, which depends on the seed alone."""

    def __init__(self, pixels, labels, seed, batch_size):
        super().__init__()
        self.pixels, self.labels, self.batch_size = pixels, labels, batch_size
        self.random = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.pixels) // self.batch_size

    def __getitem__(self, step):
        chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        return self.pixels[chosen], self.labels[chosen]

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.pixels))


def _check_shape(pixels, image_shape):
    if pixels.ndim != 4 or pixels.shape[1:] != image_shape or not pixels.size:
        raise ValueError(
            f"`pixels` must have shape (n, {', '.join(map(str, image_shape))}), n at least 1. "
            f"Received shape: {pixels.shape}"
        )


def _check_labels(labels, n):
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError(
            f"`labels` must be integers from 0, one for each of {n} images. Received: "
            f"{labels.dtype} of shape {labels.shape}"
        )
