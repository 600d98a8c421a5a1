"""The U-Net: denoiser when conditioned on noise variances, embedding network when not."""

from collections.abc import Sequence

import keras
from keras import ops

from ddim_embed import arguments
from ddim_embed.memory import require_memory
from ddim_embed.networks.blocks import (
    ResidualBlock,
    SinusoidalEmbedding,
    check_attention,
    check_image_shape,
    register,
)
from ddim_embed.networks.frozen import FrozenUNet
from ddim_embed.networks.walk import walk_down, walk_up

EMBEDDING_DIMS = 64
_BLOCK_BYTES = 2**18  # what Keras takes for the objects of a block, measured


@register
class UNet(keras.Model):
    """The residual U-Net of Asperti et al., Sec. 4.

    A 1x1 convolution of the image, joined by the embedded noise variance where `conditioned`; per
    width but the last, `block_depth` residual blocks and a 2x2 average pool; `block_depth` blocks
    at the last width; then the way back with bilinear upsampling, each block joined by its skip; a
    1x1 convolution that starts at zero.

    Args:
        channels: image channels, in and out.
        widths: channels per level, the full resolution first.
        block_depth: residual blocks per level and direction.
        attention: None, "spatial", "squeeze_excitation" or "nafnet". The channel attentions stand
            in every block, the spatial one only in those of the last width, where positions are
            few.
        conditioned: whether the call takes noise variances.

    Call: `[images, noise_variances]` of shapes `(batch, height, width, channels)` and
    `(batch, 1, 1, 1)`, or `images` alone when not conditioned; returns the shape of `images`,
    float32 at any `dtype` policy. Height and width must be multiples of `2**(len(widths) - 1)`. A
    call takes a `hook`, a function that replaces h, the output of the last middle block.

    Raises:
        ValueError: for sizes that cannot be built, or images whose size the pooling does not
            divide; for more weights than memory holds.

    Example:
        >>> network = de.UNet(channels=1, widths=(8, 16), block_depth=1)
        >>> network([np.zeros((2, 16, 16, 1)), np.full((2, 1, 1, 1), 0.5)]).shape
        TensorShape([2, 16, 16, 1])
    """

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (32, 64, 96, 128),
        block_depth: int = 2,
        attention: str | None = None,
        conditioned: bool = True,
        **kwargs,
    ):
        # Without autocast the noise variances reach their embedding unrounded; layers cast images.
        super().__init__(autocast=False, **kwargs)
        self.channels = arguments.integer("channels", channels)
        self.widths = widths = arguments.integers("widths", widths)
        self.block_depth = arguments.integer("block_depth", block_depth)
        self.attention = check_attention(attention)
        self.conditioned = conditioned

        outer_attention = None if attention == "spatial" else attention
        policy = self.dtype_policy
        levels = [*widths, *reversed(widths[:-1])]
        # Two 3x3 convolutions a block, at the least.
        size = self.block_depth * sum(_BLOCK_BYTES + 4 * 18 * width**2 for width in levels)
        require_memory(size, f"a U-Net of `widths` {widths} and `block_depth` {block_depth}")
        self.input_conv = keras.layers.Conv2D(
            widths[0], 1, data_format="channels_last", dtype=policy, name="input_conv"
        )
        self.embedding = SinusoidalEmbedding(EMBEDDING_DIMS, dtype=policy) if conditioned else None
        # One flat list: Keras versions differ in how they name nested ones in a weights file.
        self.blocks = [
            ResidualBlock(
                width,
                attention if level == len(widths) - 1 else outer_attention,
                dtype=policy,
            )
            for level, width in enumerate(levels)
            for _ in range(block_depth)
        ]
        self.output_conv = keras.layers.Conv2D(
            channels,
            1,
            data_format="channels_last",
            kernel_initializer="zeros",
            dtype=policy,
            name="output_conv",
        )
        self.build()

    def build(self, input_shape=None):
        """Creates all variables; the sizes given to `__init__` are enough to do so."""
        if self.built:
            return

        def build_blocks(blocks, channels, skip_widths):
            for block, skip_width in zip(blocks, skip_widths, strict=True):
                block.build((None, None, None, channels + skip_width))
                channels = block.width
            return channels

        depth = self.block_depth
        self.input_conv.build((None, None, None, self.channels))
        width = self.widths[0] + (EMBEDDING_DIMS if self.conditioned else 0)
        down, middle, up = self.levels
        for blocks in [*down, middle]:
            width = build_blocks(blocks, width, [0] * depth)
        for blocks, skip_width in zip(up, reversed(self.widths[:-1]), strict=True):
            width = build_blocks(blocks, width, [skip_width] * depth)
        self.output_conv.build((None, None, None, width))
        self.built = True

    @property
    def levels(self):
        """The blocks per level: `(down, middle, up)`, lists of lists of `block_depth` blocks each,
        `middle` one of them."""
        depth, count = self.block_depth, len(self.widths) - 1
        groups = [self.blocks[i : i + depth] for i in range(0, len(self.blocks), depth)]
        return groups[:count], groups[count], groups[count + 1 :]

    def call(self, inputs, training=None, hook=None):
        run = self._runner(training)
        h, skips = self._encode(inputs, run)
        return self._decode(h if hook is None else hook(h), skips, run)

    def encode(self, inputs, training=None):
        """The lower half of the network.

        Args:
            inputs: as for a call.
            training: whether BatchNorm uses the statistics of the batch.

        Returns:
            h, the output of the last middle block, and the list of skips for `decode`.
        """
        return self._encode(inputs, self._runner(training))

    def decode(self, h, skips, training=None):
        """The upper half of the network: from `encode`'s h and skips to the output."""
        return self._decode(h, skips, self._runner(training))

    @staticmethod
    def _runner(training):
        """`run(block, x)`, the output of a block."""
        return lambda block, x: block(x, training=training)

    def _encode(self, inputs, run):
        if self.conditioned and (not isinstance(inputs, (list, tuple)) or len(inputs) != 2):
            raise ValueError(
                "This U-Net is called on `[images, noise_variances]`. Received: "
                f"{type(inputs).__name__}"
            )
        images, noise_variances = inputs if self.conditioned else (inputs, None)
        self.check_size(images.shape)
        x = self.input_conv(images)
        if self.conditioned:
            embedding = self.embedding(noise_variances)
            shape = (*ops.shape(x)[:3], EMBEDDING_DIMS)
            x = ops.concatenate([x, ops.broadcast_to(embedding, shape)], axis=-1)
        return walk_down(self.levels, x, run)

    def _decode(self, h, skips, run):
        x = walk_up(self.levels, h, skips, run)
        return ops.cast(self.output_conv(x), "float32")

    def freeze(self, grid, image_size, precision="float32"):
        """The network for decoding, from a snapshot of its weights: see `FrozenUNet`."""
        return FrozenUNet(self, grid, image_size, precision)

    def check_size(self, shape):
        """Raises ValueError for images `(batch, height, width, channels)` that do not fit."""
        check_image_shape(shape, self.channels, len(self.widths), "U-Net")

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0]) if self.conditioned else tuple(input_shape)

    def get_config(self):
        return super().get_config() | {
            "channels": self.channels,
            "widths": self.widths,
            "block_depth": self.block_depth,
            "attention": self.attention,
            "conditioned": self.conditioned,
        }
