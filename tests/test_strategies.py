"""Several devices, and several processes, find the weights that one finds with the same batches."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import training_workers
from conftest import make_diffusion, make_pixels

import ddim_embed as de
from ddim_embed.training.strategy import TensorFlowStrategy

TESTS = Path(__file__).resolve().parent
# float32 sums in another order; Adam divides by gradients that are nearly 0, which differ more.
TOLERANCE = 1e-5
# Of each way to compute a step: with statistics and a clipped gradient, and with its own measuring.
SOME = "embedder,prior"


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """What one device finds."""
    folder = tmp_path_factory.mktemp("one")
    training_workers.main(folder / "one.npz", "one", folder / "run")
    return np.load(folder / "one.npz")


def start(out, strategy, folder, names=SOME, dies_at=None, **environment):
    words = [str(word) for word in (out, strategy, folder, names, dies_at) if word is not None]
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    return subprocess.Popen(
        [sys.executable, TESTS / "training_workers.py", *words],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def require_end(*processes):
    try:
        found = [(each.communicate(timeout=300)[1], each.returncode) for each in processes]
    finally:
        for each in processes:
            each.kill()
    assert not any(status for _, status in found), found


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def workers_of_tensorflow():
    """The environments of two workers."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    for index in range(2):
        task = {"type": "worker", "index": index}
        yield {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}


def workers_of_jax():
    address = f"127.0.0.1:{free_port()}"
    for index in range(2):
        yield {
            "KERAS_BACKEND": "jax",
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
        }


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def assert_as_one(path, one):
    found = np.load(path)
    assert found
    for name in found:
        assert_close(found[name], one[name])


def test_two_devices_of_tensorflow_train_as_one(one, tmp_path):
    out = tmp_path / "out.npz"
    require_end(start(out, "mirrored", tmp_path / "run", training_workers.ALL))
    assert {*np.load(out)} == {*one}
    assert_as_one(tmp_path / "out.npz", one)


def test_two_processes_of_tensorflow_train_as_one_though_a_worker_dies(one, tmp_path):
    folders = tmp_path / "chief", tmp_path / "worker"
    chief, worker = (
        start(tmp_path / "out.npz", "multi-worker", folder, SOME, dies_at, **environment)
        for folder, dies_at, environment in zip(
            folders, (None, 5), workers_of_tensorflow(), strict=True
        )
    )
    message = chief.communicate(timeout=300)[1]
    worker.communicate(timeout=300)
    assert worker.returncode < 0 < chief.returncode
    assert "WorkerError: A worker of this run is gone. Start all of them again" in message
    lines = (folders[0] / "embedder" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5]

    environments = workers_of_tensorflow()
    require_end(
        *(
            start(tmp_path / "out.npz", "multi-worker", folder, **environment)
            for folder, environment in zip(folders, environments, strict=True)
        )
    )
    assert_as_one(tmp_path / "out.npz", one)


def test_two_devices_and_two_processes_of_jax_train_as_one(one, tmp_path):
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2"
    environment = {"KERAS_BACKEND": "jax", "XLA_FLAGS": flags}
    require_end(start(tmp_path / "devices.npz", "mirrored", tmp_path / "run", **environment))
    require_end(
        *(
            start(tmp_path / "processes.npz", "multi-worker", tmp_path / str(index), **environment)
            for index, environment in enumerate(workers_of_jax())
        )
    )
    devices, processes = np.load(tmp_path / "devices.npz"), np.load(tmp_path / "processes.npz")
    for name in devices:
        assert_close(processes[name], devices[name])
        # A prior begins with random weights, which are others on each backend.
        if not name.startswith("prior"):
            assert_close(devices[name], one[name])


def test_one_device_needs_no_strategy():
    strategy = de.training_strategy()
    assert (strategy.num_replicas, strategy.shard, strategy.is_chief) == (1, (0, 1), True)
    assert type(make_diffusion().strategy) is de.Strategy


class ThreeWorkers:
    """In place of a strategy of `tf.distribute`: a chief and two workers, of two devices each."""

    num_replicas_in_sync = 6

    def __init__(self, task, index):
        cluster = {"chief": ["a"], "worker": ["b", "c"]}
        spec = SimpleNamespace(as_dict=lambda: cluster)
        self.cluster_resolver = SimpleNamespace(
            cluster_spec=lambda: spec, task_type=task, task_id=index
        )
        first = 2 * index + 2 * (task == "worker")
        self.contexts = [
            SimpleNamespace(replica_id_in_sync_group=number) for number in (first, first + 1)
        ]

    def experimental_distribute_values_from_function(self, function):
        return [function(context) for context in self.contexts]

    def reduce(self, operation, values, axis):
        return sum(values)


def test_workers_are_counted_from_the_chief_on():
    """What a worker adds to the chief's values is 0, and what a chief's second device adds."""
    rows, values = np.arange(4), [np.arange(1, 3)]
    for worker, (task, index) in enumerate((("chief", 0), ("worker", 0), ("worker", 1))):
        strategy = TensorFlowStrategy(ThreeWorkers(task, index))
        assert (strategy.shard, strategy.is_chief) == ((worker, 3), worker == 0)
        np.testing.assert_array_equal(strategy.place(rows), [[0, 1], [2, 3]])
        (added,) = strategy.from_chief(values)
        np.testing.assert_array_equal(added, values[0] * strategy.is_chief)


def test_workers_that_do_not_know_of_each_other_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match=r"TF_CONFIG, such as .*It is not set"):
        de.training_strategy("multi-worker")


def test_unknown_strategies_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'mirrored'"):
        de.training_strategy("mirror")


def test_losses_of_a_batch_are_those_of_evaluate():
    model, pixels = make_diffusion(), make_pixels(6)
    model.compile("sgd")
    found = model.evaluate(pixels, batch_size=6, verbose=0, return_dict=True)
    assert model.measure(pixels) == pytest.approx(found, rel=1e-5)
