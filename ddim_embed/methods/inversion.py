"""The sampler run backwards: naively, or each of its steps solved as the equation that it is."""

import dataclasses
from typing import ClassVar

import numpy as np

from ddim_embed.methods.protocol import Found, Method
from ddim_embed.process import fixed_point
from ddim_embed.process.inversion import implicit_steps
from ddim_embed.process.sampling import invert

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
