"""Training on several devices at once gives what it gives on one."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent

# Two devices are a setting of a whole process.
PROGRAM = """
import contextlib

import numpy as np
import tensorflow as tf

devices = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)

import keras
from conftest import make_diffusion, make_generator, make_pixels, set_random_weights

import ddim_embed as de

pixels = make_pixels(7)
generator = make_generator(image_shape=(8, 8, 1), widths=(4,), num_steps=1)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


ALONE = contextlib.nullcontext()


def denoiser():
    return make_diffusion(widths=(4,), seed=3)


def trainer():
    return de.EmbedderTrainer(set_random_weights(de.build_embedder("conv1")), generator)


def fitted(make, validation, scope):
    with scope:
        model = make()
        # The reference eagerly: it is done before a graph would be traced.
        model.compile(keras.optimizers.SGD(1e-3), run_eagerly=scope is ALONE)
    # The last batch is not even: two images for one replica, one for the other.
    options = {"batch_size": 4, "verbose": 0, "validation_data": validation}
    history = model.fit(pixels, shuffle=False, **options).history
    return model, [value[0] for value in history.values()], model.get_weights()


for make, validation in ((denoiser, (pixels,)), (trainer, None)):
    (_, *one), (model, *two) = (
        fitted(make, validation, scope) for scope in (ALONE, strategy.scope())
    )
    for a, b in zip([*one[0], *one[1]], [*two[0], *two[1]], strict=True):
        # float32, summed in another order; predicted images divide by signal rates down to 0.02
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)
try:
    model.evaluate(pixels[:5], batch_size=4, verbose=0)
except tf.errors.InvalidArgumentError as error:
    assert "leaves a replica without an image" in str(error)
else:
    raise AssertionError("a replica computed with no image")
try:
    with strategy.scope():
        inner = keras.optimizers.SGD(0.1, global_clipnorm=1.0)
        denoiser().compile(keras.optimizers.LossScaleOptimizer(inner))
except ValueError as error:
    assert "no clipped gradients" in str(error)
else:
    raise AssertionError("a scaled loss was clipped")
for scope in (ALONE, strategy.scope()):
    with scope:
        try:
            model.train_step(tf.constant(pixels))
        except ValueError as error:
            assert "made for 2 replicas trains with `fit` or `train`" in str(error)
        else:
            raise AssertionError("one replica trained alone")
"""


def test_two_replicas_train_as_one_device():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
