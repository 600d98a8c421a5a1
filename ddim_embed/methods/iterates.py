"""What methods that iterate share: the best latents of each image so far, and when it stops."""

import time

import numpy as np
import tensorflow as tf

from ddim_embed.methods.protocol import Found

# An error that falls by less than this share within `patience` iterations is not improving.
IMPROVEMENT = 0.01


class Iterates:
    """Keeps the best of the iterates of each image, what they cost, and who still improves.

    Args:
        count: the number of images.
        patience: iterations after which an image stops whose error has not fallen by 1%.
        tick: called after each iteration.

    Attributes:
        running: bool `(count,)`; the best of an image that has stopped no longer changes, so that
            nothing depends on the others of its batch.
        iterations: how many were taken in.
    """

    def __init__(self, count, patience, tick):
        self.running = np.ones(count, bool)
        self._patience, self._tick = patience, tick
        self._best, self._mse = None, np.full(count, np.inf)
        self._mark, self._since = np.full(count, np.inf), np.zeros(count, int)
        self._evaluations, self._trace, self.iterations = np.zeros(count), [], 0
        self._started = time.perf_counter()

    def update(self, latents, mse, evaluations):
        """Takes an iterate of each image.

        Args:
            latents: tensor `(count, height, width, channels)`.
            mse: tensor `(count,)`, their errors. One that is not a number is no improvement.
            evaluations: what this iterate cost.

        Returns:
            Whether any image goes on.
        """
        mse = np.asarray(mse)
        if self._best is None:
            self._best = np.array(latents)
        self._evaluations[self.running] += evaluations
        better = self.running & (mse < self._mse)
        if better.any():
            self._best[better] = np.asarray(latents)[better]
            self._mse[better] = mse[better]
        improved = self._mse < (1 - IMPROVEMENT) * self._mark
        self._mark[improved], self._since[improved] = self._mse[improved], self.iterations
        self.running &= self.iterations - self._since < self._patience
        seconds = time.perf_counter() - self._started
        self._trace.append((self._evaluations.copy(), seconds, self._mse.copy()))
        self.iterations += 1
        self._tick()
        return self.running.any()

    def found(self):
        """The `Found` of the best iterates, with a trace of about 100 rows at most."""
        every = -(-len(self._trace) // 100)
        trace = self._trace[:-1:every] + self._trace[-1:]
        return Found(self._best, self._evaluations, trace)


def check_counts(method, *names):
    """Raises a ValueError if an option of a method, of those named, is less than 1."""
    for name in names:
        if getattr(method, name) < 1:
            raise ValueError(f"`{name}` must be at least 1. Received: {getattr(method, name)}")


def dot(a, b):
    """Scalar products of two tensors, image by image: `(n, height, width, channels)` -> `(n,)`."""
    return tf.reduce_sum(a * b, axis=(1, 2, 3))


def wide(values):
    """One number per image, to multiply images by: `(n,)` -> `(n, 1, 1, 1)`."""
    return values[:, None, None, None]
