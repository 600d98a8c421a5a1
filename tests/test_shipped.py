"""The weights in the repository: whole, loadable, and as good as they are said to be."""

import functools
import hashlib
from pathlib import Path

import golden_values
import numpy as np
import pytest
import scipy
import tensorflow as tf
from matplotlib import pyplot as plt

import ddim_embed as de
from ddim_embed.store.weights import find_weights, read_manifest, weights_root
from experiments import model_cards

ROOT = Path(__file__).parent.parent
ENTRIES = sorted(read_manifest())
GENERATORS = [name.split("/")[0] for name in ENTRIES if name.endswith("/generator")]
IMAGES = 32


@functools.cache
def load(entry):
    """The model of an entry of the manifest, once for all tests."""
    if entry == "lpips/alexnet":
        return de.load_perceptual_distance()
    if entry == "identity/resnet29":
        return de.load_face_identity()
    if entry.endswith("/features"):
        return de.load_feature_classifier(entry.split("/")[0])
    if entry.endswith("/autoencoder"):
        return de.load_autoencoder(entry.split("/")[0])
    if entry.endswith("/prior"):
        return de.load_prior(entry.split("/")[0])
    return golden_values.load(entry)


@pytest.mark.parametrize("entry", ENTRIES)
def test_is_whole_and_loads(entry):
    path, description = find_weights(*entry.split("/"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == description["sha256"]
    assert path.stat().st_size == description["size"]
    dataset, _, name = entry.partition("/")
    direction = name.partition("direction_")[2]
    for key in ("config", "data", "budget", "versions", *["errors"] * (not direction)):
        assert description[key], key
    if direction:
        found = de.load_direction(dataset, direction)
        generator = load(f"{dataset}/generator")
        assert found.fingerprint == generator.denoiser_fingerprint()
        assert found.shifts.shape[1:] == de.HSpaceEditor(generator).h_shape
        assert found.num_steps == generator.num_steps and 0 < found.strength < 2
        assert np.abs(found.shifts).max() > 0
        return
    if entry.endswith("/classifier"):  # arrays, and no model
        arrays = vars(de.load_attribute_classifier(entry.split("/")[0]))
        assert all(np.isfinite(arrays[key]).all() for key in ("weights", "biases"))
        return
    model = load(entry)
    prior = getattr(model, "prior", None)  # of an autoencoder, a file of its own
    own = model.count_params() - (prior.count_params() if prior else 0)
    assert own == description["parameters"]
    assert all(np.isfinite(weight).all() and np.ptp(weight) >= 0 for weight in model.get_weights())


def test_the_metrics_have_theirs():
    names = {"identity/resnet29", "lpips/alexnet", "fashion_mnist/features", "mnist/features"}
    assert names <= {*ENTRIES}


def test_celeba_has_directions():
    names = {entry.partition("direction_")[2] for entry in ENTRIES if "/direction_" in entry}
    assert {"Smiling", "Male", "Young", "Eyeglasses", "Blond_Hair"} <= names and len(names) >= 10


def licences(folder):
    text = (ROOT / "weights" / folder / "LICENSES.md").read_text(encoding="utf-8")
    return " ".join(text.replace(">", " ").split())


def test_the_weights_of_others_come_with_their_licences():
    words = licences("identity")
    assert "I've released them into the public domain." in words
    assert "MIT License Copyright (c) 2018 Vincent Mühler Permission is hereby granted" in words
    assert words.count('THE SOFTWARE IS PROVIDED "AS IS"') == 1
    words = licences("lpips")
    assert "Copyright (c) Soumith Chintala 2016, All rights reserved." in words
    assert "Richard Zhang, Phillip Isola, Alexei A. Efros, Eli Shechtman, Oliver Wang." in words
    assert words.count('PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"') == 2
    assert words.count("Redistributions in binary form must reproduce") == 2
    assert words.count("Neither the name of the copyright holder") == 1


@pytest.mark.parametrize("dataset", golden_values.DATA)
def test_values_are_those_that_were_recorded(dataset):
    """On one machine within 1e-6; others sum in another order, and the first step multiplies that
    by 50."""
    with np.load(golden_values.FILE) as file:
        recorded = {key: file[key] for key in file.files if key.startswith(f"{dataset}/")}
    found = golden_values.measure(dataset, load)
    assert found.keys() == recorded.keys()
    for key, values in found.items():
        scale = np.abs(recorded[key]).max()
        np.testing.assert_allclose(values, recorded[key], rtol=0, atol=1e-3 * scale, err_msg=key)


@pytest.mark.parametrize("dataset", GENERATORS)
def test_images_answer_to_smooth_changes_of_the_latents(dataset):
    """What L-BFGS believes of a generator before it has seen a gradient: `LBFGS.laplacian`."""
    generator = load(f"{dataset}/generator")
    count = 2**13 // generator.image_shape[0] ** 2  # 8 of 32x32: memory goes by pixels
    latents, noise = (tf.constant(generator.latents(count, seed=seed)) for seed in (0, 1))
    with tf.GradientTape() as tape:
        tape.watch(latents)
        decoded = generator.decode_tensor(latents)
    pulled = tape.gradient(decoded, latents, output_gradients=noise).numpy()
    power = scipy.fft.dctn(pulled, axes=(1, 2), norm="ortho") ** 2
    power = (power / power.mean(axis=(1, 2, 3), keepdims=True)).mean(axis=(0, 3))
    size = np.arange(len(power))
    squared = size[:, None] ** 2 + size**2
    slope = np.polyfit(np.log(1 + squared).ravel(), np.log(power).ravel(), 1)[0]
    assert slope < -1
    assert power[squared <= 2].mean() > 100 * power[squared > 0.9 * len(power) ** 2].mean()


def test_an_autoencoder_sees_the_image_in_its_vector():
    """The collapse test: an image's own vector, another image's, and none."""
    autoencoder = load("fashion_mnist/autoencoder")
    pixels, _ = de.load_images("fashion_mnist", "test", source="sample", limit=IMAGES)
    semantic = autoencoder.encode(pixels).semantic

    def error(decoded):
        return de.metrics.mse(pixels, np.clip(decoded, 0, 1), autoencoder.padding).mean()

    own, other = (
        error(autoencoder.predict(vectors)) for vectors in (semantic, semantic[::-1].copy())
    )
    one_step = load("fashion_mnist/generator").with_steps(1)
    assert own < 0.3 * other  # measured: 0.11
    assert own < 0.3 * error(one_step.sample(IMAGES))
    assert own < 0.75 * error(autoencoder.decode(semantic, seed=0))


# The least that the U-Net of a data set must do, by its mean squared error.
UNET_ERRORS = {"fashion_mnist": 0.0015, "mnist": 0.001}


@pytest.mark.parametrize("dataset", UNET_ERRORS)
def test_networks_embed_in_the_order_of_the_paper(dataset):
    """On the bundled images of the test set, that no network was trained on."""
    networks = [name for name in de.NETWORKS if f"{dataset}/{name}" in ENTRIES]
    if not networks:
        pytest.skip(f"no network of {dataset} is shipped")
    generator = load(f"{dataset}/generator")
    pixels, _ = de.load_images(dataset, "test", source="sample", limit=IMAGES)
    methods = [de.Network(name, load(f"{dataset}/{name}")) for name in networks]
    errors = [de.embed(generator, pixels, method).mse for method in methods]
    means = [mse.mean() for mse in errors]
    assert means == sorted(means, reverse=True)
    assert all(np.isfinite(mse).all() for mse in errors)
    if "unet" in networks:
        assert means[-1] < UNET_ERRORS[dataset]


def test_model_cards_are_those_of_the_manifest():
    path = weights_root() / "README.md"
    assert path.read_text() == model_cards.cards(read_manifest()), (
        "Write it anew: python -m experiments.model_cards"
    )


def test_samples_are_those_of_the_shipped_generators(tmp_path):
    """Of these weights, by the checksum; drawn anew from others, and not from the same."""
    manifest = read_manifest()
    generators = [name.split("/")[0] for name in manifest if name.endswith("/generator")]
    assert generators
    text = (weights_root() / "README.md").read_text()
    for data in generators:
        path = weights_root() / data / "samples.png"
        words = "Draw them anew: python -m experiments.model_cards"
        assert model_cards.samples_of(path) == manifest[f"{data}/generator"]["sha256"], words
        assert f"({data}/samples.png)" in text
    data = generators[0]
    (tmp_path / data).mkdir()
    for file in (f"{data}/generator.json", f"{data}/generator.weights.h5"):
        (tmp_path / file).write_bytes((weights_root() / file).read_bytes())
    only = {f"{data}/generator": manifest[f"{data}/generator"]}
    path = tmp_path / data / "samples.png"
    assert model_cards.samples_of(path) is None
    assert model_cards.draw_samples(tmp_path, only) == [path]
    assert model_cards.draw_samples(tmp_path, only) == []
    shipped, drawn = (plt.imread(p) for p in (weights_root() / data / "samples.png", path))
    np.testing.assert_allclose(drawn, shipped, atol=0.02)
    assert drawn.std() > 0.1


def test_every_shipped_file_has_a_row_in_its_card(tmp_path, capsys):
    manifest = {name: e for name, e in read_manifest().items() if not name.endswith("generator")}
    for name in manifest:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        for end in (".json", ".weights.h5"):
            (tmp_path / f"{name}{end}").symlink_to(weights_root() / f"{name}{end}")
    model_cards.main([tmp_path])
    text = (tmp_path / "README.md").read_text()
    assert capsys.readouterr().out.strip() == str(tmp_path / "README.md")
    for name, entry in manifest.items():
        file = name.split("/")[1]
        direction = file.removeprefix("direction_")
        row = next(line for line in text.splitlines() if f"| `{direction}` |" in line)
        assert row and (direction != file or f"{entry['parameters']:,}" in text)
        assert entry["budget"].get("command", "") in text
        assert entry["budget"].get("notes", "") in text
