"""Training that is killed and started again gives the weights of an uninterrupted run."""

import json
import os
import shutil
import signal
import time

import h5py
import numpy as np
import pytest
from campaigns import kills

from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import main

# Real processes, each forked from a server that has imported TensorFlow and run nothing: importing
# it anew for each of them would take minutes.
PROCESSES = kills.PROCESSES

TIMEOUT = 120
FLAGS = ["--smoke", "--checkpoint-seconds", "0"]  # as often as there are steps
TRAIN = ["train", *FLAGS, "--train-steps", "60"]
TRAIN_EMBEDDERS = [
    "train-embedders", "unet", *FLAGS, "--warm-start-steps", "60", "--embedder-steps", "60",
]  # fmt: skip


def start(folder, command):
    process = PROCESSES.Process(target=main, args=(FASHION_MNIST, [*command, "--results", folder]))
    process.start()
    return process


def run(folder, command):
    process = start(folder, command)
    process.join(TIMEOUT)
    assert process.exitcode == 0


def run_and_kill(folder, command, moment):
    """Kills the process as soon as `moment()` is true, which must be before its end."""
    process = start(folder, command)
    deadline = time.monotonic() + TIMEOUT
    while not moment():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.0005)
    os.kill(process.pid, signal.SIGKILL)
    process.join(TIMEOUT)
    assert process.exitcode == -signal.SIGKILL


def step_of(folder):
    """The optimizer's step in a checkpoint, which is never half written."""
    try:
        with h5py.File(folder / "checkpoint.h5", locking=False) as file:
            return int(next(file[name][()] for name in file if name.endswith("_iteration")))
    except FileNotFoundError:
        return 0


def read_arrays(path):
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return arrays


def assert_same(path, other):
    """Bit for bit: CPU kernels are deterministic, and random numbers depend on seed and step.

    Histories are not compared: they have seconds, and averages that restart when a run resumes.
    """
    arrays, others = read_arrays(path), read_arrays(other)
    for each in (arrays, others):
        each.pop("history", None)
    assert arrays.keys() == others.keys() and arrays
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)


def logged_steps(folder):
    """Losses are not compared: their averages restart when a run resumes."""
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(folder, TRAIN)
    run(folder, TRAIN_EMBEDDERS)
    return folder


def paths(folder):
    smoke = folder / "fashion_mnist-smoke"
    return smoke / "runs" / "fashion_mnist", smoke / "weights" / "fashion_mnist"


def test_a_killed_training_of_the_generator_ends_in_the_same_weights(uninterrupted, tmp_path):
    runs, weights = paths(tmp_path)
    folder = runs / "generator"
    seen = []
    moments = (
        folder.exists,  # before the first checkpoint
        lambda: step_of(folder) >= 5,
        # While a checkpoint is written.
        lambda: step_of(folder) >= 20 and any(folder.glob(".saving-*.h5")),
    )
    for moment in moments:
        run_and_kill(tmp_path, TRAIN, moment)
        seen.append(step_of(folder))
    run(tmp_path, TRAIN)

    assert 0 <= seen[0] < 5 <= seen[1] < 20 <= seen[2] < 60
    expected_runs, expected_weights = paths(uninterrupted)
    assert_same(folder / "checkpoint.h5", expected_runs / "generator" / "checkpoint.h5")
    assert_same(weights / "generator.weights.h5", expected_weights / "generator.weights.h5")
    assert logged_steps(folder) == [50, 60]


def test_a_killed_training_of_an_embedder_ends_in_the_same_weights(uninterrupted, tmp_path):
    runs, weights = paths(tmp_path)
    expected_runs, expected_weights = paths(uninterrupted)
    for folder, expected in ((runs, expected_runs), (weights, expected_weights)):
        shutil.copytree(expected, folder, ignore=shutil.ignore_patterns("unet*", "pairs*"))
    warm_start, unrolled = runs / "unet" / "warm_start", runs / "unet" / "unrolled"
    moments = (
        lambda: any(runs.glob(".saving-*.bin")) or (runs / "pairs.bin").exists(),
        lambda: step_of(warm_start) >= 10,
        lambda: step_of(unrolled) >= 10 and any(unrolled.glob(".saving-*.h5")),
    )
    for moment in moments:
        run_and_kill(tmp_path, TRAIN_EMBEDDERS, moment)
    assert 10 <= step_of(unrolled) < 60
    run(tmp_path, TRAIN_EMBEDDERS)

    for stage in ("warm_start", "unrolled"):
        expected = expected_runs / "unet" / stage
        assert_same(runs / "unet" / stage / "checkpoint.h5", expected / "checkpoint.h5")
        assert logged_steps(runs / "unet" / stage) == [50, 60]
    assert_same(weights / "unet.weights.h5", expected_weights / "unet.weights.h5")


def test_a_finished_run_changes_nothing(uninterrupted):
    runs, _ = paths(uninterrupted)
    before = (runs / "generator" / "checkpoint.h5").read_bytes()
    main(FASHION_MNIST, [*TRAIN, "--results", str(uninterrupted)])
    assert (runs / "generator" / "checkpoint.h5").read_bytes() == before


@pytest.mark.parametrize("run", ["record_weights", "record_errors"])
def test_kills_before_file_operations(run):
    counts, faults = kills.attack(run, 3)
    assert not faults
    assert counts == {"killed": 3}
