"""Training f_t, a network that shifts h, by the directional loss (Asyrp, Kwon et al. 2023)."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments
from ddim_embed.generator.generator import as_generator
from ddim_embed.networks.shift import DeltaNetwork
from ddim_embed.parallel import over_cores
from ddim_embed.process.asymmetric import asymmetric_sample
from ddim_embed.process.sampling import predict_images
from ddim_embed.training.batches import parts_of
from ddim_embed.training.trained import TrainedModel, Untracked

# What a change of the embedding is long beside, as a share of the target.
_SOFTNESS = 0.1


class DeltaTrainer(TrainedModel):
    """Trains a `DeltaNetwork` to change images as an embedding says: Asyrp, Eq. 3.

    At each step the image that is predicted with shifted h is compared with the one that is
    predicted without. The change of their embeddings shall point along `target`: the loss is one
    minus the cosine of the angle between the two, plus `l1` times the mean absolute difference of
    pixels. The steps run along the edited trajectory, through which no gradient flows.

    The embedding is any differentiable function. With a classifier that was trained on labels, the
    target is the difference of its classes' mean features; with CLIP, that of two texts. No change
    has no direction, and an untrained network makes none: a tenth of the target's length is added,
    squared, to the squared length of the change, so that the loss begins at 1, with a gradient, and
    small changes are not good ones.

    Args:
        network: a `DeltaNetwork`, of `num_steps` of the generator.
        generator: a `Generator` whose network has an h, without a condition.
        image_encoder: function from pixels `(batch, height, width, channels)`, a tensor that is not
            clipped, to embeddings `(batch, d)`; differentiable.
        target: `(d,)`, not 0: `class_difference`, or `text_encoder(edited) - text_encoder(plain)`.
        l1: weight of the difference of pixels; 3 for images in [-1, 1] in the published code.
        until: t_edit: steps that start at times before it are not trained.

    `fit` takes latents `(batch, height, width, channels)`: embeddings of images, or Gaussian ones.
    As in the published code, `SGD` is the optimizer to take.

    Raises:
        ValueError: for a network of another generator, size or number of steps; for a target that
            is 0, and numbers out of their range.

    Example:
        >>> import keras
        >>> generator = de.build_generator((16, 16, 1), widths=(4, 8), block_depth=1, num_steps=2)
        >>> classifier = de.FeatureClassifier((16, 16, 1), classes=2, widths=(4,))
        >>> pixels = generator.sample(8).clip(0, 1)
        >>> target = de.class_difference(classifier.feature_tensor, pixels, np.arange(8) % 2)
        >>> network = de.DeltaNetwork(channels=8, num_steps=2)
        >>> trainer = de.DeltaTrainer(network, generator, classifier.feature_tensor, target)
        >>> trainer.compile(keras.optimizers.SGD(0.1))
        >>> history = trainer.fit(generator.latents(8), batch_size=4, verbose=0)
        >>> sorted(history.history)
        ['direction', 'l1', 'loss']
    """

    batch_parts = ("latents",)

    def __init__(
        self,
        network: DeltaNetwork,
        generator,
        image_encoder: Callable,
        target,
        l1: float = 3.0,
        until: float = 0.0,
        **kwargs,
    ):
        arguments.instance("network", network, DeltaNetwork)
        super().__init__(network, **kwargs)
        if as_generator(generator).condition is not None:
            raise ValueError("`generator` must have no condition: f_t is trained without one.")
        if network.num_steps != generator.num_steps:
            raise ValueError(
                f"`network` must be of the generator's {generator.num_steps} steps. "
                f"Received: {network.num_steps}"
            )
        if network.fingerprint not in ("", generator.denoiser_fingerprint()):
            raise ValueError(f"`network` is of another generator: {network.fingerprint!r}")
        self.network = network
        self._generator = Untracked(generator)
        self._image_encoder = Untracked(arguments.function("image_encoder", image_encoder))
        self._target = arguments.finite_array("target", target)
        if self._target.ndim != 1 or not self._target.any():
            raise ValueError(
                f"`target` must be one vector, not 0. Received: {arguments.received(self._target)}"
            )
        self._l1 = arguments.number("l1", l1, at_least=0)
        self._until = arguments.number("until", until, at_least=0, at_most=1)
        self._trackers = [
            keras.metrics.Mean(name=name, dtype="float32") for name in ("loss", "direction", "l1")
        ]
        self.built = True

    @property
    def trained(self):
        return self.network

    @property
    def metrics(self):
        return self._trackers

    @property
    def image_shape(self):
        return self._generator.value.image_shape

    @property
    def constants(self):
        return self._generator.value.denoiser().frozen.weights

    def check_batch(self, data):
        parts = parts_of(data, self.batch_parts, type(self).__name__, self.image_shape)
        arguments.finite_array("latents", ops.convert_to_numpy(parts[0]))

    def compute_losses(self, latents, seed, training, constants):
        generator = self._generator.value
        denoise = generator.denoiser()
        if constants is not denoise.frozen.weights:  # those that a compiled step on JAX is given
            denoise = denoise.replace(constants)

        def losses(latents):
            found = []

            def edited(noisy_images, rates):
                h, skips = denoise.encode(noisy_images, rates)
                variances = ops.full((ops.shape(h)[0], 1, 1, 1), rates.noise**2)
                shifted = h + self.network([h, variances], training=training)
                noises = [denoise.decode(x, skips, noisy_images, rates) for x in (h, shifted)]
                pixels = [
                    generator.normalizer.inverse(predict_images(noisy_images, each, rates))
                    for each in noises
                ]
                found.append(self._losses_between(*pixels))
                return noises[0], ops.stop_gradient(noises[1])

            asymmetric_sample(
                denoise,
                edited,
                generator.schedule,
                latents,
                generator.num_steps,
                generator.last_step,
                self._until,
            )
            return sum(found) / len(found)

        means = ops.mean(over_cores(losses, latents), axis=0)
        direction, difference = means[0], means[1]
        return direction + self._l1 * difference, {"direction": direction, "l1": difference}

    def _losses_between(self, source, edited):
        """Of each pair of images, 1 - cos and the mean absolute difference, `(n, 2)`."""
        encode = self._image_encoder.value
        change, target = encode(edited) - encode(source), self._target
        length = np.linalg.norm(target)
        squares = ops.sum(ops.square(change), axis=-1) + (_SOFTNESS * length) ** 2
        cosines = ops.matmul(change, target[:, None])[:, 0] / (length * ops.sqrt(squares))
        return ops.stack([1 - cosines, ops.mean(ops.abs(edited - source), axis=(1, 2, 3))], axis=1)

    def get_config(self):
        raise NotImplementedError(
            "DeltaTrainer is not saved as a model: the weights of its generator are no part of it. "
            "Save its `network`; `save_weights` also saves the optimizer's state."
        )


def class_difference(
    image_encoder: Callable, pixels: np.ndarray, labels: np.ndarray, batch_size: int = 64
) -> np.ndarray:
    """The mean embedding of images with an attribute minus that of images without it.

    Args:
        image_encoder: as for `DeltaTrainer`.
        pixels: float, `(n, height, width, channels)` in [0, 1].
        labels: `(n,)`, True or 1 with the attribute, False or 0 without; or `(n, k)`, of k.
        batch_size: images per batch, which bounds memory.

    Returns:
        float32 array `(d,)`, a `target` of `DeltaTrainer`; or `(k, d)`.

    Raises:
        ValueError: for other labels, or an attribute that all images have, or none.

    Example:
        >>> pixels = np.linspace(0, 1, 4).reshape(4, 1, 1, 1)
        >>> de.class_difference(lambda x: x[:, 0, 0], pixels, [0, 0, 1, 1])
        array([0.6666667], dtype=float32)
    """
    arguments.function("image_encoder", image_encoder)
    pixels = arguments.finite_array("pixels", pixels)
    weights = arguments.contrasts("labels", labels, len(pixels))
    batch_size = arguments.integer("batch_size", batch_size)
    total = 0.0
    for i in range(0, len(pixels), batch_size):
        part = slice(i, i + batch_size)
        features = image_encoder(ops.convert_to_tensor(pixels[part]))
        total = total + weights[part].T @ np.float64(ops.convert_to_numpy(features))
    return np.float32(total if np.ndim(labels) == 2 else total[0])
