"""Hybrid methods: one method provides the latents from which another starts."""

import dataclasses

import numpy as np

from ddim_embed import metrics
from ddim_embed.data import crop_padding
from ddim_embed.methods.embedding import Trace
from ddim_embed.methods.filling import fill
from ddim_embed.methods.protocol import Method


@dataclasses.dataclass(frozen=True)
class Hybrid(Method):
    """One method, then another from its latents: a network, then descent is Fig. 18 (Asperti).

    A mask holds for both. A `start` that takes no mask, such as a network, gets the image with a
    smooth continuation of the held pixels under the mask. What was drawn there would mislead the
    start, and the finish would not leave it; Gaussian latents there leave stripes.

    Attributes:
        start: a name of `METHODS`, or a configured method.
        finish: a method that `refines`: `LBFGS`, `Descent`, `GaussNewton`, `DefectCorrection`,
            `ImplicitInversion`, or a hybrid that begins with one.

    Raises:
        ValueError: for an unknown name, a `finish` that cannot go on from given latents, or an own
            `batch_size` or `progress`: those are options of `start` and `finish`.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> method = de.Hybrid("ddim_inversion", de.DefectCorrection(num_steps=2))
        >>> result = de.embed(generator, generator.sample(1).clip(0, 1), method)
        >>> result.trace.evaluations[:, 0].tolist()
        [2.0, 4.0, 10.0]
    """

    start: Method | str = "unet"
    finish: Method | str = "lbfgs"

    def __post_init__(self):
        super().__post_init__()
        if self.progress or self.batch_size != Method.batch_size:
            raise ValueError(
                "`batch_size` and `progress` must be given to `start` and `finish`, each a "
                "configured method: a hybrid has none of its own."
            )
        _, finish = self._methods()
        if not finish.refines:
            raise ValueError(
                f"`finish` must be a method that goes on from latents. Received: {self.finish}"
            )

    @property
    def refines(self):
        return self._methods()[0].refines

    @property
    def takes_mask(self):
        return self._methods()[1].takes_mask

    def fingerprint(self, generator):
        return " ".join(method.fingerprint(generator) for method in self._methods())

    def run(self, generator, pixels, seed, latents=None, held=None):
        start, finish = self._methods()
        if held is None or start.takes_mask:
            begun = start.run(generator, pixels, seed, latents, held)
        else:
            begun = _start_without_mask(start, generator, pixels, seed, latents, held)
        latents = generator.check_latents(begun.latents)
        return _joined(begun, finish.run(generator, pixels, seed, latents, held))

    def _methods(self):
        # Not at the top: the registry imports this module.
        from ddim_embed.methods.registry import configured

        return configured(self.start, "start"), configured(self.finish, "finish")


def _start_without_mask(start, generator, pixels, seed, latents, held):
    """Embeds the held pixels by a method that takes no mask."""
    known = np.zeros(held.shape, bool)
    # Padding is no part of the image that is continued.
    crop_padding(known, generator.padding)[:] = crop_padding(held, generator.padding) > 0
    filled = np.where(held, pixels, fill(pixels, known[..., 0]))
    begun = start.run(generator, filled, seed, latents)
    # The start measures whole images; here only the held pixels count.
    mse = metrics.clipped_mse(pixels, begun.reconstruction, generator.padding, held)
    return dataclasses.replace(begun, mse=mse, trace=None)


def _joined(begun, finished):
    """The embedding of the second method, with the cost of both."""
    count = len(finished.mse)
    trace = finished.trace
    if trace is not None:
        before = begun.trace or Trace(
            begun.evaluations[None], np.full((1, count), begun.seconds / count), begun.mse[None]
        )
        trace = Trace(
            np.concatenate([before.evaluations, trace.evaluations + begun.evaluations]),
            np.concatenate([before.seconds, trace.seconds + begun.seconds / count]),
            np.concatenate([before.mse, trace.mse]),
        )
    return dataclasses.replace(
        finished,
        evaluations=begun.evaluations + finished.evaluations,
        seconds=begun.seconds + finished.seconds,
        trace=trace,
    )
