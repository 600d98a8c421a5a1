"""EDICT and BDIA as methods: exact inversion to a pair of latents."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ddim_embed import arguments, metrics
from ddim_embed.generator.generator import Generator
from ddim_embed.methods.embedding import Embedding
from ddim_embed.methods.protocol import Method, Solution
from ddim_embed.process.coupled import (
    bdia_invert,
    bdia_sample,
    edict_invert,
    edict_sample,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSolution(Solution):
    """Latents with a partner, which only the method's own sampler decodes.

    Attributes:
        partner: as `latents`.
        decode: `decode(generator, latents, partner)`, the method's own sampler.
    """

    partner: np.ndarray
    decode: Callable

    def certify(self, generator, pixels, seconds=0.0, held=None) -> Embedding:
        """The `Embedding` of the pair; its `single_mse` is the error of `latents` alone."""
        single = super().certify(generator, pixels, seconds, held)
        reconstruction = self.decode(generator, self.latents, self.partner)
        return dataclasses.replace(
            single,
            reconstruction=reconstruction,
            mse=metrics.clipped_mse(pixels, reconstruction, generator.padding, held),
            partner=np.asarray(self.partner, np.float32),
            single_mse=single.mse,
        )


@dataclasses.dataclass(frozen=True)
class _Coupled(Method):
    """Runs both directions through one network, in float32."""

    def prepare(self, generator):
        generator.denoiser("float32")

    def _run(self, function, generator, *states, **option):
        denoise = generator.denoiser("float32").compiled
        option |= {"num_steps": generator.num_steps, "last_step": generator.last_step}
        return function(denoise, generator.schedule, *states, **option)

    def _solution(self, pair, evaluations):
        latents, partner = (states.numpy() for states in pair)
        return PairSolution(latents, evaluations, partner=partner, decode=self.decode)


@dataclasses.dataclass(frozen=True)
class EDICT(_Coupled):
    """Exact inversion by coupled transformations (Wallace et al. 2022), 2N evaluations.

    Under either convention of the last step the pair is exact to rounding: `Embedding.mse` is that
    of latents and partner, decoded by the method; `Embedding.single_mse` that of the latents alone,
    decoded by the generator. It works in float32 whatever the generator's precision.

    Attributes:
        mixing: p in (0, 1]; with 1 the two states are never averaged.

    Raises:
        ValueError: if `mixing` is outside (0, 1].

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=3)
        >>> result = de.embed(generator, generator.sample(1).clip(0, 1), de.EDICT(mixing=0.9))
        >>> bool(result.mse[0] < 1e-6), result.partner.shape
        (True, (1, 32, 32, 1))
    """

    mixing: float = 0.93

    def __post_init__(self):
        super().__post_init__()
        arguments.number("mixing", self.mixing, above=0, at_most=1)

    def solve(self, generator, pixels, latents, tick, held=None):
        pair = self._run(edict_invert, generator, generator.normalizer(pixels), mixing=self.mixing)
        return self._solution(pair, 2 * generator.num_steps)

    def decode(self, generator: Generator, latents: np.ndarray, partner: np.ndarray) -> np.ndarray:
        """Pixels of a pair by EDICT's sampler, float32, not clipped, of the shape of `latents`."""
        images, _ = self._run(edict_sample, generator, latents, partner, mixing=self.mixing)
        return generator.normalizer.inverse(images).numpy()


@dataclasses.dataclass(frozen=True)
class BDIA(_Coupled):
    """Exact inversion by bi-directional integration (Zhang et al. 2023), N evaluations.

    Under either convention of the last step the pair is exact to rounding; the partner is the state
    one step after the latents. `Embedding.mse` is that of the pair, decoded by the method;
    `Embedding.single_mse` that of the latents alone, decoded by the generator. It works in float32
    whatever the generator's precision.

    Attributes:
        gamma: in (0, 1].

    Raises:
        ValueError: if `gamma` is outside (0, 1]; in a call, for a generator of one step.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=3)
        >>> result = de.embed(generator, generator.sample(1).clip(0, 1), de.BDIA())
        >>> bool(result.mse[0] < 1e-6), bool(result.single_mse[0] > 1e-6)
        (True, True)
    """

    gamma: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        arguments.number("gamma", self.gamma, above=0, at_most=1)

    def solve(self, generator, pixels, latents, tick, held=None):
        pair = self._run(bdia_invert, generator, generator.normalizer(pixels), gamma=self.gamma)
        return self._solution(pair, generator.num_steps)

    def decode(self, generator: Generator, latents: np.ndarray, partner: np.ndarray) -> np.ndarray:
        """Pixels of a pair by BDIA's sampler, float32, not clipped, of the shape of `latents`."""
        images = self._run(bdia_sample, generator, latents, partner, gamma=self.gamma)
        return generator.normalizer.inverse(images).numpy()
