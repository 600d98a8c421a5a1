"""DDIM inversion: naive, or with each step solved as an implicit equation."""

import dataclasses
from typing import ClassVar

import numpy as np

from ddim_embed import arguments
from ddim_embed.generator.generator import Generator
from ddim_embed.methods.protocol import Method, Solution
from ddim_embed.process import fixed_point
from ddim_embed.process.inversion import Trajectory, implicit_steps
from ddim_embed.process.sampling import invert

ACCELERATIONS = {"anderson": fixed_point.WINDOW, "fixed_point": 0}  # name -> window


@dataclasses.dataclass(frozen=True)
class DDIMInversion(Method):
    """The ODE of DDIM backwards, one evaluation per step (Song et al. 2021, Sec. 4.3).

    Each step evaluates the noise where it starts, the sampler's step where this one ends, so the
    error falls only as 1/N. The image is taken for the state at t=0, as inverse schedulers do.
    Under "transfer" this is what the sampler returns. Under "predicted_image" it is not quite, as
    t=0 is not noiseless, and some error remains for any number of steps.

    Attributes:
        num_steps: N of the inversion; None for the generator's own, which always decodes.

    Raises:
        ValueError: if `num_steps` is neither None nor an integer of at least 1.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> result = de.embed(generator, generator.sample(1).clip(0, 1), de.DDIMInversion(4))
        >>> result.evaluations.tolist()
        [4.0]
    """

    num_steps: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.num_steps is not None:
            arguments.integer("num_steps", self.num_steps)

    def prepare(self, generator):
        generator.denoiser(num_steps=self.num_steps)

    def solve(self, generator, pixels, latents, tick, held=None):
        num_steps = self.num_steps or generator.num_steps
        denoise = generator.denoiser(num_steps=num_steps).compiled
        images = generator.normalizer(pixels)
        inverted = invert(denoise, generator.schedule, images, num_steps)
        return Solution(inverted.numpy(), evaluations=num_steps)


@dataclasses.dataclass(frozen=True)
class ImplicitInversion(Method):
    """Inverts each step of the sampler as an implicit equation, by `inversion.implicit_steps`.

    Under "transfer" it is exact to float32 rounding wherever the iteration converges. Under
    "predicted_image" many latents give one image. The latents to start from, Gaussian by default,
    decide which is found, as they are the first guess of the noise in the image: along a trajectory
    the predicted noise hardly changes, and at t=1 it almost equals the latents. Solving the first
    step too exactly makes the states unlike those of training and the later steps harder, so that
    few iterations can be better than many.

    It works in float32 whatever the generator's precision. On a GPU TensorFlow rounds the inputs of
    float32 convolutions to 10 bits, which limits the precision, unless
    `tf.config.experimental.enable_tensor_float_32_execution(False)` is called.

    Attributes:
        iterations: per step, at most; each costs an evaluation, and the last one more.
        tolerance: residual, as `Trajectory.residuals`, at which a step is solved for an image.
        acceleration: a name of `ACCELERATIONS`.
        damping: in (0, 1], under-relaxation of every iteration.

    Raises:
        ValueError: if an option is out of its range.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=3, last_step="transfer")
        >>> pixels = generator.sample(1).clip(0, 1)
        >>> result = de.embed(generator, pixels, de.ImplicitInversion(iterations=30))
        >>> result.converged.tolist()
        [True]
    """

    iterations: int = 10
    tolerance: float = 1e-6
    acceleration: str = "anderson"
    damping: float = 1.0

    refines: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        arguments.choice("acceleration", self.acceleration, ACCELERATIONS)
        window = ACCELERATIONS[self.acceleration]
        fixed_point.check_options(self.iterations, self.tolerance, window, self.damping)

    def initial_latents(self, generator, n, seed):
        if generator.last_step == "transfer":
            return None
        return super().initial_latents(generator, n, seed)

    def prepare(self, generator):
        generator.denoiser("float32")

    def solve(self, generator, pixels, latents, tick, held=None):
        trajectory = self.trajectory(generator, pixels, latents)
        return Solution(trajectory.states[-1], evaluations=trajectory.evaluations)

    def trajectory(
        self, generator: Generator, pixels: np.ndarray, latents: np.ndarray | None = None
    ) -> Trajectory:
        """Returns the states between pixels and latents, with every residual.

        Args:
            generator: a `Generator`.
            pixels: `(n, height, width, channels)`, not checked: decoded pixels may leave [0, 1],
                and only unclipped ones can be inverted exactly.
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
