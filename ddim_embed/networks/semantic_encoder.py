"""The semantic encoder of diffusion autoencoders (Preechakul et al., 2022, Sec. 3.2)."""

from collections.abc import Sequence

import keras
from keras import ops

from ddim_embed import arguments
from ddim_embed.memory import require_memory
from ddim_embed.networks.blocks import check_image_shape, register
from ddim_embed.networks.group_normalized import (
    GroupNorm,
    SelfAttention,
    attends,
    conv,
    downsample,
)


@register
class SemanticEncoder(keras.Model):
    """Images -> semantic vectors: the lower half of a U-Net with blocks of one convolution.

    A 3x3 convolution; per width `block_depth` blocks, and between widths one that halves the
    images; a block, attention and a block; then group normalisation, swish, the mean over all
    positions and a linear map. This is the published code, whose blocks have one convolution where
    the decoder's have two.

    Args:
        channels: image channels.
        widths: channels per level, the full resolution first.
        block_depth: blocks per level.
        dims: length of the vectors.
        image_size: of the images, for which `attention_resolutions` are meant; the network takes
            images of any size that the levels can halve.
        attention_resolutions: resolutions at which each block is followed by attention.

    Call: images `(batch, height, width, channels)` -> vectors `(batch, dims)`, float32 at any
    `dtype` policy.

    Raises:
        ValueError: for sizes that cannot be built, or images that the levels cannot halve.

    Example:
        >>> encoder = de.SemanticEncoder(channels=1, widths=(8, 16), block_depth=1, dims=4)
        >>> encoder(np.zeros((2, 16, 16, 1))).shape
        TensorShape([2, 4])
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (32, 64, 96, 128, 128),
        block_depth: int = 2,
        dims: int = 128,
        image_size: int = 64,
        attention_resolutions: Sequence[int] = (16,),
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.channels = arguments.integer("channels", channels)
        self.widths = widths = arguments.integers("widths", widths)
        self.block_depth = arguments.integer("block_depth", block_depth)
        self.dims = arguments.integer("dims", dims)
        self.image_size = arguments.integer("image_size", image_size)
        self.attention_resolutions = tuple(int(size) for size in attention_resolutions)
        require_memory(
            4 * 9 * self.block_depth * sum(width**2 for width in widths),
            f"a semantic encoder of `widths` {widths}",
        )
        policy = self.dtype_policy
        self.input_conv = conv(widths[0], dtype=policy, name="input_conv")
        self.blocks = []
        for level, width in enumerate(widths):
            if level:
                self.blocks.append(EncoderBlock(widths[level - 1], down=True, dtype=policy))
            for _ in range(self.block_depth):
                self.blocks.append(EncoderBlock(width, dtype=policy))
                if attends(level, self.image_size, self.attention_resolutions):
                    self.blocks.append(SelfAttention(dtype=policy))
        self.blocks += [
            EncoderBlock(widths[-1], dtype=policy),
            SelfAttention(dtype=policy),
            EncoderBlock(widths[-1], dtype=policy),
        ]
        self.norm = GroupNorm(dtype=policy, name="norm")
        self.output_dense = keras.layers.Dense(self.dims, dtype="float32", name="output_dense")
        self.build()

    def build(self, input_shape=None):
        """Creates all variables; the sizes given to `__init__` are enough to do so."""
        if self.built:
            return
        shape = (None, None, None, self.channels)
        self.input_conv.build(shape)
        shape = (*shape[:3], self.widths[0])
        for block in self.blocks:
            block.build(shape)
            shape = block.compute_output_shape(shape)
        self.norm.build(shape)
        self.output_dense.build((None, shape[-1]))
        self.built = True

    def call(self, images, training=None):
        self.check_size(images.shape)
        x = self.input_conv(images)
        for block in self.blocks:
            x = block(x)
        x = self.norm.swish(x)
        return self.output_dense(ops.mean(ops.cast(x, "float32"), axis=(1, 2)))

    def check_size(self, shape):
        """Raises ValueError for images `(batch, height, width, channels)` that do not fit."""
        check_image_shape(shape, self.channels, len(self.widths), "encoder")

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.dims)

    def get_config(self):
        return super().get_config() | {
            "channels": self.channels,
            "widths": self.widths,
            "block_depth": self.block_depth,
            "dims": self.dims,
            "image_size": self.image_size,
            "attention_resolutions": self.attention_resolutions,
        }


@register
class EncoderBlock(keras.layers.Layer):
    """Group normalisation, swish and one 3x3 convolution, plus the input.

    Args:
        width: output channels; where they differ from the input's, that goes through a 1x1
            convolution.
        down: whether height and width are halved, of both, before the convolution.

    Call: `(batch, height, width, any)` -> `(batch, height, width, self.width)`.
    """

    def __init__(self, width, down=False, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.down = down

    def build(self, input_shape):
        policy = self.dtype_policy
        self.norm = GroupNorm(dtype=policy, name="norm")
        self.norm.build(input_shape)
        self.conv = conv(self.width, dtype=policy, name="conv")
        self.conv.build(input_shape)
        self.projection = None
        if input_shape[-1] != self.width:
            self.projection = conv(self.width, 1, dtype=policy, name="projection")
            self.projection.build(input_shape)
        self.built = True

    def call(self, inputs):
        x = self.norm.swish(inputs)
        if self.down:
            inputs, x = downsample(inputs), downsample(x)
        return self.conv(x) + (inputs if self.projection is None else self.projection(inputs))

    def compute_output_shape(self, input_shape):
        sizes = input_shape[1:3]
        if self.down:
            sizes = (size and size // 2 for size in sizes)
        return (input_shape[0], *sizes, self.width)

    def get_config(self):
        return super().get_config() | {"width": self.width, "down": self.down}
