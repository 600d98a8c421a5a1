"""20,000 images by two Dask workers, of which one is killed, beside one process: bytes and memory.

    .venv/bin/python -m benchmarks.many          # some minutes; writes benchmarks/many.json

A folder of files is embedded twice by `ddim-embed embed`: by one process, and on a cluster on
loopback whose second worker is killed for good after a third of the chunks. The memory of each
process is sampled as work goes on; the files of both runs are compared byte by byte.
"""

import contextlib
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
import tyro
from PIL import Image

import ddim_embed as de
from ddim_embed.store.atomic import sha256_of
from experiments.toolkit.results import commit

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("tensorflow", "keras", "numpy", "joblib", "distributed")
# Between two samples of memory.
_SECONDS = 0.5
# Parts of the work at which memory is reported.
_PARTS = (0.1, 0.25, 0.5, 0.75, 1.0)


@dataclasses.dataclass
class Options:
    """Options of the benchmark.

    Attributes:
        images: how many.
        chunk: images in a chunk.
        model, method, num_steps: as for `ddim-embed embed`.
        results: file to write; none for no file.
    """

    images: int = 20_000
    chunk: int = 250
    model: str = "fashion_mnist"
    method: str = "conv1"
    num_steps: int = 2
    results: Path | None = ROOT / "benchmarks" / "many.json"


def write_images(folder, count):
    """Writes the bundled images as PNG files, each shifted in as many ways as it takes."""
    pixels, _ = de.load_images("fashion_mnist", "test", source="sample")
    images = np.uint8(np.rint(255 * pixels[:, 2:-2, 2:-2, 0]))
    folder.mkdir()
    for number in range(count):
        turn, index = divmod(number, len(images))
        shifted = np.roll(images[index], divmod(turn, 5), (0, 1))
        Image.fromarray(shifted).save(folder / f"{number:06}.png")


@contextlib.contextmanager
def started(*words):
    """Runs a Python module in the background; it is ended with the block."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    process = psutil.Popen(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        process.wait()


def embed(options, source, out, flags=(), others=(), kill=None):
    """Runs the command to its end.

    Args:
        others: dict from names to further processes whose memory is sampled.
        kill: function that is called once a third of the chunks are there, or None.

    Returns:
        Dict: "seconds", and "memory", a list of dicts from the part that is done, and the names of
        processes, to MiB.
    """
    words = ["embed", source, "--model", options.model, "--num-steps", options.num_steps]
    words += ["--method", options.method, "--chunk", options.chunk, "--out", out, *flags]
    chunks, samples, began = -(-options.images // options.chunk), [], time.perf_counter()
    with started("ddim_embed", *words) as process:
        while process.poll() is None:
            done = len([*out.glob("*.npz")]) if out.exists() else 0
            if kill is not None and done > chunks / 3:
                kill()
                kill = None
            sample = {"done": done / chunks}
            for name, each in {"command": process, **dict(others)}.items():
                with contextlib.suppress(psutil.Error):
                    if size := each.memory_info().rss:  # 0 of one that was killed
                        sample[name] = size / 2**20
            samples.append(sample)
            time.sleep(_SECONDS)
        if process.returncode:
            raise RuntimeError(f"The command has failed: {words}")
    return {"seconds": time.perf_counter() - began, "memory": samples}


def at_parts(samples):
    """The memory of each process when parts of the work are done, and the most of all samples."""
    names = sorted({name for sample in samples for name in sample} - {"done"})
    table = {}
    for name in names:
        own = [(sample["done"], sample[name]) for sample in samples if name in sample]
        values = {f"{part:.0%}": None for part in _PARTS}
        for part in _PARTS:
            reached = [size for done, size in own if done >= part - 1e-9]
            values[f"{part:.0%}"] = round(reached[0]) if reached else None
        table[name] = values | {"most": round(max(size for _, size in own))}
    return table


def main(options):
    """Runs both, and compares them."""
    import distributed

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder / "in", options.images)
        one = embed(options, folder / "in", folder / "one")
        port = distributed.utils.open_port()
        address = f"tcp://127.0.0.1:{port}"
        scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port]
        worker = ["distributed.cli.dask_worker", address, "--nthreads", 1, "--no-nanny"]
        worker += ["--no-dashboard", "--local-directory", folder]
        with (
            started(*scheduler, "--no-dashboard") as scheduling,
            started(*worker) as first,
            started(*worker) as second,
        ):
            with distributed.Client(address, timeout=60) as client:
                client.wait_for_workers(2)
            others = {"scheduler": scheduling, "worker 1": first, "worker 2 (killed)": second}
            flags = ["--cluster", address]
            two = embed(options, folder / "in", folder / "two", flags, others, second.kill)
        names = sorted(path.name for path in (folder / "one").glob("*.npz"))
        sums = {
            run: [sha256_of(path) for path in sorted((folder / run).glob("*.npz"))]
            for run in ("one", "two")
        }
        found = de.open_embeddings(folder / "two")
        contents = {
            "images": len(found),
            "files": len(names),
            "same_bytes": sums["one"] == sums["two"],
            "mse": float(found.mse[:].mean()),
            "one process": {"seconds": one["seconds"], "memory": at_parts(one["memory"])},
            "two workers": {"seconds": two["seconds"], "memory": at_parts(two["memory"])},
            "options": {k: v for k, v in dataclasses.asdict(options).items() if k != "results"},
            "command": "python -m benchmarks.many",
            "commit": commit(),
            "machine": {"cores": os.cpu_count(), "system": platform.platform()},
            "versions": {"python": platform.python_version()}
            | {name: metadata.version(name) for name in _PACKAGES},
        }
    same = "the same bytes as" if contents["same_bytes"] else "other bytes than"
    print(f"{contents['images']:,} images in {contents['files']} files: {same} one process")
    row = "{:<30}" + "{:>8}" * (len(_PARTS) + 1)
    print(row.format("MiB when this is done", *(f"{part:.0%}" for part in _PARTS), "most"))
    for run in ("one process", "two workers"):
        print(f"{run}: {contents[run]['seconds']:.0f} s")
        for name, sizes in contents[run]["memory"].items():
            print(row.format(f"  {name}", *("" if v is None else v for v in sizes.values())))
    if options.results is not None:
        options.results.write_text(json.dumps(contents, indent=2) + "\n")
    return contents


if __name__ == "__main__":
    main(tyro.cli(Options))
