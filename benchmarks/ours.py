"""This library's way."""

import keras
import numpy as np
import tensorflow as tf

import ddim_embed as de
from benchmarks.work import NUM_STEPS
from ddim_embed.networks.blocks import dtype_policy


def make(piece, size, batch, precision, num_steps=NUM_STEPS, remat=False):
    """See `benchmarks.work`; `num_steps` and `remat` are for the measurement of memory."""
    if piece != "denoiser_step":  # as experiments do
        de.use_one_core_per_operation()
    pixels = tf.random.stateless_uniform((batch, *size.image_shape), (0, 1))
    if piece == "denoiser_step":
        network = de.UNet(
            size.channels, size.widths, size.block_depth, dtype=dtype_policy(precision)
        )
        return _train_step(de.DiffusionModel(network), pixels)
    if piece == "embedder_step":
        embedder = de.build_embedder(
            "unet", size.channels, size.widths, size.block_depth, precision=precision
        )
        generator = _generator(size, precision, num_steps)
        return _train_step(de.EmbedderTrainer(embedder, generator, remat=remat), pixels)
    if piece == "edit":
        return _edit(size, batch, precision)
    generator, latents, function = make_function(piece, size, batch, precision)
    if piece == "decode":
        return lambda: generator.decode(latents).numpy()  # as users call it
    return lambda: function(latents).numpy()


def make_function(piece, size, batch, precision):
    """`decode` or `gradient` as a function of latents.

    Returns:
        The generator, latents, and a `tf.function` of them.
    """
    generator = _generator(size, precision, NUM_STEPS)
    latents = tf.constant(generator.latents(batch))
    if piece == "decode":
        return generator, latents, tf.function(generator.decode_tensor, autograph=False)
    pixels = tf.random.stateless_uniform((batch, *size.image_shape), (0, 1))

    def gradient(latents):
        with tf.GradientTape() as tape:
            tape.watch(latents)
            loss = tf.reduce_mean((generator.decode_tensor(latents) - pixels) ** 2)
        return tape.gradient(loss, latents)

    return generator, latents, tf.function(gradient, autograph=False)


def _edit(size, batch, precision):
    """An edit through h, of all steps: `benchmarks.editing` compares it with a decode."""
    generator = _generator(size, precision, NUM_STEPS)
    editor, latents = de.HSpaceEditor(generator), generator.latents(batch)
    shifts = np.random.default_rng(0).normal(size=(NUM_STEPS, *editor.h_shape))
    direction = de.SemanticDirection(shifts, generator.denoiser_fingerprint())
    return lambda: editor.edit(latents, direction)


def _generator(size, precision, num_steps):
    generator = de.build_generator(
        size.image_shape, size.widths, size.block_depth, num_steps=num_steps, precision=precision
    )
    kernel = generator.network.output_conv.kernel
    kernel.assign(0.02 * np.random.default_rng(0).normal(size=kernel.shape))
    return generator


def _train_step(model, pixels):
    model.compile(keras.optimizers.Adam(1e-4))
    step = tf.function(model.train_step, autograph=False)
    return lambda: float(step(pixels)["loss"])
