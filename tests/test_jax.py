"""Training on JAX: the same losses and weights as on TensorFlow, without TensorFlow."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import training_steps
from conftest import assert_close
from random_weights import set_random_weights

import ddim_embed as de
from ddim_embed import console
from ddim_embed.process import noise
from ddim_embed.store.weights import read_manifest
from experiments import runner
from experiments.fashion_mnist import FASHION_MNIST

TESTS = Path(__file__).resolve().parent
STREAM = {"source": "sample", "seed": 3, "start_step": 61, "mirror": True}  # over an epoch's end
# TensorFlow is as if it were not installed: importing it is an error.
WITHOUT_TENSORFLOW = "import sys; sys.modules['tensorflow'] = None; "


# What one process has compiled serves the others.
COMPILED = tempfile.TemporaryDirectory()
CACHED = {
    "JAX_COMPILATION_CACHE_DIR": COMPILED.name,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def run_on_jax(*command):
    backend = {"KERAS_BACKEND": "jax", "PYTHONPATH": str(TESTS.parent)}
    environment = {**os.environ, **CACHED, **backend}
    result = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, cwd=TESTS
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Losses and weights of three steps, on TensorFlow and on JAX."""
    folder = tmp_path_factory.mktemp("steps")
    training_steps.main(folder / "tensorflow.npz", folder / "tensorflow")
    run_on_jax("training_steps.py", str(folder / "jax.npz"), str(folder / "jax"))
    return [dict(np.load(folder / f"{name}.npz")) for name in ("tensorflow", "jax")]


@pytest.mark.parametrize("name", training_steps.runs())
def test_three_steps_are_those_of_tensorflow(steps, name):
    ours, theirs = steps
    losses = ours[f"{name}/losses"]
    assert len(losses) == 3 and losses[0] != losses[1]
    assert_close(theirs[f"{name}/losses"], losses, 1e-5)  # float32
    found, expected = theirs[f"{name}/weights"], ours[f"{name}/weights"]
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("backend", [0, 1])
@pytest.mark.parametrize("name", training_steps.RESUMED)
def test_a_resumed_run_is_the_same(steps, name, backend):
    found = steps[backend]
    np.testing.assert_array_equal(found[f"{name}/resumed"], found[f"{name}/weights"])


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    """What one process computes with JAX: a dict of arrays."""
    path = tmp_path_factory.mktemp("jax") / "found.npz"
    code = WITHOUT_TENSORFLOW + (
        "import numpy as np, itertools, jax, training_steps as t, ddim_embed as de\n"
        "model = t.make_denoiser('mean_squared_error', 'noise')\n"
        "pixels = next(t.batches(0))\n"
        "history = model.fit(pixels, batch_size=4, epochs=2, shuffle=False, verbose=0).history\n"
        "losses = [*history['loss'], *model.evaluate(pixels, batch_size=4, verbose=0)]\n"
        "model = t.make_denoiser('mean_squared_error', 'noise', 'mixed_float16', 0.1)\n"
        "model.fit(pixels, batch_size=4, shuffle=False, verbose=0)\n"
        "halves = model.network.output_conv.get_weights()[0]\n"
        "generator = de.load_generator('fashion_mnist', num_steps=2)\n"
        "decoded = generator.sample(2, seed=1)\n"
        "prior = t.set_random_weights(de.build_prior(3, 6, 3), seed=1)\n"
        "before = prior.sample(2, seed=1, num_steps=2)\n"
        "prior.normalizer.mean.assign(prior.normalizer.mean + 1)\n"
        "vectors = [before, prior.sample(2, seed=1, num_steps=2)]\n"
        "wrong, said = jax.numpy.asarray(decoded * np.nan), ''\n"
        "try: generator.decode(wrong)\n"
        "except ValueError as error: said = str(error)\n"
        "traced = jax.jit(generator.check_latents)(wrong)\n"
        "from ddim_embed.process import noise\n"
        "drawn = noise.uniform((4,), noise.split(noise.seed_words(3, -1))[0])\n"
        f"batches = de.stream_images('mnist', 'test', 16, **{STREAM!r})\n"
        "batches = np.stack([*itertools.islice(batches, 3)])\n"
        f"np.savez({str(path)!r}, losses=losses, decoded=decoded, batches=batches, drawn=drawn, "
        "halves=halves, vectors=vectors, said=said, traced=traced, edited=t.edited())"
    )
    run_on_jax("-c", code)
    with np.load(path) as file:
        return dict(file)


def test_fit_trains_on_jax(on_jax):
    model = training_steps.make_denoiser("mean_squared_error", "noise")
    pixels = next(training_steps.batches(0))
    history = model.fit(pixels, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    expected = [*history["loss"], *model.evaluate(pixels, batch_size=4, verbose=0)]
    np.testing.assert_allclose(on_jax["losses"], expected, rtol=1e-5)  # float32


def test_a_loss_in_float16_is_scaled_on_jax(on_jax):
    model = training_steps.make_denoiser("mean_squared_error", "noise", "float32", 0.1)
    before = model.network.output_conv.get_weights()[0]
    model.train_step(next(training_steps.batches(0)))
    expected = model.network.output_conv.get_weights()[0] - before
    assert_close(on_jax["halves"] - before, expected, 0.05)  # 11 bits


def test_decode_is_that_of_tensorflow(on_jax):
    expected = de.load_generator("fashion_mnist", num_steps=2).sample(2, seed=1)
    # The first step multiplies the rounding of float32 by 50.
    assert_close(on_jax["decoded"], expected, 1e-3)


def test_an_edit_is_that_of_tensorflow(on_jax):
    # As above; the noise of the second step is drawn by NumPy.
    assert_close(on_jax["edited"], training_steps.edited(), 1e-3)


def test_vectors_of_a_prior_are_those_of_tensorflow(on_jax):
    """Also after a change of its weights, which are no constants of what is compiled."""
    prior = set_random_weights(de.build_prior(3, 6, 3), seed=1)
    expected = prior.sample(2, seed=1, num_steps=2)
    # The first step divides rounding by a signal rate of 0.018.
    assert_close(on_jax["vectors"][0], expected, 1e-3)
    assert_close(on_jax["vectors"][1], expected + 1, 1e-3)


def test_a_seed_gives_the_same_noise(on_jax):
    first, _ = noise.split(noise.seed_words(3, -1))
    np.testing.assert_array_equal(on_jax["drawn"], noise.uniform((4,), first))


def test_values_are_looked_at_where_there_are_any(on_jax):
    assert "`latents` must be finite" in str(on_jax["said"])
    assert np.isnan(on_jax["traced"]).all()  # there are none while a function is traced


def test_a_seed_gives_the_same_batches(on_jax):
    batches = de.stream_images("mnist", "test", 16, **STREAM)
    expected = np.stack([np.asarray(batch) for batch in batches.take(3)])
    np.testing.assert_allclose(on_jax["batches"], expected, atol=1e-7)


def test_the_verbs_train_without_tensorflow(tmp_path):
    """`pack`, then `train` and `train-embedders` on JAX, then `measure`: the weights are the same
    files."""
    values = {
        "weights": [tmp_path / "weights"], "runs": [tmp_path / "runs"], "name": ["own"],
        "results": [tmp_path / "results"],
        "source": ["npz"], "images": [8], "image_size": [16], "widths": [4, 8], "block_depth": [1],
        "num_steps": [2], "channels": [1],
    }  # fmt: skip

    def own(verb, *words):
        used = {name: values[name] for name in values if name in runner.VERBS[verb].uses}
        flags = [word for name in used for word in (console.flag(name), *used[name])]
        return [verb, *words, *map(str, flags)]

    pixels = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 1), np.uint8)
    np.savez(tmp_path / "images.npz", train_images=pixels, test_images=pixels[:10])
    given = ["--data", str(tmp_path / "images.npz")]
    runner.main(FASHION_MNIST, own("pack", str(tmp_path), "--train-images", "32", *given))
    packed = ["--data", str(tmp_path / "own.npz")]
    train = ["--train-steps", "2", "--batch-size", "4", "--precision", "float32", "--mirror"]
    embed = ["--pairs", "64", "--warm-start-steps", "2", "--embedder-steps", "2"]
    embed += ["--embedder-batch-size", "4", "--precision", "float32", "--remat"]
    autoencoder = ["--encoder-steps", "2", "--semantic-dims", "4"]
    prior = ["--hidden", "8", "--depth", "2"]
    commands = [
        own("train", *packed, *train),
        own("train-embedders", "unet", *packed, *embed),
        own("train-autoencoder", *packed, *train, *autoencoder),
        own("train-prior", *packed, "--train-steps", "2", "--batch-size", "4", *prior),
    ]
    code = WITHOUT_TENSORFLOW + (
        "from experiments import runner; from experiments.fashion_mnist import FASHION_MNIST\n"
        f"for words in {commands!r}: runner.main(FASHION_MNIST, words)"
    )
    run_on_jax("-c", code)
    manifest = read_manifest(tmp_path / "weights")
    assert set(manifest) == {
        f"own/{name}" for name in ("autoencoder", "generator", "prior", "unet")
    }
    assert all(entry["errors"] == {} for entry in manifest.values())
    assert manifest["own/unet"]["budget"]["command"].startswith("KERAS_BACKEND=jax python -m")
    runner.main(FASHION_MNIST, own("measure", *packed))
    measured = read_manifest(tmp_path / "weights")
    assert {key: entry["sha256"] for key, entry in measured.items()} == {
        key: entry["sha256"] for key, entry in manifest.items()
    }
    assert measured["own/generator"]["errors"]["test_noise_mae"] > 0
    assert measured["own/unet"]["errors"]["test_images"] == 8
    assert measured["own/prior"]["errors"]["test_vectors_frechet"] > 0
    autoencoder = de.load_autoencoder("own", tmp_path / "weights")
    decoded = autoencoder.predict(autoencoder.encode(pixels[:8] / 255).semantic).numpy()
    found = de.metrics.mse(pixels[:8] / 255, decoded.clip(0, 1)).mean()
    expected = measured["own/autoencoder"]["errors"]["test_one_step_mse"]
    assert expected == pytest.approx(found, rel=1e-4)
    generator = de.load_generator("own", tmp_path / "weights", num_steps=2)
    found = de.embed(generator, pixels[:8] / 255, "unet").mse.mean()
    assert measured["own/unet"]["errors"]["test_mse"] == pytest.approx(found, rel=1e-4)
