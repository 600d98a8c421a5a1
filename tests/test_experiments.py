"""Every experiment in tiny sizes, the command line, and the contents of reports."""

import csv
import dataclasses
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ddim_embed as de
from ddim_embed import backend, console
from ddim_embed.data import catalogue, loading
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.store.atomic import replacing
from ddim_embed.store.outputs import RECORD, Outputs
from ddim_embed.store.weights import read_manifest
from experiments import features, identity_weights, lpips_weights, model_cards
from experiments.celeba import CELEBA
from experiments.cifar10 import CIFAR10
from experiments.configuration import DATA, METHODS, NETWORKS, Experiment
from experiments.embedding import reporting, training
from experiments.embedding.sections import REPORT
from experiments.fashion_mnist import FASHION_MNIST
from experiments.inversion import comparison
from experiments.mnist import MNIST
from experiments.oxford_flowers import OXFORD_FLOWERS
from experiments.runner import VERBS, main
from experiments.toolkit import command_line, distances, pages, results, runs, sources
from experiments.toolkit.command_line import UsageError
from experiments.toolkit.tables import number

EXPERIMENTS = (MNIST, FASHION_MNIST, CIFAR10, OXFORD_FLOWERS, CELEBA)
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    """The results of several verbs of Fashion-MNIST, with all five networks."""
    root = tmp_path_factory.mktemp("fashion")
    flags = ["--smoke", "--results", root]
    main(FASHION_MNIST, ["train", *flags])
    main(FASHION_MNIST, ["train-embedders", *flags])
    main(FASHION_MNIST, flags)  # no verb: the report
    main(FASHION_MNIST, ["sample", *flags, "--images", "6"])
    main(FASHION_MNIST, ["compare", *flags])
    return root / "fashion_mnist-smoke"


@pytest.fixture
def pictures(tmp_path):
    """Three image files, two of them of one stem, and three that cannot be read."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape in (("cat.png", (40, 30, 3)), ("cat.jpg", (9, 9)), ("more/dog.png", (16, 16))):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / name)
    (folder / "empty.png").touch()
    (folder / "words.png").write_text("no image")
    return [
        folder / name
        for name in ("cat.png", "empty.png", "cat.jpg", "words.png", "more/dog.png", "missing.png")
    ]


def embed(results_folder, files, *flags):
    flags = ["--smoke", "--results", results_folder.parent, *flags]
    main(FASHION_MNIST, ["embed", *files, *flags])


def stopped(capsys, config, arguments):
    """Runs a command line that exits; returns the code and stderr."""
    with pytest.raises(SystemExit) as stop:
        main(config, arguments)
    return stop.value.code, capsys.readouterr().err


# Smoke runs


@pytest.mark.parametrize(
    ("config", "network"),
    [(MNIST, "conv1"), (CELEBA, "unet")],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_verb(config, network, tmp_path, pictures, capsys):
    name, folder = config.name, tmp_path / f"{config.name}-smoke"
    flags = ["--smoke", "--results", tmp_path]
    shown = [*flags, "--shown", "2"]
    with Outputs(folder).replacing("fig03_embedding.png") as figure:
        figure.write_bytes(b"an earlier report's, with another unet")
    main(config, ["train", *flags])
    main(config, ["train-embedders", network, *flags])
    main(config, ["report", *shown])
    main(config, ["compare", network, "ddim_inversion", *shown])
    main(config, ["structure", *shown])
    files = ["index.html"]
    if network == "unet":  # one data set for the verbs that see no more of it than its images
        main(config, ["sample", *shown])
        main(config, ["embed", pictures[0], "--method", network, *flags])
        quick = ["--method", network]  # hybrids are tested in test_editing_verbs
        main(config, ["interpolate", pictures[0], pictures[2], "--frames", "2", *quick, *flags])
        main(config, ["project", *quick, *shown])
        main(config, ["directions", *shown])
        files += [
            "samples.png", "samples.npz", "embed/cat.png", "interpolation.gif",
            "fig05_projection.png", "directions_principal.png",
        ]  # fmt: skip
        with np.load(folder / "samples.npz") as samples:
            assert samples["pixels"].shape[-1] == config.channels

    report = json.loads((folder / "report.json").read_text())
    assert report["dataset"] == name
    assert [row["network"] for row in report["table1"]] == [network]
    assert report["table1"][0]["paper_mse"] == config.paper_mse[network]
    assert all((folder / file).stat().st_size for file in files)
    found = json.loads((folder / "structure.json").read_text())
    assert found["spectrum"]["dimensions"] == 256 * config.channels
    assert (found["canonical"] is None) == (network != "unet")
    # Networks without weights are left out, with the command that trains them.
    output = capsys.readouterr().out
    command = f"python -m experiments.{name} train-embedders conv3_16"
    assert f"{command} --results {tmp_path} --smoke`" in output
    assert (folder / "fig03_embedding.png").exists() == (network == "unet")
    assert (report["table2"]["generated"] is not None) == (network == "unet")
    # Verbs say beforehand what they write, and write nothing else.
    lines = (folder / RECORD).read_text().splitlines()
    sections = [section for verb in VERBS.values() for section in verb.sections]
    named = {name for section in sections for name in (section.file, *section.figures)}
    named |= {name for verb in VERBS.values() for name in verb.writes} | {"index.html"}
    assert {json.loads(line)[0] for line in lines} <= named


@pytest.mark.parametrize("config", [CIFAR10, OXFORD_FLOWERS], ids=lambda config: config.name)
def test_every_experiment_trains_for_smoke_in_its_own_folder(config, tmp_path):
    main(config, ["sample", "--smoke", "--results", tmp_path, "--images", "3"])
    (folder,) = tmp_path.iterdir()
    assert folder.name == f"{config.name}-smoke"
    with np.load(folder / "samples.npz") as samples:
        assert samples["pixels"].shape == (3, 16, 16, config.channels)
        assert len(samples["latents"]) == 3


def parsed(config, arguments):
    """The verb that a command line asks for."""
    return command_line.parse_verb(config, VERBS, [str(word) for word in arguments])


def test_flags_override_the_sizes_of_a_smoke_run(tmp_path):
    arguments = ["train", "--smoke", "--widths", "8", "8", "--results", str(tmp_path)]
    config = parsed(CELEBA, arguments).config

    tiny = dataclasses.replace(CELEBA, results=tmp_path).shrink()
    assert config == dataclasses.replace(tiny, widths=(8, 8))


def test_flags_with_the_value_of_a_default_are_not_replaced():
    """A smoke run, a verb or other data has other defaults; flags that are given count."""
    flags = ["--smoke", "--num-steps=10", "--images", "400", "--no-mirror"]  # a smoke run trains
    config = parsed(CELEBA, ["compare", *flags]).config
    assert (config.num_steps, config.images, config.mirror) == (10, 400, False)
    assert (config.image_size, config.smoke) == (16, True)
    verb = parsed(CELEBA, ["structure", "--smoke", "--members", "2000", "--at_a_time", "25"])
    assert (verb.members, verb.at_a_time, verb.iterations) == (2000, 25, 2)
    assert parsed(CELEBA, ["compare"]).config.images == 200
    assert parsed(CELEBA, ["compare", "--images", "400"]).config.images == 400
    assert parsed(CELEBA, ["compare", "unet", "edict"]).methods == ("unet", "edict")
    assert parsed(CELEBA, ["pack", "there", "--smoke"]).folder == Path("there")
    assert parsed(FASHION_MNIST, ["train", "--mirror"]).config.mirror


def test_a_smoke_run_uses_subfolders_of_the_named_folders(tmp_path):
    arguments = ["train", "--smoke", "--weights", tmp_path / "w", "--runs", tmp_path / "r"]
    config = parsed(FASHION_MNIST, arguments).config
    assert config.weights == tmp_path / "w" / "smoke" and config.runs == tmp_path / "r" / "smoke"


# Data of a user


def test_other_data_have_other_defaults(tmp_path):
    config = parsed(FASHION_MNIST, ["--data", tmp_path, "--name", "cats"]).config
    assert (config.report_source, config.padding, config.paper_mse) == (None, 0, {})
    assert parsed(CELEBA, ["train", "--data", tmp_path, "--name", "cats"]).config.batch_size == 16
    assert parsed(CELEBA, ["train", "--name", "cats"]).config.widths == CELEBA.widths
    # A source that is given is that of a report, too.
    assert parsed(FASHION_MNIST, ["--source", "tfds"]).config.report_source is None
    assert config.run_folder == Path("runs") / "cats"
    flags = ["--data", str(tmp_path), "--report-source", "folder"]
    assert parsed(FASHION_MNIST, [*flags, "--name", "cats"]).config.report_source == "folder"
    flags = ["--data", str(tmp_path), "--padding", "1", "--name", "cats"]
    assert parsed(FASHION_MNIST, ["train", *flags]).config.padding == 1
    # CelebA in its official layout has a path, and is CelebA still.
    config = parsed(CELEBA, ["--data", tmp_path]).config
    assert config.paper_mse == CELEBA.paper_mse and config.name == "celeba"


@pytest.fixture
def own(tmp_path):
    """The words of a verb, with its flags for a folder of 16x16 images and small networks."""
    folder = tmp_path / "own"
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        (folder / split).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(
                folder / split / f"{i}.png"
            )
    values = {
        "data": [folder], "name": ["own"], "image_size": [16], "widths": [4, 8], "block_depth": [1],
        "num_steps": [2], "batch_size": [4], "embedder_batch_size": [2], "images": [8],
        "weights": [tmp_path / "weights"], "runs": [tmp_path / "runs"],
        "results": [tmp_path / "results"],
    }  # fmt: skip

    def words(verb, *flags):
        used = {name: values[name] for name in values if name in VERBS[verb].uses}
        own = [word for name in used for word in (console.flag(name), *used[name])]
        return [verb, *own, *flags]

    return words


def test_a_share_of_each_batch_is_generated(own, tmp_path):
    main(MNIST, own("train", "--train-steps", "1"))
    config = parsed(MNIST, own("train-embedders", "--pairs", "32")).config
    generator = sources.load_generator(config)
    for share, size, count in ((0.0, 4, 0), (0.25, 4, 1), (0.5, 6, 3)):
        config = dataclasses.replace(config, generated=share, embedder_batch_size=size)
        batches = training._batches(config, generator, (0, 1))(5)
        real = sources.stream(config, size - count, 5)
        pixels = training._pairs(config, generator).batches(max(count, 1), 5)
        for _, batch, known, (made, _) in zip(range(3), batches, real, pixels, strict=False):
            np.testing.assert_array_equal(batch[: size - count], known)
            np.testing.assert_array_equal(batch[size - count :], made[:count])


def test_own_data_from_training_to_the_report(own, tmp_path, capsys):
    main(MNIST, own("train", "--train-steps", "3"))
    embedders = own("train-embedders", "conv1")
    pairs = ["--pairs", "32", "--warm-start-steps", "2", "--embedder-steps", "2"]
    main(MNIST, [*embedders, *pairs])
    main(MNIST, own("report"))
    report = json.loads((tmp_path / "results" / "own" / "report.json").read_text())
    assert report["images"] == 3 and report["table1"][0]["paper_mse"] is None
    denoiser = report["denoiser"]
    assert [level["signal"] for level in denoiser["levels"]] == pytest.approx(
        [0.02, 0.602], abs=0.01
    )
    html = (tmp_path / "results" / "own" / "index.html").read_text()
    assert f"That of the mean image is {number(denoiser['mean_image'], 4)}" in html
    manifest = read_manifest(tmp_path / "weights")
    assert manifest["own/generator"]["errors"]["test_images"] == 3
    assert manifest["own/conv1"]["budget"]["generator"] == manifest["own/generator"]["sha256"]
    # A run does not resume from one with another loss.
    squared = [*embedders, *pairs, "--embedder-loss", "mean_squared_error"]
    code, words = stopped(capsys, MNIST, squared)
    assert code == 2 and "is of another run" in words and "mean_squared_error" in words
    # A longer run is recorded with its own number of steps.
    main(MNIST, own("train", "--train-steps", "2"))
    manifest = read_manifest(tmp_path / "weights")
    assert manifest["own/generator"]["budget"]["steps"] == 3
    # A run from recorded weights records their budget; with a tiny learning rate they stay.
    flags = ["--further", "--train-steps", "1", "--learning-rate", "1e-30"]
    still = ["--further", "--embedder-steps", "1", "--embedder-learning-rate", "1e-30"]
    main(MNIST, own("train", *flags))
    main(MNIST, [*embedders, *still])
    further = read_manifest(tmp_path / "weights")
    for name, steps in (("own/generator", 3), ("own/conv1", 2)):
        budget = further[name]["budget"]
        assert budget["steps"] == 1 and budget["before"]["steps"] == steps
        assert budget["before"]["sha256"] == manifest[name]["sha256"]
        assert further[name]["errors"] == pytest.approx(manifest[name]["errors"], rel=1e-3)
    assert "3 x 4, " in model_cards.cards(further)
    # So does one with generated images, which is a run of its own.
    main(MNIST, [*embedders, *still, "--generated", "0.5", "--pairs", "32"])
    mixed = read_manifest(tmp_path / "weights")
    assert mixed["own/conv1"]["budget"]["generated"] == 0.5
    assert mixed["own/conv1"]["budget"]["pairs"] == 32
    assert "1 x 2 (50% generated), " in model_cards.cards(mixed)
    # The squared error of the same weights is another number.
    main(MNIST, own("train", *flags, "--seed", "5", "--loss", "mean_squared_error"))
    squared = read_manifest(tmp_path / "weights")["own/generator"]
    assert squared["budget"]["loss"] == "mean_squared_error"
    absolute = further["own/generator"]["errors"]["test_noise_mae"]
    assert squared["errors"]["test_noise_mse"] > absolute**2  # by Jensen
    assert squared["errors"]["test_noise_mse"] != pytest.approx(absolute, rel=0.05)
    # Training of the velocity can start from weights that predict the noise.
    main(MNIST, own("train", *flags, "--prediction", "velocity"))
    velocity = read_manifest(tmp_path / "weights")["own/generator"]
    assert velocity["config"]["prediction"] == velocity["budget"]["prediction"] == "velocity"
    assert velocity["budget"]["before"]["prediction"] == "noise"
    assert velocity["errors"]["test_velocity_mae"] > 0
    assert de.load_generator("own", tmp_path / "weights").prediction == "velocity"
    # A run does not resume from one with other data, another prediction or another loss.
    others = (
        ["--seed", "1"],
        ["--mirror"],
        ["--prediction", "velocity"],
        ["--loss", "mean_squared_error"],
    )
    for flags in others:
        code, words = stopped(capsys, MNIST, own("train", *flags))
        assert code == 2 and "is of another run" in words
    scratch = ["--pairs", "0", "--embedder-steps", "3"]
    code, words = stopped(capsys, MNIST, [*embedders, *scratch])
    assert code == 2 and "from scratch" in words


def test_test_images_are_loaded_before_training(own, tmp_path, capsys):
    shutil.rmtree(tmp_path / "own" / "test")
    code, words = stopped(capsys, MNIST, own("train", "--train-steps", "3"))
    assert code == 2 and "`split` must be one of ('train',)" in words
    assert not (tmp_path / "runs" / "own" / "generator").exists()


def test_file_errors_take_one_line(own, tmp_path, capsys):
    main(MNIST, own("train", "--train-steps", "1"))
    taken = tmp_path / "taken"
    taken.touch()
    code, words = stopped(capsys, MNIST, own("sample", "--results", taken))
    assert code == 1 and re.search(r"^error: .*taken", words.splitlines()[-1])
    wild = ["--train-steps", "60", "--learning-rate", "1e30"]
    code, words = stopped(capsys, MNIST, own("train", *wild))
    assert code == 1 and "A lower learning rate may help" in words.splitlines()[-1]
    weights = tmp_path / "weights" / "own" / "generator.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1])
    code, words = stopped(capsys, MNIST, own("sample"))
    assert code == 1 and re.search(r"^error: The checksum", words.splitlines()[-1])


@pytest.mark.parametrize("side, size, padding", [(28, 32, 2), (28, 32, 0), (16, 16, 2)])
def test_packed_images_load_as_those_of_the_source(side, size, padding, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, side, side, 1)).astype(np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(5))
    flags = ["--data", tmp_path / "own.npz", "--image-size", size, "--padding", padding]
    main(FASHION_MNIST, ["pack", tmp_path, "--name", "packed", *flags, "--train-images", "3"])
    for split, count in (("train", 3), ("test", 5)):
        pixels, labels = de.load_images(tmp_path / "packed.npz", split, image_size=size)
        expected = de.load_images(tmp_path / "own.npz", split, image_size=size, limit=count)[0]
        np.testing.assert_allclose(pixels, expected, atol=1e-6)
        np.testing.assert_array_equal(labels, np.arange(count))


def test_tensor_float_32_is_disabled(fashion):
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


# The report


def test_report_has_the_documented_schema(fashion):
    report = json.loads((fashion / "report.json").read_text())

    assert set(report) == {
        "dataset", "images", "table1", "table2", "no_embeddings", "denoiser", "frechet", "config",
        "versions", "seed", "commit", "command",
    }  # fmt: skip
    assert report["dataset"] == "fashion_mnist"
    assert report["images"] == 8
    assert report["seed"] == 0
    assert [row["network"] for row in report["table1"]] == list(NETWORKS)
    for row in report["table1"]:
        assert set(row) == {
            "network", "parameters", "mse", "mse_interval", "paper_mse", "psnr", "ssim",
            "seconds_per_image",
        }  # fmt: skip
        assert row["paper_mse"] == FASHION_MNIST.paper_mse[row["network"]]
        assert row["seconds_per_image"] > 0
        assert 0 < row["mse_interval"] < 1.96 * row["mse"]
    assert set(report["table2"]) == {
        "dataset", "generated", "dataset_interval", "generated_interval", "bands",
    }  # fmt: skip
    for name, bands in report["table2"]["bands"].items():
        assert sum(bands) == pytest.approx(report["table2"][name], rel=1e-5)  # float32
    assert set(report["no_embeddings"]) == {"x", "faint", "noisy"}
    assert set(report["denoiser"]) == {"levels", "mean_image"}
    levels = report["denoiser"]["levels"]
    assert [set(level) for level in levels] == [{"signal", "mse", "mse_interval"}] * 2
    assert set(report["config"]) == {field.name for field in dataclasses.fields(Experiment)}
    assert set(report["versions"]) == {"python", "tensorflow", "keras", "numpy", "ddim_embed"}


def test_earlier_reports_have_no_intervals(fashion, tmp_path, capsys):
    report = json.loads((fashion / "report.json").read_text())
    for level in report["denoiser"]["levels"]:
        level["mse_interval"] = 0.125
    measured = {"images": 40, "data": 1.5, "generated": 2.5, "reconstructed": {"unet": 3.5}}
    intervals = {"data_interval": 0.25, "generated_interval": None}
    intervals |= {"reconstructed_interval": {"unet": 0.75}}
    for frechet, shown in (
        (measured | intervals, ("1.500 \u00b1 0.250", "2.500", "3.500 \u00b1 0.750", "jackknife")),
        (measured, ("1.500", "2.500", "3.500", "Without intervals")),
    ):
        pages.save_json(Outputs(tmp_path), "report.json", report | {"frechet": frechet})
        pages.write_results(Outputs(tmp_path), [REPORT])
        text = (tmp_path / "index.html").read_text()
        for words in shown[:3]:
            assert f"<td>{words}</td>" in text
        assert shown[3] in text
        assert ("\u00b1 0.1250</td>" in text) == (frechet is not measured)
        for level in report["denoiser"]["levels"]:
            level.pop("mse_interval", None)
    assert "Left out" not in capsys.readouterr().err


def test_numbers_of_a_report_equal_a_direct_computation(fashion):
    report = json.loads((fashion / "report.json").read_text())
    weights = fashion / "weights"
    generator = de.load_generator("fashion_mnist", weights, num_steps=2)
    pixels, _ = de.load_images("fashion_mnist", "test", 16, source="sample", limit=8)
    mean, std = generator.normalizer.mean, np.sqrt(generator.normalizer.variance)
    # Another stream than that of the pairs of the warm start.
    latents = generator.latents(8, 0, stream=reporting._TABLE2)
    generated = np.clip(generator.decode(latents), 0, 1)
    assert np.abs(generator.latents(8, 0) - latents).max() > 1

    def error(images, embedder):
        latents = embedder((images - mean) / std)
        decoded = np.clip(generator.decode(latents), 0, 1)
        return np.mean((decoded.astype(np.float64) - images) ** 2)

    errors = de.denoising_errors(generator, pixels)
    for level, each in zip(report["denoiser"]["levels"], errors.each, strict=True):
        np.testing.assert_allclose(level["mse"], each.mean(), rtol=1e-4)
        half_width = 1.96 * each.std(ddof=1) / 8**0.5
        np.testing.assert_allclose(level["mse_interval"], half_width, rtol=1e-3)
    np.testing.assert_allclose(
        report["no_embeddings"]["x"], error(pixels, lambda images: images), rtol=1e-4
    )
    for row in report["table1"]:
        embedder = de.load_embedder("fashion_mnist", row["network"], weights)
        # float32: other batches, other orders of summation.
        np.testing.assert_allclose(row["mse"], error(pixels, embedder), rtol=1e-4)
        assert row["parameters"] == sum(w.size for w in embedder.get_weights())
    unet = de.load_embedder("fashion_mnist", "unet", weights)
    np.testing.assert_allclose(report["table2"]["dataset"], report["table1"][-1]["mse"])
    np.testing.assert_allclose(report["table2"]["generated"], error(generated, unet), rtol=1e-4)


def test_errors_are_split_by_frequency():
    constant, checked = np.ones((2, 16, 8, 3)), np.indices((16, 8)).sum(axis=0) % 2 - 0.5
    assert reporting.by_frequency(0.1 * constant) == pytest.approx([0.01, 0, 0, 0])
    *coarse, texture = reporting.by_frequency(checked[None, :, :, None])
    assert texture == pytest.approx(0.25, rel=0.05) and sum(coarse) < 0.01
    # Two half periods along 16 rows: a frequency of an eighth, the border of the first two bands.
    wave = np.cos(np.pi * 2 * (np.arange(16) + 0.5) / 16)[None, :, None, None] * constant
    assert reporting.by_frequency(wave) == pytest.approx([0, 0.5, 0, 0])
    noise = np.random.default_rng(0).normal(size=(3, 8, 8, 2))
    assert sum(reporting.by_frequency(noise)) == pytest.approx(np.mean(noise**2))


def test_frechet_distances_separate_generated_images_from_data():
    pixels, _ = de.load_images("fashion_mnist", "test", source="sample", limit=400)
    noise = np.random.default_rng(0).uniform(size=(200, *pixels.shape[1:])).astype(np.float32)
    embedding = SimpleNamespace(reconstruction=pixels + 1e-4)

    found = reporting.frechet_distances(FASHION_MNIST, pixels, noise, {"unet": embedding})

    features = de.load_feature_classifier("fashion_mnist").features(pixels)
    assert found["images"] == 200
    assert found["data"] == pytest.approx(de.frechet_distance(features[:200], features[200:]))
    assert 0 <= found["reconstructed"]["unet"] < 0.1 < found["data"] < found["generated"] / 2
    expected = distances.frechet(features[:200], features[200:])
    assert found["data_interval"] == pytest.approx(expected["interval"], rel=1e-3)
    assert 0 < found["generated_interval"] < found["generated"] / 2
    assert found["reconstructed_interval"]["unet"] < 0.01
    assert reporting.frechet_distances(FASHION_MNIST, pixels[:3], noise, {}) is None
    assert reporting.frechet_distances(CELEBA, pixels, noise, {}) is None


# The comparison


def test_comparison_has_every_method(fashion):
    contents = json.loads((fashion / "compare.json").read_text())

    assert [row["name"] for row in contents["methods"]] == list(comparison.COMPARED)
    assert contents["images"] == 8 and contents["command"].startswith("python -m experiments.")
    pixels, _ = de.load_images("fashion_mnist", "test", 16, source="sample", limit=8)
    generator = de.load_generator("fashion_mnist", fashion / "weights", num_steps=2)
    rows = {row["name"]: row for row in contents["methods"]}
    for name, method in (
        ("conv3_16", "conv3_16"),
        ("ddim_inversion", "ddim_inversion"),
        ("unet, lbfgs", de.Hybrid("unet", de.LBFGS(num_steps=2))),
        ("edict", "edict"),
    ):
        result = de.embed(generator, pixels, method)
        # float32, amplified by what is iterated.
        np.testing.assert_allclose(rows[name]["mse"], result.mse.mean(), rtol=1e-2, atol=1e-9)
        assert rows[name]["evaluations"] == result.evaluations.mean()
        assert (rows[name]["single_mse"] is None) == (result.single_mse is None)
        if result.trace is None:
            assert rows[name]["trace"] is None
        else:
            assert rows[name]["trace"]["evaluations"][-1] == result.evaluations.mean()
    controls = contents["controls"]
    found = {words: value for words, value in controls.items() if "DDPM" in words}
    assert len(controls) == 7 and len(found) == 1 and min(found.values()) > 1e-4
    assert set(contents["residuals"]) == {"predicted_image", "transfer"}
    for steps in contents["residuals"].values():
        assert [step["time"] for step in steps] == [0.5, 1.0]
        for step in steps:
            assert np.all(np.diff(step["median"]) <= 0) and 0 <= step["solved"] <= 1
            assert step["median"][-1] < step["median"][0]
    for name in ("compare.png", "fig18_refined.png", "compare_residuals.png"):
        assert (fashion / name).read_bytes().startswith(b"\x89PNG")
    # For a network that is almost the identity both inversions work, the implicit one better.
    roots = [value for words, value in controls.items() if "root mean square" in words]
    assert roots[0] < 1e-4 < roots[1]


def test_comparison_resumes_after_a_kill(fashion, capsys):
    """Cached results are not computed again, unless something that they depend on changes."""
    flags = ["--smoke", "--results", fashion.parent]
    kept = sorted((fashion / "runs" / "fashion_mnist" / "compare").rglob("*.npz"))
    assert len(kept) == len(comparison.COMPARED)
    before = {path: path.stat().st_mtime_ns for path in kept}
    report = json.loads((fashion / "compare.json").read_text())
    kept[0].unlink()
    main(FASHION_MNIST, ["compare", *flags])
    again = json.loads((fashion / "compare.json").read_text())
    changed = {path for path in kept if path.stat().st_mtime_ns != before[path]}
    assert changed == {kept[0]}
    for old, new in zip(report["methods"], again["methods"], strict=True):
        np.testing.assert_allclose(new["mse"], old["mse"], rtol=1e-2, atol=1e-9)
    main(FASHION_MNIST, ["compare", "conv1", "--seed", "1", *flags])
    changed = {path.parent.name for path in kept if path.stat().st_mtime_ns != before[path]}
    assert changed == {kept[0].parent.name, "conv1"}
    main(FASHION_MNIST, ["compare", *flags])
    assert "unet, lbfgs" in capsys.readouterr().out


def test_comparison_lists_its_methods_for_an_unknown_one(capsys):
    code, error = stopped(capsys, FASHION_MNIST, ["compare", "vae"])
    assert code == 2 and "vae" in error and "unet, lbfgs" in error


def test_latents_of_samples_decode_to_their_pixels(fashion):
    generator = de.load_generator("fashion_mnist", fashion / "weights", num_steps=2)
    with np.load(fashion / "samples.npz") as samples:
        latents, pixels = samples["latents"], samples["pixels"]

    np.testing.assert_array_equal(latents, generator.latents(6, seed=0))
    made = json.loads((fashion / "samples.json").read_text())
    assert made["seed"] == 0 and made["config"]["num_steps"] == 2
    assert made["command"].startswith("python -m experiments.fashion_mnist sample --smoke")
    # float32, two steps; other batches, other orders of summation.
    np.testing.assert_allclose(pixels, np.clip(generator.decode(latents), 0, 1), atol=1e-5)


def test_page_shows_every_figure_and_needs_no_network(fashion):
    text = (fashion / "index.html").read_text()

    assert set(re.findall(r'src="([^"]+)"', text)) == {path.name for path in fashion.glob("*.png")}
    for figure in ("fig01", "fig02", "fig03", "fig15", "fig16", "fig17", "samples"):
        assert len([*fashion.glob(f"{figure}*.png")]) == 1
    for link in re.findall(r'(?:src|href)="?([^">#][^">]*)', text):
        assert (fashion / link).is_file()
    anchors = re.findall(r'href="#([^"]+)"', text)
    assert anchors == re.findall(r'<h2 id="([^"]+)"', text) and len({*anchors}) == len(anchors) > 7
    assert len(re.findall(r'<img\s+src="[^"]+" alt="[^"]+"', text)) == text.count("<img")
    # Table 2 has intervals, as Table 1 has.
    assert len(re.findall(r"<td>0\.\d+ ± [^<]+</td>", text)) >= len(NETWORKS) + 2
    assert "://" not in text
    assert "python -m experiments.fashion_mnist --smoke" in text
    for network in NETWORKS:
        assert f"<td>{network}</td>" in text


def test_page_escapes_text_and_shows_unknown_results(fashion, tmp_path):
    report = json.loads((fashion / "report.json").read_text())
    report |= {"dataset": "<b>x</b>", "command": "<i>"}
    (tmp_path / "report.json").write_text(json.dumps(report))
    (tmp_path / "later.json").write_text('"<script>"')
    Image.new("L", (8, 8)).save(tmp_path / 'a"&b.png')

    sections = [section for verb in VERBS.values() for section in verb.sections]
    pages.write_results(Outputs(tmp_path), sections)
    text = (tmp_path / "index.html").read_text()

    assert "<b>x" not in text and "<script>" not in text and "<i>" not in text
    assert 'src="a&#34;&amp;b.png"' in text
    assert "later.json" in text


def test_results_are_written_atomically(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError

    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    assert path.read_text() == "old"


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_ROOT", tmp_path)
    assert results.commit() is None


# Image files of a user


def test_embed_skips_unreadable_files(fashion, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    embed(fashion, pictures, "--method", "conv1", "--out", out)

    with np.load(out / "latents.npz") as found:
        latents, files = found["latents"], found["files"]
    kept = [pictures[0], pictures[2], pictures[4]]
    assert files.tolist() == [str(path) for path in kept]
    generator = de.load_generator("fashion_mnist", fashion / "weights", num_steps=2)
    decoded = np.clip(generator.decode(latents), 0, 1)
    names = ("cat.png", "cat-2.png", "dog.png")
    for name, image in zip(names, decoded, strict=True):
        saved = np.asarray(Image.open(out / name)) / 255
        np.testing.assert_allclose(saved, image.squeeze(-1), atol=0.6 / 255)  # rounded to 8 bits

    with open(out / "errors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows if row["error"]] == [str(pictures[i]) for i in (1, 3, 5)]
    assert [row["reconstruction"] for row in rows if not row["error"]] == list(names)
    pixels, _, _ = de.read_image_files(kept, generator.image_shape)
    expected = de.metrics.mse(pixels, decoded)
    found = [float(row["mse"]) for row in rows if not row["error"]]
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # float32
    assert capsys.readouterr().err.count("Skipped") == 3
    made = json.loads((out / "embed.json").read_text())
    assert made["method"] == "conv1" and made["seed"] == 0 and "commit" in made


def test_embed_does_not_overwrite_its_input(fashion, pictures):
    before = pictures[0].read_bytes()
    embed(fashion, pictures[:1], "--out", pictures[0].parent)

    assert pictures[0].read_bytes() == before
    assert (pictures[0].parent / "cat-2.png").exists()


def test_embed_pads_as_the_generator(fashion, pictures, tmp_path):
    weights, out = tmp_path / "weights", tmp_path / "out"
    generator = de.build_generator((32, 32, 1), widths=(8, 16), block_depth=1, padding=2)
    config, notes = generator_config(generator), {"data": "", "budget": {}, "errors": {}}
    de.record_weights(weights, "fashion_mnist", "generator", generator, config=config, **notes)
    embedder = de.build_embedder("conv1", channels=1)
    sizes = {"channels": 1, "widths": [8, 16], "block_depth": 1}
    de.record_weights(weights, "fashion_mnist", "conv1", embedder, config=sizes, **notes)

    flags = ["--method", "conv1", "--weights", weights, "--num-steps", "2", "--out", out]
    main(FASHION_MNIST, ["embed", pictures[0], *flags])

    assert Image.open(out / "cat.png").size == (28, 28)
    with np.load(out / "latents.npz") as found:
        assert found["latents"].shape == (1, 32, 32, 1)


def test_embed_writes_both_latents_of_a_pair(fashion, pictures, tmp_path):
    """The error is that of the pair; that of the latents alone is in another column."""
    embed(fashion, pictures[:1], "--method", "edict", "--out", tmp_path)

    generator = de.load_generator("fashion_mnist", fashion / "weights", num_steps=2)
    pixels, _, _ = de.read_image_files(pictures[:1], generator.image_shape)
    expected = de.embed(generator, pixels, "edict")
    with np.load(tmp_path / "latents.npz") as found:
        np.testing.assert_allclose(found["partner"], expected.partner, atol=1e-4)
        alone = de.metrics.mse(pixels, generator.decode(found["latents"]))
    with open(tmp_path / "errors.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["single_mse"]) == pytest.approx(float(alone[0]), rel=1e-2)
    assert 100 * float(row["mse"]) < float(row["single_mse"])


def test_embed_depends_on_the_seed(fashion, pictures, tmp_path):
    def latents(seed):
        out = tmp_path / seed
        embed(fashion, pictures[:1], "--method", "lbfgs", "--seed", seed, "--out", out)
        with np.load(out / "latents.npz") as found:
            return found["latents"]

    assert np.abs(latents("5") - latents("0")).max() > 0.1


def test_embed_without_a_readable_file_fails(fashion, pictures, capsys):
    flags = ["--smoke", "--results", fashion.parent]
    code, words = stopped(capsys, FASHION_MNIST, ["embed", pictures[1], *flags])
    assert code == 1
    assert words.splitlines()[-1] == "error: None of the 1 files can be read as an image."


# The command line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], ["Did you mean train?", "report", "train-embedders", "sample", "embed"]),
        (["--imagse", "3"], ["no flag --imagse", "Did you mean --images?"]),
        (["train", "--no-mirrr"], ["no flag --no-mirrr", "Did you mean --mirror?"]),
        (["sample", "--channels", "3"], ["--channels does nothing for `sample`"]),
        (["report", "--widths=8"], ["--widths does nothing for `report`"]),
        (["train", "--results", "x"], ["--results does nothing for `train`"]),
        (["interpolate", "a", "b", "--ways", "3"], ["--ways does nothing with files"]),
        (["project", "a", "--data", "mnist"], ["--data does nothing with files"]),
        (
            ["train-embedders", "--further", "--pairs", "64"],
            ["--pairs does nothing with --further"],
        ),
        (["train-embedders", "--pairs", "0", "--warm-start-steps", "1"], ["with --pairs 0"]),
        (["train-embedders", "--pairs", "0", "--generated", ".5"], ["be 0 with --pairs 0", "0.5"]),
        (["train-embedders", "--generated", "0.97"], ["less than a whole batch of 16", "0.97"]),
        (["train-embedders", "--generated", "-0.1"], ["--generated must be at least 0", "-0.1"]),
        (["embed", "a.png", "--out", ""], ["--out must not be empty"]),
        (["--data", ""], ["--data must not be empty"]),
        (["structure", "--tolerance", "inf"], ["--tolerance must be a finite number", "inf"]),
        (["structure", "--tolerance", "nan"], ["--tolerance must be a finite number", "nan"]),
        (["directions", "--length", "inf"], ["--length must be a finite number"]),
        (["train", "--checkpoint-seconds", "inf"], ["--checkpoint-seconds must be a finite"]),
        (["--shown", "101"], ["--shown must be at most 100"]),
        (["train", "--precision", "float16"], ["auto", "float32", "bfloat16"]),
        (["--source", "web"], ["tfds", "npz", "celeba"]),
        (["--images", "many"], ["--images", "many"]),
        (["--images", "-4"], ["--images must be positive", "-4"]),
        (["train", "--learning-rate", "nan"], ["--learning-rate must be a finite", "nan"]),
        (["train", "--learning-rate", "0"], ["--learning-rate must be positive", "0"]),
        (["--seed", "-1"], ["--seed must be at least 0"]),
        (["--seed", "4294967296"], ["--seed must be less than 4294967296"]),
        (["--name", "../x"], ["--name must be of letters", "../x"]),
        (["interpolate", "--method", "bdia"], ["single latents", "bdia"]),
        (["--image-size", "64"], ["--image-size", "makes images of 32x32x1", "64x64x1"]),
        (["--channels", "2"], ["1 or 3"]),
        (["--image-size", "30"], ["multiple of 8"]),
        (["train", "--padding", "16"], ["--padding must be less than half"]),
        (["train", "--widths"], ["--widths"]),
        (
            ["train-embedders", "--pairs", "3"],
            ["--pairs must be 0, or at least --warm-start-batch-size 32"],
        ),
        (["--data", "no/such/folder"], ["mnist", "oxford_flowers102", "folder of images"]),
        (["train-embedders", "conv9"], [*NETWORKS, "conv9"]),
        (["embed"], ["at least one image", "FILES"]),
        (["embed", "x.png", "--method", "magic"], [*NETWORKS, "magic"]),
        (["train", "--source", "sample", "--data", "cifar10"], ["fashion_mnist", "sample"]),
    ],
)
def test_errors_list_what_is_expected(arguments, expected, capsys):
    code, words = stopped(capsys, FASHION_MNIST, arguments)

    assert code == 2 and len(words.splitlines()) == 1
    for word in expected:
        assert word in words


def test_help_explains_every_flag(capsys):
    for verb in VERBS:
        with pytest.raises(SystemExit) as stop:
            main(FASHION_MNIST, [verb, "--help"])
        assert stop.value.code == 0
    fields = {field.name for field in dataclasses.fields(Experiment)}
    explained = set(re.findall(r"^        (\w+): \S", Experiment.__doc__, re.M))
    assert explained == fields
    words = capsys.readouterr().out
    assert "--paper" not in words


def test_the_card_of_weights_without_errors_says_so():
    budget = {"steps": 2, "batch_size": 3, "seconds": 1}
    entry = {"parameters": 7, "size": 1000, "budget": budget, "data": "own", "errors": {}}
    measured = entry | {"errors": {"test_mse": 0.5, "test_images": 2000}}
    *_, row, other = model_cards.cards({"own/conv1": entry, "own/unet": measured}).splitlines()
    assert row == "| `conv1` | 7 | 1 | 2 x 3, 1 s | own | not measured |"
    assert other == "| `unet` | 7 | 1 | 2 x 3, 1 s | own | test mse 0.5 (2,000 images) |"


def test_the_card_says_each_command_and_note_once():
    run = {"command": "python -m experiments.own train", "notes": "On two cores."}
    before = {"steps": 10, "batch_size": 4, "seconds": 3}
    budget = {"steps": 2, "batch_size": 3, "seconds": 1, "before": before, **run}
    entry = {"parameters": 7, "size": 1000, "budget": budget, "data": "own", "errors": {}}
    text = model_cards.cards({"mnist/generator": entry, "mnist/unet": entry})
    assert text.count(run["command"]) == text.count(run["notes"]) == 1
    assert f"    {run['command']}    # generator, unet\n" in text
    assert "- `generator`, `unet`: On two cores." in text
    for words in ("**Intended use.**", "**Terms.**", "**Known faults.**"):
        assert text.count(words) == 1
    text = model_cards.cards({"fashion_mnist/generator": entry})
    assert "The generator saw 46 images" in text  # of both runs


def test_the_card_of_directions_and_of_kinds_that_are_new():
    entry = {"parameters": 7, "size": 2000, "budget": {}, "errors": {"judged": None, "by": [1, 2]}}
    strange = entry | {"data": {"with_it": 3, "without": [4, 5]}, "config": {}}
    direction = entry | {"data": "a|b", "config": {"strength": 0.7}, "errors": {"judged": 0.951234}}
    direction["budget"] = {"images": 30}
    text = model_cards.cards({"own/direction_Smiling": direction, "own/strange": strange})
    rows = text.splitlines()
    values = "not trained here | with it 3, without 4, 5 | judged -, by 1, 2"
    assert f"| `strange` | 7 | 2 | {values} |" in rows
    assert r"| `Smiling` | 0.7 | 2 | a\|b: 30 images | judged 0.951 |" in rows


def test_model_cards_replace_no_file_of_a_user(tmp_path, capsys):
    de.record_weights(
        tmp_path, "own", "conv1", de.build_embedder("conv1", 1), config={"channels": 1}, data="",
        budget={}, errors={},
    )  # fmt: skip
    (tmp_path / "README.md").write_text("# Model cards of mine\n")
    with pytest.raises(SystemExit) as stop:
        model_cards.main([tmp_path])
    error = capsys.readouterr().err
    assert stop.value.code == 1 and "is not replaced" in error and len(error.splitlines()) == 1
    assert (tmp_path / "README.md").read_text() == "# Model cards of mine\n"
    (tmp_path / "README.md").unlink()
    for _ in range(2):  # its own is replaced
        model_cards.main([tmp_path])
    assert "| `conv1` | 26 |" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("main", "arguments", "code", "expected"),
    [
        (model_cards.main, ["nowhere"], 2, "must be a folder of weights. Received: nowhere"),
        (model_cards.main, ["--al"], 2, "has no flag --al"),
        (lpips_weights.main, ["none.npz", "none.npz"], 1, "none.npz: No such file"),
        (lpips_weights.main, ["README.md", "README.md"], 2, "must be the .npz file"),
        (lpips_weights.main, ["README.md"], 2, "(required)"),
        (identity_weights.main, ["README.md", "README.md"], 2, "ARRAYS must be the .npz file"),
        (features.main, ["mnits"], 2, "Did you mean mnist?"),
        (features.main, ["mnist", "--epoch", "1"], 2, "Did you mean --epochs?"),
        (features.main, ["mnist", "--epochs", "0"], 2, "--epochs must be positive"),
    ],
)
def test_other_command_lines_err_in_a_line(main, arguments, code, expected, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == code and expected in error and len(error.splitlines()) == 1


def test_commands_are_recorded_without_the_home_folder(monkeypatch, tmp_path):
    home = tmp_path / "a user"
    monkeypatch.setenv("HOME", str(home))
    words = ["train", "--data", str(home / "my faces"), "--name", "x; y", str(home) + "2"]
    command = command_line.command_of("celeba", words)
    assert "~/" in command and "a user/" not in command
    shown = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines() == ["python", "-m", "experiments.celeba", *words]
    kept = results.plain({"data": str(home / "my faces"), "files": [home / "a", str(home) + "2"]})
    assert kept == {"data": "~/my faces", "files": ["~/a", str(home) + "2"]}


def test_names_equal_those_of_the_library():
    assert tuple(de.NETWORKS) == NETWORKS
    assert tuple(de.METHODS) == METHODS
    assert tuple(catalogue.CATALOGUE) == DATA
    source = Experiment.__annotations__["source"]
    assert source.__args__ == loading.SOURCES


@pytest.mark.parametrize("config", EXPERIMENTS)
def test_shipped_configurations_are_valid(config):
    config.check()
    config.shrink().check()
    assert set(config.paper_mse) == set(NETWORKS)
    with pytest.raises(UsageError, match="num-steps"):
        dataclasses.replace(config, num_steps=0).check()


def test_missing_data_take_one_line_with_the_remedy(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(catalogue, "probe", lambda url: "no network")
    code, words = stopped(capsys, CELEBA, ["train", "--runs", tmp_path])

    assert code == 1
    assert len(words.splitlines()) == 1
    assert "tfds build celeba" in words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--block-depth", "100000"], "--block-depth 100000"),
        (["train", "--widths", "300000", "300000"], "--widths 300000 300000"),
        (["train", "--batch-size", "100000000"], "100,000,000 images of 32x32"),
        (["train", "--image-size", "80000"], "--image-size 80000"),
        (["--num-steps", "1000000"], "1,000,000 sampler steps"),
        (["train-embedders", "--pairs", "10000000000"], "--pairs 10000000000"),
        (["sample", "--images", "1000000000"], "1,000,000,000 images of 32x32x1"),
        (["structure", "--members", "1000000000"], "1,000,000,000 images"),
        (["interpolate", "--frames", "1000000000"], "images of 32x32x1"),
        (["interpolate", "--ways", "1000000000"], "images of 32x32x1"),
        (["invariance", "--latents", "1000000000"], "images of 32x32x1"),
    ],
)
def test_what_does_not_fit_into_memory_is_refused_before_work(arguments, expected, capsys):
    code, words = stopped(capsys, FASHION_MNIST, arguments)
    assert code == 1 and len(words.splitlines()) == 1
    assert words.startswith("error: There is not enough memory for ") and expected in words


def test_pairs_that_do_not_fit_on_the_disk_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    code, words = stopped(capsys, FASHION_MNIST, ["train-embedders", "--pairs", "3000"])
    assert code == 1 and "not enough space in" in words and "--pairs 3000" in words


def test_interrupts_say_how_to_go_on(monkeypatch, capsys):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    code, words = stopped(capsys, MNIST, ["train"])
    line = "Interrupted. The same command goes on from what is in the folder --runs."
    assert (code, words.splitlines()[-1]) == (130, line)
    monkeypatch.setattr(reporting, "report", stop)
    code, words = stopped(capsys, MNIST, ["report"])
    assert (code, words) == (130, "Interrupted. The same command begins anew.\n")


def test_messages_under_another_name_are_commands_that_exist(tmp_path, capsys):
    flags = ["--name", "cats", "--weights", tmp_path, "--seed", "3", "--no-mirror", "--widths", "8"]
    (tmp_path / "my cats").mkdir()
    data = ["--data", tmp_path / "my cats"]
    code, words = stopped(capsys, CELEBA, ["train-embedders", "unet", *flags, *data, "--remat"])
    (command,) = re.findall("`(python.*)`", words)
    prefix = ["python", "-m", "experiments.celeba", "train"]
    assert code == 1 and shlex.split(command)[:4] == prefix
    made, wanted = (
        parsed(CELEBA, words).config
        for words in (shlex.split(command)[3:], ["train", *flags, *data])
    )
    assert made == wanted
    # What the other verb does not take is left out.
    code, words = stopped(capsys, CELEBA, ["embed", "a.png", *flags[:4], "--num-steps", "3"])
    assert code == 1
    assert f"`python -m experiments.celeba train --name cats --weights {tmp_path}`" in words


def test_the_precision_is_chosen_by_the_machine_and_recorded(tmp_path, monkeypatch, capsys):
    flags = ["--smoke", "--results", tmp_path]
    monkeypatch.setattr(backend, "fast_precision", lambda: ("bfloat16", "for a test"))
    main(MNIST, ["train", *flags])
    assert "Training in bfloat16: for a test." in capsys.readouterr().out
    entry = read_manifest(tmp_path / "mnist-smoke" / "weights")["mnist/generator"]
    assert entry["budget"]["precision"] == "bfloat16"
    main(MNIST, ["sample", *flags])
    assert "Training in" not in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "said"), [(60, True), (1, False)])
def test_a_training_of_days_says_once_what_is_faster(seconds, said, monkeypatch, capsys):
    now = iter([0, 2 * seconds])  # of two steps
    monkeypatch.setattr(runs.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(runs, "fast_precision", lambda: ("float32", ""))
    config = dataclasses.replace(MNIST, precision="bfloat16")
    # Of 3,000 steps 100 are done; two steps are timed, after the first one.
    batches = runs._watched(lambda step: iter(range(20)), 3_000, config)
    assert list(batches(100)) == list(range(20))
    error = capsys.readouterr().err
    assert error.count("days are left") == said
    if said:
        assert "2.0 days are left. Faster: --precision float32, a GPU, smaller --widths" in error


def test_bugs_have_a_traceback(monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("a fault")

    monkeypatch.setattr(training, "train", fail)
    with pytest.raises(KeyError):
        main(MNIST, ["train"])


def python_m(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="a matter of x86")
@pytest.mark.parametrize("chosen, expected", [(None, "1"), ("0", "0")])
def test_faster_convolutions_are_enabled_by_default(chosen, expected, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "")  # so that it is restored
    os.environ.pop("TF_ENABLE_ONEDNN_OPTS")
    if chosen is not None:
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = chosen
    command_line.import_tensorflow()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == expected


def test_missing_weights_take_one_line_with_the_remedy(tmp_path):
    run = python_m("experiments.celeba", "--weights", tmp_path, "--results", tmp_path)

    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert f"`python -m experiments.celeba train --weights {tmp_path}`" in run.stderr
    assert not run.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["structure", "--help"], ["--nonsense"]])
def test_the_command_line_answers_without_tensorflow(arguments):
    code = (
        "import sys\n"
        "from experiments.celeba import CELEBA, main\n"
        "try:\n"
        f"    main(CELEBA, {arguments})\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == (2 if 'nonsense' in sys.argv[-1] else 0)\n"
        "heavy = {'tensorflow', 'keras', 'jax', 'scipy', 'sklearn', 'matplotlib', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    expected = {"structure": "--num-steps", "--nonsense": "no flag --nonsense"}
    assert expected.get(arguments[0], "report") in run.stdout + run.stderr
    # It takes a fifth of a second; importing TensorFlow takes several.
    assert time.perf_counter() - started < 2.5


def test_weights_that_a_killed_run_recorded_are_not_trained_further_once_more(tmp_path):
    config = dataclasses.replace(FASHION_MNIST.shrink(), weights=tmp_path)
    folder = tmp_path / "runs" / "generator"
    run = runs._further_folder(folder, "ab" * 32)
    run.mkdir(parents=True)

    def record(budget):
        model, notes = de.build_embedder("conv1", 1), {"data": "", "errors": {"test_mse": 0.5}}
        return de.record_weights(
            tmp_path, config.name, "generator", model, config={}, budget=budget, **notes
        )[0]

    for budget in ({}, {"before": None}, {"before": {"sha256": 3}}):
        record(budget)
        assert runs.recorded_before(config, "generator", folder) is None
    path = record({"before": {"sha256": "ab" * 32}})
    assert runs.recorded_before(config, "generator", folder) is None
    (run / "recording").touch()
    assert runs.recorded_before(config, "generator", folder) == path
    assert runs.recorded_before(config, "generator", folder) is None
