"""Fitting a prior to the semantic vectors of images, stopped before it knows them by heart."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from tqdm import tqdm

from ddim_embed import arguments
from ddim_embed.autoencoder.prior import NUM_STEPS, SemanticPrior
from ddim_embed.networks.latent_mlp import LatentMLP
from ddim_embed.parallel import check_shard, share
from ddim_embed.store.sealed import read_arrays, write_arrays
from ddim_embed.training.loop import train
from ddim_embed.training.prior import PriorModel
from ddim_embed.training.strategy import Strategy

BEST = "best.npz"
# Rows of a validation, at the least: each vector is there often enough for as many noise levels.
_VALIDATION_ROWS = 4096


def fit_prior(
    vectors: np.ndarray,
    validation_vectors: np.ndarray | None = None,
    *,
    folder: str | Path,
    hidden: int = 512,
    depth: int = 10,
    dropout: float = 0.0,
    schedule: str = "constant",
    loss: str = "mean_absolute_error",
    prediction: str = "noise",
    num_steps: int = 10_000,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    ema: float = 0.999,
    validation_steps: int = 250,
    patience: int = 8,
    seed: int = 0,
    sampler_steps: int = NUM_STEPS,
    strategy: Strategy | None = None,
    progress: bool = True,
) -> tuple[SemanticPrior, list[dict]]:
    """Trains a prior on semantic vectors, and keeps it as it was when it generalised best.

    Some thousand vectors can be memorised. So every `validation_steps` the averaged network is
    measured on vectors that it does not train on, always with the same noise; the best one is kept,
    and training ends after `patience` measurements in a row that were not better.

    A run that was killed goes on where it was when it is called again in the same folder.

    Args:
        vectors: float, `(n, dims)`, n at least 2; of images as they are. If there are those of
            mirrored images, too, give `validation_vectors` of other images.
        validation_vectors: the same of other images; None to hold out a tenth of `vectors`, which
            `seed` chooses.
        folder: where checkpoints lie, and the best weights; made if missing.
        hidden, depth, dropout: of the `LatentMLP`.
        schedule, loss, prediction, ema: of the `PriorModel`.
        num_steps: optimizer steps at most.
        batch_size: vectors of a step.
        learning_rate: of Adam; constant, since the end is not known, and the average calms it.
        validation_steps: optimizer steps from one measurement to the next.
        patience: measurements without a better one after which it ends.
        seed: integer, of all that is random.
        sampler_steps: `num_steps` of the prior.
        strategy: None for one device, or a `Strategy`, of whose workers all call this function.
        progress: whether to show a progress bar.

    Returns:
        The `SemanticPrior`; and the history, a list of `{"step": ..., "seconds": ..., "loss": mean
        since the last line, "validation_loss": ...}`.

    Raises:
        ValueError: for options that do not exist, or vectors that are not such.
        CheckpointError: if `folder` holds another run; see `train`.
        FloatingPointError: if a loss is not finite.

    Example:
        >>> vectors = np.random.default_rng(0).normal(3, 2, size=(200, 4))
        >>> prior, history = de.fit_prior(
        ...     vectors, folder="prior", hidden=8, depth=2, num_steps=4, validation_steps=2,
        ...     progress=False,
        ... )
        >>> [line["step"] for line in history], prior.sample(3, num_steps=5).shape
        ([2, 4], (3, 4))
    """
    seed = arguments.seed(seed)
    num_steps = arguments.integer("num_steps", num_steps)
    batch_size = arguments.integer("batch_size", batch_size)
    validation_steps = arguments.integer("validation_steps", validation_steps)
    patience = arguments.integer("patience", patience)
    learning_rate = arguments.number("learning_rate", learning_rate, above=0)
    path = arguments.path("folder", folder) / BEST
    vectors = _check("vectors", vectors)
    if validation_vectors is None:
        vectors, validation_vectors = _held_out(vectors, seed)
    validation_vectors = _check("validation_vectors", validation_vectors, vectors.shape[1])
    rows = np.tile(validation_vectors, (-(-_VALIDATION_ROWS // len(validation_vectors)), 1))

    strategy = arguments.instance("strategy", strategy or Strategy(), Strategy)
    with strategy.scope():
        network = LatentMLP(vectors.shape[1], hidden, depth, dropout, seed, dtype="float32")
        model = PriorModel(network, schedule, ema=ema, seed=seed, loss=loss, prediction=prediction)
        model.compile(keras.optimizers.Adam(learning_rate))
    model.normalizer.adapt(vectors)
    key = _key(
        [vectors, validation_vectors], hidden, depth, dropout, str(schedule), loss, prediction,
        batch_size, learning_rate, ema, validation_steps, seed,
    )  # fmt: skip

    own = share(batch_size, *check_shard(strategy.shard, batch_size))

    def batches(step):
        while True:
            rng = np.random.default_rng((seed, step))
            yield vectors[rng.integers(len(vectors), size=batch_size)[own]]
            step += 1

    run = _Run.read(path, key, model)
    bar = tqdm(initial=run.step, total=num_steps, desc="prior", unit="step", disable=not progress)
    with bar:
        while run.step < num_steps and run.since_best < patience:
            history = train(
                model,
                batches,
                min(run.step + validation_steps, num_steps),
                folder,
                identity=key,
                log_steps=validation_steps,
                progress=False,
            )
            found = model.measure(rows)
            line = {
                # Beyond that which was asked for, if the file of the best weights was lost.
                "step": history[-1]["step"],
                "seconds": history[-1]["seconds"],
                "loss": history[-1].get("loss"),
                "validation_loss": found["loss"],
            }
            run = run.with_line(line, model)
            if strategy.is_chief:
                run.write(path, key)
            bar.update(run.step - bar.n)
            bar.set_postfix(run.lines[-1])
    model.ema_network.set_weights(run.weights)
    return SemanticPrior.from_model(model, sampler_steps), run.lines


class _Run(NamedTuple):
    """A run so far: its history, and the averaged weights that were best."""

    lines: list
    weights: list

    @property
    def step(self):
        return self.lines[-1]["step"] if self.lines else 0

    @property
    def since_best(self):
        """How many of the last measurements were not better than the best one."""
        losses = [line["validation_loss"] for line in self.lines]
        return len(losses) - 1 - int(np.argmin(losses)) if losses else 0

    def with_line(self, line, model):
        run = _Run([*self.lines, line], self.weights)
        return run._replace(weights=model.ema_network.get_weights()) if not run.since_best else run

    @classmethod
    def read(cls, path, key, model):
        """The run so far in the chief's file, which all workers of the model's strategy have."""
        strategy = model.strategy
        arrays = read_arrays(path, key) if strategy.is_chief else None
        lines = "[]" if arrays is None else str(arrays["lines"])
        lines = json.loads(strategy.text_from_chief(lines))
        if not lines:
            return cls([], [])
        weights = model.ema_network.get_weights()
        if arrays is not None:
            weights = [arrays[f"weight{i}"] for i in range(len(weights))]
        return cls(lines, strategy.from_chief(weights))

    def write(self, path, key):
        named = {f"weight{i}": weight for i, weight in enumerate(self.weights)}
        write_arrays(path, key, lines=json.dumps(self.lines), **named)


def _check(name, vectors, dims=None):
    vectors = arguments.finite_array(name, vectors)
    if vectors.ndim != 2 or not vectors.size or dims not in (None, vectors.shape[1]):
        raise ValueError(
            f"`{name}` must have shape (n, {dims or 'dims'}), n at least 1. "
            f"Received shape: {vectors.shape}"
        )
    return vectors


def _held_out(vectors, seed):
    """The vectors to train on, and a tenth of them to validate with, at least one."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    count = -(-len(vectors) // 10)
    return vectors[order[count:]], vectors[order[:count]]


def _key(arrays, *options):
    """A key of what a run depends on; how long it may take is not part of it."""
    digest = hashlib.sha256(repr(options).encode())
    for array in arrays:
        digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
