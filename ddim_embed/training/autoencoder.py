"""Training a diffusion autoencoder: encoder and decoder jointly (Preechakul et al., Sec. 3)."""

import keras

from ddim_embed import arguments
from ddim_embed.networks.blocks import deserialized, register
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

    Example:
        >>> sizes = {"channels": 1, "widths": (4, 8), "block_depth": 1}
        >>> encoder, decoder = de.SemanticEncoder(**sizes, dims=3), de.ModulatedUNet(3, **sizes)
        >>> network = de.AutoencoderNetwork(encoder, decoder)
        >>> images = np.zeros((2, 8, 8, 1))
        >>> network([images, np.full((2, 1, 1, 1), 0.5), images]).shape
        TensorShape([2, 8, 8, 1])
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

    @property
    def trunk_numbers(self):
        """Numbers, in `trainable_variables`, of those that a decoder has from a `UNet`."""
        trunk = {id(variable) for variable in self.decoder.trunk_variables}
        return [i for i, variable in enumerate(self.trainable_variables) if id(variable) in trunk]

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return super().get_config() | {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**deserialized(config, ("encoder", "decoder"), custom_objects))


@register
class AutoencoderModel(DiffusionModel):
    """Trains encoder and decoder of a diffusion autoencoder by the decoder's denoising loss.

    Args:
        network: an `AutoencoderNetwork`.
        schedule, ema, seed, loss, prediction: as for `DiffusionModel`.
        emphasis: in training, times t have the density emphasis * t**(emphasis - 1). Above 1 the
            noisiest images are seen more often, where the semantic vector says most.

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

    def __init__(self, network, *args, emphasis=1.0, **kwargs):
        arguments.instance("network", network, AutoencoderNetwork)
        super().__init__(network, *args, **kwargs)
        self.emphasis = arguments.number("emphasis", emphasis, above=0)

    def training_times(self, uniform):
        return uniform ** (1 / self.emphasis)

    def call(self, inputs, training=None):
        """The averaged network's prediction; `inputs` as for `AutoencoderNetwork`."""
        return super().call(inputs, training)

    def _inputs(self, images, noisy_images, rates):
        return [*super()._inputs(images, noisy_images, rates), images]

    def get_config(self):
        return super().get_config() | {"emphasis": self.emphasis}
