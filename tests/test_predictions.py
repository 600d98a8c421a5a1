"""What a network predicts: both ways say the same of an image, and one of them says it exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddim_embed.process.predictions import PREDICTIONS, check_prediction, noises_from, targets_of
from ddim_embed.process.sampling import predict_images
from ddim_embed.process.schedules import Rates

ANGLES = st.floats(np.arccos(0.95), np.arccos(0.02))


def draw(shape=(2, 3, 4, 1)):
    rng = np.random.default_rng(0)
    return rng.normal(size=shape), rng.normal(size=shape)


def rates_at(angle):
    return Rates(np.cos(angle), np.sin(angle))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@given(angle=ANGLES)
def test_what_ought_to_be_predicted_implies_the_noises(prediction, angle):
    images, noises = draw()
    rates = rates_at(angle)
    noisy = rates.signal * images + rates.noise * noises
    targets = targets_of(prediction, images, noises, rates)
    np.testing.assert_allclose(noises_from(prediction, targets, noisy, rates), noises, atol=1e-12)


def test_the_noise_is_predicted_as_it_is():
    images, noises = draw()
    rates = rates_at(1.0)
    assert targets_of("noise", images, noises, rates) is noises
    assert noises_from("noise", noises, images, rates) is noises


@given(angle=ANGLES)
def test_the_velocity_is_the_derivative_by_the_angle(angle):
    images, noises = draw()

    def noisy(angle):
        return np.cos(angle) * images + np.sin(angle) * noises

    step = 1e-5  # the third derivative leaves 1e-10, rounding 1e-11
    slope = (noisy(angle + step) - noisy(angle - step)) / (2 * step)
    velocity = targets_of("velocity", images, noises, rates_at(angle))
    np.testing.assert_allclose(velocity, slope, atol=1e-8)


@given(angle=ANGLES)
def test_an_error_of_the_velocity_is_no_larger_in_the_image(angle):
    """By the noise rate, where one of the noise grows by noise rate / signal rate, up to fifty."""
    images, noises = draw()
    rates = rates_at(angle)
    noisy = rates.signal * images + rates.noise * noises
    for prediction, factor in (("velocity", rates.noise), ("noise", rates.noise / rates.signal)):
        outputs = targets_of(prediction, images, noises, rates) + 1e-3
        found = predict_images(noisy, noises_from(prediction, outputs, noisy, rates), rates)
        np.testing.assert_allclose(images - found, 1e-3 * factor, atol=1e-12)


def test_another_name_is_refused():
    assert [check_prediction(name) for name in PREDICTIONS] == ["noise", "velocity"]
    with pytest.raises(ValueError, match=r"'noise', 'velocity'.*Received: 'image'"):
        check_prediction("image")
