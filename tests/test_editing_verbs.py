"""The verbs `interpolate`, `project` and `directions`: their results and errors."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import ddim_embed as de
from ddim_embed import commands
from experiments.embedding import directions, projection
from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import main
from experiments.toolkit import results, tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of smoke runs of the three verbs, the directions with a classifier."""
    root = tmp_path_factory.mktemp("editing")
    flags = ["--smoke", "--results", root]
    main(FASHION_MNIST, ["interpolate", "--frames", "4", "--method", "lbfgs", *flags])
    main(FASHION_MNIST, ["project", *flags])
    folder = root / "fashion_mnist-smoke"
    classifier = de.FeatureClassifier((16, 16, 1), 10, (4,), 8)
    config = {"image_shape": [16, 16, 1], "classes": 10, "widths": [4], "num_features": 8}
    config["padding"] = 0
    notes = {"data": "", "budget": {}, "errors": {}}
    de.record_weights(
        folder / "weights", "fashion_mnist", "features", classifier, config=config, **notes
    )
    main(FASHION_MNIST, ["directions", "--length", "3", "--shown", "2", *flags])
    return folder


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def generator_of(folder):
    return de.load_generator("fashion_mnist", folder / "weights", num_steps=2)


def images(count):
    return de.load_images("fashion_mnist", "test", 16, source="sample", limit=count)


def stopped(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(FASHION_MNIST, [*arguments, "--smoke"])
    return stop.value.code, capsys.readouterr().err


def test_results_have_provenance(folder):
    for name in ("interpolate", "project", "directions"):
        contents = read(folder, name)
        assert contents["command"].startswith(f"python -m experiments.fashion_mnist {name} ")
        assert contents["seed"] == 0 and contents["config"]["smoke"] and "commit" in contents
        assert {"tensorflow", "scikit-learn", "pillow"} <= set(contents["versions"])
    assert read(folder, "interpolate")["options"]["frames"] == 4
    assert read(folder, "directions")["options"] == {"length": 3}


def test_page_shows_all_verbs(folder):
    text = (folder / "index.html").read_text()
    files = {
        "fig19_interpolation.png", "interpolation.gif", "fig05_projection.png",
        "directions_class.png", "directions_principal.png", "directions_first_layer.png",
    }  # fmt: skip
    assert set(re.findall(r'src="([^"]+)"', text)) == files
    assert all((folder / name).stat().st_size for name in files)
    for words in ("Interpolation", "Projection of edited images", "Directions in latents"):
        assert f">{words}</h2>" in text
    assert "principal 2" in text and "://" not in text


class TestInterpolate:
    def test_numbers_equal_a_direct_computation(self, folder):
        contents, generator = read(folder, "interpolate"), generator_of(folder)
        pixels, labels = images(6)
        result = de.embed(generator, pixels[[0, 2]], de.LBFGS(num_steps=2))
        assert labels[0] == labels[1] != labels[2]  # so that the two are of different classes
        np.testing.assert_allclose(contents["mse"], result.mse, rtol=1e-3)
        strip = de.interpolate(generator, result.latents[:1], result.latents[1:], 4)[0]
        found = contents["shown"]["spherical"]
        shown = strip.clip(0, 1)
        np.testing.assert_allclose(found["steps"], de.lpips(shown[:-1], shown[1:]), rtol=1e-2)
        share = max(found["steps"]) / sum(found["steps"])
        assert found["largest_share"] == pytest.approx(share, rel=1e-4)
        network = de.Network("unet")
        errors = de.embed(generator, np.clip(strip, 0, 1), network).mse
        np.testing.assert_allclose(found["network_mse"], errors, rtol=1e-2)
        assert contents["ways"] == 2
        assert contents["several"]["pixels"]["path_length"]["interval"] > 0

    def test_the_animation_runs_forward_and_back(self, folder):
        with Image.open(folder / "interpolation.gif") as picture:
            assert picture.n_frames == 2 * 4 - 2 and picture.is_animated
            assert picture.size == (320, 160)
            assert picture.info["loop"] == 0

    def test_usage_errors(self, folder, tmp_path, capsys):
        (tmp_path / "words.png").write_text("no image")
        Image.new("L", (9, 9)).save(tmp_path / "image.png")
        flags = ["--results", folder.parent]
        code, words = stopped(capsys, "interpolate", tmp_path / "image.png", *flags)
        assert code == 2 and "two images, or none. Received: 1" in words
        code, words = stopped(capsys, "interpolate", "--frames", "1", *flags)
        assert code == 2 and "--frames must be at least 2. Received: 1" in words
        code, words = stopped(capsys, "interpolate", "--method", "vae", *flags)
        assert code == 2 and "vae" in words and "hybrid" in words
        files = [tmp_path / "image.png", tmp_path / "words.png"]
        code, words = stopped(capsys, "interpolate", *files, *flags)
        assert code == 1 and "words.png: " in words and len(words.splitlines()) == 1


class TestProject:
    def test_lines_are_drawn_under_the_mask(self):
        for channels in (1, 3):
            pixels = np.full((3, 16, 16, channels), 0.3, np.float32)
            edited, free = projection.draw(pixels, padding=2, seed=0)
            changed = (edited != pixels).any(axis=-1)
            np.testing.assert_array_equal(changed, free)
            assert free.any(axis=(1, 2)).all() and not free[:, :2].any() and free.mean() < 0.4
            np.testing.assert_array_equal(projection.draw(pixels, 2, 0)[0], edited)
            assert (projection.draw(pixels, 2, 1)[1] != free).any()

    def test_numbers_equal_a_direct_computation(self, folder):
        contents, generator = read(folder, "project"), generator_of(folder)
        pixels, _ = images(4)
        edited, free = projection.draw(pixels, 0, 0)
        assert contents["images"] == 4 and contents["free"] == pytest.approx(free.mean())
        rows = {row["name"]: row for row in contents["projections"]}
        method = de.Hybrid("unet", de.LBFGS(num_steps=2))
        for name, way, mask in (
            ("network", "unet", None), ("whole", method, None), ("masked", method, free),
        ):  # fmt: skip
            result = de.project(generator, edited, way, mask)
            squares = (edited - np.clip(result.reconstruction, 0, 1).astype(np.float64)) ** 2
            held = [s[~f].mean() for s, f in zip(squares, free, strict=True)]
            # float32, iterated
            assert rows[name]["held_mse"]["mean"] == pytest.approx(np.mean(held), rel=1e-2)
            squares = (pixels - np.clip(result.reconstruction, 0, 1)) ** 2
            under = [s[f].mean() for s, f in zip(squares, free, strict=True)]
            assert rows[name]["free_mse"]["mean"] == pytest.approx(np.mean(under), rel=1e-2)
        under = [((p - e) ** 2)[f].mean() for p, e, f in zip(pixels, edited, free, strict=True)]
        assert contents["edit"]["free_mse"]["mean"] == pytest.approx(np.mean(under), rel=1e-4)

    def test_the_network_embeds_images_before_and_after_projection(self, folder):
        contents, generator = read(folder, "project"), generator_of(folder)
        edited, _ = projection.draw(images(4)[0], 0, 0)
        first = de.embed(generator, edited, "unet")
        again = de.embed(generator, np.clip(first.reconstruction, 0, 1), "unet")
        errors = contents["network_mse"]
        assert list(errors) == ["edited", "network", "whole", "masked"]
        assert errors["edited"]["mean"] == pytest.approx(first.mse.mean(), rel=1e-3)
        assert errors["network"]["mean"] == pytest.approx(again.mse.mean(), rel=1e-3)

    def test_a_file_and_its_mask(self, folder, tmp_path):
        """Both are cropped alike; what is white is free."""
        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(0, 256, (32, 64), np.uint8)).save(tmp_path / "image.png")
        mask = np.zeros((16, 32), np.uint8)
        mask[:8, 8:16] = 255  # of the central square, the upper left quarter
        Image.fromarray(mask).save(tmp_path / "mask.png")
        generator = generator_of(folder)
        found = commands.read_mask(generator, tmp_path / "mask.png", tmp_path / "image.png")
        expected = np.zeros((1, 16, 16), bool)
        expected[:, :8, :8] = True
        np.testing.assert_array_equal(found, expected)
        written = tmp_path / "results" / folder.name
        flags = ["--smoke", "--results", written.parent, "--weights", folder / "weights"]
        files = [tmp_path / "image.png", "--mask", tmp_path / "mask.png"]
        main(FASHION_MNIST, ["project", *files, *flags, "--method", "lbfgs"])
        contents = read(written, "project_files")
        assert contents["images"] == 1 and contents["free"] == 0.25 and "edit" not in contents
        assert [row["name"] for row in contents["projections"]] == ["network", "whole", "masked"]
        assert contents["projections"][2]["held_mse"]["interval"] is None
        assert not (written / "project.json").exists()  # the ledger reads that of test images
        page = (written / "index.html").read_text()
        assert "Projection of your images" in page and "fig04_projection.png" in page

    def test_several_files(self, folder, tmp_path):
        rng = np.random.default_rng(1)
        files = [tmp_path / f"{i}.png" for i in range(3)]
        for file in files:
            Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(file)
        written = tmp_path / "results" / folder.name
        flags = ["--smoke", "--results", written.parent, "--weights", folder / "weights"]
        main(FASHION_MNIST, ["project", *files, *flags])
        contents = read(written, "project_files")
        assert contents["images"] == 3 and contents["free"] is None and "edit" not in contents
        assert [row["name"] for row in contents["projections"]] == ["network", "whole"]
        pixels, _, _ = de.read_image_files(files, (16, 16, 1))
        result = de.embed(generator_of(folder), pixels, "unet")
        found = contents["projections"][0]["held_mse"]["mean"]
        assert found == pytest.approx(result.mse.mean(), rel=1e-2)

    def test_usage_errors(self, folder, tmp_path, capsys):
        image, mask = tmp_path / "image.png", tmp_path / "mask.png"
        Image.new("L", (9, 9)).save(image)
        Image.new("L", (9, 12)).save(mask)
        flags = ["--results", folder.parent]
        code, words = stopped(capsys, "project", image, "--mask", mask, *flags)
        assert code == 2 and "--mask must be of the image's size, 9x9. Received: 9x12" in words
        code, words = stopped(capsys, "project", image, "--mask", image, *flags)
        assert code == 2 and "black all over" in words
        code, words = stopped(capsys, "project", image, image, "--mask", mask, *flags)
        assert code == 2 and "one image: project FILE --mask FILE. Received images: 2" in words
        code, words = stopped(capsys, "project", "--mask", image, *flags)
        assert code == 2 and "project FILE --mask FILE" in words
        code, words = stopped(
            capsys, "project", image, "--mask", image, "--method", "edict", *flags
        )
        assert code == 2 and "takes a mask. Received: edict" in words
        code, words = stopped(capsys, "project", tmp_path / "none.png", *flags)
        assert code == 1 and "none.png: no such file" in words


class TestDirections:
    def test_numbers_equal_a_direct_computation(self, folder):
        contents, generator = read(folder, "directions"), generator_of(folder)
        pixels, labels = images(64)
        latents = de.embed(generator, pixels, "unet").latents
        rows = {(row["kind"], row["name"]): row for row in contents["directions"]}
        found = de.principal_directions(latents[:60], 2)
        for index, row in enumerate(rows["principal", name] for name in ("1", "2")):
            assert row["value"] == pytest.approx(found.values[index], rel=1e-3)
        first = de.first_layer_directions(generator, 2)
        assert rows["first layer", "1"]["value"] == pytest.approx(first.values[0], rel=1e-6)
        name = next(name for kind, name in rows if kind == "class")
        direction, accuracy = de.class_direction(latents[:60], labels[:60], int(name))
        assert rows["class", name]["value"] == pytest.approx(accuracy, abs=1e-6)
        edited = latents[60:][labels[60:] != int(name)]
        classifier = de.load_feature_classifier("fashion_mnist", folder / "weights")
        effect, control = de.edit_effect(generator, edited, direction, 3, classifier, int(name))
        for words, expected in (("effect", effect), ("control", control)):
            row = rows["class", name][words]
            assert row["mse"]["mean"] == pytest.approx(expected.mse.mean(), rel=1e-2)
            assert row["probability"]["mean"] == pytest.approx(
                expected.probability.mean(), rel=1e-2, abs=1e-5
            )
        assert "probability" not in rows["principal", "1"]["effect"]

    def test_classes_of_labels_and_of_attributes(self, capsys):
        labels = np.array([0] * 5 + [1] * 4 + [2] * 9)
        found = directions._classes(labels)
        assert list(found) == ["0", "2"] and "Left out" in capsys.readouterr().out
        np.testing.assert_array_equal(found["2"], labels == 2)
        assert directions._classes(np.full(20, -1)) == {}
        attributes = np.random.default_rng(0).integers(0, 2, (200, 40))
        attributes[:, 3] = 1
        found = directions._classes(attributes)
        assert len(found) == 10 and de.data.CELEBA_ATTRIBUTES[3] not in found

    def test_usage_errors(self, folder, capsys):
        flags = ["--results", folder.parent]
        code, words = stopped(capsys, "directions", "--length", "0", *flags)
        assert code == 2 and "--length must be positive. Received: 0" in words
        code, words = stopped(capsys, "directions", "--images", "4", *flags)
        assert code == 2 and "--images must be more than 4. Received: 4" in words


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (None, 3, "-"), (0, 3, "0.000"), (1234.5678, 2, "1,234.57"), (0.01234, 3, "0.012"),
        (0.00123, 3, "0.0012"), (3.21e-14, 6, "3.2e-14"), (-3.21e-7, 6, "-3.2e-07"), (5, 0, "5"),
    ],
)  # fmt: skip
def test_small_numbers_have_two_digits(value, digits, words):
    assert tables.number(value, digits) == words


def test_intervals_are_formatted():
    assert tables.interval(None, 2) == "-"
    assert tables.interval({"mean": 0.123, "interval": None}, 2) == "0.12"
    assert tables.interval({"mean": 0.123, "interval": 0.01}, 2) == "0.12 \u00b1 0.01"
    values = np.array([1.0, 3.0])
    expected = {"mean": 2.0, "interval": pytest.approx(1.96)}
    assert results.estimate(values) == expected
    assert results.estimate(values[:1]) == {"mean": 1.0, "interval": None}
