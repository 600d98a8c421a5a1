"""Chunks of work over processes and machines: joblib hands them out, here they are tried again.

joblib's backends are loky, processes of this machine, and Dask, workers of any number of machines.
An error, or the death of a worker, costs the chunks that were on it another try elsewhere: the
others go on. Chunks are taken from an iterable when workers are free, so that few are in memory.
"""

import contextlib
import dataclasses
import itertools
import os
import platform
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import joblib
from joblib.parallel import SequentialBackend, get_active_backend

from ddim_embed import arguments

# Chunks that have been taken and not handed on, for each worker: joblib sends two ahead and keeps
# one ready. More than that pile up only where results are taken slower than they are made.
_AHEAD = 4
# Chunks of one error that are named.
_NAMED = 10
# Seconds after which a cluster is asked whether it has grown.
_LOOK = 5
# Seconds for a cluster to answer.
_CONNECT = 10
# The cores of a worker process of loky; set by its initializer.
_share = None


@dataclasses.dataclass(frozen=True)
class Failure:
    """What stands for the result of a chunk that could not be computed.

    Attributes:
        reason: the error in a line.
        where: the process, or the Dask worker, where it was tried last; "" if that is not known.
        error: the exception, where it was raised in this process, else None.
    """

    reason: str
    where: str = ""
    error: Exception | None = None


class FailedChunksError(RuntimeError):
    """Chunks failed in every try; the results of all others are there.

    Attributes:
        failed: list of `(name, reason)`.

    Example:
        >>> error = de.FailedChunksError([("images 512 to 767", "MemoryError: out of memory")])
        >>> print(error)
        1 chunk failed: images 512 to 767 (MemoryError: out of memory). All others are done.
    """

    def __init__(self, failed: list[tuple[str, str]]):
        self.failed, by_reason = failed, {}
        for name, reason in failed:
            by_reason.setdefault(reason, []).append(name)
        words = "; ".join(
            f"{', '.join(names[:_NAMED])}{f' and {len(names) - _NAMED} more' * more} ({reason})"
            for reason, names in by_reason.items()
            for more in [len(names) > _NAMED]
        )
        count = "1 chunk" if len(failed) == 1 else f"{len(failed)} chunks"
        super().__init__(f"{count} failed: {words}. All others are done.")

    def __reduce__(self):
        return FailedChunksError, (self.failed,)


class Pool:
    """Where chunks are computed; made by `pool`.

    Attributes:
        remote: whether that is in other processes, to which everything must be sent.
    """

    remote = False

    def run(
        self, function: Callable, tasks: Iterable[tuple[Any, tuple]], retries: int = 2
    ) -> Iterator[tuple[Any, Any]]:
        """Computes `function(*arguments)` of all tasks.

        A task that fails is tried again before new ones are begun, in another process or on another
        Dask worker where there is one. When a process dies, all that were at work are tried again;
        the last try of each is alone, so that none is blamed for its neighbour.

        Args:
            function: of a module, if `remote`, not of a file that was run.
            tasks: pairs `(name, arguments)`, which may be an iterator; names stay here.
            retries: further tries of a task that fails.

        Yields:
            `(name, result)` in order of completion; the result is a `Failure` after the last try.
        """
        tasks = iter(tasks)
        while True:
            feed = _Feed(function, tasks, _AHEAD * self.size())
            failed = yield from self._round(feed)
            for number in range(retries):
                if not failed:
                    break
                again, failed = failed, []
                reasons = "; ".join(dict.fromkeys(failure.reason for _, failure in again))
                count = "A chunk is" if len(again) == 1 else f"{len(again)} chunks are"
                warnings.warn(f"{count} tried again: {reasons}", stacklevel=3)
                for group in [[one] for one in again] if number + 1 == retries else [again]:
                    others = iter([task for task, _ in group])
                    self.avoid([failure.where for _, failure in group])
                    while True:
                        feed_again = _Feed(function, others, None)
                        failed += yield from self._round(feed_again)
                        if feed_again.exhausted:
                            break
            yield from ((name, failure) for (name, _), failure in failed)
            if feed.exhausted:
                return

    def _round(self, feed):
        """Yields the results of a feed until it ends; returns a list of `(task, failure)`."""
        failed, size, asked = [], self.size(), time.monotonic()
        try:
            with (
                self.configured(),
                # joblib advises those who leave results unused: here it is an error, or Ctrl-C.
                _ignoring(".*tasks .*(executed|processed)", "Sending large graph"),
                contextlib.closing(_parallel()(feed)) as results,
            ):
                for number, result in results:
                    task = feed.pending.pop(number)
                    if isinstance(result, Failure):
                        failed.append((task, result))
                        feed.stop()
                        continue
                    yield task[0], result
                    # joblib looks at the size of a cluster where a round begins.
                    if time.monotonic() - asked > _LOOK:
                        asked = time.monotonic()
                        if self.size() > size:
                            feed.stop()
        except Exception as error:
            if not feed.pending or not self.remote:
                raise
            # Of joblib: a process was killed, or what it should compute cannot be sent to it.
            lost = Failure(_words(error))
            failed += [(task, lost) for task in feed.pending.values()]
        if feed.error is not None:
            raise feed.error
        return failed

    def size(self):
        """How many chunks can be computed at once."""
        with self.configured():
            return joblib.effective_n_jobs(None)

    def configured(self):
        """joblib's configuration for a round."""
        return contextlib.nullcontext()

    def avoid(self, places):
        """Computes elsewhere from here on, where that is possible."""


class _Loky(Pool):
    """Processes of this machine."""

    remote = True

    def __init__(self, workers):
        self.workers, self.generation = workers, 0

    def configured(self):
        # Another argument of the initializer makes new processes.
        arguments = max(1, cores() // self.workers), self.generation
        return joblib.parallel_config(
            "loky", n_jobs=self.workers, initializer=_start, initargs=arguments
        )

    def avoid(self, places):
        self.generation += 1


class _Dask(Pool):
    """Workers of a Dask cluster."""

    remote = True

    def __init__(self, client):
        self.client, self.options = client, {}
        if not client.ncores():
            warnings.warn("The Dask cluster has no worker yet: this waits for one.", stacklevel=4)
            client.wait_for_workers(1)

    def configured(self):
        return joblib.parallel_config(_dask_backend()(client=self.client, **self.options))

    def avoid(self, places):
        all_workers = {*self.client.ncores()}
        # Not where a worker has died: a task that waits for workers, of which none is left, would
        # not go to the ones that are started in their place.
        others = all_workers - {*places} if all_workers & {*places} else ()
        self.options = {"workers": [*others], "allow_other_workers": True} if others else {}


@contextlib.contextmanager
def pool(workers: int | None = None, cluster=None) -> Iterator[Pool]:
    """Gives the `Pool` of some arguments of a user.

    Args:
        workers: processes of this machine; 1 for this process itself. None for what
            `joblib.parallel_config` says around this call, else 1.
        cluster: the address of a Dask scheduler, "tcp://host:8786" for example, a
            `distributed.Client`, or None. It is instead of `workers`.

    Raises:
        ValueError: for other values, or both.
        ImportError: for a cluster, if Dask is not installed.
        ConnectionError: if no scheduler answers at the address.
    """
    if workers is not None:
        workers = arguments.integer("workers", workers)
    if cluster is not None:
        if workers not in (None, 1):
            raise ValueError(
                "`workers` are processes of this machine, a `cluster` has its own: give one of "
                f"them. Received: {workers} and {arguments.received(cluster)}"
            )
        with _client(cluster) as client:
            yield _Dask(client)
        return
    backend, count = get_active_backend()
    if workers is None and hasattr(backend, "client"):
        yield _Dask(backend.client)
        return
    local = type(backend).__name__ in ("LokyBackend", "SequentialBackend")
    if workers is None and not local:
        place = Pool()  # a backend of joblib's, or of the user's
        place.remote = not getattr(backend, "supports_sharedmem", False)
        yield place
        return
    if workers is None:
        workers = joblib.effective_n_jobs(count)
    yield _Loky(workers) if workers > 1 else _Here()


class _Here(Pool):
    """This process, one chunk after the other."""

    def configured(self):
        return joblib.parallel_config(SequentialBackend(), n_jobs=1)


@contextlib.contextmanager
def using(workers: int = 1, cluster=None) -> Iterator[None]:
    """Has joblib, and with it all work in chunks in this block, use workers or a cluster.

    Args and raises: as `pool`.
    """
    with pool(workers, cluster) as place, place.configured():
        yield


def threads() -> int | None:
    """Cores for this process where it is a worker; None where it is a program of its own."""
    if _share is not None:
        return _share
    worker = _dask_worker()
    return None if worker is None else worker.state.nthreads


def cores() -> int:
    """Cores that this process may use."""
    return joblib.cpu_count()


class _Feed:
    """Tasks as joblib takes them, in threads of its own: nothing is raised there.

    It ends where the tasks do, when something has failed, and when `most` wait to be handed on.
    """

    def __init__(self, function, tasks, most):
        self.function, self.tasks, self.most = function, tasks, most
        self.pending, self.exhausted, self.error = {}, False, None
        self._numbers, self._stopped = itertools.count(), False

    def stop(self):
        # Tasks that are tried again are few, and all are taken.
        self._stopped = self.most is not None

    def __iter__(self):
        while not self._stopped and (self.most is None or len(self.pending) < self.most):
            try:
                task = next(self.tasks)
            except StopIteration:
                self.exhausted = True
                return
            except BaseException as error:
                self.error = error
                return
            number = next(self._numbers)
            self.pending[number] = task
            yield joblib.delayed(_attempt)(self.function, number, task[1])


def _parallel():
    # Chunks of any length may take seconds: none waits for another one. Arrays go through pipes:
    # files of joblib's in shared memory would outlive a process that is killed.
    return joblib.Parallel(return_as="generator_unordered", batch_size=1, max_nbytes=None)


def _attempt(function, number, arguments):
    """What a worker computes: the result with its number, or why there is none."""
    try:
        return number, function(*arguments)
    except Exception as error:
        remote = threads() is not None
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f", {os.path.basename(last.filename)} line {last.lineno}" if remote else ""
        return number, Failure(_words(error) + place, _place(), None if remote else error)


def _words(error):
    if isinstance(error, BrokenProcessPool):  # which loky says in a paragraph
        codes = re.search(r"\{.*?\}", str(error))
        return f"its process died{f' of {codes[0][1:-1]}' if codes else ''}; too little memory?"
    if type(error).__name__ == "KilledWorker":
        return "the Dask workers that tried it died; too little memory?"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _place():
    worker = _dask_worker()
    return f"process {os.getpid()} of {platform.node()}" if worker is None else worker.address


def _start(share, generation):
    """The initializer of a process of loky."""
    global _share
    _share = share


def _dask_worker():
    if "distributed" not in sys.modules:  # then this is none
        return None
    from distributed import get_worker

    try:
        return get_worker()
    except ValueError:
        return None


@contextlib.contextmanager
def _client(cluster):
    try:
        import distributed
    except ImportError:
        raise ImportError(
            "A `cluster` needs Dask: pip install 'ddim-embed[dask]'", name="distributed"
        ) from None
    if isinstance(cluster, distributed.Client):
        yield cluster
        return
    if not isinstance(cluster, str) or "://" not in cluster:
        raise ValueError(
            '`cluster` must be the address of a Dask scheduler, "tcp://host:8786" for example, or '
            f"a `distributed.Client`. Received: {arguments.received(cluster)}"
        )
    try:
        client = distributed.Client(cluster, set_as_default=False, timeout=_CONNECT)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"No Dask scheduler answers at {cluster}: {_words(error)}. Start one with "
            "`dask scheduler`, and workers with `dask worker`."
        ) from None
    with client:
        yield client


def _dask_backend():
    """joblib's backend of Dask, but one that notices errors of tasks, and never works here.

    joblib 1.6 waits without end for a task that Dask gives up, as it does where a task has taken
    several workers with it, and computes in this process where a cluster has a single core.
    """
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        def submit(self, func, callback=None):
            future = super().submit(func, callback)
            ((_, (_, number, _), _),) = func.items  # a call of `_attempt`

            def lost(done):
                if (error := done.exception()) is not None:
                    callback(_Lost(number, error))

            future.add_done_callback(lost)
            return future

        def retrieve_result_callback(self, out):
            if isinstance(out, _Lost):
                return [(out.number, Failure(_words(out.error)))]
            return super().retrieve_result_callback(out)

        def effective_n_jobs(self, n_jobs):
            return max(2, super().effective_n_jobs(n_jobs))

    return Backend


@dataclasses.dataclass(frozen=True)
class _Lost:
    number: int
    error: BaseException


@contextlib.contextmanager
def _ignoring(*messages):
    with warnings.catch_warnings():
        for message in messages:
            warnings.filterwarnings("ignore", message)
        yield
