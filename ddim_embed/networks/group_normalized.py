"""The parts that the networks of Preechakul et al. (2022) share: encoder and decoder."""

import keras
from keras import ops

from ddim_embed.networks import kernels
from ddim_embed.networks.blocks import register

_MOST_GROUPS = 32


@register
class GroupNorm(keras.layers.Layer):
    """Group normalisation (Wu and He, 2018) with at most 32 groups, in float32 at any `dtype`.

    The groups are as many as divide the channels, 32 at the most.

    Call: `(batch, height, width, channels)` -> the same shape, in the layer's precision.
    """

    def build(self, input_shape):
        channels = input_shape[-1]
        self.groups = max(n for n in range(1, _MOST_GROUPS + 1) if channels % n == 0)
        self.gamma = self.add_weight(shape=(channels,), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(channels,), initializer="zeros", name="beta")
        self.built = True

    def call(self, inputs):
        mean, deviation = kernels.group_moments(inputs, self.groups)
        values = (ops.cast(inputs, "float32") - mean) * (self._gamma / deviation) + self._beta
        return ops.cast(values, self.compute_dtype)

    def swish(self, inputs, scale=None, shift=None):
        """The swish of what is normalised, in fewer passes over memory.

        Args:
            inputs: as for a call.
            scale, shift: float32, `(batch, 1, 1, channels)`, in place of gamma and beta.

        Returns:
            The shape and dtype of `inputs`.
        """
        scale = self._gamma if scale is None else scale
        shift = self._beta if shift is None else shift
        return kernels.norm_swish(inputs, scale, shift, self.groups)

    @property
    def _gamma(self):
        return ops.cast(self.gamma, "float32")

    @property
    def _beta(self):
        return ops.cast(self.beta, "float32")

    def compute_output_shape(self, input_shape):
        return input_shape


@register
class SelfAttention(keras.layers.Layer):
    """Attention of one head over all positions behind a `GroupNorm`, plus the input.

    The output projection starts at zero. The softmax is computed in float32 at any `dtype`.

    Call: `(batch, height, width, channels)` -> the same shape.
    """

    def build(self, input_shape):
        channels, policy = input_shape[-1], self.dtype_policy
        self.norm = GroupNorm(dtype=policy, name="norm")
        self.queries_keys_values = keras.layers.Dense(3 * channels, dtype=policy, name="qkv")
        self.projection = keras.layers.Dense(
            channels, kernel_initializer="zeros", dtype=policy, name="projection"
        )
        for layer in (self.norm, self.queries_keys_values, self.projection):
            layer.build(input_shape)
        self.built = True

    def call(self, inputs):
        batch, height, width, channels = ops.shape(inputs)
        positions = ops.reshape(
            self.queries_keys_values(self.norm(inputs)), (batch, height * width, 3 * channels)
        )
        queries, keys, values = ops.split(positions, 3, axis=-1)
        scores = ops.matmul(queries, ops.transpose(keys, (0, 2, 1)))
        weights = ops.softmax(ops.cast(scores, "float32") * channels**-0.5)
        attended = ops.matmul(ops.cast(weights, values.dtype), values)
        return inputs + self.projection(ops.reshape(attended, (batch, height, width, channels)))

    def compute_output_shape(self, input_shape):
        return input_shape


def downsample(x):
    """Half the height and width, by 2x2 means; `(batch, height, width, channels)`."""
    return ops.average_pool(x, 2, 2, "valid", data_format="channels_last")


def upsample(x):
    """Twice the height and width, each position repeated; `(batch, height, width, channels)`."""
    return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)


def attends(level, image_size, resolutions):
    """Whether a level of a U-Net for images of a size has attention, by its resolution."""
    return image_size // 2**level in resolutions


def conv(width, kernel_size=3, **kwargs):
    """A convolution that keeps height and width."""
    return keras.layers.Conv2D(
        width, kernel_size, padding="same", data_format="channels_last", **kwargs
    )
