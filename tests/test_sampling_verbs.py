"""The verbs of the prior and of samples: numbers with known answers, their results, the claims."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_generator, record_autoencoder
from keras import ops

import ddim_embed as de
from ddim_embed.autoencoder.prior import prior_config
from ddim_embed.metrics.ranking import auroc
from ddim_embed.training.loop import CheckpointError
from experiments.autoencoder import (
    priors,
    published,
    sampling,
    sampling_claims,
    training,
)
from experiments.autoencoder.sampling_sections import (
    CLASSES,
    PRIORS,
    SAMPLES,
    TRAINING,
    prior_tables,
)
from experiments.autoencoder.sampling_verbs import (
    Priors,
    SampleClasses,
    SampleSemantic,
    TrainPrior,
)
from experiments.celeba import CELEBA
from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import main
from experiments.toolkit import distances
from experiments.toolkit.command_line import UsageError, with_command

RNG = np.random.default_rng(0)
NAME = "fashion_mnist"


def configured(folder, **changes):
    config = dataclasses.replace(FASHION_MNIST.shrink(), runs=folder, precision="float32")
    return dataclasses.replace(config, **changes)


# Distances


def test_distances_with_known_answers():
    features = RNG.normal(size=(40, 3))
    same = distances.frechet(features, features)
    assert same["mean"] == pytest.approx(0, abs=1e-9)
    assert same["interval"] == pytest.approx(0, abs=1e-9)
    assert distances.frechet(features, features + np.array([1, 2, 0]))["mean"] == pytest.approx(5)
    assert distances.frechet(features[:19], features)["interval"] is None


def test_the_jackknife_finds_the_deviation_of_the_distance():
    """Of Gaussians 3 apart: the square of the difference of means varies by 2 * 3 * its own."""
    half_widths, values = [], []
    for _ in range(30):
        a, b = RNG.normal(size=(100, 1)), 3 + RNG.normal(size=(200, 1))
        found = distances.frechet(a, b)
        half_widths.append(found["interval"])
        values.append(found["mean"])
    expected = 6 * (1 / 100 + 1 / 200) ** 0.5
    assert np.mean(half_widths) / 1.96 == pytest.approx(expected, rel=0.15)
    assert np.std(values) == pytest.approx(expected, rel=0.4)  # 3 deviations of that of 30


def test_features_are_those_of_the_images_network(tmp_path):
    grey = RNG.uniform(size=(3, 32, 32, 1)).astype(np.float32)
    config = dataclasses.replace(FASHION_MNIST, runs=tmp_path)
    name, features = distances.image_features(config, padding=2)
    assert name == "the classifier of fashion_mnist"
    expected = de.load_feature_classifier(NAME).features(grey)
    np.testing.assert_array_equal(features(grey), expected)

    name, features = distances.image_features(configured(tmp_path), padding=2)
    assert name == "AlexNet (LPIPS)"
    pixels = RNG.uniform(-0.2, 1.2, size=(3, 16, 16, 1)).astype(np.float32)
    found = features(pixels)
    assert found.shape == (3, 256) and found.std() > 0
    border = pixels.copy()
    border[:, :2] = 0.5
    colour = pixels.clip(0, 1).repeat(3, axis=3)
    for same in (border, colour):
        np.testing.assert_allclose(features(same), found, rtol=1e-4, atol=1e-5)
    assert np.abs(features(pixels[:, ::-1]) - found).max() > 1e-3


def test_alexnet_s_features_are_means_of_its_last_layer(network):
    pixels = ops.convert_to_tensor(RNG.uniform(size=(2, 64, 64, 3)).astype(np.float32))
    last = network._taps(pixels)[-1].numpy()
    np.testing.assert_allclose(network.features(pixels), last.mean(axis=(1, 2)), rtol=1e-5)
    with pytest.raises(ValueError, match="shape"):
        network.features(pixels[0])


# The prior


class Counting:
    """In place of an autoencoder: its vectors are the means of rows; counts what it encodes."""

    def __init__(self, checksum="a" * 64):
        self.checksum, self.encoded = checksum, 0

    def encode(self, pixels):
        self.encoded += len(pixels)
        return de.Code(pixels.mean(axis=(2, 3)))


def test_vectors_are_cached_until_images_or_weights_change(tmp_path, monkeypatch):
    monkeypatch.setattr(priors, "_CHUNK", 3)
    config, autoencoder = configured(tmp_path), Counting()
    pixels = RNG.uniform(size=(5, 4, 4, 1)).astype(np.float32)
    for _ in range(2):
        found = priors.encode(config, autoencoder, pixels, "train")
        np.testing.assert_array_equal(found, pixels.mean(axis=(2, 3)))
    assert autoencoder.encoded == 5
    changed = pixels.copy()
    changed[4, 0, 0, 0] = 0
    found = priors.encode(config, autoencoder, changed, "train")
    np.testing.assert_array_equal(found, changed.mean(axis=(2, 3)))
    assert autoencoder.encoded == 7  # the first chunk is as it was
    other = Counting("b" * 64)
    priors.encode(config, other, pixels, "train")
    assert other.encoded == 5


def test_an_image_and_its_mirror_image_are_on_the_same_side(tmp_path, monkeypatch):
    pixels = RNG.uniform(size=(31, 4, 3, 1)).astype(np.float32)
    test = RNG.uniform(size=(6, 4, 3, 1)).astype(np.float32)
    autoencoder = Counting()
    autoencoder.encode = lambda pixels: de.Code(pixels[:, 0, :, 0])  # which mirroring reverses

    def load(config, split, limit=None):
        return {"train": pixels, "test": test}[split][:limit]

    monkeypatch.setattr(priors.sources, "load", load)
    plain = priors.load_vectors(configured(tmp_path / "a"), autoencoder)
    assert [len(part) for part in plain] == [27, 4, 6]
    found = priors.load_vectors(configured(tmp_path / "b", mirror=True), autoencoder)
    assert [len(part) for part in found] == [54, 8, 6]
    np.testing.assert_array_equal(found.test, test[:, 0, :, 0])
    np.testing.assert_array_equal(found.training[:27], plain.training)
    np.testing.assert_array_equal(found.training[27:], plain.training[:, ::-1])
    np.testing.assert_array_equal(found.validation[4:], plain.validation[:, ::-1])
    everything = np.sort(np.concatenate([plain.training, plain.validation]), axis=0)
    np.testing.assert_array_equal(everything, np.sort(pixels[:, 0, :, 0], axis=0))
    few = priors.load_vectors(configured(tmp_path / "c"), autoencoder, 3)
    assert [len(part) for part in few] == [2, 1, 6]
    with pytest.raises(UsageError, match="2 training images"):
        priors.load_vectors(configured(tmp_path / "d"), autoencoder, 1)


class Drawn(SimpleNamespace):
    """In place of a prior: draws vectors with given means; vectors are standardised as given."""

    def sample(self, n, seed=0, num_steps=None):
        rng = np.random.default_rng(seed)
        return (self.mean + self.deviation * rng.normal(size=(n, 3))).astype(np.float32)

    def standardize(self, vectors):
        return (vectors - 5) / 2


def test_a_gaussian_closes_the_gap_of_gaussian_vectors():
    draw = Drawn(mean=5, deviation=2).sample
    vectors = priors.Vectors(draw(4000, 1), draw(50, 2), draw(2000, 3))
    found = priors.distances(Drawn(mean=7, deviation=2), vectors, 2000)
    # As far as two sets of that size are apart; the prior is a deviation off in each dimension.
    assert found["gaussian"]["mean"] < 0.02 and found["training"]["mean"] < 0.02
    assert found["prior"]["mean"] == pytest.approx(3, rel=0.1)
    assert found["nearest"]["gaussian"] == pytest.approx(1, abs=0.1)
    assert found["nearest"]["prior"] > 1.2
    for name, half_width in found["nearest_interval"].items():
        assert 0 < half_width < 0.1 * found["nearest"][name], name


def test_a_prior_that_knows_its_vectors_by_heart():
    draw = Drawn(mean=5, deviation=2)
    vectors = priors.Vectors(draw.sample(60, 1), draw.sample(5, 2), draw.sample(40, 3))
    draw.sample = lambda n, seed: vectors.training[np.arange(n) % 60]
    found = priors.distances(draw, vectors, 60)
    assert found["nearest"]["prior"] == pytest.approx(0, abs=1e-2)
    assert found["prior"]["mean"] == pytest.approx(found["training"]["mean"])


def test_the_interval_of_a_ratio_is_its_deviation():
    half_widths, ratios = [], []
    for _ in range(200):
        values, others = RNG.normal(3, 1, 50), RNG.normal(2, 0.5, 80)
        half_widths.append(priors.interval_of_ratio(values, others))
        ratios.append(values.mean() / others.mean())
    expected = 1.5 * np.hypot(1 / 3 / 50**0.5, 0.25 / 80**0.5)
    assert np.mean(half_widths) / 1.96 == pytest.approx(expected, rel=0.05)
    assert np.std(ratios) == pytest.approx(expected, rel=0.2)  # 4 deviations of that of 200
    assert priors.interval_of_ratio(values[:1], others) is None
    assert priors.interval_of_ratio(values, others[:1]) is None


def test_results_without_intervals_have_a_table():
    contents = make_prior() | {"ablation": []}
    rows = {row[0]: row[2] for row in prior_tables(contents)["distances"].rows}
    assert rows["samples of the prior"] == "0.950"
    contents["distances"]["nearest_interval"] = {"prior": 0.02}
    rows = {row[0]: row[2] for row in prior_tables(contents)["distances"].rows}
    assert rows["samples of the prior"] == "0.950 \u00b1 0.020"
    assert rows["samples of a fitted Gaussian"] == "1.000"


def test_the_options_reach_the_fit(monkeypatch, tmp_path):
    given = {"hidden": 3, "depth": 4, "dropout": 0.1, "schedule": "linear"}
    given |= {"validation_steps": 7, "patience": 2}
    of_config = {"loss": "mean_squared_error", "prediction": "velocity", "seed": 5}
    of_config |= {"batch_size": 6, "learning_rate": 0.1}
    config = configured(tmp_path, train_steps=11, **of_config)
    verb, vectors = TrainPrior(config=config, **given), priors.Vectors(*RNG.normal(size=(3, 4, 2)))
    found = []

    def fit_prior(training, validation, **options):
        found.append(options)
        np.testing.assert_array_equal([training, validation], vectors[:2])
        if len(found) == 2:
            raise CheckpointError("another run")

    monkeypatch.setattr(de, "fit_prior", fit_prior)
    priors.fit(verb, vectors, tmp_path)
    with pytest.raises(UsageError, match="another run"):
        priors.fit(verb, vectors, tmp_path, num_steps=3)
    expected = given | of_config | {"num_steps": 11, "folder": tmp_path}
    expected |= {"progress": config.progress, "strategy": de.training_strategy("one")}
    assert found == [expected, expected | {"num_steps": 3}]


def test_nearest_is_the_least_distance(monkeypatch):
    monkeypatch.setattr(priors, "_BLOCK", 3)
    vectors, others = RNG.normal(size=(7, 4)), RNG.normal(size=(9, 4))
    expected = np.linalg.norm(vectors[:, None] - others, axis=-1).min(axis=1)
    np.testing.assert_allclose(priors.nearest(vectors, others), expected)


def test_the_rows_of_the_ablation(monkeypatch, tmp_path):
    rows = priors.variants(512, 10)
    assert len(rows) == len(published.ABLATION)
    assert rows["linear, L2"] == {"schedule": "linear", "loss": "mean_squared_error"}
    assert rows["constant, L1, 10 layers of 1024"] == {
        "schedule": "constant", "loss": "mean_absolute_error", "hidden": 1024, "depth": 10,
    }  # fmt: skip
    assert [row.get("depth", 10) for row in rows.values()] == [10, 10, 10, 10, 15, 20, 10, 10]
    fitted = {}

    def fit(verb, vectors, folder, **changes):
        assert (verb.hidden, verb.depth, verb.config.learning_rate) == (8, 2, 5e-4)
        fitted[folder.name] = changes
        prior = Drawn(mean=5 + len(fitted), deviation=2)
        prior.network = SimpleNamespace(count_params=lambda: 10 * len(fitted))
        history = [{"step": 2 * i, "validation_loss": loss} for i, loss in ((1, 0.5), (2, 0.7))]
        return prior, [line | {"seconds": 3.0} for line in history]

    monkeypatch.setattr(priors, "fit", fit)
    draw = Drawn(mean=5, deviation=2).sample
    vectors = priors.Vectors(draw(500, 1), draw(50, 2), draw(500, 3))
    config = dataclasses.replace(configured(tmp_path), smoke=False)
    recorded = de.build_prior(3, hidden=8, depth=2)
    found = priors.ablation(Priors(config=config, samples=500), recorded, vectors, tmp_path)
    assert [*fitted.values()] == [
        {"num_steps": 1000} | changes for changes in priors.variants(8, 2).values()
    ]
    assert len({*fitted}) == 8  # a folder each
    for i, row in enumerate(found):
        assert (row["parameters"], row["best_step"], row["seconds"]) == (10 * (i + 1), 2, 3.0)
        assert row["frechet"]["mean"] == pytest.approx(3 * (i + 1) ** 2 / 4, rel=0.2)
    table = prior_tables(make_prior() | {"ablation": found})["ablation"]
    assert [row[-1] for row in table.rows] == [f"{value:.2f}" for value in published.ABLATION]


def test_a_prior_s_vectors_are_independent_of_the_latents():
    """Of one seed: else an image's latents begin with those of its vector."""
    prior = de.build_prior(12, 4, 2)
    found = []
    prior.process = SimpleNamespace(num_steps=1)
    prior._compiled = lambda weights, latents, steps: latents
    found.append(prior.sample(4, seed=3))
    gaussian = de.GaussianPrior().fit(RNG.normal(size=(200, 12)))
    gaussian.mean_, gaussian.covariance_ = np.zeros(12), np.eye(12)
    found.append(gaussian.sample(4, seed=3))
    latents = make_generator(widths=(4, 8)).latents(4, seed=3).ravel()[:48]
    for vectors in found:  # the axes of a Gaussian have any order and sign
        shared = np.isin(np.abs(latents).round(5), np.abs(vectors).round(5))
        assert shared.mean() < 0.1


# The verbs


def fit_two(fit):
    """`fit`, of one prior of the recorded size and of one of another: each stands for all such."""
    fitted = {}

    def stand_in(*arguments, **options):
        other = "hidden" in options
        if other not in fitted:
            fitted[other] = fit(*arguments, **options)
        return fitted[other]

    return stand_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The results of a smoke run with an autoencoder that was not trained."""
    root = tmp_path_factory.mktemp("sampling")
    folder = root / "fashion_mnist-smoke"
    record_autoencoder(folder / "weights")
    flags = ["--smoke", "--results", root]
    main(FASHION_MNIST, ["train-prior", *flags])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(priors, "fit", fit_two(priors.fit))
        main(FASHION_MNIST, ["priors", *flags, "--ablation"])
    main(FASHION_MNIST, ["sample-semantic", *flags, "--shown", "2"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "_CHUNK", 8)
        main(FASHION_MNIST, ["sample-classes", *flags, "--shown", "2", "--images", "24"])
    return folder


def results(folder, section):
    return json.loads((folder / section.file).read_text())


@pytest.fixture(scope="module")
def autoencoder(folder):
    return de.load_autoencoder(NAME, folder / "weights", num_steps=2)


@pytest.fixture(scope="module")
def network():
    return de.load_perceptual_distance()


def test_the_recorded_prior_is_measured(folder, autoencoder):
    prior = autoencoder.prior
    assert prior.autoencoder == autoencoder.checksum
    assert prior_config(prior)["hidden"] == 8
    trained, contents = results(folder, TRAINING), results(folder, PRIORS)
    entry = json.loads((folder / "weights" / NAME / "prior.json").read_text())
    assert entry["budget"]["steps"] == trained["history"][-1]["step"] == 4
    assert entry["budget"]["autoencoder"] == autoencoder.checksum
    losses = [line["validation_loss"] for line in trained["history"]]
    assert entry["budget"]["validation_loss"] == trained["validation_loss"] == min(losses)

    pixels, _ = de.load_images(NAME, "test", 16, source="sample", limit=64)
    semantic = autoencoder.encode(pixels).semantic
    held = np.random.default_rng(0).permutation(64)[:7]
    training, test = np.delete(semantic, held, axis=0), prior.standardize(semantic[:8])
    assert trained["vectors"] == contents["vectors"] == len(training) == 57
    np.testing.assert_allclose(prior.normalizer.mean, training.mean(axis=0), rtol=1e-4)
    gaussian, errors = de.GaussianPrior().fit(training), entry["errors"]
    for count, of_prior, of_gaussian in (
        (64, *(contents["distances"][name]["mean"] for name in ("prior", "gaussian"))),
        (10_000, errors["test_vectors_frechet"], errors["test_vectors_frechet_of_a_gaussian"]),
    ):
        for sampled, found in ((prior, of_prior), (gaussian, of_gaussian)):
            samples = prior.standardize(sampled.sample(count, 0))
            assert found == pytest.approx(de.frechet_distance(samples, test), rel=1e-3)
    assert [row["name"] for row in contents["ablation"]] == [*priors.variants(8, 2)]
    assert {row["best_step"] for row in contents["ablation"]} == {2}
    own, *_, larger = (row["parameters"] for row in contents["ablation"])
    assert own == prior.network.count_params() < larger


@pytest.mark.parametrize("flags", [["--train-images", "32"], ["--seed", "1"], ["--mirror"]])
def test_a_prior_is_compared_on_its_own_vectors(folder, flags, capsys):
    with pytest.raises(SystemExit) as stop:
        main(FASHION_MNIST, ["priors", "--smoke", "--results", folder.parent, *flags])
    assert stop.value.code == 2
    assert "must be those of the recorded prior" in capsys.readouterr().err


def test_samples_are_those_of_the_autoencoder(folder, autoencoder, network):
    contents = results(folder, SAMPLES)
    rows = {(row["model"], row["num_steps"]): row for row in contents["rows"]}
    assert [*rows] == [
        *((model, steps) for steps in (1, 2) for model in ("DDIM", "ours", "+ autoencoding")),
        ("ours, Gaussian prior", 1),
    ]  # fmt: skip
    assert contents["features"] == "AlexNet (LPIPS)" and contents["images"] == 8
    pixels, _ = de.load_images(NAME, "test", 16, source="sample", limit=32)
    reference = network.features(ops.convert_to_tensor(pixels)).numpy()
    generator = de.load_generator(NAME, folder / "weights", num_steps=2)
    semantic = autoencoder.encode(pixels).semantic
    gaussian = de.GaussianPrior().fit(semantic).sample(8, 0)
    images = {
        ("DDIM", 2): generator.sample(8, 0),
        ("ours", 2): autoencoder.sample(8, 0, prior_steps=2),
        ("ours", 1): autoencoder.sample(8, 0, num_steps=1, prior_steps=1),
        ("+ autoencoding", 2): autoencoder.decode(semantic[:8], 0).numpy(),
        ("ours, Gaussian prior", 1): autoencoder.with_steps(1).decode(gaussian, 0).numpy(),
    }
    for key, each in images.items():
        rounded = np.rint(255 * each.clip(0, 1)) / 255
        features = network.features(ops.convert_to_tensor(rounded.astype(np.float32))).numpy()
        expected = de.frechet_distance(features, reference)
        # float32, and now and then a pixel is rounded up rather than down.
        assert rows[key]["frechet"]["mean"] == pytest.approx(expected, rel=2e-2), key
    floor = de.frechet_distance(reference[:8], reference)
    assert contents["floor"]["mean"] == pytest.approx(floor, rel=1e-3)
    assert [row["prior_steps"] for row in contents["rows"]][:3] == [None, 1, None]
    assert len({row["frechet"]["mean"] for row in contents["rows"]}) == 7


def test_samples_are_cached(tmp_path, tiny_generator, monkeypatch):
    monkeypatch.setattr(sampling, "_CHUNK", 2)
    config, latents = configured(tmp_path), tiny_generator.latents(3, 1)
    found = sampling.decoded(config, tiny_generator, latents, "DDIM, T = 2")
    expected = tiny_generator.decode(latents).numpy().clip(0, 1)
    assert np.abs(found - expected).max() <= 0.5 / 255 + 1e-5
    np.testing.assert_allclose(255 * found, np.rint(255 * found), atol=1e-4)
    files = sorted(path.name for path in tmp_path.rglob("*.npz"))
    assert files == ["0.npz", "2.npz"]
    monkeypatch.setattr(sampling, "decode", lambda *_: pytest.fail("decoded again"))
    again = sampling.decoded(config, tiny_generator, latents, "DDIM, T = 2")
    np.testing.assert_array_equal(again, found)
    with pytest.raises(pytest.fail.Exception):
        sampling.decoded(config, tiny_generator.with_steps(1), latents, "DDIM, T = 2")


class Even(SimpleNamespace):
    """In place of a prior: vectors evenly between -1 and 1, then the same again."""

    def sample(self, n, seed=0, num_steps=None):
        self.calls.append((n, num_steps))
        return np.random.default_rng(seed).uniform(-1, 1, size=(n, 1)).astype(np.float32)


@pytest.mark.parametrize("scenario", [sampling.BINARY, sampling.UNLABELLED])
def test_few_labels_choose_the_vectors_of_a_class(tmp_path, scenario):
    vectors = RNG.uniform(-1, 1, size=(400, 1))
    members = vectors[:, 0] > 0.4
    config = configured(tmp_path, images=200)
    verb = SampleClasses(config=config, prior_steps=7, positives=60, unlabelled=300)
    prior = Even(calls=[])
    autoencoder = SimpleNamespace(prior=prior, standardize=lambda vectors: 2 * vectors)
    classifier, accepted = sampling.few_shot(
        verb, autoencoder, 2 * vectors, members, "bright", scenario, 3
    )
    many = np.linspace(-1, 1, 20_001)[:, None]
    chances = classifier.probabilities(2 * many)[:, 0]
    chances = np.where(chances >= 0.5, chances, 0)
    rate = chances.mean()
    assert accepted.accepted / accepted.drawn == pytest.approx(rate, abs=4 / 1000**0.5)
    assert accepted.vectors.shape == (200, 1)
    expected = (chances * many[:, 0]).sum() / chances.sum()
    assert accepted.vectors.mean() == pytest.approx(expected, abs=4 * 0.3 / 200**0.5)
    assert accepted.vectors.min() > 0 and expected > 0.5
    assert {steps for _, steps in prior.calls} == {7}
    direct = de.fit_few_shot_classifier(
        2 * vectors, members, "bright",
        *((60, 300, True) if scenario == sampling.UNLABELLED else (50, 50, False)), 3,
    )  # fmt: skip
    np.testing.assert_array_equal(classifier.weights, direct.weights)


def test_too_few_labels_are_named(tmp_path):
    verb = SampleClasses(config=configured(tmp_path), labels=9)
    autoencoder = SimpleNamespace(prior=Even(calls=[]), standardize=np.asarray)
    members = np.arange(20) < 5
    with pytest.raises(UsageError, match="The class x, binary: `positives` must be"):
        sampling.few_shot(verb, autoencoder, RNG.normal(size=(20, 1)), members, "x", "binary", 0)


def test_classes_and_their_complements():
    names, labels = ("Male", "Blond_Hair"), np.array([[1, 0], [0, 1], [0, 0]], bool)
    data = sampling._Labelled(None, None, names, labels)
    assert data.of_class("Blond_Hair").tolist() == [False, True, False]
    assert data.of_class("not Male").tolist() == [False, True, True]
    with pytest.raises(UsageError, match="--classes must be among Male, Blond_Hair"):
        data.of_class("Femal")
    assert sampling._default_classes((*names, "Young")) == sampling.CLASSES_OF_FACES
    assert sampling._default_classes(("Trouser", "Bag", "Coat")) == ("Trouser", "Bag")


def test_samples_of_classes_are_those_of_the_autoencoder(folder, autoencoder, network):
    contents = results(folder, CLASSES)
    rows = contents["rows"]
    assert [(row["scenario"], row["class"]) for row in rows] == [
        (scenario, name)
        for scenario in ("binary", "positive-unlabelled")
        for name in ("T-shirt/top", "Trouser")
    ]
    names, labels = de.load_attributes(NAME, "test", 16, "sample")
    pixels, _ = de.load_images(NAME, "test", 16, "sample")
    assert contents["training_images"] == 100
    row, members = rows[3], labels[:, names.index("Trouser")]
    assert (row["held"], row["share"]) == (members.sum(), pytest.approx(members.mean()))
    vectors = autoencoder.standardize(autoencoder.encode(pixels).semantic)

    def features(images):
        rounded = np.float32(np.rint(255 * np.clip(images, 0, 1)) / 255)
        return network.features(ops.convert_to_tensor(rounded)).numpy()

    reference = features(pixels[members])
    found = {"frechet": [], "auroc": [], "naive": []}
    for seed in (0, 1):
        classifier = de.fit_few_shot_classifier(
            vectors[:100], members[:100], "Trouser", 4, 20, True, seed
        )
        options = {"seed": seed, "prior_steps": 2}
        images = autoencoder.sample_class(24, classifier, "Trouser", 0.0, **options)
        found["frechet"].append(de.frechet_distance(features(images), reference))
        found["auroc"].append(auroc(classifier.logits(vectors)[:, 0], members))
        naive = features(autoencoder.sample(24, **options))
        found["naive"].append(de.frechet_distance(naive, reference))
    for key, values in found.items():
        assert row[key]["mean"] == pytest.approx(np.mean(values), rel=2e-2), key
    half_width = 1.96 * np.std(found["frechet"], ddof=1) / 2**0.5
    assert row["frechet"]["interval"] == pytest.approx(half_width, rel=0.2, abs=1e-3)
    training = features(pixels[:100][members[:100]][:24])
    expected = de.frechet_distance(training, reference)
    assert row["training"]["mean"] == pytest.approx(expected, rel=1e-3)
    assert 0 < row["acceptance"]["mean"] < 1


def test_page_and_figures(folder):
    text = (folder / "index.html").read_text()
    for name in (name for one in (TRAINING, PRIORS, SAMPLES, CLASSES) for name in one.figures):
        assert (folder / name).read_bytes().startswith(b"\x89PNG") and text.count(name) == 1
    assert "+ autoencoding" in text and "positive-unlabelled" in text


def test_smoke_runs_train_what_is_missing(tmp_path, monkeypatch):
    verb, trained = SampleSemantic.defaults(configured(tmp_path)), []
    monkeypatch.setattr(training, "train_autoencoder", lambda verb: trained.append("autoencoder"))
    monkeypatch.setattr(priors, "train_prior", lambda verb: trained.append("prior"))
    for names in (("autoencoder", "prior"), ("autoencoder",), ()):
        verb.train_for_smoke({f"{NAME}/{name}" for name in names})
    assert trained == ["prior", "autoencoder", "prior"]


def test_a_missing_prior_is_trained_by_its_verb(folder, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        de.load_prior(NAME, tmp_path)
    assert "python -m experiments.fashion_mnist train-prior`" in with_command(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train-prior", "--depth", "1"], "--depth must be at least 2"),
        (["train-prior", "--dropout", "1"], "--dropout must be from 0"),
        (["train-prior", "--train-images", "1"], "--train-images must be at least 2"),
        (["train-prior", "--shown", "3"], "--shown"),
        (["priors", "--samples", "1"], "--samples must be at least 2"),
        (["priors", "--ablation-steps", "9"], "--ablation"),
        (["sample-semantic", "--steps", "10", "0"], "--steps must be positive"),
        (["sample-semantic", "--prior-steps", "0"], "--prior-steps must be at least 1"),
        (["sample-semantic", "--images", "1"], "--images must be at least 2"),
        (["sample-classes", "--threshold", "1"], "--threshold must be from 0"),
        (["sample-classes", "--repeats", "0"], "--repeats must be at least 1"),
    ],
)
def test_usage_errors(arguments, words, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(FASHION_MNIST, [*arguments, "--results", tmp_path])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_the_prior_s_options_are_those_of_the_paper():
    config = TrainPrior.defaults(CELEBA).config
    assert (config.loss, config.prediction) == ("mean_absolute_error", "noise")
    assert (config.train_steps, config.batch_size) == (20_000, 256)


# Claims


def estimate(mean, interval=0.01):
    return {"mean": mean, "interval": interval}


def make_prior():
    """Results of `priors` of which every claim holds."""
    names = priors.variants(512, 10)
    means = [5.0, 6.0, 4.0, 4.5, 3.0, 3.1, 3.2, 3.3]
    return {
        "test_images": 500,
        "distances": {
            "prior": estimate(2.0),
            "gaussian": estimate(3.0),
            "training": estimate(1.0),
            "nearest": {"prior": 0.95, "gaussian": 1.0},
        },
        "ablation": [
            {"name": name, "parameters": 1, "best_step": 1, "frechet": estimate(mean)}
            for name, mean in zip(names, means, strict=True)
        ],
        "options": {"ablation_steps": 9},
    }


def make_samples():
    models = {"DDIM": 4.0, "ours": 3.0, "+ autoencoding": 2.0}
    return {
        "images": 500,
        "floor": estimate(1.0),
        "rows": [
            {"model": model, "num_steps": steps, "frechet": estimate(mean + 1 / steps)}
            for steps in (10, 20, 50, 100)
            for model, mean in models.items()
        ]
        + [{"model": "ours, Gaussian prior", "num_steps": 100, "frechet": estimate(5.0)}],
    }


def make_classes():
    return {
        "images": 400,
        "rows": [
            {
                "scenario": scenario,
                "class": name,
                "share": share,
                "frechet": estimate(2.0),
                "naive": estimate(naive),
            }
            for scenario in ("binary", "positive-unlabelled")
            for name, share, naive in (("Male", 0.4, 3.0), ("not Blond_Hair", 0.85, 1.0))
        ],
    }


CLAIMS = {
    "prior": (sampling_claims.prior_claims, make_prior),
    "samples": (sampling_claims.sample_claims, make_samples),
    "classes": (sampling_claims.class_claims, make_classes),
}


def verdicts(kind, contents):
    """The verdicts of the claims, in order."""
    rows = list(CLAIMS[kind][0]("celeba", contents))
    assert all(row.item.startswith("Diffusion autoencoders, ") for row in rows)
    assert all(row.why for row in rows if row.verdict == "not measured")
    return [str(row.verdict) for row in rows]


@pytest.mark.parametrize(
    ("kind", "holding"),
    [
        ("prior", ["better"] + 4 * ["reproduced"]),
        ("samples", 4 * ["reproduced"] + ["better"]),
        ("classes", 2 * ["reproduced"]),
    ],
)
def test_claims_hold_by_their_numbers(kind, holding):
    assert verdicts(kind, CLAIMS[kind][1]()) == holding
    assert verdicts(kind, None) == ["not measured"] * len(holding)


@pytest.mark.parametrize(
    ("kind", "path", "value", "changed", "verdict"),
    [
        ("prior", ("distances", "gaussian"), estimate(2.01), 0, "not reproduced"),
        ("prior", ("distances", "nearest", "prior"), 0.5, 1, "not reproduced"),
        ("prior", ("ablation", 0, "frechet"), estimate(6.0), 2, "not reproduced"),
        ("prior", ("ablation", 3, "frechet"), estimate(6.0), 3, "not reproduced"),
        ("prior", ("ablation", 7, "frechet"), estimate(4.0), 4, "not reproduced"),
        ("samples", ("rows", 1, "frechet"), estimate(4.1), 0, "not reproduced"),
        ("samples", ("rows", 9, "frechet"), estimate(3.01), 1, "not reproduced"),
        ("samples", ("rows", 8, "frechet"), estimate(3.02), 2, "not reproduced"),
        ("samples", ("rows", 9, "frechet"), estimate(4.1), 3, "not reproduced"),
        ("samples", ("rows", 12, "frechet"), estimate(3.0), 4, "not reproduced"),
        ("classes", ("rows", 0, "naive"), estimate(2.01), 0, "not reproduced"),
        ("classes", ("rows", 2, "share"), 0.8, 1, "not measured"),
    ],
)
def test_claims_fail_by_their_numbers(kind, path, value, changed, verdict):
    contents = CLAIMS[kind][1]()
    expected, place = verdicts(kind, contents), contents
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    expected[changed] = verdict
    assert verdicts(kind, contents) == expected


def test_a_class_that_most_images_are_of_is_named():
    contents = make_classes()
    contents["rows"][0] |= {"naive": estimate(2.01), "share": 0.57}
    binary, _ = sampling_claims.class_claims("celeba", contents)
    assert binary.why == "not beyond the intervals of 400 samples: 57% of all images are Male"


def test_claims_of_a_smoke_run(folder):
    for kind, section in (("prior", PRIORS), ("samples", SAMPLES), ("classes", CLASSES)):
        contents = results(folder, section)
        assert len(verdicts(kind, contents)) == len(verdicts(kind, None))
    assert verdicts("samples", results(folder, SAMPLES))[:2] == 2 * ["not measured"]
    without = make_prior() | {"ablation": []}
    assert verdicts("prior", without) == ["better", "reproduced"] + 3 * ["not measured"]
