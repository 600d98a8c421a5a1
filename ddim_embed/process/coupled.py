"""Samplers that carry two states, so that every step is undone by plain algebra: EDICT and BDIA.

They are exact for any denoiser, because each of their steps changes one state by a function of
the other alone. What they find is a pair. Neither of the two need look Gaussian, and the plain
sampler makes something else of either alone.
"""

import itertools

from keras import ops

from ddim_embed import arguments
from ddim_embed.process.sampling import ddim_step, sampler_levels, time_grid


def edict_sample(
    denoise, schedule, latents, partner, num_steps=10, last_step="predicted_image", mixing=0.93
):
    """Sampling with two states, of which each is moved by the noise of the other.

    Wallace et al. (2022), with the step of `ddim_step`. The two change roles after every step, as
    the authors do.

    Args:
        denoise: `denoise(noisy_images, rates) -> pred_noises`.
        schedule: a function of `schedules`.
        latents, partner: float, `(batch, height, width, channels)`.
        num_steps: N, at least 1; there are 2N evaluations.
        last_step: as for `sampling.sample`.
        mixing: p in (0, 1], the share of itself that a state keeps when the two are averaged.

    Returns:
        Two tensors of images, the shape and dtype of `latents`.

    Raises:
        ValueError: if an option is not one of those.
    """
    mixing = arguments.number("mixing", mixing, above=0, at_most=1)
    x, y = ops.convert_to_tensor(latents), ops.convert_to_tensor(partner)
    for rates, after in itertools.pairwise(sampler_levels(schedule, num_steps, last_step)):
        x = ddim_step(x, denoise(y, rates), rates, after)
        y = ddim_step(y, denoise(x, rates), rates, after)
        x = mixing * x + (1 - mixing) * y
        y = mixing * y + (1 - mixing) * x
        x, y = y, x
    return x, y


def edict_invert(denoise, schedule, images, num_steps=10, last_step="predicted_image", mixing=0.93):
    """The latents and partner from which `edict_sample` returns the images twice.

    Wallace et al. (2022). The means of the two states are undone by divisions by `mixing`, so that
    rounding, and whatever the two differ by, may grow by mixing**(-2N).

    Args:
        denoise, schedule, num_steps, last_step, mixing: as for `edict_sample`.
        images: float, `(batch, height, width, channels)`.

    Returns:
        Two tensors, the shape and dtype of `images`: latents and partner.

    Raises:
        ValueError: if an option is not one of those.
    """
    mixing = arguments.number("mixing", mixing, above=0, at_most=1)
    x = y = ops.convert_to_tensor(images)
    for before, rates in itertools.pairwise(sampler_levels(schedule, num_steps, last_step)[::-1]):
        x, y = y, x
        y = (y - (1 - mixing) * x) / mixing
        x = (x - (1 - mixing) * y) / mixing
        y = ddim_step(y, denoise(x, rates), before, rates)
        x = ddim_step(x, denoise(y, rates), before, rates)
    return x, y


def bdia_sample(
    denoise, schedule, latents, partner, num_steps=10, last_step="predicted_image", gamma=1.0
):
    """Sampling with two successive states: each step also corrects the one before.

    Zhang et al. (2023). From states z(u) and z(t), t following u, the state at v is what
    the step from t makes of z(t), plus gamma times what the step from u to t missed: the difference
    between z(u) and the step from t back to u. All steps share the noise predicted at z(t).

    Args:
        denoise: `denoise(noisy_images, rates) -> pred_noises`.
        schedule: a function of `schedules`.
        latents: float, `(batch, height, width, channels)`, the state at t=1.
        partner: same shape, the state at t=1-1/N.
        num_steps: N, at least 2; there are N - 1 evaluations.
        last_step: as for `sampling.sample`.
        gamma: in (0, 1]; at 0 it would be `sampling.sample`.

    Returns:
        Images, the shape and dtype of `latents`.

    Raises:
        ValueError: if an option is not one of those.
    """
    levels = _bdia_levels(schedule, num_steps, last_step, gamma)
    before, x = ops.convert_to_tensor(latents), ops.convert_to_tensor(partner)
    for earlier, rates, after in _triples(levels):
        noises = denoise(x, rates)
        missed = before - ddim_step(x, noises, rates, earlier)
        before, x = x, ddim_step(x, noises, rates, after) + gamma * missed
    return x


def bdia_invert(denoise, schedule, images, num_steps=10, last_step="predicted_image", gamma=1.0):
    """The latents and partner from which `bdia_sample` returns the images.

    The step next to the images is free; it is the naive one, which takes them for states at t=0.
    Of order 2 in 1/N for gamma = 1; for less, the latents may grow by gamma**(-N).

    Args:
        denoise, schedule, num_steps, last_step, gamma: as for `bdia_sample`; N evaluations.
        images: float, `(batch, height, width, channels)`.

    Returns:
        Two tensors, the shape and dtype of `images`: latents and partner.

    Raises:
        ValueError: if an option is not one of those.
    """
    levels = _bdia_levels(schedule, num_steps, last_step, gamma)
    start, first = time_grid(schedule, num_steps)[:2]
    after = ops.convert_to_tensor(images)
    x = ddim_step(after, denoise(after, start), start, first)
    for earlier, rates, later in reversed(list(_triples(levels))):
        noises = denoise(x, rates)
        missed = (after - ddim_step(x, noises, rates, later)) / gamma
        after, x = x, ddim_step(x, noises, rates, earlier) + missed
    return x, after


def _bdia_levels(schedule, num_steps, last_step, gamma):
    gamma = arguments.number("gamma", gamma, above=0, at_most=1)
    num_steps = arguments.integer("num_steps", num_steps, least=2)  # for there to be two states
    return sampler_levels(schedule, num_steps, last_step)


def _triples(levels):
    return zip(levels, levels[1:], levels[2:], strict=False)
