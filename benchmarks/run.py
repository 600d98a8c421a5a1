"""Times every piece of work for every contender, in turn, and says how they compare.

    python -m benchmarks.run                 # all; an hour or two
    python -m benchmarks.run --sizes 32x32x1 --pieces decode gradient --rounds 3

Each contender runs in a process of its own; the processes take turns (A B C A B C ...), so that
whatever else the machine does falls on all of them alike.
"""

import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import tyro
from tqdm import tqdm

from benchmarks.profile import table as profile_table
from benchmarks.work import PIECES, PRECISIONS, SIZES
from ddim_embed.store.atomic import replacing
from experiments.toolkit.results import commit

CONTENDERS = ("ours", "plain_keras", "pytorch")
LIMITS = ("convolutions", "convolutions_per_core")
MEMORY_STEPS = (10, 40)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time.

    Attributes:
        sizes: of networks and images.
        pieces: of work.
        rounds: turns that each contender gets.
        memory: whether to measure the peak memory of a training step with remat.
        profile: whether to measure where the time of our own decode and gradient goes.
        accuracy: whether to measure what bfloat16 costs the shipped networks in error.
        out: file of the results.
    """

    sizes: tuple[str, ...] = tuple(SIZES)
    pieces: tuple[str, ...] = PIECES
    rounds: int = 5
    memory: bool = True
    profile: bool = True
    accuracy: bool = True
    out: Path = Path("benchmarks/results.json")


class Worker:
    """A contender's process; see `benchmarks.worker`.

    Args:
        *words: of its command line; the contender and its precision.
        module: that is run.
        variables: dict of further variables of the environment.
    """

    def __init__(self, *words, module="benchmarks.worker", variables=None):
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | (variables or {}),
        )

    def ask(self, **request):
        """Sends a request and waits for its answer."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args[-2:]} stopped at {request}")
        return json.loads(answer)

    def close(self):
        """Ends the process and waits for it."""
        self._process.stdin.close()
        self._process.wait()


def time_piece(workers, piece, size, rounds, bar):
    """Times one piece of work at one size.

    Args:
        workers: dict from "<contender> <precision>" to `Worker`.
        piece, size: as in `benchmarks.work`.
        rounds: turns of each worker at each batch size.
        bar: a tqdm bar, moved by one per turn.

    Returns:
        Dict from the worker's name to images per second at its best batch size, that batch size,
        peak memory there, and the medians for all batch sizes.
    """
    results = {name: {"images_per_second": 0.0, "batches": {}} for name in workers}
    for batch in SIZES[size].batches:
        seconds, peaks = {name: [] for name in workers}, {}
        for _ in range(rounds):
            for name, worker in workers.items():
                answer = worker.ask(piece=piece, size=size, batch=batch, calls=1)
                seconds[name] += answer["seconds"]
                peaks[name] = answer["peak_mib"]
                bar.update()
        for name, result in results.items():
            rate = batch / statistics.median(seconds[name])
            result["batches"][str(batch)] = rate
            if rate > result["images_per_second"]:
                result |= {"images_per_second": rate, "batch": batch, "peak_mib": peaks[name]}
    return results


def measure_memory(size):
    """Peak memory of our embedding step with remat, per number of sampler steps, in MiB."""
    peaks = {}
    for num_steps in MEMORY_STEPS:
        worker = Worker("ours", "bfloat16")
        answer = worker.ask(
            piece="embedder_step",
            size=size,
            batch=SIZES[size].batches[-1],
            calls=1,
            arguments={"num_steps": num_steps, "remat": True},
        )
        worker.close()
        peaks[str(num_steps)] = answer["peak_mib"]
    return peaks


def main(options):
    """Times everything; writes the results, their plot and their table.

    The file is written after each piece of work, so that a run that is cut short has its share.
    What the file has from an earlier run, on the same machine with the same versions, stays.
    """
    jobs = {
        (size, piece): CONTENDERS + (LIMITS if piece == "decode" else ())
        for size in options.sizes
        for piece in options.pieces
    }
    turns = sum(len(names) * len(SIZES[size].batches) for (size, _), names in jobs.items())
    contents = _earlier(options.out) or {
        "machine": _machine(),
        "timings": {},
        "ratios": {},
        "made_by": {},
        "memory_with_remat_mib": {},
        "profiles": {},
        "reconstruction_errors": None,
    }
    made_by = {"commit": commit(), "rounds": options.rounds}
    with tqdm(
        total=turns * len(PRECISIONS) * options.rounds, desc="benchmarks", unit="call"
    ) as bar:
        for (size, piece), names in jobs.items():
            workers = {f"{name} {p}": Worker(name, p) for name in names for p in PRECISIONS}
            timed = time_piece(workers, piece, size, options.rounds, bar)
            for worker in workers.values():
                worker.close()
            contents["timings"].setdefault(size, {})[piece] = timed
            contents["ratios"].setdefault(size, {})[piece] = ratios(timed)
            contents["made_by"].setdefault(size, {})[piece] = made_by
            _save(options.out, contents)
    if options.memory:
        for size in options.sizes:
            contents["memory_with_remat_mib"][size] = measure_memory(size)
    if options.profile:
        from benchmarks.profile import PROFILED, profile  # TensorFlow, after the timing

        for name in options.sizes:
            size = SIZES[name]
            contents["profiles"][name] = {
                piece: profile(piece, size, size.batches[-1]) for piece in PROFILED
            }
    if options.accuracy:
        from benchmarks.accuracy import reconstruction_errors

        contents["reconstruction_errors"] = reconstruction_errors()
    _save(options.out, contents)
    plot(contents).savefig(options.out.with_suffix(".png"), dpi=100)
    print(table(contents))


def _earlier(path):
    """The contents of the file, if they are of this machine and these versions."""
    if not path.exists():
        return None
    contents = json.loads(path.read_text())
    return contents if contents["machine"] == _machine() and "made_by" in contents else None


def _save(path, contents):
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(contents, indent=2) + "\n")


def ratios(results):
    """Our best rate over each yardstick's, for one piece of work."""
    rates = {name: result["images_per_second"] for name, result in results.items()}
    ours = max(rate for name, rate in rates.items() if name.startswith("ours"))
    peers = [rate for name, rate in rates.items() if not name.startswith(("ours", *LIMITS))]
    found = {
        "over plain Keras float32": ours / rates["plain_keras float32"],
        "over the best peer": ours / max(peers),
    }
    limits = [rate for name, rate in rates.items() if name.startswith(LIMITS)]
    return found | ({"of the convolutions alone": ours / max(limits)} if limits else {})


def table(contents):
    """The results as text."""
    lines = []
    for size, pieces in contents["timings"].items():
        for piece, results in pieces.items():
            lines.append(f"{size} {piece}, images per second")
            for name, result in results.items():
                lines.append(
                    f"  {name:24}{result['images_per_second']:9.1f}  batch {result['batch']}"
                )
            for name, ratio in contents["ratios"][size][piece].items():
                lines.append(f"  ours {name:28}{ratio:6.2f}")
    for size, peaks in (contents["memory_with_remat_mib"] or {}).items():
        steps = ", ".join(f"{peak:.0f} MiB at {count} steps" for count, peak in peaks.items())
        few, many = (peaks[str(count)] for count in MEMORY_STEPS)
        lines.append(f"{size} training step with remat: {steps}; ratio {many / few:.2f}")
    for size, profiles in (contents["profiles"] or {}).items():
        lines.append(f"{size}\n{profile_table(profiles)}")
    for network, errors in (contents["reconstruction_errors"] or {}).items():
        words = ", ".join(f"{error:.6f} in {precision}" for precision, error in errors.items())
        lines.append(f"{network}: error {words}")
    return "\n".join(lines)


def plot(contents):
    """Bars of images per second: a panel for each piece of work and size."""
    from matplotlib.figure import Figure

    colours = {"ours": "#0072b2", "plain_keras": "#e69f00", "pytorch": "#999999"}
    sizes = contents["timings"]
    pieces = list(next(iter(sizes.values())))
    figure = Figure((3.6 * len(pieces), 2.6 * len(sizes)), layout="constrained")
    panels = figure.subplots(len(sizes), len(pieces), squeeze=False)
    for row, (size, timed) in zip(panels, sizes.items(), strict=True):
        for axes, (piece, results) in zip(row, timed.items(), strict=True):
            names = list(results)[::-1]
            rates = [results[name]["images_per_second"] for name in names]
            bars = axes.barh(
                [name.replace("_", " ") for name in names],
                rates,
                color=[colours.get(name.split()[0], "#ffffff") for name in names],
                edgecolor="#555555",
                linewidth=0.6,
            )
            axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
            axes.set_title(f"{piece.replace('_', ' ')}, {size}", fontsize=10)
            axes.tick_params(labelsize=8)
            axes.spines[["top", "right"]].set_visible(False)
            axes.margins(x=0.15)
    figure.supxlabel("images per second", fontsize=10)
    return figure


def _machine():
    versions = {}
    for package in ("tensorflow", "keras", "torch", "numpy"):
        from importlib import metadata

        versions[package] = metadata.version(package)
    flags, model = "", platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text()
        flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
        model = next((s for s in text.splitlines() if s.startswith("model name")), model)
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "processor": model.partition(":")[2].strip() or model,
        "instructions": [flag for flag in wanted if flag in flags.split()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
