"""Limited-memory BFGS on latents: the fastest way to a small error that we know."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from ddim_embed.embedding import Method
from ddim_embed.iterates import Iterates, dot, wide

# The sufficient decrease of Nocedal & Wright, Eq. 3.6a.
_SUFFICIENT = 1e-4
# Pairs of steps and gradients at a right angle carry no curvature.
_CURVED = 1e-6


@dataclasses.dataclass(frozen=True)
class LBFGS(Method):
    """Quasi-Newton descent of the squared error, each image with a memory of its own.

    Minimises half the sum of (decode(z) - x)**2. Each iteration costs one gradient, as one of
    Adam's does, but learns the curvature from the gradients it has seen (two-loop recursion:
    Nocedal & Wright, Algorithm 7.4). A line search would wait for the slowest image of a batch;
    instead a step is no longer than a radius, which doubles where the error fell and halves where
    it did not, and every trial teaches its curvature, even one that is refused.

    It finds the minimum nearest to its start, so start well: `Hybrid("unet", LBFGS())`. Without
    latents to start from it starts at N(0, 1).

    Attributes:
        num_steps: iterations at most.
        memory: pairs of steps and gradients that are kept of each image.
        patience: iterations after which an image stops whose error has not fallen by 1%.
    """

    num_steps: int = 100
    memory: int = 20
    patience: int = 20
    batch_size: int = dataclasses.field(default=32, kw_only=True)

    refines: ClassVar[bool] = True
    takes_mask: ClassVar[bool] = True

    def __post_init__(self):
        for name in ("num_steps", "memory", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {getattr(self, name)}")

    @property
    def ticks(self):
        return self.num_steps

    def solve(self, generator, pixels, latents, tick, held=None):
        gradient, move = generator.traced(_value_and_gradient), generator.traced(_move)
        judge = generator.traced(_judge)
        iterates = Iterates(len(pixels), self.patience, tick)
        pixels, point = tf.constant(pixels), tf.constant(latents)
        held = None if held is None else tf.constant(held)
        value, slope, mse = gradient(point, pixels, held)
        iterates.update(point, mse, generator.gradient_evaluations)
        memory = _empty_memory(point, slope, self.memory)
        radius = tf.fill((len(pixels),), _first_radius(point))
        for _ in range(1, self.num_steps):
            trial = move(point, slope, memory, radius)
            trial_value, trial_slope, mse = gradient(trial, pixels, held)
            if not iterates.update(trial, mse, generator.gradient_evaluations):
                break
            point, value, slope, memory, radius = judge(
                point, value, slope, memory, radius, trial, trial_value, trial_slope
            )
        return iterates.found()


def _value_and_gradient(generator, latents, pixels, held):
    """Half the squared error of each image, its gradient, and the mean error of its content."""
    with tf.GradientTape() as tape:
        tape.watch(latents)
        decoded = generator.decode_tensor(latents)
        residual = decoded - pixels
        if held is not None:
            residual *= held
        values = 0.5 * tf.reduce_sum(tf.square(residual), axis=(1, 2, 3))
        total = tf.reduce_sum(values)
    return values, tape.gradient(total, latents), generator.errors(decoded, pixels, held)


def _first_radius(point):
    """A 64th of a standard deviation in every direction: small beside any latent."""
    return tf.sqrt(tf.cast(tf.size(point[0]), tf.float32)) / 64


def _empty_memory(point, slope, size):
    """Steps, changes of the gradient, one over their products (0: empty), the scale of Eq. 7.20."""
    history = tf.zeros((size, *point.shape))
    # So that the first move is one along the gradient, as long as the first radius.
    scale = _first_radius(point) / tf.maximum(_norm(slope), 1e-20)
    return history, history, tf.zeros((size, len(point))), scale


def _move(generator, point, slope, memory, radius):
    """The trial point of each image: the quasi-Newton step, no longer than the radius."""
    steps, changes, inverse_products, scale = memory
    size = steps.shape[0]
    direction = slope
    weights = []
    for i in reversed(range(size)):
        weights.append(inverse_products[i] * dot(steps[i], direction))
        direction -= wide(weights[-1]) * changes[i]
    direction *= wide(scale)
    for i in range(size):
        correction = inverse_products[i] * dot(changes[i], direction)
        direction += wide(weights[size - 1 - i] - correction) * steps[i]
    # Rounding can turn a direction uphill; the gradient never is.
    downhill = dot(direction, slope) > 0
    direction = tf.where(wide(downhill), direction, wide(scale) * slope)
    length = _norm(direction)
    return point - wide(tf.minimum(1.0, radius / tf.maximum(length, 1e-20))) * direction


def _judge(
    generator, point, value, slope, memory, radius, trial, trial_value, trial_slope
):  # fmt: skip
    """Accepts or refuses each trial point, and remembers what it taught."""
    steps, changes, inverse_products, scale = memory
    step, change = trial - point, trial_slope - slope
    product, length = dot(step, change), _norm(step)
    curved = product > _CURVED * length * _norm(change)
    inverse = tf.where(curved, 1 / tf.where(curved, product, 1.0), 0.0)
    scale = tf.where(curved, product / tf.maximum(dot(change, change), 1e-30), scale)
    # What is not a number must not enter the memory, not even with a factor of zero.
    step, change = (tf.where(wide(curved), moved, 0.0) for moved in (step, change))
    memory = (
        tf.concat([steps[1:], step[None]], 0),
        tf.concat([changes[1:], change[None]], 0),
        tf.concat([inverse_products[1:], inverse[None]], 0),
        scale,
    )
    # False, too, where the value is not a number.
    accepted = trial_value < value + _SUFFICIENT * dot(slope, step)
    radius = tf.where(accepted, tf.maximum(radius, 2 * length), length / 2)
    return (
        tf.where(wide(accepted), trial, point),
        tf.where(accepted, trial_value, value),
        tf.where(wide(accepted), trial_slope, slope),
        memory,
        radius,
    )


def _norm(a):
    return tf.sqrt(dot(a, a))
