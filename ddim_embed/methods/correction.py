"""Defect correction: the missing part of an image, inverted along the image's own trajectory."""

import dataclasses
import itertools
from typing import NamedTuple

import tensorflow as tf

from ddim_embed.methods.iterates import Iterates, Iterative, expand_to_images
from ddim_embed.process.sampling import ddim_step, sample, sampler_levels

# Factors of an image's relaxation after a sweep that failed, and after one that succeeded.
_DECREASE, _INCREASE = 0.3, 1.5


@dataclasses.dataclass(frozen=True)
class DefectCorrection(Iterative):
    """Refines latents without a gradient: decodes, and inverts what is missing.

    Decoding gives a trajectory and a defect, the difference between the given image and the decoded
    one. A sweep adds the defect to the decoded image and inverts each step of the sampler by a few
    fixed-point iterations, as `ImplicitInversion` does. Its first guesses are the noises of the
    trajectory, which is close by, so that two iterations per step suffice: a sweep with its decode
    costs half as much again as a gradient. An approximate inverse is applied to the defect again
    and again, which is the defect correction of Stetter (1978).

    Each image has a relaxation factor in (0, 1], the share of its defect, and of the change of
    noise from one step to the next, that is corrected. After a sweep that does not lower the error
    the image returns to its best latents and the factor falls. The method is slow to gain the last
    few digits: `Hybrid(Hybrid("unet", "correction"), "lbfgs")` goes on with L-BFGS.

    It works in float32 whatever the generator's precision, and needs the memory of a decode and of
    the N noises, but of no activations. Where no latents are given it starts at N(0, 1), which is
    too far away for some images.

    Attributes:
        num_steps: decodes at most; the first decodes the start, each later one follows a sweep.
        iterations: fixed-point iterations per sampler step in a sweep.
        patience: decodes after which an image stops whose error has not fallen by 1%.

    Raises:
        ValueError: for an option that is not an integer of at least 1.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> pixels = generator.sample(1).clip(0, 1)
        >>> result = de.embed(generator, pixels, de.DefectCorrection(num_steps=3))
        >>> result.evaluations.tolist()  # 2 of the first decode, 2 + 4 of each sweep
        [14.0]
    """

    num_steps: int = 11
    iterations: int = 2
    patience: int = 5

    def __post_init__(self):
        super().__post_init__()
        self._check_counts("num_steps", "iterations", "patience")

    def prepare(self, generator):
        generator.denoiser("float32")

    def solve(self, generator, pixels, latents, tick, held=None):
        denoise = generator.denoiser("float32").compiled
        sampler = generator.schedule, generator.num_steps, generator.last_step
        levels = sampler_levels(*sampler)
        iterates = Iterates(len(pixels), self.patience, tick)
        pixels, target = tf.constant(pixels), generator.normalizer(pixels)

        def errors(decoding):
            return generator.errors(generator.normalizer.inverse(decoding.images), pixels, held)

        best = follow(denoise, tf.constant(latents), *sampler)
        lowest = errors(best)
        iterates.update(best.latents, lowest, generator.num_steps)
        relaxation = tf.ones_like(lowest)
        cost = (1 + self.iterations) * generator.num_steps
        for _ in range(1, self.num_steps):
            defect = target - best.images
            if held is not None:
                defect *= held
            factors = expand_to_images(relaxation)
            trial = sweep(denoise, levels, best, defect, factors, self.iterations)
            trial = follow(denoise, trial, *sampler)
            error = errors(trial)
            if not iterates.update(trial.latents, error, cost):
                break
            better = error < lowest  # False where the error is NaN
            rows = expand_to_images(better)
            best = tf.nest.map_structure(
                lambda new, old, rows=rows: tf.where(rows, new, old), trial, best
            )
            lowest = tf.where(better, error, lowest)
            relaxation = tf.where(
                better, tf.minimum(1.0, _INCREASE * relaxation), _DECREASE * relaxation
            )
        return iterates.solution()


class Decoding(NamedTuple):
    """A decode with the N noises predicted on its way, all `(n, height, width, channels)`."""

    latents: tf.Tensor
    noises: list  # from t=1 on
    images: tf.Tensor  # in model space


def follow(denoise, latents, schedule, num_steps, last_step):
    """Returns the `Decoding` of latents; arguments as for `sampling.sample`."""
    steps = []
    images = sample(denoise, schedule, latents, num_steps, last_step, callback=steps.append)
    return Decoding(latents, [step.pred_noises for step in steps], images)


def sweep(denoise, levels, decoding, defect, relaxation=1.0, iterations=2):
    """Returns latents near those of a decoding, whose images are nearer by the defect.

    Where the step from x at level t leads to the state y at level u, x = ddim_step(y, e, u, t) with
    e = denoise(x, t), as in `inversion.implicit_steps`. The first guess of e is the decoding's own
    noise at t, plus the change of noise that was found at u. Each iteration costs an evaluation per
    step. The relaxation in (0, 1], a number or `(n, 1, 1, 1)`, is the share of the defect, and of
    the changes of noise, that is used. For a defect of zero the latents are the decoding's own.
    """
    state, change = decoding.images + relaxation * defect, 0.0
    backwards = list(itertools.pairwise(levels))[::-1]
    for (rates, next_rates), noise in zip(backwards, decoding.noises[::-1], strict=True):
        guess = noise + relaxation * change
        for _ in range(iterations):
            guess = denoise(ddim_step(state, guess, next_rates, rates), rates)
        change = guess - noise
        state = ddim_step(state, guess, next_rates, rates)
    return state
