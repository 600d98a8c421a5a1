"""Losses against their definitions."""

import numpy as np
import pytest
import tensorflow as tf

from ddim_embed.training.losses import LOSSES, get_loss

ERRORS = np.random.default_rng(0).normal(size=(3, 2, 4, 5))
EACH = ERRORS.reshape(3, -1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean_absolute_error", np.abs(ERRORS).mean()),
        ("mean_squared_error", np.square(ERRORS).mean()),
        ("root_mean_square", np.sqrt(np.square(EACH).mean(axis=1)).mean()),
    ],
)
def test_is_its_definition(name, expected):
    assert get_loss(name) is LOSSES[name]
    assert float(LOSSES[name](ERRORS)) == pytest.approx(expected, rel=1e-6)


def test_an_image_without_an_error_has_a_gradient():
    errors = tf.zeros((2, 4, 4, 1))
    with tf.GradientTape() as tape:
        tape.watch(errors)
        loss = LOSSES["root_mean_square"](errors)
    assert float(loss) == pytest.approx(1e-6, rel=1e-3)  # the root of 1e-12
    np.testing.assert_array_equal(tape.gradient(loss, errors), 0)
