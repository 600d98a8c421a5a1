"""What imports cost, and what every class can do. `lint-imports` checks their direction."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import set_random_weights

import ddim_embed
from ddim_embed.autoencoder import autoencoder, prior
from ddim_embed.generator import generator, pretrained
from ddim_embed.metrics import classifier, identity, perceptual
from ddim_embed.networks import (
    adaptive_unet,
    embedders,
    group_normalized,
    latent_mlp,
    modulated_unet,
    semantic_encoder,
    shift,
    unet,
)
from ddim_embed.networks import blocks as layers
from ddim_embed.training import autoencoder as autoencoder_training
from ddim_embed.training import denoiser as diffusion
from ddim_embed.training import encoder as encoder_training
from ddim_embed.training import prior as prior_training

ROOT = Path(ddim_embed.__file__).resolve().parent.parent


class TestImports:
    def test_importing_the_library_loads_no_more_than_it_needs(self):
        """Nor does it print, or make a file, or read one that is not code."""
        code = (
            "import sys, json; before = set(sys.modules); opened = []; "
            "sys.addaudithook(lambda event, args: opened.append(args[0]) if event == 'open' else 0)"
            "; import ddim_embed; "
            "print(json.dumps([sorted({name.partition('.')[0] for name in sys.modules} "
            "- {name.partition('.')[0] for name in before}), [*map(str, opened)]]))"
        )
        before = {path for path in (ROOT / "ddim_embed").rglob("*") if path.suffix != ".pyc"}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
        )
        loaded, opened = (set(names) for names in json.loads(result.stdout))  # the only line
        assert "ddim_embed" in loaded
        assert not loaded & {
            "tensorflow", "keras", "jax", "numpy", "matplotlib", "tensorflow_datasets", "sklearn",
            "scipy", "experiments", "PIL",
        }  # fmt: skip
        # A virtual environment may lie in the same folder.
        folders = (ROOT / "ddim_embed", ROOT / "weights")
        own = {n for n in opened if any(Path(n).is_relative_to(folder) for folder in folders)}
        assert any(name.endswith("__init__.py") or ".pyc" in name for name in own)
        assert not {name for name in own if ".py" not in name}
        after = {path for path in (ROOT / "ddim_embed").rglob("*") if path.suffix != ".pyc"}
        assert {p for p in after ^ before if p.name != "__pycache__"} == set()

    def test_importing_the_library_takes_less_than_a_third_of_a_second(self):
        code = (
            "import time; start = time.perf_counter(); import ddim_embed; "
            "print(time.perf_counter() - start)"
        )
        command = [sys.executable, "-c", code]
        seconds = [float(subprocess.check_output(command, cwd=ROOT)) for _ in range(3)]
        assert min(seconds) < 0.3


def test_no_file_names_a_path_of_the_developer_s_machine():
    # Written so that this file does not match itself. Not after a letter, dot, slash or colon:
    # there it is part of a relative path or of an address.
    folders = "|".join(["work", "root", "home", "Users", "private"])
    pattern = re.compile(rf"(?<![\w.~:/>}})-])/(?:{folders})/[\w.]")
    folders = ["ddim_embed", "experiments", "tests", "benchmarks"]
    folders += ["docs", "notebooks", "weights", ".ci"]
    suffixes = {".py", ".md", ".toml", ".cfg", ".txt", ".ipynb", ".json", ".yml", ".html", ""}
    files = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for folder in folders:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    files = [path for path in files if path.suffix in suffixes]
    assert len(files) > 30
    assert pattern.search("open('" + "/home" + "/me/x')")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files
        for match in pattern.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


# One object of each registered class, and what to call it with.
IMAGES = np.random.default_rng(0).normal(size=(2, 4, 4, 8)).astype(np.float32)
VARIANCES = np.array([0.2, 0.7], np.float32).reshape(2, 1, 1, 1)
UNET = {"channels": 8, "widths": (4, 6), "block_depth": 1}
SEMANTIC = np.array([[1, -1, 0.5], [0.3, 0, 2]], np.float32)


def make_encoder():
    return semantic_encoder.SemanticEncoder(8, (4, 6), 1, 3, 4, (2,))


def make_decoder():
    return modulated_unet.ModulatedUNet(3, **UNET)


VECTORS = [IMAGES[:, 0, 0], VARIANCES[:, 0, 0]]
MLP = {"dims": 8, "hidden": 5, "depth": 3, "seed": 4}
SERIALISABLE = {
    layers.Normalizer: (lambda: layers.Normalizer(8), IMAGES),
    layers.VectorNormalizer: (lambda: layers.VectorNormalizer(8), VECTORS[0]),
    layers.SinusoidalEmbedding: (lambda: layers.SinusoidalEmbedding(6, 2.0, 50.0), VARIANCES),
    layers.BatchNorm: (lambda: layers.BatchNorm(momentum=0.8, epsilon=0.1), IMAGES),
    layers.ResidualBlock: (lambda: layers.ResidualBlock(5, attention="nafnet"), IMAGES),
    layers.SpatialAttention: (lambda: layers.SpatialAttention(), IMAGES),
    layers.SqueezeExcitation: (lambda: layers.SqueezeExcitation(ratio=2), IMAGES),
    layers.NAFNetAttention: (lambda: layers.NAFNetAttention(), IMAGES),
    shift.DeltaNetwork: (
        lambda: shift.DeltaNetwork(8, num_steps=4, fingerprint="a", dims=6),
        [IMAGES, VARIANCES],
    ),
    unet.UNet: (lambda: unet.UNet(**UNET, attention="squeeze_excitation"), [IMAGES, VARIANCES]),
    group_normalized.GroupNorm: (lambda: group_normalized.GroupNorm(), IMAGES),
    group_normalized.SelfAttention: (lambda: group_normalized.SelfAttention(), IMAGES),
    semantic_encoder.EncoderBlock: (lambda: semantic_encoder.EncoderBlock(6, down=True), IMAGES),
    semantic_encoder.SemanticEncoder: (make_encoder, IMAGES),
    adaptive_unet.AdaptiveBlock: (
        lambda: adaptive_unet.AdaptiveBlock(
            6, "down", True, time_dims=2, semantic_dims=3, dropout=0.2, number=1
        ),
        [IMAGES, VARIANCES[:, 0, 0] * [1, -1], SEMANTIC],
    ),
    adaptive_unet.AdaptiveUNet: (
        lambda: adaptive_unet.AdaptiveUNet(3, **UNET, image_size=4, attention_resolutions=(4,)),
        [IMAGES, VARIANCES, SEMANTIC],
    ),
    modulated_unet.ModulatedUNet: (make_decoder, [IMAGES, VARIANCES, SEMANTIC]),
    autoencoder_training.AutoencoderNetwork: (
        lambda: autoencoder_training.AutoencoderNetwork(make_encoder(), make_decoder()),
        [IMAGES, VARIANCES, IMAGES[::-1].copy()],
    ),
    autoencoder_training.AutoencoderModel: (
        lambda: autoencoder_training.AutoencoderModel(
            autoencoder_training.AutoencoderNetwork(make_encoder(), make_decoder()), ema=0.5
        ),
        [IMAGES, VARIANCES, IMAGES[::-1].copy()],
    ),
    encoder_training.PrincipalComponents: (
        lambda: encoder_training.PrincipalComponents((4, 4, 8), 3),
        IMAGES,
    ),
    encoder_training.EncoderModel: (
        lambda: encoder_training.EncoderModel(make_encoder(), layers.Normalizer(8), (4, 4, 8)),
        IMAGES,
    ),
    autoencoder.Autoencoder: (
        lambda: autoencoder.Autoencoder(
            make_encoder(), generator.Generator(make_decoder(), image_shape=(4, 4, 8))
        ),
        IMAGES,
    ),
    embedders.ConvEmbedder: (lambda: embedders.ConvEmbedder(8, ((3, 5), (1, None))), IMAGES),
    diffusion.DiffusionModel: (
        lambda: diffusion.DiffusionModel(
            unet.UNet(**UNET), "linear", 0.5, seed=4, loss="mean_squared_error"
        ),
        [IMAGES, VARIANCES],
    ),
    latent_mlp.LatentMLP: (lambda: latent_mlp.LatentMLP(**MLP), VECTORS),
    prior_training.PriorModel: (
        lambda: prior_training.PriorModel(latent_mlp.LatentMLP(**MLP), ema=0.5),
        VECTORS,
    ),
    prior.SemanticPrior: (lambda: prior.build_prior(8, 5, 3, "linear", num_steps=2), VECTORS[0]),
    generator.Generator: (
        lambda: pretrained.build_generator(
            (4, 4, 8), (4, 6), 1, "spatial", "cosine", 2, "transfer", padding=1
        ),
        IMAGES,
    ),
    identity.FaceIdentity: (lambda: identity.FaceIdentity(size=103), IMAGES[..., :3]),
    perceptual.PerceptualDistance: (
        lambda: perceptual.PerceptualDistance(min_size=40),
        [IMAGES[..., :3], IMAGES[..., 3:6]],
    ),
    classifier.FeatureClassifier: (
        lambda: classifier.FeatureClassifier((4, 4, 8), 3, (5,), 6, padding=1, seed=4),
        IMAGES,
    ),
}


class TestSerialisation:
    @pytest.mark.parametrize("cls", SERIALISABLE, ids=lambda cls: cls.__name__)
    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
    def test_round_trip(self, cls, policy):
        make, inputs = SERIALISABLE[cls]
        keras.config.set_dtype_policy(policy)
        try:
            original = make()
        finally:
            keras.config.set_dtype_policy("float32")
        original(inputs)  # builds the layers
        set_random_weights(original)
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(original)))
        restored = keras.saving.deserialize_keras_object(config)
        assert type(restored) is cls
        assert keras.saving.serialize_keras_object(restored)["config"] == original_config(original)
        restored(inputs)
        shapes = [weight.shape for weight in original.weights]
        assert [weight.shape for weight in restored.weights] == shapes
        restored.set_weights(original.get_weights())
        fresh = cls.from_config(original.get_config())
        fresh(inputs)
        fresh.set_weights(original.get_weights())
        expected = tf.cast(original(inputs), tf.float32)
        assert np.isfinite(expected).all() and np.std(expected) > 0
        for model in (restored, fresh):
            output = tf.cast(model(inputs), tf.float32)
            np.testing.assert_allclose(output, expected, rtol=1e-6, atol=1e-6)  # float32

    @pytest.mark.parametrize("cls", SERIALISABLE, ids=lambda cls: cls.__name__)
    def test_channels_come_last_whatever_keras_is_set_to(self, cls):
        make, inputs = SERIALISABLE[cls]
        usual, unusual = make(), None
        usual(inputs)
        keras.config.set_image_data_format("channels_first")
        try:
            unusual = make()
            unusual(inputs)
            unusual.set_weights(set_random_weights(usual).get_weights())
            found = np.asarray(unusual(inputs), np.float32)
        finally:
            keras.config.set_image_data_format("channels_last")
        np.testing.assert_allclose(
            found, np.asarray(usual(inputs), np.float32), rtol=1e-6, atol=1e-6
        )

    def test_no_registered_class_is_missing_here(self):
        registered = {
            value
            for name, value in keras.saving.get_custom_objects().items()
            if name.startswith("ddim_embed>") and isinstance(value, type)
            if issubclass(value, keras.layers.Layer)
        }
        assert registered == SERIALISABLE.keys()

    def test_every_layer_and_model_is_registered_or_a_trainer(self):
        """What is registered loads from a file; trainers are made for a run and never saved."""
        trainers = {"DeltaTrainer", "EmbedderTrainer", "LatentRegression", "TrainedModel"}
        classes = {
            value
            for module in pkgutil.walk_packages(ddim_embed.__path__, "ddim_embed.")
            if not module.name.endswith("__main__")  # which runs when it is imported
            for value in vars(importlib.import_module(module.name)).values()
            if isinstance(value, type)
            and issubclass(value, keras.layers.Layer)
            and value.__module__.startswith("ddim_embed.")
            and not value.__name__.startswith("_")
        }
        assert {cls.__name__ for cls in classes - SERIALISABLE.keys()} == trainers

    def test_swish_is_found_by_its_name(self):
        layer = keras.layers.Conv2D(2, 1, activation=layers.swish)
        restored = keras.layers.Conv2D.from_config(json.loads(json.dumps(layer.get_config())))
        assert restored.activation is layers.swish


def original_config(model):
    """Through JSON and back, where tuples become lists: on both sides of the comparison."""
    return keras.saving.serialize_keras_object(model)["config"]


def test_the_public_names_are_there():
    for name in ddim_embed.__all__:
        assert hasattr(ddim_embed, name), name
    assert re.fullmatch(r"\d+\.\d+\.\d+", ddim_embed.__version__)
