"""The parts of which every U-Net here is built (Asperti et al., Sec. 4)."""

import math

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments, backend
from ddim_embed.networks import kernels


def _without(config, *names):
    return {key: value for key, value in config.items() if key not in names}


# The frequencies of the default embedding as TensorFlow rounds them, so that every backend computes
# with those that the shipped weights were trained with.
# fmt: off
_FREQUENCIES = (
    1.0, 1.2496091, 1.5615231, 1.9512933, 2.4383543, 3.0469897, 3.807546, 4.7579446, 5.945571,
    7.4296403, 9.284145, 11.601553, 14.497406, 18.11609, 22.638037, 28.288696, 35.34981, 44.173447,
    55.19955, 68.97786, 86.195366, 107.71051, 134.59604, 168.19243, 210.17477, 262.63632,
    328.19272, 410.11282, 512.4807, 640.4005, 800.2503, 1000.00006,
)
# fmt: on


register = keras.saving.register_keras_serializable(package="ddim_embed")


def dtype_policy(precision):
    """The Keras policy of a precision: weights are float32 in either.

    Raises:
        ValueError: if `precision` is neither "float32" nor "bfloat16".
    """
    policies = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
    return policies[arguments.choice("precision", precision, policies)]


def deserialized(config, names, custom_objects=None):
    """A config in which the parts called `names` are objects again, for a `from_config`."""
    parts = {
        name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
        for name in names
    }
    return {**config, **parts}


@register
class Normalizer(keras.layers.Layer):
    """Takes pixels in [0, 1] to images of zero mean and unit variance per channel, and back.

    The statistics are weights: a weights file carries its units.

    Args:
        channels: image channels.

    Call: pixels `(..., channels)` -> images, float32 of the same shape; `inverse` is its inverse.
    """

    def __init__(self, channels, **kwargs):
        super().__init__(dtype="float32", trainable=False, **_without(kwargs, "dtype", "trainable"))
        self.channels = channels
        self.mean = self.add_weight(
            shape=(channels,), initializer="zeros", trainable=False, name="mean"
        )
        self.variance = self.add_weight(
            shape=(channels,), initializer="ones", trainable=False, name="variance"
        )
        self.built = True

    def adapt(self, pixels):
        """Sets the statistics to those of pixels, an array `(n, height, width, channels)`."""
        pixels = np.asarray(pixels)
        if pixels.ndim != 4 or pixels.shape[-1] != self.channels or not len(pixels):
            raise ValueError(
                f"`pixels` must have shape (n, height, width, {self.channels}), n at least 1. "
                f"Received shape: {pixels.shape}"
            )
        if pixels.min() < 0 or pixels.max() > 1:
            raise ValueError(
                "`pixels` must be in [0, 1]; bytes become pixels by a division by 255. "
                f"Received values from {pixels.min():.4g} to {pixels.max():.4g}"
            )
        variance = pixels.var(axis=(0, 1, 2), dtype=np.float64)
        if not (np.isfinite(variance).all() and (variance > 0).all()):
            raise ValueError(
                f"`pixels` must be finite and vary in every channel. Received variances: {variance}"
            )
        self.mean.assign(pixels.mean(axis=(0, 1, 2), dtype=np.float64))
        self.variance.assign(variance)

    def check(self):
        """Raises ValueError unless the statistics are of pixels in [0, 1], as after `adapt`."""
        mean, variance = (ops.convert_to_numpy(weight.value) for weight in self.weights)
        # No numbers in [0, 1] have a larger variance; float32 may round it up.
        if not ((mean >= 0) & (mean <= 1) & (variance > 0) & (variance <= 0.25001)).all():
            raise ValueError(
                "The normaliser is not adapted to pixels in [0, 1]: call "
                "`model.normalizer.adapt(pixels)` with those to train on. "
                f"Received: mean {mean}, variance {variance}"
            )

    def call(self, pixels):
        if pixels.shape[-1] != self.channels:  # one channel would become as many as there are means
            raise ValueError(
                f"`pixels` must have {self.channels} channels. Received shape: {pixels.shape}"
            )
        return (pixels - self.mean) / ops.sqrt(self.variance)

    def inverse(self, images):
        return images * ops.sqrt(self.variance) + self.mean

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"channels": self.channels}


@register
class VectorNormalizer(Normalizer):
    """A `Normalizer` of vectors, which may have any values: it standardises each dimension.

    Args:
        channels: dimensions of a vector.
    """

    def adapt(self, vectors):
        """Sets the statistics to the mean and the unbiased variance of vectors `(n, channels)`.

        Raises:
            ValueError: for another shape, fewer than 2 vectors, values that are not finite, or a
                dimension in which all vectors are equal.
        """
        vectors = arguments.finite_array("vectors", vectors, np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != self.channels or len(vectors) < 2:
            raise ValueError(
                f"`vectors` must have shape (n, {self.channels}), n at least 2. "
                f"Received shape: {vectors.shape}"
            )
        constant = np.flatnonzero(np.ptp(vectors, axis=0) == 0)
        if len(constant):
            raise ValueError(
                "`vectors` must vary in every dimension. Received equal values in dimensions: "
                f"{arguments.received(constant.tolist())}"
            )
        self.mean.assign(vectors.mean(axis=0))
        self.variance.assign(vectors.var(axis=0, ddof=1))

    def check(self):
        """Does nothing: vectors may have any statistics."""


@register
class SinusoidalEmbedding(keras.layers.Layer):
    """Embeds noise variances as sines and cosines of log-spaced frequencies.

    Args:
        dims: number of output channels, even.
        min_frequency, max_frequency: the range, in periods per unit of variance.

    Call: float `(batch, 1, 1, 1)` -> `(batch, 1, 1, dims)`, sines first. The angles are computed in
    float32 whatever the layer's precision: at frequency 1000, bfloat16 cannot tell them apart.
    """

    def __init__(self, dims=64, min_frequency=1.0, max_frequency=1000.0, **kwargs):
        # Without autocast the variances arrive unrounded.
        super().__init__(autocast=False, **kwargs)
        if dims < 2 or dims % 2:
            raise ValueError(f"`dims` must be even and at least 2. Received: {dims}")
        self.dims = dims
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency
        self.built = True

    def call(self, noise_variances):
        return ops.cast(self.embed(noise_variances), self.compute_dtype)

    def embed(self, noise_variances):
        """The embedding in float32, whatever the layer's precision."""
        if (self.dims, self.min_frequency, self.max_frequency) == (64, 1.0, 1000.0):
            frequencies = np.array(_FREQUENCIES, np.float32)
        else:
            ends = math.log(self.min_frequency), math.log(self.max_frequency)
            frequencies = np.exp(np.linspace(*ends, self.dims // 2)).astype(np.float32)
        angles = np.float32(2 * math.pi) * frequencies * ops.cast(noise_variances, "float32")
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.dims)

    def get_config(self):
        return super().get_config() | {
            "dims": self.dims,
            "min_frequency": self.min_frequency,
            "max_frequency": self.max_frequency,
        }


@register
class BatchNorm(keras.layers.BatchNormalization):
    """Keras' batch normalisation without centre and scale; with TensorFlow, in one fused kernel.

    Same variables, statistics and results; Keras itself makes several passes over memory.
    """

    def __init__(self, momentum=0.99, epsilon=1e-3, **kwargs):
        # Keras' own pass, which is not fused, is taken by replicas that share a batch.
        super().__init__(
            momentum=momentum,
            epsilon=epsilon,
            center=False,
            scale=False,
            synchronized=kernels.FUSED,
            **kwargs,
        )

    def call(self, inputs, training=None, mask=None):
        moving = training and self.trainable
        if not kernels.FUSED or (moving and backend.replicas() > 1):
            return super().call(inputs, training, mask)
        if not moving:
            statistics = (
                ops.convert_to_tensor(w) for w in (self.moving_mean, self.moving_variance)
            )
            return kernels.fused_batch_norm(inputs, *statistics, self.epsilon)[0]
        outputs, mean, variance = kernels.fused_batch_norm(inputs, None, None, self.epsilon)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return outputs

    def _move(self, average, value):
        average.assign(average * self.momentum + ops.stop_gradient(value) * (1 - self.momentum))

    def get_config(self):
        config = super().get_config()
        own = ("name", "trainable", "dtype", "momentum", "epsilon")
        return {key: config[key] for key in own}


@register
def swish(x):
    """x * sigmoid(x), elementwise; the activation of every block."""
    return kernels.swish(x)


@register
class ResidualBlock(keras.layers.Layer):
    """BatchNorm - 3x3 convolution, swish - 3x3 convolution - optional attention, plus the input.

    Where the widths differ, the input goes through a 1x1 convolution first.

    Args:
        width: output channels.
        attention: None, or a name of `ATTENTIONS`.

    Call: `(batch, height, width, any)` -> `(batch, height, width, self.width)`. A call takes a
    `modulation`, a function of what comes from the swish.
    """

    def __init__(self, width, attention=None, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.attention_name = check_attention(attention)

    def build(self, input_shape):
        inner_shape = (*input_shape[:-1], self.width)
        # The order of creation is that of the published code: it numbers the layers of its files.
        self.projection = None
        if input_shape[-1] != self.width:
            self.projection = self._conv(1, name="projection")
            self.projection.build(input_shape)
        self.norm = BatchNorm(dtype=self.dtype_policy, name="norm")
        self.norm.build(input_shape)
        self.conv1 = self._conv(3, activation=swish, name="conv1")
        self.conv1.build(input_shape)
        self.conv2 = self._conv(3, name="conv2")
        self.conv2.build(inner_shape)
        self.attention = None
        if self.attention_name is not None:
            self.attention = ATTENTIONS[self.attention_name](dtype=self.dtype_policy)
            self.attention.build(inner_shape)
        self.built = True

    def _conv(self, kernel_size, **kwargs):
        return keras.layers.Conv2D(
            self.width,
            kernel_size,
            padding="same",
            data_format="channels_last",
            dtype=self.dtype_policy,
            **kwargs,
        )

    def call(self, inputs, training=None, modulation=None):
        residual = inputs if self.projection is None else self.projection(inputs)
        x = self.conv1(self.norm(inputs, training=training))
        x = self.conv2(x if modulation is None else modulation(x))
        if self.attention is not None:
            x = self.attention(x)
        return x + residual

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.width)

    def get_config(self):
        return super().get_config() | {"width": self.width, "attention": self.attention_name}


class _Attention(keras.layers.Layer):
    """A map that keeps the shape `(batch, height, width, channels)`."""

    def compute_output_shape(self, input_shape):
        return input_shape


@register
class SpatialAttention(_Attention):
    """Single-head self-attention over all positions, with a residual connection.

    As in the diffusion U-Nets of Ho et al. (2020), the output projection starts at zero, so that
    the block first passes its input through.
    """

    def build(self, input_shape):
        channels = input_shape[-1]
        self.norm = keras.layers.LayerNormalization(dtype=self.dtype_policy, name="norm")
        self.queries_keys_values = keras.layers.Dense(
            3 * channels, dtype=self.dtype_policy, name="queries_keys_values"
        )
        self.output_projection = keras.layers.Dense(
            channels, kernel_initializer="zeros", dtype=self.dtype_policy, name="output_projection"
        )
        for layer in (self.norm, self.queries_keys_values, self.output_projection):
            layer.build(input_shape)
        self.built = True

    def call(self, inputs):
        shape = ops.shape(inputs)
        channels = inputs.shape[-1]
        projected = self.queries_keys_values(self.norm(inputs))
        positions = ops.reshape(projected, (shape[0], shape[1] * shape[2], 3 * channels))
        queries, keys, values = ops.split(positions, 3, axis=-1)
        scores = ops.matmul(queries, ops.transpose(keys, (0, 2, 1))) * channels**-0.5
        # Softmax over up to thousands of positions needs more than bfloat16's 8 bits.
        weights = ops.cast(ops.softmax(ops.cast(scores, "float32")), values.dtype)
        attended = ops.reshape(ops.matmul(weights, values), shape)
        return inputs + self.output_projection(attended)


@register
class SqueezeExcitation(_Attention):
    """Scales each channel by a gate computed from all channels' means (Hu et al., 2018).

    Args:
        ratio: how much narrower the gate's hidden layer is.
    """

    def __init__(self, ratio=4, **kwargs):
        super().__init__(**kwargs)
        self.ratio = ratio

    def build(self, input_shape):
        channels = input_shape[-1]
        hidden = max(1, channels // self.ratio)
        self.squeeze = keras.layers.Dense(
            hidden, activation="relu", dtype=self.dtype_policy, name="squeeze"
        )
        self.excite = keras.layers.Dense(
            channels, activation="sigmoid", dtype=self.dtype_policy, name="excite"
        )
        self.squeeze.build((None, 1, 1, channels))
        self.excite.build((None, 1, 1, hidden))
        self.built = True

    def call(self, inputs):
        means = ops.mean(inputs, axis=(1, 2), keepdims=True)
        return inputs * self.excite(self.squeeze(means))

    def get_config(self):
        return super().get_config() | {"ratio": self.ratio}


@register
class NAFNetAttention(_Attention):
    """Simplified channel attention (Chen et al., 2022): channels times linear maps of all means."""

    def build(self, input_shape):
        channels = input_shape[-1]
        self.gate = keras.layers.Dense(
            channels,
            kernel_initializer="zeros",
            bias_initializer="ones",  # starts as the identity: this gate has no sigmoid to bound it
            dtype=self.dtype_policy,
            name="gate",
        )
        self.gate.build((None, 1, 1, channels))
        self.built = True

    def call(self, inputs):
        return inputs * self.gate(ops.mean(inputs, axis=(1, 2), keepdims=True))


def check_image_shape(shape, channels, levels, network):
    """Raises ValueError for images `(batch, height, width, channels)` that do not fit a network.

    Args:
        shape: of the images; sizes that are not known yet are None.
        channels: image channels.
        levels: resolutions of the network, each half of the one before.
        network: a word for it.
    """
    divisor = 2 ** (levels - 1)
    fits = len(shape) == 4 and shape[3] == channels
    if not fits or any(size is not None and size % divisor for size in shape[1:3]):
        raise ValueError(
            f"Images for this {network} must have {channels} channels and a height and width "
            f"that {divisor} divides: (batch, height, width, channels). "
            f"Received shape: {tuple(shape)}"
        )


ATTENTIONS = {
    "spatial": SpatialAttention,
    "squeeze_excitation": SqueezeExcitation,
    "nafnet": NAFNetAttention,
}


def check_attention(name):
    """Returns a name of `ATTENTIONS`, or None; raises a ValueError for anything else."""
    if name is not None:
        arguments.choice("attention", name, ATTENTIONS, ", or None")
    return name
