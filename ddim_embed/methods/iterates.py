"""What iterating methods share: the best latents of each image so far, and when it stops."""

import time
from typing import ClassVar

import numpy as np
import tensorflow as tf

from ddim_embed import arguments
from ddim_embed.methods.embedding import Trace
from ddim_embed.methods.protocol import Method, Solution

# An image improves if its error falls by this share within `patience` iterations.
IMPROVEMENT = 0.01


class Iterates:
    """Records the best iterate of each image, its cost, and which images still improve.

    An image stops when its error has not fallen by 1% in `patience` iterations. Its best iterate no
    longer changes, so that no result depends on the other images of the batch.
    """

    def __init__(self, count, patience, tick):
        self.running = np.ones(count, bool)
        self._patience, self._tick = patience, tick
        self._best, self._mse, self._least = None, np.full(count, np.inf), np.full(count, np.inf)
        # What an image must improve on, and the iteration at which it was reached.
        self._reference, self._since = np.full(count, np.inf), np.zeros(count, int)
        self._evaluations, self._trace, self.iterations = np.zeros(count), [], 0
        self._started = time.perf_counter()

    def update(self, latents, mse, evaluations, values=None):
        """Records one iterate of each image, its error and cost; returns whether any still runs.

        The best iterate is that of the least value, which is the error unless `values` are given.
        One that is NaN is no improvement.
        """
        mse = np.asarray(mse)
        values = mse if values is None else np.asarray(values)
        if self._best is None:
            self._best = np.array(latents)
        self._evaluations[self.running] += evaluations
        better = self.running & (values < self._least)
        if better.any():
            self._best[better] = np.asarray(latents)[better]
            self._mse[better], self._least[better] = mse[better], values[better]
        improved = self._least < (1 - IMPROVEMENT) * self._reference
        self._reference[improved], self._since[improved] = self._least[improved], self.iterations
        self.running &= self.iterations - self._since < self._patience
        seconds = (time.perf_counter() - self._started) / len(mse)
        row = self._evaluations.copy(), np.full(len(mse), seconds), self._mse.copy()
        self._trace.append(row)
        self.iterations += 1
        self._tick()
        return self.running.any()

    def solution(self):
        """The `Solution` of the best iterates, with a trace of about 100 rows at most."""
        every = -(-len(self._trace) // 100)
        rows = self._trace[:-1:every] + self._trace[-1:]
        return Solution(
            self._best, self._evaluations, Trace(*map(np.array, zip(*rows, strict=True)))
        )


class Iterative(Method):
    """A method that improves on latents `num_steps` times, with or without a mask."""

    refines: ClassVar[bool] = True
    takes_mask: ClassVar[bool] = True

    @property
    def ticks(self):
        return self.num_steps

    def _check_counts(self, *names):
        for name in names:
            arguments.integer(name, getattr(self, name))


def inner_product(a, b):
    """Inner products of two tensors, image by image: `(n, height, width, channels)` -> `(n,)`."""
    return tf.reduce_sum(a * b, axis=(1, 2, 3))


def expand_to_images(values):
    """One number per image as a factor of images: `(n,)` -> `(n, 1, 1, 1)`."""
    return values[:, None, None, None]
