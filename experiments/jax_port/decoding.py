"""`Generator.decode` as a function of a tree, its denoiser frozen as in `ddim_embed.frozen`."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from experiments.jax_port.networks import (
    EPSILON,
    convolve,
    down_and_up,
    pointwise,
    sinusoids,
    swish,
)

MAX_SIGNAL_RATE, MIN_SIGNAL_RATE = 0.95, 0.02


def rates(times):
    """Signal and noise rates of diffusion times: `schedules.continuous_cosine`.

    Of an array of NumPy's in its own precision: at the noisy end the signal is a small difference.
    """
    numpy = np if isinstance(times, np.ndarray) else jnp
    start, end = math.acos(MAX_SIGNAL_RATE), math.acos(MIN_SIGNAL_RATE)
    angles = start + times * (end - start)
    return numpy.cos(angles), numpy.sin(angles)


def freeze(generator, image_size, *, depth=2, num_steps=10, dtype=jnp.bfloat16):
    """Folds BatchNorm into kernels and the embedded noise variances into maps, per step.

    Args:
        generator: its tree, of NumPy arrays.
        image_size: (height, width).
        depth: blocks per level and direction.
        num_steps: N, of the sampler.
        dtype: of the convolutions.

    Returns:
        A tree for `decode`.
    """
    weights = generator["weights"]
    last = (len(weights["blocks"]) // depth - 1) // 2
    signal, noise = rates(np.linspace(1, 0, num_steps + 1))
    signal[-1], noise[-1] = 1.0, 0.0  # `sampling.CLEAN`: the last step predicts the image
    constants = np.asarray(sinusoids(np.float32(noise[:-1] ** 2)[:, None]))
    with jax.default_matmul_precision("highest"):
        blocks = [
            _frozen_block(
                layer,
                generator["statistics"][index],
                np.array(image_size) // 2 ** (last - abs(last - index // depth)),
                constants if index == 0 else np.zeros((1, 0), np.float32),
            )
            for index, layer in enumerate(weights["blocks"])
        ]
    return {
        "blocks": jax.tree.map(lambda values: jnp.asarray(values, dtype), blocks),
        "ends": {key: weights[key] for key in ("input_conv", "output_conv")},
        "levels": tuple(
            np.float32(level) for level in (signal[:-1], noise[:-1], signal[1:], noise[1:])
        ),
        "mean": generator["mean"],
        "variance": generator["variance"],
    }


def _frozen_block(layer, statistics, size, constants):
    """`constants`, `(steps, channels)`: the last channels of the input, which do not vary."""
    mean, variance = statistics
    scale = 1 / np.sqrt(variance + EPSILON)
    kernel, bias = layer["conv1"]["kernel"], layer["conv1"]["bias"]
    channels = kernel.shape[2] - constants.shape[1]
    values = np.tile(-mean * scale, (len(constants), 1))
    values[:, channels:] += constants * scale[channels:]
    images = np.broadcast_to(values[:, None, None], (len(values), *size, len(mean)))
    frozen = {
        "conv1": (kernel * scale[:, None])[:, :, :channels],
        "maps": convolve(jnp.asarray(images, jnp.float32), kernel, bias),
        "conv2": layer["conv2"],
    }
    if "projection" in layer:
        kernel, bias = layer["projection"]["kernel"], layer["projection"]["bias"]
        frozen["projection"] = kernel[:, :, :channels]
        frozen["biases"] = bias + constants @ kernel[0, 0, channels:]
    return frozen


def decode(frozen, latents, prediction, *, depth=2, dtype=jnp.bfloat16):
    """Latents -> pixels, not clipped; one copy of the network serves all steps of the sampler.

    Args:
        frozen: of `freeze`, with the same `depth` and `dtype`.
        latents: float32, `(batch, height, width, channels)`.
        prediction: "noise" or "velocity".
    """
    first, *others = frozen["blocks"]

    def step(images, level):
        signal, noise, next_signal, next_noise, varying = level

        def block(x, index):
            layer = first | varying if index == 0 else others[index - 1]
            residual = x
            if "projection" in layer:
                residual = pointwise(x, layer["projection"], layer["biases"])
            x = swish(convolve(x, layer["conv1"], layer["maps"]))
            return convolve(x, **layer["conv2"]) + residual

        x = pointwise(images.astype(dtype), **frozen["ends"]["input_conv"])
        x = down_and_up(x, len(frozen["blocks"]), depth, block)
        outputs = pointwise(x, **frozen["ends"]["output_conv"]).astype(jnp.float32)
        noises = outputs if prediction == "noise" else noise * images + signal * outputs
        return next_signal * (images - noise * noises) / signal + next_noise * noises, None

    varying = {key: first[key] for key in ("maps", "biases") if key in first}
    images, _ = jax.lax.scan(step, latents, (*frozen["levels"], varying))
    return images * jnp.sqrt(frozen["variance"]) + frozen["mean"]
