"""Limited-memory BFGS on latents."""

import dataclasses

import numpy as np
import tensorflow as tf

from ddim_embed import arguments
from ddim_embed.memory import require_memory
from ddim_embed.methods.iterates import Iterates, Iterative, expand_to_images, inner_product

# The sufficient decrease of Nocedal & Wright, Eq. 3.6a.
_SUFFICIENT = 1e-4
# The least cosine between a step and the change of the gradient that measures a curvature.
_CURVED = 1e-6


@dataclasses.dataclass(frozen=True)
class LBFGS(Iterative):
    """Quasi-Newton descent of the squared error, with a separate memory for each image.

    Minimises half the sum of (decode(z) - x)**2 + penalty * z**2. Each iteration costs one
    gradient, as an iteration of Adam does, and estimates the curvature from earlier gradients
    (two-loop recursion: Nocedal & Wright, Algorithm 7.4). A line search would make a batch wait for
    its slowest image. Instead a step is no longer than a radius, which doubles where the error
    falls and halves where it does not; trial points that are refused update the memory, too.

    A good first inverse Hessian halves the number of iterations. Images depend on smooth changes of
    the latents, and hardly on fine ones: in a trained generator the mean square of J' noise falls
    faster than 1 / (1 + frequency**2), by a factor of hundreds. So the first inverse Hessian is
    1 - Laplacian, scaled as in Eq. 7.20, and the memory corrects it.

    It finds a minimum near its start, so a good start matters: `Hybrid("unet", LBFGS())`. Where no
    latents are given it starts at N(0, 1).

    With a penalty the latents are the most probable ones, of N(0, 1), for an image that has white
    noise of this variance. Without one they are as large as the image's last digits need, which may
    be larger than Gaussian ones: decoded in few steps, these give images that vary too little.

    Attributes:
        num_steps: iterations at most.
        memory: pairs of steps and changes of the gradient that are stored for each image.
        patience: iterations after which an image stops whose error has not fallen by 1%.
        laplacian: weight of the Laplacian in the first inverse Hessian, in units in which the
            image is pi wide. 0 for the identity: then latents that the image does not depend on
            stay where they are, and do not move along with their neighbours.
        penalty: weight of the latents' squares: a variance of pixels. The iterate of the least sum
            is returned.

    Raises:
        ValueError: for a count below 1, or a `laplacian` or `penalty` below 0.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=1)
        >>> pixels = generator.sample(1).clip(0, 1)
        >>> result = de.embed(generator, pixels, de.LBFGS(num_steps=2))
        >>> result.evaluations.tolist()  # two gradients, 2 evaluations each
        [4.0]
    """

    num_steps: int = 100
    memory: int = 20
    patience: int = 20
    laplacian: float = 1.0
    penalty: float = 0.0
    batch_size: int = dataclasses.field(default=32, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        self._check_counts("num_steps", "memory", "patience")
        arguments.number("laplacian", self.laplacian, at_least=0)
        arguments.number("penalty", self.penalty, at_least=0)

    def solve(self, generator, pixels, latents, tick, held=None):
        # Steps and changes of the gradient, and their copies when a pair is added.
        require_memory(
            4 * self.memory * pixels.nbytes, f"`memory` {self.memory} of {len(pixels)} images"
        )
        gradient, move = generator.traced(_value_and_gradient), generator.traced(_move)
        judge = generator.traced(_judge)
        iterates = Iterates(len(pixels), self.patience, tick)
        pixels, point = tf.constant(pixels), tf.constant(latents)
        held = None if held is None else tf.constant(held)
        laplacian, penalty = (tf.constant(x, tf.float32) for x in (self.laplacian, self.penalty))

        def record(point, mse, value):
            cost = generator.gradient_evaluations
            return iterates.update(point, mse, cost, value if self.penalty else None)

        value, slope, mse = gradient(point, pixels, held, penalty)
        record(point, mse, value)
        memory = _empty_memory(point, slope, self.memory)
        radius = tf.fill((len(pixels),), _first_radius(point))
        for _ in range(1, self.num_steps):
            trial = move(point, slope, memory, radius, laplacian)
            trial_value, trial_slope, mse = gradient(trial, pixels, held, penalty)
            if not record(trial, mse, trial_value):
                break
            point, value, slope, memory, radius = judge(
                point, value, slope, memory, radius, laplacian, trial, trial_value, trial_slope
            )
        return iterates.solution()


def _value_and_gradient(generator, latents, pixels, held, penalty):
    """What is minimised for each image, its gradient, and its mean squared error."""
    with tf.GradientTape() as tape:
        tape.watch(latents)
        decoded = generator.decode_tensor(latents)
        residual = decoded - pixels
        if held is not None:
            residual *= held
        squares = tf.square(residual) + penalty * tf.square(latents)
        values = 0.5 * tf.reduce_sum(squares, axis=(1, 2, 3))
        total = tf.reduce_sum(values)
    return values, tape.gradient(total, latents), generator.errors(decoded, pixels, held)


def _first_radius(point):
    """A 64th of a standard deviation in every direction: small compared with any latents."""
    return tf.sqrt(tf.cast(tf.size(point[0]), tf.float32)) / 64


def _empty_memory(point, slope, size):
    """Steps, changes of the gradient, inverse inner products (0: empty), scale of Eq. 7.20."""
    history = tf.zeros((size, *point.shape))
    # So that the first move is one along the gradient, as long as the first radius.
    scale = _first_radius(point) / tf.maximum(_norm(slope), 1e-20)
    return history, history, tf.zeros((size, len(point))), scale


def _precondition(vectors, laplacian):
    """(1 - laplacian * Laplacian) of each image, mirrored at its borders, in a five-point stencil.

    A cosine of k half waves across the image becomes (1 + laplacian * k**2) of itself, or less (at
    worst 4/pi**2) where k comes close to the number of pixels. Symmetric, positive definite.
    """
    padded = tf.pad(vectors, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    rows = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] - 2 * vectors
    columns = padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2] - 2 * vectors
    height, width = vectors.shape[1:3]
    return vectors - laplacian * (height**2 * rows + width**2 * columns) / np.pi**2


def _move(generator, point, slope, memory, radius, laplacian):
    """The trial point of each image: the quasi-Newton step, no longer than the radius."""
    steps, changes, inverse_products, scale = memory
    size = steps.shape[0]
    direction = slope
    weights = []
    for i in reversed(range(size)):
        weights.append(inverse_products[i] * inner_product(steps[i], direction))
        direction -= expand_to_images(weights[-1]) * changes[i]
    direction = expand_to_images(scale) * _precondition(direction, laplacian)
    for i in range(size):
        correction = inverse_products[i] * inner_product(changes[i], direction)
        direction += expand_to_images(weights[size - 1 - i] - correction) * steps[i]
    # Rounding can turn the direction uphill; the preconditioned gradient never is.
    downhill = inner_product(direction, slope) > 0
    direction = tf.where(
        expand_to_images(downhill),
        direction,
        expand_to_images(scale) * _precondition(slope, laplacian),
    )
    length = _norm(direction)
    return point - expand_to_images(tf.minimum(1.0, radius / tf.maximum(length, 1e-20))) * direction


def _judge(
    generator, point, value, slope, memory, radius, laplacian, trial, trial_value, trial_slope
):  # fmt: skip
    """Accepts or refuses each trial point, and updates the memory and the radius."""
    steps, changes, inverse_products, scale = memory
    step, change = trial - point, trial_slope - slope
    product, length = inner_product(step, change), _norm(step)
    curved = product > _CURVED * length * _norm(change)
    inverse = tf.where(curved, 1 / tf.where(curved, product, 1.0), 0.0)
    expected = inner_product(change, _precondition(change, laplacian))
    scale = tf.where(curved, product / tf.maximum(expected, 1e-30), scale)
    # NaN must not enter the memory, not even with a factor of zero.
    step, change = (tf.where(expand_to_images(curved), moved, 0.0) for moved in (step, change))
    memory = (
        tf.concat([steps[1:], step[None]], 0),
        tf.concat([changes[1:], change[None]], 0),
        tf.concat([inverse_products[1:], inverse[None]], 0),
        scale,
    )
    # False where the value is NaN.
    accepted = trial_value < value + _SUFFICIENT * inner_product(slope, step)
    radius = tf.where(accepted, tf.maximum(radius, 2 * length), length / 2)
    return (
        tf.where(expand_to_images(accepted), trial, point),
        tf.where(accepted, trial_value, value),
        tf.where(expand_to_images(accepted), trial_slope, slope),
        memory,
        radius,
    )


def _norm(a):
    return tf.sqrt(inner_product(a, a))
