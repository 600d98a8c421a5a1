"""Each layer against a formula in NumPy, or against the plain Keras layer it replaces."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, set_random_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from ddim_embed.networks import blocks as layers
from ddim_embed.networks import kernels
from ddim_embed.networks.blocks import (
    ATTENTIONS,
    BatchNorm,
    Normalizer,
    ResidualBlock,
    SinusoidalEmbedding,
    dtype_policy,
    swish,
)


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def gradient(function, x):
    """The gradient of a fixed random projection of the function's value."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
        value = tf.reduce_sum(tf.cast(y, tf.float32) * normal(y.shape, seed=9))
    return tf.cast(tape.gradient(value, x), tf.float32).numpy()


class TestDtypePolicy:
    def test_known(self):
        assert dtype_policy("float32") == "float32"
        assert dtype_policy("bfloat16") == "mixed_bfloat16"

    def test_unknown(self):
        with pytest.raises(ValueError, match=r"bfloat16.*Received: 'float16'"):
            dtype_policy("float16")


class TestNormalizer:
    @settings(deadline=None, max_examples=20)
    @given(offset=st.floats(0.3, 0.7), scale=st.floats(0.01, 0.5), channels=st.sampled_from([1, 3]))
    def test_adapted_images_have_zero_mean_and_unit_variance(self, offset, scale, channels):
        pixels = (normal((4, 6, 5, channels)) * scale + offset).clip(0, 1)
        normalizer = Normalizer(channels)
        normalizer.adapt(pixels)
        images = normalizer(pixels).numpy()
        # float32 sums of 120 values, whose mean may be 70 deviations away
        np.testing.assert_allclose(images.mean((0, 1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(images.var((0, 1, 2)), 1, atol=1e-3)
        np.testing.assert_allclose(normalizer.inverse(images), pixels, atol=1e-5)

    def test_channels_have_their_own_statistics(self):
        pixels = (normal((2, 4, 4, 3)) * [0.1, 0.2, 0.3] + [0, 0.5, 0.7]).clip(0, 1)
        normalizer = Normalizer(3)
        normalizer.adapt(pixels)
        np.testing.assert_allclose(normalizer.mean, pixels.mean((0, 1, 2)), rtol=1e-6)
        np.testing.assert_allclose(normalizer.variance, pixels.var((0, 1, 2)), rtol=1e-6)

    def test_the_statistics_are_weights_and_no_training_changes_them(self):
        normalizer = Normalizer(1)
        assert [weight.name for weight in normalizer.weights] == ["mean", "variance"]
        assert not normalizer.trainable
        normalizer.trainable = True  # as when the model that has it is made so
        assert not normalizer.trainable_variables

    def test_stays_float32_under_a_mixed_policy(self):
        pixels = np.full((1, 2, 2, 1), 1.001, np.float32)  # bfloat16 would round it to 1
        normalizer = Normalizer(1, dtype="mixed_bfloat16")
        np.testing.assert_array_equal(normalizer(pixels), pixels)

    @pytest.mark.parametrize(
        "pixels, words",
        [
            (np.zeros((0, 4, 4, 1)), "at least 1"),
            (np.zeros((2, 4, 4, 3)), r"Received shape: \(2, 4, 4, 3\)"),
            (np.zeros((4, 4, 1)), "shape"),
            (np.ones((2, 4, 4, 1)), "vary"),
            (np.full((2, 4, 4, 1), np.nan), "finite"),
            (np.linspace(0, 255, 32).reshape(2, 4, 4, 1), r"in \[0, 1\].*from 0 to 255"),
            (np.linspace(-1, 1, 32).reshape(2, 4, 4, 1), r"in \[0, 1\].*from -1 to 1"),
        ],
    )
    def test_refuses_what_has_no_statistics(self, pixels, words):
        normalizer = Normalizer(1)
        with pytest.raises(ValueError, match=words):
            normalizer.adapt(pixels)
        assert normalizer.mean.numpy() == 0 and normalizer.variance.numpy() == 1

    def test_knows_whether_it_is_adapted(self):
        normalizer = Normalizer(2)
        with pytest.raises(ValueError, match=r"not adapted.*normalizer\.adapt\(pixels\)"):
            normalizer.check()
        pixels = np.stack([np.linspace(0, 1, 32), np.arange(32) % 2], -1).reshape(2, 4, 4, 2)
        normalizer.adapt(pixels)  # the second channel has the largest variance there is, 1/4
        normalizer.check()
        normalizer.set_weights([normalizer.mean * 255, normalizer.variance * 255**2])
        with pytest.raises(ValueError, match="not adapted to pixels in"):
            normalizer.check()

    def test_one_channel_is_no_colour_image(self):
        with pytest.raises(ValueError, match=r"3 channels. Received shape: \(2, 4, 4, 1\)"):
            Normalizer(3)(np.zeros((2, 4, 4, 1), np.float32))


class TestSinusoidalEmbedding:
    def test_equals_the_formula(self):
        variances = np.array([0.0, 1e-3, 0.1, 0.777, 0.9996]).reshape(-1, 1, 1, 1)
        frequencies = np.geomspace(1, 1000, 32)
        angles = 2 * np.pi * variances * frequencies
        expected = np.concatenate([np.sin(angles), np.cos(angles)], -1)
        embedded = SinusoidalEmbedding()(variances.astype(np.float32))
        assert embedded.shape == (5, 1, 1, 64)
        # At 1000 periods the angle is 6283, whose float32 has a rounding error of 2.4e-4;
        # so have its factors.
        np.testing.assert_allclose(embedded, expected, atol=2e-3)

    def test_bfloat16_rounds_the_result_and_not_the_angle(self):
        variances = np.linspace(0, 1, 7, dtype=np.float32).reshape(-1, 1, 1, 1)
        exact = SinusoidalEmbedding()(variances)
        rounded = SinusoidalEmbedding(dtype="mixed_bfloat16")(variances)
        assert rounded.dtype == tf.bfloat16
        np.testing.assert_allclose(tf.cast(rounded, tf.float32), exact, atol=2**-8)  # 8 bits

    def test_other_sizes(self):
        embedding = SinusoidalEmbedding(4, min_frequency=2.0, max_frequency=5.0)
        expected = [np.sin(0.4 * np.pi), np.sin(np.pi), np.cos(0.4 * np.pi), np.cos(np.pi)]
        np.testing.assert_allclose(
            embedding(np.full((1, 1, 1, 1), 0.1))[0, 0, 0], expected, atol=1e-6
        )
        assert embedding.compute_output_shape((None, 1, 1, 1)) == (None, 1, 1, 4)

    @pytest.mark.parametrize("dims", [0, 7])
    def test_refuses_odd_dims(self, dims):
        with pytest.raises(ValueError, match=f"even.*Received: {dims}"):
            SinusoidalEmbedding(dims)


class TestBatchNorm:
    """Against keras.layers.BatchNormalization; rtol 1e-4 for float32 sums in another order."""

    @pytest.fixture
    def pair(self):
        own = BatchNorm()
        plain = keras.layers.BatchNormalization(center=False, scale=False)
        for layer in (own, plain):
            layer.build((None, None, None, 3))
            set_random_weights(layer, seed=1)
        return own, plain

    @pytest.mark.parametrize("n", range(1, 6))
    def test_inference(self, pair, n):
        x = normal((n, 4, 6, 3)) * 2 + 1
        own, plain = pair
        assert_close(own(x, training=False), plain(x, training=False), 1e-5)
        before = [weight.numpy() for weight in own.weights]
        own(x)
        np.testing.assert_array_equal(before, [weight.numpy() for weight in own.weights])
        assert_close(
            gradient(lambda x: own(x, training=False), x),
            gradient(lambda x: plain(x, training=False), x),
            1e-5,
        )

    @pytest.mark.parametrize("n", [1, 5])
    def test_training(self, pair, n):
        x = normal((n, 4, 6, 3)) * [1, 2, 3] + [1, 0, -2]
        x = x.astype(np.float32)
        own, plain = pair
        for _ in range(3):
            assert_close(own(x, training=True), plain(x, training=True), 1e-4)
        for name in ("moving_mean", "moving_variance"):
            assert_close(getattr(own, name).numpy(), getattr(plain, name).numpy(), 1e-5)
        assert_close(
            gradient(lambda x: own(x, training=True), x),
            gradient(lambda x: plain(x, training=True), x),
            1e-4,
        )

    def test_a_frozen_one_stays_as_it_is(self, pair):
        own, plain = pair
        own.trainable = plain.trainable = False
        x = normal((2, 4, 4, 3))
        assert_close(own(x, training=True), plain(x, training=True), 1e-5)
        assert_close(own.moving_mean.numpy(), plain.moving_mean.numpy(), 1e-7)

    @pytest.mark.parametrize("replicas, training", [(1, True), (2, True), (2, False)])
    def test_replicas_that_train_take_keras_own_pass(self, pair, monkeypatch, replicas, training):
        """Which is synchronized."""
        monkeypatch.setattr(layers.backend, "replicas", lambda: replicas)
        monkeypatch.setattr(keras.layers.BatchNormalization, "call", lambda *_: "synchronized")
        taken = pair[0].call(tf.ones((2, 4, 4, 3)), training)
        assert isinstance(taken, str) is (replicas == 2 and training)

    def test_has_neither_centre_nor_scale(self, pair):
        assert [weight.name for weight in pair[0].weights] == ["moving_mean", "moving_variance"]
        assert not pair[0].trainable_variables


class TestSwish:
    @pytest.mark.parametrize("dtype, rtol", [(tf.float32, 1e-6), (tf.bfloat16, 2**-7)])
    def test_value_and_gradient_are_those_of_silu(self, dtype, rtol):
        x = tf.cast(np.linspace(-30, 30, 240, dtype=np.float32).reshape(2, 4, 6, 5), dtype)
        assert swish(x).dtype == dtype
        exact = tf.cast(x, tf.float32)
        assert_close(tf.cast(swish(x), tf.float32), tf.nn.silu(exact), rtol)
        assert_close(gradient(swish, x), gradient(tf.nn.silu, exact), rtol)

    def test_its_gradient_has_one_too(self):
        def slope(function):
            return lambda x: gradient_tensor(function, x)

        def gradient_tensor(function, x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(function(x))
            return tape.gradient(y, x)

        x = normal((2, 3))
        assert_close(gradient(slope(swish), x), gradient(slope(tf.nn.silu), x), 1e-5)


class TestResidualBlock:
    @pytest.mark.parametrize("channels, projections", [(6, 0), (4, 1)])
    def test_equals_the_formula(self, channels, projections):
        block = ResidualBlock(6)
        block.build((None, None, None, channels))
        set_random_weights(block)
        x = normal((2, 5, 7, channels))
        weights = {weight.path.split("/", 1)[1]: weight.numpy() for weight in block.weights}
        assert sum("projection" in name for name in weights) == 2 * projections
        residual = x
        if projections:
            residual = x @ weights["projection/kernel"][0, 0] + weights["projection/bias"]
        y = (x - weights["norm/moving_mean"]) / np.sqrt(weights["norm/moving_variance"] + 1e-3)
        y = tf.nn.conv2d(y, weights["conv1/kernel"], 1, "SAME") + weights["conv1/bias"]
        y = y / (1 + tf.exp(-y))
        y = tf.nn.conv2d(y, weights["conv2/kernel"], 1, "SAME") + weights["conv2/bias"]
        assert_close(block(x), residual + y, 1e-5)  # float32
        assert block.compute_output_shape((None, 5, 7, channels)) == (None, 5, 7, 6)

    def test_unknown_attention(self):
        with pytest.raises(ValueError, match=r"nafnet.*Received: 'self'"):
            ResidualBlock(4, attention="self")


class TestAttention:
    @staticmethod
    def built(name, channels=8, **kwargs):
        layer = ATTENTIONS[name](**kwargs)
        layer.build((None, None, None, channels))
        return layer

    @pytest.mark.parametrize("name", sorted(ATTENTIONS))
    @pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
    def test_keeps_the_shape_and_dtype(self, name, precision):
        layer = self.built(name, dtype=precision)
        x = tf.cast(normal((3, 4, 6, 8)), layer.compute_dtype)
        assert layer(x).shape == x.shape and layer(x).dtype == x.dtype
        assert layer.compute_output_shape((None, 4, 6, 8)) == (None, 4, 6, 8)

    @pytest.mark.parametrize("name", ["spatial", "nafnet"])
    def test_starts_as_the_identity(self, name):
        x = normal((2, 4, 4, 8))
        layer = self.built(name)
        np.testing.assert_array_equal(layer(x), x)
        assert np.abs(set_random_weights(layer)(x) - x).max() > 0.1

    def test_spatial_equals_the_formula(self):
        layer = set_random_weights(self.built("spatial"))
        x = normal((2, 3, 4, 8))
        weights = {weight.path.split("/", 1)[1]: weight.numpy() for weight in layer.weights}
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        y = (x - mean) / np.sqrt(variance + 1e-3) * weights["norm/gamma"] + weights["norm/beta"]
        y = y @ weights["queries_keys_values/kernel"] + weights["queries_keys_values/bias"]
        queries, keys, values = np.split(y.reshape(2, 12, 24), 3, -1)
        scores = np.exp(queries @ keys.transpose(0, 2, 1) / np.sqrt(8))
        y = (scores / scores.sum(-1, keepdims=True) @ values).reshape(x.shape)
        y = y @ weights["output_projection/kernel"] + weights["output_projection/bias"]
        assert_close(layer(x), x + y, 1e-5)  # float32

    def test_squeeze_excitation_equals_the_formula(self):
        layer = set_random_weights(self.built("squeeze_excitation", ratio=2))
        x = normal((2, 3, 4, 8))
        kernel1, bias1, kernel2, bias2 = layer.get_weights()
        assert kernel1.shape == (8, 4)
        assert self.built("squeeze_excitation", channels=2).get_weights()[0].shape == (2, 1)
        hidden = np.maximum(x.mean((1, 2)) @ kernel1 + bias1, 0)
        gate = 1 / (1 + np.exp(-hidden @ kernel2 - bias2))
        assert_close(layer(x), x * gate[:, None, None], 1e-5)  # float32

    def test_nafnet_equals_the_formula(self):
        layer = set_random_weights(self.built("nafnet"))
        x = normal((2, 3, 4, 8))
        kernel, bias = layer.get_weights()
        assert_close(layer(x), x * (x.mean((1, 2)) @ kernel + bias)[:, None, None], 1e-5)  # float32


def test_every_attention_is_reached_by_its_name():
    expected = {
        "spatial": layers.SpatialAttention,
        "squeeze_excitation": layers.SqueezeExcitation,
        "nafnet": layers.NAFNetAttention,
    }
    assert expected == ATTENTIONS


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_upsampling_is_keras_bilinear(dtype):
    x = tf.cast(tf.random.stateless_normal((2, 3, 5, 4), (0, 0)), dtype)
    expected = keras.layers.UpSampling2D(2, interpolation="bilinear", dtype=dtype)(x)
    found = kernels.upsample(x)
    assert found.dtype == expected.dtype == x.dtype
    np.testing.assert_array_equal(tf.cast(found, "float32"), tf.cast(expected, "float32"))
    graph = tf.function(
        kernels.upsample, input_signature=[tf.TensorSpec((None, None, 6, 4), dtype)]
    )
    assert graph.get_concrete_function().output_shapes.as_list() == [None, None, 12, 4]
