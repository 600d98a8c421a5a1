"""The sampler run backwards: naively, or each of its steps solved as the equation that it is."""

import dataclasses
import itertools
from typing import ClassVar, NamedTuple

import numpy as np

from ddim_embed import fixed_point
from ddim_embed.embedding import Found, Method
from ddim_embed.sampling import ddim_step, invert, sampler_levels, time_grid

ACCELERATIONS = {"anderson": fixed_point.WINDOW, "fixed_point": 0}  # name -> window


@dataclasses.dataclass(frozen=True)
class DDIMInversion(Method):
    """The ODE of DDIM run backwards: one evaluation per step (Song et al. 2021, Sec. 4.3).

    Each step evaluates the noise at the end that it starts from, the sampler at the other: the
    error falls as 1/N only. The image is taken for the state at t=0, as inverse schedulers do. For
    "transfer" that is what the sampler returns; for "predicted_image" it is not quite, as t=0 is
    not noiseless, and some error stays however many steps there are.

    Attributes:
        num_steps: N of the inversion; None for the generator's own, with which the latents are
            decoded in any case.

    Raises:
        ValueError: if `num_steps` is less than 1.
    """

    num_steps: int | None = None

    def __post_init__(self):
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"`num_steps` must be at least 1. Received: {self.num_steps}")

    def prepare(self, generator):
        generator.denoiser(num_steps=self.num_steps)

    def solve(self, generator, pixels, latents, tick):
        num_steps = self.num_steps or generator.num_steps
        denoise = generator.denoiser(num_steps=num_steps).compiled
        images = generator.normalizer(pixels)
        found = invert(denoise, generator.schedule, images, num_steps)
        return Found(found.numpy(), evaluations=num_steps)


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
    fixed_point.check_options(iterations, tolerance, damping)
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


@dataclasses.dataclass(frozen=True)
class ImplicitInversion(Method):
    """Each step of the sampler inverted as the implicit equation that it is: `implicit_steps`.

    Under "transfer" it is exact to float32 rounding wherever the iteration converges. Under
    "predicted_image" many latents give one image. Which one is found follows from the latents to
    start from, Gaussian ones by default, for these are the first guess of the noise in the image:
    along a trajectory the predicted noise hardly changes, and at t=1 it is almost the latents. To
    solve that step more exactly than the image is worth makes the states unlike those of training,
    and the later steps harder; so few iterations can be better than many.

    It works in float32 whatever the generator's precision. On a GPU TensorFlow rounds the inputs of
    float32 convolutions to 10 bits, which bounds what can be reached, unless
    `tf.config.experimental.enable_tensor_float_32_execution(False)` was called.

    Attributes:
        iterations: of each step, at most; each costs an evaluation, and the last one more.
        tolerance: residual of a step at which an image is done with it, as
            `Trajectory.residuals`.
        acceleration: a name of `ACCELERATIONS`.
        damping: in (0, 1], under-relaxation of every iteration.

    Raises:
        ValueError: if an option is not one of those.
    """

    iterations: int = 10
    tolerance: float = 1e-6
    acceleration: str = "anderson"
    damping: float = 1.0

    refines: ClassVar[bool] = True

    def __post_init__(self):
        fixed_point.check_options(self.iterations, self.tolerance, self.damping)
        if self.acceleration not in ACCELERATIONS:
            raise ValueError(
                f"`acceleration` must be one of {tuple(ACCELERATIONS)}. "
                f"Received: {self.acceleration!r}"
            )

    def initial_latents(self, generator, n, seed):
        if generator.last_step == "transfer":
            return None
        return super().initial_latents(generator, n, seed)

    def prepare(self, generator):
        generator.denoiser("float32")

    def solve(self, generator, pixels, latents, tick):
        found = self.trajectory(generator, pixels, latents)
        return Found(found.states[-1], evaluations=found.evaluations)

    def trajectory(self, generator, pixels, latents=None):
        """The states that lead from latents to pixels, with every residual.

        Args:
            generator: a `Generator`.
            pixels: `(n, height, width, channels)`, not checked: what `decode` returns may leave
                [0, 1], and is found exactly only if it is not clipped.
            latents: the first guess of the noise in the images, same shape, or None.

        Returns:
            A `Trajectory`.
        """
        return implicit_steps(
            generator.denoiser("float32").compiled,
            generator.schedule,
            generator.normalizer(pixels).numpy(),
            generator.num_steps,
            generator.last_step,
            noises=None if latents is None else np.asarray(latents, np.float32),
            iterations=self.iterations,
            tolerance=self.tolerance,
            window=ACCELERATIONS[self.acceleration],
            damping=self.damping,
        )
