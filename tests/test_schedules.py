"""Every schedule against its paper's formula."""

import json
import math

import keras
import numpy as np
import oracles
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from ddim_embed.process import schedules
from ddim_embed.process.sampling import sample, sampler_levels
from ddim_embed.process.schedules import (
    SCHEDULES,
    get_schedule,
    schedule_from_config,
    schedule_to_config,
)

each_schedule = pytest.mark.parametrize("name", sorted(SCHEDULES))
times = st.floats(0, 1, width=32)


def rates_at(name, values, dtype=np.float64):
    rates = SCHEDULES[name](tf.constant(values, dtype))
    return rates.signal.numpy(), rates.noise.numpy()


@each_schedule
@given(values=st.lists(times, min_size=1, max_size=5))
def test_signal_and_noise_are_sides_of_a_unit_triangle(name, values):
    signal, noise = rates_at(name, values)
    np.testing.assert_allclose(signal**2 + noise**2, 1, rtol=1e-12)  # float64
    assert (signal > 0).all() and (noise >= 0).all()


@each_schedule
def test_the_signal_falls_and_the_noise_grows(name):
    signal, noise = rates_at(name, np.linspace(0, 1, 500))
    assert (np.diff(signal) < 0).all()
    assert (np.diff(noise) > 0).all()


@each_schedule
def test_shape_and_dtype_are_those_of_the_times(name):
    for dtype in (tf.float32, tf.float64):
        rates = SCHEDULES[name](tf.zeros((2, 1, 1, 1), dtype))
        assert isinstance(rates, schedules.Rates)
        assert rates.signal.shape == rates.noise.shape == (2, 1, 1, 1)
        assert rates.signal.dtype == rates.noise.dtype == dtype
    assert SCHEDULES[name](1).signal.dtype == tf.float32  # an integer is a time, too


@given(time=times)
def test_continuous_cosine_runs_evenly_between_two_angles(time):
    start, end = math.acos(0.95), math.acos(0.02)
    signal, noise = rates_at("continuous_cosine", time)
    assert signal == pytest.approx(math.cos((1 - time) * start + time * end), rel=1e-12)
    assert noise == pytest.approx(math.sin((1 - time) * start + time * end), rel=1e-12)


def test_continuous_cosine_ends_at_095_and_002():
    np.testing.assert_allclose(rates_at("continuous_cosine", [0, 1])[0], [0.95, 0.02], rtol=1e-12)


def test_cosine_is_that_of_nichol_and_dhariwal():
    def f(t):
        return np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2

    t = np.linspace(0, 0.99, 100)
    np.testing.assert_allclose(rates_at("cosine", t)[0] ** 2, f(t) / f(0), rtol=1e-10)
    # f(1) is 0; the clip at 1e-6 keeps the division by the signal rate defined.
    assert rates_at("cosine", 1.0)[0] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "name, betas, mean",
    [
        ("linear", np.linspace(1e-4, 0.02, 1000), 0.0201 / 2),
        ("quadratic", np.linspace(1e-4**0.5, 0.02**0.5, 1000) ** 2, (0.0201 + 2e-6**0.5) / 3),
        ("constant", np.full(1000, 0.008), 0.008),
    ],
)
def test_the_continuous_limit_agrees_with_the_discrete_product(name, betas, mean):
    alpha_bar = np.cumprod(1 - betas)
    signal, noise = rates_at(name, np.arange(1, 1001) / 1000)
    # A sum over 1000 steps differs from its integral by one part in 1000.
    np.testing.assert_allclose(signal, np.sqrt(alpha_bar), atol=2e-3)
    np.testing.assert_allclose(noise, np.sqrt(1 - alpha_bar), atol=2e-3)
    # ... and the end points are those of the integral: it is not another schedule close by.
    np.testing.assert_allclose(-2 * np.log(signal[-1]), 1000 * mean, rtol=1e-9)


def test_constant_is_an_exponential():
    times = np.linspace(0, 1, 50)
    np.testing.assert_allclose(rates_at("constant", times)[0] ** 2, np.exp(-8 * times), rtol=1e-12)
    product = (1 - 0.008) ** np.arange(1001)
    found = rates_at("constant", np.arange(1001) / 1000)[0] ** 2
    # (1 - beta)^n is exp(-n beta (1 + beta / 2 + ...)): 3.2 per cent after all thousand steps, and
    # 1 per cent in the exponent throughout.
    np.testing.assert_allclose(np.log(found), np.log(product), rtol=0.01)


@each_schedule
def test_by_angle_runs_evenly_through_the_same_levels(name):
    times = np.linspace(0, 1, 11)
    signal, noise = schedules.by_angle(SCHEDULES[name])(times)
    np.testing.assert_allclose(signal**2 + noise**2, 1, rtol=1e-12)
    np.testing.assert_allclose(np.diff(np.arctan2(noise, signal), 2), 0, atol=1e-12)
    ends = [0, 10]
    np.testing.assert_allclose(signal[ends], rates_at(name, [0.0, 1.0])[0], rtol=1e-12)


def test_continuous_cosine_is_even_already():
    times = np.linspace(0, 1, 5)
    found = schedules.by_angle(schedules.continuous_cosine)(times)
    np.testing.assert_allclose(found, schedules.continuous_cosine(times), rtol=1e-12)


def test_narrow_data_stay_as_wide_by_even_angles():
    """What the docstring says, by the closed form of DDIM on Gaussian data."""
    found = []
    for schedule in (schedules.constant, schedules.by_angle(schedules.constant)):
        sampled = sample(oracles.gaussian(0.25), schedule, np.ones((1, 1)), num_steps=200)
        start, end = sampler_levels(schedule, 200, "predicted_image")[::200]
        found.append(float(sampled[0, 0]) / oracles.gaussian_flow(0.25, start, end))
    np.testing.assert_allclose(found, [0.76, 0.99], atol=0.005)


def test_schedules_are_found_by_name():
    names = {"continuous_cosine", "cosine", "linear", "quadratic", "constant"}
    assert set(SCHEDULES) == names
    assert get_schedule("cosine") is schedules.cosine
    assert get_schedule(schedules.linear) is schedules.linear
    with pytest.raises(ValueError, match=r"continuous_cosine.*Received: 'cosin'"):
        get_schedule("cosin")
    with pytest.raises(ValueError, match=r"continuous_cosine.*Received: \['cosine'\]"):
        get_schedule(["cosine"])


@keras.saving.register_keras_serializable("tests")
def halved(diffusion_times):
    return schedules.cosine(diffusion_times / 2)


@pytest.mark.parametrize("schedule", ["linear", halved])
def test_a_schedule_that_has_a_name_is_saved(schedule):
    config = json.loads(json.dumps(schedule_to_config(schedule)))  # as a file of Keras has it
    assert schedule_from_config(config) == schedule


def test_functions_of_the_library_are_saved_by_their_names():
    assert schedule_to_config(schedules.linear) == "linear"


def test_a_function_that_could_not_be_loaded_is_not_saved():
    with pytest.raises(ValueError, match=r"register_keras_serializable.*Received: <function"):
        schedule_to_config(lambda times: schedules.cosine(times))
