"""The asymmetric reverse process (Asyrp, Kwon et al. 2023): a step with two noises.

A step of DDIM is signal * P_t + D_t, the predicted image and the direction towards the noisy one.
Edited noises in both mostly cancel. With z = x / signal and tau = noise / signal a step is
z' = z - (tau - tau') * noises, so that a shift d of the noises moves the next images by
-signal' * (tau - tau') * d. In P_t alone it moves them by -signal' * tau * d. The one is
`symmetric_share` times the other, exactly, whatever d is.
"""

import itertools
from collections.abc import Callable

from keras import ops

from ddim_embed import arguments
from ddim_embed.process.sampling import (
    Step,
    drawn_noise,
    join_step,
    partly_drawn,
    sampler_levels,
    split_step,
)
from ddim_embed.process.schedules import Rates


def asymmetric_sample(
    denoise: Callable,
    edited: Callable,
    schedule: Callable,
    latents,
    num_steps: int = 10,
    last_step: str = "predicted_image",
    until: float = 0.0,
    boost: float = 0.0,
    symmetric: bool = False,
    seed: int = 0,
    callback: Callable[[Step], object] | None = None,
):
    """Reverse diffusion whose predicted images come from edited noises: Asyrp, Eqs. 4 to 6.

    Steps that start at times t >= `until` are edited; those at t < `boost` draw fresh noise. The
    paper's intervals, [T, t_edit] and (t_boost, 0], follow each other; these may overlap.

    Args:
        denoise: `denoise(noisy_images, rates) -> pred_noises`, for steps that are not edited.
        edited: `edited(noisy_images, rates) -> (pred_noises, edited_noises)`, for those that are.
        schedule, latents, num_steps, last_step: as for `sampling.sample`.
        until: t_edit, in [0, 1]; 0 edits all steps, 1 the first one alone.
        boost: t_boost, in [0, 1]; 0 draws no noise. Noise is drawn as by `sampling.ancestral` with
            eta = 1; under "predicted_image" the last step draws none.
        symmetric: whether the edited noises are also in D_t: the paper's control, the plain sampler
            with other noises.
        seed: integer from 0 to 2**63 - 1; the noise depends on it alone.
        callback: called with a `sampling.Step` after each step, whose `parts` are those that were
            joined, and whose `pred_noises` are not edited.

    Returns:
        Images in model space, the shape and dtype of `latents`.

    Raises:
        ValueError: if an argument is not one of those.

    Example:
        >>> def denoise(noisy_images, rates):  # of images that are all 0
        ...     return noisy_images / rates.noise
        >>> def edited(noisy_images, rates):
        ...     return noisy_images / rates.noise, noisy_images / rates.noise - 1
        >>> schedule, latents = de.schedules.continuous_cosine, np.zeros((1, 4, 4, 1))
        >>> images = de.asymmetric_sample(denoise, edited, schedule, latents, num_steps=2)
        >>> rates = schedule(np.array(0.5))
        >>> np.allclose(images, rates.noise / rates.signal)
        True
    """
    for name, value in (("denoise", denoise), ("edited", edited)):
        arguments.function(name, value)
    until = arguments.number("until", until, at_least=0, at_most=1)
    boost = arguments.number("boost", boost, at_least=0, at_most=1)
    symmetric, seed = arguments.flag("symmetric", symmetric), arguments.seed(seed)
    images = ops.convert_to_tensor(latents)
    levels = sampler_levels(schedule, num_steps, last_step)
    for index, (rates, next_rates) in enumerate(itertools.pairwise(levels)):
        time = (num_steps - index) / num_steps
        towards, deviation = partly_drawn(rates, next_rates, eta=float(time < boost))
        if time >= until:
            pred_noises, edited_noises = edited(images, rates)
        else:
            pred_noises = edited_noises = denoise(images, rates)
        noisy_images, parts = images, split_step(images, edited_noises, rates, towards)
        if not symmetric:
            parts = parts._replace(directions=towards.noise * pred_noises)
        images = join_step(*parts, towards) + drawn_noise(images, deviation, seed, index)
        if callback is not None:
            callback(Step(index, rates, next_rates, noisy_images, pred_noises, parts, images))
    return images


def symmetric_share(rates: Rates, next_rates: Rates) -> float:
    """Which share of an asymmetric edit a symmetric one makes: rho = 1 - tau' / tau.

    x'_symmetric - x' = rho * (x'_asymmetric - x') for one step from `rates` to `next_rates`, where
    x' is the step without an edit. It falls with the size of the step, and is 1 for a step to an
    image without noise.
    """
    return 1 - (next_rates.noise * rates.signal) / (next_rates.signal * rates.noise)
