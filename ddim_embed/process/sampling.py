"""DDIM sampling as pure functions of a denoiser (Algorithm 2 of Asperti et al.).

A denoiser is any function `denoise(noisy_images, rates) -> pred_noises`: a trained U-Net, or a
closed form. All images here are in model space.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ddim_embed.process.schedules import Rates

LAST_STEPS = ("predicted_image", "transfer")
CLEAN = Rates(1.0, 0.0)  # where the last step of "predicted_image" ends


def predict_images(noisy_images, pred_noises, rates):
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


class Step(NamedTuple):
    """One step of a sampler, as its `callback` sees it.

    Attributes:
        index: 0 for the first step, which starts at t=1.
        rates, next_rates: `Rates` where the step starts and where it ends.
        noisy_images: the images at `rates`.
        pred_noises: the noise predicted there.
        pred_images: P_t, the images predicted there.
        next_images: the images at `next_rates`.
    """

    index: int
    rates: Rates
    next_rates: Rates
    noisy_images: tf.Tensor
    pred_noises: tf.Tensor
    pred_images: tf.Tensor
    next_images: tf.Tensor


def ddim_step(noisy_images, pred_noises, rates, next_rates):
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
    if not tf.TensorShape(noisy_images.shape).is_compatible_with(pred_noises.shape):
        raise ValueError(
            "`noisy_images` and `pred_noises` must have the same shape. Received: "
            f"{noisy_images.shape} and {pred_noises.shape}"
        )
    pred_images = predict_images(noisy_images, pred_noises, rates)
    return next_rates.signal * pred_images + next_rates.noise * pred_noises


def sample(
    denoise,
    schedule,
    latents,
    num_steps=10,
    last_step="predicted_image",
    remat=False,
    callback=None,
):
    """Reverse diffusion: from latents at t=1 to images, in `num_steps` network evaluations.

    Algorithm 2 of Asperti et al. Both conventions evaluate the network at t = 1, 1-1/N, ..., 1/N;
    they differ in what is returned.

    Args:
        denoise: `denoise(noisy_images, rates) -> pred_noises`; `rates` are scalars.
        schedule: a function of `schedules`.
        latents: float, `(batch, height, width, channels)`, standard Gaussian.
        num_steps: N, at least 1.
        last_step: "predicted_image", the image predicted at t=1/N, as the paper does, or
            "transfer", the image moved to t=0. As t=0 is not noiseless, the two differ.
        remat: whether the gradient recomputes each step's activations, so that memory hardly grows
            with `num_steps`. Only the gradient with respect to the latents is then defined.
        callback: called with a `Step` after each step, in order; what it returns is ignored.

    Returns:
        Images in model space, the shape and dtype of `latents`.

    Raises:
        ValueError: if `num_steps` or `last_step` is not one of those.
    """
    evaluate = _recomputed(denoise) if remat else denoise
    images = tf.convert_to_tensor(latents)
    levels = sampler_levels(schedule, num_steps, last_step)
    for index, (rates, next_rates) in enumerate(itertools.pairwise(levels)):
        noisy_images, pred_noises = images, evaluate(images, rates)
        images = ddim_step(noisy_images, pred_noises, rates, next_rates)
        if callback is not None:
            pred_images = predict_images(noisy_images, pred_noises, rates)
            callback(Step(index, rates, next_rates, noisy_images, pred_noises, pred_images, images))
    return images


def ancestral(
    denoise, schedule, latents, num_steps=10, last_step="predicted_image", seed=0, eta=1.0
):
    """Stochastic sampling: `sample`, with noise drawn at every step.

    Song et al. (2021), Eqs. 12 and 16. With eta = 1 it is ancestral sampling of DDPM (Ho et al.
    2020, the smaller variance of Eq. 7), whose images latents do not determine; with eta = 0 it
    is `sample`.

    Args:
        denoise, schedule, latents, num_steps, last_step: as for `sample`. The last step of
            "predicted_image" draws nothing.
        seed: integer; the noise depends on it alone.
        eta: in [0, 1], how much of DDPM's deviation is drawn.

    Returns:
        As `sample`.

    Raises:
        ValueError: if `num_steps`, `last_step` or `eta` is not one of those.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"`eta` must be in [0, 1]. Received: {eta}")
    images = tf.convert_to_tensor(latents)
    levels = sampler_levels(schedule, num_steps, last_step)
    for step, (rates, next_rates) in enumerate(itertools.pairwise(levels), start=1):
        # The share of the next level's noise variance that is drawn; what remains is predicted.
        share = eta**2 * (1 - (rates.signal / next_rates.signal) ** 2) / rates.noise**2
        towards = Rates(next_rates.signal, next_rates.noise * math.sqrt(max(1 - share, 0)))
        images = ddim_step(images, denoise(images, rates), rates, towards)
        # Step 0 of the seed is that of `Generator.latents`.
        drawn = tf.random.stateless_normal(tf.shape(images), (seed, step), dtype=images.dtype)
        images += next_rates.noise * math.sqrt(share) * drawn
    return images


def invert(denoise, schedule, images, num_steps=10):
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
        ValueError: if `num_steps` is less than 1.
    """
    grid = time_grid(schedule, num_steps)
    images = tf.convert_to_tensor(images)
    for rates, next_rates in itertools.pairwise(grid):
        images = ddim_step(images, denoise(images, rates), rates, next_rates)
    return images


def time_grid(schedule, num_steps):
    """The noise levels of N steps, from t=0 to t=1.

    Args:
        schedule: a function of `schedules`.
        num_steps: N, at least 1.

    Returns:
        N + 1 `Rates` of Python floats: constants in whatever graph uses them.

    Raises:
        ValueError: if `num_steps` is less than 1.
    """
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1. Received: {num_steps}")
    with tf.init_scope():  # eager, even while a tf.function is traced
        signal, noise = schedule(tf.constant(np.linspace(0, 1, num_steps + 1)))
    return [
        Rates(*pair) for pair in zip(signal.numpy().tolist(), noise.numpy().tolist(), strict=True)
    ]


def sampler_levels(schedule, num_steps, last_step):
    """The noise levels between which a sampler steps, from t=1 on.

    Args:
        schedule, num_steps, last_step: as for `sample`.

    Returns:
        N + 1 `Rates` of Python floats: `time_grid` downwards, whose last is `CLEAN` under
        "predicted_image". For a predicted image is what a step to no noise at all returns.

    Raises:
        ValueError: if `num_steps` or `last_step` is not one of those.
    """
    if last_step not in LAST_STEPS:
        raise ValueError(f"`last_step` must be one of {LAST_STEPS}. Received: {last_step!r}")
    grid = time_grid(schedule, num_steps)
    if last_step == "predicted_image":
        grid[0] = CLEAN
    return grid[::-1]


def _recomputed(denoise):
    """`denoise`, whose gradient keeps its input only and runs the network again."""

    def evaluate(images, rates):
        @tf.custom_gradient
        def run(images):
            def gradient(upstream, variables=None):
                # Waits for the upstream gradient; else all steps would be recomputed, and kept, at
                # once.
                with tf.control_dependencies([upstream]):
                    kept = tf.identity(images)
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(kept)
                    pred_noises = denoise(kept, rates)
                result = tape.gradient(pred_noises, kept, output_gradients=upstream)
                return result if variables is None else (result, [None] * len(variables))

            return denoise(images, rates), gradient

        return run(images)

    return evaluate
