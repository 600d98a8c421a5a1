"""One step of training, as `EmbedderTrainer` and `DiffusionModel` take it."""

import math

import jax
import jax.numpy as jnp
import optax

from experiments.jax_port.decoding import decode, rates
from experiments.jax_port.networks import embed, unet

_TINY = 1e-12  # so that an image without an error has a gradient
_ADAM = optax.scale_by_adam(eps=1e-7)  # Keras' epsilon
_CLIPPED_ADAM = optax.chain(optax.clip_by_global_norm(1.0), _ADAM)

# Of the errors of pixels, per image.
EMBEDDER_LOSSES = {
    "absolute": lambda errors: jnp.abs(errors).mean((1, 2, 3)),
    "squared": lambda errors: jnp.square(errors).mean((1, 2, 3)),
    "root_mean_square": lambda errors: jnp.sqrt(jnp.square(errors).mean((1, 2, 3)) + _TINY),
}
LOSSES = {"absolute": jnp.abs, "squared": jnp.square}


def draw_batch(data, key, count, mirror, padding):
    """Pixels in [0, 1], drawn with replacement, mirrored at random and padded.

    Args:
        data: uint8 `(n, height, width, channels)`.
        key: of the random numbers.
        count: how many.
        mirror: whether half of them are turned left to right.
        padding: rows and columns at each border.

    Returns:
        float32 `(count, height + 2 * padding, width + 2 * padding, channels)`.
    """
    chosen, sides = jax.random.split(key)
    indices = jax.random.randint(chosen, (count,), 0, len(data))
    pixels = data[indices].astype(jnp.float32) / 255
    if mirror:
        flipped = jax.random.bernoulli(sides, shape=(count, 1, 1, 1))
        pixels = jnp.where(flipped, pixels[:, :, ::-1], pixels)
    return jnp.pad(pixels, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def start_embedders(trees):
    """The state of `embedder_step`: name -> (tree, Adam's moments)."""
    return {
        name: (tree, jax.jit(_CLIPPED_ADAM.init)(tree["weights"])) for name, tree in trees.items()
    }


def embedder_step(
    frozen, state, pixels, learning_rates, *, counts, loss, prediction, padding, depth, dtype
):
    """A step of every network, each on its own part of the batch: they share the decoder alone.

    Args:
        frozen: of `decoding.freeze`.
        state: of `start_embedders`.
        pixels: float32 `(sum of counts, height, width, channels)`.
        learning_rates: name -> rate.
        counts: pairs (name, images in its part), in the order of the parts.
        loss: a name of `EMBEDDER_LOSSES`.
        prediction, depth, dtype: as for `decoding.decode`.
        padding: rows and columns at each border that count in no error.

    Returns:
        The new state; and name -> (loss, mean squared error of clipped pixels).
    """
    inner = slice(padding, -padding or None)
    names, sizes = zip(*counts, strict=True)
    ends = [sum(sizes[:i]) for i in range(1, len(sizes))]

    def errors_of(weights):
        images = (pixels - frozen["mean"]) / jnp.sqrt(frozen["variance"])
        latents = [
            embed(state[name][0] | {"weights": weights[name]}, part, depth=depth, dtype=dtype)
            for name, part in zip(names, jnp.split(images, ends), strict=True)
        ]
        decoded = decode(frozen, jnp.concatenate(latents), prediction, depth=depth, dtype=dtype)
        each = EMBEDDER_LOSSES[loss]((pixels - decoded)[:, inner, inner])
        squares = EMBEDDER_LOSSES["squared"]((pixels - decoded.clip(0, 1))[:, inner, inner])
        parts = zip(names, jnp.split(each, ends), jnp.split(squares, ends), strict=True)
        measured = {name: (part.mean(), square.mean()) for name, part, square in parts}
        return sum(value for value, _ in measured.values()), measured

    weights = {name: state[name][0]["weights"] for name in names}
    gradients, measured = jax.grad(errors_of, has_aux=True)(weights)
    moved = {}
    for name in names:
        changes, moments = _CLIPPED_ADAM.update(gradients[name], state[name][1])
        changed = _descend(weights[name], changes, learning_rates[name])
        moved[name] = (state[name][0] | {"weights": changed}, moments)
    return moved, measured


def start_denoiser(tree):
    """The state of `denoiser_step`: the network, its average, Adam's moments, steps made."""
    return tree, tree, jax.jit(_ADAM.init)(tree["weights"]), jnp.float32(0)


def denoiser_step(
    state, pixels, times, noises, learning_rate, *, loss, prediction, ema, depth, dtype
):
    """A step of a denoiser.

    Args:
        state: of `start_denoiser`.
        pixels: float32 `(batch, height, width, channels)`.
        times: diffusion times, uniform in [0, 1), `(batch, 1, 1, 1)`.
        noises: Gaussian, of the shape of `pixels`.
        learning_rate: a scalar.
        loss: a name of `LOSSES`.
        prediction: "noise" or "velocity".
        ema: weight of the old average.
        depth, dtype: as for `networks.unet`.

    Returns:
        The new state, and the loss.
    """
    tree, average, moments, steps = state
    images = (pixels - tree["mean"]) / jnp.sqrt(tree["variance"])
    signal, noise = rates(times)
    noisy = signal * images + noise * noises
    targets = noises if prediction == "noise" else signal * noises - noise * images

    def error(weights):
        outputs, statistics = unet(
            tree | {"weights": weights}, noisy, noise**2, depth=depth, training=True, dtype=dtype
        )
        return LOSSES[loss](targets - outputs).mean(), statistics

    (value, statistics), gradients = jax.value_and_grad(error, has_aux=True)(tree["weights"])
    changes, moments = _ADAM.update(gradients, moments)
    weights = _descend(tree["weights"], changes, learning_rate)
    tree = tree | {"weights": weights, "statistics": statistics}
    steps = steps + 1
    kept = jnp.minimum(ema, (1 + steps) / (10 + steps))
    average = jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, average, tree)
    return (tree, average, moments, steps), value


def _descend(weights, changes, rate):
    return jax.tree.map(lambda weight, change: weight - rate * change, weights, changes)


def learning_rate(progress, highest, warmup=0.03):
    """Up over the first `warmup` of a run, then along a cosine down to a hundredth.

    Args:
        progress: in [0, 1], how much of the run is done.
        highest: the rate at its highest.
        warmup: a part of the run.
    """
    if progress < warmup:
        return highest * max(progress / warmup, 0.01)
    done = min((progress - warmup) / (1 - warmup), 1)
    return highest * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
