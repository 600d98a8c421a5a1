"""Shipped generators and networks compute what they did when their values were recorded.

`python tests/test_golden.py FILE` writes the values of a checkout to a file; the one that is
compared with, `golden/shipped.npz`, is of the commit before the networks ran on JAX, too.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import ddim_embed as de
from ddim_embed.data import crop_padding
from ddim_embed.training.losses import get_loss

FILE = Path(__file__).parent / "golden" / "shipped.npz"
DATA = ("mnist", "fashion_mnist", "cifar10", "oxford_flowers", "celeba")
EVERY = 97  # values that are recorded: no picture of a data set is


def some(values):
    return np.asarray(values, np.float32).reshape(-1)[::EVERY]


def measure(name):
    """Decodes, latents of every network, and first losses: a dict of arrays."""
    generator = de.load_generator(name)
    decoded = np.asarray(generator.decode(generator.latents(2, seed=0)))
    pixels = decoded.clip(0, 1)
    found = {"decode": some(decoded)}
    for network in de.NETWORKS:
        latents = de.load_embedder(name, network)(generator.normalizer(pixels))
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


@pytest.mark.parametrize("name", DATA)
def test_values_are_those_that_were_recorded(name):
    """On one machine within 1e-6; others sum in another order, and the first step multiplies that
    by 50."""
    with np.load(FILE) as file:
        recorded = {key: file[key] for key in file.files if key.startswith(f"{name}/")}
    found = measure(name)
    assert found.keys() == recorded.keys()
    for key, values in found.items():
        scale = np.abs(recorded[key]).max()
        np.testing.assert_allclose(values, recorded[key], rtol=0, atol=1e-3 * scale, err_msg=key)


if __name__ == "__main__":
    measured = [measure(name) for name in DATA]
    np.savez_compressed(sys.argv[1], **{k: v for values in measured for k, v in values.items()})
