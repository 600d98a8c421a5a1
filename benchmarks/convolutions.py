"""The machine's limit: the convolutions of a decode and nothing else, as oneDNN runs them."""

import torch
from torch.nn import functional

from benchmarks.work import NUM_STEPS, convolutions


def make(piece, size, batch, precision):
    """See `benchmarks.work`; `decode` only. All cores work on each convolution."""
    check(piece)
    return prepare(size, batch, precision)


def check(piece):
    """Refuses other pieces than `decode`."""
    if piece != "decode":
        raise ValueError(f"The limit is measured for `decode` only. Received: {piece!r}")


def prepare(size, batch, precision):
    """A function that runs the convolutions of a decode once."""
    dtype = getattr(torch, precision)
    prepared = []
    for kernel, pixels, before, after in convolutions(size):
        images = torch.randn(batch, before, pixels, pixels).to(dtype)
        weights = torch.randn(after, before, kernel, kernel).to(dtype)
        prepared.append(
            (
                images.to(memory_format=torch.channels_last),
                weights.to(memory_format=torch.channels_last),
                kernel // 2,
            )
        )

    def run():
        with torch.inference_mode():
            for _ in range(NUM_STEPS):
                for images, weights, padding in prepared:
                    functional.conv2d(images, weights, padding=padding)

    return run
