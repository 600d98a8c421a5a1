"""What a GPU computes and how fast, with JAX; ten minutes at most, on a bare machine.

    KERAS_BACKEND=jax python -m benchmarks.gpu                # equality, then times
    KERAS_BACKEND=jax python -m benchmarks.gpu --size 32x32x1 --calls 5 --batch 4    # on a CPU

Compares decodes and latents of the shipped weights with those that a CPU computed, in float32, and
times each piece of work beside plain PyTorch, if that is installed, eager and by `torch.compile`.
Each contender runs in a process of its own, one after the other; the first call, which compiles, is
counted apart. Writes a JSON file and prints two tables in Markdown.
"""

import dataclasses
import importlib.util
import json
import os
import statistics
import time
from pathlib import Path

import tyro

from benchmarks.run import Worker
from benchmarks.work import PIECES, PRECISIONS
from ddim_embed.store.atomic import replacing

# Images of each piece of work at a time.
BATCHES = {
    "decode": 128, "gradient": 48, "embedder_step": 48, "denoiser_step": 128,
    "autoencoder_step": 64,
}  # fmt: skip
CONTENDERS = {
    "ours": ("ours_jax", {}),
    "PyTorch": ("pytorch", {"compiled": False}),
    "PyTorch, compiled": ("pytorch", {"compiled": True}),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compare and to time.

    Attributes:
        size: of networks and images.
        pieces: of work.
        precisions: of convolutions.
        calls: timed calls of each piece.
        batch: images at a time; None for what suits a GPU.
        seconds: after so many no further piece is begun.
        equality: whether shipped weights are compared with what a CPU computed.
        out: file of the results.
    """

    size: str = "64x64x3"
    pieces: tuple[str, ...] = (*PIECES, "autoencoder_step")
    precisions: tuple[str, ...] = PRECISIONS
    calls: int = 10
    batch: int | None = None
    seconds: float = 480.0
    equality: bool = True
    out: Path = Path("results/gpu.json")


def equality():
    """The largest differences from a CPU's values: a list of dicts, one for each data set here.

    `decode` is of pixels in about [0, 1], `latents` of the networks' latents, of deviation 1.
    """
    import jax
    import numpy as np

    import ddim_embed as de
    from tests.golden_values import DATA, FILE, some

    jax.config.update("jax_default_matmul_precision", "highest")
    golden, rows = dict(np.load(FILE)), []
    for name in DATA:
        try:
            generator = de.load_generator(name)
            networks = {network: de.load_embedder(name, network) for network in de.NETWORKS}
        except FileNotFoundError as error:
            print(f"Left out: {name}. {error}")
            continue
        decoded = np.asarray(generator.decode(generator.latents(2, seed=0)))
        row = {"name": name, "decode": float(abs(some(decoded) - golden[f"{name}/decode"]).max())}
        normalized = generator.normalizer(decoded.clip(0, 1))
        row["latents"] = max(
            float(abs(some(network(normalized)) - golden[f"{name}/{key}/latents"]).max())
            for key, network in networks.items()
        )
        rows.append(row)
    return rows


def times(options):
    """Images a second, and the seconds of the first call: a list of dicts."""
    device = "cuda" if _device() == "gpu" else "cpu"
    started, rows = time.monotonic(), []
    for precision in options.precisions:
        for piece in options.pieces:
            batch = options.batch or BATCHES[piece]
            for name, (module, arguments) in CONTENDERS.items():
                if module == "pytorch" and importlib.util.find_spec("torch") is None:
                    continue
                if time.monotonic() - started > options.seconds:
                    print(f"Left out for want of time: {piece}, {precision}, {name}.")
                    continue
                row = {"piece": piece, "precision": precision, "name": name, "batch": batch}
                worker = Worker(module, precision)
                try:
                    answer = worker.ask(
                        piece=piece,
                        size=options.size,
                        batch=batch,
                        calls=options.calls,
                        arguments=arguments | ({"device": device} if arguments else {}),
                    )
                except RuntimeError as error:
                    print(f"Left out: {piece}, {precision}, {name}: {error}")
                    continue
                finally:
                    worker.close()
                row["images_per_second"] = batch / statistics.median(answer["seconds"])
                row["first_seconds"] = answer["first_seconds"]
                rows.append(row)
                print(json.dumps(row), flush=True)
    return rows


def table(contents):
    """The results as Markdown."""
    lines = [
        f"{contents['device']}, {contents['size']}",
        "",
        "| weights | largest difference of a pixel | of a latent |",
        "|---|---|---|",
        *(f"| {r['name']} | {r['decode']:.1e} | {r['latents']:.1e} |" for r in contents["equal"]),
        "",
        "| work | images at a time | precision | " + " | ".join(CONTENDERS) + " | ratio |",
        "|---" * (4 + len(CONTENDERS)) + "|",
    ]
    found = {(r["piece"], r["precision"], r["name"]): r for r in contents["times"]}
    for piece, precision in dict.fromkeys((p, q) for p, q, _ in found):
        rows = {name: found.get((piece, precision, name)) for name in CONTENDERS}
        rates = {name: row["images_per_second"] for name, row in rows.items() if row}
        cells = [
            f"{row['images_per_second']:,.1f} ({row['first_seconds']:.0f} s)" if row else "-"
            for row in rows.values()
        ]
        peers = [rate for name, rate in rates.items() if name != "ours"]
        ratio = f"{rates['ours'] / max(peers):.2f}" if peers and "ours" in rates else "-"
        batch = next(row["batch"] for row in rows.values() if row)
        words = [piece.replace("_", " "), str(batch), precision, *cells, ratio]
        lines.append(f"| {' | '.join(words)} |")
    lines += ["", "Images a second (seconds of the first call); ratio: ours over the best PyTorch."]
    return "\n".join(lines)


def _device():
    import jax

    return jax.default_backend()


def main(options):
    """Compares, times, writes and prints."""
    if os.environ.get("KERAS_BACKEND") != "jax":
        raise SystemExit("Set KERAS_BACKEND=jax: this compares the library on JAX with PyTorch.")
    # JAX would take most of a GPU's memory, which the processes share.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    contents = {
        "device": jax.devices()[0].device_kind,
        "size": options.size,
        "versions": {"jax": jax.__version__},
        "equal": equality() if options.equality else [],
        "times": times(options),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(options.out) as temporary:
        temporary.write_text(json.dumps(contents, indent=2) + "\n")
    print(table(contents))


if __name__ == "__main__":
    main(tyro.cli(Options))
