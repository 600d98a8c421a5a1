"""The decoder of diffusion autoencoders (Preechakul et al., 2022, Sec. 3.1, Fig. 7)."""

import itertools
import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments
from ddim_embed.memory import require_memory
from ddim_embed.networks.adaptive_frozen import (
    RESAMPLING,
    FrozenAdaptiveUNet,
    check_semantic,
    walk_down,
    walk_up,
)
from ddim_embed.networks.blocks import check_image_shape, register
from ddim_embed.networks.group_normalized import (
    GroupNorm,
    SelfAttention,
    attends,
    conv,
)
from ddim_embed.networks.kernels import plain_swish
from ddim_embed.process.schedules import linear_times

_TIMESTEPS = 1000  # as which the published code counts diffusion times
_LONGEST_PERIOD = 10_000


@register
class AdaptiveUNet(keras.Model):
    """The U-Net whose group normalisations are adapted to noise variance and semantic vector.

    A 3x3 convolution; per width `block_depth` blocks, and between widths one that halves the
    images; a block, attention and a block; then the way back, `block_depth + 1` blocks per width,
    each joined by a skip, and between widths one that doubles the images; group normalisation,
    swish and a 3x3 convolution that starts at zero. Skips are the outputs of the first convolution
    and of every block on the way down. With `time_dims` and `semantic_dims` of 512 it is the
    published network, weight for weight.

    The noise variance is embedded as the time step, from 0 to 1000, at which the linear schedule
    of the published code has that variance: as published with that schedule, and of the same
    meaning with any other.

    Args:
        semantic_dims: length of the semantic vectors; None for a network that takes none, which is
            the DDIM of the same sizes.
        channels: image channels, in and out.
        widths: channels per level, the full resolution first.
        block_depth: blocks per level on the way down.
        image_size: of the images, for which `attention_resolutions` are meant; the network takes
            images of any size that the levels can halve.
        attention_resolutions: resolutions at which each block is followed by attention.
        time_dims: length of the embedded time step; None for four times the first width.
        dropout: share of the activations that is left out in training, from 0 to below 1. Which
            ones differs between the backends.

    Call: `[images, noise_variances, semantic]` of shapes `(batch, height, width, channels)`,
    `(batch, 1, 1, 1)` and `(batch, semantic_dims)`, the last one only where the network takes it;
    returns the shape of `images`, float32 at any `dtype` policy. A call takes a `hook`, a function
    that replaces h, the output of the last middle block.

    Raises:
        ValueError: for sizes that cannot be built, images that the levels cannot halve, or other
            inputs; for more weights than memory holds.

    Example:
        >>> sizes = {"channels": 1, "widths": (8, 16), "block_depth": 1, "image_size": 16}
        >>> network = de.AdaptiveUNet(semantic_dims=4, **sizes)
        >>> images, variances = np.zeros((2, 16, 16, 1)), np.full((2, 1, 1, 1), 0.5)
        >>> network([images, variances, np.zeros((2, 4))]).shape
        TensorShape([2, 16, 16, 1])
    """

    def __init__(
        self,
        semantic_dims: int | None = 128,
        channels: int = 3,
        widths: Sequence[int] = (32, 64, 96, 128),
        block_depth: int = 2,
        image_size: int = 64,
        attention_resolutions: Sequence[int] = (16,),
        time_dims: int | None = None,
        dropout: float = 0.1,
        **kwargs,
    ):
        # Without autocast the noise variances reach their embedding unrounded; layers cast images.
        super().__init__(autocast=False, **kwargs)
        if semantic_dims is not None:
            semantic_dims = arguments.integer("semantic_dims", semantic_dims)
        self.semantic_dims = semantic_dims
        self.channels = arguments.integer("channels", channels)
        self.widths = widths = arguments.integers("widths", widths)
        self.block_depth = arguments.integer("block_depth", block_depth)
        self.image_size = arguments.integer("image_size", image_size)
        self.attention_resolutions = arguments.integers(
            "attention_resolutions", attention_resolutions, least_count=0
        )
        time_dims = 4 * widths[0] if time_dims is None else time_dims
        self.time_dims = arguments.integer("time_dims", time_dims)
        self.dropout = arguments.number("dropout", dropout, at_least=0, below=1)
        # Two 3x3 convolutions a block, at the least.
        size = 4 * 18 * (2 * self.block_depth + 1) * sum(width**2 for width in widths)
        require_memory(size, f"an adaptive U-Net of `widths` {widths}")

        policy = self.dtype_policy
        self.input_conv = conv(widths[0], dtype=policy, name="input_conv")
        self.time_layers = [
            keras.layers.Dense(self.time_dims, dtype="float32", name=f"time_{index}")
            for index in range(2)
        ]
        parts = _parts(widths, self.block_depth, self._attends)
        # One flat list: Keras versions differ in how they name nested ones in a weights file.
        self.blocks = [
            AdaptiveBlock(
                *sizes,
                time_dims=self.time_dims,
                semantic_dims=semantic_dims,
                dropout=self.dropout,
                number=number,
                dtype=policy,
            )
            for number, sizes in enumerate(itertools.chain(*parts))
        ]
        self._ends = list(itertools.accumulate(len(part) for part in parts))
        self.norm = GroupNorm(dtype=policy, name="norm")
        self.output_conv = conv(
            self.channels, kernel_initializer="zeros", dtype=policy, name="output_conv"
        )
        self.build()

    def _attends(self, level):
        return attends(level, self.image_size, self.attention_resolutions)

    def build(self, input_shape=None):
        """Creates all variables; the sizes given to `__init__` are enough to do so."""
        if self.built:
            return
        self.time_layers[0].build((None, self._timestep_dims))
        self.time_layers[1].build((None, self.time_dims))
        self.input_conv.build((None, None, None, self.channels))

        def build_block(block, channels):
            block.build((None, None, None, channels))
            return block.width

        width, skips = walk_down(self.parts, self.widths[0], build_block)
        width = walk_up(self.parts, width, skips, build_block, join=sum)
        self.norm.build((None, None, None, width))
        self.output_conv.build((None, None, None, width))
        self.built = True

    @property
    def parts(self):
        """The blocks `(down, middle, up)`, lists of them."""
        down, middle, _ = self._ends
        return self.blocks[:down], self.blocks[down:middle], self.blocks[middle:]

    @property
    def _timestep_dims(self):
        return 2 * max(1, self.widths[0] // 2)

    def call(self, inputs, training=None, hook=None):
        self.check_inputs(inputs)
        run = self._runner(inputs, training)
        h, skips = walk_down(self.parts, self.input_conv(inputs[0]), run)
        return self._output(walk_up(self.parts, h if hook is None else hook(h), skips, run))

    def encode(self, inputs, training=None):
        """The lower half of the network.

        Args:
            inputs: as for a call.
            training: whether activations are left out.

        Returns:
            h, the output of the last middle block, and the list of skips for `decode`.
        """
        self.check_inputs(inputs)
        return walk_down(self.parts, self.input_conv(inputs[0]), self._runner(inputs, training))

    def decode(self, h, skips, inputs, training=None):
        """The upper half of the network: from `encode`'s h and skips to the output.

        Args:
            h, skips: what `encode` returns.
            inputs: as for a call; the images are not looked at.
            training: as for `encode`.
        """
        return self._output(walk_up(self.parts, h, skips, self._runner(inputs, training)))

    def _runner(self, inputs, training):
        """`run(block, x)`, the output of a block."""
        vectors = [self.embed_times(inputs[1])]
        if self.semantic_dims is not None:
            vectors.append(plain_swish(ops.cast(inputs[2], "float32")))
        return lambda block, x: block([x, *vectors], training=training)

    def _output(self, x):
        return ops.cast(self.output_conv(self.norm.swish(x)), "float32")

    def embed_times(self, noise_variances):
        """What the blocks see of noise variances, of shape `(batch, 1, 1, 1)`.

        Returns:
            float32 `(batch, time_dims)`: two layers with swishes of the time step's sinusoids.
        """
        timesteps = _TIMESTEPS * ops.reshape(linear_times(noise_variances), (-1, 1))
        count = self._timestep_dims // 2
        periods = np.exp(-math.log(_LONGEST_PERIOD) * np.arange(count) / count)
        angles = timesteps * ops.convert_to_tensor(periods.astype(np.float32))
        x = ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)
        for layer in self.time_layers:
            x = plain_swish(layer(x))
        return x

    def freeze(self, grid, image_size, precision="float32"):
        """The network for decoding, from a snapshot of its weights: see `FrozenAdaptiveUNet`."""
        return FrozenAdaptiveUNet(self, grid, image_size, precision)

    def check_inputs(self, inputs):
        """Raises ValueError for other inputs than those of a call."""
        names = ["images", "noise_variances", "semantic"]
        names = names[: 2 if self.semantic_dims is None else 3]
        if not isinstance(inputs, (list, tuple)) or len(inputs) != len(names):
            received = type(inputs).__name__
            if isinstance(inputs, (list, tuple)):
                received += f" of {len(inputs)}"
            raise ValueError(
                f"This U-Net is called on `[{', '.join(names)}]`. Received: {received}"
            )
        self.check_size(inputs[0].shape)
        if self.semantic_dims is not None:
            check_semantic(inputs[2].shape, self.semantic_dims)

    def check_size(self, shape):
        """Raises ValueError for images `(batch, height, width, channels)` that do not fit."""
        check_image_shape(shape, self.channels, len(self.widths), "U-Net")

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        names = ["semantic_dims", "channels", "widths", "block_depth", "image_size"]
        names += ["attention_resolutions", "time_dims", "dropout"]
        return super().get_config() | {name: getattr(self, name) for name in names}


def _parts(widths, depth, attends):
    """The blocks of the way down, of the middle and of the way up.

    Args:
        widths, depth: of the network.
        attends: function from a level to whether its blocks are followed by attention.

    Returns:
        Three lists of (width, resample, attention).
    """
    down, up = [], []
    for level, width in enumerate(widths):
        if level:
            down.append((widths[level - 1], "down", False))
        down += depth * [(width, None, attends(level))]
    for level, width in reversed(list(enumerate(widths))):
        up += (depth + 1) * [(width, None, attends(level))]
        if level:
            up.append((width, "up", False))
    middle = [(widths[-1], None, True), (widths[-1], None, False)]
    return down, middle, up


@register
class AdaptiveBlock(keras.layers.Layer):
    """Two 3x3 convolutions, each behind a normalisation and a swish, plus the input.

    The second normalisation is adapted (AdaGN): (1 + z_s) ((1 + t_s) GN(x) + t_b), channel by
    channel, of linear maps (t_s, t_b) of the embedded time step and z_s of the semantic vector. The
    second convolution starts at zero: the block then passes its input through.

    Args:
        width: output channels; where they differ from the input's, that goes through a 1x1
            convolution.
        resample: None, or what is done to height and width of both, before the first convolution:
            "down" halves, "up" doubles them.
        attention: whether attention follows.
        time_dims: length of the embedded time step.
        semantic_dims: length of the semantic vector, or None for no semantic vector.
        dropout: share of the activations that is left out in training.
        number: of the block in its network; seeds the dropout.

    Call: `[x, time, semantic]` of shapes `(batch, height, width, any)`, `(batch, time_dims)` and
    `(batch, semantic_dims)`, the last one only where the block takes it; the vectors are float32,
    and swishes of what is embedded. Returns `(batch, height, width, self.width)`, resampled.
    """

    def __init__(
        self,
        width,
        resample=None,
        attention=False,
        *,
        time_dims,
        semantic_dims=None,
        dropout=0.0,
        number=0,
        **kwargs,
    ):
        # Without autocast the vectors arrive unrounded.
        super().__init__(autocast=False, **kwargs)
        self.width = width
        self.resample = resample
        self.attends = attention
        self.time_dims = time_dims
        self.semantic_dims = semantic_dims
        self.dropout_rate = dropout
        self.number = number

    def build(self, input_shape):
        if isinstance(input_shape[0], (list, tuple)):  # of all inputs
            input_shape = input_shape[0]
        policy, inner_shape = self.dtype_policy, (*input_shape[:-1], self.width)
        self.norm1 = GroupNorm(dtype=policy, name="norm1")
        self.norm1.build(input_shape)
        self.conv1 = conv(self.width, dtype=policy, name="conv1")
        self.conv1.build(input_shape)
        self.time = keras.layers.Dense(2 * self.width, dtype="float32", name="time")
        self.time.build((None, self.time_dims))
        self.semantic = None
        if self.semantic_dims is not None:
            self.semantic = keras.layers.Dense(self.width, dtype="float32", name="semantic")
            self.semantic.build((None, self.semantic_dims))
        self.norm2 = GroupNorm(dtype=policy, name="norm2")
        self.norm2.build(inner_shape)
        self.dropout = keras.layers.Dropout(self.dropout_rate, seed=self.number, dtype=policy)
        self.conv2 = conv(self.width, kernel_initializer="zeros", dtype=policy, name="conv2")
        self.conv2.build(inner_shape)
        self.projection = None
        if input_shape[-1] != self.width:
            self.projection = conv(self.width, 1, dtype=policy, name="projection")
            self.projection.build(input_shape)
        self.attention = None
        if self.attends:
            self.attention = SelfAttention(dtype=policy, name="attention")
            self.attention.build(inner_shape)
        self.built = True

    def call(self, inputs, training=None):
        residual, *vectors = inputs
        x = self.norm1.swish(residual)
        if self.resample is not None:
            residual, x = (RESAMPLING[self.resample](images) for images in (residual, x))
        x = self.norm2.swish(self.conv1(x), *self._adapted(*vectors))
        x = self.conv2(self.dropout(x, training=training))
        x = x + (residual if self.projection is None else self.projection(residual))
        return x if self.attention is None else self.attention(x)

    def _adapted(self, time, semantic=None):
        """Scale and shift of the second normalisation, float32 `(batch, 1, 1, width)`."""
        scale, shift = (vectors[:, None, None] for vectors in self.affine(time))
        if self.semantic is None:
            return scale, shift
        factor = 1 + self.semantic(semantic)[:, None, None]
        return scale * factor, shift * factor

    def affine(self, time):
        """(1 + t_s) gamma and (1 + t_s) beta + t_b, float32 `(batch, width)` each."""
        scale, shift = ops.split(self.time(time), 2, axis=-1)
        gamma, beta = (ops.cast(w, "float32") for w in (self.norm2.gamma, self.norm2.beta))
        return (1 + scale) * gamma, (1 + scale) * beta + shift

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape[0]
        factor = {None: 1, "down": 0.5, "up": 2}[self.resample]
        return (batch, *(size and int(size * factor) for size in sizes), self.width)

    def get_config(self):
        return super().get_config() | {
            "width": self.width,
            "resample": self.resample,
            "attention": self.attends,
            "time_dims": self.time_dims,
            "semantic_dims": self.semantic_dims,
            "dropout": self.dropout_rate,
            "number": self.number,
        }
