"""Seconds and memory of an edit through h beside those of a decode, in turns.

    python -m benchmarks.editing
    python -m benchmarks.editing --size 32x32x1 --batch 16 --rounds 3

An edit evaluates the lower half of the network once a step, and the upper half twice. Prints the
median seconds of a batch of each, their ratio, and the peak memory of a process that did it alone.
"""

import statistics
from typing import Literal

import tyro

from benchmarks.run import Worker
from benchmarks.work import SIZES

PIECES = ("decode", "edit")


def main(
    size: Literal[tuple(SIZES)] = "64x64x3",
    batch: int = 8,
    rounds: int = 5,
    precision: Literal["float32", "bfloat16"] = "float32",
):
    """Measures and prints.

    Args:
        size: of the network and its images.
        batch: images.
        rounds: turns that each piece gets.
        precision: of the network.
    """
    workers = {piece: Worker("ours", precision) for piece in PIECES}
    answers = {piece: [] for piece in PIECES}
    try:
        for _ in range(rounds):
            for piece, worker in workers.items():
                answers[piece].append(worker.ask(piece=piece, size=size, batch=batch, calls=1))
    finally:
        for worker in workers.values():
            worker.close()
    medians = {}
    for piece, found in answers.items():
        medians[piece] = statistics.median(one["seconds"][0] for one in found)
        peak = max(one["peak_mib"] for one in found)
        print(f"{piece}, {batch} images of {size}: {medians[piece]:.3f} s, {peak:,.0f} MiB at most")
    print(f"an edit takes {medians['edit'] / medians['decode']:.2f} times a decode")


if __name__ == "__main__":
    tyro.cli(main)
