"""Training a denoiser: Algorithm 1 of Asperti et al., with an exponential moving average."""

import keras
import tensorflow as tf

from ddim_embed.networks.blocks import Normalizer, register
from ddim_embed.networks.parallel import has_gpu
from ddim_embed.process.predictions import check_prediction, noises_from, targets_of
from ddim_embed.process.schedules import get_schedule

# Training draws fresh noise at every step, validation the same noise every time.
_VALIDATION_STREAM = -1

# What a network can best predict under each: the median of the noise, channel by channel and pixel
# by pixel, and its mean. Only the mean is that of the probability flow which DDIM discretises.
LOSSES = {"absolute": tf.abs, "squared": tf.square}


@register
class DiffusionModel(keras.Model):
    """Trains a conditioned network to predict the noise in noisy images (Algorithm 1).

    The loss is the mean absolute, or squared, error of what the network predicts. `ema_network`
    follows the weights of `network`, BatchNorm statistics included, by an exponential moving
    average; it is the one to sample from. Noise is a function of `seed` and of the optimizer's step
    count alone, so a run that was restored from a checkpoint draws what the uninterrupted run would
    have drawn.

    Args:
        network: a conditioned `UNet`, or any `keras.Model` with `channels` and `get_config` that
            maps `[noisy_images, noise_variances]` to predicted noises.
        schedule: name of a schedule.
        ema: weight of the old average in each update, in [0, 1). After t updates it is (1 + t) /
            (10 + t) at most: the average of a short run is not of its random start.
        seed: integer; the noise of the run.
        loss: "absolute", as in the paper's code, or "squared", as in Ho et al. (2020).
        prediction: what the network predicts, "noise", as in the paper, or "velocity", from which
            the noise follows.

    `fit` takes batches of pixels `(batch, height, width, channels)` in [0, 1], any batch size; call
    `normalizer.adapt(pixels)` first.
    """

    def __init__(
        self,
        network,
        schedule="continuous_cosine",
        ema=0.999,
        seed=0,
        loss="absolute",
        prediction="noise",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0 <= ema < 1:
            raise ValueError(f"`ema` must be in [0, 1). Received: {ema}")
        if loss not in LOSSES:
            raise ValueError(f"`loss` must be one of {tuple(LOSSES)}. Received: {loss!r}")
        self.schedule_name = schedule
        self.schedule = get_schedule(schedule)
        self.ema = ema
        self.seed = seed
        self.loss_name = loss
        self.prediction = check_prediction(prediction)
        self.normalizer = Normalizer(network.channels, name="normalizer")
        self.network = network
        self.ema_network = type(network).from_config(network.get_config())
        self.ema_network.set_weights(network.get_weights())
        self.ema_network.trainable = False
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.image_loss_tracker = keras.metrics.Mean(name="image_loss")
        self.built = True

    def compile(self, optimizer, jit_compile=None, **kwargs):
        """Sets the optimizer. XLA is used on a GPU; on a CPU it makes this network slower.

        Args:
            optimizer: a Keras optimizer.
            jit_compile: None for the choice above, or a boolean.
            **kwargs: as for `keras.Model.compile`.
        """
        if jit_compile is None:
            jit_compile = has_gpu()
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        # Built now, so that a checkpoint of a model that has not trained yet is complete.
        self.optimizer.build(self.network.trainable_variables)

    @property
    def metrics(self):
        return [self.loss_tracker, self.image_loss_tracker]

    def call(self, inputs, training=None):
        """The averaged network's prediction; `inputs` as `UNet` takes them."""
        return self.ema_network(inputs, training=False)

    def train_step(self, pixels):
        images = self.normalizer(pixels)
        noises, rates = self._draw(images, self.optimizer.iterations)
        noisy_images = rates.signal * images + rates.noise * noises
        with tf.GradientTape() as tape:
            outputs = self.network([noisy_images, rates.noise**2], training=True)
            loss = self._error(outputs, images, noises, rates)
        variables = self.network.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        updates = tf.cast(self.optimizer.iterations, tf.float32)
        kept = tf.minimum(self.ema, (1 + updates) / (10 + updates))
        for average, weight in zip(self.ema_network.weights, self.network.weights, strict=True):
            average.assign(kept * average + (1 - kept) * weight)
        return self._track(loss, images, noisy_images, outputs, rates)

    def test_step(self, pixels):
        images = self.normalizer(pixels)
        noises, rates = self._draw(images, _VALIDATION_STREAM, evenly=True)
        noisy_images = rates.signal * images + rates.noise * noises
        outputs = self.ema_network([noisy_images, rates.noise**2], training=False)
        loss = self._error(outputs, images, noises, rates)
        return self._track(loss, images, noisy_images, outputs, rates)

    def _draw(self, images, step, evenly=False):
        """Noises of the images' shape, and the rates of one uniform diffusion time per image.

        `evenly` spreads a batch's times over [0, 1): validation draws the same for every batch.
        """
        stream = tf.stack([tf.cast(self.seed, tf.int64), tf.cast(step, tf.int64)])
        times_seed, noise_seed = tf.unstack(tf.random.split(stream, 2))
        shape = tf.shape(images)
        times = tf.random.stateless_uniform([shape[0], 1, 1, 1], times_seed)
        if evenly:
            count = tf.cast(shape[0], tf.float32)
            times = (times + tf.reshape(tf.range(count), (-1, 1, 1, 1))) / count
        return tf.random.stateless_normal(shape, noise_seed), self.schedule(times)

    def _error(self, outputs, images, noises, rates):
        targets = targets_of(self.prediction, images, noises, rates)
        return tf.reduce_mean(LOSSES[self.loss_name](targets - outputs))

    def _track(self, loss, images, noisy_images, outputs, rates):
        pred_noises = noises_from(self.prediction, outputs, noisy_images, rates)
        pred_images = (noisy_images - rates.noise * pred_noises) / rates.signal
        count = tf.shape(images)[0]
        self.loss_tracker.update_state(loss, sample_weight=count)
        self.image_loss_tracker.update_state(
            tf.reduce_mean(tf.abs(images - pred_images)), sample_weight=count
        )
        return {metric.name: metric.result() for metric in self.metrics}

    def get_config(self):
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "schedule": self.schedule_name,
            "ema": self.ema,
            "seed": self.seed,
            "loss": self.loss_name,
            "prediction": self.prediction,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["network"] = keras.saving.deserialize_keras_object(
            config["network"], custom_objects=custom_objects
        )
        return cls(**config)
