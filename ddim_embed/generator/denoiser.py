"""A network, frozen or not, as the function that samplers call."""

import copy

import numpy as np
from keras import ops

from ddim_embed.backend import compiled
from ddim_embed.networks.frozen import freeze
from ddim_embed.parallel import over_cores
from ddim_embed.process.predictions import noises_from
from ddim_embed.process.schedules import Rates


class Denoiser:
    """`denoise(noisy_images, rates) -> pred_noises` at the noise levels of a grid.

    Args:
        network: a `keras.Model` of `[noisy_images, noise_variances]`, and of a condition as third
            input where it takes one; frozen if it has a method `freeze`.
        grid: list of `Rates` of Python floats.
        image_size: (height, width).
        precision: "float32" or "bfloat16".
        prediction: what the network predicts, "noise" or "velocity".
    """

    condition = None

    def __init__(self, network, grid, image_size, precision="float32", prediction="noise"):
        self.frozen = freeze(network, grid, image_size, precision)
        self._prediction = prediction
        self._steps = {rates.noise: step for step, rates in enumerate(grid)}
        self._rates = Rates(*(np.array(rates, np.float32) for rates in zip(*grid, strict=True)))
        self._functions = {}  # shared by all copies: name -> compiled function

    def given(self, condition):
        """The denoiser under a condition, a nested structure with one row for each image.

        What the network computes of the condition alone is computed here, once for all steps.
        """
        return self._copy(condition=self.frozen.conditioned(condition))

    def replace(self, weights):
        """The denoiser with other weights, of the structure of `frozen.weights`."""
        return self._copy(frozen=self.frozen.replace(weights), _functions={})

    def __call__(self, noisy_images, rates):
        """Predicts noises.

        Args:
            noisy_images: float32, `(batch, height, width, channels)`, model space.
            rates: one of the `grid`; or tensors, for which the nearest level is taken.

        Returns:
            The noises, same shape, float32.

        Raises:
            ValueError: if `rates` is not in the grid.
        """
        return self._evaluate(noisy_images, self._step(rates), self.condition)

    def encode(self, noisy_images, rates):
        """The lower half of a network with an h, its bottleneck.

        Args:
            noisy_images, rates: as for a call.

        Returns:
            h, float32 `(batch, height, width, channels)`; and the skips for `decode`.
        """
        return self._encode(noisy_images, self._step(rates), self.condition)

    def decode(self, h, skips, noisy_images, rates):
        """The noises that follow from an h: those of a call, if it is the h of `encode`.

        Args:
            h: as `encode` returns it, or another one.
            skips: what `encode` returns.
            noisy_images, rates: of which `encode` returned them.

        Returns:
            The noises, the shape of `noisy_images`, float32.
        """
        return self._decode(h, skips, noisy_images, self._step(rates), self.condition)

    def compiled_encode(self, noisy_images, rates):
        """As `encode`, for use outside any graph; see `compiled`."""
        return self._run_compiled(self._encode_over_cores, rates, noisy_images)

    def compiled_decode(self, h, skips, noisy_images, rates):
        """As `decode`, for use outside any graph; see `compiled`."""
        return self._run_compiled(self._decode_over_cores, rates, h, skips, noisy_images)

    def shared(self, noisy_images, rates):
        """As a call, for use in a graph, which then calls one copy of the network at every step.

        A graph that contains the network N times takes memory and time to make; but its gradient is
        faster than that of calls.
        """
        options = {"experimental_attributes": {"_noinline": True}}
        return self._compiled(self._evaluate, **options)(
            noisy_images, ops.convert_to_tensor(self._step(rates)), self.condition
        )

    def compiled(self, noisy_images, rates):
        """As a call, for use outside any graph: one graph serves all levels and batch sizes."""
        return self._run_compiled(self._evaluate_over_cores, rates, noisy_images)

    def _run_compiled(self, function, rates, first, *others):
        first = ops.convert_to_tensor(first, "float32")
        step = ops.convert_to_tensor(np.int32(self._step(rates)))
        return self._compiled(function, reduce_retracing=True)(step, self.condition, first, *others)

    def _compiled(self, function, **options):
        name = function.__name__
        if name not in self._functions:
            self._functions[name] = compiled(function, **options)
        return self._functions[name]

    def _evaluate_over_cores(self, step, condition, noisy_images):
        def evaluate(images, condition):
            return self._evaluate(images, step, condition)

        return over_cores(evaluate, noisy_images, condition)

    def _encode_over_cores(self, step, condition, noisy_images):
        def encode(images, condition):
            return self._encode(images, step, condition)

        return over_cores(encode, noisy_images, condition)

    def _decode_over_cores(self, step, condition, h, skips, noisy_images):
        def decode(h, skips, images, condition):
            return self._decode(h, skips, images, step, condition)

        return over_cores(decode, h, skips, noisy_images, condition)

    def _copy(self, **attributes):
        other = copy.copy(self)
        vars(other).update(attributes)
        return other

    def _step(self, rates):
        if isinstance(rates, Rates) and ops.is_tensor(rates.noise):
            return ops.argmin(ops.abs(ops.convert_to_tensor(self._rates.noise) - rates.noise))
        step = self._steps.get(rates.noise) if isinstance(rates, Rates) else None
        if step is None:
            raise ValueError(
                f"This denoiser is frozen at noise rates {sorted(self._steps)}. Received: {rates}"
            )
        return step

    def _evaluate(self, noisy_images, step, condition):
        noisy_images = ops.convert_to_tensor(noisy_images)
        outputs = self.frozen(noisy_images, step, condition)
        return self._noises_from(outputs, noisy_images, step)

    def _encode(self, noisy_images, step, condition):
        h, skips = self.frozen.encode(ops.convert_to_tensor(noisy_images), step, condition)
        return ops.cast(h, "float32"), skips

    def _decode(self, h, skips, noisy_images, step, condition):
        outputs = self.frozen.decode(h, skips, step, condition)
        return self._noises_from(outputs, ops.convert_to_tensor(noisy_images), step)

    def _noises_from(self, outputs, noisy_images, step):
        signal, noise = (ops.convert_to_tensor(rates)[step] for rates in self._rates)
        return noises_from(self._prediction, outputs, noisy_images, Rates(signal, noise))
