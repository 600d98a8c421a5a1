"""Training the prior of semantic vectors: a DDIM whose data are vectors."""

from ddim_embed.networks.blocks import VectorNormalizer, register
from ddim_embed.training.batches import check_vectors
from ddim_embed.training.denoiser import DiffusionModel


@register
class PriorModel(DiffusionModel):
    """Trains a network to predict the noise in noisy, standardised vectors.

    The latent DDIM of Preechakul et al. (2022), Sec. 4: a `DiffusionModel` whose batches are
    vectors, with the constant schedule and the mean absolute error.

    Args:
        network: a `LatentMLP`, or any `keras.Model` with `dims` and `get_config` that maps
            `[noisy_vectors, noise_variances]`, of shapes `(batch, dims)` and `(batch, 1)`, to
            predicted noises.
        schedule: as for `DiffusionModel`, by default "constant".
        **kwargs: `ema`, `seed`, `loss` and `prediction` of `DiffusionModel`.

    `fit` takes batches of vectors `(batch, dims)`; call `normalizer.adapt(vectors)` first.
    `image_loss` is the mean absolute error of the predicted vectors, standardised.

    Raises:
        ValueError: as `DiffusionModel`; on `fit` and `evaluate` for data that are not finite floats
            of that shape.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        >>> model = de.PriorModel(de.LatentMLP(dims=4, hidden=8, depth=2))
        >>> model.normalizer.adapt(vectors)
        >>> model.compile("adam")
        >>> history = model.fit(vectors, batch_size=32, verbose=0)
        >>> de.SemanticPrior.from_model(model).sample(3).shape
        (3, 4)
    """

    batch_parts = ("vectors",)

    def __init__(self, network, schedule="constant", **kwargs):
        super().__init__(network, schedule, **kwargs)

    @property
    def image_shape(self):
        return (self.network.dims,)

    def make_normalizer(self, network):
        return VectorNormalizer(network.dims, name="normalizer")

    def check_values(self, values):
        check_vectors(values)
