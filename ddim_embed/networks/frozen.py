"""A denoiser frozen for decoding: trained weights specialised to known noise levels.

What training needs and decoding does not is folded away, exactly: BatchNorm's statistics become
part of the kernels, and the embedded noise variance, constant at each step, becomes a map that is
added.
"""

import keras
import numpy as np
import tensorflow as tf

from ddim_embed.networks.blocks import dtype_policy, swish_gradient, upsample
from ddim_embed.networks.parallel import has_gpu, over_cores
from ddim_embed.process.predictions import check_prediction, noises_from
from ddim_embed.process.schedules import Rates


class FrozenDenoiser:
    """`denoise(noisy_images, rates)` from a snapshot of a conditioned `UNet`, at fixed levels.

    Equal to what the network implies in inference mode, up to rounding. Only the gradient with
    respect to the images is defined: the weights are constants.

    A 3x3 convolution K of normalised images a * x + b is, by linearity, the convolution of x with
    a * K plus the convolution of the constant image b with K. Zero padding makes the latter differ
    at the borders, so it is kept as a map `(height, width, width of the block)`.

    Args:
        network: a conditioned `UNet`.
        grid: list of `Rates` of Python floats, the levels at which it will be asked.
        image_size: (height, width).
        precision: "float32" or "bfloat16", of the convolutions; images stay in float32.
        prediction: what the network predicts, "noise" or "velocity".
    """

    def __init__(self, network, grid, image_size, precision="float32", prediction="noise"):
        self._dtype = tf.as_dtype(keras.DTypePolicy(dtype_policy(precision)).compute_dtype)
        variances = np.array([rates.noise**2 for rates in grid], np.float32).reshape(-1, 1, 1, 1)
        self._steps = {rates.noise: step for step, rates in enumerate(grid)}
        self._prediction = check_prediction(prediction)
        self._rates = Rates(*(tf.constant(rates, tf.float32) for rates in zip(*grid, strict=True)))
        # The embedding is recomputed in float32: the network's own may be rounded.
        embeddings = network.embedding.embed(tf.constant(variances)).numpy()[:, 0, 0]
        self._input_conv = self._conv(network.input_conv)
        down, middle, up = network.levels
        sizes = [np.array(image_size) // 2**level for level in range(len(network.widths))]
        # The constant channels enter at the very first block.
        first = network.blocks[0]

        def freeze(blocks, size):
            return [
                self._block(block, size, embeddings if block is first else None) for block in blocks
            ]

        self._down = [freeze(*level) for level in zip(down, sizes, strict=False)]
        self._middle = freeze(middle, sizes[-1])
        self._up = [freeze(*level) for level in zip(up, sizes[-2::-1], strict=True)]
        self._output_conv = self._conv(network.output_conv)
        self._shared = tf.function(
            self._evaluate, autograph=False, experimental_attributes={"_noinline": True}
        )
        self._compiled = tf.function(
            lambda images, step: over_cores(lambda part: self._evaluate(part, step), images),
            input_signature=[
                tf.TensorSpec([None, *image_size, network.channels], tf.float32),
                tf.TensorSpec([], tf.int32),
            ],
            autograph=False,
            jit_compile=has_gpu() or None,
        )

    def __call__(self, noisy_images, rates):
        """Predicts noises.

        Args:
            noisy_images: float32, `(batch, height, width, channels)`, model space.
            rates: one of the `grid`.

        Returns:
            The noises, same shape, float32.

        Raises:
            ValueError: if `rates` is not in the grid.
        """
        return self._evaluate(noisy_images, self._step(rates))

    def shared(self, noisy_images, rates):
        """As a call, for use in a graph, which then calls one copy of the network at every step.

        A graph that contains the network N times takes memory and time to make; but its gradient is
        faster than that of calls.
        """
        return self._shared(noisy_images, tf.constant(self._step(rates)))

    def compiled(self, noisy_images, rates):
        """As a call, for use outside any graph: one graph serves all levels and batch sizes."""
        return self._compiled(noisy_images, self._step(rates))

    def _step(self, rates):
        step = self._steps.get(rates.noise) if isinstance(rates, Rates) else None
        if step is None:
            raise ValueError(
                f"This denoiser is frozen at noise rates {sorted(self._steps)}. Received: {rates}"
            )
        return step

    def _evaluate(self, noisy_images, step):
        x = self._input_conv(tf.cast(noisy_images, self._dtype))
        skips = []
        for blocks in self._down:
            for block in blocks:
                x = block(x, step)
                skips.append(x)
            x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
        for block in self._middle:
            x = block(x, step)
        for blocks in self._up:
            x = linear(upsample)(x)
            for block in blocks:
                x = block(tf.concat([x, skips.pop()], axis=-1), step)
        outputs = tf.cast(self._output_conv(x), tf.float32)
        rates = Rates(self._rates.signal[step], self._rates.noise[step])
        return noises_from(self._prediction, outputs, noisy_images, rates)

    def _conv(self, layer):
        """A 1x1 convolution layer as a function."""
        kernel, bias = (tf.constant(tf.cast(value, self._dtype).numpy()) for value in layer.weights)
        return lambda x: tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias)

    def _block(self, block, size, constants=None):
        """A `ResidualBlock` as a function of `(x, step)`.

        `constants`, `(steps, channels)`, are the values of input channels that do not vary in
        space; they come after the channels of x.
        """
        dtype = self._dtype
        scale = 1 / np.sqrt(block.norm.moving_variance.numpy() + block.norm.epsilon)
        shift = -block.norm.moving_mean.numpy() * scale
        kernel1, bias1 = (value.numpy() for value in block.conv1.weights)
        kernel2, bias2 = (
            tf.constant(tf.cast(value, dtype).numpy()) for value in block.conv2.weights
        )
        if constants is None:
            constants = np.zeros((1, 0), np.float32)
        channels = kernel1.shape[2] - constants.shape[1]

        # Per step: what the convolution makes of the constant part of its input, borders included.
        values = np.tile(shift, (len(constants), 1))
        values[:, channels:] += constants * scale[channels:]
        images = np.broadcast_to(values[:, None, None], (len(values), *size, len(shift)))
        maps = tf.nn.conv2d(tf.constant(images), kernel1, 1, "SAME").numpy() + bias1
        maps = tf.constant(maps[:, None].astype(dtype.as_numpy_dtype))
        kernel1 = kernel1 * scale[:, None]
        kernel1 = tf.constant(kernel1[:, :, :channels].astype(dtype.as_numpy_dtype))

        if block.projection is not None:
            kernel, bias = (value.numpy() for value in block.projection.weights)
            projection = tf.constant(kernel[:, :, :channels].astype(dtype.as_numpy_dtype))
            biases = bias + constants @ kernel[0, 0, channels:]
            biases = tf.constant(biases.astype(dtype.as_numpy_dtype))

        def run(x, step):
            step = step if len(maps) > 1 else 0
            residual = x
            if block.projection is not None:
                residual = tf.nn.bias_add(tf.nn.conv2d(x, projection, 1, "SAME"), biases[step])
            x = add_swish(tf.nn.conv2d(x, kernel1, 1, "SAME"), maps[step])
            x = tf.nn.bias_add(tf.nn.conv2d(x, kernel2, 1, "SAME"), bias2)
            if block.attention is not None:
                x = tf.cast(block.attention(x), dtype)
            return x + residual

        return run


def linear(function):
    """A linear function of one tensor whose gradient can be differentiated, too.

    Products with the Jacobian are gradients of gradients; TensorFlow knows none of bilinear
    resizing, and would silently leave its share out.
    """

    @tf.custom_gradient
    def forward(x):
        @tf.custom_gradient
        def transposed(upstream):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
            return tape.gradient(y, x, output_gradients=upstream), function

        return function(x), transposed

    return forward


@tf.custom_gradient
def add_swish(x, added):
    """swish(x + added) in one pass over memory, and one for its gradient with respect to x.

    Args:
        x: float, `(batch, height, width, channels)`.
        added: a constant of the same dtype, `(1, height, width, channels)`.

    Returns:
        The shape and dtype of `x`.
    """

    def gradient(upstream):
        return _add_swish_gradient(x, added, upstream), None

    return _add_swish(x, added), gradient


@tf.function(jit_compile=True, autograph=False)
def _add_swish(x, added):
    total = tf.cast(x, tf.float32) + tf.cast(added, tf.float32)
    return tf.cast(total * tf.sigmoid(total), x.dtype)


@tf.function(jit_compile=True, autograph=False)
def _add_swish_gradient(x, added, upstream):
    total = tf.cast(x, tf.float32) + tf.cast(added, tf.float32)
    return tf.cast(swish_gradient(total, tf.cast(upstream, tf.float32)), x.dtype)
