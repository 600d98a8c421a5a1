"""The protocol of a method: it solves one batch, and returns a solution that certifies itself."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from ddim_embed import arguments, metrics
from ddim_embed.generator.generator import Generator, as_generator
from ddim_embed.methods import driver
from ddim_embed.methods.embedding import Embedding, Trace

# The stream of the latents to start from. `Generator.sample` draws from another stream: else an
# image that was generated with a seed would be embedded, with the same seed, from its own latents.
_STREAM = -1


@dataclasses.dataclass(frozen=True)
class Solution:
    """The latents of one batch, as `Method.solve` returns them; names as in `Embedding`.

    Attributes:
        latents: `(n, height, width, channels)`.
        evaluations: network evaluations of each image, a number or `(n,)`.
        trace: a `Trace`, or None.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> latents = generator.latents(2)
        >>> solution = de.Solution(latents, evaluations=0)
        >>> solution.certify(generator, generator.decode(latents).numpy()).converged.tolist()
        [True, True]
    """

    latents: np.ndarray
    evaluations: float | np.ndarray
    trace: Trace | None = None

    def certify(
        self,
        generator: Generator,
        pixels: np.ndarray,
        seconds: float = 0.0,
        held: np.ndarray | None = None,
    ) -> Embedding:
        """Decodes the latents in float32 and measures their error.

        Args:
            generator: a `Generator`.
            pixels: the images to reach, `(n, height, width, channels)` in [0, 1].
            seconds: wall time so far.
            held: None, or 1 where a pixel counts and 0 where it does not, same shape.

        Returns:
            An `Embedding`.
        """
        evaluations = np.asarray(self.evaluations, np.float64)
        reconstruction = generator.decode(self.latents, precision="float32").numpy()
        return Embedding(
            latents=np.asarray(self.latents, np.float32),
            reconstruction=reconstruction,
            mse=metrics.clipped_mse(pixels, reconstruction, generator.padding, held),
            evaluations=np.broadcast_to(evaluations, (len(pixels),)).copy(),
            seconds=seconds,
            trace=self.trace,
        )


Found = Solution  # the earlier name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """Base class of methods: a frozen dataclass whose fields are its options.

    A subclass says how to `solve` one batch; checks, batches, progress and the certificate are
    those of `driver`.

    Attributes:
        batch_size: images per batch, which bounds memory; no result depends on it.
        progress: whether to show a progress bar.
        refines: whether it can go on from given latents.
        takes_mask: whether it can leave pixels free.

    Raises:
        ValueError: for a `batch_size` that is not an integer of at least 1, or a `progress` that is
            neither True nor False.

    Example:
        >>> class Zeros(de.Method):
        ...     def solve(self, generator, pixels, latents, tick, held=None):
        ...         return de.Solution(np.zeros_like(pixels), evaluations=0)
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> Zeros()(generator, generator.sample(2).clip(0, 1)).latents_std.tolist()
        [0.0, 0.0]
    """

    batch_size: int = 64
    progress: bool = False

    refines: ClassVar[bool] = False
    takes_mask: ClassVar[bool] = False

    def __post_init__(self):
        arguments.integer("batch_size", self.batch_size)
        arguments.flag("progress", self.progress)

    def __call__(
        self,
        generator: Generator,
        pixels: np.ndarray,
        seed: int = 0,
        latents: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> Embedding:
        """Embeds pixels.

        Args:
            generator: a `Generator`.
            pixels: `(n, height, width, channels)` in [0, 1], of the generator's `image_shape`.
            seed: integer from 0 to 2**63 - 1; all random numbers of the method depend on it alone.
            latents: where to start, same shape; only for methods that `refines`.
            mask: bool `(n, height, width)` or `(n, height, width, 1)`, True where the image may
                become anything; only for methods that `takes_mask`.

        Returns:
            An `Embedding`.

        Raises:
            ValueError: for pixels, latents or a mask with a wrong shape or range, with NaN, or with
                no images; for latents or a mask that the method does not use; for a seed that is
                not an integer from 0 to 2**63 - 1.
        """
        as_generator(generator)
        seed = arguments.seed(seed)
        pixels, latents, held = driver.check(self, generator, pixels, latents, mask)
        return self.run(generator, pixels, seed, latents, held)

    def run(
        self,
        generator: Generator,
        pixels: np.ndarray,
        seed: int,
        latents: np.ndarray | None = None,
        held: np.ndarray | None = None,
    ) -> Embedding:
        """Embeds checked pixels, batch by batch; methods that consist of others override it.

        Args:
            generator, seed: as for `__call__`.
            pixels, latents, held: float32, all `(n, height, width, channels)`, as for `solve`.
        """
        return driver.run(self, generator, pixels, seed, latents, held)

    @property
    def ticks(self) -> int:
        """How often `solve` calls `tick` at most."""
        return 1

    def initial_latents(self, generator: Generator, n: int, seed: int) -> np.ndarray | None:
        """Gaussian latents to start from where none are given; None for a method without a use."""
        return generator.latents(n, seed, stream=_STREAM)

    def prepare(self, generator: Generator) -> None:
        """Loads what the method needs, once, before time is measured."""

    def fingerprint(self, generator: Generator) -> str:
        """The options as a string, and checksums of networks: a part of cache keys."""
        return repr(self)

    def solve(
        self,
        generator: Generator,
        pixels: np.ndarray,
        latents: np.ndarray | None,
        tick: Callable[[], None],
        held: np.ndarray | None = None,
    ) -> Solution:
        """Embeds one batch.

        Args:
            generator: the `Generator` of these images.
            pixels: float32 `(n, height, width, channels)`, checked.
            latents: where to start, same shape, or None.
            tick: to be called after each iteration; moves the progress bar.
            held: 1 where a pixel is held to the image, 0 where it is free, same shape, or None;
                always None for a method that does not `takes_mask`.

        Returns:
            A `Solution`.
        """
        raise NotImplementedError
