"""Defect correction: what an image still lacks, carried back along its own trajectory."""

import dataclasses
import itertools
from typing import ClassVar, NamedTuple

import tensorflow as tf

from ddim_embed.methods.iterates import Iterates, check_counts, wide
from ddim_embed.methods.protocol import Method
from ddim_embed.process.sampling import ddim_step, sampler_levels

# By how much an image's trust falls with a sweep that failed, and grows with one that did not.
_LESS, _MORE = 0.3, 1.5


@dataclasses.dataclass(frozen=True)
class DefectCorrection(Method):
    """Refines latents without a gradient: decodes, and runs what is missing back to t=1.

    Decoding gives a trajectory, and a defect: the image asked for less the one that came. A sweep
    puts the defect right at the image's end, and solves each step of the sampler roughly, by
    fixed-point iterations as `ImplicitInversion` does, for the state that leads there. But it
    starts from the noises of the trajectory, of which it is looking for a neighbour; so two
    iterations a step do, and a sweep with its decode costs half as much again as a gradient. It is
    an approximate inverse applied to the defect, again and again: the defect correction of Stetter
    (1978).

    Each image has a trust in (0, 1]: by which share of its defect, and of the change of noise from
    one step to the next, it is corrected. Where a sweep does not lower the error the image goes
    back to its best latents and trusts less. The last few digits are not for it: L-BFGS goes on
    where it slows down, `Hybrid(Hybrid("unet", "correction"), "lbfgs")`.

    It works in float32 whatever the generator's precision, as `ImplicitInversion`, and needs the
    memory of a decode and of the N noises, but of no activations. It starts at N(0, 1) where it is
    given no latents, which is too far for some images.

    Attributes:
        num_steps: decodes at most, the first of them that of the start; all others follow a sweep.
        iterations: fixed-point iterations of each of the sampler's steps in a sweep.
        patience: decodes after which an image stops whose error has not fallen by 1%.

    Raises:
        ValueError: for an option below 1.
    """

    num_steps: int = 11
    iterations: int = 2
    patience: int = 5

    refines: ClassVar[bool] = True
    takes_mask: ClassVar[bool] = True

    def __post_init__(self):
        check_counts(self, "num_steps", "iterations", "patience")

    @property
    def ticks(self):
        return self.num_steps

    def prepare(self, generator):
        generator.denoiser("float32")

    def solve(self, generator, pixels, latents, tick, held=None):
        denoise = generator.denoiser("float32").compiled
        levels = sampler_levels(generator.schedule, generator.num_steps, generator.last_step)
        iterates = Iterates(len(pixels), self.patience, tick)
        pixels, wanted = tf.constant(pixels), generator.normalizer(pixels)

        def judge(course):
            return generator.errors(generator.normalizer.inverse(course.image), pixels, held)

        best = follow(denoise, levels, tf.constant(latents))
        lowest = judge(best)
        iterates.update(best.latents, lowest, generator.num_steps)
        trust = tf.ones_like(lowest)
        cost = (1 + self.iterations) * generator.num_steps
        for _ in range(1, self.num_steps):
            defect = wanted - best.image
            if held is not None:
                defect *= held
            trial = sweep(denoise, levels, best, defect, wide(trust), self.iterations)
            trial = follow(denoise, levels, trial)
            error = judge(trial)
            if not iterates.update(trial.latents, error, cost):
                break
            better = error < lowest  # False, too, where the error is not a number
            best = tf.nest.map_structure(
                lambda new, old, better=better: tf.where(wide(better), new, old), trial, best
            )
            lowest = tf.where(better, error, lowest)
            trust = tf.where(better, tf.minimum(1.0, _MORE * trust), _LESS * trust)
        return iterates.found()


class Course(NamedTuple):
    """A decode with all that was predicted on its way.

    Attributes:
        latents: where it began, `(n, height, width, channels)`.
        noises: the N predictions, from t=1 on, each of the same shape.
        image: where it ended, in model space, same shape.
    """

    latents: tf.Tensor
    noises: list
    image: tf.Tensor


def follow(denoise, levels, latents):
    """The `Course` from latents: `sampling.sample`, with its noises.

    Args:
        denoise: `denoise(noisy_images, rates) -> pred_noises`.
        levels: of `sampling.sampler_levels`.
        latents: tensor `(n, height, width, channels)`.
    """
    state, noises = latents, []
    for rates, next_rates in itertools.pairwise(levels):
        noises.append(denoise(state, rates))
        state = ddim_step(state, noises[-1], rates, next_rates)
    return Course(latents, noises, state)


def sweep(denoise, levels, course, defect, trust=1.0, iterations=2):
    """Latents near those of a course, whose image is nearer by the defect.

    Where the step from x at level t leads to the state y at level u, x = ddim_step(y, e, u, t) with
    e = denoise(x, t), as in `inversion.implicit_steps`. The first guess of e is the course's own
    noise at t, and the change of it that was found at u.

    Args:
        denoise, levels: as for `follow`.
        course: a `Course`.
        defect: what is to be added to its image, model space, of its shape.
        trust: in (0, 1], a number or `(n, 1, 1, 1)`: the share of the defect, and of the changes of
            noise, that is taken.
        iterations: of each step, at least 1; each costs an evaluation.

    Returns:
        Latents. For a defect of zero they are the course's own, to rounding.
    """
    state, change = course.image + trust * defect, 0.0
    backwards = list(itertools.pairwise(levels))[::-1]
    for (rates, next_rates), noise in zip(backwards, course.noises[::-1], strict=True):
        guess = noise + trust * change
        for _ in range(iterations):
            guess = denoise(ddim_step(state, guess, next_rates, rates), rates)
        change = guess - noise
        state = ddim_step(state, guess, next_rates, rates)
    return state
