"""How far two sets of images are apart: the Frechet distance between Gaussians fitted to features.

With Inception's features it is the FID of Heusel et al. (2017). On small grey images these see
little; `FeatureClassifier`, trained on the images' own classes, sees what tells them apart. Call
that number "Frechet distance on classifier features": it is no FID, and compares with none.
"""

import keras
import numpy as np
import tensorflow as tf

from ddim_embed.networks.blocks import BatchNorm, register
from ddim_embed.store.weights import find_instrument, load_weights

INCEPTION_SIZE = 299
# Statistics over the last few thousand images: settled after a hundred steps, too.
_MOMENTUM = 0.95


def frechet_distance(features_a, features_b):
    """The squared Frechet (2-Wasserstein) distance between Gaussians fitted to two sets (FID's).

    |mean_a - mean_b|^2 + tr(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)), Dowson and Landau (1982), with
    unbiased covariances. No covariance is formed and no root is taken of one: with centred features
    A^T A = cov_a and B^T B = cov_b the trace is the least |A - Q B|^2 over orthogonal Q. So it is
    never negative, exact for fewer samples than features, too, and 0 for equal sets.

    The means and covariances of few samples are far from those of all: two sets of one distribution
    have a distance above 0 that falls about as 1/n. Compare only distances of sets of the same
    sizes, and state these.

    Args:
        features_a, features_b: float, `(n, d)`, each with its own n of at least 2.

    Returns:
        A float, computed in float64.

    Raises:
        ValueError: for other shapes, fewer than 2 samples, different d, or values not finite.
    """
    from scipy import linalg  # not at the top: importing the library loads no more than it needs

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
    # |A - Q B| is the same as that of the transposes, which is SciPy's way to write it.
    rotation, _ = linalg.orthogonal_procrustes(root_b.T, root_a.T)
    mean_difference = features_a.mean(axis=0) - features_b.mean(axis=0)
    return float(np.sum(mean_difference**2) + np.sum((root_b.T @ rotation - root_a.T) ** 2))


def _covariance_root(features):
    """R, `(min(n, d), d)`, with R^T R the unbiased covariance."""
    centred = features - features.mean(axis=0)
    return np.linalg.qr(centred / np.sqrt(len(features) - 1), mode="r")


def _check_features(features, name):
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not features.shape[1]:
        raise ValueError(
            f"`{name}` must have shape (n, d) with at least 2 samples and a feature. "
            f"Received shape: {features.shape}"
        )
    if not np.isfinite(features).all():
        raise ValueError(f"`{name}` must be finite; some values are NaN or infinite.")
    return features


def fid(pixels_a, pixels_b, inception, batch_size=64):
    """The Frechet inception distance between two sets of images, with an Inception of your own.

    Pixels are clipped to [0, 1], grey is repeated over three channels, and images are resized to
    299x299, bilinearly and with antialiasing. A FID depends on the resizing and on which Inception
    it is: compare it with published ones only if both agree.

    Args:
        pixels_a, pixels_b: float, `(n, height, width, 1 or 3)`, each of its own n and size.
        inception: any callable from images, float32 `(n, 299, 299, 3)` in [-1, 1], to features
            `(n, d)`; d is 2048 for the FID of Heusel et al. For example
            `keras.applications.InceptionV3(include_top=False, pooling="avg")`, the ImageNet
            weights of which differ from those of the original FID.
        batch_size: images that it is given at a time.

    Returns:
        A float, as `frechet_distance`.

    Raises:
        ValueError: for pixels or features of other shapes, or features that are not finite.
    """
    return frechet_distance(
        *(_inception_features(p, inception, batch_size) for p in (pixels_a, pixels_b))
    )


def _inception_features(pixels, inception, batch_size):
    pixels = np.asarray(pixels, np.float32)
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or not len(pixels):
        raise ValueError(
            "Pixels must have shape (n, height, width, 1 or 3), n at least 1. "
            f"Received shape: {pixels.shape}"
        )
    parts = []
    for part in _parts(pixels, batch_size):
        images = tf.image.resize(part, (INCEPTION_SIZE, INCEPTION_SIZE), antialias=True)
        features = np.asarray(inception(2 * tf.repeat(images, 3 // part.shape[3], axis=3) - 1))
        if features.ndim != 2 or len(features) != len(part):
            raise ValueError(
                f"`inception` must return shape ({len(part)}, d) for that many images. "
                f"Received shape: {features.shape}"
            )
        parts.append(features)
    return np.concatenate(parts)


def _parts(pixels, batch_size):
    """Clipped pixels, so many at a time."""
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: {batch_size}")
    for i in range(0, len(pixels), batch_size):
        yield np.clip(pixels[i : i + batch_size], 0, 1)


@register
class FeatureClassifier(keras.Model):
    """A small convolutional classifier whose last but one layer serves as features.

    Per width: BatchNorm - 3x3 convolution, ReLU - 2x2 max pool. Then a dense layer and BatchNorm,
    which are the features: each has about zero mean and unit variance over the training images, so
    that a Frechet distance of 1 is one variance of one feature. Then ReLU and a dense layer, the
    logits.

    Args:
        image_shape: (height, width, channels) of pixels.
        classes: number of them.
        widths: channels of the convolutions.
        num_features: length of a feature vector.
        padding: rows and columns at each border that do not count; they are cut off first.
        seed: integer, of the initial weights.

    Call: pixels `(batch, *image_shape)` in [0, 1], not clipped -> logits, float32
    `(batch, classes)`. Computes in float32 whatever Keras' policy.

    Raises:
        ValueError: if there is not a pixel left after the padding and the pools.
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
        self.image_shape = tuple(image_shape)
        self.classes = classes
        self.widths = tuple(widths)
        self.num_features = num_features
        self.padding = padding
        self.seed = seed
        height, width = (
            (side - 2 * padding) // 2 ** len(self.widths) for side in self.image_shape[:2]
        )
        if padding < 0 or min(height, width) < 1:
            raise ValueError(
                f"`image_shape` must leave a pixel after padding and {len(self.widths)} pools. "
                f"Received: {self.image_shape}, `padding` {padding}"
            )
        self.norms = [
            BatchNorm(_MOMENTUM, dtype="float32", name=f"norm{i}") for i in range(len(self.widths))
        ]
        self.convs = [
            keras.layers.Conv2D(
                filters,
                3,
                padding="same",
                activation="relu",
                kernel_initializer=keras.initializers.HeNormal(seed + i),
                dtype="float32",
                name=f"conv{i}",
            )
            for i, filters in enumerate(self.widths)
        ]
        # No bias: the norm would take it away, and Adam would walk it at random.
        self.project = keras.layers.Dense(
            num_features,
            use_bias=False,
            kernel_initializer=keras.initializers.GlorotUniform(seed + len(self.widths)),
            dtype="float32",
            name="project",
        )
        self.feature_norm = BatchNorm(_MOMENTUM, dtype="float32", name="feature_norm")
        self.classify = keras.layers.Dense(
            classes,
            kernel_initializer=keras.initializers.GlorotUniform(seed + len(self.widths) + 1),
            dtype="float32",
            name="classify",
        )
        self._flat = height * width * (self.widths[-1] if self.widths else self.image_shape[-1])
        self.build()

    def build(self, input_shape=None):
        """Creates all variables; the sizes given to `__init__` are enough to do so."""
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
        x = tf.cast(pixels, tf.float32)[:, p : height - p, p : width - p]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = tf.nn.max_pool2d(conv(norm(x, training=training)), 2, 2, "VALID")
        x = self.project(tf.reshape(x, (-1, self._flat)))
        # The fused kernel of BatchNorm wants four axes.
        x = self.feature_norm(tf.reshape(x, (-1, 1, 1, self.num_features)), training=training)
        return tf.reshape(x, (-1, self.num_features))

    def call(self, pixels, training=False):
        return self.classify(tf.nn.relu(self.feature_tensor(pixels, training)))

    def features(self, pixels, batch_size=256):
        """The features of images, for `frechet_distance`.

        Args:
            pixels: float, `(n, *image_shape)`; clipped to [0, 1].
            batch_size: images at a time, which bounds memory; no result depends on it.

        Returns:
            float32 array `(n, num_features)`.

        Raises:
            ValueError: for another shape, or n = 0.
        """
        return self._in_parts(self.feature_tensor, pixels, batch_size)

    def classify_pixels(self, pixels, batch_size=256):
        """The most likely class of each image, integers `(n,)`; arguments as for `features`."""
        return self._in_parts(self.call, pixels, batch_size).argmax(axis=1)

    def class_probabilities(self, pixels, batch_size=256):
        """Probabilities of the classes, float32 `(n, classes)`; arguments as for `features`."""
        return self._in_parts(lambda part: tf.nn.softmax(self(part)), pixels, batch_size)

    def _in_parts(self, function, pixels, batch_size):
        pixels = np.asarray(pixels, np.float32)
        _check_pixels(pixels, self.image_shape)
        return np.concatenate([function(part).numpy() for part in _parts(pixels, batch_size)])

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.classes)

    def get_config(self):
        return super().get_config() | {
            "image_shape": self.image_shape,
            "classes": self.classes,
            "widths": self.widths,
            "num_features": self.num_features,
            "padding": self.padding,
            "seed": self.seed,
        }


def load_feature_classifier(name, root=None):
    """Loads the classifier on whose features `frechet_distance` compares images of a data set.

    Args:
        name: data set, a folder of `weights/`; "fashion_mnist" and "mnist" are shipped.
        root: folder of weights; the shipped one by default, and where it has none.

    Returns:
        A `FeatureClassifier`.

    Raises:
        FileNotFoundError: if there are no such weights; says what there is and what makes them.
        ValueError: if the file is not what the manifest says.
    """
    path, entry = find_instrument(name, "features", root)
    classifier = FeatureClassifier(**entry["config"])
    load_weights(classifier, path, entry["sha256"])
    return classifier


def train_feature_classifier(
    pixels,
    labels,
    seed=0,
    epochs=6,
    batch_size=128,
    learning_rate=2e-3,
    padding=0,
    widths=(32, 64, 128),
    num_features=64,
    progress=False,
):
    """Trains a `FeatureClassifier`: cross-entropy, Adam with cosine decay.

    Args:
        pixels: float, `(n, height, width, channels)` in [0, 1].
        labels: integers from 0, `(n,)`.
        seed: integer, of the initial weights and of the order of images; the same gives the same
            classifier, to the reproducibility of the machine's own kernels.
        epochs: passes over the images; each drops what does not fill a batch.
        batch_size: images in a step.
        learning_rate: its highest value.
        padding, widths, num_features: as for `FeatureClassifier`.
        progress: whether to show a progress bar.

    Returns:
        A `FeatureClassifier`.

    Raises:
        ValueError: for other shapes, labels that are none, pixels that are not finite, fewer
            images than `batch_size`, or numbers that are not positive.
    """
    pixels, labels = np.asarray(pixels, np.float32), np.asarray(labels)
    _check_pixels(pixels, pixels.shape[1:])
    _check_labels(labels, len(pixels))
    if not np.isfinite(pixels).all():
        raise ValueError("`pixels` must be finite; some values are NaN or infinite.")
    for name, value in {"epochs": epochs, "learning_rate": learning_rate}.items():
        if not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {value}")
    if not 1 <= batch_size <= len(pixels):
        raise ValueError(
            f"`batch_size` must be from 1 to the number of images, {len(pixels)}. "
            f"Received: {batch_size}"
        )
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
    """Each epoch the images in another order, a function of the seed alone."""

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


def _check_pixels(pixels, image_shape):
    if pixels.ndim != 4 or pixels.shape[1:] != image_shape or not len(pixels):
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
