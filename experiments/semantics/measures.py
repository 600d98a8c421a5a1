"""Pure functions of the verb `semantics`: cosines, linearity, shares of edits, equal effects."""

import itertools

import numpy as np

from ddim_embed.process.asymmetric import symmetric_share
from ddim_embed.process.sampling import join_step, sampler_levels, split_step

# Doublings, and steps of the search after them, for an edit of a given effect.
_DOUBLINGS, _STEPS = 4, 3


def cosine(first, second):
    """The cosine of the angle between two arrays; 0 if one of them is 0."""
    first, second = (np.ravel(each).astype(np.float64) for each in (first, second))
    length = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / length) if length else 0.0


def consistency(direction):
    """Cosines between shifts: of each step with the next one, and with the mean of all.

    Their lengths, beside the mean of all lengths, say how much each of them matters.
    """
    mean = direction.mean().shifts[0]
    lengths = np.linalg.norm(direction.shifts.reshape(direction.num_steps, -1), axis=1)
    return {
        "lengths": [float(each) for each in lengths / max(lengths.mean(), 1e-12)],
        "adjacent": [cosine(*pair) for pair in itertools.pairwise(direction.shifts)],
        "with_mean": [cosine(each, mean) for each in direction.shifts],
    }


def deviation(whole, parts):
    """How far a change is from the sum of others, beside its own length; one for each image.

    Args:
        whole: the change of pixels `(n, ...)`.
        parts: what it would be if changes added up.
    """
    whole, parts = (np.reshape(each, (len(each), -1)).astype(np.float64) for each in (whole, parts))
    lengths = np.linalg.norm(whole, axis=1)
    return np.linalg.norm(whole - parts, axis=1) / np.maximum(lengths, 1e-12)


def shares(schedule, last_step, num_steps):
    """rho of each step: which share of an asymmetric edit a symmetric one makes."""
    levels = sampler_levels(schedule, num_steps, last_step)
    return np.array([symmetric_share(*pair) for pair in itertools.pairwise(levels)])


def measured_shares(generator, latents, shift, num_steps):
    """rho measured: one step with shifted noises, both ways, at each level of the sampler.

    Args:
        generator: a generator, whose network predicts the noises.
        latents: `(n, ...)`; each step begins with the image of the plain sampler.
        shift: what is added to the noises, of the shape of `latents`.
        num_steps: N.

    Returns:
        float64 `(N,)`: the change by the symmetric step beside the asymmetric one, least squares.
    """
    found = []
    levels = sampler_levels(generator.schedule, num_steps, generator.last_step)
    images = np.asarray(latents, np.float64)
    denoise = generator.denoiser(num_steps=num_steps)
    for now, after in itertools.pairwise(levels):
        noises = np.asarray(denoise(np.float32(images), now), np.float64)
        ends = {}
        for name, predicted, kept in (
            ("plain", noises, noises),
            ("asymmetric", noises + shift, noises),
            ("symmetric", noises + shift, noises + shift),
        ):
            parts = split_step(images, predicted, now, after)
            ends[name] = join_step(parts.pred_images, after.noise * kept, after)
        change, base = (
            np.ravel(np.asarray(ends[name]) - np.asarray(ends["plain"]))
            for name in ("symmetric", "asymmetric")
        )
        found.append(float(change @ base / (base @ base)))
        images = np.asarray(ends["plain"], np.float64)
    return np.array(found)


def kept_share(schedule, last_step, num_steps):
    """Which share of a shift of the velocity, the same at all steps, a symmetric edit keeps.

    The sum of what all steps add, without what later steps make of it.
    """
    levels = sampler_levels(schedule, num_steps, last_step)
    pairs = [*itertools.pairwise(levels)]
    moved = np.array([after.signal * now.noise for now, after in pairs])
    kept = moved * [symmetric_share(*pair) for pair in pairs]
    return float(kept.sum() / moved.sum())


def strength_for(effect, target, start=1.0):
    """The strength whose effect is a target, by doubling and then by linear interpolation.

    Args:
        effect: function from a strength to a number that grows with it.
        target: the effect that is wanted, above 0.
        start: the strength to begin with.

    Returns:
        `(strength, effect)`; of the largest strength that was tried if none reaches the target.
    """
    low, high = (0.0, 0.0), (start, effect(start))
    for _ in range(_DOUBLINGS):
        if high[1] >= target:
            break
        low, high = high, (2 * high[0], effect(2 * high[0]))
    if high[1] < target:
        return high
    for _ in range(_STEPS):
        share = (target - low[1]) / (high[1] - low[1])
        # Not nearer to an end than a tenth: a curve would leave the other end where it is.
        middle = low[0] + float(np.clip(share, 0.1, 0.9)) * (high[0] - low[0])
        found = middle, effect(middle)
        low, high = (found, high) if found[1] < target else (low, found)
    return min((low, high), key=lambda each: abs(each[1] - target))
