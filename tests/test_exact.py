"""The exact denoiser of given data: closed forms, its blocks, its gradient, its errors."""

import numpy as np
import oracles
import pytest
import tensorflow as tf
from conftest import assert_close

import ddim_embed as de
from ddim_embed.process import sampling
from ddim_embed.process.schedules import Rates, continuous_cosine, cosine

RATES = Rates(0.6, 0.8)


def draw(n, shape=(2, 3, 1), seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(dtype)


def directly(data, noisy, rates):
    """The definition, in the fewest words of NumPy."""
    flat, points = noisy.reshape(len(noisy), -1), data.reshape(len(data), -1)
    logits = -((flat[:, None] - rates.signal * points) ** 2).sum(-1) / (2 * rates.noise**2)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    means = weights @ points / weights.sum(axis=1, keepdims=True)
    return ((flat - rates.signal * means) / rates.noise).reshape(noisy.shape)


@pytest.mark.parametrize("rates", [Rates(0.02, 0.9998), RATES, Rates(0.999, 0.045)])
def test_is_what_it_says(rates):
    data, noisy = draw(40), draw(7, seed=1)
    assert_close(de.EmpiricalDenoiser(data)(noisy, rates), directly(data, noisy, rates), 1e-12)


def test_one_datum_is_a_point_mass():
    datum, latents = draw(1), draw(3, seed=1)
    denoise = de.EmpiricalDenoiser(datum)
    assert_close(denoise(latents, RATES), oracles.point_mass(datum[0])(latents, RATES), 1e-12)
    images = sampling.sample(denoise, continuous_cosine, latents, num_steps=4)
    np.testing.assert_allclose(images, np.repeat(datum, 3, axis=0), rtol=1e-12)


def test_two_data_weigh_as_a_logistic_function():
    # d = +-1: the weights' ratio is exp(2 s x / e**2), so the predicted image is tanh(s x / e**2).
    denoise = de.EmpiricalDenoiser([[-1.0], [1.0]])
    noisy = np.linspace(-3, 3, 9).reshape(-1, 1)
    images = sampling.predict_images(noisy, denoise(noisy, RATES), RATES)
    np.testing.assert_allclose(images, np.tanh(0.6 * noisy / 0.64), atol=1e-14)


def test_a_large_sample_of_a_gaussian_is_nearly_gaussian():
    data, noisy = 0.5 * draw(100_000, (2,)), draw(20, (2,), seed=1)
    found = de.EmpiricalDenoiser(data)(noisy, RATES)
    # The error of the mean of 100,000 data, in units of the noise, is about 0.002.
    np.testing.assert_allclose(found, oracles.gaussian(0.5)(noisy, RATES), atol=0.02)


@pytest.mark.parametrize("block_size", [1, 7, 40, 1000])
def test_blocks_change_nothing(block_size):
    data, noisy = draw(40), draw(5, seed=1)
    whole, blocks = de.EmpiricalDenoiser(data, 40), de.EmpiricalDenoiser(data, block_size)
    assert_close(blocks(noisy, RATES), whole(noisy, RATES), 1e-13)


def test_by_default_a_block_fills_a_bounded_memory(monkeypatch):
    sizes = []
    matmul = tf.matmul

    def watched(a, b, **kwargs):
        result = matmul(a, b, **kwargs)
        sizes.extend([np.size(b), np.size(result)])
        return result

    denoise = de.EmpiricalDenoiser(draw(3000, (4, 4, 1)))
    monkeypatch.setattr("ddim_embed.process.exact._BLOCK_BYTES", 8 * 4000)
    monkeypatch.setattr(tf, "matmul", watched)
    denoise(draw(20, (4, 4, 1)), RATES)
    assert 3000 < max(sizes) <= 4000


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keeps_the_dtype_and_is_stable(dtype):
    data = 100 + draw(50, dtype=dtype)  # far away: its squares have no precision left in float32
    noisy = (0.999 * data[:3] + 0.045 * draw(3, seed=1)).astype(dtype)
    rates = Rates(0.999, 0.0447)
    found = de.EmpiricalDenoiser(data, 9)(noisy, rates)
    assert found.dtype == dtype
    expected = directly(data.astype(np.float64), noisy.astype(np.float64), rates)
    assert_close(found, expected, 1e-6 if dtype == np.float32 else 1e-9)
    # Far from all data every exponential is 0 by itself.
    far = de.EmpiricalDenoiser(data)(noisy + dtype(1e4), rates)
    assert np.isfinite(far).all()


def test_rates_may_differ_between_images():
    data, noisy = draw(9), draw(2, seed=1)
    rates = Rates(*(np.reshape(pair, (2, 1, 1, 1)) for pair in ((0.6, 0.8), (0.8, 0.6))))
    denoise = de.EmpiricalDenoiser(data)
    found = denoise(noisy, rates)
    for i, one in enumerate([Rates(0.6, 0.8), Rates(0.8, 0.6)]):
        assert_close(found[i : i + 1], denoise(noisy[i : i + 1], one), 1e-12)


def test_runs_in_a_graph_of_any_batch_size():
    denoise = de.EmpiricalDenoiser(draw(20), 6)
    signature = [tf.TensorSpec((None, 2, 3, 1), tf.float64)]
    run = tf.function(lambda noisy: denoise(noisy, RATES), signature)
    for n in (1, 4):
        assert_close(run(draw(n, seed=1)), denoise(draw(n, seed=1), RATES), 1e-13)


def objective(denoise, noisy):
    return tf.reduce_sum(tf.sin(denoise(noisy, RATES)))


def gradient(denoise, noisy):
    with tf.GradientTape() as tape:
        tape.watch(noisy)
        value = objective(denoise, noisy)
    return tape.gradient(value, noisy)


def test_derivatives_are_finite_differences():
    denoise = de.EmpiricalDenoiser(draw(30), 8)
    noisy, direction = tf.constant(draw(4, seed=1)), draw(4, seed=2)
    step = 1e-5
    up, down = noisy + step * direction, noisy - step * direction

    def slope(function):
        return (function(up) - function(down)) / (2 * step)

    first = gradient(denoise, noisy)
    expected = slope(lambda at: objective(denoise, at))
    np.testing.assert_allclose(np.sum(first * direction), expected, rtol=1e-7)
    in_graph = tf.function(lambda at: gradient(denoise, at))(noisy)
    assert_close(in_graph, first, 1e-12)

    with tf.autodiff.ForwardAccumulator(noisy, tf.constant(direction)) as accumulator:
        predicted = denoise(noisy, RATES)
    assert_close(accumulator.jvp(predicted), slope(lambda at: denoise(at, RATES)), 1e-7)

    with tf.GradientTape() as tape:
        tape.watch(noisy)
        norm = tf.reduce_sum(gradient(denoise, noisy) ** 2)
    expected = slope(lambda at: tf.reduce_sum(gradient(denoise, at) ** 2))
    second = np.sum(tape.gradient(norm, noisy) * direction)
    np.testing.assert_allclose(second, expected, rtol=1e-6)


def test_the_sampler_returns_data_where_its_end_is_clean():
    data = draw(10, (4, 4, 1), dtype=np.float32)
    denoise = de.EmpiricalDenoiser(data)
    images = sampling.sample(denoise, cosine, draw(6, (4, 4, 1), 1, np.float32), num_steps=30)
    distances = np.abs(images.numpy()[:, None] - data).max(axis=(2, 3, 4))
    assert distances.min(axis=1).max() < 1e-3  # float32, divided by signal rates down to 1e-3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros((0, 2)), r"Received shape: \(0, 2\)"),
        (np.zeros(3), r"Received shape: \(3,\)"),
        ([[np.nan, 1.0]], "finite"),
        ([[np.inf, 1.0]], "finite"),
    ],
)
def test_what_are_no_data(data, words):
    with pytest.raises(ValueError, match=words):
        de.EmpiricalDenoiser(data)


def test_wrong_shapes_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"at least 1\. Received: 0"):
        de.EmpiricalDenoiser(draw(3), block_size=0)
    with pytest.raises(ValueError, match=r"shape \(batch, 2, 3, 1\).*Received shape: \(4, 3, 2, 1"):
        de.EmpiricalDenoiser(draw(3))(draw(4, (3, 2, 1)), RATES)
