"""Seconds to compile the gradient of a decode: the sampler as a loop, and as N copies.

    .venv/bin/python -m benchmarks.compiling                          # TensorFlow: a graph, and XLA
    KERAS_BACKEND=jax .venv/bin/python -m benchmarks.compiling        # JAX

Prints a line for each: backend, compiler, seconds of the first call less those of the second.
"""

import time

import keras
import numpy as np
from keras import ops

import ddim_embed as de
from ddim_embed.backend import compiled, is_tensorflow

BATCH = 2


def gradient_of(generator, scan):
    """The gradient of a decode's mean square, a function of latents."""

    def loss(latents):
        return ops.mean(ops.square(generator.decode_tensor(latents, scan=scan)))

    if not is_tensorflow():
        import jax

        return jax.grad(loss)
    import tensorflow as tf

    def gradient(latents):
        with tf.GradientTape() as tape:
            tape.watch(latents)
            value = loss(latents)
        return tape.gradient(value, latents)

    return gradient


def main():
    """Measures and prints."""
    generator = de.load_generator("celeba")
    latents = ops.convert_to_tensor(generator.latents(BATCH))
    generator.denoiser()
    for jit_compile in (False, True) if is_tensorflow() else (True,):
        for scan in (True, False):
            function = compiled(gradient_of(generator, scan), jit_compile)
            times = []
            for _ in range(2):
                started = time.perf_counter()
                np.asarray(function(latents))
                times.append(time.perf_counter() - started)
            print(
                f"{keras.backend.backend()}, {'XLA' if jit_compile else 'a graph'}, "
                f"{'loop' if scan else 'copies'}: {times[0] - times[1]:.1f} s to compile, "
                f"{times[1]:.2f} s to run"
            )


if __name__ == "__main__":
    main()
