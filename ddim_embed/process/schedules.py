"""Diffusion schedules: how much signal and how much noise an image holds at each diffusion time.

A schedule is a function of `diffusion_times` in [0, 1] (0 the least noise) that returns
`Rates(signal, noise)` with `signal**2 + noise**2 == 1`. Asperti et al., Sec. 3.2 and Fig. 6.

NumPy arrays are computed by NumPy, in their own precision; a ValueError is raised for times outside
[0, 1] and NaN. Tensors are computed by Keras' backend, and not checked.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments

MAX_SIGNAL_RATE = 0.95  # t=0 of the continuous cosine schedule is not quite clean ...
MIN_SIGNAL_RATE = 0.02  # ... and t=1 not quite pure noise, where dividing by signal stays safe

# The betas of Ho et al. (2020) sum over 1000 steps; in continuous time their integral plays that
# role.
_DDPM_STEPS = 1000
_BETA_START, _BETA_END = 1e-4, 0.02
_BETA_CONSTANT = 0.008


class Rates(NamedTuple):
    """Signal rate sqrt(alpha_bar) and noise rate sqrt(1 - alpha_bar), of one shape.

    Example:
        >>> rates = de.schedules.continuous_cosine(np.array([0.0, 1.0]))
        >>> rates.signal.round(2)
        array([0.95, 0.02])
    """

    signal: object
    noise: object


def continuous_cosine(diffusion_times) -> Rates:
    """The angle runs evenly from acos(0.95) at t=0 to acos(0.02) at t=1; the default.

    Args:
        diffusion_times: float array or tensor in [0, 1], any shape.

    Returns:
        `Rates` of the same shape and dtype.
    """
    return _even_angles(math.acos(MAX_SIGNAL_RATE), math.acos(MIN_SIGNAL_RATE), diffusion_times)


def cosine(diffusion_times) -> Rates:
    """Nichol and Dhariwal (2021), Eq. 17, with the offset s = 0.008.

    `alpha_bar` is clipped to at least 1e-6, so that images can be predicted at t=1 as well.

    Args:
        diffusion_times: float array or tensor in [0, 1], any shape.

    Returns:
        `Rates` of the same shape and dtype.
    """
    offset = 0.008
    times, module = _as_times(diffusion_times)
    angles = (times + offset) / (1 + offset) * (math.pi / 2)
    alpha_bar = module.cos(angles) ** 2 / math.cos(offset / (1 + offset) * math.pi / 2) ** 2
    alpha_bar = module.clip(alpha_bar, 1e-6, 1.0)
    return Rates(module.sqrt(alpha_bar), module.sqrt(1 - alpha_bar))


def linear(diffusion_times) -> Rates:
    """Ho et al. (2020): beta grows linearly from 1e-4 to 0.02 over 1000 steps.

    Args:
        diffusion_times: float array or tensor in [0, 1], any shape.

    Returns:
        `Rates` of the same shape and dtype.
    """
    times, module = _as_times(diffusion_times)
    integral = _BETA_START * times + (_BETA_END - _BETA_START) * times**2 / 2
    return _rates_from_integral(integral, module)


def linear_times(noise_variances):
    """The inverse of `linear`: the diffusion times at which it has the given noise variances.

    Args:
        noise_variances: float array or tensor of `rates.noise**2`, any shape.

    Returns:
        float32 tensor of the same shape, from 0 for no noise to 1; up to 1.3 for noise alone.
    """
    variances = ops.minimum(ops.cast(noise_variances, "float32"), 1 - 1e-7)  # the logarithm of 0
    integral = -ops.log1p(-variances) / _DDPM_STEPS
    slope = _BETA_END - _BETA_START
    return 2 * integral / (_BETA_START + ops.sqrt(_BETA_START**2 + 2 * slope * integral))


def quadratic(diffusion_times) -> Rates:
    """sqrt(beta) grows linearly from sqrt(1e-4) to sqrt(0.02) over 1000 steps.

    Args:
        diffusion_times: float array or tensor in [0, 1], any shape.

    Returns:
        `Rates` of the same shape and dtype.
    """
    times, module = _as_times(diffusion_times)
    start, slope = math.sqrt(_BETA_START), math.sqrt(_BETA_END) - math.sqrt(_BETA_START)
    integral = start**2 * times + start * slope * times**2 + slope**2 * times**3 / 3
    return _rates_from_integral(integral, module)


def constant(diffusion_times) -> Rates:
    """Preechakul et al. (2022), for semantic vectors: beta is 0.008 in each of 1000 steps.

    So alpha_bar = exp(-8 t): most of the time there is far more noise than signal, which is where
    it is decided what a vector is about.

    Args:
        diffusion_times: float array or tensor in [0, 1], any shape.

    Returns:
        `Rates` of the same shape and dtype.
    """
    times, module = _as_times(diffusion_times)
    return _rates_from_integral(_BETA_CONSTANT * times, module)


SCHEDULES = {
    "continuous_cosine": continuous_cosine,
    "cosine": cosine,
    "linear": linear,
    "quadratic": quadratic,
    "constant": constant,
}


def get_schedule(name: str | Callable) -> Callable:
    """Looks a schedule up by name; a function is returned as it is.

    Raises:
        ValueError: if the name is unknown.
    """
    if callable(name):
        return name
    return SCHEDULES[arguments.choice("schedule", name, SCHEDULES, ", or a function")]


def by_angle(schedule: Callable) -> Callable:
    """The levels of a schedule from t=0 to t=1, at other times: the angle of the rates runs evenly.

    Whatever takes noise variances can be sampled at other levels than the even times it was trained
    with. Even times of the constant schedule leave small noise rates to the last step, which makes
    the data too narrow where they are narrow: Gaussian data of deviation 0.25, in 200 steps of
    DDIM, have 0.76 of it, and 0.99 by even angles.

    Args:
        schedule: a function like those of this module.

    Returns:
        Another one.
    """
    levels = schedule(np.array([0.0, 1.0]))
    start, end = np.arctan2(levels.noise, levels.signal).tolist()
    return functools.partial(_even_angles, start, end)


def schedule_to_config(schedule: str | Callable):
    """A schedule as `get_config` of a model that has it returns it.

    Args:
        schedule: a name, or a function.

    Returns:
        The name of a schedule of `SCHEDULES`; else Keras' record of a registered function.

    Raises:
        ValueError: for a function that is not registered, of which only its name could be saved.
    """
    if not callable(schedule):
        return schedule
    for name, function in SCHEDULES.items():
        if function is schedule:
            return name
    name = keras.saving.get_registered_name(schedule)
    if keras.saving.get_registered_object(name) is not schedule:
        raise ValueError(
            "A schedule that is a function is saved by its name: register it with "
            "`@keras.saving.register_keras_serializable()`, or pass a name of "
            f"{sorted(SCHEDULES)}. Received: {schedule}"
        )
    return keras.saving.serialize_keras_object(schedule)


def schedule_from_config(config, custom_objects=None):
    """The schedule that `schedule_to_config` made a config of."""
    if isinstance(config, str):
        return config
    return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)


def _even_angles(start, end, diffusion_times):
    times, module = _as_times(diffusion_times)
    angles = start + times * (end - start)
    return Rates(module.cos(angles), module.sin(angles))


def _as_times(diffusion_times):
    """Floating-point times, and the module that computes with them."""
    if not (ops.is_tensor(diffusion_times) or isinstance(diffusion_times, keras.KerasTensor)):
        times = np.asarray(diffusion_times)
        if not np.issubdtype(times.dtype, np.floating):
            times = arguments.array("diffusion_times", times)
        if not ((times >= 0) & (times <= 1)).all():  # True for NaN
            raise ValueError(
                f"`diffusion_times` must be in [0, 1]. Received: {arguments.received(times)}"
            )
        return times, np
    return diffusion_times, ops


def _rates_from_integral(integral, module):
    """alpha_bar = prod(1 - beta_i), which is exp(-sum(beta_i)) in the limit of many small steps."""
    exponent = -_DDPM_STEPS * integral
    return Rates(module.exp(exponent / 2), module.sqrt(-module.expm1(exponent)))
