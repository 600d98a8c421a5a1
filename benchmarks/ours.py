"""This library's way."""

import keras
import numpy as np
import tensorflow as tf

import ddim_embed as de
from benchmarks.work import NUM_STEPS
from ddim_embed.layers import dtype_policy

de.use_one_core_per_operation()


def make(piece, size, batch, precision, num_steps=NUM_STEPS, remat=False):
    """See `benchmarks.work`; `num_steps` and `remat` are for the measurement of memory."""
    pixels = tf.random.stateless_uniform((batch, *size.image_shape), (0, 1))
    if piece == "denoiser_step":
        network = de.UNet(
            size.channels, size.widths, size.block_depth, dtype=dtype_policy(precision)
        )
        return _train_step(de.DiffusionModel(network), pixels)
    generator = de.Generator(
        size.image_shape, size.widths, size.block_depth, num_steps=num_steps, precision=precision
    )
    kernel = generator.network.output_conv.kernel
    kernel.assign(0.02 * np.random.default_rng(0).normal(size=kernel.shape))
    latents = tf.constant(generator.latents(batch))
    if piece == "decode":
        return lambda: generator.decode(latents).numpy()
    if piece == "gradient":

        @tf.function(autograph=False)
        def gradient(latents):
            with tf.GradientTape() as tape:
                tape.watch(latents)
                decoded = generator.decode_tensor(latents, remat=remat)
                loss = tf.reduce_mean((decoded - pixels) ** 2)
            return tape.gradient(loss, latents)

        return lambda: gradient(latents).numpy()
    embedder = de.build_embedder(
        "unet", size.channels, size.widths, size.block_depth, precision=precision
    )
    return _train_step(de.EmbedderTrainer(embedder, generator, remat=remat), pixels)


def _train_step(model, pixels):
    model.compile(keras.optimizers.Adam(1e-4))
    step = tf.function(model.train_step, autograph=False)
    return lambda: float(step(pixels)["loss"])
