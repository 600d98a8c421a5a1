"""Trains a model over a stream of batches, resumable after a kill at any moment."""

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from ddim_embed import arguments, backend
from ddim_embed.store.atomic import replacing
from ddim_embed.store.locks import LockedError, locked
from ddim_embed.store.sealed import DamagedError, read_sealed, write_sealed

CHECKPOINT = "checkpoint.h5"
HISTORY = "history.jsonl"
# Its name in a checkpoint; those of variables begin with a number.
_HISTORY = "history"


class CheckpointError(ValueError):
    """A checkpoint is damaged, of another model or run, or another process is at it."""


def train(
    model: keras.Model,
    batches: Callable[[int], Iterable],
    num_steps: int,
    folder: str | Path,
    *,
    identity: str = "",
    checkpoint_seconds: float = 120,
    log_steps: int = 50,
    description: str = "training",
    progress: bool = True,
) -> list[dict]:
    """Trains a compiled model up to `num_steps` optimizer steps; goes on from a checkpoint, if any.

    A checkpoint holds every variable of the model and its optimizer, the history, and a checksum,
    and is replaced in one rename, so that a kill leaves the old one or the new one. What a step
    draws must depend on the optimizer's step count alone, as in `DiffusionModel` and
    `EmbedderTrainer`: then a resumed run repeats the uninterrupted one, to the reproducibility of
    the machine's own kernels.

    A model that was made in the scope of a strategy trains on its devices: see `training_strategy`.
    Workers of several processes call this function alike, each with its own rows of the batches;
    the first one, the chief, writes the checkpoints, and when a run is resumed the others have what
    it reads: a `folder` that they share is not needed.

    Args:
        model: a `TrainedModel`, compiled.
        batches: function from a step number to an iterable of the batches from that step on, of
            this worker's rows where there are several.
        num_steps: optimizer steps in all; a finished run returns at once.
        folder: where the checkpoint lies, and `history.jsonl`, a copy of the history that is not
            read; made if missing. It is locked while a process trains in it.
        identity: a key of the run, for what it depends on but does not hold, such as the weights of
            a frozen generator: a checkpoint with another key is refused.
        checkpoint_seconds: seconds between checkpoints.
        log_steps: steps over which each line of the history averages.
        description: label of the progress bar.
        progress: whether to show it.

    Returns:
        The history, a list of `{"step": ..., "seconds": ..., metric: mean over log_steps, ...}`;
        the first line after a resume averages over the steps since. The progress bar says how long
        the first step took to compile.

    Raises:
        ValueError: if the model cannot learn from the first batch: see its `check_batch`.
        CheckpointError: if a checkpoint in `folder` is damaged or has other variables or another
            identity, or if another process trains there.
        FloatingPointError: if a loss or a weight is not finite; the last checkpoint stays as it
            was.
        WorkerError: if another worker is gone.

    Example:
        >>> import keras
        >>> model = de.DiffusionModel(de.UNet(channels=1, widths=(4, 8), block_depth=1))
        >>> pixels, _ = de.load_images("mnist", "test", limit=8, source="sample")
        >>> model.normalizer.adapt(pixels)
        >>> model.compile(keras.optimizers.Adam(1e-3))
        >>> def batches(step):
        ...     return de.stream_images("mnist", "test", 8, source="sample", start_step=step)
        >>> history = de.train(model, batches, num_steps=2, folder="run", progress=False)
        >>> history[-1]["step"]
        2
    """
    arguments.instance("model", model, keras.Model)
    num_steps = arguments.integer("num_steps", num_steps, least=0)
    log_steps = arguments.integer("log_steps", log_steps)
    checkpoint_seconds = arguments.number("checkpoint_seconds", checkpoint_seconds)
    folder = arguments.path("folder", folder)
    strategy = model.strategy
    alone = contextlib.nullcontext()
    if strategy.is_chief:
        folder.mkdir(parents=True, exist_ok=True)
        alone = _alone_in(folder)
    with alone, strategy.watching(folder):
        values, seconds_before, history = None, 0.0, []
        if strategy.is_chief and (folder / CHECKPOINT).exists():
            values, seconds_before, history = read_checkpoint(folder / CHECKPOINT, model, identity)
            _write_history(folder / HISTORY, history)
        if strategy.num_workers > 1:
            # All workers assign what the chief has, which is nothing to begin with.
            values = values or [_value_of(variable) for variable in _variables(model)]
            values = strategy.from_chief(values)
        if values is not None:
            _assign(model, values)
        step = int(_value_of(model.optimizer.iterations))
        if step >= num_steps:
            # A run that was killed before its first line, and wanted longer then, has none.
            return history or [{"step": step, "seconds": round(seconds_before, 1)}]

        steps = _steps_of(model)
        for metric in model.metrics:  # which hold what was measured last, by `evaluate` perhaps
            metric.reset_state()
        looked_at = False
        started = saved = time.monotonic()

        def seconds():
            return seconds_before + time.monotonic() - started

        def save():
            steps.write_back()
            if not strategy.is_chief:
                return
            save_checkpoint(folder / CHECKPOINT, model, seconds(), history, identity)
            _write_history(folder / HISTORY, history)

        bar = tqdm(
            initial=step, total=num_steps, desc=description, unit="step", disable=not progress
        )
        with bar:
            for batch in batches(step):
                if not looked_at and hasattr(model, "check_batch"):
                    model.check_batch(batch)
                looked_at = True
                steps.run(batch)
                step += 1
                bar.update()
                if steps.compile_seconds is None:
                    steps.compile_seconds = seconds() - seconds_before
                    if progress:
                        bar.write(f"{description}: compiled in {steps.compile_seconds:.0f} s")
                if step % log_steps == 0 or step == num_steps:
                    values = steps.logs()
                    if not np.isfinite(list(values.values())).all():
                        raise FloatingPointError(
                            f"Training stopped at step {step}: a loss is not finite ({values}). A "
                            f"lower learning rate may help; the last checkpoint is in {folder}."
                        )
                    history.append({"step": step, "seconds": round(seconds(), 1)} | values)
                    bar.set_postfix({name: f"{value:.4f}" for name, value in values.items()})
                    steps.write_back()
                    for metric in model.metrics:
                        metric.reset_state()
                if step == num_steps:
                    break
                if time.monotonic() - saved > checkpoint_seconds:
                    save()
                    saved = time.monotonic()
        save()
        return history


def _write_history(path, history):
    """Writes the copy of the history, unless it is there: a kill may have come before it."""
    text = "".join(json.dumps(line) + "\n" for line in history).encode()
    if not (path.is_file() and path.read_bytes() == text):
        with replacing(path) as temporary:
            temporary.write_bytes(text)


@contextlib.contextmanager
def _alone_in(folder):
    try:
        with locked(folder / ".lock", wait=False):
            yield
    except LockedError as error:
        raise CheckpointError(
            f"Another process trains in {folder}: {error}. Wait until it ends, or stop it, and "
            f"start this one again, which goes on from its checkpoint; or train in another folder."
        ) from error


def _steps_of(model):
    """The compiled steps of a model: those of an earlier run, unless it was compiled anew since."""
    key = model.optimizer, model.jit_compile
    steps = vars(model).get("_steps")
    if steps is None or steps.key != key:
        model._steps = steps = _Steps(model, key)
    steps.start()
    return steps


class _Steps:
    """The compiled steps of a model: on JAX the values of its variables pass from one to the next.

    Attributes:
        key: what they were compiled for.
        compile_seconds: None; for the loop to set after the first step.
    """

    def __init__(self, model, key):
        self._model, self.key, self.compile_seconds = model, key, None
        own = [*_variables(model), *model.metrics_variables]
        self._variables = [list({id(variable): variable for variable in own}.values())]
        if backend.is_tensorflow():
            step = model.strategy.of_replicas(model.train_step)
            self._step = backend.compiled(step, model.jit_compile)
        else:
            self._step = backend.compiled(
                lambda values, batch, constants: model.pure_step(
                    self._variables, values, batch, constants
                ),
                donate_argnums=0,
            )

    def start(self):
        """Begins a run with the values of the model's variables."""
        self._values = self._logs = None

    def run(self, batch):
        """Makes a step."""
        batch = self._model.strategy.place(batch)
        if backend.is_tensorflow():
            self._step(batch)
            return
        if self._values is None:
            self._values = [[ops.copy(v.value) for v in self._variables[0]]]
            self._constants = self._model.strategy.replicate(self._model.constants)
        self._logs, self._values = self._step(self._values, batch, self._constants)
        if self.compile_seconds is None:
            self.logs()  # waits for the device

    def logs(self):
        """The metrics by name, numbers, averaged since they were reset, over all workers."""
        if backend.is_tensorflow():  # of all replicas, which have their own sums within a step
            return {metric.name: float(metric.result()) for metric in self._model.metrics}
        return {name: float(value) for name, value in self._logs.items()}

    def write_back(self):
        """Gives the model's variables their values, which may then be read and changed."""
        if self._values is not None:
            for variable, value in zip(self._variables[0], self._values[0], strict=True):
                variable.assign(value)
            self._values = None


def save_checkpoint(path, model, seconds=0.0, history=(), identity=""):
    """Writes all variables of a model and its optimizer, replacing `path` in one rename.

    Args:
        path: the file, HDF5 with a checksum behind it.
        model: a built and compiled `keras.Model`.
        seconds: training time so far, stored with it.
        history: of `train`, stored with it.
        identity: of the run, stored with it.

    Raises:
        FloatingPointError: if a variable is not finite; the file stays as it was.
    """
    memory = io.BytesIO()  # on a full disk, HDF5 itself prints hundreds of lines and can crash
    with h5py.File(memory, "w") as file:
        file.attrs["seconds"] = seconds
        file.attrs["identity"] = identity
        file[_HISTORY] = json.dumps([*history])
        for name, variable in _named_variables(model):
            values = _value_of(variable)
            if not np.isfinite(values).all():
                raise FloatingPointError(
                    f"`{variable.path}` is not finite; the checkpoint {path} stays as it was. A "
                    f"lower learning rate may help."
                )
            file[name] = values
    write_sealed(path, memory.getbuffer())


def restore_checkpoint(path, model, identity=""):
    """Sets all variables of a model and its optimizer from `save_checkpoint`'s file.

    Returns:
        The training seconds and the history stored with it.

    Raises:
        CheckpointError: as `read_checkpoint`; nothing is changed then.
    """
    values, seconds, history = read_checkpoint(path, model, identity)
    _assign(model, values)
    return seconds, history


def read_checkpoint(path, model, identity=""):
    """Reads `save_checkpoint`'s file.

    Returns:
        The values of all variables of the model and its optimizer, a list; and the training seconds
        and the history stored with them.

    Raises:
        CheckpointError: if the file is damaged, of a model with other variables, or of a run with
            another identity.
    """
    variables = _named_variables(model)
    try:
        contents = io.BytesIO(read_sealed(path))
    except DamagedError as error:
        raise CheckpointError(f"The checkpoint {error} Delete it to start anew.") from error
    with h5py.File(contents, "r") as file:
        # Matched by number: Keras puts a count of the models made so far into optimizers' names.
        stored = {name.partition("_")[0]: name for name in file if name != _HISTORY}
        expected = {name.partition("_")[0]: name for name, _ in variables}
        shapes = {number: file[name].shape for number, name in stored.items()}
        own_shapes = {name.partition("_")[0]: tuple(v.shape) for name, v in variables}
        if shapes != own_shapes:
            differing = sorted(
                number
                for number in shapes | own_shapes
                if shapes.get(number) != own_shapes.get(number)
            )[:3]
            details = "; ".join(
                f"{expected.get(number) or stored[number]}: expected {own_shapes.get(number)}, "
                f"found {shapes.get(number)}"
                for number in differing
            )
            raise CheckpointError(
                f"The checkpoint {path} is of another model ({details}). Train in another folder, "
                f"or delete it to start anew."
            )
        found = file.attrs["identity"]
        if found != identity:
            raise CheckpointError(
                f"The checkpoint {path} is of another run (expected {identity!r}, found "
                f"{found!r}). Train in another folder, or delete it to start anew."
            )
        values = [file[stored[name.partition("_")[0]]][()] for name, _ in variables]
        return values, float(file.attrs["seconds"]), json.loads(file[_HISTORY][()])


def _assign(model, values):
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)


def _value_of(variable):
    """A variable's value, an array; mirrored variables have one as a tensor alone."""
    return ops.convert_to_numpy(ops.convert_to_tensor(variable))


def _variables(model):
    """All variables of a model and its optimizer, each once: Keras may list some twice."""
    variables = [*model.variables, *model.optimizer.variables]
    return {id(variable): variable for variable in variables}.values()


def _named_variables(model):
    """Pairs of a unique flat name and a variable; the order of creation makes names unique."""
    return [
        (f"{index:04d}_{variable.name}", variable)
        for index, variable in enumerate(_variables(model))
    ]


def warmup_cosine(learning_rate, num_steps, warmup_steps=200):
    """The learning rate of a run: a linear warm-up, then a cosine down to a hundredth.

    Args:
        learning_rate: its highest value.
        num_steps: optimizer steps in all.
        warmup_steps: steps of the warm-up, at most a tenth of the run.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.
    """
    warmup = min(warmup_steps, num_steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else learning_rate,
        max(1, num_steps - warmup),
        alpha=0.01,
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )
