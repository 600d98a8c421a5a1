"""Levenberg-Marquardt on latents, with matrix-free conjugate gradients."""

import dataclasses

import tensorflow as tf

from ddim_embed import arguments
from ddim_embed.generator.linearization import linearize
from ddim_embed.methods.iterates import Iterates, Iterative, expand_to_images, inner_product


@dataclasses.dataclass(frozen=True)
class GaussNewton(Iterative):
    """Solves min_z |decode(z) - x|**2 by linearising decode, with damping for each image.

    Each iteration solves (J'J + damping * I) step = -J'(decode(z) - x) roughly, by a few conjugate
    gradient steps; J is never formed (`linearization.linearize`). Where the error falls by less
    than the linear forecast the damping grows (Nocedal & Wright, Sec. 10.3); a refused step is
    tried again at a quarter of its length, so that no image of a batch waits for another.

    Attributes:
        num_steps: iterations at most.
        cg_steps: conjugate gradient steps in each.
        damping: its first value, in units of the curvature along the gradient.
        patience: iterations after which an image stops whose error has not fallen by 1%.

    Raises:
        ValueError: for a count below 1, or damping that is not positive.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=1)
        >>> pixels = generator.sample(1).clip(0, 1)
        >>> method = de.GaussNewton(num_steps=2, cg_steps=1)
        >>> de.embed(generator, pixels, method, latents=generator.latents(1, seed=1)).mse.shape
        (1,)
    """

    num_steps: int = 30
    cg_steps: int = 3
    damping: float = 0.1
    patience: int = 10
    batch_size: int = dataclasses.field(default=32, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        self._check_counts("num_steps", "cg_steps", "patience")
        arguments.number("damping", self.damping, above=0)

    def solve(self, generator, pixels, latents, tick, held=None):
        linearize = generator.traced(_solve_linearized)
        iterates = Iterates(len(pixels), self.patience, tick)
        # The decode, its gradient, the curvature along it, and two products for each step of CG.
        cost = generator.gradient_evaluations + (1 + 2 * self.cg_steps) * generator.num_steps
        count, pixels = tf.constant(self.cg_steps), tf.constant(pixels)
        held = None if held is None else tf.constant(held)
        trial = tf.constant(latents)
        damping = tf.fill((len(pixels),), tf.constant(self.damping, tf.float32))
        value, step, forecast, mse = linearize(trial, pixels, damping, count, held)
        point = trial
        while iterates.update(trial, mse, cost) and iterates.iterations < self.num_steps:
            trial = point + step
            trial_value, trial_step, trial_forecast, mse = linearize(
                trial, pixels, damping, count, held
            )
            accepted = trial_value < value
            gain = (value - trial_value) / tf.maximum(value - forecast, 1e-20)
            damping *= tf.where(gain > 0.75, 1 / 3, tf.where(accepted & (gain > 0.25), 1.0, 3.0))
            point = tf.where(expand_to_images(accepted), trial, point)
            value = tf.where(accepted, trial_value, value)
            # By convexity of the linear model its forecast for a quarter of the step is at most
            # the mean of both ends.
            forecast = tf.where(accepted, trial_forecast, 0.75 * value + 0.25 * forecast)
            step = tf.where(expand_to_images(accepted), trial_step, 0.25 * step)
        return iterates.solution()


def _solve_linearized(generator, point, pixels, damping, count, held=None):
    """Half the squared error of each image, and the damped Gauss-Newton step from there.

    Also returns the values that the linear model forecasts, and the mean squared errors, `(n,)`.
    """

    def masked(images):
        return images if held is None else held * images

    # Free pixels are zero in the image, in the decoded image, and so in the Jacobian.
    decoded, product, transposed = linearize(
        lambda latents: masked(generator.decode_tensor(latents)), point
    )
    residual = decoded - masked(pixels)
    descent = -transposed(residual)
    steepest = product(descent)
    squared = inner_product(descent, descent)
    # The damping is relative to the curvature along the gradient.
    damping = damping * inner_product(steepest, steepest) / tf.maximum(squared, 1e-30)

    def iterate(i, step, moved, direction, remainder, squared):
        image = product(direction)
        curvature = inner_product(image, image) + damping * inner_product(direction, direction)
        length = expand_to_images(squared / tf.maximum(curvature, 1e-30))
        remainder -= length * (transposed(image) + expand_to_images(damping) * direction)
        next_squared = inner_product(remainder, remainder)
        turned = remainder + expand_to_images(next_squared / tf.maximum(squared, 1e-30)) * direction
        step, moved = step + length * direction, moved + length * image
        return i + 1, step, moved, turned, remainder, next_squared

    zeros = tf.zeros_like(point)
    state = (0, zeros, tf.zeros_like(decoded), descent, descent, squared)
    _, step, moved, *_ = tf.while_loop(lambda i, *_: i < count, iterate, state)
    forecast = residual + moved
    value, forecast = (0.5 * inner_product(left, left) for left in (residual, forecast))
    return value, step, forecast, generator.errors(decoded, pixels, held)
