"""What embedding returns: latents, their certified error, and what they cost."""

import dataclasses
from collections.abc import Sequence

import numpy as np

# A peak signal-to-noise ratio of 30 dB: below it a reconstruction visibly differs.
CONVERGED_MSE = 1e-3


@dataclasses.dataclass(frozen=True)
class Trace:
    """How the error of each image falls while a method runs: arrays of one shape, `(k, n)`.

    Attributes:
        evaluations: network evaluations so far; a gradient counts as what it costs.
        seconds: wall time so far, divided by the number of images of the batch.
        mse: error of the best latents so far, as `Embedding.mse`.
    """

    evaluations: np.ndarray
    seconds: np.ndarray
    mse: np.ndarray


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Latents of images, with their reconstruction, error and cost.

    Attributes:
        latents: float32 `(n, height, width, channels)`.
        reconstruction: the latents decoded in float32; pixels of the same shape, not clipped.
        mse: error of each image, from clipped pixels in float64, `(n,)`; padding does not count,
            nor do the free pixels of a mask.
        evaluations: network evaluations of each image, `(n,)`; a gradient counts as what it costs.
        seconds: wall time of the embedding, without the final decode.
        trace: a `Trace`, or None for methods that do not iterate.
        partner: the second latents of a coupled method, or None. With a partner, `reconstruction`
            and `mse` belong to the pair, decoded by the method's own sampler.
        single_mse: of a coupled method, the error where the generator decodes `latents` alone.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> result = de.embed(generator, generator.sample(2).clip(0, 1), "ddim_inversion")
        >>> result.latents.shape, result.mse.shape, result.evaluations.tolist()
        ((2, 32, 32, 1), (2,), [2.0, 2.0])
    """

    latents: np.ndarray
    reconstruction: np.ndarray
    mse: np.ndarray
    evaluations: np.ndarray
    seconds: float
    trace: Trace | None = None
    partner: np.ndarray | None = None
    single_mse: np.ndarray | None = None

    @property
    def converged(self) -> np.ndarray:
        """Whether each image's `mse` is at most `CONVERGED_MSE` (30 dB), bool `(n,)`.

        The same criterion for every method, whatever made it stop.
        """
        return self.mse <= CONVERGED_MSE

    @property
    def latents_mean(self) -> np.ndarray:
        """Mean of each image's latents, `(n,)`; 0 in expectation if they are Gaussian."""
        return self.latents.mean(axis=(1, 2, 3))

    @property
    def latents_std(self) -> np.ndarray:
        """Standard deviation of each image's latents, `(n,)`; 1 in expectation if Gaussian."""
        return self.latents.std(axis=(1, 2, 3))


def concatenate(parts: Sequence[Embedding]) -> Embedding:
    """Joins embeddings of several batches by one method into one, in their order.

    Where traces differ in length, the last row of the shorter is repeated.
    """
    if len(parts) == 1:
        return parts[0]
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("latents", "reconstruction", "mse", "evaluations", "partner", "single_mse")
        if getattr(parts[0], name) is not None
    }
    traces = [part.trace for part in parts]
    trace = None if traces[0] is None else _concatenate_traces(traces)
    return Embedding(**joined, seconds=sum(part.seconds for part in parts), trace=trace)


def _concatenate_traces(traces):
    longest = max(len(trace.mse) for trace in traces)

    def columns(name):
        values = [getattr(trace, name) for trace in traces]
        return np.concatenate(
            [np.pad(v, ((0, longest - len(v)), (0, 0)), mode="edge") for v in values], axis=1
        )

    return Trace(**{field.name: columns(field.name) for field in dataclasses.fields(Trace)})
