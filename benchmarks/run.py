"""Times every piece of work for every contender, in turn, and says how they compare.

    python -m benchmarks.run                 # all; about half an hour
    python -m benchmarks.run --sizes 32x32x1 --pieces decode gradient --rounds 3

Each contender runs in a process of its own; the processes take turns (A B C A B C ...), so that
whatever else the machine does falls on all of them alike.
"""

import dataclasses
import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import tyro
from tqdm import tqdm

from benchmarks.work import PIECES, PRECISIONS, SIZES

CONTENDERS = ("ours", "plain_keras", "pytorch")
LIMIT = "convolutions"
MEMORY_STEPS = (10, 40)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time.

    Attributes:
        sizes: of networks and images.
        pieces: of work.
        rounds: turns that each contender gets.
        memory: whether to measure the peak memory of a training step with remat.
        out: file of the results.
    """

    sizes: tuple[str, ...] = tuple(SIZES)
    pieces: tuple[str, ...] = PIECES
    rounds: int = 5
    memory: bool = True
    out: Path = Path("benchmarks/results.json")


class Worker:
    """A contender's process; see `benchmarks.worker`."""

    def __init__(self, contender, precision):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", contender, precision],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
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


def time_piece(piece, size, rounds, bar):
    """Times one piece of work at one size.

    Returns:
        Dict from "<contender> <precision>" to images per second at its best batch size, that batch
        size, and the medians for all of them.
    """
    names = [(c, p) for c in CONTENDERS for p in PRECISIONS]
    if piece == "decode":
        names += [(LIMIT, p) for p in PRECISIONS]
    results = {" ".join(name): {"images_per_second": 0.0, "batches": {}} for name in names}
    for batch in SIZES[size].batches:
        workers = {" ".join(name): Worker(*name) for name in names}
        seconds = {name: [] for name in workers}
        for _ in range(rounds):
            for name, worker in workers.items():
                answer = worker.ask(piece=piece, size=size, batch=batch, calls=1)
                seconds[name] += answer["seconds"]
                results[name]["peak_mib"] = max(
                    answer["peak_mib"], results[name].get("peak_mib", 0.0)
                )
                bar.update()
        for name, worker in workers.items():
            worker.close()
            rate = batch / statistics.median(seconds[name])
            results[name]["batches"][str(batch)] = rate
            if rate > results[name]["images_per_second"]:
                results[name] |= {"images_per_second": rate, "batch": batch}
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
    """Times everything and writes the results and their table."""
    per_size = {
        size: sum(
            (len(CONTENDERS) + (piece == "decode")) * len(PRECISIONS) for piece in options.pieces
        )
        * len(SIZES[size].batches)
        * options.rounds
        for size in options.sizes
    }
    with tqdm(total=sum(per_size.values()), desc="benchmarks", unit="call") as bar:
        timings = {
            size: {piece: time_piece(piece, size, options.rounds, bar) for piece in options.pieces}
            for size in options.sizes
        }
    contents = {
        "machine": _machine(),
        "rounds": options.rounds,
        "timings": timings,
        "ratios": {
            size: {piece: ratios(results) for piece, results in pieces.items()}
            for size, pieces in timings.items()
        },
        "memory_with_remat_mib": (
            {size: measure_memory(size) for size in options.sizes} if options.memory else None
        ),
    }
    temporary = options.out.with_suffix(".tmp")
    temporary.write_text(json.dumps(contents, indent=2) + "\n")
    temporary.replace(options.out)
    print(table(contents))


def ratios(results):
    """Our best rate over each yardstick's, for one piece of work."""
    rates = {name: result["images_per_second"] for name, result in results.items()}
    ours = max(rate for name, rate in rates.items() if name.startswith("ours"))
    peers = [r for name, r in rates.items() if not name.startswith(("ours", LIMIT))]
    found = {
        "over plain Keras float32": ours / rates["plain_keras float32"],
        "over the best peer": ours / max(peers),
    }
    limits = [rate for name, rate in rates.items() if name.startswith(LIMIT)]
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
    return "\n".join(lines)


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
