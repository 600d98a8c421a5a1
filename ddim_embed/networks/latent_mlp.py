"""The denoiser of semantic vectors: a perceptron that sees its input again in every layer."""

import itertools

import keras
from keras import ops

from ddim_embed import arguments
from ddim_embed.memory import require_memory
from ddim_embed.networks.blocks import SinusoidalEmbedding, register

# Of the noise variance: sines and cosines, and the two layers behind them.
EMBEDDING_DIMS = 64
_CONDITION = 512
# As published: "Kaiming-normal" in front of an activation, PyTorch's default elsewhere.
_KAIMING = {"scale": 2.0, "mode": "fan_in", "distribution": "untruncated_normal"}
_UNIFORM = {"scale": 1 / 3, "mode": "fan_in", "distribution": "uniform"}


@register
class LatentMLP(keras.Model):
    """The latent network of Preechakul et al. (2022), Fig. 8: predicts the noise of noisy vectors.

    Each layer but the last one multiplies a linear map of its input by 1 + a linear map of the
    embedded noise variance, and only then normalises (LayerNorm), which is followed by SiLU. From
    the second layer on, the noisy vector is joined to a layer's input. The last layer is linear.

    With the defaults and `dims` of 512 it is the published network of 51.60 x 2**20 weights. There,
    it is the number of the time step that is embedded; the noise variance says the same, for any
    schedule.

    Args:
        dims: length of a vector.
        hidden: width of the layers in between.
        depth: number of layers, the last one included; at least 2.
        dropout: share of the hidden units that are left out in training, in [0, 1).
        seed: integer from 0 to 2**63 - 1, of the initial weights and the dropout.

    Call: `[vectors, noise_variances]` of shapes `(batch, dims)` and `(batch, 1)`; returns the shape
    of `vectors`, float32 at any `dtype` policy.

    Raises:
        ValueError: for sizes that cannot be built, or more weights than memory holds.

    Example:
        >>> network = de.LatentMLP(dims=8, hidden=32, depth=3)
        >>> network([np.zeros((2, 8)), np.full((2, 1), 0.5)]).shape
        TensorShape([2, 8])
    """

    def __init__(
        self,
        dims: int = 512,
        hidden: int = 2048,
        depth: int = 10,
        dropout: float = 0.0,
        seed: int = 0,
        **kwargs,
    ):
        # Without autocast the noise variances reach their embedding unrounded; layers cast vectors.
        super().__init__(autocast=False, **kwargs)
        self.dims = arguments.integer("dims", dims)
        self.hidden = arguments.integer("hidden", hidden)
        self.depth = arguments.integer("depth", depth, least=2)
        self.dropout = arguments.number("dropout", dropout, at_least=0, below=1)
        self.seed = arguments.seed(seed)
        weights = 4 * (self.depth - 1) * self.hidden * (self.hidden + self.dims + _CONDITION)
        require_memory(weights, f"a `LatentMLP` of `hidden` {hidden} and `depth` {depth}")
        seeds = itertools.count(self.seed % 2**62)  # Keras takes less than 2**63

        def dense(units, initializer, name):
            kernel = keras.initializers.VarianceScaling(**initializer, seed=next(seeds))
            return keras.layers.Dense(
                units, kernel_initializer=kernel, dtype=self.dtype_policy, name=name
            )

        layers = range(self.depth - 1)
        self.embedding = SinusoidalEmbedding(EMBEDDING_DIMS, dtype=self.dtype_policy)
        self.condition = [dense(_CONDITION, _UNIFORM, f"condition{i}") for i in range(2)]
        self.linears = [dense(self.hidden, _KAIMING, f"linear{i}") for i in layers]
        self.scales = [dense(self.hidden, _KAIMING, f"scale{i}") for i in layers]
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name=f"norm{i}")
            for i in layers
        ]
        self.drop = None
        if self.dropout:
            self.drop = keras.layers.Dropout(dropout, seed=next(seeds), dtype=self.dtype_policy)
        self.output_layer = dense(self.dims, _UNIFORM, "output_layer")
        self.build()

    def build(self, input_shape=None):
        """Creates all variables; the sizes given to `__init__` are enough to do so."""
        if self.built:
            return
        self.condition[0].build((None, EMBEDDING_DIMS))
        self.condition[1].build((None, _CONDITION))
        width = self.dims
        for linear, scale, norm in zip(self.linears, self.scales, self.norms, strict=True):
            linear.build((None, width))
            scale.build((None, _CONDITION))
            norm.build((None, self.hidden))
            width = self.hidden + self.dims
        self.output_layer.build((None, width))
        self.built = True

    def call(self, inputs, training=None):
        vectors, noise_variances = inputs
        first, second = self.condition
        condition = ops.silu(second(ops.silu(first(self.embedding(noise_variances)))))
        vectors = ops.cast(vectors, self.compute_dtype)
        x = vectors
        for linear, scale, norm in zip(self.linears, self.scales, self.norms, strict=True):
            x = ops.silu(norm(linear(x) * (1 + scale(condition))))
            if self.drop is not None:
                x = self.drop(x, training=training)
            x = ops.concatenate([x, vectors], axis=-1)
        return ops.cast(self.output_layer(x), "float32")

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        names = "dims", "hidden", "depth", "dropout", "seed"
        return super().get_config() | {name: getattr(self, name) for name in names}
