"""The same noise from the same seed, on every backend."""

import numpy as np
import pytest
import tensorflow as tf

from ddim_embed.process import noise

SEEDS = [(3, 7), (0, -1), (2**31 + 5, 2**33 + 1)]


def tensorflow_seed(seed):
    return tf.constant([value - 2**64 * (value >= 2**63) for value in seed], tf.int64)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("numpy", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 1, 1), (4, 4, 4, 4)])
def test_is_that_of_tensorflow(seed, numpy, shape):
    words = noise.seed_words(*seed)
    uniform = noise.uniform(shape, words, numpy)
    assert isinstance(uniform, np.ndarray) == numpy
    expected = tf.random.stateless_uniform(shape, tensorflow_seed(seed))
    np.testing.assert_array_equal(uniform, expected)
    found, expected = noise.normal(shape, words, numpy), tf.random.stateless_normal(shape, seed)
    assert found.dtype == np.float32 and isinstance(found, np.ndarray) == numpy
    np.testing.assert_allclose(found, expected, atol=2e-6)  # sines of float32 angles up to 6.3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_split_is_that_of_tensorflow(seed):
    expected = tf.random.split(tensorflow_seed(seed), 2)
    for own, other in zip(noise.split(noise.seed_words(*seed)), expected, strict=True):
        np.testing.assert_array_equal(
            noise.uniform((9,), own), tf.random.stateless_uniform((9,), other)
        )


@pytest.mark.parametrize("step", [5, 0, -1])
def test_a_seed_may_be_a_tensor(step):
    found = noise.uniform((9,), noise.seed_words(3, tf.constant(step, tf.int64)))
    np.testing.assert_array_equal(found, noise.uniform((9,), noise.seed_words(3, step)))


def test_is_gaussian():
    values = noise.normal((200_000,), noise.seed_words(0, 0), numpy=True)
    assert abs(values.mean()) < 0.01 and abs(values.std() - 1) < 0.01  # five deviations
    assert abs(np.mean(values[::2] * values[1::2])) < 0.02
