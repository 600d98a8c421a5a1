"""An `AdaptiveUNet` frozen for decoding, and the way through it."""

import copy

import keras
import numpy as np
from keras import ops

from ddim_embed.networks import kernels
from ddim_embed.networks.blocks import dtype_policy
from ddim_embed.networks.group_normalized import downsample, upsample

RESAMPLING = {"down": downsample, "up": upsample}


def concatenated(pair):
    """Two images as one, channel behind channel."""
    return ops.concatenate(pair, axis=-1)


def walk_down(parts, x, run):
    """The lower half of the network: down to the bottleneck and through it.

    Args:
        parts: `(down, middle, up)`, as `AdaptiveUNet.parts`.
        x: the output of the first convolution, `(batch, height, width, channels)`.
        run: `run(block, x)`, the output of a block.

    Returns:
        h, the output of the last middle block, and the list of skips, the first one first.
    """
    down, middle, _ = parts
    skips = [x]
    for block in down:
        skips.append(run(block, skips[-1]))
    h = skips[-1]
    for block in middle:
        h = run(block, h)
    return h, skips


def walk_up(parts, h, skips, run, join=concatenated):
    """The upper half of the network: each block that does not resample is joined by a skip.

    Args:
        parts, run: as for `walk_down`.
        h, skips: what `walk_down` returns; the skips stay as they are.
        join: function of a pair of h and a skip.

    Returns:
        The output of the last block.
    """
    skips = list(skips)
    for block in parts[2]:
        h = run(block, h if block.resample else join([h, skips.pop()]))
    return h


def check_semantic(shape, dims):
    """Raises ValueError unless it is the shape of semantic vectors."""
    if len(shape) != 2 or shape[1] != dims:
        raise ValueError(
            f"Semantic vectors must have shape (n, {dims}). Received shape: {tuple(shape)}"
        )


class FrozenAdaptiveUNet:
    """The outputs of an `AdaptiveUNet` from a snapshot of its weights, at fixed levels.

    Equal to the network in inference mode, up to rounding. What a block computes of the noise
    variance becomes two vectors for each level; what it computes of the semantic vector, one vector
    for each image, is computed once for all steps (`conditioned`). The weights are constants: a
    gradient is defined with respect to images and condition.

    Args:
        network: an `AdaptiveUNet`.
        grid: list of `Rates` of Python floats, the levels at which it will be evaluated.
        image_size: (height, width).
        precision: "float32" or "bfloat16", of the convolutions; images stay in float32.

    Call: `(noisy_images, step, condition=None, hook=None)` -> outputs, float32 of the shape of
    `noisy_images`; `step` is the index of a level, `condition` what `conditioned` returns, `hook` a
    function that replaces h.

    Attributes:
        weights: nested structure of tensors.
    """

    def __init__(self, network, grid, image_size, precision="float32"):
        network.check_size((None, *image_size, network.channels))
        policy = dtype_policy(precision)
        self._dtype = keras.DTypePolicy(policy).compute_dtype
        variances = np.array([rates.noise**2 for rates in grid], np.float32).reshape(-1, 1, 1, 1)
        times = network.embed_times(variances)
        self._parts, self._dims = network.parts, network.semantic_dims
        # Layers for what they compute alone; their weights are among the others.
        self._attentions = [_copied(block.attention, policy) for block in network.blocks]
        self._norm_groups = [(b.norm1.groups, b.norm2.groups) for b in network.blocks]
        self._output_groups = network.norm.groups
        self.weights = {
            "input_conv": self._conv(network.input_conv),
            "blocks": [self._block(block, times) for block in network.blocks],
            "output_norm": _tensors(network.norm),
            "output_conv": self._conv(network.output_conv),
        }

    def replace(self, weights):
        """The same network with other weights, of the same structure."""
        other = copy.copy(self)
        other.weights = weights
        return other

    def conditioned(self, condition):
        """1 + z_s of every block, once for all steps.

        Args:
            condition: semantic vectors `(n, semantic_dims)`.

        Returns:
            List of float32 `(n, 1, 1, width)`.
        """
        semantic = ops.convert_to_tensor(condition, "float32")
        check_semantic(semantic.shape, self._dims)
        activated = kernels.plain_swish(semantic)
        vectors = []
        for weights in self.weights["blocks"]:
            kernel, bias = weights["semantic"]
            vectors.append((1 + ops.matmul(activated, kernel) + bias)[:, None, None])
        return vectors

    def __call__(self, noisy_images, step, condition=None, hook=None):
        h, skips = self.encode(noisy_images, step, condition)
        return self.decode(h if hook is None else hook(h), skips, step, condition)

    def encode(self, noisy_images, step, condition=None):
        """The lower half: h, and the skips for `decode`."""
        x = _convolve(ops.cast(noisy_images, self._dtype), self.weights["input_conv"])
        return walk_down(self._parts, x, self._runner(step, condition))

    def decode(self, h, skips, step, condition=None):
        """The upper half: from `encode`'s h and skips to the outputs."""
        x = walk_up(self._parts, h, skips, self._runner(step, condition))
        x = kernels.norm_swish(x, *self.weights["output_norm"], self._output_groups)
        return ops.cast(_convolve(x, self.weights["output_conv"]), "float32")

    def _runner(self, step, condition):
        if (condition is None) != (self._dims is None):
            raise ValueError(
                f"This network takes {'no' if self._dims is None else 'a'} condition. "
                f"Received: {'none' if condition is None else 'one'}"
            )

        def run(block, x):
            factor = None if condition is None else condition[block.number]
            return self._run(block, x, step, factor)

        return run

    def _run(self, block, inputs, step, factor):
        weights = self.weights["blocks"][block.number]
        groups = self._norm_groups[block.number]
        x = kernels.norm_swish(inputs, *weights["norm1"], groups[0])
        if block.resample is not None:
            inputs, x = (RESAMPLING[block.resample](images) for images in (inputs, x))
        scale, shift = (values[step] for values in weights["norm2"])
        if factor is not None:
            scale, shift = scale * factor, shift * factor
        x = kernels.norm_swish(_convolve(x, weights["conv1"]), scale, shift, groups[1])
        x = _convolve(x, weights["conv2"])
        x = x + (_convolve(inputs, weights["projection"]) if "projection" in weights else inputs)
        if "attention" in weights:
            attention = self._attentions[block.number]
            x, _ = attention.stateless_call(weights["attention"], [], x)
        return x

    def _block(self, block, times):
        weights = {
            "norm1": _tensors(block.norm1),
            "conv1": self._conv(block.conv1),
            "norm2": list(block.affine(times)),  # (levels, width) each
            "conv2": self._conv(block.conv2),
        }
        for name in ("semantic", "attention"):
            if getattr(block, name) is not None:
                weights[name] = _tensors(getattr(block, name))
        if block.projection is not None:
            weights["projection"] = self._conv(block.projection)
        return weights

    def _conv(self, layer):
        return [ops.cast(values, self._dtype) for values in _tensors(layer)]


def _tensors(layer):
    return [ops.convert_to_tensor(values, "float32") for values in layer.get_weights()]


def _copied(layer, policy):
    """A layer of the same kind under another policy, or None."""
    if layer is None:
        return None
    other = type(layer)(dtype=policy)
    other.build((None, None, None, layer.norm.gamma.shape[0]))
    return other


def _convolve(x, weights):
    kernel, bias = weights
    if kernel.shape[0] == 1:
        return kernels.bias_add(kernels.pointwise(x, kernel), bias)
    return kernels.bias_add(ops.conv(x, kernel, 1, "same", data_format="channels_last"), bias)
