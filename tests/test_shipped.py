"""The weights in the repository: whole, loadable, and as good as they are said to be."""

import hashlib

import numpy as np
import pytest

import ddim_embed as de
from ddim_embed.weights import find_weights, read_manifest

ENTRIES = sorted(read_manifest())
IMAGES = 64


def load(entry):
    dataset, name = entry.split("/")
    if name == "generator":
        return de.load_generator(dataset)
    return de.load_embedder(dataset, name)


@pytest.mark.parametrize("entry", ENTRIES)
def test_is_whole_and_loads(entry):
    path, description = find_weights(*entry.split("/"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == description["sha256"]
    assert path.stat().st_size == description["size"]
    for key in ("config", "data", "budget", "errors", "versions"):
        assert description[key], key
    model = load(entry)
    assert model.count_params() == description["parameters"]
    assert all(np.isfinite(weight).all() and np.ptp(weight) >= 0 for weight in model.get_weights())


class TestFashionMnist:
    """On the bundled images of the test set, that no network was trained on."""

    @pytest.fixture(scope="class")
    @staticmethod
    def errors():
        """Network -> mean squared error per image, of the networks that are there."""
        networks = [name for name in de.NETWORKS if f"fashion_mnist/{name}" in ENTRIES]
        if "fashion_mnist/generator" not in ENTRIES or not networks:
            return {}
        generator = de.load_generator("fashion_mnist")
        pixels, _ = de.load_images("fashion_mnist", "test", source="sample", limit=IMAGES)
        return {name: de.embed(generator, pixels, method=name).mse for name in networks}

    def test_the_unet_embeds(self, errors):
        if "unet" in errors:
            assert errors["unet"][:32].mean() < 0.01

    def test_errors_have_the_order_of_the_paper(self, errors):
        means = [mse.mean() for mse in errors.values()]
        assert means == sorted(means, reverse=True)
        assert all(np.isfinite(mse).all() for mse in errors.values())
