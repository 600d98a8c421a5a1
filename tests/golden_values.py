"""What shipped generators and networks compute, as recorded in `golden/shipped.npz`.

`python tests/golden_values.py FILE` writes the values of a checkout to a file. The recorded ones
are of the commit before the networks ran on JAX, too.
"""

import sys
from pathlib import Path

import keras
import numpy as np

import ddim_embed as de
from ddim_embed.data import crop_padding
from ddim_embed.training.losses import get_loss

FILE = Path(__file__).parent / "golden" / "shipped.npz"
DATA = ("mnist", "fashion_mnist", "cifar10", "oxford_flowers", "celeba")
EVERY = 97  # values that are recorded: no picture of a data set is


def some(values):
    return np.asarray(values, np.float32).reshape(-1)[::EVERY]


def measure(name, load):
    """Decodes, latents of every network, and first losses: a dict of arrays.

    `load` is a function of an entry of the manifest.
    """
    generator = load(f"{name}/generator")
    decoded = np.asarray(generator.decode(generator.latents(2, seed=0)))
    pixels = decoded.clip(0, 1)
    found = {"decode": some(decoded)}
    for network in de.NETWORKS:
        latents = load(f"{name}/{network}")(generator.normalizer(pixels))
        found[f"{network}/latents"] = some(latents)
        errors = crop_padding(pixels - generator.decode(latents), generator.padding)
        found[f"{network}/loss"] = np.float32(get_loss("mean_absolute_error")(errors))
    for loss, prediction in (("mean_absolute_error", "noise"), ("mean_squared_error", "velocity")):
        own = generator.network
        network = type(own).from_config(own.get_config())
        network.set_weights(own.get_weights())
        model = de.DiffusionModel(network, seed=3, loss=loss, prediction=prediction)
        model.normalizer.set_weights(generator.normalizer.get_weights())
        model.compile(keras.optimizers.Adam(1e-3))
        found[f"denoiser/{prediction}"] = np.float32(model.train_step(pixels)["loss"])
    return {f"{name}/{key}": values for key, values in found.items()}


def load(entry):
    """The generator or the embedding network of an entry of the manifest."""
    dataset, name = entry.split("/")
    return de.load_generator(dataset) if name == "generator" else de.load_embedder(dataset, name)


if __name__ == "__main__":
    measured = [measure(name, load) for name in DATA]
    np.savez_compressed(sys.argv[1], **{k: v for values in measured for k, v in values.items()})
