"""This library's way on JAX: `KERAS_BACKEND=jax`."""

import jax
import keras
import numpy as np
from keras import ops

import ddim_embed as de
from benchmarks.work import NUM_STEPS, SEMANTIC_DIMS
from ddim_embed.networks.blocks import dtype_policy
from ddim_embed.training.loop import _steps_of


def make(piece, size, batch, precision):
    """See `benchmarks.work`."""
    if precision == "float32":  # and no shorter type within it
        jax.config.update("jax_default_matmul_precision", "highest")
    pixels = np.random.default_rng(0).random((batch, *size.image_shape), np.float32)
    sizes = {"channels": size.channels, "widths": size.widths, "block_depth": size.block_depth}
    policy = dtype_policy(precision)
    if piece == "denoiser_step":
        return _train_step(de.DiffusionModel(de.UNet(**sizes, dtype=policy)), pixels)
    if piece == "autoencoder_step":
        encoder = de.SemanticEncoder(
            size.channels, size.encoder_widths, 1, SEMANTIC_DIMS, size.image_size, dtype=policy
        )
        decoder = de.ModulatedUNet(SEMANTIC_DIMS, **sizes, dtype=policy)
        network = de.AutoencoderNetwork(encoder, decoder)
        return _train_step(de.AutoencoderModel(network), pixels)
    generator = de.build_generator(
        size.image_shape,
        size.widths,
        size.block_depth,
        num_steps=NUM_STEPS,
        precision=precision,
    )
    if piece == "embedder_step":
        embedder = de.build_embedder("unet", **sizes, precision=precision)
        return _train_step(de.EmbedderTrainer(embedder, generator), pixels)
    latents = generator.latents(batch)
    if piece == "decode":
        return lambda: np.asarray(generator.decode(latents))  # as users call it
    images = ops.convert_to_tensor(pixels)

    @jax.jit
    def gradient(latents):
        return jax.grad(
            lambda values: ops.mean(ops.square(generator.decode_tensor(values) - images))
        )(latents)

    return lambda: np.asarray(gradient(latents))


def _train_step(model, pixels):
    """A step as `de.train` makes it, and its loss."""
    if hasattr(model, "normalizer"):  # a generator has its own
        model.normalizer.adapt(pixels)
    model.compile(keras.optimizers.Adam(1e-4))
    steps = _steps_of(model)
    return lambda: float(steps.run(pixels)["loss"])
