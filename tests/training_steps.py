"""Three steps of everything that is trained, on whatever backend Keras has: losses and weights.

`python training_steps.py OUT.npz [FOLDER]`; with a folder also a run that is resumed from it.
"""

import os
import shutil
import sys
from pathlib import Path

if os.environ.get("KERAS_BACKEND") == "jax":
    sys.modules["tensorflow"] = None  # as if it were not installed

import keras
import numpy as np
from random_weights import set_random_weights

import ddim_embed as de
from ddim_embed import backend
from ddim_embed.process import noise


def batches(step):
    """Batches of pixels `(4, 8, 8, 1)` without end, from `step` on."""
    while True:
        yield noise.uniform((4, 8, 8, 1), noise.seed_words(step, 1), numpy=True)
        step += 1


def vectors(step):
    """Batches of vectors `(4, 3)` without end, from `step` on."""
    for pixels in batches(step):
        yield pixels[:, 0, :3, 0]


def make_prior_model():
    network = set_random_weights(de.LatentMLP(3, hidden=6, depth=3), seed=1)
    model = de.PriorModel(network, seed=5, ema=0.9)
    model.normalizer.set_weights([np.array([0.4, 0.5, 0.6]), np.array([0.06, 0.08, 0.1])])
    model.compile(keras.optimizers.Adam(1e-4))
    return model


def make_denoiser(loss, prediction, dtype="float32", descent=None):
    """With Adam, or by plain descent of the given rate."""
    network = set_random_weights(de.UNet(1, widths=(4, 8), block_depth=1, dtype=dtype), seed=1)
    # As at its start, and small: the last digit of a noise variance turns the fastest of its sines
    # by 4e-4, which is the most that backends can agree on.
    network.output_conv.kernel.assign(0.01 * network.output_conv.kernel.value)
    model = de.DiffusionModel(network, seed=5, ema=0.9, loss=loss, prediction=prediction)
    model.normalizer.set_weights([np.array([0.4]), np.array([0.06])])
    model.compile(keras.optimizers.SGD(descent) if descent else keras.optimizers.Adam(1e-4))
    return model


def make_generator():
    generator = de.build_generator(
        (8, 8, 1), (4, 8), 1, num_steps=2, padding=1, prediction="velocity"
    )
    set_random_weights(generator, seed=2)
    generator.normalizer.set_weights([np.array([0.4]), np.array([0.06])])
    return generator


def make_trainer(network, **options):
    generator = make_generator()
    embedder = de.build_embedder(network, 1, widths=(4, 8), block_depth=1)
    trainer = de.EmbedderTrainer(set_random_weights(embedder, seed=3), generator, **options)
    trainer.compile(keras.optimizers.Adam(1e-3, global_clipnorm=1.0))
    return trainer


def make_delta_trainer():
    """Its batches are latents."""
    matrix = np.random.default_rng(4).normal(size=(64, 3)).astype(np.float32)
    network = set_random_weights(de.DeltaNetwork(8, num_steps=2), seed=3)
    trainer = de.DeltaTrainer(
        network,
        make_generator(),
        lambda pixels: keras.ops.matmul(keras.ops.reshape(pixels, (-1, 64)), matrix),
        np.array([1.0, -2.0, 0.5]),
    )
    trainer.compile(keras.optimizers.SGD(1e-3))
    return trainer


def edited():
    """Images with a direction of their own, and fresh noise in the second step."""
    generator = make_generator()
    editor, pixels = de.HSpaceEditor(generator), next(batches(0))
    direction = editor.fit(pixels, [0, 1, 1, 0])
    return editor.edit(generator.latents(3), direction, strength=0.5, boost=0.6, seed=2)


def make_autoencoder():
    """A semantic encoder and a modulated U-Net, which has modulations from the start."""
    return _autoencoder(de.ModulatedUNet(3, channels=1, widths=(4, 8), block_depth=1))


def make_adaptive_autoencoder():
    """With the published decoder, of one level: what takes time is compiling its blocks."""
    sizes = {"channels": 1, "widths": (4,), "block_depth": 1, "image_size": 8}
    # What dropout leaves out differs between the backends.
    return _autoencoder(de.AdaptiveUNet(3, **sizes, dropout=0.0))


def _autoencoder(decoder):
    encoder = de.SemanticEncoder(channels=1, widths=(4, 8), block_depth=1, dims=3, image_size=8)
    network = set_random_weights(de.AutoencoderNetwork(encoder, decoder), seed=4)
    output = network.decoder.output_conv.kernel
    output.assign(0.01 * output.value)  # as in `make_denoiser`
    model = de.AutoencoderModel(network, seed=5, ema=0.9, prediction="velocity")
    model.normalizer.set_weights([np.array([0.4]), np.array([0.06])])
    # Without a trunk, some others are as slow.
    slow = network.trunk_numbers if isinstance(decoder, de.ModulatedUNet) else (0, 3)
    model.compile(de.PartwiseAdam(1e-4, slow, 0.2, global_clipnorm=1.0))
    return model


def make_encoder_model():
    """A semantic encoder that learns principal components, of which the deviations differ."""
    encoder = de.SemanticEncoder(channels=1, widths=(4, 8), block_depth=1, dims=3, image_size=8)
    set_random_weights(encoder, seed=4)
    model = de.EncoderModel(encoder, de.build_generator((8, 8, 1), (4,)).normalizer, (8, 8, 1))
    model.normalizer.set_weights([np.array([0.4]), np.array([0.06])])
    components = np.random.default_rng(3).normal(size=(64, 3)) / 8
    model.principal.set_weights([np.zeros(64), components, np.array([3.0, 1.0, 0.5])])
    model.compile(keras.optimizers.Adam(1e-4, global_clipnorm=1.0))
    return model


def runs():
    """Name -> function that makes a compiled model."""
    made = {
        f"denoiser/{prediction}": lambda loss=loss, prediction=prediction: make_denoiser(
            loss, prediction
        )
        for loss, prediction in (
            ("mean_absolute_error", "noise"),
            ("mean_squared_error", "velocity"),
        )
    }
    for network in ("conv1", "conv3_16", "unet"):  # the two others differ in their sizes alone
        made[f"embedder/{network}"] = lambda network=network: make_trainer(
            network, remat=True, loss="root_mean_square"
        )
    made["prior"] = make_prior_model
    made["autoencoder"] = make_adaptive_autoencoder
    made["encoder"] = make_encoder_model
    made["embedder/loop"] = lambda: make_trainer("conv3_16", remat=True)
    made["embedder/from_scratch"] = lambda: make_trainer("unet", adapt_statistics=True)
    made["delta"] = make_delta_trainer
    return made


# That a killed run of an autoencoder is resumed is tested by its verb.
RESUMED = ("denoiser/noise", "embedder/unet", "prior")


def main(out, folder):
    found, has_gpu = {}, backend.has_gpu
    for name, make in runs().items():
        own, again = Path(folder, name), Path(folder, "again", name)
        stream = vectors if name == "prior" else batches

        def copying(step, own=own, again=again, stream=stream):
            for number, batch in enumerate(stream(step), start=step):
                if number == 2:  # the checkpoint is of two steps now
                    shutil.copytree(own, again, dirs_exist_ok=True)
                yield batch

        if name == "embedder/loop" and not backend.is_tensorflow():
            backend.has_gpu = lambda: True  # where the sampler is a loop
        model = make()
        options = {"log_steps": 1, "progress": False, "identity": name, "checkpoint_seconds": -1}
        history = de.train(model, copying, 3, own, **options)
        found[f"{name}/losses"] = np.array([line["loss"] for line in history])
        found[f"{name}/weights"] = np.concatenate([w.ravel() for w in model.get_weights()])
        backend.has_gpu = has_gpu
        if name in RESUMED:
            resumed = make()
            history = de.train(resumed, stream, 3, again, **options)
            assert [line["step"] for line in history] == [1, 2, 3]
            found[f"{name}/resumed"] = np.concatenate([w.ravel() for w in resumed.get_weights()])
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
