"""The sampler run backwards, each of its steps solved as the equation that it is."""

import itertools
from typing import NamedTuple

import numpy as np

from ddim_embed.process import fixed_point
from ddim_embed.process.sampling import ddim_step, sampler_levels, time_grid


class Trajectory(NamedTuple):
    """What `implicit_steps` returns, for n images and N steps.

    Attributes:
        states: N + 1 arrays, from the images to the latents, each of the images' shape and dtype.
        residuals: for each of the N steps an array `(k, n)`, k at most one more than `iterations`:
            by how much the sampler's step from the iterate misses the state before, root mean
            square over an image in model space.
        evaluations: of the denoiser, for each image, int `(n,)`.
    """

    states: list
    residuals: list
    evaluations: np.ndarray


def implicit_steps(
    denoise,
    schedule,
    images,
    num_steps=10,
    last_step="predicted_image",
    noises=None,
    iterations=10,
    tolerance=1e-6,
    window=fixed_point.WINDOW,
    damping=1.0,
):
    """Inverts `sampling.sample`, from its last step to its first, each to a tolerance.

    Where the step from x at level t leads to the known state y at level u, the noise e that is
    predicted at x is a fixed point: x = ddim_step(y, e, u, t) and e = denoise(x, t). The first
    guess of e is the noise of the step before, which is what naive inversion ends with.

    Under "transfer" a noise that solves a step to rounding makes the inversion exact to rounding.
    Under "predicted_image" the first of these equations asks for a noisy image whose predicted
    image is the one given, and has many solutions, or none: what is looked for is a small residual.
    For a denoiser that is the best in mean square, a plain iteration is there a descent of a convex
    function (the predicted image being its gradient), which leaves alone what does not matter to
    the predicted image: that part of the `noises` given stays as it is.

    Args:
        denoise: `denoise(noisy_images, rates) -> pred_noises`, of NumPy arrays.
        schedule: a function of `schedules`.
        images: NumPy float array `(n, height, width, channels)`, what the sampler returns.
        num_steps, last_step: of the sampler.
        noises: the first guess of the noise in the images, same shape and dtype; None for what is
            predicted where they are taken for the states at t=0, one evaluation more.
        iterations, tolerance, window, damping: of each step, as for `fixed_point.solve`; the
            tolerance in the units of `Trajectory.residuals`.

    Returns:
        A `Trajectory`.

    Raises:
        ValueError: for options that `sample` or `fixed_point.solve` refuses.
    """
    fixed_point.check_options(iterations, tolerance, window, damping)
    levels = sampler_levels(schedule, num_steps, last_step)[::-1]
    states, residuals = [np.asarray(images)], []
    evaluations = np.zeros(len(images), int)
    if noises is None:
        noises = np.asarray(denoise(states[0], time_grid(schedule, num_steps)[0]))
        evaluations += 1
    for before, rates in itertools.pairwise(levels):

        def predict(noises, state=states[-1], before=before, rates=rates):
            return np.asarray(denoise(ddim_step(state, noises, before, rates), rates))

        # How far the step's end moves with the noise.
        reach = abs(before.noise - rates.noise * before.signal / rates.signal)
        found = fixed_point.solve(predict, noises, iterations, tolerance / reach, window, damping)
        states.append(ddim_step(states[-1], found.points, before, rates))
        residuals.append(found.residuals * reach)
        evaluations += found.evaluations
        noises = found.values
    return Trajectory(states, residuals, evaluations)
