"""The simplest prior of semantic vectors: a Gaussian, fitted in closed form."""

from typing import Self

import numpy as np

from ddim_embed import arguments
from ddim_embed.memory import require_memory
from ddim_embed.process import noise

# With fewer vectors than this for each dimension, a covariance has too much of their chance in it.
_FEW = 10
# Of the random numbers: not that of the images' latents, which have the same seed in a sample.
STREAM = -2


class GaussianPrior:
    """The baseline of `SemanticPrior`: what mean and covariance alone say of vectors.

    `fit` sets:

    Attributes:
        mean_: float64 array `(dims,)`.
        covariance_: float64 array `(dims, dims)`: the unbiased covariance; of fewer than 10 vectors
            a dimension, that of the standardised vectors is shrunk as Ledoit and Wolf (2004) do.
        shrinkage_: how much, from 0 to 1; 0 where it is not.

    Example:
        >>> vectors = np.random.default_rng(0).normal([1, -1], [2, 0.5], size=(5000, 2))
        >>> samples = de.GaussianPrior().fit(vectors).sample(5000, seed=1)
        >>> samples.mean(axis=0).round(1), samples.std(axis=0).round(1)
        (array([ 1., -1.], dtype=float32), array([2. , 0.5], dtype=float32))
    """

    def fit(self, vectors: np.ndarray) -> Self:
        """Fits mean and covariance to vectors.

        Args:
            vectors: float, `(n, dims)`, n at least 2.

        Returns:
            The prior itself.

        Raises:
            ValueError: for another shape, or values that are not finite.
        """
        vectors = arguments.finite_array("vectors", vectors, np.float64)
        if vectors.ndim != 2 or len(vectors) < 2 or not vectors.shape[1]:
            raise ValueError(
                "`vectors` must have shape (n, dims), n at least 2. "
                f"Received shape: {vectors.shape}"
            )
        self.mean_ = vectors.mean(axis=0)
        self.covariance_ = np.atleast_2d(np.cov(vectors, rowvar=False))
        self.shrinkage_ = 0.0
        if len(vectors) < _FEW * vectors.shape[1]:
            from sklearn.covariance import ledoit_wolf

            # Of standardised vectors: it shrinks towards one variance for all dimensions.
            deviation = np.sqrt(np.diag(self.covariance_))
            scale = np.where(deviation > 0, deviation, 1)
            shrunk, self.shrinkage_ = ledoit_wolf((vectors - self.mean_) / scale)
            self.covariance_ = shrunk * np.outer(deviation, deviation)
        return self

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Samples n vectors.

        Args:
            n: how many, at least 1.
            seed: integer from 0 to 2**63 - 1; vector i is a function of it and i.

        Returns:
            float32 array `(n, dims)`.

        Raises:
            ValueError: for anything else, or more vectors than memory holds.
        """
        n, seed = arguments.integer("n", n), arguments.seed(seed)
        dims = len(self.mean_)
        require_memory(16 * n * dims, f"{n:,} vectors of {dims} dimensions")
        latents = noise.normal((n, dims), noise.seed_words(seed, STREAM), numpy=True)
        # A covariance of fewer vectors than dimensions has no Cholesky root.
        values, axes = np.linalg.eigh(self.covariance_)
        root = axes * np.sqrt(np.maximum(values, 0))
        return (self.mean_ + latents @ root.T).astype(np.float32)
