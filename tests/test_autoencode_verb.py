"""The verb `autoencode`: numbers with known answers, its results, and the claims on them."""

import dataclasses
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import record_autoencoder
from keras import ops

import ddim_embed as de
from experiments import runner
from experiments.autoencoder import autoencode, baseline, claims, comparison, training
from experiments.autoencoder.verbs import Autoencode, CompareAutoencoders
from experiments.fashion_mnist import FASHION_MNIST
from experiments.paper import ledger, report
from experiments.paper.__main__ import EXPERIMENTS
from experiments.runner import main
from experiments.toolkit import pages, sources
from experiments.toolkit.command_line import UsageError, with_command

DEVIATION = 0.02  # of pixels in model space: nothing that is decoded is clipped


class Means(keras.Model):
    """In place of an encoder: the mean of the image."""

    dims = 1

    def call(self, images):
        return ops.mean(images, axis=(1, 2))


class Gaussian(keras.Model):
    """The exact denoiser of N(z, deviation^2) at each pixel; of a point mass with 0."""

    def __init__(self, deviation):
        super().__init__()
        self.deviation = deviation

    def call(self, inputs, training=None):
        noisy, variances, means = inputs
        means = means[:, :, None, None]
        signal2 = 1 - variances
        shares = variances / (signal2 * self.deviation**2 + variances)
        return shares * (noisy - ops.sqrt(signal2) * means) / ops.sqrt(variances)


def make_autoencoder(deviation, **process):
    shape = (16, 16, 1)
    generator = de.Generator(
        Gaussian(deviation), process=de.Process(**process), image_shape=shape, padding=2
    )
    generator.normalizer.mean.assign([0.5])
    generator.normalizer.variance.assign([DEVIATION**2])
    return de.Autoencoder(Means(), generator)


@pytest.fixture(scope="module")
def exact():
    """An autoencoder whose vector is all that it decodes."""
    return make_autoencoder(0.0, num_steps=3)


@pytest.fixture(scope="module")
def pixels():
    """Images within a few deviations, of different means."""
    shades = np.linspace(-1, 1, 5)[:, None, None, None]
    noise = np.random.default_rng(0).normal(size=(5, 16, 16, 1))
    return (0.5 + DEVIATION * (shades + noise)).astype(np.float32)


def test_collapse_measures_what_the_vectors_tell(exact, pixels):
    images = exact.generator.normalizer(pixels).numpy()
    means = images.mean(axis=(1, 2, 3), keepdims=True)
    none = exact.generator.given(np.zeros((5, 1), np.float32))
    found = autoencode.collapse(none, exact, exact.encode(pixels).semantic, pixels)
    expected = {
        "own": ((images - means) ** 2),
        "other": ((images - np.roll(means, 1, axis=0)) ** 2),
        "unconditional": images**2,
    }
    expected["gain"] = expected["other"] - expected["own"]
    assert [level["signal"] for level in found["levels"]] == [
        rates.signal for rates in exact.generator.grid[:0:-1]
    ]
    for level in found["levels"]:
        for name, squares in expected.items():
            # At t = 1 a difference of numbers fifty times as large is left.
            assert level[name]["mean"] == pytest.approx(squares.mean(), rel=1e-3), name
    each = expected["gain"].mean(axis=(1, 2, 3))
    half_width = 1.96 * each.std(ddof=1) / 5**0.5
    assert level["gain"]["interval"] == pytest.approx(half_width, rel=1e-3)
    assert found["mean_image"] == pytest.approx(np.var(images, axis=0).mean(), rel=1e-5)
    # An encoder that has collapsed: its vectors are all the same.
    constant = autoencode.collapse(none, exact, np.ones((5, 1), np.float32), pixels)
    assert all(level["gain"] == {"mean": 0, "interval": 0} for level in constant["levels"])


def test_one_step_returns_the_conditional_mean(pixels):
    """Of N(z, 1): random latents double its error, up to what the sampler's steps shrink."""
    gaussian = make_autoencoder(1.0, num_steps=10)
    _, found = autoencode.variation(gaussian, pixels, 30, seed=1)
    latents = gaussian.generator.latents(30, 1, autoencode.STREAM - 1)[:, 2:-2, 2:-2]
    gain = 0.84440  # of latents, in ten steps of exact noises
    drawn = np.sqrt(latents.var(axis=0, ddof=1).mean())
    assert found["of_latents"]["mean"] == pytest.approx(DEVIATION * gain * drawn, rel=1e-3)
    means = gaussian.encode(pixels).semantic
    # At t = 1, where latents lack what is left of the image, the signal rate is .02.
    spread = DEVIATION * (1 - 0.02 * gain) * means.std(ddof=1)
    assert found["of_vectors"]["mean"] == pytest.approx(spread, rel=1e-3)
    alone = de.metrics.mse(pixels, gaussian.predict(means).numpy(), 2).mean()
    single, mean = found["single_mse"]["mean"], found["mean_mse"]["mean"]
    assert single - alone == pytest.approx(DEVIATION**2 * gain**2 * drawn**2, rel=0.05)
    assert mean - alone == pytest.approx((single - alone) / 30, abs=0.05 * alone)


def test_decoding_by_one_graph_is_that_of_the_generator(exact, pixels):
    own = exact.generator.given(exact.encode(pixels).semantic)
    latents = own.latents(5)
    expected = own.decode(latents).numpy()
    np.testing.assert_allclose(autoencode.decode(own, latents), expected, atol=1e-6)
    ddim = exact.generator.given(np.zeros((5, 1), np.float32))
    models = {"DDIM": ddim, "ours": own}
    paths, levels = autoencode.predicted(models, dict.fromkeys(models, latents), pixels, 3)
    assert paths["ours"].shape == (3, 3, 16, 16, 1)
    np.testing.assert_allclose(paths["ours"][-1], expected[:3], atol=1e-6)
    errors = de.metrics.mse(pixels[:3], expected[:3], 2)
    assert levels[-1]["ours"]["mean"] == pytest.approx(errors.mean(), rel=1e-4)
    others = de.metrics.mse(pixels[:3], np.full_like(pixels[:3], 0.5), 2)
    assert levels[-1]["gain"]["mean"] == pytest.approx((others - errors).mean(), rel=1e-3)
    assert [level["signal"] for level in levels] == [r.signal for r in own.grid[:0:-1]]


def test_steps_are_cached_and_repeat_the_methods(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(autoencode, "_CHUNK", 3)
    gaussian = make_autoencoder(0.5, num_steps=4)
    own = gaussian.generator.given(gaussian.encode(pixels).semantic)
    config = SimpleNamespace(run_folder=tmp_path, seed=0, progress=False)
    latents, decoded = autoencode._by_steps(config, own, pixels, "ours")
    expected = de.embed(own, pixels, "ddim_inversion")
    np.testing.assert_allclose(latents, expected.latents, atol=1e-5)
    np.testing.assert_allclose(decoded, expected.reconstruction, atol=1e-5)
    random, drawn = autoencode._by_steps(config, own, pixels, "random")
    np.testing.assert_array_equal(random, own.latents(5, 0, autoencode.STREAM))
    np.testing.assert_allclose(drawn, own.decode(random), atol=1e-5)
    files = sorted(tmp_path.rglob("*.npz"))
    assert [path.name for path in files] == ["0.npz", "3.npz"] * 2
    before = [path.stat().st_mtime_ns for path in files]
    again = autoencode._by_steps(config, own, pixels, "random")
    np.testing.assert_array_equal(again[1], drawn)
    autoencode._by_steps(config, own, pixels, "ours")
    assert [path.stat().st_mtime_ns for path in files] == before
    other = own.given(np.roll(own.condition, 1, axis=0))
    assert np.abs(autoencode._by_steps(config, other, pixels, "random")[1] - drawn).max() > 1e-3


def test_shifted_images_and_the_structure_of_latents(exact, pixels, tmp_path):
    config = SimpleNamespace(run_folder=tmp_path, seed=0, progress=False)
    mapped, rows = autoencode.unfamiliar(config, exact, pixels, 1 - pixels)
    assert [row["images"] for row in rows] == [
        "own", "shifted by 1", "shifted by 2", "shifted by 4", "other data",
    ]  # fmt: skip
    shifted = mapped["shifted by 4"][0]
    np.testing.assert_array_equal(shifted[:, :, 4:], pixels[:, :, :-4])
    np.testing.assert_array_equal(shifted[:, :, :4], pixels[:, :, :1].repeat(4, axis=2))
    for row, (images, latents, decoded) in zip(rows, mapped.values(), strict=True):
        assert row["mse"]["mean"] == pytest.approx(de.metrics.mse(images, decoded, 2).mean())
        assert row["latents_std"]["mean"] == pytest.approx(latents.std(axis=(1, 2, 3)).mean())
    rng = np.random.default_rng(0)
    lines = np.broadcast_to(rng.normal(size=(4, 32, 1, 1)), (4, 32, 32, 1))
    checks = np.where(np.indices((32, 32)).sum(axis=0) % 2, 1.0, -1.0)[None, :, :, None]
    noise = rng.normal(size=(4, 32, 32, 1))
    np.testing.assert_allclose(autoencode.neighbour_correlation(lines), 1)
    np.testing.assert_allclose(autoencode.neighbour_correlation(checks), -1)
    assert np.abs(autoencode.neighbour_correlation(noise)).max() < 0.15  # 5 of 1 / 32


def test_lbfgs_follows_the_corrections():
    *names, last = autoencode._inversions(7)
    assert names == [*autoencode.INVERSIONS] == [*autoencode._inversions(0)]
    method = autoencode._inversions(7)[last]
    assert last == "implicit, correction, lbfgs" and method.finish.num_steps == 7
    assert method.start == autoencode.INVERSIONS["implicit, correction"]
    last, method = [*autoencode._inversions(7, 1e-5).items()][-1]
    assert last == "implicit, lbfgs with penalty 1e-05"
    assert method.finish == de.LBFGS(num_steps=7, penalty=1e-5)
    assert method.start == autoencode.INVERSIONS["implicit"]


def test_other_images_are_those_of_another_data_set():
    config = dataclasses.replace(FASHION_MNIST, image_size=16)
    digits, _ = de.load_images("mnist", "test", 16, source="sample", limit=3)
    np.testing.assert_array_equal(autoencode.other_images(config, 3), digits)
    colour = dataclasses.replace(config, data="celeba", channels=3)
    clothes, _ = de.load_images("fashion_mnist", "test", 16, source="sample", limit=2)
    np.testing.assert_array_equal(autoencode.other_images(colour, 2), clothes.repeat(3, axis=3))


@pytest.fixture(scope="module")
def small():
    """A configuration, and an autoencoder for its images."""
    config = dataclasses.replace(FASHION_MNIST.shrink(), image_size=8, widths=(4, 8))
    config = dataclasses.replace(config, precision="float32", learning_rate=3e-2)
    config = dataclasses.replace(config, batch_size=32)
    autoencoder = de.build_autoencoder(
        (8, 8, 1), (4, 8), 1, semantic_dims=4, encoder_widths=(4, 8), attention_resolutions=()
    )
    autoencoder.generator.normalizer.mean.assign([0.3])
    autoencoder.generator.normalizer.variance.assign([0.1])
    return config, autoencoder


def test_the_baseline_learns_and_is_trained_once(small, tmp_path, monkeypatch):
    config, autoencoder = small
    config = dataclasses.replace(config, runs=tmp_path)
    pixels, _ = de.load_images("fashion_mnist", "test", 8, source="sample", limit=64)
    found = baseline.reconstruct(config, 100, autoencoder, pixels)
    of_mean = de.metrics.mse(pixels, np.broadcast_to(pixels.mean(axis=0), pixels.shape)).mean()
    assert de.metrics.mse(pixels, found.clip(0, 1)).mean() < 0.8 * of_mean
    monkeypatch.setattr(baseline.sources, "stream", lambda *_: pytest.fail("trained again"))
    np.testing.assert_allclose(
        baseline.reconstruct(config, 100, autoencoder, pixels), found, atol=1e-6
    )


def test_the_baseline_is_the_encoder_and_its_mirror_image(small):
    network = baseline.plain_autoencoder(small[1].encoder, 8)
    assert network.layers[0].get_config()["dims"] == 4
    assert network.layers[0].count_params() == small[1].encoder.count_params()
    assert network(np.zeros((3, 8, 8, 1))).shape == (3, 8, 8, 1)
    widths = [layer.width for layer in network.layers if hasattr(layer, "width")]
    assert widths == [8, 4]


# The verb


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The results of a smoke run with weights that were not trained."""
    root = tmp_path_factory.mktemp("autoencode")
    folder = root / "fashion_mnist-smoke"
    record_autoencoder(folder / "weights")
    flags = ["--smoke", "--results", root, "--shown", "2", "--baseline-steps", "0"]
    main(FASHION_MNIST, ["autoencode", *flags])
    return folder


@pytest.fixture(scope="module")
def contents(folder):
    return json.loads((folder / "autoencode.json").read_text())


def test_numbers_equal_a_direct_computation(folder, contents):
    pixels, _ = de.load_images("fashion_mnist", "test", 16, source="sample", limit=8)
    autoencoder = de.load_autoencoder("fashion_mnist", folder / "weights", num_steps=2)
    rows = {(row["model"], row["latents"]): row for row in contents["table1"]}
    assert [*rows] == [
        *((model, name) for model in ("DDIM", "ours") for name in autoencode.INVERSIONS),
        ("ours", "random"), ("ours", "one step"), ("mean image", None),
    ]  # fmt: skip
    code = autoencoder.encode(pixels, "implicit")
    found = rows["ours", "implicit"]
    assert found["mse"]["mean"] == pytest.approx(code.embedding.mse.mean(), rel=1e-2, abs=1e-9)
    assert found["latents_std"]["mean"] == pytest.approx(code.embedding.latents_std.mean())
    assert (found["code"], found["encoding"], found["decoding"]) == (
        259, code.embedding.evaluations.mean(), 2,
    )  # fmt: skip
    alone = autoencoder.predict(code, 0).numpy()
    found = rows["ours", "one step"]
    assert found["mse"]["mean"] == pytest.approx(de.metrics.mse(pixels, alone).mean(), rel=1e-4)
    ssim = de.metrics.ssim(pixels, alone, zero_padded=True)
    assert found["padded_ssim"]["mean"] == pytest.approx(ssim.mean(), rel=1e-3)
    assert found["lpips"]["mean"] == pytest.approx(de.lpips(pixels, alone).mean(), rel=1e-3)
    assert (found["code"], found["encoding"], found["decoding"]) == (3, 0, 1)
    found = rows["mean image", None]
    expected = np.mean((pixels - pixels.mean(axis=0)) ** 2)
    assert (found["code"], found["mse"]["mean"]) == (0, pytest.approx(expected, rel=1e-5))
    by_steps = {
        r["num_steps"]: r["mse"]["mean"] for r in contents["table2"] if r["model"] == "DDIM"
    }
    for row in contents["table2"]:
        if row["num_steps"] == 2 and row["model"] != "ours, random latents":
            assert row["mse"] == pytest.approx(rows[row["model"], "naive"]["mse"], rel=1e-3)
        gain = by_steps[row["num_steps"]] - row["mse"]["mean"]
        assert row["gain"]["mean"] == pytest.approx(gain, rel=1e-6, abs=1e-12)
    assert [row["num_steps"] for row in contents["table2"]] == [1] * 3 + [2] * 3
    # An autoencoder whose vectors differ, and whose decoder uses them.
    assert all(abs(level["gain"]["mean"]) > 1e-6 for level in contents["collapse"]["levels"])


def test_page_and_figures(folder, contents):
    text = (folder / "index.html").read_text()
    for name in Autoencode.sections[0].figures:
        assert (folder / name).read_bytes().startswith(b"\x89PNG") and text.count(name) == 1
    assert "the paper: NVAE" in text and "another&#39;s - own" in text


def test_images_must_be_of_the_autoencoders_shape(folder):
    config = dataclasses.replace(FASHION_MNIST, weights=folder / "weights", image_size=32)
    with pytest.raises(UsageError, match=r"those of the autoencoder fashion_mnist.*16x16x1"):
        sources.load_autoencoder(config)


def test_smoke_runs_train_an_autoencoder_once(tmp_path, monkeypatch):
    config = dataclasses.replace(FASHION_MNIST, results=tmp_path).shrink()
    verb, trained = Autoencode.defaults(config), []
    monkeypatch.setattr(training, "train_autoencoder", trained.append)
    for recorded in ({"generator"}, {"generator", "autoencoder"}):
        names = {f"fashion_mnist/{name}" for name in recorded}
        monkeypatch.setattr("ddim_embed.store.weights.read_manifest", lambda _, n=names: n)
        runner.train_for_smoke(verb)
    (one,) = trained
    assert one.config == config and one.start == "generator"


# Claims


def verdicts(contents):
    """Dict from statement to verdict."""
    rows = list(claims.autoencode_claims("celeba", contents))
    assert all(row.item.startswith("Diffusion autoencoders, ") for row in rows)
    assert all(row.why for row in rows if row.verdict == "not measured")
    return {row.statement: row.verdict for row in rows}


def estimate(mean, interval=0.0):
    return {"mean": mean, "interval": interval}


def make_contents():
    """Results of which every claim holds."""

    def row(model, latents, mse, lpips, **more):
        return {"model": model, "latents": latents, "mse": mse, "lpips": estimate(lpips)} | more

    steps = {"DDIM": (0.02, 0.01, 0.004, 0.002), "ours": (2e-3, 1e-3, 4e-4, 2e-4)}
    steps["ours, random latents"] = 0.017, 0.018, 0.019, 0.02
    best = "implicit, correction"
    return {
        "images": 500,
        "num_steps": 10,
        "best": best,
        "table1": [
            row("DDIM", "naive", estimate(0.02), 0.2),
            row("DDIM", best, estimate(1e-5), 0.01),
            row("ours", "implicit", estimate(1e-4), 0.01),
            row("ours", best, estimate(1e-6, 1e-7), 0.01, latents_std=estimate(0.97)),
            row("ours", "random", estimate(0.02), 0.1),
            row("ours", "one step", estimate(0.011), 0.2),
            row("plain autoencoder", None, estimate(0.011), 0.2),
        ],
        "table2": [
            {"model": model, "num_steps": T, "mse": estimate(mse), "gain": estimate(1e-3, 1e-4)}
            for model, errors in steps.items()
            for T, mse in zip((10, 20, 50, 100), errors, strict=True)
        ],
        "collapse": {
            "mean_image": 1.0,
            "levels": [
                {
                    "own": estimate(0.5, 0.01),
                    "unconditional": estimate(none),
                    "gain": estimate(gain),
                }
                for none, gain in ((0.6, 0.2), (0.4, 0.02))
            ],
        },
        "variations": {"of_latents": estimate(0.1, 0.01), "of_vectors": estimate(0.2, 0.01)},
        "predictions": [
            {"DDIM": estimate(0.2), "ours": estimate(0.1), "gain": estimate(0.1, 0.01)}
            for _ in range(2)
        ],
        "noise_maps": [
            {"images": "own", "correlation": estimate(0.1, 0.01)},
            {"images": "shifted by 8", "correlation": estimate(0.2, 0.01)},
            {"images": "other data", "correlation": estimate(0.3, 0.01)},
        ],
    }


def test_claims_hold_by_their_numbers():
    found = verdicts(make_contents())
    assert len(found) == len(claims._CLAIMS)
    assert {*found.values()} == {"reproduced", "better"}
    assert found["vector and latents give the image back"] == "better"
    assert {*verdicts(None).values()} == {"not measured"}


def test_why_ddim_predicts_an_image_as_well_from_its_latents():
    contents = make_contents()
    contents["predictions"][1] = {
        "DDIM": estimate(0.1), "ours": estimate(0.11), "gain": estimate(-0.01, 0.001),
    }  # fmt: skip
    (why,) = (
        claim.why for claim in claims.autoencode_claims("x", contents) if "Fig. 6" in claim.item
    )
    assert "less at 1 of 2 steps, at step 2 1.25 of DDIM's, here 1.10" in why


@pytest.mark.parametrize(
    ("path", "value", "statement", "verdict"),
    [
        (("table1", 3, "mse"), estimate(5e-4), "vector and latents", "reproduced"),
        (("table1", 3, "mse"), estimate(2e-3), "vector and latents", "not reproduced"),
        (("table1", 3, "latents_std"), estimate(0.8), "vector and latents", "not reproduced"),
        (("table1", 6, "lpips"), estimate(0.09), "an autoencoder of the same", "not reproduced"),
        (("table1", 6, "model"), "", "an autoencoder of the same", "not measured"),
        (("table2", 7, "gain"), estimate(1e-4, 2e-4), "the error is below", "not reproduced"),
        (("table2", 1, "mse"), estimate(0.03), "the error falls", "not reproduced"),
        (("table2", 5, "mse"), estimate(3e-3), "T = 20 surpasses", "not reproduced"),
        (("table2", 5, "model"), "ours, random latents", "T = 20 surpasses", "not measured"),
        (("table1", 2, "mse"), estimate(3e-4), "implicit inversion", "not reproduced"),
        (("num_steps",), 100, "implicit inversion", "not measured"),
        (("table1", 4, "lpips"), estimate(0.3), "the vector alone is", "not reproduced"),
        (("table1", 5, "mse"), estimate(0.0119), "one step", "better"),
        (("table1", 5, "mse"), estimate(0.013), "one step", "not reproduced"),
        (("table2", 11, "mse"), estimate(0.018), "one step", "not reproduced"),
        (("collapse", "levels", 1, "gain"), estimate(0.01, 0.02), "an image's", "not reproduced"),
        (("collapse", "levels", 0, "own"), estimate(0.59, 0.02), "at t = 1", "not reproduced"),
        (("variations", "of_latents"), estimate(0.19, 0.01), "latents vary", "not reproduced"),
        (("predictions", 1, "gain"), estimate(0.1, 0.2), "the image is", "not reproduced"),
        (("noise_maps", 1, "correlation"), estimate(0.1), "latents of shifted", "not reproduced"),
        (("noise_maps", 2, "correlation"), estimate(0.1), "latents of images", "not reproduced"),
    ],
)  # fmt: skip
def test_claims_fail_by_their_numbers(path, value, statement, verdict):
    contents = make_contents()
    place = contents
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    changed = {
        words: now for words, now in verdicts(contents).items() if words.startswith(statement)
    }
    assert [*changed.values()] == [verdict]


def test_claims_of_a_smoke_run_are_in_the_ledger(contents):
    assert set(verdicts(contents)) == set(verdicts(None))
    for found, name in (({}, "celeba"), ({"mnist/autoencode": contents}, "mnist")):
        rows = [dataclasses.asdict(row) for row in ledger.collect(EXPERIMENTS, found, {})]
        own = [row for row in rows if row["source"] == f"{name}/autoencode"]
        assert all(row["item"].startswith(claims._PAPER) for row in own)
        assert len(own) == len(claims._CLAIMS)
        assert ({row["verdict"] for row in own} == {"not measured"}) == (not found)
    assert "Preechakul" in report._summary({"rows": own, "verdicts": {}})
    others = [row for row in rows if not row["item"].startswith(claims._PAPER)]
    assert "Preechakul" not in report._summary({"rows": others, "verdicts": {}})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--members", "1"], "--members must be at least 2"),
        (["--steps", "10", "0"], "--steps must be positive"),
        (["--images", "1"], "--images must be at least 2"),
        (["--lbfgs", "-1"], "--lbfgs must be at least 0"),
        (["--lbfgs", "2", "--penalty", "-1"], "--penalty must be at least 0"),
        (["--penalty", "1"], "--penalty"),
        (["--semantic-dims", "3"], "--semantic-dims"),
    ],
)
def test_usage_errors(arguments, words, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(FASHION_MNIST, ["autoencode", *arguments, "--results", tmp_path])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_a_missing_autoencoder_is_trained_by_its_verb(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        de.load_autoencoder("fashion_mnist", tmp_path)
    assert "python -m experiments.fashion_mnist train-autoencoder`" in with_command(error.value)


# Lengths of the vector


def test_variants_differ_in_the_vector_or_in_the_decoder(small):
    config = dataclasses.replace(small[0], further=False, semantic_dims=3, train_steps=7)
    verb = CompareAutoencoders(
        config=config, dims=(5, 2), adaptive_steps=4, steps=(1,), encoder_steps=6
    )
    generator = make_autoencoder(0.5, num_steps=3).generator
    found = comparison.variants(verb, generator)
    assert [*found] == [
        (comparison.MODULATED, 2), (comparison.MODULATED, 5), (comparison.ADAPTIVE, 3),
    ]  # fmt: skip
    assert [each.start for each in found.values()] == ["generator"] * 2 + ["nothing"]
    assert [each.config.train_steps for each in found.values()] == [7, 7, 4]
    for (_, dims), each in found.items():
        assert (each.encoder_widths, each.encoder_steps) == ((4, 8, 8), 6)
        assert each.config.semantic_dims == dims
        process = each.config.prediction, each.config.padding
        assert process == (generator.prediction, generator.padding)
    wide = dataclasses.replace(verb, dims=(16,), adaptive_steps=0)
    ((_, only),) = comparison.variants(wide, generator).items()
    assert only.encoder_widths == (4, 8, 16)  # no narrower than the vector


def test_a_vector_that_knows_more_leaves_less(pixels, tmp_path, monkeypatch):
    config = dataclasses.replace(
        FASHION_MNIST.shrink(), images=5, results=tmp_path, weights=None, runs=tmp_path
    )
    verb = CompareAutoencoders(
        config=config, dims=(1, 2), adaptive_steps=3, steps=(2, 3), command="x"
    )
    monkeypatch.setattr(comparison.sources, "load", lambda *_: pixels)
    monkeypatch.setattr(
        comparison.sources, "load_generator", lambda _: make_autoencoder(0).generator
    )
    fitted, folders = [], []

    def fit(trainer, folder):
        folders.append(folder)
        # Images are means and noise: the first takes it for larger than it is, the others for none.
        autoencoder = make_autoencoder(1.5 if len(folders) == 1 else 0.0, num_steps=3)
        budget = {"steps": trainer.config.train_steps, "seconds": 20.0, "encoder_seconds": 1.0}
        fitted.append(training.Fitted(autoencoder, budget, folder))
        return fitted[-1]

    monkeypatch.setattr(training, "fit", fit)
    comparison.run(verb)
    assert len({*folders}) == len({folder.parent for folder in folders}) == 3
    contents = json.loads((tmp_path / "fashion_mnist-smoke/compare-autoencoders.json").read_text())
    first, second, last = contents["rows"]
    assert [row["decoder"] for row in contents["rows"]] == [
        *[comparison.MODULATED] * 2, comparison.ADAPTIVE,
    ]  # fmt: skip
    assert first["less"] is None and last["less"] is None
    assert (first["steps"], last["steps"], first["seconds"]) == (4, 3, 21)
    for row, (autoencoder, _, _) in zip(contents["rows"], fitted, strict=True):
        semantic = autoencoder.encode(pixels).semantic
        alone = autoencoder.predict(semantic, 0).numpy()
        expected = de.metrics.mse(pixels, alone, 2).mean()
        assert row["one_step"]["mse"]["mean"] == pytest.approx(expected, rel=1e-4)
        assert [each["num_steps"] for each in row["random"]] == [2, 3]
        own = autoencoder.generator.given(semantic)
        expected = de.metrics.mse(pixels, own.decode(own.latents(5, 0, autoencode.STREAM)), 2)
        assert row["random"][1]["mse"]["mean"] == pytest.approx(expected.mean(), rel=1e-4)
        expected = de.denoising_errors(own, pixels).each.mean()
        assert row["denoising"]["mean"] == pytest.approx(expected, rel=1e-4)
    fewest = [row["random"][0]["mse"]["mean"] for row in (first, second)]
    assert second["less"]["mean"] == pytest.approx(fewest[0] - fewest[1], rel=1e-4)
    assert second["less"]["mean"] > second["less"]["interval"] > 0
    (claim,) = claims.comparison_claims("fashion_mnist", contents)
    assert claim.verdict == "reproduced" and "less by" in claim.ours
    pages.write_results(verb.outputs, verb.sections)
    text = (tmp_path / "fashion_mnist-smoke/index.html").read_text()
    assert text.count("compare-autoencoders.png") == 1 and comparison.ADAPTIVE in text


def test_no_shorter_vector_no_claim():
    rows = [
        {
            "decoder": "a",
            "semantic_dims": dims,
            "seconds": 9.0,
            "random": [{"num_steps": 10, "mse": estimate(0.1)}],
            "less": less,
        }
        for dims, less in ((2, None), (4, estimate(0.01, 0.02)))
    ]
    contents = {"images": 5, "rows": rows}
    (claim,) = claims.comparison_claims("x", contents)
    assert claim.verdict == "not reproduced"
    rows[1]["less"] = estimate(0.01, 0.002)
    (claim,) = claims.comparison_claims("x", contents)
    assert claim.verdict == "reproduced"
    for nothing in (None, contents | {"rows": rows[:1]}):
        (claim,) = claims.comparison_claims("x", nothing)
        assert claim.verdict == "not measured" and "compare-autoencoders" in claim.why


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dims", "0"], "--dims must be positive"),
        (["--dims", "4", "4"], "--dims must be different"),
        (["--steps", "0"], "--steps must be positive"),
        (["--adaptive-steps", "-1"], "--adaptive-steps must be at least 0"),
        (["--semantic-dims", "4"], "with --adaptive-steps 0"),
    ],
)
def test_wrong_sizes_of_vectors(flags, message, capsys):
    with pytest.raises(SystemExit):
        main(FASHION_MNIST, ["compare-autoencoders", *flags])
    assert message in " ".join(capsys.readouterr().err.split())
