"""Kills before each file operation of a run, and in the middle of each file that it writes.

After the kill, what was there before must be there still; the same command again must end in the
files of a run that was not killed.
"""

import collections
import contextlib
import csv
import hashlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from ddim_embed.store.outputs import RECORD

from .harness import Fault

PROCESSES = multiprocessing.get_context("forkserver")
# TensorFlow is imported once, and has computed nothing when it forks.
PROCESSES.set_forkserver_preload(
    ["tensorflow", "ddim_embed", "conftest", "experiments.embedding.training"]
)
TIMEOUT = 300
_EVENTS = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
}  # fmt: skip
# Bytes of a file that is written when the process ends in the middle.
_HALF = 200
_SMOKE = ["--smoke", "--checkpoint-seconds", "0"]
_TRAIN = ["train", *_SMOKE, "--train-steps", "3"]
_EMBEDDER = ["--warm-start-steps", "2", "--embedder-steps", "2"]

# Each begins with what those before the last have made.
RUNS = {
    "record_weights": ["record old", "record new"],
    "record_errors": ["record old", "errors"],
    "embed_in_chunks": ["chunks"],
    "train": [_TRAIN],
    "train --further": [_TRAIN, [*_TRAIN, "--further"]],
    "train-embedders": [_TRAIN, ["train-embedders", "conv1", *_SMOKE, *_EMBEDDER]],
    "embed": [
        _TRAIN,
        ["train-embedders", "conv1", *_SMOKE, *_EMBEDDER],
        ["embed", "picture.png", "--method", "conv1", "--smoke"],
    ],
    "sample": [_TRAIN, ["sample", "--smoke", "--images", "4"]],
    # With an embedding network, so that the smoke run does not train all of them first.
    "structure": [
        _TRAIN,
        ["train-embedders", "conv1", *_SMOKE, *_EMBEDDER],
        ["structure", "--smoke", "--members", "8", "--at-a-time", "4", "--iterations", "1"],
    ],
    "compare": [
        _TRAIN,
        ["train-embedders", "conv1", *_SMOKE, *_EMBEDDER],
        ["compare", "ddim_inversion", "implicit", "--smoke", "--images", "2"],
    ],
}


class Run:
    """A run that is killed: what it starts from, how many operations it has, and how it ends."""

    def __init__(self, name, folder):
        self.name = name
        *before, self._last = RUNS[name]
        self._before, self._after = folder / "before", folder / "after"
        self._folder = folder / "run"
        self._before.mkdir(parents=True)
        Image.new("L", (28, 28), 120).save(self._before / "picture.png")
        put_user_file(self._before)
        for command in before:
            # In the folder of the run, whose name is in what it records.
            self._make(self._before, command)
        self.operations = self._make(self._before, self._last, self._after)

    def _make(self, start, command, end=None):
        """Runs a command on a copy of `start`, which becomes `end`; returns how many operations."""
        self._begin(start)
        counted = PROCESSES.Value("q", 0)
        code = self._start(command, counted)
        if code != 0:
            raise Fault(f"{self.name} cannot be run: exit code {code}")
        end = end or start
        shutil.rmtree(end, ignore_errors=True)
        shutil.copytree(self._folder, end, symlinks=True)
        return counted.value

    def _begin(self, start):
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(start, self._folder, symlinks=True)

    def _start(self, command, counted, at=None, half=False):
        process = PROCESSES.Process(
            target=work, args=(command, str(self._folder), counted, at, half)
        )
        process.start()
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
            raise Fault(f"{self.name} hangs")
        return process.exitcode

    def kill(self, at, half=False):
        """Kills before operation `at`, or, if `half`, in the first longer file from
        then on; returns the words "killed" or, where nothing was left to kill, "done".
        """
        self._begin(self._before)
        code = self._start(self._last, PROCESSES.Value("q", 0), at, half)
        if code not in (0, -signal.SIGKILL, -signal.SIGXFSZ):
            raise Fault(f"exit code {code}")
        self._check_that_nothing_is_lost()
        again = self._start(self._last, PROCESSES.Value("q", 0))
        if again != 0:
            raise Fault(f"the same command again ends with {again}")
        compare(self._after, self._folder)
        return "done" if code == 0 else "killed"

    def _check_that_nothing_is_lost(self):
        for path in self._before.rglob("*"):
            other = self._folder / path.relative_to(self._before)
            if path.is_file() and not other.is_file() and path.name[0] != ".":
                raise Fault(f"{other.name} is gone")
            users = path.suffix in (".png", ".txt") and path.parent == self._before
            if users and path.read_bytes() != other.read_bytes():
                raise Fault(f"{path.name} is another file")
            if path.name.endswith(".weights.h5"):
                check_weights(path, other, self._after)


def attack(name, count):
    """Kills a run at `count` of its operations, evenly spread; returns counts and faults."""
    counts, faults = collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(name, Path(folder))
        moments = np.unique(np.linspace(1, run.operations, count).round().astype(int))
        for number, at in enumerate(moments.tolist()):
            half = number % 3 == 1  # every third one in the middle of a file
            try:
                counts[run.kill(at, half)] += 1
            except Fault as fault:
                counts["fault"] += 1
                faults.append(f"{name}, operation {at}{', half of a file' * half}: {fault}")
    return counts, faults


def put_user_file(folder):
    (folder / "notes.txt").write_text("a user's\n")


def check_weights(before, path, after):
    """Weights are the old ones or the new ones, and their record is theirs."""
    from ddim_embed.store.weights import find_weights

    new = [*after.rglob(str(path.relative_to(path.parents[2])))]
    whole = [each.read_bytes() for each in (before, *new)]
    contents = path.read_bytes()
    if contents not in whole:
        raise Fault(f"{path.name} is neither the old one nor the new one")
    dataset, name = path.parent.name, path.name.removesuffix(".weights.h5")
    _, entry = find_weights(dataset, name, path.parents[1])
    if entry["sha256"] != hashlib.sha256(contents).hexdigest():
        raise Fault(f"the record of {path.name} is of other weights")


def compare(expected, found):
    """Compares folders: the same files with the same contents, but for the time they took."""
    names, others = (
        {path.relative_to(folder) for path in folder.rglob("*")} for folder in (expected, found)
    )
    if names != others:
        raise Fault(f"other files: {sorted(map(str, names ^ others))[:5]}")
    for name in sorted(names):
        if (expected / name).is_file() and contents_of(expected / name) != contents_of(
            found / name
        ):
            raise Fault(f"{name} is another file than that of a run that was not killed")


def _is_time(name):
    return "seconds" in name or name in ("created", "date")


def contents_of(path):
    """What must be the same each time: no seconds, and no pictures of them."""
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text()))
    if path.name == "history.jsonl":
        return [json.loads(line)["step"] for line in path.read_text().splitlines()]
    if path.name == RECORD:  # with half a line of the kill, and what was written before it twice
        return {line.split('"')[1] for line in path.read_text().splitlines() if line[-1:] == "]"}
    if path.suffix == ".npz":
        with np.load(io.BytesIO(path.read_bytes())) as file:
            return {n: file[n].tobytes() for n in file.files if not _is_time(n)}
    if path.name == "checkpoint.h5":
        arrays = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda n, item: arrays.update({n.partition("_")[0]: np.asarray(item[()]).tobytes()})
            )
        arrays.pop("history")
        return arrays
    if path.suffix == ".csv":
        return [{k: v for k, v in row.items() if not _is_time(k)} for row in _rows(path)]
    if path.suffix in (".html", ".png", ".gif", ".md"):
        return path.stat().st_size > 0 if path.name != "picture.png" else path.read_bytes()
    return path.read_bytes()


def _rows(path):
    with open(path, newline="") as file:
        return [*csv.DictReader(file)]


def _without_times(value):
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if not _is_time(k)}
    return [*map(_without_times, value)] if isinstance(value, list) else value


def work(command, folder, counted, at, half):
    """In a child: runs a command, and counts its operations or is killed at one of them."""
    os.chdir(folder)
    with open("/dev/null", "w") as null, contextlib.redirect_stdout(null):
        os.dup2(null.fileno(), 2)
        sys.addaudithook(_hook(folder, counted, at, half))
        if isinstance(command, str):
            _LIBRARY[command](Path(folder))
            return
        from experiments.fashion_mnist import FASHION_MNIST
        from experiments.runner import main

        main(FASHION_MNIST, [*command, "--results", "results"])


def _hook(folder, counted, at, half):
    def hook(event, arguments):
        if event == "open":
            path, _, flags = arguments
            if not (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in _EVENTS:
            path = arguments[0]
        else:
            return
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(folder):
            return
        counted.value += 1
        if counted.value == at:
            if not half:
                os.kill(os.getpid(), signal.SIGKILL)
            # The system ends the process in the middle of a longer file.
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (_HALF, _HALF))

    return hook


def _record(folder, seed):
    import ddim_embed as de

    rng = np.random.default_rng(seed)
    model = de.build_embedder("conv3_16", 1)
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    notes = {"data": "tiny", "budget": {"steps": seed}, "errors": {"test_mse": 0.1}}
    de.record_weights(
        folder / "weights", "tiny", "conv3_16", model, config={"channels": 1}, **notes
    )


def _errors(folder):
    from ddim_embed.store.weights import record_errors

    record_errors(folder / "weights", "tiny", "conv3_16", {"test_mse": 0.2})


def _chunks(folder):
    from conftest import make_generator, make_pixels

    import ddim_embed as de
    from ddim_embed.methods.cache import embed_in_chunks

    generator = make_generator(image_shape=(8, 8, 1), widths=(4, 8), num_steps=1)
    embed_in_chunks(
        generator, make_pixels(6), de.DDIMInversion(), chunk_size=2, folder=folder / "chunks"
    )


_LIBRARY = {
    "record old": lambda folder: _record(folder, 1),
    "record new": lambda folder: _record(folder, 2),
    "errors": _errors,
    "chunks": _chunks,
}
