"""What the verbs that train have in common: resumable runs that end in recorded weights."""

import sys
import time
from pathlib import Path

from tqdm import tqdm

import ddim_embed as de
from ddim_embed.backend import fast_precision
from ddim_embed.store.records import changing
from ddim_embed.store.weights import find_weights, load_weights
from ddim_embed.training.loop import CheckpointError
from experiments.toolkit import sources
from experiments.toolkit.command_line import UsageError

# Seconds, and the steps by which the time left is estimated.
_DAY, _TIMED = 86_400, 2
# A file that is in the folder of a run while its weights are recorded.
_RECORDING = "recording"


def spent(config, history, command):
    """What training took, for its record."""
    return {
        "seconds": history[-1]["seconds"],
        "precision": config.precision,
        "seed": config.seed,
        "command": command,
    }


def record(config, name, model, sizes, budget, errors, folder, mirrored="mirrored at random"):
    """Records trained weights, and says so; returns their path."""
    mirrored = f", {mirrored}" if config.mirror else ""
    data = Path(config.data).name  # the folder is the user's own, and is not published
    mark = folder / _RECORDING
    mark.touch()
    path, _ = de.record_weights(
        config.weights,
        config.name,
        name,
        model,
        config=sizes,
        data=f"{data}, {sources.part(config, 'train')}{mirrored}",
        budget=budget,
        errors=errors,
    )
    mark.unlink()
    print(f"{path}: {in_words(errors)}")
    return path


def recorded_before(config, name, folder):
    """The path of recorded weights whose run was killed as it recorded them; None for others.

    With `--further` the same command would else begin with them, and train further once more.
    """
    path, entry = find_weights(config.name, name, config.weights)
    before = entry["budget"].get("before")
    start = before.get("sha256") if isinstance(before, dict) else None
    mark = _further_folder(folder, str(start)) / _RECORDING
    if start is None or not mark.exists():
        return None
    with changing(path):  # and rid of the lock that the kill left
        mark.unlink()
    print(f"{path}: {in_words(entry['errors'])}")
    return path


def _further_folder(folder, sha256):
    """The folder of the run that goes on from weights."""
    return folder.with_name(f"{folder.name}-from-{Path(sha256[:12]).name}")


def go_further(config, name, model, folder, key):
    """Sets the weights of `model` to the recorded ones called `name`.

    Returns the folder and the key of the run of its own that begins with them, and what was spent
    on them, for the record.
    """
    path, entry = find_weights(config.name, name, config.weights)
    load_weights(model, path, entry["sha256"])
    start = entry["sha256"][:12]
    budget = {key: value for key, value in entry["budget"].items() if key != "generator"}
    before = {"before": budget | {"sha256": entry["sha256"]}}
    return _further_folder(folder, start), f"{key}, from {start}", before


def run_key(config, generator=None):
    """Returns a key of a run: a checkpoint with another key is not resumed.

    It has the data, the seed and what is predicted and minimised, or the generator's fingerprint.
    Rates and sizes of batches are not in it: a run may be resumed with others.
    """
    words = [] if generator is None else [generator.fingerprint()]
    words += [f"{config.data}, seed {config.seed}"] + ["mirrored"] * config.mirror
    if generator is None:  # the paper's settings go unnamed
        words += [config.prediction] * (config.prediction != "noise")
        words += [config.loss] * (config.loss != "mean_absolute_error")
    return ", ".join(words)


def run(config, model, batches, num_steps, folder, **kwargs):
    """Runs `de.train` with the options of the configuration."""
    try:
        return de.train(
            model,
            _watched(batches, num_steps, config),
            num_steps,
            folder,
            checkpoint_seconds=config.checkpoint_seconds,
            progress=config.progress,
            **kwargs,
        )
    except CheckpointError as error:
        raise UsageError(str(error)) from error


def _watched(batches, num_steps, config):
    """The same batches; says once what would be faster if more than a day is left."""

    def watched(step):
        for count, batch in enumerate(batches(step)):
            if count == 1:  # the first step compiles
                started = time.monotonic()
            if count == 1 + _TIMED:
                left = (num_steps - step - count) * (time.monotonic() - started) / _TIMED
                if left > _DAY:
                    slow = config.precision == "bfloat16" and fast_precision()[0] != "bfloat16"
                    ways = ["--precision float32"] * slow + ["a GPU", "smaller --widths"]
                    ways += ["a smaller --image-size", "smaller batches", "fewer steps"]
                    words = f"{left / _DAY:.1f} days are left. Faster: {', '.join(ways)}."
                    tqdm.write(words, file=sys.stderr)
            yield batch

    return watched


def in_words(errors):
    """Returns the errors of weights as a message."""
    if not errors:
        return "not measured yet; the verb `measure` does it where TensorFlow is installed"
    return ", ".join(
        f"{name.replace('_', ' ')} {'-' if value is None else f'{value:.4g}'}"
        for name, value in errors.items()
    )
