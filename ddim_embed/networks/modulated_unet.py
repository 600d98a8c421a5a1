"""The U-Net of Asperti et al. modulated by a semantic vector: it starts as a trained `UNet`."""

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments
from ddim_embed.networks import kernels
from ddim_embed.networks.blocks import register, swish
from ddim_embed.networks.frozen import FrozenUNet
from ddim_embed.networks.unet import UNet


@register
class ModulatedUNet(UNet):
    """A conditioned `UNet` whose blocks are modulated by a semantic vector z.

    What comes from a block's first swish is multiplied by 1 + s and added to b, channel by channel,
    where (s, b) = Linear(swish(z)) starts at zero: with the weights of a `UNet` (`start_from`) the
    network is that one, bit for bit, whatever z. An encoder of z and the network are then trained
    jointly from there. BatchNorm uses its stored statistics in training, too.

    Args:
        semantic_dims: length of z.
        channels, widths, block_depth, attention: as for `UNet`.

    Call: `[images, noise_variances, semantic]`, the last one `(batch, semantic_dims)`; the rest is
    as for a conditioned `UNet`.

    Example:
        >>> network = de.ModulatedUNet(semantic_dims=4, channels=1, widths=(8, 16), block_depth=1)
        >>> images, variances = np.zeros((2, 16, 16, 1)), np.full((2, 1, 1, 1), 0.5)
        >>> network([images, variances, np.zeros((2, 4))]).shape
        TensorShape([2, 16, 16, 1])
    """

    def __init__(self, semantic_dims: int = 128, channels: int = 1, **kwargs):
        kwargs.pop("conditioned", None)
        # `UNet.__init__` calls `build`, which needs it.
        self.semantic_dims = arguments.integer("semantic_dims", semantic_dims)
        super().__init__(channels, **kwargs)

    def build(self, input_shape=None):
        if self.built:
            return
        self.modulations = [
            keras.layers.Dense(
                2 * block.width,
                kernel_initializer="zeros",
                dtype="float32",
                name=f"modulation_{index}",
            )
            for index, block in enumerate(self.blocks)
        ]
        for layer in self.modulations:
            layer.build((None, self.semantic_dims))
        super().build()

    @property
    def trunk_variables(self):
        """The trainable variables that a `UNet` of these sizes has."""
        own = {id(v) for layer in self.modulations for v in layer.variables}
        return [variable for variable in self.trainable_variables if id(variable) not in own]

    def start_from(self, network):
        """Takes the weights of a conditioned `UNet` of the same sizes; the modulations are zero.

        Raises:
            ValueError: if its sizes are others.
        """
        names = ("channels", "widths", "block_depth", "attention", "conditioned")
        sizes = [{name: getattr(each, name, None) for name in names} for each in (self, network)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"`network` must be a U-Net with {sizes[0]}. Received: {sizes[1]}")
        self.input_conv.set_weights(network.input_conv.get_weights())
        self.output_conv.set_weights(network.output_conv.get_weights())
        for block, other in zip(self.blocks, network.blocks, strict=True):
            block.set_weights(other.get_weights())
        for layer in self.modulations:
            layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])

    def call(self, inputs, training=None, hook=None):
        self.check_inputs(inputs)
        run = self._runner(inputs[2])
        h, skips = self._encode(inputs[:2], run)
        return self._decode(h if hook is None else hook(h), skips, run)

    def encode(self, inputs, training=None):
        """The lower half of the network, as `UNet.encode`; `inputs` as for a call."""
        self.check_inputs(inputs)
        return self._encode(inputs[:2], self._runner(inputs[2]))

    def decode(self, h, skips, training=None, semantic=None):
        """The upper half of the network: from `encode`'s h and skips, and z, to the output."""
        return self._decode(h, skips, self._runner(semantic))

    def check_inputs(self, inputs):
        """Raises ValueError unless the inputs are `[images, noise_variances, semantic]`."""
        shape = None
        if isinstance(inputs, (list, tuple)) and len(inputs) == 3:
            shape = tuple(inputs[2].shape)
            if len(shape) == 2 and shape[1] == self.semantic_dims:
                return
        raise ValueError(
            "This U-Net is called on `[images, noise_variances, semantic]`, semantic of shape "
            f"(batch, {self.semantic_dims}). Received: "
            + (f"semantic of shape {shape}" if shape else type(inputs).__name__)
        )

    def _runner(self, semantic):
        pairs = {
            id(block): pair
            for block, pair in zip(self.blocks, self.modulate(semantic), strict=True)
        }

        def run(block, x):
            scale, shift = (ops.cast(values, x.dtype) for values in pairs[id(block)])
            return block(x, training=False, modulation=lambda x: x * (1 + scale) + shift)

        return run

    def modulate(self, semantic):
        """For each block a pair (s, b) of shapes `(batch, 1, 1, width)`, float32."""
        activated = swish(ops.cast(semantic, "float32"))
        return [
            ops.split(layer(activated)[:, None, None], 2, axis=-1) for layer in self.modulations
        ]

    def freeze(self, grid, image_size, precision="float32"):
        """The network for decoding, from a snapshot of its weights."""
        return FrozenModulatedUNet(self, grid, image_size, precision)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return super().get_config() | {"semantic_dims": self.semantic_dims}


class FrozenModulatedUNet(FrozenUNet):
    """The outputs of a `ModulatedUNet` from a snapshot of its weights, at fixed levels.

    Args:
        network: a `ModulatedUNet`.
        grid, image_size, precision: as for `FrozenUNet`.

    Call: as for `FrozenUNet`, with what `conditioned` returns as `condition`.
    """

    def __init__(self, network, grid, image_size, precision="float32"):
        super().__init__(network, grid, image_size, precision)
        self._dims = network.semantic_dims
        self.weights["modulations"] = [
            [ops.convert_to_tensor(values) for values in layer.get_weights()]
            for layer in network.modulations
        ]

    def conditioned(self, condition):
        """The modulation of every block, once for all steps.

        Args:
            condition: semantic vectors `(batch, semantic_dims)`.
        """
        semantic = ops.convert_to_tensor(condition, "float32")
        if len(semantic.shape) != 2 or semantic.shape[1] != self._dims:
            raise ValueError(
                f"Semantic vectors must have shape (n, {self._dims}). "
                f"Received shape: {tuple(semantic.shape)}"
            )
        activated = swish(semantic)
        vectors = [
            (ops.matmul(activated, kernel) + bias)[:, None, None]
            for kernel, bias in self.weights["modulations"]
        ]
        return [ops.split(vector, 2, axis=-1) for vector in vectors]

    def _activate(self, index, x, added, condition):
        scale, shift = condition[index]
        return kernels.add_swish_modulate(x, added, scale, shift)
