"""Chunks over processes and Dask workers: what fails, or dies, is tried again and then named."""

import os
import platform
import re
import signal
import sys
import threading
from concurrent.futures.process import BrokenProcessPool

import chunk_tasks
import joblib
import pytest

from ddim_embed import workers
from ddim_embed.workers import FailedChunksError, Failure, pool

# `warnings.warn` says what is tried again.
pytestmark = pytest.mark.filterwarnings("ignore:.*tried again")
PLACES = ("here", "processes", "dask")


@pytest.fixture(scope="module")
def client():
    """A Dask client of two workers on loopback, whose nannies replace those that die."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    cluster = distributed.LocalCluster(**options, silence_logs=60)
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def place(request):
    """The arguments of a pool."""
    if request.param == "dask":
        return {"cluster": request.getfixturevalue("client")}
    return {"workers": 1 if request.param == "here" else 2}


def results(place, function, count=12, *arguments, **options):
    with pool(**place) as each:
        tasks = ((i, (i, *map(str, arguments))) for i in range(count))
        return dict(each.run(function, tasks, **options))


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_all_tasks_are_computed(place):
    assert results(place, chunk_tasks.square, 20) == {i: i**2 for i in range(20)}
    assert results(place, chunk_tasks.square, 0) == {}


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_what_fails_is_tried_again_elsewhere_and_then_named(place, tmp_path):
    found = results(place, chunk_tasks.fail_at_five, 12, tmp_path)
    failure = found.pop(5)
    assert found == {i: i for i in range(12) if i != 5}
    assert failure.reason.startswith("ValueError: five is refused")
    tries = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert len(tries) == 3
    assert (len({*tries}) > 1) == (place != {"workers": 1})
    if "cluster" in place:
        assert failure.where in place["cluster"].scheduler_info()["workers"]
    else:
        assert "process" in failure.where
    assert isinstance(failure.error, ValueError) == (place == {"workers": 1})


@pytest.mark.parametrize("place", ["here", "dask"], indirect=True)
def test_what_fails_once_has_a_result(place, tmp_path):
    assert results(place, chunk_tasks.fail_once, 12, tmp_path) == {i: i for i in range(12)}
    assert len([*tmp_path.iterdir()]) == 2


def test_tries_are_counted(tmp_path):
    found = results({"workers": 1}, chunk_tasks.fail_at_five, 12, tmp_path, retries=0)
    assert isinstance(found[5], Failure) and len([*tmp_path.iterdir()]) == 1
    with pytest.warns(UserWarning, match="^A chunk is tried again: ValueError: five is refused$"):
        results({"workers": 1}, chunk_tasks.fail_at_five, 12, tmp_path, retries=1)


def test_an_error_in_a_worker_says_where(tmp_path, monkeypatch):
    def outer(*arguments):
        return chunk_tasks.fail_at_five(*arguments)

    number, here = workers._attempt(outer, 3, (5, tmp_path))
    assert (number, here.reason) == (3, "ValueError: five is refused")
    assert isinstance(here.error, ValueError)
    monkeypatch.setattr(workers, "_share", 1)  # as in a process of its own
    number, there = workers._attempt(outer, 3, (5, tmp_path))
    assert number == 3 and there.error is None
    assert re.fullmatch(r"ValueError: five is refused, chunk_tasks\.py line \d+", there.reason)
    assert here.where == there.where == f"process {os.getpid()} of {platform.node()}"


class KilledWorker(Exception):
    """As Dask's is called."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            BrokenProcessPool("The exit codes of the workers are {SIGKILL(-9)}"),
            "its process died of SIGKILL(-9); too little memory?",
        ),
        (BrokenProcessPool("It ended."), "its process died; too little memory?"),
        (KilledWorker("x"), "the Dask workers that tried it died; too little memory?"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_in_a_line(error, words):
    assert workers._words(error) == words


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 6)
    monkeypatch.setattr(joblib, "parallel_config", lambda backend, **options: options)
    few, many = workers._Loky(2), workers._Loky(8)
    assert (few.configured()["n_jobs"], few.configured()["initargs"][0]) == (2, 3)
    before = many.configured()["initargs"]
    many.avoid([])
    share, generation = many.configured()["initargs"]
    assert share == before[0] == 1 and generation != before[1]


@pytest.mark.parametrize("place", ["processes", "dask"], indirect=True)
def test_what_kills_its_process_is_named_and_its_neighbours_are_not(place, tmp_path):
    found = results(place, chunk_tasks.die_at_five, 12, tmp_path, retries=1)
    assert re.search(r"died.*too little memory\?$", found.pop(5).reason)
    assert found == {i: i for i in range(12) if i != 5}


def test_a_dask_worker_that_is_killed_costs_nothing(client):
    client.wait_for_workers(2)
    pids = {*client.run(os.getpid).values()}

    def tasks():
        for i in range(40):
            if i == 10:
                os.kill(min(pids), signal.SIGKILL)
            yield i, (i,)

    with pool(cluster=client) as each:
        found = dict(each.run(chunk_tasks.where_it_runs, tasks()))
    assert len(found) == 40 and not any(isinstance(one, Failure) for one in found.values())
    assert max(pids) in found.values()


def test_workers_that_come_later_have_their_share(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "_LOOK", 0)
    options = {"n_workers": 0, "threads_per_worker": 1, "dashboard_address": None}
    cluster = distributed.LocalCluster(**options, silence_logs=60)
    with cluster, distributed.Client(cluster) as client:
        threading.Timer(0.5, cluster.scale, [1]).start()
        with pytest.warns(UserWarning, match="no worker yet"), pool(cluster=client) as each:
            pids = []
            for number, (_, pid) in enumerate(
                each.run(chunk_tasks.where_it_runs, ((i, (i,)) for i in range(60)))
            ):
                if number == 5:
                    cluster.scale(5)
                    client.wait_for_workers(5)
                pids.append(pid)
    assert len(pids) == 60 and len({*pids}) == 5


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_few_tasks_are_taken_ahead(place):
    """Of those whose results the caller has had."""
    taken, most, handed = 0, 0, 0

    def tasks():
        nonlocal taken, most
        for i in range(60):
            taken += 1
            most = max(most, taken - handed)
            yield i, (i,)

    with pool(**place) as each:
        for _ in each.run(chunk_tasks.square, tasks()):
            handed += 1
            if handed < 4:
                threading.Event().wait(0.1)  # the caller is slow
    assert handed == 60
    assert most <= (2 if place == {"workers": 1} else 2 * 4 + 1)


@pytest.mark.parametrize("place", ["here", "processes"], indirect=True)
def test_an_error_of_the_source_is_raised(place):
    def tasks():
        yield 0, (0,)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"), pool(**place) as each:
        [*each.run(chunk_tasks.square, tasks())]


def test_a_context_of_joblib_decides_where_nothing_else_is_said(client):
    with joblib.parallel_config(n_jobs=2), pool() as each:
        assert each.remote and each.workers == 2
    with joblib.parallel_config("dask", client=client), pool() as each:
        assert each.client is client
        assert dict(each.run(chunk_tasks.square, [(3, (3,))])) == {3: 9}
    with joblib.parallel_config("threading", n_jobs=2), pool() as each:
        assert not each.remote
        assert dict(each.run(chunk_tasks.square, [(3, (3,)), (4, (4,))])) == {3: 9, 4: 16}
    with workers.using(2), pool() as each:
        assert each.workers == 2
    with workers.using(2), pool(1) as each:
        assert not each.remote
    with pool() as each:
        assert not each.remote


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"workers": 0}, ValueError, "`workers` must be an integer of at least 1. Received: 0"),
        ({"workers": "2"}, ValueError, "`workers` must be an integer"),
        ({"workers": 2, "cluster": "tcp://x:1"}, ValueError, "give one of them"),
        ({"cluster": "nowhere"}, ValueError, '`cluster` must be .*"tcp://host:8786".*nowhere'),
        ({"cluster": 3}, ValueError, "`cluster` must be .* Received: 3"),
        ({"cluster": "no://x:1"}, ConnectionError, "No Dask scheduler answers at no://x:1"),
    ],
)
def test_wrong_arguments(arguments, error, words):
    pytest.importorskip("distributed")
    with pytest.raises(error, match=words), pool(**arguments):
        pass


def test_dask_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = r"pip install 'ddim-embed\[dask\]'"
    with pytest.raises(ImportError, match=words), pool(cluster="tcp://host:8786"):
        pass


def test_the_words_of_many_failures():
    error = FailedChunksError([(f"images {i}", "ValueError: x") for i in range(12)] + [("b", "y")])
    assert str(error) == (
        f"13 chunks failed: {', '.join(f'images {i}' for i in range(10))} and 2 more "
        "(ValueError: x); b (y). All others are done."
    )
    assert "more" not in str(FailedChunksError([(f"images {i}", "x") for i in range(10)]))
