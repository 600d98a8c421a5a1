"""The verb `train-autoencoder`: from a generator, from nothing, further, and after a kill."""

import shutil

import numpy as np
import pytest
from conftest import make_generator
from test_resume import read_arrays, step_of

import ddim_embed as de
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.store.weights import find_weights
from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import main
from experiments.toolkit import sources

NAME, RATE = "fashion_mnist", 1e-3
# What takes time is compiling: as few blocks as there can be.
FLAGS = [
    "--smoke", "--image-size", "8", "--widths", "4", "--semantic-dims", "3", "--images", "4",
    "--batch-size", "4", "--train-steps", "2", "--learning-rate", str(RATE),
    "--precision", "float32", "--checkpoint-seconds", "0",
]  # fmt: skip


def train(root, *flags):
    main(FASHION_MNIST, ["train-autoencoder", *FLAGS, *flags, "--results", root])


def runs(root):
    return root / "fashion_mnist-smoke" / "runs" / NAME


def weights(root):
    return root / "fashion_mnist-smoke" / "weights"


def load(root):
    """The recorded autoencoder, and what its record says was spent."""
    autoencoder = de.load_autoencoder(NAME, weights(root))
    return autoencoder, find_weights(NAME, "autoencoder", weights(root))[1]["budget"]


def record(root, generator):
    """Records a generator, so that none is trained first."""
    config, about = generator_config(generator), {"data": "none", "budget": {}, "errors": {}}
    de.record_weights(weights(root), NAME, "generator", generator, config=config, **about)


def values(path):
    """What a file holds, in its order: Keras counts the layers of a process in their names."""
    return [array for name, array in sorted(read_arrays(path).items()) if name != "history"]


def learned(network):
    """Its kernels and biases. A recorded network is not trainable."""
    return [each for each in network.weights if each.name in ("kernel", "bias")]


def flat(network):
    return np.concatenate([np.ravel(values) for values in network.get_weights()])


@pytest.fixture(scope="module")
def generator():
    return make_generator(image_shape=(8, 8, 1), widths=(4,), num_steps=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, generator):
    """Folders: of a run that nothing stopped, and what a kill in its stages would have left."""
    folders = {
        name: tmp_path_factory.mktemp(name) for name in ("whole", "encoder", "from-generator")
    }
    record(folders["whole"], generator)
    stream, stages = sources.stream, iter(["encoder", "from-generator"])

    def copying(*arguments):
        stage = next(stages)
        for number, batch in enumerate(stream(*arguments)):
            if number == 1:  # a checkpoint of one step lies there now
                shutil.copytree(folders["whole"], folders[stage], dirs_exist_ok=True)
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "stream", copying)
        train(folders["whole"], "--encoder-steps", "2")
    return folders


def test_a_generator_is_the_start(trained, generator):
    autoencoder, budget = load(trained["whole"])
    sha256 = find_weights(NAME, "generator", weights(trained["whole"]))[1]["sha256"]
    assert (budget["steps"], budget["encoder_steps"], budget["generator"]) == (2, 2, sha256)
    assert step_of(runs(trained["whole"]) / "autoencoder-encoder") == 2
    # The encoder went on from where it was alone.
    arrays = read_arrays(runs(trained["whole"]) / "autoencoder-encoder" / "checkpoint.h5")
    alone = [each for name, each in sorted(arrays.items()) if name.endswith("_bias")][-1]
    assert np.abs(autoencoder.encoder.output_dense.bias - alone).max() < 2 * RATE * 1.01
    assert np.abs(alone).max() > 2 * RATE * 1.01
    own, plain = autoencoder.generator, generator.network
    np.testing.assert_array_equal(flat(own.normalizer), flat(generator.normalizer))
    trunk = [each for each in learned(own.network) if "modulation" not in each.path]
    moved = []
    # A step of Adam is of its rate at most, and the trunk's is a fifth of it.
    for found, start in zip(trunk, learned(plain), strict=True):
        change = np.abs(found - start).max()
        if found.name == "bias":
            moved.append(change)
        else:  # recorded in float16
            change -= 2**-10 * np.abs(start).max()
        assert change < 2 * 0.2 * RATE * 1.01
    assert max(moved) > 0.1 * RATE
    assert 0 < max(np.abs(each.bias).max() for each in own.network.modulations) < 2 * RATE * 1.01


def test_the_record_has_the_errors_of_the_vectors(trained):
    autoencoder, _ = load(trained["whole"])
    errors = find_weights(NAME, "autoencoder", weights(trained["whole"]))[1]["errors"]
    pixels, _ = de.load_images(NAME, "test", 8, source="sample", limit=4)
    decoded = autoencoder.predict(autoencoder.encode(pixels)).numpy().clip(0, 1)
    expected = de.metrics.mse(pixels, decoded).mean()
    assert errors["test_one_step_mse"] == pytest.approx(expected, rel=1e-3)  # divided by 0.02
    assert errors["test_images"] == 4


@pytest.mark.parametrize("stage", ["encoder", "from-generator"])
def test_a_killed_run_ends_in_the_same_weights(trained, stage, monkeypatch):
    stream, begun = sources.stream, []
    monkeypatch.setattr(sources, "stream", lambda *given: begun.append(given[2]) or stream(*given))
    folder, expected = runs(trained[stage]), runs(trained["whole"])
    assert step_of(folder / f"autoencoder-{stage}") == 1
    assert (folder / "autoencoder-from-generator").exists() == (stage == "from-generator")
    train(trained[stage], "--encoder-steps", "2")
    assert begun == {"encoder": [1, 0], "from-generator": [1]}[stage]
    for name in ("autoencoder-encoder", "autoencoder-from-generator"):
        assert_same(folder / name / "checkpoint.h5", expected / name / "checkpoint.h5")
    recorded = (trained[each] for each in (stage, "whole"))
    assert_same(*(find_weights(NAME, "autoencoder", weights(root))[0] for root in recorded))


def assert_same(path, other):
    """Bit for bit, as in `test_resume`."""
    for found, expected in zip(values(path), values(other), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_further_begins_with_what_is_recorded(trained, tmp_path):
    """By steps too small for float32, the weights stay what they were."""
    root = shutil.copytree(trained["whole"], tmp_path / "root")
    before, spent = load(root)
    sha256 = find_weights(NAME, "autoencoder", weights(root))[1]["sha256"]
    train(root, "--further", "--learning-rate", "1e-12")
    after, budget = load(root)
    assert budget["before"] | {"generator": budget["generator"]} == spent | {"sha256": sha256}
    assert "encoder_steps" not in budget
    assert step_of(runs(root) / f"autoencoder-from-generator-from-{sha256[:12]}") == 2
    np.testing.assert_allclose(flat(after.encoder), flat(before.encoder), atol=1e-9)
    networks = (each.generator.network for each in (after, before))
    for found, start in zip(*map(learned, networks), strict=True):
        np.testing.assert_allclose(found, start, atol=1e-9)


def test_nothing_is_a_start_too(tmp_path, generator):
    record(tmp_path, generator)
    train(tmp_path, "--start", "nothing", "--encoder-steps", "0")
    autoencoder, budget = load(tmp_path)
    assert isinstance(autoencoder.generator.network, de.AdaptiveUNet)
    assert budget["steps"] == 2 and not {"generator", "encoder_steps"} & {*budget}
    assert [path.name for path in runs(tmp_path).iterdir()] == ["autoencoder-from-nothing"]
    pixels, _ = de.load_images(NAME, "test", 8, source="sample")
    normalizer = autoencoder.generator.normalizer
    np.testing.assert_allclose(normalizer.mean, [pixels.mean()], rtol=1e-4)
    np.testing.assert_allclose(normalizer.variance, [pixels.var()], rtol=1e-4)
