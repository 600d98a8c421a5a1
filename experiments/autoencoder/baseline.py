"""A plain convolutional autoencoder: what the same encoder tells a decoder of one pass."""

import keras
from keras import layers, ops

from ddim_embed.networks.blocks import dtype_policy
from ddim_embed.networks.group_normalized import GroupNorm, conv
from ddim_embed.networks.semantic_encoder import EncoderBlock
from ddim_embed.training.loop import warmup_cosine
from ddim_embed.training.trained import TrainedModel
from experiments.toolkit import runs, sources


def plain_autoencoder(encoder, image_size, precision="float32"):
    """An encoder of the sizes of a `SemanticEncoder`, with random weights, and its mirror image.

    The decoder is a linear map to the encoder's lowest resolution, and for each of its widths a
    block of one convolution; between them images are enlarged twofold.

    Args:
        encoder: the `SemanticEncoder`.
        image_size: height and width.
        precision: "float32" or "bfloat16", of training.

    Returns:
        A `keras.Sequential` from normalised images to normalised images.
    """
    policy = dtype_policy(precision)
    own = type(encoder).from_config(encoder.get_config() | {"dtype": policy})
    lowest, width = image_size // 2 ** (len(own.widths) - 1), own.widths[-1]
    parts = [own, layers.Dense(lowest**2 * width, dtype=policy)]
    parts += [layers.Reshape((lowest, lowest, width), dtype=policy)]
    for level, width in enumerate(own.widths[::-1]):
        if level:
            parts.append(layers.UpSampling2D(data_format="channels_last", dtype=policy))
        parts.append(EncoderBlock(width, dtype=policy))
    parts += [GroupNorm(dtype=policy), layers.Activation("swish", dtype=policy)]
    network = keras.Sequential([*parts, conv(own.channels, dtype="float32")])
    network.build((None, image_size, image_size, own.channels))
    return network


class PlainAutoencoderModel(TrainedModel):
    """Trains an autoencoder by the mean squared error of normalised images.

    Args:
        network: a `keras.Model` from normalised images to normalised images.
        normalizer: the adapted `Normalizer` of the images.
    """

    def __init__(self, network, normalizer):
        super().__init__(network)
        self.network = network
        self.normalizer = normalizer
        self.loss_tracker = keras.metrics.Mean(name="loss", dtype="float32")
        self.built = True

    @property
    def trained(self):
        return self.network

    @property
    def metrics(self):
        return [self.loss_tracker]

    def compute_losses(self, pixels, seed, training, constants):
        images = self.normalizer(pixels)
        errors = ops.cast(self.network(images, training=training), "float32") - images
        return ops.mean(ops.square(errors)), {}


def reconstruct(config, steps, autoencoder, pixels):
    """Trains the baseline of an `Autoencoder`, resumable; reconstructs pixels, not clipped."""
    keras.utils.set_random_seed(config.seed)
    sizes = autoencoder.encoder.get_config() | {"dtype": None}
    network = plain_autoencoder(autoencoder.encoder, config.image_size, config.precision)
    model = PlainAutoencoderModel(network, autoencoder.generator.normalizer)
    model.compile(keras.optimizers.Adam(warmup_cosine(config.learning_rate, steps)))
    runs.run(
        config,
        model,
        lambda step: sources.stream(config, config.batch_size, step),
        steps,
        config.run_folder / "autoencode" / f"plain-{steps}",
        identity=f"{runs.run_key(config)}, {sizes}",
        description="plain autoencoder",
    )
    trained = plain_autoencoder(autoencoder.encoder, config.image_size)  # errors are of float32
    trained.set_weights(network.get_weights())
    normalizer = autoencoder.generator.normalizer
    return normalizer.inverse(trained.predict(normalizer(pixels), verbose=0)).numpy()
