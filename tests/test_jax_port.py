"""The steps in JAX against their originals, and the way there and back."""

import functools
import subprocess
import sys

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, make_generator, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.process.schedules import continuous_cosine
from ddim_embed.store.weights import read_manifest
from experiments.embedding import packing
from experiments.fashion_mnist import FASHION_MNIST
from experiments.jax_port import steps
from experiments.jax_port.__main__ import main as train
from experiments.jax_port.decoding import decode, freeze, rates
from experiments.jax_port.networks import embed, unet, upsample
from experiments.jax_port.trees import load_tree, save_tree
from experiments.runner import main

FLOAT = {"dtype": np.float32}


def make_embedder(network, channels=1, depth=1):
    embedder = de.build_embedder(network, channels, widths=(4, 8), block_depth=depth)
    return set_random_weights(embedder, seed=2)


def tree_of(network):
    tree = packing.tree_of(network)
    return tree | {"statistics": [tuple(pair) for pair in tree.get("statistics", [])]}


class TestNetworks:
    @pytest.mark.parametrize("network", ["conv3_16", "conv5_128", "unet"])
    @pytest.mark.parametrize("channels, depth", [(1, 1), (3, 2)])
    def test_embed_as_keras_does(self, network, channels, depth):
        embedder = make_embedder(network, channels, depth)
        images = np.random.default_rng(0).normal(size=(3, 8, 8, channels)).astype(np.float32)
        found = embed(tree_of(embedder), images, depth=depth, **FLOAT)
        assert_close(found, embedder(images), 1e-4)

    def test_a_denoiser_in_training_moves_its_statistics_as_keras_does(self):
        network = set_random_weights(de.UNet(3, (4, 8, 12), 1))
        rng = np.random.default_rng(0)
        images = rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
        variances = rng.uniform(size=(4, 1, 1, 1)).astype(np.float32)
        tree = tree_of(network)
        outputs, moved = unet(tree, images, variances, depth=1, training=True, **FLOAT)
        assert_close(outputs, network([images, variances], training=True), 1e-4)
        for block, (mean, variance), (old, _) in zip(
            network.blocks, moved, tree["statistics"], strict=True
        ):
            assert np.abs(mean - old).max() > 1e-4
            assert_close(mean, block.norm.moving_mean, 1e-5)
            assert_close(variance, block.norm.moving_variance, 1e-5)

    def test_upsample_as_keras_does(self):
        x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
        assert_close(upsample(x), keras.layers.UpSampling2D(interpolation="bilinear")(x), 1e-6)


class TestDecoding:
    def test_rates_are_those_of_the_schedule(self):
        times = np.linspace(0, 1, 7, dtype=np.float32)
        for found, expected in zip(rates(times), continuous_cosine(times), strict=True):
            assert_close(found, expected, 1e-6)

    @pytest.mark.parametrize("prediction", ["noise", "velocity"])
    def test_decode_as_the_generator_does(self, prediction):
        generator = make_generator(image_shape=(8, 8, 3), prediction=prediction)
        tree = packing.generator_tree(generator)
        options = {"depth": 1, **FLOAT}
        frozen = freeze(tree, (8, 8), num_steps=generator.num_steps, **options)
        latents = generator.latents(2, seed=1)
        found = decode(frozen, latents, prediction, **options)
        assert_close(found, generator.decode(latents), 2e-3)


class TestSteps:
    @pytest.mark.parametrize("loss", ["absolute", "squared", "root_mean_square"])
    def test_networks_move_as_the_trainer_s_do(self, loss):
        """Each as if it were trained alone, on its part of the batch; Adam has a memory."""
        generator = make_generator(image_shape=(8, 8, 1), padding=1)
        counts, pixels = (("conv3_16", 2), ("unet", 3)), make_pixels(5, (8, 8, 1))
        embedders = {name: make_embedder(name) for name, _ in counts}
        options = {"depth": 1, **FLOAT}
        frozen = freeze(packing.generator_tree(generator), (8, 8), num_steps=3, **options)
        state = steps.start_embedders({name: tree_of(net) for name, net in embedders.items()})
        fixed = {"counts": counts, "loss": loss, "prediction": "noise", "padding": 1, **options}
        rate = {"conv3_16": 1e-2, "unet": 2e-3}
        step = jax.jit(functools.partial(steps.embedder_step, **fixed))
        measured = []
        for _ in range(2):
            state, each = step(frozen, state, pixels, rate)
            measured.append(each)
        start = 0
        for name, count in counts:
            part = tf.constant(pixels[start : start + count])
            start += count
            trainer = de.EmbedderTrainer(embedders[name], generator, loss=loss)
            trainer.compile(keras.optimizers.Adam(rate[name], global_clipnorm=1.0))
            before = tree_of(embedders[name])
            for each, tolerance in zip(measured, (1e-3, 1e-2), strict=True):
                trainer.reset_metrics()
                logs = trainer.train_step(part)
                assert_close(each[name][0], logs["loss"], tolerance)
                assert_close(each[name][1], logs["mse"], tolerance)
            after = tree_of(embedders[name])
            moved = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), state[name][0], before)
            expected = jax.tree.map(np.subtract, after, before)
            moved, expected = (
                np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
                for tree in (moved, expected)
            )
            # Adam divides by tiny gradients, too: what matters is the way as a whole.
            assert np.linalg.norm(expected) > rate[name]
            assert np.linalg.norm(moved - expected) < 0.15 * np.linalg.norm(expected)

    @pytest.mark.parametrize("loss, prediction", [("absolute", "noise"), ("squared", "velocity")])
    def test_a_denoiser_moves_as_the_model_does(self, monkeypatch, loss, prediction):
        network = set_random_weights(de.UNet(1, (4, 8), 1))
        model = de.DiffusionModel(network, ema=0.9, loss=loss, prediction=prediction)
        model.normalizer.adapt(make_pixels(4, (8, 8, 1)))
        model.compile(keras.optimizers.Adam(1e-3))
        tree = tree_of(network) | {
            "mean": model.normalizer.mean.numpy(), "variance": model.normalizer.variance.numpy(),
        }  # fmt: skip
        pixels = make_pixels(3, (8, 8, 1))
        times = np.float32([0.1, 0.5, 0.9]).reshape(3, 1, 1, 1)
        noises = np.random.default_rng(3).normal(size=pixels.shape).astype(np.float32)
        drawn = tf.constant(noises), continuous_cosine(tf.constant(times))
        monkeypatch.setattr(model, "_draw", lambda *_, **__: drawn)
        fixed = {"loss": loss, "prediction": prediction, "ema": 0.9, "depth": 1, **FLOAT}
        state = steps.start_denoiser(tree)
        step = jax.jit(functools.partial(steps.denoiser_step, **fixed))
        for _ in range(2):
            state, value = step(state, pixels, times, noises, 1e-3)
            model.reset_metrics()
            logs = model.train_step(tf.constant(pixels))
            assert_close(value, logs["loss"], 1e-4)
        for found, network in ((state[0], model.network), (state[1], model.ema_network)):
            for key, leaf in tree_of(network).items():
                for a, b in zip(jax.tree.leaves(found[key]), jax.tree.leaves(leaf), strict=True):
                    assert np.abs(np.asarray(a) - b).mean() < 5e-5  # of steps of 1e-3

    def test_a_batch_is_of_the_images_mirrored_and_padded(self):
        images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1)
        batch = steps.draw_batch(images, jax.random.key(0), 64, mirror=True, padding=1)
        assert batch.shape == (64, 5, 5, 1) and batch.dtype == np.float32
        assert np.all(np.asarray(batch)[:, 0] == 0)
        found = {np.asarray(one)[1:-1, 1:-1, 0].tobytes() for one in batch * 255}
        sides = [np.float32(side[..., 0]) for one in images for side in (one, one[:, ::-1])]
        assert found == {side.tobytes() for side in sides}
        plain = steps.draw_batch(images, jax.random.key(0), 64, mirror=False, padding=0)
        assert len({np.asarray(one).tobytes() for one in plain}) == 2

    def test_the_rate_goes_up_and_then_down_to_a_hundredth(self):
        values = [steps.learning_rate(progress, 2.0) for progress in np.linspace(0, 1, 101)]
        assert values[3] == pytest.approx(2.0) == max(values)
        assert values[0] == values[-1] == pytest.approx(0.02)
        assert np.all(np.diff(values[:4]) > 0) and np.all(np.diff(values[3:]) < 0)


def test_trees_survive_their_files(tmp_path):
    tree = {"weights": [{"kernel": np.eye(3)}, {"kernel": np.ones(2)}], "mean": np.zeros(1)}
    save_tree(tmp_path / "a" / "tree.npz", tree)
    found = load_tree(tmp_path / "a" / "tree.npz")
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, tree))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["tree.npz"]


class TestThereAndBack:
    def test_what_is_trained_is_recorded(self, tmp_path):
        folder, flags = tmp_path, ["--smoke", "--padding", 2, "--results", tmp_path / "results"]
        main(FASHION_MNIST, ["pack", folder / "packed", *flags])
        weights = folder / "results" / "fashion_mnist-smoke" / "weights"
        before = read_manifest(weights)
        packed = folder / "packed" / "fashion_mnist"
        images = np.load(packed / "images.npy")  # without the padding, which is put on again
        assert images.shape[1:] == (12, 12, 1) and images.dtype == np.uint8 and images.max() > 200
        train([str(packed), "generator", "--steps", "3", "--batch-size", "4", "--seed", "5"])
        train([str(packed), "embedders", "conv1:2:1e-3", "conv3_16:3:1e-3", "--steps", "2"])
        first = load_tree(packed / "trained" / "conv1.npz")
        train([str(packed), "embedders", "conv1:2:1e-3", "--steps", "1"])  # goes on
        trained = load_tree(packed / "trained" / "conv1.npz")
        change = np.abs(first["weights"][0]["kernel"] - trained["weights"][0]["kernel"]).max()
        assert 0 < change < 1e-3  # a step of Adam
        with pytest.raises(SystemExit, match="not finite"):
            train([str(packed), "embedders", "conv1:2:1e38", "--steps", "9"])
        main(FASHION_MNIST, ["unpack", folder / "packed", *flags])
        manifest = read_manifest(weights)
        assert manifest.keys() == {
            f"fashion_mnist/{name}" for name in ("generator", "conv1", "conv3_16")
        }
        conv3 = manifest["fashion_mnist/conv3_16"]["budget"]
        assert conv3["command"].endswith("embedders conv1:2:1e-3 conv3_16:3:1e-3 --steps 2")
        assert conv3["batch_size"] == 3 and conv3["steps"] == 2 and "before" not in conv3
        generator, old = manifest["fashion_mnist/generator"], before["fashion_mnist/generator"]
        assert generator["budget"]["before"]["sha256"] == old["sha256"] != generator["sha256"]
        assert generator["config"]["prediction"] == "velocity"
        assert "test_velocity_mse" in generator["errors"]
        assert generator["budget"]["images_seen"] == 12
        assert conv3["generator"] == generator["sha256"]
        recorded = de.load_embedder("fashion_mnist", "conv1", weights)
        kernel = trained["weights"][0]["kernel"]
        assert_close(recorded.convs[0].kernel, kernel, 1e-3)  # float16
        # Once more, from what is recorded now.
        main(FASHION_MNIST, ["pack", folder / "again", *flags])
        packed = load_tree(folder / "again" / "fashion_mnist" / "conv1.npz")
        assert_close(packed["weights"][0]["kernel"], kernel, 1e-3)

    def test_unpacking_nothing_says_so(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as stop:
            main(FASHION_MNIST, ["unpack", tmp_path, "--smoke", "--results", tmp_path / "r"])
        assert stop.value.code == 2
        assert "python -m experiments.jax_port" in capsys.readouterr().err

    @pytest.mark.parametrize("words", ["unet:4", "unet:0:1e-3", "unet:4:-1"])
    def test_wrong_networks_are_told(self, words, capsys):
        with pytest.raises(SystemExit):
            train(["folder", "embedders", words, "--steps", "1"])
        assert words in capsys.readouterr().err

    def test_no_steps_are_none(self, capsys):
        with pytest.raises(SystemExit):
            train(["folder", "generator", "--steps", "0"])
        assert "from 1 on" in capsys.readouterr().err

    def test_a_folder_that_is_none_is_told(self, tmp_path):
        with pytest.raises(SystemExit, match="pack"):
            train([str(tmp_path / "none"), "generator", "--steps", "1"])


def test_training_needs_no_tensorflow():
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = sys.modules['tyro'] = None"
        "; import experiments.jax_port.__main__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
