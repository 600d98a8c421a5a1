"""EDICT and BDIA as methods: exact inversion that finds a pair of latents."""

import dataclasses

from ddim_embed.methods.protocol import Found, Method
from ddim_embed.process.coupled import (
    bdia_invert,
    bdia_sample,
    check_share,
    edict_invert,
    edict_sample,
)


@dataclasses.dataclass(frozen=True)
class _Coupled(Method):
    """What the two have in common: both directions go through one network, in float32."""

    def prepare(self, generator):
        generator.denoiser("float32")

    def _run(self, function, generator, *states, **option):
        denoise = generator.denoiser("float32").compiled
        return function(
            denoise,
            generator.schedule,
            *states,
            num_steps=generator.num_steps,
            last_step=generator.last_step,
            **option,
        )


@dataclasses.dataclass(frozen=True)
class EDICT(_Coupled):
    """Exact inversion by coupled transformations (Wallace et al. 2022), 2N evaluations.

    Exact to rounding under either convention of the last step, for the pair: `Embedding.mse` is of
    what `decode` makes of latents and partner, `Embedding.single_mse` of what the generator makes
    of the latents alone. It works in float32 whatever the generator's precision.

    Attributes:
        mixing: p in (0, 1]; 1 would never average the two states.

    Raises:
        ValueError: if `mixing` is not one of those.
    """

    mixing: float = 0.93

    def __post_init__(self):
        check_share("mixing", self.mixing)

    def solve(self, generator, pixels, latents, tick):
        images = generator.normalizer(pixels)
        found, partner = self._run(edict_invert, generator, images, mixing=self.mixing)
        return Found(found.numpy(), 2 * generator.num_steps, partner=partner.numpy())

    def decode(self, generator, latents, partner):
        images, _ = self._run(edict_sample, generator, latents, partner, mixing=self.mixing)
        return generator.normalizer.inverse(images).numpy()


@dataclasses.dataclass(frozen=True)
class BDIA(_Coupled):
    """Exact inversion by bi-directional integration (Zhang et al. 2023), N evaluations.

    Exact to rounding under either convention of the last step, for the pair: latents, and as
    partner the state one step later. `Embedding.mse` is of what `decode` makes of both,
    `Embedding.single_mse` of what the generator makes of the latents alone. It works in float32
    whatever the generator's precision.

    Attributes:
        gamma: in (0, 1].

    Raises:
        ValueError: if `gamma` is not one of those; in a call, for a generator of one step.
    """

    gamma: float = 1.0

    def __post_init__(self):
        check_share("gamma", self.gamma)

    def solve(self, generator, pixels, latents, tick):
        images = generator.normalizer(pixels)
        found, partner = self._run(bdia_invert, generator, images, gamma=self.gamma)
        return Found(found.numpy(), generator.num_steps, partner=partner.numpy())

    def decode(self, generator, latents, partner):
        images = self._run(bdia_sample, generator, latents, partner, gamma=self.gamma)
        return generator.normalizer.inverse(images).numpy()
