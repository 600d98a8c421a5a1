"""What every method of embedding has in common: its call, and the certificate that it returns."""

import dataclasses
import time
from typing import ClassVar

import numpy as np
from tqdm.auto import tqdm

from ddim_embed import metrics

# Starts are no one's samples: an image that was generated with a seed must not be embedded, with
# the same seed, from the very latents that made it.
_STARTS = -1
# A peak signal-to-noise ratio of 30 dB: below it a reconstruction is seen to differ.
CONVERGED_MSE = 1e-3


@dataclasses.dataclass(frozen=True)
class Trace:
    """How the error of each image fell while a method ran: arrays of one shape, `(k, n)`.

    Attributes:
        evaluations: network evaluations so far; a gradient counts as what it costs.
        seconds: wall time so far, divided by the images that were worked on at a time.
        mse: error of the best latents so far, as `Embedding.mse`.
    """

    evaluations: np.ndarray
    seconds: np.ndarray
    mse: np.ndarray


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Latents of images, with what they decode to and what they cost.

    Attributes:
        latents: float32 `(n, height, width, channels)`.
        reconstruction: what they decode to in float32; pixels of the same shape, not clipped.
        mse: per image, of clipped pixels in float64, `(n,)`; padding does not count, nor does what
            a mask leaves free.
        evaluations: network evaluations of each image, `(n,)`; a gradient counts as what it costs.
        seconds: wall time of the embedding, the final decode not included.
        trace: a `Trace`, or None for methods that do not iterate.
        partner: the other latents of a coupled method, or None. Then `reconstruction` and `mse` are
            of what the method's own sampler makes of both.
        single_mse: of a coupled method, what `mse` is when the generator decodes `latents` alone.
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
    def converged(self):
        """Whether each image was reached, `(n,)` bool: `mse` at most `CONVERGED_MSE` (30 dB).

        The same question for every method, whatever made it stop.
        """
        return self.mse <= CONVERGED_MSE

    @property
    def latents_mean(self):
        """Mean of each image's latents, `(n,)`; 0 in expectation if they are Gaussian."""
        return self.latents.mean(axis=(1, 2, 3))

    @property
    def latents_std(self):
        """Standard deviation of each image's latents, `(n,)`; 1 in expectation if Gaussian."""
        return self.latents.std(axis=(1, 2, 3))


@dataclasses.dataclass(frozen=True)
class Found:
    """What `Method.solve` hands back; names as in `Embedding`.

    Attributes:
        latents: `(n, height, width, channels)`.
        evaluations: per image, a number or `(n,)`.
        trace: list of `(evaluations, seconds since the start, mse (n,))`, or empty.
        partner: as `latents`, or None.
    """

    latents: np.ndarray
    evaluations: float | np.ndarray
    trace: list = dataclasses.field(default_factory=list)
    partner: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """The frame of a method: checks, batches, a progress bar, and the certificate.

    A method is a frozen dataclass whose fields are its options. It says how to `solve` one batch.

    Attributes:
        batch_size: images that are worked on at a time, which bounds memory; no result depends on
            it.
        progress: whether to show a progress bar.
    """

    batch_size: int = 64
    progress: bool = False

    # Whether it can go on from given latents, and whether it can leave pixels free.
    refines: ClassVar[bool] = False
    takes_mask: ClassVar[bool] = False

    def __call__(self, generator, pixels, seed=0, latents=None, mask=None):
        """Embeds pixels.

        Args:
            generator: a `Generator`.
            pixels: `(n, height, width, channels)` in [0, 1], of the generator's `image_shape`.
            seed: integer; what the method draws depends on it alone.
            latents: where to start, same shape; only for methods that `refines`.
            mask: bool `(n, height, width)` or `(n, height, width, 1)`, True where the image may
                become anything; only for methods that `takes_mask`.

        Returns:
            An `Embedding`.

        Raises:
            ValueError: for pixels, latents or a mask of another shape or range, with NaN, or none;
                for latents or a mask that the method has no use for.
        """
        pixels = generator.check_pixels(pixels)
        held = self._check_mask(generator, pixels, mask)
        if latents is not None:
            latents = self._check_start(generator, pixels, latents)
        elif self.refines:
            latents = self.initial_latents(generator, len(pixels), seed)
        if self.batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: {self.batch_size}")
        self.prepare(generator)
        starts = range(0, len(pixels), self.batch_size)
        parts = []
        with tqdm(
            total=len(pixels) * self.ticks,
            unit="image",
            desc=type(self).__name__,
            disable=not self.progress,
            unit_scale=1 / self.ticks,
        ) as bar:
            for i in starts:
                part = slice(i, i + self.batch_size)
                count = len(pixels[part])

                def tick(bar=bar, count=count):
                    bar.update(count)

                done = (i + count) * self.ticks
                weights = {} if held is None else {"held": held[part]}
                started = time.perf_counter()
                found = self.solve(
                    generator,
                    pixels[part],
                    None if latents is None else latents[part],
                    tick,
                    **weights,
                )
                seconds = time.perf_counter() - started
                bar.update(done - bar.n)
                together = None
                if found.partner is not None:
                    together = self.decode(generator, found.latents, found.partner)
                parts.append(certify(generator, pixels[part], found, seconds, together, **weights))
        return concatenate(parts)

    @property
    def ticks(self):
        """How often `solve` calls `tick` at most."""
        return 1

    def initial_latents(self, generator, n, seed):
        """Gaussian latents to start from where none are given, of a stream of their own.

        A method that has no use for them returns None.
        """
        return generator.latents(n, seed, stream=_STARTS)

    def prepare(self, generator):
        """Does what must be done once, before the clock runs: load, check options."""

    def solve(self, generator, pixels, latents, tick):
        """Embeds one batch.

        A method that `takes_mask` has a fifth argument, `held=None`: 1 where a pixel is held to the
        image, 0 where it is free, of the shape of `pixels`.

        Args:
            generator: a `Generator`.
            pixels: float32 `(n, height, width, channels)`, checked.
            latents: where to start, same shape, or None.
            tick: to be called after each iteration; moves the progress bar.

        Returns:
            A `Found`.
        """
        raise NotImplementedError

    def decode(self, generator, latents, partner):
        """What a coupled method's own sampler makes of both latents: pixels, not clipped.

        Args:
            generator: the `Generator` of the embedding.
            latents, partner: as in `Embedding`.

        Returns:
            float32 array, the shape of `latents`.
        """
        raise NotImplementedError(f"{type(self).__name__} is not a coupled method.")

    def _check_mask(self, generator, pixels, mask):
        if mask is None:
            return None
        if not self.takes_mask:
            raise ValueError(
                f"{type(self).__name__} embeds whole images: it takes no `mask`. LBFGS, Descent, "
                "GaussNewton, DefectCorrection and a Hybrid that ends with one of them do."
            )
        return generator.check_mask(mask, len(pixels))

    def _check_start(self, generator, pixels, latents):
        if not self.refines:
            raise ValueError(f"{type(self).__name__} cannot go on from given `latents`.")
        latents = generator.check_latents(latents)
        if len(latents) != len(pixels):
            raise ValueError(
                f"`latents` must be as many as `pixels`, {len(pixels)}. Received: {len(latents)}"
            )
        return latents


def certify(generator, pixels, found, seconds, together=None, held=None):
    """Decodes latents in float32 and measures their error: every method ends here.

    Args:
        generator: a `Generator`.
        pixels: the images asked for, `(n, height, width, channels)` in [0, 1].
        found: a `Found`, its latents for these images.
        seconds: wall time so far.
        together: of a coupled method, what it decodes from latents and partner.
        held: None, or 1 where a pixel counts and 0 where it does not, same shape.

    Returns:
        An `Embedding`.
    """
    count = len(pixels)
    reconstruction = generator.decode(found.latents, precision="float32").numpy()
    single_mse = None
    if together is not None:
        single_mse = metrics.mse(pixels, reconstruction, generator.padding, held)
        reconstruction = together
    trace = None
    if found.trace:
        evaluations, times, mse = zip(*found.trace, strict=True)
        spread = np.ones((1, count))
        trace = Trace(
            evaluations=np.array(evaluations, np.float64).reshape(len(mse), -1) * spread,
            seconds=np.array(times)[:, None] / count * spread,
            mse=np.array(mse, np.float64),
        )
    return Embedding(
        latents=np.asarray(found.latents, np.float32),
        reconstruction=reconstruction,
        mse=metrics.mse(pixels, reconstruction, generator.padding, held),
        evaluations=np.broadcast_to(np.asarray(found.evaluations, np.float64), (count,)).copy(),
        seconds=seconds,
        trace=trace,
        partner=None if found.partner is None else np.asarray(found.partner, np.float32),
        single_mse=single_mse,
    )


def concatenate(parts):
    """One `Embedding` of the images of several, in their order.

    Args:
        parts: list of at least one `Embedding`, all of one method.

    Returns:
        An `Embedding`; where traces differ in length, the last row of the shorter is repeated.
    """
    if len(parts) == 1:
        return parts[0]
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("latents", "reconstruction", "mse", "evaluations", "partner", "single_mse")
        if getattr(parts[0], name) is not None
    }
    traces = [part.trace for part in parts]
    trace = None if traces[0] is None else _join(traces)
    return Embedding(**joined, seconds=sum(part.seconds for part in parts), trace=trace)


def _join(traces):
    longest = max(len(trace.mse) for trace in traces)

    def columns(name):
        values = [getattr(trace, name) for trace in traces]
        return np.concatenate(
            [np.pad(v, ((0, longest - len(v)), (0, 0)), mode="edge") for v in values], axis=1
        )

    return Trace(**{field.name: columns(field.name) for field in dataclasses.fields(Trace)})
