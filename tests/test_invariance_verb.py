"""The verb `invariance`: its results and cache, and the verdict on the paper's claim."""

import dataclasses
import json
import math

import numpy as np
import pytest

import ddim_embed as de
from ddim_embed.networks.blocks import Normalizer
from ddim_embed.store.outputs import Outputs
from experiments.embedding import invariance, invariance_figures
from experiments.embedding.claims import invariance_claims, invariance_verdict
from experiments.embedding.sections import INVARIANCE
from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import main
from experiments.toolkit import pages

NETWORKS = ["plain", "NAFNet attention", "trained on few"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("invariance")
    main(FASHION_MNIST, ["invariance", *NETWORKS, "--smoke", "--results", root])
    return root / "fashion_mnist-smoke"


@pytest.fixture(scope="module")
def contents(folder):
    return json.loads((folder / "invariance.json").read_text())


def cached(folder, name, number=2, kind="training_steps"):
    path = folder / "runs" / "fashion_mnist" / "invariance" / name / f"{kind}-{number}.npz"
    with np.load(path) as file:
        return file["images"]


def test_numbers_are_those_of_the_cached_images(folder, contents):
    names = ["plain", "NAFNet_attention"]
    generator = de.load_generator("fashion_mnist", folder / "weights", num_steps=2)
    shipped = np.clip(generator.decode(generator.latents(8, 0)), 0, 1)
    images = np.stack([*(cached(folder, name) for name in names), shipped])
    assert contents["names"] == ["plain", "NAFNet attention", invariance.SHIPPED]
    assert contents["all"]["ratio"] == pytest.approx(de.agreement(images).ratio, rel=2e-2)
    assert [row["steps"] for row in contents["training"]] == [1, 2]
    early = np.stack([cached(folder, name, 1) for name in names])
    assert contents["training"][0]["ratio"] == pytest.approx(de.agreement(early).ratio, rel=1e-6)
    assert contents["training"][0]["images"] == 8
    assert list(contents["exact"]) == [*NETWORKS, invariance.SHIPPED]
    np.testing.assert_array_equal(
        cached(folder, "plain"), cached(folder, "plain", 2, "sampler_steps")
    )


def test_variants_are_different_networks(folder, contents):
    assert not np.array_equal(cached(folder, "plain"), cached(folder, "NAFNet_attention"))
    assert contents["networks"]["NAFNet attention"]["attention"] == "nafnet"
    attentions = {variant.attention for variant in invariance.VARIANTS.values()}
    assert attentions == {None, "spatial", "squeeze_excitation", "nafnet"}
    seeds = [variant.seed for variant in invariance.VARIANTS.values()]
    assert len({*seeds}) == len(seeds)


def test_networks_have_the_loss_and_prediction_of_the_flags():
    changes = {"loss": "mean_squared_error", "prediction": "velocity", "precision": "float32"}
    config = dataclasses.replace(FASHION_MNIST, **changes)
    model = invariance._diffusion_model(config, invariance.VARIANTS["NAFNet attention"])
    assert (model.loss_name, model.prediction) == ("mean_squared_error", "velocity")
    assert model.network.attention == "nafnet"


def test_the_exact_denoiser_returns_its_own_images(folder):
    pixels, _ = de.load_images("fashion_mnist", "test", 16, source="sample", limit=8)
    config = FASHION_MNIST.__class__(
        "x", "fashion_mnist", image_size=16, widths=(8,), num_steps=10, source="sample"
    )
    normalizer = Normalizer(1)
    normalizer.adapt(pixels)
    images = invariance._exact(config, pixels, normalizer, 5).astype(np.float32)
    nearest = ((images[:, None] - pixels) ** 2).mean(axis=(2, 3, 4)).min(axis=1)
    assert nearest.max() < 1e-2  # the last level has some noise left


def test_a_second_run_trains_nothing(folder, contents):
    files = sorted((folder / "runs" / "fashion_mnist" / "invariance").rglob("*.*"))
    before = [path.stat().st_mtime_ns for path in files]
    main(FASHION_MNIST, ["invariance", *NETWORKS, "--smoke", "--results", folder.parent])
    assert [path.stat().st_mtime_ns for path in files] == before
    again = json.loads((folder / "invariance.json").read_text())
    assert again["all"] == contents["all"] and again["exact"] == contents["exact"]


def test_page_and_figures(folder):
    text = (folder / "index.html").read_text()
    for name in ("fig10_networks.png", "invariance.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG") and text.count(name) == 1
    assert invariance.SHIPPED in text


@pytest.mark.parametrize(
    ("interval", "word", "undecided"),
    [
        ((100, 300), "reproduced", False),
        ((20, 99), "not reproduced", False),
        ((90, 110), "not reproduced", True),
    ],
)
def test_verdict(interval, word, undecided, contents, tmp_path):
    comparison = {"ratio": 100.0, "interval": interval}
    verdict = invariance_verdict(comparison)
    assert verdict == word
    shown = contents | {"verdict": verdict, "all": comparison}
    (tmp_path / "invariance.json").write_text(json.dumps(shown))
    pages.write_results(Outputs(tmp_path), [INVARIANCE])
    text = (tmp_path / "index.html").read_text()
    assert f"here:\n{word}" in text and ("undecided" in text) == undecided


def test_the_claim_shows_whether_more_training_or_steps_would_help(contents):
    training = [
        {"images": images, "ratio": ratio} for images, ratio in ((8_000, 2.04), (32_000, None))
    ]
    shown = contents | {
        "all": {"ratio": 4.2, "interval": [4.1, 4.4]},
        "training": training,
        "sampler_steps": [{"num_steps": 1, "ratio": 1.4}, {"num_steps": 50, "ratio": 4.3}],
    }
    (claim,) = invariance_claims("x", shown)
    assert claim.verdict == "not reproduced" and claim.why == (
        "the small networks 2.0 after 8,000, - after 32,000 training images; all of them 1.4 in "
        "1, 4.3 in 50 sampler steps"
    )
    (claim,) = invariance_claims("x", shown | {"all": {"ratio": 200.0, "interval": [150, 300]}})
    assert (claim.verdict, claim.why) == ("reproduced", "")


def test_networks_that_make_the_same_images_have_a_result(contents, tmp_path, capsys):
    """Their ratio is infinite, which JSON has not."""
    infinite = {"ratio": math.inf, "interval": [3.0, math.inf]}
    training = [row | infinite for row in contents["training"]]
    found = contents | {"all": contents["all"] | infinite, "training": training}
    INVARIANCE.publish(
        Outputs(tmp_path), found, lambda: {"invariance.png": invariance_figures._curves(found)}
    )
    pages.write_results(Outputs(tmp_path), [INVARIANCE])
    assert capsys.readouterr().err == ""
    made = json.loads((tmp_path / "invariance.json").read_text())["all"]
    assert (made["ratio"], made["interval"]) == (None, [3.0, None])
    assert "undecided: the interval spans 100" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vit"], "vit"),
        (["plain"], "At least two networks"),
        (["plain", "trained on few"], "At least two networks"),
        (["--latents", "1"], "--latents must be at least 2"),
    ],
)
def test_usage_errors(arguments, words, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(FASHION_MNIST, ["invariance", *arguments, "--results", tmp_path])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
