"""f_t of Asyrp (Kwon et al. 2023): the shift of h as a function of h and of the noise level."""

import keras
from keras import ops

from ddim_embed import arguments
from ddim_embed.networks.blocks import SinusoidalEmbedding, register, swish

_GROUPS = 32
_EPSILON = 1e-6


@register
class DeltaNetwork(keras.Model):
    """Predicts a shift of h, the bottleneck of the U-Net, from h: f_t of Asyrp.

    A 1x1 convolution; plus a linear map of the activated embedding of the noise variance; group
    normalisation; swish; a 1x1 convolution. Positions do not see each other but for the statistics
    of the groups. The last convolution starts at zero, so that an untrained network edits nothing;
    the published one starts at random.

    Args:
        channels: of h.
        num_steps: steps of the sampler that it is trained for; with N others its shift is
            multiplied by `num_steps` / N.
        fingerprint: of the generator, its `denoiser_fingerprint()`; "" for any.
        dims: of the embedded noise variance.

    Call: `[h, noise_variances]` of shapes `(batch, height, width, channels)` and `(batch, 1, 1, 1)`
    -> the shift, float32 of the shape of h.

    Raises:
        ValueError: for sizes that are not integers of at least 1.

    Example:
        >>> network = de.DeltaNetwork(channels=8)
        >>> float(abs(network([np.ones((2, 4, 4, 8)), np.full((2, 1, 1, 1), 0.5)])).numpy().max())
        0.0
        >>> de.DeltaNetwork(channels=512, dims=512).count_params()  # that of the paper
        788992
    """

    def __init__(
        self,
        channels: int,
        num_steps: int = 10,
        fingerprint: str = "",
        dims: int = 64,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.channels = arguments.integer("channels", channels)
        self.num_steps = arguments.integer("num_steps", num_steps)
        self.fingerprint = arguments.instance("fingerprint", fingerprint, str)
        self.dims = arguments.integer("dims", dims, 2)
        groups = max(n for n in range(1, _GROUPS + 1) if self.channels % n == 0)
        policy = self.dtype_policy

        def pointwise(name, **options):
            return keras.layers.Conv2D(
                self.channels, 1, data_format="channels_last", dtype=policy, name=name, **options
            )

        self.embedding = SinusoidalEmbedding(self.dims, dtype=policy)
        self.input_conv = pointwise("input_conv")
        self.time = keras.layers.Dense(self.channels, dtype=policy, name="time")
        self.norm = keras.layers.GroupNormalization(
            groups, epsilon=_EPSILON, dtype=policy, name="norm"
        )
        self.output_conv = pointwise("output_conv", kernel_initializer="zeros")
        self.build()

    def build(self, input_shape=None):
        """Creates all variables; the sizes given to `__init__` are enough to do so."""
        if self.built:
            return
        shape = (None, None, None, self.channels)
        self.time.build((None, 1, 1, self.dims))
        for layer in (self.input_conv, self.norm, self.output_conv):
            layer.build(shape)
        self.built = True

    def call(self, inputs, training=None):
        h, noise_variances = inputs
        x = self.input_conv(h) + self.time(swish(self.embedding(noise_variances)))
        return ops.cast(self.output_conv(swish(self.norm(x))), "float32")

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        names = "channels", "num_steps", "fingerprint", "dims"
        return super().get_config() | {name: getattr(self, name) for name in names}
