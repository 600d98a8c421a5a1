"""Networks frozen for decoding: trained weights specialised to known noise levels.

What training needs and decoding does not is folded away, exactly: BatchNorm's statistics become
part of the kernels, and the embedded noise variance, constant at each step, becomes a map that is
added.
"""

import copy

import keras
import numpy as np
from keras import ops

from ddim_embed.memory import require_memory
from ddim_embed.networks import kernels
from ddim_embed.networks.blocks import dtype_policy
from ddim_embed.networks.walk import walk_down, walk_up


def freeze(network, grid, image_size, precision="float32"):
    """A network as a function of `(noisy_images, step)`: what its own `freeze` returns, or itself.

    Args:
        network: a `keras.Model` of `[noisy_images, noise_variances]`, with or without a method
            `freeze(grid, image_size, precision)`.
        grid: list of `Rates` of Python floats, the levels at which it will be evaluated.
        image_size: (height, width).
        precision: "float32" or "bfloat16", for networks that freeze.

    Returns:
        An object with `weights`, a nested structure of tensors; `replace(weights)`, the same with
        other ones; `conditioned(condition)`, what is computed of a condition once for all steps, a
        nested structure with a row for each image; and a call `(noisy_images, step,
        condition=None)`, with such a structure, that returns the outputs of the network, float32;
        `step` is the index of a level in the grid. Of a network with an h also `encode`, of the
        same arguments, which returns h and the skips, a nested structure with a row for each image;
        and `decode(h, skips, step, condition=None)`, which returns the outputs.
    """
    if hasattr(network, "freeze"):
        return network.freeze(grid, image_size, precision)
    return Unfrozen(network, grid)


class Unfrozen:
    """A network evaluated as it is, in inference mode, at the levels of a grid.

    Args:
        network, grid: as for `freeze`.
    """

    weights = ()

    def __init__(self, network, grid):
        self._network = network
        self._variances = np.array([rates.noise**2 for rates in grid], np.float32)

    def replace(self, weights):
        return self

    def conditioned(self, condition):
        return condition

    def __call__(self, noisy_images, step, condition=None):
        inputs = self._inputs(noisy_images, step, condition)
        return ops.cast(self._network(inputs, training=False), "float32")

    def encode(self, noisy_images, step, condition=None):
        """The network's own `encode(inputs, training)`: h, and what its `decode` takes beside."""
        for name in ("encode", "decode"):
            if not hasattr(self._network, name):
                raise ValueError(
                    "A network with an h has methods `encode(inputs, training)`, which returns h "
                    "and the skips, and `decode(h, skips, training)`, as `UNet` has. "
                    f"Received: {type(self._network).__name__} without `{name}`"
                )
        return self._network.encode(self._inputs(noisy_images, step, condition), training=False)

    def decode(self, h, skips, step, condition=None):
        """The network's own `decode(h, skips, training)`."""
        return ops.cast(self._network.decode(h, skips, training=False), "float32")

    def _inputs(self, noisy_images, step, condition):
        variances = ops.take(ops.convert_to_tensor(self._variances), step)
        variances = ops.broadcast_to(variances, (ops.shape(noisy_images)[0], 1, 1, 1))
        return [noisy_images, variances] + [condition] * (condition is not None)


class FrozenUNet:
    """The outputs of a conditioned `UNet` from a snapshot of its weights, at fixed levels.

    Equal to the network in inference mode, up to rounding. The weights are constants: a gradient
    is defined with respect to the images.

    A 3x3 convolution K of normalised images a * x + b is, by linearity, the convolution of x with
    a * K plus the convolution of the constant image b with K. Zero padding makes the latter differ
    at the borders, so it is stored as a map `(height, width, width of the block)`.

    Args:
        network: a conditioned `UNet`.
        grid: list of `Rates` of Python floats, the levels at which it will be evaluated.
        image_size: (height, width).
        precision: "float32" or "bfloat16", of the convolutions; images stay in float32.

    Call: `(noisy_images, step, condition=None, hook=None)` -> outputs, float32 of the shape of
    `noisy_images`; `step` is the index of a level, `hook` a function that replaces h.

    Attributes:
        weights: nested structure of tensors.
    """

    def __init__(self, network, grid, image_size, precision="float32"):
        self._dtype = keras.DTypePolicy(dtype_policy(precision)).compute_dtype
        variances = np.array([rates.noise**2 for rates in grid], np.float32).reshape(-1, 1, 1, 1)
        # The embedding is recomputed in float32: the network's own may be rounded.
        embeddings = ops.convert_to_numpy(network.embedding.embed(variances))[:, 0, 0]
        levels = len(network.widths)
        sizes = np.array(image_size) // 2 ** np.minimum(
            np.arange(2 * levels - 1), np.arange(2 * levels - 1)[::-1]
        )[:, None].repeat(network.block_depth, axis=0)
        self._attentions = [block.attention for block in network.blocks]
        # The constant channels enter at the very first block.
        self.weights = {
            "input_conv": self._conv(network.input_conv),
            "blocks": [
                self._block(block, tuple(size), embeddings if index == 0 else None)
                for index, (block, size) in enumerate(zip(network.blocks, sizes, strict=True))
            ],
            "output_conv": self._conv(network.output_conv),
        }
        numbers, depth = [*range(len(network.blocks))], network.block_depth
        groups = [numbers[i : i + depth] for i in range(0, len(numbers), depth)]
        self._levels = groups[: levels - 1], groups[levels - 1], groups[levels:]

    def replace(self, weights):
        """The same network with other weights, of the same structure."""
        other = copy.copy(self)
        other.weights = weights
        return other

    def conditioned(self, condition):
        """What is computed of a condition once for all steps: here the condition itself."""
        return condition

    def __call__(self, noisy_images, step, condition=None, hook=None):
        h, skips = self.encode(noisy_images, step, condition)
        return self.decode(h if hook is None else hook(h), skips, step, condition)

    def encode(self, noisy_images, step, condition=None):
        """The lower half: h, and the skips for `decode`."""
        x = self._pointwise(ops.cast(noisy_images, self._dtype), self.weights["input_conv"])
        return walk_down(self._levels, x, lambda index, x: self._run(index, x, step, condition))

    def decode(self, h, skips, step, condition=None):
        """The upper half: from `encode`'s h and skips to the outputs."""
        h = ops.cast(h, self._dtype)
        x = walk_up(self._levels, h, skips, lambda index, x: self._run(index, x, step, condition))
        return ops.cast(self._pointwise(x, self.weights["output_conv"]), "float32")

    def _run(self, index, x, step, condition):
        weights = self.weights["blocks"][index]
        step = step if index == 0 else 0
        residual = x
        if "projection" in weights:
            bias = weights["biases"][step]
            residual = kernels.bias_add(kernels.pointwise(x, weights["projection"]), bias)
        x = self._activate(
            index, _convolve(x, weights["kernel1"]), weights["maps"][step], condition
        )
        x = kernels.bias_add(_convolve(x, weights["kernel2"]), weights["bias2"])
        if self._attentions[index] is not None:
            x = ops.cast(self._attentions[index](x), self._dtype)
        return x + residual

    def _activate(self, index, x, added, condition):
        """The first activation of a block."""
        return kernels.add_swish(x, added)

    @staticmethod
    def _pointwise(x, weights):
        return kernels.bias_add(kernels.pointwise(x, weights["kernel"]), weights["bias"])

    def _conv(self, layer):
        kernel, bias = (self._cast(weight) for weight in layer.get_weights())
        return {"kernel": kernel, "bias": bias}

    def _cast(self, values):
        return ops.cast(ops.convert_to_tensor(values, "float32"), self._dtype)

    def _block(self, block, size, constants=None):
        """The weights of a `ResidualBlock`.

        `constants`, `(steps, channels)`, are the values of input channels that do not vary in
        space; they come after the channels of x.
        """
        mean, variance = block.norm.get_weights()
        scale = 1 / np.sqrt(variance + block.norm.epsilon)
        shift = -mean * scale
        kernel1, bias1 = block.conv1.get_weights()
        kernel2, bias2 = block.conv2.get_weights()
        if constants is None:
            constants = np.zeros((1, 0), np.float32)
        channels = kernel1.shape[2] - constants.shape[1]

        # Per step: what the convolution makes of the constant part of its input, borders included.
        values = np.tile(shift, (len(constants), 1))
        values[:, channels:] += constants * scale[channels:]
        # The constant images, their convolution on the device, on the host, and with its bias.
        floats = len(values) * int(np.prod(size)) * (len(shift) + 3 * len(bias1))
        require_memory(
            4 * floats, f"{len(values)} noise levels of images of {size[0]}x{size[1]} pixels"
        )
        images = np.broadcast_to(values[:, None, None], (len(values), *size, len(shift)))
        maps = ops.convert_to_numpy(_convolve(ops.convert_to_tensor(images), kernel1)) + bias1
        weights = {
            "kernel1": self._cast((kernel1 * scale[:, None])[:, :, :channels]),
            "maps": self._cast(maps[:, None]),
            "kernel2": self._cast(kernel2),
            "bias2": self._cast(bias2),
        }
        if block.projection is not None:
            kernel, bias = block.projection.get_weights()
            weights["projection"] = self._cast(kernel[:, :, :channels])
            weights["biases"] = self._cast(bias + constants @ kernel[0, 0, channels:])
        return weights


def _convolve(x, kernel):
    return ops.conv(x, kernel, 1, "same", data_format="channels_last")
