"""A trained denoiser as one differentiable map from latents to pixels."""

import functools

import keras
import numpy as np
import tensorflow as tf

from ddim_embed.data import crop_padding
from ddim_embed.networks.blocks import Normalizer, dtype_policy, register
from ddim_embed.networks.frozen import FrozenDenoiser
from ddim_embed.networks.parallel import has_gpu, over_cores
from ddim_embed.networks.unet import UNet
from ddim_embed.process import sampling
from ddim_embed.process.predictions import check_prediction
from ddim_embed.process.schedules import get_schedule

# Larger batches gain nothing on a CPU, and memory grows with them.
DECODE_BATCH = 64


def image_means(values, held=None):
    """The mean of each image, of its held pixels only where there is a mask.

    Args:
        values: tensor `(n, height, width, channels)`.
        held: None, or 1 where a pixel is held and 0 where it is free, same shape.

    Returns:
        Tensor `(n,)`.
    """
    if held is None:
        return tf.reduce_mean(values, axis=(1, 2, 3))
    return tf.reduce_sum(values * held, axis=(1, 2, 3)) / tf.reduce_sum(held, axis=(1, 2, 3))


@register
class Generator(keras.Model):
    """The DDIM's deterministic map from Gaussian latents to pixels, with weights that stay put.

    A `keras.Model` for the sake of its weights file, which holds the normaliser and the denoiser.
    Decoding runs from a frozen snapshot of them, taken at the first decode.

    Args:
        image_shape: (height, width, channels) of pixels and of latents.
        widths, block_depth, attention: sizes of the denoiser, as for `UNet`.
        schedule: name of a schedule.
        num_steps: N, network evaluations of a decode.
        last_step: "predicted_image" or "transfer", as for `sampling.sample`.
        precision: "float32" or "bfloat16", of the convolutions.
        padding: rows and columns at each border that hold no data and count in no error.
        prediction: what the denoiser's network predicts, "noise" or "velocity".

    Raises:
        ValueError: for values that the parts refuse, sizes that the denoiser cannot halve, or
            padding that leaves nothing.
    """

    def __init__(
        self,
        image_shape=(32, 32, 1),
        widths=(32, 64, 96, 128),
        block_depth=2,
        attention=None,
        schedule="continuous_cosine",
        num_steps=10,
        last_step="predicted_image",
        precision="float32",
        padding=0,
        prediction="noise",
        **kwargs,
    ):
        # `precision` alone decides what is rounded, whatever Keras' global policy.
        super().__init__(**kwargs | {"dtype": "float32"})
        dtype_policy(precision)
        if last_step not in sampling.LAST_STEPS:
            raise ValueError(
                f"`last_step` must be one of {sampling.LAST_STEPS}. Received: {last_step!r}"
            )
        self.image_shape = tuple(image_shape)
        self.schedule_name = schedule
        self.schedule = get_schedule(schedule)
        self.num_steps = num_steps
        self.last_step = last_step
        self.precision = precision
        self.padding = padding
        self.prediction = check_prediction(prediction)
        self.grid = sampling.time_grid(self.schedule, num_steps)
        self.normalizer = Normalizer(self.image_shape[-1], name="normalizer")
        self.network = UNet(self.image_shape[-1], widths, block_depth, attention, dtype="float32")
        self.network.check_size((None, *self.image_shape))
        if not 0 <= 2 * padding < min(self.image_shape[:2]):
            raise ValueError(
                "`padding` must be at least 0 and less than half of the image. "
                f"Received: {padding} for {self.image_shape}"
            )
        self.trainable = False
        self.built = True
        self.dataset = self.root = None  # where shipped weights came from; set by load_generator
        self.condition = None
        self._frozen = {}  # (precision, num_steps) -> snapshot
        self._traced = {}  # function -> tf.function
        self._compiled_decode = tf.function(
            self.decode_tensor, autograph=False, jit_compile=has_gpu() or None
        )

    @classmethod
    def from_diffusion(cls, model, image_shape, **kwargs):
        """The generator of a trained `DiffusionModel`: its averaged network and its normaliser.

        Args:
            model: a `DiffusionModel` whose network is a `UNet`.
            image_shape: (height, width, channels).
            **kwargs: `num_steps`, `last_step`, `precision`, `padding`.
        """
        network = model.ema_network
        generator = cls(
            image_shape,
            widths=network.widths,
            block_depth=network.block_depth,
            attention=network.attention,
            schedule=model.schedule_name,
            prediction=model.prediction,
            **kwargs,
        )
        generator.network.set_weights(network.get_weights())
        generator.normalizer.set_weights(model.normalizer.get_weights())
        return generator

    def denoiser(self, precision=None, num_steps=None):
        """The frozen `denoise(noisy_images, rates)` for the levels of a `sampling.time_grid`.

        Args:
            precision: None for the generator's own.
            num_steps: N, whose levels are i/N; None for the generator's own, the levels of `grid`.
        """
        key = precision, num_steps = precision or self.precision, num_steps or self.num_steps
        if key not in self._frozen:
            with tf.init_scope():  # the snapshot outlives the graph that asks for it first
                grid = sampling.time_grid(self.schedule, num_steps)
                self._frozen[key] = FrozenDenoiser(
                    self.network, grid, self.image_shape[:2], precision, self.prediction
                )
        return self._frozen[key]

    def decode_tensor(self, latents, remat=False, precision=None):
        """`decode` as a plain differentiable function of tensors, for use inside a `tf.function`.

        Args:
            latents: float32, `(batch, height, width, channels)`.
            remat: whether its gradient recomputes activations, so that memory hardly grows with
                `num_steps`.
            precision: None for the generator's own.

        Returns:
            Pixels of the same shape, not clipped.
        """
        denoise = self.denoiser(precision)
        if remat:
            denoise = denoise.shared

        def decode(latents):
            images = sampling.sample(
                denoise, self.schedule, latents, self.num_steps, self.last_step, remat
            )
            return self.normalizer.inverse(images)

        return over_cores(decode, latents)

    def decode(self, latents, precision=None):
        """Latents -> pixels, differentiable with respect to the latents, **not clipped**.

        Clip for metrics and display only.

        Args:
            latents: float, `(n, height, width, channels)`, any n from 1; decoded in parts.
            precision: None for the generator's own, or "float32" where errors are reported.

        Returns:
            float32 tensor of the same shape.

        Raises:
            ValueError: for another shape, or an array with values that are not finite.
        """
        latents = tf.convert_to_tensor(self.check_latents(latents), tf.float32)
        parts = [latents[i : i + DECODE_BATCH] for i in range(0, len(latents), DECODE_BATCH)]
        decoded = [self._compiled_decode(part, precision=precision) for part in parts]
        return decoded[0] if len(decoded) == 1 else tf.concat(decoded, axis=0)

    def traced(self, function):
        """`function(generator, ...)` as a `tf.function` of its other arguments, tensors all.

        Methods call what they iterate so: it is traced once for each shape, however many batches
        and calls there are.
        """
        if function not in self._traced:
            self._traced[function] = tf.function(
                functools.partial(function, self), autograph=False, jit_compile=has_gpu() or None
            )
        return self._traced[function]

    def errors(self, decoded, pixels, held=None):
        """Mean squared error of each image, as `metrics.mse`, but of tensors in float32.

        For methods that compare iterates; what is reported goes through `metrics`.
        """
        squares = tf.square(tf.clip_by_value(decoded, 0, 1) - pixels)
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

    def take(self, images):
        """The generator of some of its images: slices the condition, if there is one.

        Args:
            images: a slice or an array of indices of images.
        """
        return self

    def latents(self, n, seed=0, stream=0):
        """n Gaussian latents `(n, height, width, channels)`, a function of the other arguments.

        Args:
            n: how many.
            seed: integer.
            stream: integer; those of one stream are independent of those of another.
        """
        return tf.random.stateless_normal((n, *self.image_shape), (seed, stream)).numpy()

    def sample(self, n, seed=0):
        """Generates n images; returns pixels as `decode` does, as an array."""
        return self.decode(self.latents(n, seed)).numpy()

    def call(self, latents):
        return self.decode_tensor(latents)

    def _check(self, values, name):
        if tf.is_tensor(values):
            shape = tuple(values.shape)
        else:
            values = np.asarray(values, np.float32)
            shape = values.shape
            if not np.isfinite(values).all():
                raise ValueError(f"`{name}` must be finite; some values are NaN or infinite.")
        if len(shape) != 4 or shape[1:] != self.image_shape or shape[0] == 0:
            raise ValueError(
                f"`{name}` must have shape (n, {', '.join(map(str, self.image_shape))}), n at "
                f"least 1. Received shape: {shape}"
            )
        return values

    def fingerprint(self):
        """Words that tell this generator from another: two sums over its weights, its sampler."""
        weights = np.concatenate([np.float64(weight).ravel() for weight in self.get_weights()])
        sums = f"{weights.sum():.6e} {(weights**2).sum():.6e}"
        words = f"{sums} {self.schedule_name} {self.num_steps} {self.last_step}"
        return words if self.prediction == "noise" else f"{words} {self.prediction}"

    def check_latents(self, latents):
        """Returns latents as a float32 array (a tensor as it is), or says what is wrong with them.

        Raises:
            ValueError: for another shape than `(n, *image_shape)`, n = 0, or values that are not
                finite.
        """
        return self._check(latents, "latents")

    def check_pixels(self, pixels):
        """Returns pixels as a float32 array, or says what is wrong with them.

        Raises:
            ValueError: for another shape than `(n, *image_shape)`, n = 0, values that are not
                finite or not in [0, 1].
        """
        pixels = self._check(np.asarray(pixels), "pixels")
        if pixels.min() < 0 or pixels.max() > 1:
            raise ValueError(
                "`pixels` must be in [0, 1]. Received values from "
                f"{pixels.min():.4g} to {pixels.max():.4g}"
            )
        return pixels

    def check_mask(self, mask, count):
        """Returns which pixels are held, or says what is wrong with a mask.

        Args:
            mask: bool `(n, height, width)` or `(n, height, width, 1)`; True where a pixel is free.
            count: n.

        Returns:
            float32 array `(n, *image_shape)`: 1 where a pixel is held, 0 where it is free.

        Raises:
            ValueError: for another shape or type, or a mask that holds no pixel of an image;
                padding does not count.
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
            "image_shape": self.image_shape,
            "widths": self.network.widths,
            "block_depth": self.network.block_depth,
            "attention": self.network.attention,
            "schedule": self.schedule_name,
            "num_steps": self.num_steps,
            "last_step": self.last_step,
            "precision": self.precision,
            "padding": self.padding,
            "prediction": self.prediction,
        }
