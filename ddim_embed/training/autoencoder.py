"""Training a diffusion autoencoder: encoder and decoder jointly (Preechakul et al., Sec. 3)."""

import keras

from ddim_embed import arguments
from ddim_embed.networks.blocks import register
from ddim_embed.training.denoiser import DiffusionModel


@register
class AutoencoderNetwork(keras.Model):
    """A semantic encoder and a conditional denoiser as one network, to be trained as one.

    Args:
        encoder: a `SemanticEncoder`, or any `keras.Model` from images to vectors.
        decoder: a `ModulatedUNet`, an `AdaptiveUNet`, or any `keras.Model` with `channels` of
            `[noisy_images, noise_variances, vectors]`.

    Call: `[noisy_images, noise_variances, images]` -> what the decoder predicts, told what the
    encoder sees in `images`.
    """

    def __init__(self, encoder, decoder, **kwargs):
        arguments.instance("encoder", encoder, keras.layers.Layer)
        arguments.instance("decoder", decoder, keras.layers.Layer)
        super().__init__(autocast=False, **kwargs | {"dtype": decoder.dtype_policy})
        self.encoder = encoder
        self.decoder = decoder
        self.channels = decoder.channels
        self.built = True

    def call(self, inputs, training=None):
        noisy_images, noise_variances, images = inputs
        semantic = self.encoder(images, training=training)
        return self.decoder([noisy_images, noise_variances, semantic], training=training)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return super().get_config() | {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("encoder", "decoder"):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
        return cls(**config)


@register
class AutoencoderModel(DiffusionModel):
    """Trains encoder and decoder of a diffusion autoencoder by the decoder's denoising loss.

    Args:
        network: an `AutoencoderNetwork`.
        schedule, ema, seed, loss, prediction: as for `DiffusionModel`.

    `ema_network` follows both. `fit` and `train` take what a `DiffusionModel` takes.

    Example:
        >>> import keras
        >>> encoder = de.SemanticEncoder(channels=1, widths=(4, 8), block_depth=1, dims=3)
        >>> sizes = {"channels": 1, "widths": (4, 8), "block_depth": 1}
        >>> network = de.AutoencoderNetwork(encoder, de.ModulatedUNet(semantic_dims=3, **sizes))
        >>> model = de.AutoencoderModel(network, prediction="velocity")
        >>> pixels, _ = de.load_images("fashion_mnist", "test", limit=8, source="sample")
        >>> model.normalizer.adapt(pixels)
        >>> model.compile(keras.optimizers.Adam(1e-3))
        >>> history = model.fit(pixels, batch_size=8, verbose=0)
    """

    def __init__(self, network, *args, **kwargs):
        arguments.instance("network", network, AutoencoderNetwork)
        super().__init__(network, *args, **kwargs)

    def call(self, inputs, training=None):
        """The averaged network's prediction; `inputs` as for `AutoencoderNetwork`."""
        return super().call(inputs, training)

    def _inputs(self, images, noisy_images, rates):
        return [*super()._inputs(images, noisy_images, rates), images]
