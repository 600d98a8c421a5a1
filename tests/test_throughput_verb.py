"""The verb `throughput`: counted operations, turns, its tables and the claim on them."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from conftest import record_autoencoder

import ddim_embed as de
from experiments.autoencoder import claims, cost, sections
from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import main


def test_products_are_counted_by_the_sizes_of_layers():
    inputs = keras.Input((8, 6, 3))
    hidden = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="swish")(inputs)
    outputs = keras.layers.Dense(7)(keras.layers.Flatten()(hidden))
    network = keras.Model(inputs, outputs)
    image = np.zeros((1, 8, 6, 3), np.float32)
    assert cost.count(network, image) == 4 * 3 * 5 * 9 * 3 + 4 * 3 * 5 * 7


def test_a_decoder_multiplies_more_than_its_generator_by_the_modulations():
    sizes = {"widths": (4, 8), "block_depth": 1}
    generator = de.build_generator((16, 16, 1), **sizes)
    autoencoder = de.build_autoencoder((16, 16, 1), semantic_dims=3, **sizes)
    found = cost.multiply_adds(generator, autoencoder, de.build_prior(3, hidden=5, depth=2))
    modulations = autoencoder.generator.network.modulations
    more = sum(int(np.prod(layer.kernel.shape)) for layer in modulations)
    assert found["decoder"] - found["denoiser of DDIM"] == more > 0
    assert 0 < found["prior"] < found["encoder"] < found["decoder"]


def test_pieces_take_turns_after_a_call_that_compiles(monkeypatch):
    calls, now = [], [0.0]

    def piece(name, seconds):
        def call():
            calls.append(name)
            now[0] += seconds if len(calls) > 2 else 100.0  # as if the first ones compiled

        return call

    monkeypatch.setattr(cost.time, "perf_counter", lambda: now[0])
    found = cost.in_turns({"a": piece("a", 0.5), "b": piece("b", 2.0)}, 3, 8)
    assert calls == ["a", "b"] * 4
    assert found["a"] == {"mean": 16, "interval": 0} and found["b"]["mean"] == 4
    assert found["ratio"] == {"mean": 0.25, "interval": 0}


@pytest.mark.parametrize("kind", ["generator", "autoencoder"])
def test_a_training_step_moves_all_weights(kind, monkeypatch):
    sizes = {"widths": (4, 8), "block_depth": 1}
    if kind == "generator":
        model = de.build_generator((8, 8, 1), **sizes)
        model.network.trainable = False  # as those of weights files are
        built = de.DiffusionModel
    else:
        model = de.build_autoencoder((8, 8, 1), semantic_dims=3, encoder_widths=(4, 8), **sizes)
        model.encoder.trainable = model.generator.network.trainable = False
        built = de.AutoencoderModel
    found = []
    monkeypatch.setattr(built, "train_on_batch", lambda self, _: found.append(self.network))
    config = dataclasses.replace(FASHION_MNIST, image_size=8, batch_size=2, precision="float32")
    cost._training(config, model)()
    (network,) = found
    untrained = {variable.name for variable in network.non_trainable_variables}
    assert untrained <= {"moving_mean", "moving_variance"} and network.trainable_variables


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """The results of a smoke run with weights that were not trained."""
    root = tmp_path_factory.mktemp("throughput")
    folder = root / "fashion_mnist-smoke"
    record_autoencoder(folder / "weights")
    main(FASHION_MNIST, ["throughput", "--smoke", "--results", root])
    assert "Table 7" in (folder / "index.html").read_text()
    return json.loads((folder / "throughput.json").read_text())


def test_tables_have_what_is_recorded_beside_the_papers(contents):
    tables = sections.throughput_tables(contents)
    ours = {row[0]: row[1] for row in tables["configuration"].rows}
    assert (ours["image"], ours["decoder, channels"]) == ("16x16", "4, 8")
    assert (ours["semantic vector"], ours["prior, layers"]) == ("3", "-")
    assert [row[0] for row in tables["networks"].rows] == ["denoiser of DDIM", "decoder", "encoder"]
    training, decoding, *paper = tables["throughput"].rows
    assert training[0].startswith("training") and decoding[0].startswith("decoding")
    assert [row[-1] for row in paper] == ["0.80", "0.82"]


def test_budgets_are_those_of_the_records(contents):
    budget = {"batch_size": 4, "loss": "mean_squared_error", "steps": 10}
    records = {
        "generator": {"budget": {"images_seen": 1000}},
        "autoencoder": contents["records"]["autoencoder"]
        | {"budget": budget | {"images_seen": 40, "encoder_steps": 5}},
        "prior": {"config": {"depth": 2, "hidden": 9, "schedule": "constant"}, "budget": budget},
    }
    found = sections._configuration(records)
    assert found["images trained"] == "60, after the generator's 1,000"
    assert (found["prior, width"], found["prior, vectors trained"]) == ("9", "40")


@pytest.mark.parametrize(
    ("mean", "interval", "verdict"),
    [(0.85, 0.01, "reproduced"), (0.78, 0.03, "reproduced"), (0.7, 0.05, "not reproduced")],
)
def test_the_claim_goes_by_the_ratio(contents, mean, interval, verdict):
    training = contents["throughput"]["training"] | {"ratio": {"mean": mean, "interval": interval}}
    changed = contents | {"throughput": {"training": training}}
    (claim,) = claims.throughput_claims("x", changed)
    assert claim.verdict == verdict and f"{mean:.2f}" in claim.ours
    (claim,) = claims.throughput_claims("x", None)
    assert claim.verdict == "not measured" and claim.why.endswith("experiments.x throughput")


def test_one_turn_has_no_interval(capsys):
    with pytest.raises(SystemExit):
        main(dataclasses.replace(FASHION_MNIST), ["throughput", "--rounds", "1"])
    assert "--rounds must be at least 2" in capsys.readouterr().err
