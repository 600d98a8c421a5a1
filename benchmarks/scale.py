"""What embedding costs, and how cost and memory grow: with resolution, steps, batch and processes.

    python -m benchmarks.scale                         # about ten minutes on two free cores
    python -m benchmarks.scale --smoke                 # tiny sizes; results/scale.json
    python -m benchmarks.scale --parts costs --methods decode lbfgs
    python -m benchmarks.scale_page                    # writes the tables of docs/scale.md

Writes `scale.json` after each measurement, and goes on from it: what is measured there on the same
machine, at the same sizes, is not measured again. Each method has a process of its own; so has each
measurement of memory. What is compared takes turns (A B C A B C ...), so that whatever else the
machine does falls on all alike. `benchmarks.scale_work` has what is measured.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import platform
import socket
import statistics
import time
from importlib import metadata
from pathlib import Path

import tyro

from benchmarks.run import Worker
from benchmarks.scale_work import CASES
from ddim_embed.store.atomic import replacing
from experiments.toolkit.results import commit

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("costs", "memory", "processes", "training", "reading")
_PACKAGES = ("tensorflow", "keras", "numpy", "joblib")

# Points differ from `base` in one factor at a time. The paper's generator and a larger image are
# measured at the base alone.
FULL = {
    "widths": [16, 24, 32],
    "block_depth": 1,
    "channels": 3,
    "base": {"resolution": 64, "steps": 10, "batch": 4},
    "resolutions": [32, 64, 128],
    "largest": 256,
    "steps": [5, 10, 20, 40],
    "batches": [1, 4, 16, 64],
    "paper": {"widths": [48, 96, 192, 384], "block_depth": 2},
    "memory": {"resolution": 64, "batch": 16, "steps": [2, 5, 10, 20]},
    "memory_of_large": {"resolution": 256, "batch": 1, "steps": [10]},
    "processes": {
        "method": "correction", "resolution": 64, "steps": 10, "images": 48, "chunk": 8,
        "rounds": 2,
    },
    "training": {
        "embedder": {"resolution": 64, "steps": 10, "batch": 8, "count": 3, "rounds": 3},
        "denoiser": {
            "resolution": 32, "steps": 1, "batch": 16, "count": 4, "rounds": 3,
            "widths": [32, 64, 96, 128], "block_depth": 2,
        },
    },
    "reading": {"resolutions": [64, 256], "images": 512},
}  # fmt: skip
SMOKE = {
    "widths": [4, 8],
    "block_depth": 1,
    "channels": 3,
    "base": {"resolution": 16, "steps": 2, "batch": 2},
    "resolutions": [8, 16],
    "largest": 32,
    "steps": [1, 2],
    "batches": [1, 2],
    "paper": {"widths": [8, 16], "block_depth": 1},
    "memory": {"resolution": 16, "batch": 2, "steps": [1, 2]},
    "memory_of_large": {"resolution": 32, "batch": 1, "steps": [1]},
    "processes": {
        "method": "ddim_inversion", "resolution": 16, "steps": 2, "images": 8, "chunk": 4,
        "rounds": 1,
    },
    "training": {
        "embedder": {"resolution": 16, "steps": 2, "batch": 4, "count": 2, "rounds": 1},
        "denoiser": {
            "resolution": 16, "steps": 1, "batch": 4, "count": 2, "rounds": 1,
            "widths": [4, 8], "block_depth": 1,
        },
    },
    "reading": {"resolutions": [16, 32], "images": 8},
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        smoke: whether sizes are tiny, to see that all of it runs.
        parts: of the benchmark.
        methods: whose cost is measured.
        out: file of the results; None for `benchmarks/scale.json`, or `results/scale.json` of a
            smoke run.
    """

    smoke: bool = False
    parts: tuple[str, ...] = PARTS
    methods: tuple[str, ...] = tuple(CASES)
    out: Path | None = None

    @property
    def path(self):
        """The file of the results."""
        return self.out or ROOT / ("results" if self.smoke else "benchmarks") / "scale.json"


class Results:
    """The measurements so far, by name, in a file that has each of them at once."""

    def __init__(self, path, contents):
        self.path, self.contents = path, contents
        if path.exists():
            earlier = json.loads(path.read_text())
            if all(earlier.get(key) == contents[key] for key in ("machine", "versions", "setup")):
                self.contents["measurements"] = earlier["measurements"]

    def missing(self, names):
        """Those of some names that are not measured yet."""
        return [name for name in names if name not in self.contents["measurements"]]

    def add(self, name, values, seconds):
        """Adds a measurement, writes the file, and prints a line."""
        took = {"commit": commit(), "took": round(seconds, 1)}
        self.contents["measurements"][name] = values | took
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            temporary.write_text(_text(self.contents))
        words = ", ".join(f"{key} {_brief(value)}" for key, value in values.items())
        print(f"{name}: {words} ({seconds:.0f} s)", flush=True)


def _brief(value):
    return f"{value:.4g}" if isinstance(value, float) else value


def _text(contents):
    """JSON with a line for each measurement."""
    measured = contents["measurements"]
    lines = [f"    {json.dumps(name)}: {json.dumps(values)}" for name, values in measured.items()]
    rest = json.dumps(contents | {"measurements": {}}, indent=2)
    return rest.replace('"measurements": {}', '"measurements": {\n' + ",\n".join(lines) + "\n  }")


@contextlib.contextmanager
def workers(*cores, variables=None):
    """Processes of `benchmarks.scale_work`, each on a core by its number, or None for all cores.

    Gives a function that asks all of them at once, and returns their answers.
    """
    variables = variables or [{}] * len(cores)
    own = [
        Worker(*([] if core is None else [str(core)]), module="benchmarks.scale_work", variables=v)
        for core, v in zip(cores, variables, strict=True)
    ]
    try:
        with concurrent.futures.ThreadPoolExecutor(len(own)) as threads:

            def ask(**request):
                answers = [*threads.map(lambda worker: worker.ask(**request), own)]
                for answer in answers:
                    if "error" in answer:
                        raise RuntimeError(answer["error"])
                return answers

            yield ask
    finally:
        for worker in own:
            worker.close()


def cost_points(setup, method):
    """Name -> request of the points at which the cost of a method is measured."""
    case, base = CASES[method], setup["base"]
    resolutions = setup["resolutions"] + [setup["largest"]] * case.largest
    points = [base | {"resolution": resolution} for resolution in resolutions]
    points += [base | {"steps": steps} for steps in setup["steps"] if case.sampler]
    points += [base | {"batch": batch} for batch in setup["batches"] if batch <= case.most]
    named = {
        "{resolution}x{resolution}, {steps} steps, batch {batch}".format(**point): point
        for point in points
    }
    return {
        f"cost of {method}, {name}": point | {"method": method} for name, point in named.items()
    }


def measure_costs(setup, results, methods):
    """Seconds an image of each method, and of a decode by a generator of the paper's sizes."""
    for method in methods:
        points = cost_points(setup, method)
        if method == "decode":
            points["cost of decode, the paper's sizes"] = (
                setup["base"] | {"method": "decode"} | setup["paper"]
            )
        names = results.missing(points)
        if not names:
            continue
        with workers(None) as ask:
            for name in names:
                began = time.perf_counter()
                (answer,) = ask(measure="cost", setup=setup, **points[name])
                results.add(name, points[name] | answer, time.perf_counter() - began)


def memory_points(setup):
    """Name -> request of the measurements of memory."""
    points = {}
    for part in ("memory", "memory_of_large"):
        size = setup[part]
        for steps in size["steps"]:
            for remat in (False, True):
                name = f"memory at {size['resolution']}x{size['resolution']}, {steps} steps"
                points[name + (", remat" if remat else "")] = {
                    "resolution": size["resolution"], "batch": size["batch"], "steps": steps,
                    "remat": remat,
                }  # fmt: skip
    return points


def measure_memory(setup, results):
    """Peak memory of a training step, each in a new process."""
    points = memory_points(setup)
    for name in results.missing(points):
        began = time.perf_counter()
        with workers(None) as ask:
            (answer,) = ask(measure="memory", setup=setup, **points[name])
        results.add(name, points[name] | answer, time.perf_counter() - began)


def take_turns(arms, rounds):
    """Calls functions in turns, after one call of each that compiles; returns lists of answers."""
    for call in arms.values():
        call()
    answers = {name: [] for name in arms}
    for _ in range(rounds):
        for name, call in arms.items():
            answers[name].append(call())
    return answers


PROCESSES = ("one core", "one process, two cores", "two workers of one core")


def measure_processes(setup, results):
    """Images a second of `embed_many`: on one core, by one process, by two workers of loky."""
    name = "embed_many"
    if not results.missing([name]):
        return
    request, began = dict(setup["processes"]), time.perf_counter()
    rounds = request.pop("rounds")
    with workers(0) as one, workers(None) as both, workers(None) as two:

        def arm(ask, count):
            return lambda: ask(measure="embed_many", setup=setup, workers=count, **request)[0]

        arms = dict(zip(PROCESSES, (arm(one, 1), arm(both, 1), arm(two, 2)), strict=True))
        answers = take_turns(arms, rounds)
    rates = {
        arm: request["images"] / statistics.median(answer["seconds"] for answer in found)
        for arm, found in answers.items()
    }
    values = request | {"images_per_second": rates}
    values["bytes_an_image"] = answers[PROCESSES[0]][0]["bytes_an_image"]
    results.add(name, values, time.perf_counter() - began)


TRAINING = ("one core", "one core, half the batch", "two workers of one core")


def measure_training(setup, results):
    """Seconds of a training step on one core, and by two workers that share the same batch."""
    for piece, request in setup["training"].items():
        name = f"training, {piece}"
        if not results.missing([name]):
            continue
        request, began = dict(request), time.perf_counter()
        rounds, half = request.pop("rounds"), request["batch"] // 2
        with (
            workers(0) as one,
            workers(0) as other,
            workers(0, 1, variables=_cluster(2)) as two,
        ):

            def arm(ask, strategy, batch, piece=piece, request=request):
                own = request | {"batch": batch}
                return lambda: ask(
                    measure="training", setup=setup, piece=piece, strategy=strategy, **own
                )

            calls = (
                arm(one, "one", request["batch"]),
                arm(other, "one", half),
                arm(two, "multi-worker", request["batch"]),
            )
            answers = take_turns(dict(zip(TRAINING, calls, strict=True)), rounds)
        seconds = {
            arm: statistics.median(s for (chief, *_) in found for s in chief["seconds"])
            for arm, found in answers.items()
        }
        chief = answers[TRAINING[2]][-1][0]
        values = request | {"seconds": seconds}
        values |= {key: value for key, value in chief.items() if key != "seconds"}
        results.add(name, values, time.perf_counter() - began)


def _cluster(count):
    """The environments of processes on loopback that train together."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports.append(listening.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})}
        for index in range(count)
    ]


def measure_reading(setup, results):
    """Images a second that one process reads."""
    for resolution in setup["reading"]["resolutions"]:
        name = f"reading {resolution}x{resolution}"
        if not results.missing([name]):
            continue
        began = time.perf_counter()
        request = {"resolution": resolution, "images": setup["reading"]["images"]}
        with workers(None) as ask:
            (answer,) = ask(measure="reading", setup=setup, **request)
        results.add(name, request | answer, time.perf_counter() - began)


def machine():
    """The processor, its cores, and the system."""
    model, cpuinfo = platform.processor(), Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line for line in lines if line.startswith("model name")), model)
    return {
        "processor": model.partition(":")[2].strip() or model,
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
    }


def main(options):
    """Measures what is missing; returns the contents of the file."""
    setup = SMOKE if options.smoke else FULL
    versions = {name: metadata.version(name) for name in _PACKAGES}
    contents = {
        "command": "python -m benchmarks.scale" + (" --smoke" if options.smoke else ""),
        "smoke": options.smoke,
        "machine": machine(),
        "versions": {"python": platform.python_version()} | versions,
        "setup": setup,
        "measurements": {},
    }
    results = Results(options.path, contents)
    measures = {
        "costs": lambda: measure_costs(setup, results, options.methods),
        "memory": lambda: measure_memory(setup, results),
        "processes": lambda: measure_processes(setup, results),
        "training": lambda: measure_training(setup, results),
        "reading": lambda: measure_reading(setup, results),
    }
    for part in options.parts:
        measures[part]()
    return results.contents


if __name__ == "__main__":
    main(tyro.cli(Options))
