"""A trained denoiser as one differentiable map from latents to pixels."""

import copy
import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import keras
import numpy as np
from keras import ops, tree

from ddim_embed import arguments, backend
from ddim_embed.data import crop_padding
from ddim_embed.generator.denoiser import Denoiser
from ddim_embed.memory import require_memory
from ddim_embed.metrics.pixels import check_pixels
from ddim_embed.networks.blocks import Normalizer, dtype_policy, register
from ddim_embed.parallel import over_cores
from ddim_embed.process import noise, sampling
from ddim_embed.process.process import Process

# Larger batches gain nothing on a CPU, and memory grows with them.
DECODE_BATCH = 64
# Of TensorFlow's graph of a network, for each of its weights: 24 KiB were measured for a `UNet`.
_GRAPH_BYTES = 2**14
# A thread that starts when it is first used.
_CHECKSUMS = ThreadPoolExecutor(1, "checksums of weights")


def image_means(values, held=None):
    """The mean of each image, of its held pixels only where there is a mask.

    Args:
        values: tensor `(n, height, width, channels)`.
        held: None, or 1 where a pixel is held and 0 where it is free, same shape.

    Returns:
        Tensor `(n,)`.
    """
    if held is None:
        return ops.mean(values, axis=(1, 2, 3))
    return ops.sum(values * held, axis=(1, 2, 3)) / ops.sum(held, axis=(1, 2, 3))


@register
class Generator(keras.Model):
    """The DDIM's deterministic map from Gaussian latents to pixels.

    A `keras.Model` for the sake of its weights file, which holds the normaliser and the denoiser.
    Decoding runs from a frozen snapshot of the network. Weights that change, in whatever way, reach
    the next `decode`: the snapshot is dropped when their checksum differs.

    Args:
        network: a `keras.Model` of `[noisy_images, noise_variances]`, and of a condition as third
            input where it takes one. Its method `freeze(grid, image_size, precision)` returns what
            decodes; without one the network is evaluated as it is.
        normalizer: a `Normalizer`; None for one that is not adapted yet.
        process: a `Process`.
        image_shape: (height, width, channels) of pixels and of latents.
        precision: "float32" or "bfloat16", of the convolutions.
        padding: rows and columns at each border that hold no data and count in no error.

    Attributes:
        condition: None, or a nested structure with one row for each image; see `given`.
        files: `GeneratorFiles` of a generator of `load_generator`, else None.

    Raises:
        ValueError: for values that the parts refuse, sizes that the denoiser cannot halve, or
            padding that leaves nothing.

    Example:
        >>> network = de.UNet(channels=1, widths=(8, 16), block_depth=1)
        >>> process = de.Process(num_steps=2)
        >>> generator = de.Generator(network, process=process, image_shape=(16, 16, 1))
        >>> generator.decode(generator.latents(3)).shape
        TensorShape([3, 16, 16, 1])
    """

    def __init__(
        self,
        network: keras.Model,
        normalizer: Normalizer | None = None,
        process: Process | None = None,
        *,
        image_shape: Sequence[int],
        precision: str = "float32",
        padding: int = 0,
        **kwargs,
    ):
        # `precision` alone decides what is rounded, whatever Keras' global policy.
        super().__init__(**kwargs | {"dtype": "float32"})
        dtype_policy(precision)
        self.image_shape = arguments.integers("image_shape", image_shape, count=3)
        self.precision = precision
        self.padding = arguments.integer(
            "padding", padding, 0, (min(self.image_shape[:2]) - 1) // 2
        )
        arguments.instance("network", network, keras.layers.Layer)
        self.process = Process() if process is None else process
        arguments.instance("process", self.process, Process)
        self.normalizer = normalizer or Normalizer(self.image_shape[-1], name="normalizer")
        arguments.instance("normalizer", self.normalizer, keras.layers.Layer)
        self.network = network
        if hasattr(network, "check_size"):
            network.check_size((None, *self.image_shape))
        self.trainable = False
        self.built = True
        self.files = None
        self.condition = None
        self._snapshot = _Snapshot(self)

    @classmethod
    def from_diffusion(cls, model, image_shape, precision="float32", padding=0, **process) -> Self:
        """The generator of a trained `DiffusionModel`: its averaged network and its normaliser.

        Args:
            model: a `DiffusionModel`.
            image_shape: (height, width, channels).
            precision, padding: as for `Generator`.
            **process: `num_steps` and `last_step` of the `Process`.
        """
        network = model.ema_network
        own = type(network).from_config(network.get_config() | {"dtype": "float32"})
        own.set_weights(network.get_weights())
        process = Process(model.schedule_name, prediction=model.prediction, **process)
        generator = cls(
            own, process=process, image_shape=image_shape, precision=precision, padding=padding
        )
        generator.normalizer.set_weights(model.normalizer.get_weights())
        return generator

    @property
    def schedule(self):
        """The schedule, a function of diffusion times."""
        return self.process.rates

    @property
    def schedule_name(self):
        """The name of the schedule."""
        return self.process.schedule

    @property
    def num_steps(self):
        """N, network evaluations of a decode."""
        return self.process.num_steps

    @property
    def last_step(self):
        """How the sampler ends: "predicted_image" or "transfer"."""
        return self.process.last_step

    @property
    def prediction(self):
        """What the network predicts: "noise" or "velocity"."""
        return self.process.prediction

    @property
    def grid(self):
        """The noise levels of the steps, from t=0 to t=1."""
        return self.process.grid

    def given(self, condition) -> Self:
        """The generator under a condition, with the same weights and compiled functions.

        Args:
            condition: a tensor, array or nested structure of them with one row for each image that
                is decoded or embedded; an input of every compiled function, and sliced with the
                images in every batch. None for no condition.
        """
        # A view of the same layers; neither copied nor tracked by Keras.
        other = object.__new__(type(self))
        vars(other).update(vars(self), condition=condition)
        return other

    def take(self, images) -> Self:
        """The generator of some of its images: the condition has the rows of these.

        Args:
            images: a slice, or an array of indices.
        """
        if self.condition is None:
            return self

        def rows_of(rows):
            return rows[images] if isinstance(images, slice) else ops.take(rows, images, axis=0)

        return self.given(tree.map_structure(rows_of, self.condition))

    def with_steps(self, num_steps: int) -> Self:
        """The generator with another number of sampler steps, and the same weights and condition.

        Args:
            num_steps: N, at least 1.
        """
        num_steps = arguments.integer("num_steps", num_steps)
        snapshots = self._snapshot.by_steps
        if num_steps not in snapshots:
            snapshots[num_steps] = _Snapshot(self)
            snapshots[num_steps].by_steps = snapshots
        other = self.given(self.condition)
        process = dataclasses.replace(self.process, num_steps=num_steps)
        vars(other).update(process=process, _snapshot=snapshots[num_steps])
        return other

    def denoiser(self, precision=None, num_steps=None) -> Denoiser:
        """The frozen `denoise(noisy_images, rates)` for the levels of a `sampling.time_grid`.

        Args:
            precision: None for the generator's own.
            num_steps: N, whose levels are i/N; None for the generator's own, the levels of `grid`.
        """
        precision = self.precision if precision is None else precision
        num_steps = self.num_steps if num_steps is None else num_steps
        key = precision, arguments.integer("num_steps", num_steps)
        with backend.outside_graphs():  # the snapshot outlives the graph that asks for it first
            found = self._snapshot.current().denoisers
            if key not in found:
                grid = sampling.time_grid(self.schedule, num_steps)
                found[key] = Denoiser(
                    self.network, grid, self.image_shape[:2], precision, self.prediction
                )
        return found[key] if self.condition is None else found[key].given(self.condition)

    def decode_tensor(self, latents, remat=False, precision=None, denoise=None, scan=None):
        """`decode` as a plain differentiable function of tensors, for use in a compiled function.

        Args:
            latents: float32, `(batch, height, width, channels)`.
            remat: whether its gradient recomputes activations, so that memory hardly grows with
                `num_steps`.
            precision: None for the generator's own.
            denoise: a `Denoiser` in place of the generator's own.
            scan: whether the steps are a loop, as for `sampling.sample`; None for a loop on a GPU,
                where compiling costs most. On a CPU N copies run faster, under XLA ten times.

        Returns:
            Pixels of the same shape, not clipped.
        """
        denoise = denoise or self.denoiser(precision)
        if scan is None:
            scan = backend.has_gpu()

        if not scan:
            # Every step has its own copy of the network in the graph.
            size = _GRAPH_BYTES * self.num_steps * len(self.network.weights)
            require_memory(size, f"`num_steps` {self.num_steps}, each with a copy of the network")
        if scan:  # TensorFlow's loops want their constants in the graph around them
            denoise = denoise.replace(tree.map_structure(ops.stop_gradient, denoise.frozen.weights))

        def decode(latents, condition):
            evaluate = denoise if condition is None else denoise.given(condition)
            if remat and not scan and backend.is_tensorflow():
                evaluate = evaluate.shared
            images = sampling.sample(
                evaluate, self.schedule, latents, self.num_steps, self.last_step, remat, scan=scan
            )
            return self.normalizer.inverse(images)

        return over_cores(decode, latents, self.condition)

    def decode(self, latents, precision: str | None = None):
        """Latents -> pixels, differentiable with respect to the latents, **not clipped**.

        Clip for metrics and display only.

        Args:
            latents: float, `(n, height, width, channels)`, any n from 1; decoded in parts.
            precision: None for the generator's own, or "float32" where errors are reported.

        Returns:
            float32 tensor of the same shape.

        Raises:
            ValueError: for another shape, or values that are not finite (those of a tensor are
                looked at where it has values, so not while a compiled function is traced).
        """
        if precision is not None:
            dtype_policy(precision)
        latents = ops.convert_to_tensor(self.check_latents(latents), "float32")
        function = _decode_float32 if precision == "float32" else _decode
        if len(latents) <= DECODE_BATCH:
            return self._snapshot.of_present_weights(lambda: self._traced(function)(latents))
        parts = [slice(i, i + DECODE_BATCH) for i in range(0, len(latents), DECODE_BATCH)]
        decoded = [self.take(part).traced(function)(latents[part]) for part in parts]
        return ops.concatenate(decoded, axis=0)

    def traced(self, function):
        """`function(generator, ...)` as a compiled function of its other arguments, tensors all.

        Methods call what they iterate so: it is compiled once for each shape, however many batches,
        conditions and calls there are.
        """
        with backend.outside_graphs():
            self._snapshot.current()
        return self._traced(function)

    def _traced(self, function):
        """`traced` without a look at the weights."""
        found = self._snapshot.functions
        if function not in found:

            def call(condition, *args, **kwargs):
                return function(self.given(condition), *args, **kwargs)

            found[function] = backend.compiled(call)
        return lambda *args, **kwargs: found[function](self.condition, *args, **kwargs)

    def errors(self, decoded, pixels, held=None):
        """Mean squared error of each image, as `metrics.mse`, but of tensors in float32.

        For methods that compare iterates; what is reported goes through `metrics`.
        """
        squares = ops.square(ops.clip(decoded, 0, 1) - pixels)
        if held is not None:
            held = crop_padding(held, self.padding)
        return image_means(crop_padding(squares, self.padding), held)

    @property
    def gradient_evaluations(self):
        """Network evaluations that decoding and a gradient with respect to latents cost.

        The backward pass multiplies by the same kernels, transposed, as often as the forward pass,
        and nothing else: no gradient of a weight is computed.
        """
        return 2 * self.num_steps

    def latents(self, n: int, seed: int = 0, stream: int = 0) -> np.ndarray:
        """n Gaussian latents `(n, height, width, channels)`, a function of the other arguments.

        Args:
            n: how many, at least 1.
            seed: integer from 0 to 2**63 - 1.
            stream: integer; those of one stream are independent of those of another.

        Raises:
            ValueError: for anything else, or more latents than memory holds.
        """
        n, seed = arguments.integer("n", n), arguments.seed(seed)
        return noise.normal((n, *self.image_shape), noise.seed_words(seed, stream), numpy=True)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Generates n images; returns pixels as `decode` does, as an array.

        Args:
            n: how many, at least 1.
            seed: integer from 0 to 2**63 - 1; image i is a function of it and i.

        Raises:
            ValueError: for anything else, or more images than memory holds.
        """
        return ops.convert_to_numpy(self.decode(self.latents(n, seed)))

    def save(self, *args, **kwargs):
        """As `keras.Model.save`, but a model that cannot be saved does not empty the file."""
        self.get_config()
        super().save(*args, **kwargs)

    def __reduce__(self):
        """Copies and pickles are independent generators, with the condition and the networks."""
        condition = self.condition
        if condition is not None:
            condition = tree.map_structure(ops.convert_to_numpy, condition)
        return _restored, (super().__reduce__(), self.files, condition)

    def call(self, latents):
        return self.decode_tensor(latents)

    def fingerprint(self):
        """A key of the weights and the sampler: two sums over the weights, and the process."""
        key = f"{self._sums()} {self._schedule_key(self.grid)} {self.num_steps} {self.last_step}"
        return key if self.prediction == "noise" else f"{key} {self.prediction}"

    def denoiser_fingerprint(self):
        """A key of the weights and of what they predict, whatever the steps of the sampler.

        It names the generator of what was found inside the network, such as a direction of h.
        """
        key = self._schedule_key(sampling.time_grid(self.schedule, 10))
        return f"{self._sums()} {key} {self.prediction}"

    def _sums(self):
        weights = np.concatenate([np.float64(weight).ravel() for weight in self.get_weights()])
        return f"{weights.sum():.6e} {(weights**2).sum():.6e}"

    def _schedule_key(self, grid):
        if callable(self.schedule_name):  # whose name says less than its values
            return " ".join(f"{rates.noise:.6e}" for rates in grid)
        return self.schedule_name

    def check_latents(self, latents):
        """Returns latents as a float32 array, or as they are if they are a tensor.

        Raises:
            ValueError: for another shape than `(n, *image_shape)`, n = 0, values that are not
                finite (of a tensor only where it has values, see `decode`), or another n than the
                condition has rows.
        """
        return self._check(latents, "latents")

    def check_pixels(self, pixels) -> np.ndarray:
        """Returns pixels as a float32 array.

        Raises:
            ValueError: for another shape than `(n, *image_shape)`, n = 0, values that are integers,
                not finite or not in [0, 1], or another n than the condition has rows.
        """
        check_pixels("pixels", pixels, 0, 1)
        return self._check(np.asarray(pixels), "pixels")

    def _check(self, values, name):
        if not ops.is_tensor(values):
            values = arguments.finite_array(name, values)
        elif backend.has_values(values):
            arguments.finite_array(name, ops.convert_to_numpy(values))
        shape = tuple(values.shape)
        if len(shape) != 4 or shape[1:] != self.image_shape or shape[0] == 0:
            raise ValueError(
                f"`{name}` must have shape (n, {', '.join(map(str, self.image_shape))}), n at "
                f"least 1. Received shape: {shape}"
            )
        for rows in tree.flatten(self.condition) if self.condition is not None else ():
            if rows.shape[0] != shape[0]:
                raise ValueError(
                    f"The condition must have a row for each of `{name}`, {shape[0]}. "
                    f"Received: {rows.shape[0]}"
                )
        return values

    def check_mask(self, mask, count) -> np.ndarray:
        """Returns which pixels are held.

        Args:
            mask: bool `(n, height, width)` or `(n, height, width, 1)`; True where a pixel is free.
            count: n.

        Returns:
            float32 array `(n, *image_shape)`: 1 where a pixel is held, 0 where it is free.

        Raises:
            ValueError: for another dtype or shape, or a mask that leaves no pixel of an image held.
        """
        mask = np.asarray(mask)
        height, width, channels = self.image_shape
        plain = (count, height, width)
        if mask.dtype != bool or mask.shape not in (plain, (*plain, 1)):
            raise ValueError(
                f"`mask` must be bool, of shape {plain} or {(*plain, 1)}. "
                f"Received: {mask.dtype} of shape {mask.shape}"
            )
        held = ~mask.reshape(*plain, 1)
        empty = np.flatnonzero(~crop_padding(held, self.padding).any(axis=(1, 2, 3)))
        if len(empty):
            raise ValueError(
                "`mask` must leave at least one pixel of each image held. Received none for "
                f"images: {empty.tolist()}"
            )
        return np.repeat(held, channels, axis=3).astype(np.float32)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "process": self.process.to_config(),
            "image_shape": self.image_shape,
            "precision": self.precision,
            "padding": self.padding,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        network = keras.saving.deserialize_keras_object(
            config.pop("network"), custom_objects=custom_objects
        )
        process = Process.from_config(config.pop("process"), custom_objects)
        return cls(network, process=process, **config)


def as_generator(generator):
    """Returns a generator, or what decodes as one; raises a ValueError for anything else."""
    if not hasattr(generator, "decode_tensor"):
        raise ValueError(
            f"`generator` must be a `Generator`. Received: {arguments.received(generator)}"
        )
    return generator


class _Snapshot:
    """What was made of a generator's weights: frozen denoisers and compiled functions.

    Attributes:
        by_steps: the snapshots of this generator and of those `with_steps`, by number of steps.
    """

    def __init__(self, generator):
        self.by_steps = {generator.num_steps: self}
        self._fingerprint_now = backend.fingerprint_of(generator.weights)
        self._fingerprint, self.denoisers, self.functions = None, {}, {}

    def current(self):
        """Itself, emptied if the weights have changed."""
        self._emptied_unless(self._fingerprint_now())
        return self

    def of_present_weights(self, compute):
        """`compute()`, begun at once and done again if the weights turn out to have changed.

        The checksum of the weights is taken beside it: a single image takes little longer to
        decode than all weights to read.
        """
        if self._fingerprint is None:  # what is compiled first is compiled once
            self.current()
        fingerprint = _CHECKSUMS.submit(self._fingerprint_now)
        result = compute()
        return compute() if self._emptied_unless(fingerprint.result()) else result

    def _emptied_unless(self, fingerprint):
        if self._fingerprint is not None and _same(fingerprint, self._fingerprint):
            return False
        self._fingerprint, self.denoisers, self.functions = fingerprint, {}, {}
        return True


def _same(fingerprint, other):
    if isinstance(fingerprint, bytes):
        return fingerprint == other
    return all(a is b for a, b in zip(fingerprint, other, strict=True))


def _restored(reduced, files, condition):
    rebuild, arguments = reduced
    generator = rebuild(*arguments)
    generator.files = copy.copy(files)
    return generator if condition is None else generator.given(condition)


def _decode(generator, latents):
    return generator.decode_tensor(latents)


def _decode_float32(generator, latents):
    return generator.decode_tensor(latents, precision="float32")
