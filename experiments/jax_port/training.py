"""The two runs, a denoiser's and the embedding networks', over a folder that `pack` wrote."""

import functools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import trange

from experiments.jax_port import steps
from experiments.jax_port.decoding import freeze
from experiments.jax_port.trees import IMAGES, SETTINGS, TRAINED, load_tree, save_tree
from experiments.toolkit import results

_AHEAD = 8  # steps that may wait for the device, so that the clock tells what is done
_SAVE_SECONDS = 60
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def train_denoiser(
    folder,
    num_steps,
    *,
    batch_size,
    rate,
    loss,
    prediction,
    seed,
    precision,
    ema=0.999,
    command=None,
):
    """Trains the packed generator further and writes its averaged weights to `trained/`.

    Args:
        folder: of one data set, as `pack` writes it.
        num_steps, batch_size, rate: of Adam, the rate at its highest.
        loss: a name of `steps.LOSSES`.
        prediction: "noise" or "velocity", what the network is to predict from here on.
        seed: of batches, times and noises.
        precision: "float32" or "bfloat16", of the convolutions.
        ema: weight of the old average.
        command: what a user would type to repeat it, for the manifest.
    """
    folder, settings, data = _open(folder)
    key = jax.random.key(seed)
    fixed = {"loss": loss, "prediction": prediction, "ema": ema, "depth": settings["block_depth"]}

    # What a compiled function closes over is compiled into it: the data are an argument.
    @jax.jit
    def step(data, state, index, learning_rate):
        batch_key, time_key, noise_key = jax.random.split(jax.random.fold_in(key, index), 3)
        pixels = steps.draw_batch(
            data, batch_key, batch_size, settings["mirror"], settings["padding"]
        )
        times = jax.random.uniform(time_key, (batch_size, 1, 1, 1))
        noises = jax.random.normal(noise_key, pixels.shape)
        return steps.denoiser_step(
            state, pixels, times, noises, learning_rate, dtype=_DTYPES[precision], **fixed
        )

    def save(state, made, seconds):
        budget = {"steps": made, "batch_size": batch_size, "loss": loss, "prediction": prediction}
        budget |= {"images_seen": made * batch_size, "seed": seed, "precision": precision}
        _save(folder, "generator", state[1], budget | {"seconds": seconds, "command": command})

    _run(
        lambda state, index, rates: step(data, state, index, rates["generator"]),
        steps.start_denoiser(_begin(folder, "generator")),
        num_steps,
        {"generator": rate},
        save,
        lambda value: {"loss": value},
    )


def train_embedders(folder, num_steps, *, networks, loss, seed, precision, command=None):
    """Trains packed networks further, together, and writes them to `trained/`.

    Args:
        folder: of one data set, as `pack` writes it; decodes with the generator in `trained/`
            where there is one.
        num_steps: of Adam.
        networks: name -> (images of each batch, rate at its highest).
        loss: a name of `steps.EMBEDDER_LOSSES`.
        seed: of the batches.
        precision: "float32" or "bfloat16", of the convolutions.
        command: what a user would type to repeat it, for the manifest.
    """
    folder, settings, data = _open(folder)
    key, padding, dtype = jax.random.key(seed), settings["padding"], _DTYPES[precision]
    prediction = _budget(folder, "generator").get("prediction", settings["prediction"])
    shared = {"depth": settings["block_depth"], "dtype": dtype}
    with jax.default_device(jax.devices("cpu")[0]):  # many small operations
        size = [side + 2 * padding for side in data.shape[1:3]]
        generator = jax.device_get(_begin(folder, "generator"))
        frozen = jax.device_get(freeze(generator, size, num_steps=settings["num_steps"], **shared))
    frozen = jax.device_put(frozen)
    counts = tuple((name, count) for name, (count, _) in networks.items())
    total = sum(count for _, count in counts)
    draw = jax.jit(
        lambda data, index: steps.draw_batch(
            data, jax.random.fold_in(key, index), total, settings["mirror"], padding
        )
    )
    step = jax.jit(
        functools.partial(
            steps.embedder_step,
            counts=counts,
            loss=loss,
            prediction=prediction,
            padding=padding,
            **shared,
        )
    )

    def save(state, made, seconds):
        for name, (tree, _) in state.items():
            budget = {"steps": made, "batch_size": networks[name][0], "loss": loss, "seed": seed}
            budget |= {"precision": precision, "seconds": seconds, "command": command}
            _save(folder, name, tree, budget)

    _run(
        lambda state, index, rates: step(frozen, state, draw(data, index), rates),
        steps.start_embedders({name: _begin(folder, name) for name in networks}),
        num_steps,
        {name: rate for name, (_, rate) in networks.items()},
        save,
        lambda measured: {name: mse for name, (_, mse) in measured.items()},
    )


def _run(step, state, num_steps, rates, save, words):
    """Makes the steps, each with the rates of its place in the run; saves every minute.

    Args:
        step: function of the state, the step's number and its rates, that returns the new state
            and what it measured.
        state: to begin with.
        num_steps: how many.
        rates: name -> rate at its highest.
        save: function of the state, the steps made and the seconds that they took.
        words: function of what a step measured: what the bar shows, name -> number.

    Raises:
        FloatingPointError: if one of these is not finite; nothing is saved then.
    """
    started, waiting = None, []
    with trange(num_steps, unit="step", smoothing=0.1) as bar:
        for index in bar:
            now = {
                name: jnp.float32(steps.learning_rate(index / num_steps, rate))
                for name, rate in rates.items()
            }
            state, measured = step(state, index, now)
            waiting.append(measured)
            if started is None:  # compiling is no training
                jax.block_until_ready(measured)
                started = saved = time.monotonic()
            due = index == num_steps - 1 or time.monotonic() - saved > _SAVE_SECONDS
            if due or len(waiting) == _AHEAD:
                values = jax.tree.map(float, words(waiting[-1 if due else 0]))
                if not np.isfinite(list(values.values())).all():
                    raise FloatingPointError(
                        f"Training stopped by step {index + 1}: an error is not finite ({values})."
                        " A lower rate may help; what `trained/` holds stays as it was."
                    )
                bar.set_postfix({name: f"{value:.5f}" for name, value in values.items()})
                waiting = waiting[_AHEAD // 2 :]
            if due:
                save(state, index + 1, round(time.monotonic() - started, 1))
                saved = time.monotonic()


def _open(folder):
    folder = Path(folder)
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    return folder, settings, jnp.asarray(np.load(folder / IMAGES, allow_pickle=False))


def _begin(folder, name):
    """The tree of a network: the one trained here, else the packed one."""
    trained = folder / TRAINED / f"{name}.npz"
    tree = load_tree(trained if trained.exists() else folder / f"{name}.npz")
    tree["statistics"] = [tuple(pair) for pair in tree.get("statistics", [])]
    return jax.tree.map(jnp.asarray, tree)


def _budget(folder, name):
    path = folder / TRAINED / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _save(folder, name, tree, budget):
    save_tree(folder / TRAINED / f"{name}.npz", jax.device_get(tree))
    budget |= {"device": jax.devices()[0].device_kind}
    results.save_json(folder / TRAINED / f"{name}.json", budget)
