"""The verbs of attributes, edits, neighbours, codes and detection: numbers, results, claims."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_close, record_autoencoder
from PIL import Image

import ddim_embed as de
from experiments import runner
from experiments.autoencoder import attribute_claims as claims
from experiments.autoencoder import (
    attribute_verbs,
    attributes,
    code_interpolation,
    detection,
    encoded,
    manipulation,
    neighbours,
)
from experiments.autoencoder.attribute_verbs import VERBS
from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import main
from experiments.toolkit import distances, judge, labelled, pages, results, sources
from experiments.toolkit.command_line import UsageError, with_command

CLOTHES = de.load_attributes("fashion_mnist", "test", source="sample", limit=1)[0]


# Parts with known answers


def test_principal_components_are_those_of_the_images():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(16, 3)))[0].T
    scores = rng.normal(size=(300, 3)) * [5, 2, 1]
    images = (scores @ axes + 7).reshape(300, 4, 4, 1)
    train, test = attributes.principal_components(images[:200], images[200:], 3)
    np.testing.assert_allclose(train.std(axis=0, ddof=1), 1)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-9)
    centred = images.reshape(300, 16) - images[:200].reshape(200, 16).mean(axis=0)
    directions = np.linalg.svd(centred[:200], full_matrices=False)[2][:3]
    for i, direction in enumerate(directions):
        expected = centred[200:] @ direction / (centred[:200] @ direction).std(ddof=1)
        sign = np.sign(expected @ test[:, i])
        np.testing.assert_allclose(sign * test[:, i], expected, atol=1e-6)
    # Fewer images than dimensions.
    assert attributes.principal_components(images[:3], images[200:], 10)[1].shape == (100, 2)


def make_ranking(values, positives, names=("a", "b", "c")):
    values, positives = np.array(values), np.array(positives)
    return SimpleNamespace(
        names=names, values=values, positives=positives, counted=positives > 5, macro=0.75,
        macro_interval=(0.7, 0.8), intervals=np.stack([values - 0.1, values + 0.1], axis=1),
    )  # fmt: skip


def test_summaries_of_attributes():
    ranking = make_ranking([0.9, 0.6, np.nan], [30, 10, 0])
    found = attributes.summary({"auroc": ranking})
    assert found["weighted_auroc"] == pytest.approx((0.9 * 30 + 0.6 * 10) / 40)
    assert found["auroc"] == {"macro": 0.75, "interval": [0.7, 0.8]}
    fewer = make_ranking([0.5, 0.4], [30, 0], ("a", "c"))
    rankings = {("vector", 9): {"auroc": ranking}, ("pixels", 5): {"auroc": fewer}}
    rows = attributes.each(rankings, ("a", "b", "c"))
    assert [row["auroc"]["value"] for row in rows] == [0.9, 0.6, None]
    assert rows[2]["auroc"]["interval"] == [None, None]
    # An attribute that fewer training images lack is missing, not that of its neighbour.
    assert [row["others"]["pixels, 5"] for row in rows] == [0.5, None, 0.4]
    assert [row["counted"] for row in rows] == [True, True, False]


def test_attributes_without_positives_are_left_out(capsys):
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0]], bool)
    names, kept, of_test = attributes._with_both(("a", "b", "c"), labels, labels[:1])
    assert names == ("a", "c") and "Left out: b," in capsys.readouterr().out
    np.testing.assert_array_equal(kept, labels[:, [0, 2]])
    np.testing.assert_array_equal(of_test, [[True, True]])
    with pytest.raises(UsageError, match="--train-images"):
        attributes._with_both(("a",), labels[:, 1:2], labels[:, 1:2])


def test_what_a_judge_says_of_edits():
    before = np.array([[-1.0, 0, 2], [-2, 1, 3]])
    after = {
        "median": np.array([[1.0, 0.5, 2], [-1, 1, 3.1]]),
        "pattern": np.array([[1.0, 0, 2], [1, 1, 3]]),
        "fixed": np.array([[2.0, 1, 0], [1, 3, 3]]),
    }
    found = manipulation.measure(0, before, after)
    assert found["before"]["positive"]["mean"] == 0
    assert found["median"]["positive"]["mean"] == 0.5
    assert found["fixed"]["positive"]["mean"] == 1
    assert found["median"]["own"]["mean"] == pytest.approx(1.5)
    assert found["median"]["others"]["mean"] == pytest.approx((0.25 + 0.05) / 2)
    assert found["fixed"]["others"]["mean"] == pytest.approx((1.5 + 1) / 2)
    assert found["pattern"]["others_difference"]["mean"] == pytest.approx((1.5 + 1) / 2)
    difference = found["median"]["others_difference"]
    assert difference["mean"] == pytest.approx((1.25 + 0.95) / 2)
    half_width = 1.96 * np.std([1.25, 0.95], ddof=1) / 2**0.5
    assert difference["interval"] == pytest.approx(half_width)


def test_frechet_distances_are_to_training_images_of_both_sides():
    features = np.random.default_rng(0).normal(size=(60, 3))
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    training = np.concatenate([features, features + 2])  # the negatives, and the positives
    labels = np.repeat([False, True], 60)
    found = manipulation.distances(training, labels, features, features + 1.5)
    assert found["floor"] == pytest.approx(0, abs=1e-9)
    assert found["positive_negative"] == pytest.approx(3 * 4)  # squared shifts
    assert found["manipulated_positive"] == pytest.approx(3 * 0.25)
    assert found["manipulated_negative"] == pytest.approx(3 * 2.25)
    assert found["images"] == [60, 60]
    assert found["floor_interval"] == pytest.approx(0, abs=1e-9)
    expected = distances.frechet(features + 1.5, features + 2)
    assert found["manipulated_positive_interval"] == pytest.approx(expected["interval"])
    assert manipulation.distances(training, ~np.ones(120, bool), features, features) is None


def test_identity_of_edited_faces(monkeypatch, capsys):
    class Identity:
        def descriptors(self, pixels):
            return pixels[:, 0, :2, 0]

        def distance(self, pixels, other):
            return np.linalg.norm(self.descriptors(pixels) - self.descriptors(other), axis=1)

    monkeypatch.setattr(de, "load_face_identity", Identity)
    monkeypatch.setattr(de, "lpips", lambda pixels, edited, padding: np.full(len(pixels), 0.25))
    pixels = np.zeros((2, 1, 2, 1))
    pixels[0, 0, 0], pixels[1, 0, 1] = 0.3, 0.4
    faces = manipulation._faces(FASHION_MNIST, ("Smiling", "Male"), pixels)
    assert faces["others"]["mean"] == pytest.approx(0.5)
    edited = pixels.copy()
    edited[0, 0, 1] = 0.3
    found = manipulation._likeness(pixels, edited, 0, faces)
    assert found["identity"]["distance"]["mean"] == pytest.approx(0.15)
    assert found["identity"]["cosine"]["mean"] == pytest.approx((0.5**0.5 + 1) / 2)
    assert found["lpips"]["mean"] == 0.25
    assert manipulation._faces(FASHION_MNIST, ("Bag",), pixels) is None
    assert "Left out: the identity of faces" in capsys.readouterr().out
    assert manipulation._likeness(pixels, edited, 0, None)["identity"] is None


def test_nearest_images(monkeypatch):
    monkeypatch.setattr(neighbours, "_BATCH", 7)  # several batches
    rng = np.random.default_rng(0)
    train, own = rng.normal(size=(30, 4)), rng.normal(size=(9, 4))
    own[3] = train[20]
    index, squares = neighbours.nearest(own, train)
    everything = ((own[:, None] - train) ** 2).mean(axis=-1)
    np.testing.assert_array_equal(index, everything.argmin(axis=1))
    np.testing.assert_allclose(squares, everything.min(axis=1), atol=1e-12)
    assert index[3] == 20
    found = neighbours.compared(np.array([1.0, 2, 3, 4]), np.array([2.0, 4, 6, 8]))
    assert (found["sampled"]["mean"], found["test"]["mean"]) == (2.5, 5)
    assert found["copies"] == 0.25


def test_distances_of_many_images_are_those_of_the_metrics():
    pixels, _ = de.load_images("fashion_mnist", "test", source="sample", limit=6)
    train, own = pixels[:4], pixels[4:]
    pairs = own.repeat(4, axis=0), np.concatenate([train, train])
    for metric, place in neighbours.places(2).items():
        measure = {"LPIPS": de.lpips, "pixels": de.metrics.mse}[metric]
        expected = measure(*pairs, 2).reshape(2, 4)
        index, squares = neighbours.nearest(own, train, place)
        np.testing.assert_array_equal(index, expected.argmin(axis=1))
        np.testing.assert_allclose(squares, expected.min(axis=1), rtol=1e-4)


def test_ratios_of_path_lengths():
    below = np.array([1.0, 2, 4, 9])
    assert code_interpolation.ratio(3 * below, below) == {
        name: pytest.approx(3) for name in ("mean", "low", "high")
    }
    found = code_interpolation.ratio([4.0, 4, 4, 4], below)
    assert found["mean"] == pytest.approx(1) and found["low"] < 1 < found["high"]
    assert code_interpolation.ratio([2.0], [1.0]) == {"mean": 2, "low": None, "high": None}


def test_wilson_intervals():
    assert detection.half_width(0.5, 100) == pytest.approx(0.0962, abs=1e-4)
    assert 0 < detection.half_width(1, 100) < 0.02
    shares = np.repeat([True, False], [30, 10])
    low, high = results.share_bounds(0.75, 40)  # scipy.stats.binomtest(30, 40), method "wilson"
    assert (low, high) == pytest.approx((0.5981, 0.8581), abs=2e-4)
    assert results.interval(shares) == pytest.approx((high - low) / 2)
    assert 0.08 < results.interval(shares[:20]) < 0.09  # all of them


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    config = dataclasses.replace(FASHION_MNIST.shrink(), image_size=8, precision="float32")
    return dataclasses.replace(config, runs=tmp_path_factory.mktemp("judge"))


def halves(n):
    """Noise, brighter at the left, at the top, at both or at neither; and which it is."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=(n, 2)).astype(bool)
    pixels = rng.uniform(0.2, 0.4, size=(n, 8, 8, 1))
    pixels[labels[:, 0], :, :4] += 0.3
    pixels[labels[:, 1], :4] += 0.3
    return pixels.astype(np.float32), labels


class Columns:
    """An autoencoder whose vectors are the brightness of each column."""

    checksum, dims, padding = "a" * 64, 16, 0

    def encode(self, pixels):
        return de.Code(pixels.mean(axis=(1, 3)))

    def standardize(self, code):
        return code.semantic


def test_classifiers_see_mirror_images_too(small, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "load_autoencoder", lambda config: Columns())
    config = dataclasses.replace(
        small, image_size=16, mirror=True, weights=tmp_path, runs=tmp_path, source="sample"
    )
    verb = VERBS["attributes"](config=config, train_images=40, compared=0, least=1)
    fitted = attributes.fit(verb)
    assert fitted.images == 40 and len(fitted.vectors) == len(fitted.labels) == 80
    np.testing.assert_array_equal(fitted.vectors[40:], fitted.vectors[:40, ::-1])
    np.testing.assert_array_equal(fitted.labels[40:], fitted.labels[:40])
    ((name, few, vectors, of_test),) = attributes.representations(verb, fitted)
    assert (name, few, len(vectors), len(of_test)) == ("pixels", 40, 80, len(fitted.test))
    entry = json.loads((tmp_path / config.name / "classifier.json").read_text())
    assert entry["budget"]["images"] == 40 and "its mirror image" in entry["data"]


def test_the_judge_learns_attributes_and_is_trained_once(small, monkeypatch):
    pixels, labels = halves(400)
    folder = small.runs / "judge"
    trained = pixels[:300], labels[:300]
    network = judge.train(small, *trained, 40, folder, "halves")
    found = judge.logits(network, pixels[300:])
    assert found.shape == (100, 2)
    right = (found > 0) == labels[300:]
    assert right.mean(axis=0).min() > 0.9
    monkeypatch.setattr(judge.JudgeModel, "compute_losses", lambda *_: pytest.fail("trained again"))
    again = judge.train(small, *trained, 40, folder, "halves")
    np.testing.assert_allclose(judge.logits(again, pixels[300:]), found, atol=1e-5)
    with pytest.raises(UsageError):
        judge.train(small, *trained, 40, folder, "other images")


def test_mirrored_images_follow_the_others():
    pixels, labels = halves(3)
    network = de.FeatureClassifier((8, 8, 1), 2, (4,), 4)
    values = np.round(255 * pixels).astype(np.uint8)
    losses = [
        float(model.compute_losses(np.array([[index]], np.float32), 0, False, model.constants)[0])
        for index, model in (
            (4, judge.JudgeModel(network, values, labels, mirrored=True)),
            (1, judge.JudgeModel(network, values[:, :, ::-1], labels)),
        )
    ]
    logits = network(values[1:2, :, ::-1] / 255).numpy()[0].astype(np.float64)
    signs = np.where(labels[1], 1, -1)
    expected = np.log1p(np.exp(-signs * logits)).mean()
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_a_detector_is_measured_on_images_it_has_not_seen(small, monkeypatch):
    seen = []

    def trained(config, pixels, labels, steps, folder, identity):
        seen.append((pixels, labels))

    monkeypatch.setattr(judge, "train", trained)
    # It says "fake" of what is brighter than .5.
    monkeypatch.setattr(judge, "logits", lambda _, images: images[:, 0, 0] - 0.5)
    real, fakes = np.zeros((10, 1, 1, 1)), np.ones((10, 1, 1, 1))
    real[8] = 1.0
    verb = SimpleNamespace(config=small, detector_steps=3)
    assert detection.detect(verb, real, fakes, "x") == (pytest.approx(5 / 6), 6)
    ((pixels, labels),) = seen
    np.testing.assert_array_equal(pixels[:, 0, 0], np.repeat([0, 1], 7)[:, None])
    np.testing.assert_array_equal(labels[:, 0], np.repeat([False, True], 7))


def test_test_images_have_the_labels_of_the_names(monkeypatch):
    found = np.zeros((2, 1)), ("0", "1"), np.array([[1, 0], [0, 1]], bool)
    monkeypatch.setattr(labelled.sources, "load_with_attributes", lambda *_: found)
    _, labels = labelled.test_images(FASHION_MNIST, ("1", "2", "0"), 2)
    np.testing.assert_array_equal(labels, [[0, 0, 1], [1, 0, 0]])


def test_attributes_that_are_shown():
    names = ("Bald", "Male", "Smiling", "Young")
    assert labelled.chosen(names, (), 2) == ("Smiling", "Male")
    assert labelled.chosen(("a", "b", "c"), (), 2) == ("a", "b")
    assert labelled.chosen(names, ("Bald",), 2) == ("Bald",)
    with pytest.raises(
        UsageError, match=r"one of Bald, Male.*Received: Smilin. Did you mean 'Smil"
    ):
        labelled.chosen(names, ("Smilin",), 2)
    assert labelled.are_faces(names) and not labelled.are_faces(("Bag",))


# The verbs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The results of smoke runs with weights that were not trained."""
    root = tmp_path_factory.mktemp("attributes")
    folder = root / "fashion_mnist-smoke"
    record_autoencoder(folder / "weights")
    flags = ["--smoke", "--results", root]
    main(FASHION_MNIST, ["attributes", *flags])
    main(FASHION_MNIST, ["manipulate", "--shown", "2", *flags])
    pixels, _ = de.load_images("fashion_mnist", "test", 16, source="sample", limit=2)
    files = [root / "shirt.png", root / "boot.png"]
    for path, image in zip(files, pixels, strict=True):
        Image.fromarray(np.round(255 * image[..., 0]).astype(np.uint8)).save(path)
    own = ["--attribute", "T-shirt/top", "Bag", "--strength", "3", "0", *flags]
    main(FASHION_MNIST, ["manipulate", *files, *own])
    main(FASHION_MNIST, ["neighbours", *flags])
    main(FASHION_MNIST, ["interpolate-codes", *flags])
    main(FASHION_MNIST, ["detect", "--steps", "2", *flags])
    return folder


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def made(folder):
    """The autoencoder, the classifier, test images, labels and some codes of the smoke runs."""
    autoencoder = de.load_autoencoder("fashion_mnist", folder / "weights", num_steps=2)
    classifier = de.load_attribute_classifier("fashion_mnist", folder / "weights")
    images = de.load_images("fashion_mnist", "test", 16, source="sample", limit=60)[0]
    labels = de.load_attributes("fashion_mnist", "test", 16, source="sample", limit=60)[1]
    code = autoencoder.encode(images[:4], encoded.METHOD)
    return SimpleNamespace(
        autoencoder=autoencoder, classifier=classifier, images=images, labels=labels, code=code,
        vectors=autoencoder.standardize(autoencoder.encode(images)),
    )  # fmt: skip


def test_the_classifier_is_recorded_and_measured(folder, made):
    from sklearn.metrics import average_precision_score, roc_auc_score

    classifier, labels = made.classifier, made.labels
    assert classifier.autoencoder == made.autoencoder.checksum and classifier.names == CLOTHES
    expected = de.fit_attribute_classifier(made.vectors, labels, CLOTHES, penalty=30)
    np.testing.assert_allclose(classifier.weights, expected.weights, atol=1e-4)
    contents = read(folder, "attributes")
    logits = classifier.logits(made.vectors[:8])
    scores = []
    for row, column, own in zip(contents["attributes"], labels[:8].T, logits.T, strict=True):
        assert row["positives"] == column.sum()
        if not column.any():
            assert row["auroc"]["value"] is None and not row["counted"]
            continue
        scores.append(roc_auc_score(column, own))
        assert row["auroc"]["value"] == pytest.approx(scores[-1])
        precision = average_precision_score(column, own)
        assert row["average_precision"]["value"] == pytest.approx(precision)
    of_vectors = contents["representations"][0]
    assert of_vectors["auroc"]["macro"] == pytest.approx(np.mean(scores))
    rows = [(row["name"], row["training_images"]) for row in contents["representations"]]
    assert rows == [
        ("semantic vector", 60), ("pixels", 60), ("semantic vector", 40), ("pixels", 40),
        ("latents x_T", 40),
    ]  # fmt: skip


def test_representations_equal_a_direct_computation(folder, made):
    known = made.labels[:40].any(axis=0)
    names = tuple(np.array(CLOTHES)[known])
    latents = [
        np.concatenate([np.load(path)["latents"] for path in sorted(folder.rglob(pattern))])
        for pattern in ("latents-train/*.npz", "latents-test/*.npz")
    ]
    own = made.autoencoder.generator.given(made.code.semantic)
    expected = de.DDIMInversion().solve(own, made.images[:4], None, lambda: None).latents
    assert_close(latents[1][:4], expected, 1e-5)
    assert_close(latents[0][:4], expected, 1e-5)  # the sample is both
    rows = {row["name"]: row for row in read(folder, "attributes")["representations"]}
    for name, (train, test) in {
        "pixels": (made.images[:40], made.images[:8]),
        "latents x_T": latents,
    }.items():
        train, test = attributes.principal_components(train, test, 3)
        classifier = de.fit_attribute_classifier(train, made.labels[:40][:, known], names, 30)
        expected = classifier.auroc(test, made.labels[:8][:, known], least=1, resamples=1).macro
        assert rows[name]["auroc"]["macro"] == pytest.approx(expected, abs=1e-6), name


def test_edits_move_by_the_strength_or_to_the_median(folder, made):
    contents, classifier = read(folder, "manipulate"), made.classifier
    assert [row["attribute"] for row in contents["rows"]] == ["Trouser", "Bag"]
    for row in contents["rows"]:
        index = CLOTHES.index(row["attribute"])
        without = ~made.labels[:8, index]
        assert row["images"] == without.sum()
        assert row["fixed"]["strength"]["mean"] == pytest.approx(0.3, abs=1e-4)
        logits = classifier.logits(made.vectors[:8][without])[:, index]
        steps = np.abs(classifier.positive_medians[index] - logits)
        steps = steps / np.linalg.norm(classifier.weights[index]) / 3**0.5
        assert row["median"]["strength"]["mean"] == pytest.approx(steps.mean(), rel=1e-3)
        assert row["median"]["identity"] is None and contents["faces"] is None
        assert row["median"]["lpips"]["mean"] > 0
        slope = classifier.weights[index] @ classifier.direction(row["attribute"], "pattern")
        steps = np.abs(classifier.positive_medians[index] - logits) / slope / 3**0.5
        assert row["pattern"]["strength"]["mean"] == pytest.approx(steps.mean(), rel=1e-3)
    for step, medians in (
        ("median", classifier.positive_medians), ("negative_median", classifier.negative_medians),
        ("pattern", classifier.positive_medians), ("negative_pattern", classifier.negative_medians),
    ):  # fmt: skip
        moved = manipulation.moved(made.autoencoder, made.code, classifier, "Bag", step)
        found = classifier.logits(made.autoencoder.standardize(moved))[:, 8]
        np.testing.assert_allclose(found, medians[8], atol=1e-4)


def test_own_images_become_strips(folder, made):
    contents = read(folder, "manipulate_files")
    assert contents["attributes"] == ["T-shirt/top", "Bag"] and contents["steps"] == [3.0, 0.0]
    logits = made.classifier.logits(made.vectors[:2])[:, [0, 8]]
    np.testing.assert_allclose(contents["logits"], logits, atol=1e-2)  # of 8 bits
    direction = made.classifier.direction("Bag")
    edited = made.autoencoder.decode(made.autoencoder.manipulate(made.code, direction, 3.0))
    strip = np.asarray(Image.open(folder / "boot-Bag.png")) / 255
    assert strip.shape == (16, 48)
    np.testing.assert_allclose(strip[:, :16], made.images[1, ..., 0], atol=0.003)
    np.testing.assert_allclose(strip[:, 16:32], edited[1, ..., 0].numpy().clip(0, 1), atol=0.02)
    assert np.abs(strip[:, 16:32] - strip[:, 32:]).max() > 0.02
    assert (folder / "shirt-T-shirt_top.png").exists()


def test_test_images_of_training_are_their_own_neighbours(folder):
    """In a smoke run both are the bundled sample."""
    contents = read(folder, "neighbours")
    assert contents["prior"] == "Gaussian"
    for row in contents["nearest"]:
        assert row["test"]["mean"] == pytest.approx(0, abs=1e-6)
        assert row["sampled"]["mean"] > 1e-3
    assert [row["metric"] for row in contents["nearest"]] == ["vector", "LPIPS", "pixels"]


def test_path_lengths_equal_those_of_the_library(folder, made):
    contents = read(folder, "interpolate_codes")
    code = made.code
    length = de.path_length(made.autoencoder, code[:4:2], code[1:4:2], samples=2)
    # LPIPS of images that differ by little is rounded by a few percent.
    assert contents["path_lengths"]["ours"]["mean"] == pytest.approx(length.mean, rel=0.1)
    assert contents["pairs"] == 2
    means = {name: each["mean"] for name, each in contents["path_lengths"].items()}
    ratio = contents["ratios"]["DDIM / ours"]["mean"]
    assert ratio == pytest.approx(means["DDIM"] / means["ours"])


def test_detection_has_what_there_are_weights_for(folder):
    contents = read(folder, "detect")
    rows = [(row["kind"], row["num_steps"], row["images"]) for row in contents["rows"]]
    assert rows == [("DDIM", 2, 6), ("manipulated", 2, 6)]
    assert all(0 <= row["accuracy"]["mean"] <= 1 for row in contents["rows"])


def test_page_and_figures(folder):
    text = (folder / "index.html").read_text()
    for verb in VERBS.values():
        for section in verb.sections:
            for name in section.figures:
                assert (folder / name).read_bytes().startswith(b"\x89PNG"), name
                assert text.count(f'src="{name}"') == 1, name
            for table in section.tables(pages.read(folder / section.file)).values():
                assert all(len(row) == len(table.header) for row in table.rows), table.title
    for words in ("Table 8, each", "Table 9", "Table 10", "Figure 9", "Figures 4 and 14"):
        assert words in text


def test_smoke_runs_fit_a_classifier_once(tmp_path, monkeypatch):
    config = dataclasses.replace(FASHION_MNIST, results=tmp_path).shrink()
    fitted = []
    monkeypatch.setattr(attributes, "fit", fitted.append)
    verb = attribute_verbs.Detect.defaults(config)
    names = {f"fashion_mnist/{name}" for name in ("generator", "autoencoder")}
    for recorded in (names, names | {"fashion_mnist/classifier"}):
        monkeypatch.setattr("ddim_embed.store.weights.read_manifest", lambda _, n=recorded: n)
        runner.train_for_smoke(verb)
    (one,) = fitted
    assert one.config == config and one.train_images == 60


# Errors


def stopped(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(FASHION_MNIST, [*arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["attributes", "--penalty", "0"], "--penalty must be positive"),
        (["attributes", "--train-images", "3"], "--train-images must be at least 10"),
        (["attributes", "--compared", "3"], "--compared must be 0, or at least 10"),
        (["manipulate", "--median"], "--median does nothing without files"),
        (["manipulate", "a.png", "--median", "--strength", "1"], "--strength does nothing with"),
        (["manipulate", "a.png", "--images", "9"], "--images does nothing with files"),
        (["manipulate", "--strength", "nan"], "--strength"),
        (["neighbours", "--images", "1"], "--images must be at least 2"),
        (["interpolate-codes", "a.png"], "takes two images, or none. Received: 1"),
        (["interpolate-codes", "--frames", "1"], "--frames must be at least 2"),
        (["detect", "--fakes", "3"], "--fakes must be at least 10"),
        (["detect", "--steps", "0"], "--steps must be positive"),
    ],
)
def test_usage_errors(arguments, words, capsys):
    assert words in stopped(capsys, *arguments)


def test_errors_that_need_weights(folder, capsys, tmp_path):
    flags = ["--smoke", "--results", folder.parent]
    error = stopped(capsys, "manipulate", "--attribute", "Trousers", *flags)
    assert "--attribute must be one of T-shirt/top, Trouser," in error
    assert "Received: Trousers. Did you mean 'Trouser'?" in error
    Image.new("L", (16, 16), 200).save(tmp_path / "a.png")
    data = ["--data", tmp_path, "--source", "folder"]
    assert "have no labels, so no attributes" in stopped(capsys, "attributes", *data, *flags)
    with pytest.raises(FileNotFoundError) as missing:
        de.load_attribute_classifier("fashion_mnist", tmp_path)
    assert "python -m experiments.fashion_mnist attributes`" in with_command(missing.value)
    autoencoder = SimpleNamespace(checksum="0" * 64)
    config = SimpleNamespace(name="fashion_mnist", weights=folder / "weights")
    with pytest.raises(UsageError, match=r"other weights.*experiments.fashion_mnist attributes"):
        encoded.load_classifier(config, autoencoder)


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("attributes", ["Table 8"]),
        ("manipulate", ["Figures 1, 5 and 13", "Tables 9 and 10", "Equation 11"]),
        ("neighbours", ["Figure 9"]),
        ("interpolate-codes", ["4 and 14"]),
        ("detect", ["Appendix L"]),
        ("autoencode", ["Tables 1 and 2", "Figures 3, 6, 10, 11 and 12"]),
        ("compare-autoencoders", ["Table 2 b to e"]),
        ("train-prior", ["Sec. 4"]),
        ("priors", ["Sec. 4", "Appendix A.1"]),
        ("sample-semantic", ["Table 4", "Figure 20"]),
        ("sample-classes", ["Table 3", "Figures 18 and 19"]),
    ],
)
def test_help_says_which_tables_and_figures(verb, words):
    text = " ".join(runner.VERBS[verb].__doc__.split())
    assert all(word in text for word in words)


# Claims


def estimate(mean, interval=0.0):
    return {"mean": mean, "interval": interval}


def make_results():
    """Results of which every claim holds."""

    def of(macro):
        return {"macro": macro, "interval": [macro - 0.01, macro + 0.01]}

    def edit(positive, others):
        identity = {"distance": estimate(0.3, 0.02)}
        return {
            "positive": estimate(positive), "others": estimate(others), "identity": identity,
            "strength": estimate(0.2), "others_difference": estimate(0.8 - others, 0.1),
        }  # fmt: skip

    def row(name):
        frechet = {
            "positive_negative": 9.0, "manipulated_positive": 5.0, "manipulated_negative": 3.0,
        }  # fmt: skip
        return {
            "attribute": name, "median": edit(0.9, 0.4), "pattern": edit(0.95, 0.5),
            "fixed": edit(1, 0.8), "frechet": frechet,
        }  # fmt: skip

    def near(metric):
        return {
            "metric": metric,
            "sampled": estimate(2, 0.1),
            "test": estimate(2, 0.1),
            "copies": 0,
        }

    def detected(kind, steps, accuracy):
        return {"kind": kind, "num_steps": steps, "accuracy": estimate(accuracy, 0.01)}

    return {
        "attributes": {
            "images": 500,
            "representations": [
                {"name": name, "training_images": count, "auroc": of(macro), "behind": of(behind)}
                for name, count, macro, behind in (
                    ("semantic vector", 8000, 0.9, 0.0), ("pixels", 8000, 0.87, 0.03),
                    ("semantic vector", 2000, 0.88, 0.0), ("pixels", 2000, 0.83, 0.05),
                    ("latents x_T", 2000, 0.6, 0.28), ("latents of the U-Net", 2000, 0.8, 0.08),
                )
            ],
            "attributes": [
                {"name": name, "auroc": {"value": 0.95, "interval": [0.93, 0.97]}}
                for name in ("Male", "Smiling")
            ],
        },
        "manipulate": {
            "images": 200, "fixed": 0.3, "judge": {"auroc": {"Smiling": 0.95}},
            "faces": {"others": estimate(0.67, 0.02)}, "rows": [row("Male"), row("Smiling")],
        },
        "neighbours": {
            "images": 200, "prior": "latent DDIM",
            "nearest": [near(metric) for metric in ("vector", "LPIPS", "pixels")],
        },
        "interpolate_codes": {
            "pairs": 60, "ratios": {"DDIM / ours": {"mean": 3.0, "low": 2.5, "high": 3.4}},
        },
        "detect": {
            "fakes": 500,
            "rows": [
                detected(kind, steps, accuracy)
                for kind in ("sampled", "manipulated")
                for steps, accuracy in ((10, 0.95), (100, 0.9))
            ],
        },
    }  # fmt: skip


def verdicts(name, contents):
    """Dict from statement to verdict."""
    rows = list(claims.CLAIMS[name]("celeba", contents))
    assert all(row.item.startswith("Diffusion autoencoders, ") for row in rows)
    assert all(row.why for row in rows if row.verdict == "not measured")
    return {row.statement: row.verdict for row in rows}


def test_claims_hold_by_their_numbers():
    found = make_results()
    assert {*found} == {*claims.CLAIMS}
    for name, contents in found.items():
        assert {*verdicts(name, contents).values()} == {"reproduced"}, name
        assert {*verdicts(name, None).values()} == {"not measured"}


@pytest.mark.parametrize(
    ("name", "path", "value", "statement", "verdict"),
    [
        ("attributes", ("representations", 0, "auroc", "macro"), 0.84, "a linear", None),
        ("attributes", ("attributes", 0, "auroc", "value"), 0.92, "Smiling and", None),
        ("attributes", ("attributes", 0, "name"), "Bag", "Smiling and", "not measured"),
        # On the same images.
        ("attributes", ("representations", 1, "behind", "interval"), [-0.01, 0.07], "the vector "
         "tells more of attributes than as many components", None),
        ("attributes", ("representations", 4, "behind", "interval"), [-0.1, 0.5], "the vector "
         "tells more of attributes than the latents", None),
        ("attributes", ("representations", 4, "behind", "macro"), None, "the vector "
         "tells more of attributes than the latents", "not measured"),
        ("attributes", ("representations", 5, "name"), "", "the vector tells more of attributes "
         "than latents of", "not measured"),
        ("manipulate", ("rows", 1, "median", "positive"), estimate(0.7), "a classifier", None),
        ("manipulate", ("rows", 1, "median", "others_difference"), estimate(0.1, 0.2),
         "other attr", None),
        ("manipulate", ("rows", 1, "pattern", "positive"), estimate(0.7), "the same along", None),
        ("manipulate", ("rows", 1, "pattern", "others_difference"), estimate(0.1, 0.2),
         "others move less along", None),
        ("manipulate", ("rows", 0, "frechet", "manipulated_positive"), 10.0, "manipulated images "
         "are closer", None),
        ("manipulate", ("rows", 0, "frechet", "manipulated_negative"), 10.0, "manipulated images "
         "stay", None),
        ("manipulate", ("rows", 0, "pattern", "identity", "distance"), estimate(0.66, 0.02),
         "the person", None),
        ("manipulate", ("faces",), None, "the person", "not measured"),
        ("neighbours", ("nearest", 1, "sampled"), estimate(1.5, 0.1), "samples are", None),
        ("interpolate_codes", ("ratios", "DDIM / ours", "low"), 0.9, "codes", None),
        ("interpolate_codes", ("ratios", "DDIM / ours", "low"), None, "codes", "not measured"),
        ("detect", ("rows", 1, "accuracy"), estimate(0.95, 0.01), "samples with", None),
        ("detect", ("rows", 2, "accuracy"), estimate(0.5, 0.01), "a small network detects man",
         None),
        ("detect", ("rows", 3, "kind"), "DDIM", "a small network detects man", "reproduced"),
    ],
)  # fmt: skip
def test_claims_fail_by_their_numbers(name, path, value, statement, verdict):
    place = contents = make_results()[name]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    changed = [v for words, v in verdicts(name, contents).items() if words.startswith(statement)]
    assert changed == [verdict or "not reproduced"]


def test_table_9_has_the_intervals_that_were_measured():
    contents = make_results()["manipulate"]
    row = contents["rows"][0]["frechet"]
    contents["rows"] = contents["rows"][:1]

    def claim():
        rows = claims.CLAIMS["manipulate"]("celeba", contents)
        return next(row for row in rows if row.statement.startswith("manipulated images are"))

    assert "5.00 against 9.00" in claim().ours and claim().why.endswith("; no interval")
    row |= {"manipulated_positive_interval": 0.5, "positive_negative_interval": 1.25}
    assert "5.00 \u00b1 0.50 against 9.00 \u00b1 1.25" in claim().ours
    assert "no interval" not in claim().why


def test_claims_of_smoke_runs(folder):
    for name in claims.CLAIMS:
        assert set(verdicts(name, read(folder, name))) == set(verdicts(name, None))
