"""Tiny models, made once: as a trained one they have statistics, and an output that matters."""

import gc
import os
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# The models are tiny, and a test process runs on each core: more threads would only wait.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# What XLA compiles runs a few times: optimizing it would take longer.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import keras
import numpy as np
import pytest
import tensorflow as tf
from random_weights import set_random_weights

import ddim_embed as de
from ddim_embed.autoencoder.pretrained import autoencoder_config
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.networks import kernels

# XLA compiles these for every shape that there is, which takes a fifth of the suite's time: all
# tests but those of the kernels themselves (`xla_kernels`) run them without it.
XLA_KERNELS = {
    name: value for name, value in vars(kernels).items() if hasattr(value, "python_function")
}
for name, function in XLA_KERNELS.items():
    setattr(kernels, name, function.python_function)

# Tracing makes many objects and few cycles; without this they are all visited again and again.
gc.freeze()
gc.set_threshold(100_000, 20, 50)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
CHROMIUM_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip
WAIT = 240  # seconds; machines are busy

# The longest files, which begin first: at the end no process then waits long for the other.
LONGEST = (
    "test_experiments", "test_jax", "test_shipped", "test_examples", "test_parallel",
    "test_resume", "test_strategies", "test_editing_verbs", "test_paper", "test_invariance_verb",
    "test_many",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def fit_output(network, grid, size=16):
    """Makes a random denoiser predict about what is right for Gaussian data, noise_rate * images.

    Without it the sampler's first step, which divides by a signal rate of 0.02, blows errors up
    fifty times. The output convolution is linear in its kernel, so least squares fits it.
    """
    kernel, bias = network.output_conv.weights
    latents = tf.random.stateless_normal((2, size, size, network.channels), (1, 2))
    bias.assign(np.zeros(bias.shape))
    features, targets = [], []
    for rates in grid:
        variances = tf.fill((2, 1, 1, 1), rates.noise**2)
        channels = []
        for index in range(kernel.shape[2]):
            kernel.assign(np.eye(kernel.shape[2])[index, :, None] * np.ones(kernel.shape))
            channels.append(network([latents, variances])[..., 0].numpy().ravel())
        features.append(np.stack(channels, -1))
        targets.append(rates.noise * latents.numpy().reshape(-1, network.channels))
    solution = np.linalg.lstsq(np.concatenate(features), np.concatenate(targets), rcond=None)[0]
    kernel.assign(solution[None, None])


def make_generator(seed=0, **kwargs):
    """A tiny generator with random weights; its pixels lie mostly in [0, 1]."""
    options = {"image_shape": (16, 16, 1), "widths": (8, 16), "block_depth": 1, "num_steps": 3}
    generator = de.build_generator(**(options | kwargs))
    set_random_weights(generator, seed)
    fit_output(generator.network, generator.grid[1:], generator.image_shape[0])
    channels = generator.image_shape[-1]
    generator.normalizer.mean.assign(np.linspace(0.4, 0.6, channels))
    generator.normalizer.variance.assign(np.linspace(0.04, 0.05, channels))
    return generator


def record_autoencoder(weights):
    """Records a tiny generator, and an autoencoder that starts as it, for smoke runs."""
    record = {"data": "none", "budget": {}, "errors": {}}
    generator = make_generator(widths=(4, 8), num_steps=2)
    config = generator_config(generator)
    de.record_weights(weights, "fashion_mnist", "generator", generator, config=config, **record)
    keras.utils.set_random_seed(0)
    autoencoder = de.build_autoencoder((16, 16, 1), (4, 8), 1, semantic_dims=3)
    kernel = autoencoder.encoder.output_dense.kernel
    kernel.assign(100 * kernel)  # vectors of untrained encoders hardly differ
    autoencoder.generator.network.start_from(generator.network)
    rng = np.random.default_rng(0)
    for layer in autoencoder.generator.network.modulations:
        layer.set_weights([0.3 * rng.normal(size=w.shape) for w in layer.weights])
    autoencoder.generator.normalizer.set_weights(generator.normalizer.get_weights())
    autoencoder.adapt(make_pixels(32, (16, 16, 1)))
    config = autoencoder_config(autoencoder)
    de.record_weights(weights, "fashion_mnist", "autoencoder", autoencoder, config=config, **record)


def make_diffusion(seed=0, widths=(4, 8), ema=0.9, dtype="float32", **kwargs):
    """A tiny, adapted `DiffusionModel` with the same weights on every machine, not compiled."""
    network = set_random_weights(de.UNet(1, widths=widths, block_depth=1, dtype=dtype), seed=5)
    model = de.DiffusionModel(network, ema=ema, seed=seed, **kwargs)
    model.normalizer.adapt(make_pixels(16))
    return model


def make_pixels(n, shape=(8, 8, 1), seed=0):
    """Smooth random pixels in [0, 1], the same on every machine."""
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(np.linspace(0, 3, shape[0]), np.linspace(0, 3, shape[1]))
    phases = rng.uniform(0, 6, (n, 1, 1, shape[2]))
    waves = np.sin(rows.T[..., None] + phases) * np.cos(columns.T[..., None] - phases)
    return (0.5 + 0.45 * waves).astype(np.float32)


def assert_close(actual, expected, rtol):
    """Differences are small beside the largest value: cancellation has no relative precision."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * np.abs(expected).max())


@pytest.fixture
def xla_kernels(monkeypatch):
    """The kernels as they are outside of tests, compiled by XLA."""
    for name, function in XLA_KERNELS.items():
        monkeypatch.setattr(kernels, name, function)


@pytest.fixture(scope="session")
def tiny_generator():
    """A generator of 16x16 grey images; do not change its weights."""
    return make_generator()


@pytest.fixture(scope="session")
def tiny_pixels():
    """Five images for `tiny_generator`."""
    return make_pixels(5, (16, 16, 1))


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    """Debian's chromium, driven by selenium."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    folder = tmp_path_factory.mktemp("profile")
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={folder}", "--window-size=1200,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    browser.set_page_load_timeout(WAIT)
    yield browser
    browser.quit()
