"""DDIM sampling as pure functions of a denoiser (Algorithm 2 of Asperti et al.).

A denoiser is any function `denoise(noisy_images, rates) -> pred_noises`: a trained U-Net, or a
closed form. All images here are in model space.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments
from ddim_embed.memory import require_memory
from ddim_embed.process import noise
from ddim_embed.process.schedules import Rates

LAST_STEPS = ("predicted_image", "transfer")
_LEVEL_BYTES = 150  # a `Rates` of Python floats
CLEAN = Rates(1.0, 0.0)  # where the last step of "predicted_image" ends


def predict_images(noisy_images, pred_noises, rates: Rates):
    """The clean images that noisy images and their noises imply.

    Song et al. (2021), Eq. 9.

    Args:
        noisy_images: float, `(batch, height, width, channels)`, model space.
        pred_noises: same shape.
        rates: `Rates`, each broadcastable to `(batch, 1, 1, 1)`; `rates.signal` positive.

    Returns:
        The predicted images, same shape and dtype.
    """
    return (noisy_images - rates.noise * pred_noises) / rates.signal


def ddim_step(noisy_images, pred_noises, rates: Rates, next_rates: Rates):
    """Moves noisy images from one noise level to another, deterministically.

    Song et al. (2021), Eq. 12 with sigma_t = 0. Valid in either direction.

    Args:
        noisy_images: float, `(batch, height, width, channels)`, model space.
        pred_noises: same shape; the noise predicted at `rates`.
        rates, next_rates: `Rates`, each broadcastable to `(batch, 1, 1, 1)`; `rates.signal`
            positive.

    Returns:
        The images at `next_rates`, same shape and dtype.

    Raises:
        ValueError: if the two image shapes differ.
    """
    if not _compatible(noisy_images.shape, pred_noises.shape):
        raise ValueError(
            "`noisy_images` and `pred_noises` must have the same shape. Received: "
            f"{noisy_images.shape} and {pred_noises.shape}"
        )
    parts = split_step(noisy_images, pred_noises, rates, next_rates)
    return join_step(parts.pred_images, parts.directions, next_rates)


class StepParts(NamedTuple):
    """The two parts of a DDIM step: P_t, `pred_images`, and D_t, `directions`.

    Kwon et al. (2023), Eq. 2: the step is `next_rates.signal * pred_images + directions`.
    """

    pred_images: object
    directions: object


def split_step(noisy_images, pred_noises, rates: Rates, next_rates: Rates) -> StepParts:
    """P_t and D_t of a step, each of which may come from other noises than the other.

    Args:
        noisy_images, pred_noises, rates, next_rates: as for `ddim_step`.

    Returns:
        `StepParts`, each of the shape and dtype of `noisy_images`.
    """
    pred_images = predict_images(noisy_images, pred_noises, rates)
    return StepParts(pred_images, next_rates.noise * pred_noises)


def join_step(pred_images, directions, next_rates):
    """The images at `next_rates`: signal * P_t + D_t, the inverse of `split_step`."""
    return next_rates.signal * pred_images + directions


def _compatible(shape, other):
    return len(shape) == len(other) and all(
        a is None or b is None or a == b for a, b in zip(shape, other, strict=True)
    )


class Step(NamedTuple):
    """One step of a sampler, as its `callback` sees it.

    Attributes:
        index: 0 for the first step, which starts at t=1.
        rates, next_rates: `Rates` where the step starts and where it ends.
        noisy_images: the images at `rates`.
        pred_noises: the noise predicted there.
        parts: `StepParts`, P_t and D_t.
        next_images: the images at `next_rates`.
    """

    index: int
    rates: Rates
    next_rates: Rates
    noisy_images: object
    pred_noises: object
    parts: StepParts
    next_images: object


def sample(
    denoise: Callable,
    schedule: Callable,
    latents,
    num_steps: int = 10,
    last_step: str = "predicted_image",
    remat: bool = False,
    callback: Callable[[Step], object] | None = None,
    scan: bool = False,
):
    """Reverse diffusion: from latents at t=1 to images, in `num_steps` network evaluations.

    Algorithm 2 of Asperti et al. Both conventions evaluate the network at t = 1, 1-1/N, ..., 1/N;
    they differ in what is returned.

    Args:
        denoise: `denoise(noisy_images, rates) -> pred_noises`; `rates` are scalars: Python floats,
            or tensors if `scan`.
        schedule: a function of `schedules`.
        latents: float, `(batch, height, width, channels)`, standard Gaussian.
        num_steps: N, at least 1.
        last_step: "predicted_image", the image predicted at t=1/N, as the paper does, or
            "transfer", the image moved to t=0. As t=0 is not noiseless, the two differ.
        remat: whether the gradient recomputes each step's activations, so that memory hardly grows
            with `num_steps`.
        callback: called with a `Step` after each step, in order; what it returns is ignored.
        scan: whether a compiled function holds one copy of the step, in a loop, and not N copies:
            faster to compile, sometimes slower to run.

    Returns:
        Images in model space, the shape and dtype of `latents`.

    Raises:
        ValueError: if `num_steps` or `last_step` is not one of those, or for a `callback` with
            `scan`, where steps have no values of their own.
    """
    arguments.function("denoise", denoise)
    images = ops.convert_to_tensor(latents)
    levels = sampler_levels(schedule, num_steps, last_step)
    if scan:
        if callback is not None:
            raise ValueError("`callback` must be None with `scan=True`.")
        return _scan(denoise, images, levels, remat)
    for index, (rates, next_rates) in enumerate(itertools.pairwise(levels)):
        noisy_images, pred_noises = images, _evaluate(denoise, images, rates, remat)
        images = ddim_step(noisy_images, pred_noises, rates, next_rates)
        if callback is not None:
            parts = split_step(noisy_images, pred_noises, rates, next_rates)
            callback(Step(index, rates, next_rates, noisy_images, pred_noises, parts, images))
    return images


def _scan(denoise, images, levels, remat):
    rows = np.array(levels)
    rows = np.concatenate([rows[:-1], rows[1:]], axis=1)
    rows = ops.convert_to_tensor(rows, keras.backend.standardize_dtype(images.dtype))

    def step(images, row):
        rates, next_rates = Rates(row[0], row[1]), Rates(row[2], row[3])
        return ddim_step(images, _evaluate(denoise, images, rates, remat), rates, next_rates)

    if keras.backend.backend() == "jax":  # whose other loops have no gradient
        return ops.scan(lambda images, row: (step(images, row), None), images, rows)[0]
    count = len(levels) - 1
    _, images = ops.while_loop(
        lambda index, _: index < count,
        lambda index, images: (index + 1, step(images, rows[index])),
        (0, images),
        maximum_iterations=count,
    )
    return images


def _evaluate(denoise, images, rates, remat):
    if not remat:
        return denoise(images, rates)
    return keras.remat(lambda images: denoise(images, rates))(images)


def ancestral(
    denoise: Callable,
    schedule: Callable,
    latents,
    num_steps: int = 10,
    last_step: str = "predicted_image",
    seed: int = 0,
    eta: float = 1.0,
):
    """Stochastic sampling: `sample`, with noise drawn at every step.

    Song et al. (2021), Eqs. 12 and 16. With eta = 1 it is ancestral sampling of DDPM (Ho et al.
    2020, the smaller variance of Eq. 7), whose images latents do not determine; with eta = 0 it
    is `sample`.

    Args:
        denoise, schedule, latents, num_steps, last_step: as for `sample`. The last step of
            "predicted_image" draws nothing.
        seed: integer from 0 to 2**63 - 1; the noise depends on it alone.
        eta: in [0, 1], how much of DDPM's deviation is drawn.

    Returns:
        As `sample`.

    Raises:
        ValueError: if `num_steps`, `last_step`, `seed` or `eta` is not one of those.
    """
    eta = arguments.number("eta", eta, at_least=0, at_most=1)
    seed = arguments.seed(seed)
    arguments.function("denoise", denoise)
    images = ops.convert_to_tensor(latents)
    levels = sampler_levels(schedule, num_steps, last_step)
    for index, (rates, next_rates) in enumerate(itertools.pairwise(levels)):
        towards, deviation = partly_drawn(rates, next_rates, eta)
        images = ddim_step(images, denoise(images, rates), rates, towards)
        images += drawn_noise(images, deviation, seed, index)
    return images


def partly_drawn(rates: Rates, next_rates: Rates, eta: float) -> tuple[Rates, float]:
    """What a step towards `next_rates` predicts, and what it draws.

    Args:
        rates, next_rates: `Rates` of Python floats.
        eta: as for `ancestral`.

    Returns:
        The `Rates` that the deterministic step moves to, and the deviation of the noise that is
        drawn: their squares add up to the variance of the noise at `next_rates`.
    """
    share = eta**2 * (1 - (rates.signal / next_rates.signal) ** 2) / rates.noise**2
    towards = Rates(next_rates.signal, next_rates.noise * math.sqrt(max(1 - share, 0)))
    return towards, next_rates.noise * math.sqrt(share)


def drawn_noise(images, deviation, seed, index):
    """Noise of a deviation in the shape of images; 0 without one.

    Args:
        images: tensor.
        deviation: float.
        seed, index: what the noise depends on, the sampler's seed and the index of the step.
    """
    if not deviation:
        return 0
    # Step 0 of the seed is that of `Generator.latents`.
    # By NumPy: eager operations would take a hundred times as long.
    drawn = noise.normal(images.shape, noise.seed_words(seed, index + 1), numpy=True)
    return deviation * ops.convert_to_tensor(drawn, images.dtype)


def invert(denoise: Callable, schedule: Callable, images, num_steps: int = 10):
    """The reverse direction: the ODE of DDIM from images at t=0 to latents at t=1.

    Each step evaluates the noise where the step starts, so it only approximates the inverse of the
    sampler's step, which evaluates it where this one ends; the error falls as 1/N.

    Args:
        denoise: `denoise(noisy_images, rates) -> pred_noises`.
        schedule: a function of `schedules`.
        images: float, `(batch, height, width, channels)`, the states at t=0, as "transfer" sampling
            returns them.
        num_steps: N, at least 1.

    Returns:
        Latents, the shape and dtype of `images`.

    Raises:
        ValueError: if `num_steps` is not an integer of at least 1.
    """
    arguments.function("denoise", denoise)
    grid = time_grid(schedule, num_steps)
    images = ops.convert_to_tensor(images)
    for rates, next_rates in itertools.pairwise(grid):
        images = ddim_step(images, denoise(images, rates), rates, next_rates)
    return images


def time_grid(schedule: Callable, num_steps: int) -> list[Rates]:
    """The noise levels of N steps, from t=0 to t=1.

    Args:
        schedule: a function of `schedules`.
        num_steps: N, at least 1.

    Returns:
        N + 1 `Rates` of Python floats: constants in whatever graph uses them.

    Raises:
        ValueError: if `num_steps` is not an integer of at least 1, or so large that its levels do
            not fit into memory; if the schedule returns anything else than that many finite rates.
    """
    arguments.function("schedule", schedule)
    num_steps = arguments.integer("num_steps", num_steps)
    require_memory(_LEVEL_BYTES * num_steps, f"`num_steps` {num_steps}")
    rates = np.asarray(schedule(np.linspace(0, 1, num_steps + 1)))
    if rates.shape != (2, num_steps + 1) or not np.isfinite(rates).all():
        raise ValueError(
            f"`schedule` must return `Rates` of {num_steps + 1} finite numbers at that many times. "
            f"Received: shape {rates.shape}, {rates.dtype}"
        )
    return [Rates(*pair) for pair in zip(*rates.tolist(), strict=True)]


def sampler_levels(schedule: Callable, num_steps: int, last_step: str) -> list[Rates]:
    """The noise levels between which a sampler steps, from t=1 on.

    Args:
        schedule, num_steps, last_step: as for `sample`.

    Returns:
        N + 1 `Rates` of Python floats: `time_grid` downwards, whose last is `CLEAN` under
        "predicted_image". For a predicted image is what a step to no noise at all returns.

    Raises:
        ValueError: if `num_steps` or `last_step` is not one of those.
    """
    arguments.choice("last_step", last_step, LAST_STEPS)
    grid = time_grid(schedule, num_steps)
    if last_step == "predicted_image":
        grid[0] = CLEAN
    return grid[::-1]
