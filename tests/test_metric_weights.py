"""The commands that make the weights of the metrics, in small."""

from pathlib import Path

import numpy as np
import pytest
from conftest import make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.store.weights import read_manifest
from experiments import features, identity_weights, lpips_weights


class TestFeatures:
    def test_trains_and_records(self, tmp_path, capsys, monkeypatch):
        load = de.load_images
        monkeypatch.setattr(de, "load_images", lambda *args, **kw: load(*args, limit=256, **kw))
        arguments = ["fashion_mnist", "--source", "sample", "--epochs", "1", "--seed", "5"]
        path = features.main([*arguments, "--weights", str(tmp_path)])
        assert path == tmp_path / "fashion_mnist" / "features.weights.h5"
        entry = read_manifest(tmp_path)["fashion_mnist/features"]
        assert entry["data"] == "fashion_mnist, test"
        assert entry["budget"].pop("seconds") > 0
        assert entry["budget"] == {
            "images": 256,
            "epochs": 1,
            "seed": 5,
            "command": "python -m experiments.features fashion_mnist --source sample "
            "--epochs 1 --seed 5",
        }
        # The same images here; in a real run they are those of two splits.
        assert entry["errors"]["frechet_distance_train_test"] < 1e-6
        assert f"test accuracy {entry['errors']['test_accuracy']:.4f}" in capsys.readouterr().out
        classifier = de.load_feature_classifier("fashion_mnist", tmp_path)
        pixels, labels = de.load_images("fashion_mnist", "test", source="sample")
        assert np.ptp(classifier.features(pixels)) > 0.1
        accuracy = (classifier.classify_pixels(pixels) == labels).mean()
        assert accuracy == pytest.approx(entry["errors"]["test_accuracy"], abs=0.01)  # float16

    @pytest.mark.parametrize(
        "arguments, words",
        [
            (["fashion_mnist", "--epochs", "0"], "--epochs must be positive"),
            (["fashion_mnist", "--seed", "-1"], "--seed at least 0"),
            (["celeba"], "celeba"),
        ],
    )
    def test_what_cannot_be(self, tmp_path, capsys, arguments, words):
        with pytest.raises(SystemExit) as stop:
            features.main([*arguments, "--weights", str(tmp_path)])
        assert stop.value.code == 2
        assert words in capsys.readouterr().err
        assert not read_manifest(tmp_path)


def test_lpips_is_converted_and_measured(tmp_path):
    """Arrays under the published names, and golden distances made of them, that float16 misses."""
    model = set_random_weights(de.PerceptualDistance())
    arrays = {}
    for i, (conv, head) in enumerate(zip(model.convs, model.heads, strict=True)):
        arrays[f"AlexNet_0/Conv_{i}/kernel"], arrays[f"AlexNet_0/Conv_{i}/bias"] = (
            conv.get_weights()
        )
        arrays[f"NetLinLayer_{i}/Conv_0/kernel"] = head.get_weights()[0]
    np.savez(tmp_path / "arrays.npz", **arrays)
    images = np.rint(255 * make_pixels(3, (64, 64, 3))).astype(np.uint8)
    pixels = np.float32(images / 255)
    distances = np.stack([model([pixels[[i] * 3], pixels]) for i in range(3)])
    np.savez(tmp_path / "golden.npz", images=images, distances=distances)

    root = tmp_path / "weights"
    error = lpips_weights.convert(tmp_path / "arrays.npz", tmp_path / "golden.npz", root)
    entry = read_manifest(root)["lpips/alexnet"]
    assert 0 < error < 0.05 * np.ptp(distances)
    assert entry["errors"]["max_difference_float32"] < 0.01 * error
    assert entry["errors"]["max_difference"] == error
    assert entry["budget"]["command"].startswith("python -m experiments.lpips_weights arrays.npz ")
    found = np.stack([de.lpips(pixels[[i] * 3], pixels, root=root) for i in range(3)])
    assert np.abs(found - distances).max() == pytest.approx(error, rel=0.01)


def test_the_identity_of_faces_is_converted_and_measured(tmp_path, capsys):
    """Published arrays, some of 8 bits, of a network whose factors and biases are apart."""
    rng = np.random.default_rng(0)
    model, arrays = de.FaceIdentity(), {}

    def add(name, shape, low, high, bits=True):
        values = rng.uniform(low, high, shape).astype(np.float32)
        if not bits:
            arrays[name] = values
            return values
        step = np.float32((high - low) / 255)
        arrays[name] = np.rint((values - low) / step).astype(np.uint8)
        arrays[f"{name}:scale"], arrays[f"{name}:min"] = step, np.float32(low)
        return arrays[name] * step + np.float32(low)

    for i, (conv, name) in enumerate(zip(model.convs, identity_weights.NAMES, strict=True)):
        end = 0.6 / np.sqrt(np.prod(conv.kernel.shape[:3]))
        kernel = add(f"{name}/conv/filters", conv.kernel.shape, -end, end, bits=i != 4)
        biases = add(f"{name}/conv/bias", conv.filters, -0.1, 0.1)
        factors = add(f"{name}/scale/weights", conv.filters, 0.5, 3)
        shifts = add(f"{name}/scale/biases", conv.filters, -0.2, 0.2)
        conv.set_weights([kernel * factors, biases * factors + shifts])
    model.project.set_weights([add("fc", (256, 128), -0.1, 0.1)])
    np.savez(tmp_path / "arrays.npz", **arrays)
    names = ["gioconda", "primavera"]
    portraits = Path(de.__file__).parent / "samples" / "portraits"
    pixels, _, _ = de.read_image_files([portraits / f"{n}.png" for n in names], (64, 64, 3))
    descriptors = model.descriptors(pixels)
    np.savez(tmp_path / "golden.npz", names=names, descriptors=descriptors)

    root = tmp_path / "weights"
    error = identity_weights.convert(tmp_path / "arrays.npz", tmp_path / "golden.npz", root)
    entry = read_manifest(root)["identity/resnet29"]
    assert 0 < error < 0.02 * np.ptp(descriptors)
    assert entry["errors"]["max_difference_float32"] < 0.01 * error
    assert entry["errors"]["max_difference"] == error and entry["errors"]["images"] == 2
    assert entry["budget"]["command"].startswith(
        "python -m experiments.identity_weights arrays.npz "
    )
    assert f"at most {error:.1e} from the golden descriptors" in capsys.readouterr().out
    found = de.load_face_identity(root).descriptors(pixels)
    assert np.abs(found - descriptors).max() == pytest.approx(error, rel=0.01)
