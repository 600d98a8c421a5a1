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
    assert names == {*CASES, "batch_norm"}


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
