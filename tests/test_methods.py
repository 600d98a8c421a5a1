"""Every method has the same interface, a certificate, and the same error messages."""

import dataclasses
import time

import numpy as np
import pytest
from conftest import make_generator, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.methods.network import Network
from ddim_embed.methods.protocol import Solution
from ddim_embed.methods.registry import METHODS, embed
from ddim_embed.networks.embedders import NETWORKS


@pytest.fixture(scope="module")
def embedder():
    return set_random_weights(de.build_embedder("conv3_16"))


@pytest.mark.parametrize("n", range(1, 6))
def test_embedding_of_a_network(tiny_generator, tiny_pixels, embedder, n):
    pixels, started = tiny_pixels[:n], time.perf_counter()
    result = embed(tiny_generator, pixels, Network(embedder=embedder))
    elapsed = time.perf_counter() - started
    latents = embedder(tiny_generator.normalizer(pixels))
    np.testing.assert_allclose(result.latents, latents, rtol=1e-5, atol=1e-5)  # float32
    assert result.latents.dtype == result.reconstruction.dtype == np.float32
    assert isinstance(result.latents, np.ndarray) and result.latents.shape == pixels.shape
    np.testing.assert_array_equal(result.evaluations, np.ones(n))
    assert 0 < result.seconds < elapsed
    np.testing.assert_allclose(result.latents_mean, np.mean(latents, (1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(result.latents_std, np.std(latents, (1, 2, 3)), rtol=1e-4)


def test_result_does_not_depend_on_batch_size(tiny_generator, tiny_pixels, embedder):
    whole = embed(tiny_generator, tiny_pixels, Network(embedder=embedder))
    parts = embed(tiny_generator, tiny_pixels, Network(embedder=embedder, batch_size=2))
    np.testing.assert_allclose(parts.latents, whole.latents, rtol=1e-5, atol=1e-5)  # float32


class TestCertificate:
    """The error is that of the returned latents."""

    def test_can_be_computed_again(self):
        generator = make_generator(padding=2)
        pixels, latents = make_pixels(3, (16, 16, 1)), generator.latents(3)
        result = Solution(latents, 7).certify(generator, pixels, 0.5)
        np.testing.assert_array_equal(result.evaluations, [7, 7, 7])
        assert result.seconds == 0.5
        np.testing.assert_array_equal(result.latents, latents)
        np.testing.assert_allclose(result.reconstruction, generator.decode(latents), atol=1e-5)
        assert result.reconstruction.min() < 0  # not clipped
        expected = metrics.mse(pixels, result.reconstruction, padding=2)
        assert result.mse.dtype == np.float64 and result.mse.shape == (3,)
        np.testing.assert_allclose(result.mse, expected, rtol=1e-12)
        clipped = np.clip(result.reconstruction, 0, 1)
        by_hand = (pixels.astype(np.float64) - clipped)[:, 2:14, 2:14] ** 2
        np.testing.assert_allclose(result.mse, by_hand.mean((1, 2, 3)), rtol=1e-12)

    def test_is_in_float32_for_a_bfloat16_generator(self):
        exact, rounded = make_generator(), make_generator(precision="bfloat16")
        latents = exact.latents(2)
        result = Solution(latents, 1).certify(rounded, make_pixels(2, (16, 16, 1)))
        np.testing.assert_allclose(result.reconstruction, exact.decode(latents), atol=1e-5)

    def test_perfect_latents_have_no_error(self, tiny_generator):
        """Images that the generator makes, and their own latents."""
        latents = tiny_generator.latents(2)
        pixels = np.clip(tiny_generator.decode(latents), 0, 1)
        result = Solution(latents, 0).certify(tiny_generator, pixels)
        np.testing.assert_allclose(result.mse, 0, atol=1e-10)  # float32, squared


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny_generator):
    root = tmp_path_factory.mktemp("weights")
    config = generator_config(tiny_generator) | {"padding": 1}
    about = {"data": "random", "budget": {}, "errors": {}, "half": False}
    de.record_weights(root, "noise", "generator", tiny_generator, config=config, **about)
    embedder = set_random_weights(de.build_embedder("conv1"))
    de.record_weights(root, "noise", "conv1", embedder, config={"channels": 1}, **about)
    return root


class TestShippedNetworks:
    """By name, through real files in a temporary folder."""

    def test_embed_by_name(self, root, tiny_generator, tiny_pixels):
        generator = de.load_generator("noise", root=root, num_steps=3)
        latents = generator.latents(2)
        np.testing.assert_allclose(
            generator.decode(latents), tiny_generator.decode(latents), rtol=1e-5, atol=1e-5
        )
        result = embed(generator, tiny_pixels, method="conv1")
        embedder = de.load_embedder("noise", "conv1", root=root)
        expected = embedder(generator.normalizer(tiny_pixels))
        np.testing.assert_allclose(result.latents, expected, rtol=1e-5, atol=1e-5)  # float32
        again = embed(generator, tiny_pixels, Network("conv1"), seed=3)
        np.testing.assert_array_equal(again.latents, result.latents)

    def test_options_of_loading(self, root):
        generator = de.load_generator("noise", root=root, num_steps=2, precision="bfloat16")
        assert (generator.num_steps, generator.precision, generator.padding) == (2, "bfloat16", 1)
        generator = de.load_generator("noise", root=root)
        assert (generator.num_steps, generator.last_step) == (10, "predicted_image")
        generator = de.load_generator("noise", root=root, num_steps=2, last_step="transfer")
        assert generator.last_step == "transfer"
        with pytest.raises(ValueError, match=r"last_step.*Received: 'clean'"):
            de.load_generator("noise", root=root, last_step="clean")

    def test_missing_weights(self, root, tiny_pixels):
        generator = de.load_generator("noise", root=root, num_steps=3)
        with pytest.raises(FileNotFoundError, match=r"noise/unet.*noise/conv1"):
            embed(generator, tiny_pixels)  # unet is the default
        with pytest.raises(FileNotFoundError, match="silence/generator"):
            de.load_generator("silence", root=root)


def test_every_network_is_a_method_by_its_name():
    assert list(METHODS)[: len(NETWORKS)] == list(NETWORKS)
    for name in NETWORKS:
        assert METHODS[name]() == Network(network=name)
        assert METHODS[name](batch_size=3).batch_size == 3
    assert de.METHODS is METHODS


@pytest.mark.parametrize(
    "name, cls",
    [
        ("ddim_inversion", de.DDIMInversion),
        ("implicit", de.ImplicitInversion),
        ("correction", de.DefectCorrection),
        ("edict", de.EDICT),
        ("bdia", de.BDIA),
    ],
)
def test_every_inversion_is_a_method_by_its_name(name, cls, tiny_generator, tiny_pixels):
    assert METHODS[name] is cls
    result = embed(tiny_generator, tiny_pixels[:2], name)
    assert result.latents.shape == result.reconstruction.shape == (2, 16, 16, 1)
    assert np.isfinite(result.mse).all() and (result.evaluations >= 3).all()


def test_methods_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Network().batch_size = 3


class TestErrors:
    def test_unknown_method(self, tiny_generator, tiny_pixels):
        with pytest.raises(ValueError, match=r"conv1.*unet.*Received: 'vae'"):
            embed(tiny_generator, tiny_pixels, method="vae")

    def test_an_own_generator_has_no_shipped_networks(self, tiny_generator, tiny_pixels):
        with pytest.raises(ValueError, match=r"Network\(embedder=model\)"):
            embed(tiny_generator, tiny_pixels, method="unet")

    @pytest.mark.parametrize(
        "pixels, words",
        [
            (np.zeros((0, 16, 16, 1)), "at least 1"),
            (np.zeros((1, 16, 16, 3)), r"\(n, 16, 16, 1\).*Received shape: \(1, 16, 16, 3\)"),
            (np.full((1, 16, 16, 1), np.nan), "finite"),
            (np.full((1, 16, 16, 1), 1.5), r"in \[0, 1\].*1.5"),
        ],
    )
    def test_pixels(self, tiny_generator, embedder, pixels, words):
        with pytest.raises(ValueError, match=words):
            embed(tiny_generator, pixels, Network(embedder=embedder))


@pytest.mark.parametrize("method", [de.LBFGS, None, METHODS["unet"], "vae", 3])
def test_an_invalid_method_raises_and_lists_all_methods(tiny_generator, tiny_pixels, method):
    with pytest.raises(ValueError, match=r"must be one of \('conv1', .*, or a configured method"):
        embed(tiny_generator, tiny_pixels, method)


def test_a_custom_method(tiny_generator, tiny_pixels):
    class Middle(de.Method):
        def solve(self, generator, pixels, latents, tick, held=None):
            return de.Solution(np.zeros_like(pixels), evaluations=0)

    result = embed(tiny_generator, tiny_pixels, Middle())
    expected = tiny_generator.decode(np.zeros_like(tiny_pixels))
    np.testing.assert_allclose(result.reconstruction, expected, atol=1e-6)
    np.testing.assert_allclose(result.mse, metrics.mse(tiny_pixels, expected), rtol=1e-4)


def test_changed_weights_are_loaded_again(tmp_path, tiny_generator):
    notes = {"data": "", "budget": {}, "errors": {}}
    config = generator_config(tiny_generator)
    de.record_weights(tmp_path, "x", "generator", tiny_generator, config=config, **notes)
    generator = de.load_generator("x", tmp_path, num_steps=3)
    pixels, found = make_pixels(1, (16, 16, 1)), []
    for seed in (1, 2):
        model = set_random_weights(de.build_embedder("conv1"), seed)
        de.record_weights(tmp_path, "x", "conv1", model, config={"channels": 1}, **notes)
        found.append(embed(generator, pixels, "conv1").latents)
        expected = de.load_embedder("x", "conv1", tmp_path)(generator.normalizer(pixels))
        np.testing.assert_allclose(found[-1], expected, atol=1e-5)
    assert np.abs(found[1] - found[0]).max() > 0.01


def test_a_network_trained_for_another_generator_warns(tmp_path, tiny_generator, recwarn):
    sizes, notes = generator_config(tiny_generator), {"data": "", "errors": {}}
    _, entry = de.record_weights(
        tmp_path, "x", "generator", tiny_generator, config=sizes, budget={}, **notes
    )
    model = set_random_weights(de.build_embedder("conv1"))
    for checksum in (entry["sha256"], "another"):
        budget = {"generator": checksum}
        sizes = {"channels": 1}
        de.record_weights(tmp_path, "x", "conv1", model, config=sizes, budget=budget, **notes)
        if checksum == "another":
            with pytest.warns(UserWarning, match="trained through another generator"):
                de.load_embedder("x", "conv1", tmp_path)
        else:
            de.load_embedder("x", "conv1", tmp_path)
            assert not [w for w in recwarn if "generator" in str(w.message)]


def test_the_recorded_last_step_is_the_default(tmp_path):
    generator = make_generator(last_step="transfer")
    config, notes = generator_config(generator), {"data": "", "budget": {}, "errors": {}}
    de.record_weights(tmp_path, "x", "generator", generator, config=config, **notes)
    assert de.load_generator("x", tmp_path).last_step == "transfer"
    other = de.load_generator("x", tmp_path, last_step="predicted_image")
    assert other.last_step == "predicted_image"


def test_a_hybrid_has_no_own_batch_size_or_progress():
    for options in ({"batch_size": 4}, {"progress": True}):
        with pytest.raises(ValueError, match="must be given to `start` and `finish`"):
            de.Hybrid("unet", "lbfgs", **options)


def test_methods_do_not_start_from_the_latents_of_samples(tiny_generator):
    start = de.Descent().initial_latents(tiny_generator, 2, seed=3)
    assert np.abs(start - tiny_generator.latents(2, seed=3)).max() > 0.5
