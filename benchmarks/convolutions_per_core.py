"""The machine's limit if each core runs all convolutions of its own part of the batch."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch

from benchmarks import convolutions


def make(piece, size, batch, precision):
    """See `benchmarks.convolutions`."""
    convolutions.check(piece)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bounds = [batch * i // cores for i in range(cores + 1)]
    parts = [
        convolutions.prepare(size, end - start, precision)
        for start, end in itertools.pairwise(bounds)
        if end > start
    ]
    # PyTorch's number of threads is one of each thread.
    pool = ThreadPoolExecutor(len(parts), initializer=partial(torch.set_num_threads, 1))

    def run():
        list(pool.map(lambda part: part(), parts))

    return run
