"""Training a denoiser: Algorithm 1 of Asperti et al., with an exponential moving average."""

import keras
from keras import ops

from ddim_embed import arguments, backend
from ddim_embed.networks.blocks import Normalizer, register
from ddim_embed.process import noise
from ddim_embed.process.predictions import check_prediction, noises_from, targets_of
from ddim_embed.process.sampling import predict_images
from ddim_embed.process.schedules import get_schedule, schedule_from_config, schedule_to_config
from ddim_embed.training.losses import DENOISER_LOSSES, get_loss
from ddim_embed.training.trained import TrainedModel


@register
class DiffusionModel(TrainedModel):
    """Trains a conditioned network to predict the noise in noisy images (Algorithm 1).

    The loss is the mean absolute, or squared, error of what the network predicts. `ema_network`
    follows the weights of `network`, BatchNorm statistics included, by an exponential moving
    average; it is the one to sample from.

    Args:
        network: a conditioned `UNet`, or any `keras.Model` with `channels` and `get_config` that
            maps `[noisy_images, noise_variances]` to predicted noises.
        schedule: name of a schedule, or a function like those of `schedules`; one that is
            registered by `keras.saving.register_keras_serializable` can be saved.
        ema: weight of the old average in each update, in [0, 1); see `TrainedModel`.
        seed: integer; the noise of the run.
        loss: "mean_absolute_error", as in the paper's code, or "mean_squared_error", as in Ho et
            al. (2020).
        prediction: what the network predicts, "noise", as in the paper, or "velocity", from which
            the noise follows.

    `fit` takes batches of pixels `(batch, height, width, channels)` in [0, 1], any batch size; call
    `normalizer.adapt(pixels)` first. Saved by Keras (`save`, `save_weights`), in a checkpoint of
    `train` or by `save_weights`, the average goes on as if it had not been saved.

    Raises:
        ValueError: for options that do not exist; on `compile` for a network whose weights are not
            float32; on `fit` and `evaluate` for data that are not float pixels in [0, 1], and for a
            normaliser that is not adapted to such.

    Example:
        >>> import keras
        >>> pixels, _ = de.load_images("fashion_mnist", "test", limit=8, source="sample")
        >>> model = de.DiffusionModel(de.UNet(channels=1, widths=(4, 8), block_depth=1))
        >>> model.normalizer.adapt(pixels)
        >>> model.compile(keras.optimizers.Adam(1e-3))
        >>> history = model.fit(pixels, batch_size=8, verbose=0)
        >>> sorted(history.history)
        ['image_loss', 'loss']
    """

    def __init__(
        self,
        network,
        schedule="continuous_cosine",
        ema=0.999,
        seed=0,
        loss="mean_absolute_error",
        prediction="noise",
        **kwargs,
    ):
        arguments.instance("network", network, keras.layers.Layer)
        super().__init__(network, **kwargs)
        self._loss = get_loss(loss, DENOISER_LOSSES)
        self.schedule_name = schedule
        self.schedule = get_schedule(schedule)
        self.ema = arguments.number("ema", ema, at_least=0, below=1)
        self.seed = arguments.seed(seed)
        self.loss_name = loss
        self.prediction = check_prediction(prediction)
        self.normalizer = self.make_normalizer(network)
        self.network = network
        self.ema_network = type(network).from_config(network.get_config())
        self.ema_network.set_weights(network.get_weights())
        self.ema_network.trainable = False
        # A float, which is all that weights files hold; exact long after the warm-up.
        self.updates = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="float32",
            trainable=False,
            aggregation="only_first_replica",
            name="updates",
        )
        self.loss_tracker = keras.metrics.Mean(name="loss", dtype="float32")
        self.image_loss_tracker = keras.metrics.Mean(name="image_loss", dtype="float32")
        self.built = True

    def make_normalizer(self, network):
        """What takes a batch to the space of the network, from its sizes alone."""
        return Normalizer(network.channels, name="normalizer")

    @property
    def trained(self):
        return self.network

    @property
    def averaged(self):
        return self.ema_network

    @property
    def metrics(self):
        return [self.loss_tracker, self.image_loss_tracker]

    def call(self, inputs, training=None):
        """The averaged network's prediction; `inputs` as `UNet` takes them."""
        return self.ema_network(inputs, training=False)

    def check_batch(self, data):
        super().check_batch(data)
        self.normalizer.check()

    def compute_losses(self, pixels, seed, training, constants):
        images = self.normalizer(pixels)
        noises, rates = self._draw(images, seed, evenly=not training)
        noisy_images = rates.signal * images + rates.noise * noises
        network = self.network if training else self.ema_network
        outputs = network(self._inputs(images, noisy_images, rates), training=training)
        loss = self._loss(targets_of(self.prediction, images, noises, rates) - outputs)
        pred_noises = noises_from(self.prediction, outputs, noisy_images, rates)
        pred_images = predict_images(noisy_images, pred_noises, rates)
        return loss, {"image_loss": ops.mean(ops.abs(images - pred_images))}

    def _inputs(self, images, noisy_images, rates):
        """What the network is called on."""
        return [noisy_images, rates.noise**2]

    def training_times(self, uniform):
        """The diffusion times of training, of numbers that are uniform in [0, 1)."""
        return uniform

    def _draw(self, images, seed, evenly):
        """Noises of the images' shape, and the rates of one diffusion time per image.

        `evenly` spreads a batch's times over [0, 1): validation draws the same for every batch.
        """
        times_seed, noise_seed = noise.split(seed)
        count, *shape = ops.shape(images)
        first, total = backend.rows_of_replica(count)
        ones = (1,) * len(shape)
        times = noise.uniform((total, *ones), times_seed)
        if evenly:
            numbers = ops.reshape(ops.arange(total, dtype="float32"), (-1, *ones))
            times = (times + numbers) / ops.cast(total, "float32")
        else:
            times = self.training_times(times)
        noises = noise.normal((total, *shape), noise_seed)
        if total is not count:
            times, noises = times[first : first + count], noises[first : first + count]
        return noises, self.schedule(times)

    def get_config(self):
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "schedule": schedule_to_config(self.schedule_name),
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
        config["schedule"] = schedule_from_config(config["schedule"], custom_objects)
        return cls(**config)
