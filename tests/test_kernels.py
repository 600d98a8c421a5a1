"""Every fused kernel against its plain form: values and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close

from ddim_embed.networks import kernels
from ddim_embed.networks.blocks import BatchNorm

pytestmark = pytest.mark.usefixtures("xla_kernels")


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = normal((2, 4, 6, 5))
CASES = {
    "swish": (X,),
    "add_swish": (X, normal((1, 4, 6, 5), 1)),
    "upsample": (X,),
    "bias_add": (X, normal((5,), 1)),
    "pointwise": (X, normal((1, 1, 5, 3), 1)),
}


def value_and_gradient(function, x, *constants):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x, *constants)
    upstream = tf.cast(normal(value.shape, 2), value.dtype)
    return value, tape.gradient(value, x, output_gradients=upstream)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("name", CASES)
def test_fused_and_plain_are_the_same(name, dtype, tolerance):
    """bfloat16 has 8 bits, and the plain forms round more often."""
    inputs = [tf.cast(value, dtype) for value in CASES[name]]
    fused, plain = (getattr(kernels, f"{form}_{name}") for form in ("fused", "plain"))
    found, expected = value_and_gradient(fused, *inputs), value_and_gradient(plain, *inputs)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype == dtype
        assert_close(tf.cast(one, "float32"), tf.cast(other, "float32"), tolerance)


def test_with_tensorflow_the_fused_ones_run():
    for name in CASES:
        assert getattr(kernels, name) is getattr(kernels, f"fused_{name}")
    names = {name.removeprefix("fused_") for name in vars(kernels) if name.startswith("fused_")}
    assert kernels.norm_swish is kernels.fused_norm_swish
    assert kernels.add_swish_modulate is kernels.fused_add_swish_modulate
    assert names == {*CASES, "batch_norm", "norm_swish", "add_swish_modulate"}


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_add_swish_modulate_and_its_gradients(dtype, tolerance):
    x, added = (tf.constant(values, dtype) for values in CASES["add_swish"])
    vectors = [tf.constant(normal((2, 1, 1, 5), seed)) for seed in (3, 4)]
    results = []
    for form in (kernels.fused_add_swish_modulate, kernels.plain_add_swish_modulate):
        with tf.GradientTape() as tape:
            tape.watch([x, *vectors])
            value = form(x, added, *vectors)
        upstream = tf.cast(normal(value.shape, 2), dtype)
        gradients = tape.gradient(value, [x, *vectors], output_gradients=upstream)
        assert [each.dtype for each in (value, *gradients)] == [dtype] * 2 + ["float32"] * 2
        results.append([tf.cast(each, "float32") for each in (value, *gradients)])
    for one, other in zip(*results, strict=True):
        assert_close(one, other, tolerance)


def norm_swish(form, x, scale, shift, groups, upstream, direction):
    """Value, gradients, and the gradients of the first one's product with a direction."""
    inputs = [tf.constant(x), tf.constant(scale), tf.constant(shift)]
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            value = getattr(kernels, f"{form}_norm_swish")(*inputs, groups)
        gradients = inner.gradient(value, inputs, output_gradients=tf.cast(upstream, value.dtype))
        product = tf.reduce_sum(tf.cast(gradients[0], tf.float32) * direction)
    return [value, *gradients, *outer.gradient(product, inputs)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("rows", [1, 2])
def test_norm_swish_its_gradient_and_the_gradient_s_gradient(groups, rows):
    x, upstream, direction = (normal((2, 3, 4, 4), seed) for seed in range(3))
    scale, shift = (normal((rows, 1, 1, 4), seed) for seed in (3, 4))
    # Groups of other sizes and places: means far from 0 do not cancel into nothing.
    x = x * np.array([0.5, 1, 2, 4], np.float32) + np.array([0, 30, -3, 1], np.float32)
    found = norm_swish("fused", x, scale, shift, groups, upstream, direction)
    expected = norm_swish("plain", x, scale, shift, groups, upstream, direction)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, 2e-5)  # float32, and a mean of 30


def test_norm_swish_rounds_once_in_bfloat16():
    x, scale, shift = normal((2, 4, 4, 6)), normal((6,), 1), normal((6,), 2)
    x = tf.cast(3 + x, "bfloat16")
    for form in (kernels.fused_norm_swish, kernels.plain_norm_swish):
        found, expected = form(x, scale, shift, 3), form(tf.cast(x, "float32"), scale, shift, 3)
        assert found.dtype == "bfloat16"
        np.testing.assert_array_equal(found, tf.cast(expected, "bfloat16"))


def test_norm_swish_is_the_formula():
    x, scale, shift = normal((2, 4, 4, 6)).astype(np.float64), normal((6,), 1), normal((6,), 2)
    groups = x.reshape(2, 16, 3, 2)
    centred = groups - groups.mean((1, 3), keepdims=True)
    normal_ = centred / np.sqrt((centred**2).mean((1, 3), keepdims=True) + 1e-5)
    y = normal_.reshape(x.shape) * scale + shift
    expected = y / (1 + np.exp(-y))
    for form in (kernels.fused_norm_swish, kernels.plain_norm_swish):
        assert_close(form(x.astype(np.float32), scale, shift, 3), expected, 1e-6)  # float32


def test_norm_swish_of_a_constant_image_is_that_of_its_shift():
    x = np.full((1, 3, 3, 4), 7.3, np.float32)
    for form in (kernels.fused_norm_swish, kernels.plain_norm_swish):
        found = form(x, np.ones(4, np.float32), np.full(4, 0.5, np.float32), 2)
        assert_close(found, np.full(x.shape, 0.5 / (1 + np.exp(-0.5))), 1e-3)  # 7.3 has 24 bits
    with tf.GradientTape() as tape:
        variable = tf.Variable(x)
        loss = tf.reduce_sum(kernels.norm_swish(variable, np.ones(4, "f"), np.ones(4, "f"), 2) ** 2)
    assert np.isfinite(tape.gradient(loss, variable)).all()


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_is_keras_own(training):
    fused = BatchNorm(name="fused")
    plain = keras.layers.BatchNormalization(center=False, scale=False, name="plain")
    for layer in (fused, plain):
        layer.build(X.shape)
        layer.moving_mean.assign(normal((5,), 3))
        layer.moving_variance.assign(normal((5,), 4) ** 2)
    inputs = tf.constant(X)
    found = value_and_gradient(lambda x: fused(x, training=training), inputs)
    expected = value_and_gradient(lambda x: plain(x, training=training), inputs)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, 1e-5)  # float32
    for one, other in zip(fused.weights, plain.weights, strict=True):
        assert_close(one, other, 1e-6)


def test_the_gradient_of_upsampling_can_be_differentiated():
    """Upsampling is linear: its gradient, as a function of the upstream one, has itself as such."""
    x, upstream = tf.constant(X), tf.constant(normal((2, 8, 12, 5), 1))
    with tf.GradientTape() as outer:
        outer.watch(upstream)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = kernels.fused_upsample(x)
        pulled = inner.gradient(y, x, output_gradients=upstream)
    direction = tf.constant(normal(X.shape, 5))
    pushed = outer.gradient(pulled, upstream, output_gradients=direction)
    assert_close(pushed, kernels.plain_upsample(direction), 1e-6)
