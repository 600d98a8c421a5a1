"""Training embedding networks: through the unrolled sampler, or on latents known to be right.

The paper's loss needs the gradient of a whole decode for every image (Sec. 5.2). Regression on
pairs (latents, decode(latents)) needs none: its optimum is the mean of emb(x), which is a good
place for the former to start.
"""

import keras
from keras import ops

from ddim_embed import arguments
from ddim_embed.data import crop_padding
from ddim_embed.generator.generator import as_generator
from ddim_embed.networks.blocks import BatchNorm
from ddim_embed.parallel import over_cores
from ddim_embed.training.batches import check_pixels, look_at, parts_of
from ddim_embed.training.losses import get_loss
from ddim_embed.training.trained import TrainedModel, Untracked


class _EmbedderModel(TrainedModel):
    """What both ways of training an embedding network share: `embedder` is all that they train."""

    def __init__(self, embedder, generator, **kwargs):
        arguments.instance("embedder", embedder, keras.layers.Layer)
        super().__init__(embedder, **kwargs)
        self.embedder = embedder
        # Keras would track its weights as this model's.
        self._generator = Untracked(as_generator(generator))
        self.loss_tracker = keras.metrics.Mean(name="loss", dtype="float32")
        self.built = True

    @property
    def trained(self):
        return self.embedder

    @property
    def image_shape(self):
        return self._generator.value.image_shape

    def predict(self, x, *args, **kwargs):
        """As `keras.Model.predict`, after a look at the first batch's pixels."""
        x, batch = look_at(x)
        if batch is not None:
            pixels = batch[0] if isinstance(batch, (list, tuple)) else batch
            parts_of(pixels, ("pixels",), type(self).__name__, self.image_shape)
            check_pixels(pixels)
        return super().predict(x, *args, **kwargs)

    def get_config(self):
        raise NotImplementedError(
            f"{type(self).__name__} is not saved as a model: the weights of its generator are no "
            "part of it. Save its `embedder`; `save_weights` also saves the optimizer's state."
        )

    def _embed(self, pixels, training):
        return self.embedder(self._generator.value.normalizer(pixels), training=training)

    def _over_cores(self, function, pixels, training):
        """`function(pixels)` as `over_cores`, unless the batch's statistics tie its images."""
        layers = self.embedder._flatten_layers()
        if training and any(isinstance(layer, BatchNorm) for layer in layers):
            return function(pixels)
        return over_cores(function, pixels)


class EmbedderTrainer(_EmbedderModel):
    """Trains an embedding network on the error of the image that its latents decode to.

    The errors are those of decode(embed(pixels)) before clipping: a clip has no gradient where it
    acts. As in every error, pixels of the padding do not count. The gradient runs through all steps
    of the sampler; no weight of the generator is a variable of this model.

    Args:
        embedder: a network of `build_embedder`.
        generator: a `Generator`.
        remat: whether the sampler's activations are recomputed, so that memory hardly grows with
            its steps, at the price of a second evaluation of each.
        adapt_statistics: whether BatchNorm uses the batch's statistics and moves its averages, as a
            network needs that starts from scratch. After a warm start leave them as they are: the
            gradient through the sampler is steep, and shifting statistics throw the network off.
        loss: "mean_absolute_error" (the paper's), "mean_squared_error" (which Table 1 measures) or
            "root_mean_square" (of each image, averaged over images).

    `fit` takes batches of pixels `(batch, height, width, channels)` in [0, 1].

    Example:
        >>> import keras
        >>> generator = de.build_generator((16, 16, 1), widths=(4, 8), block_depth=1, num_steps=2)
        >>> trainer = de.EmbedderTrainer(de.build_embedder("conv1"), generator)
        >>> trainer.compile(keras.optimizers.Adam(1e-3))
        >>> history = trainer.fit(generator.sample(4).clip(0, 1), verbose=0)
        >>> sorted(history.history)
        ['loss', 'mse']
    """

    def __init__(
        self,
        embedder,
        generator,
        remat=False,
        adapt_statistics=False,
        loss="mean_absolute_error",
        **kwargs,
    ):
        super().__init__(embedder, generator, **kwargs)
        self._loss = get_loss(loss)
        self._remat = remat
        self._adapt_statistics = adapt_statistics
        self.mse_tracker = keras.metrics.Mean(name="mse", dtype="float32")

    @property
    def metrics(self):
        return [self.loss_tracker, self.mse_tracker]

    @property
    def constants(self):
        return self._generator.value.denoiser().frozen.weights

    def call(self, pixels, training=None):
        """Reconstructs pixels: decode(embed(pixels)), not clipped."""
        return self._reconstruct(pixels, training, self.constants)

    def _reconstruct(self, pixels, training, constants):
        generator = self._generator.value
        denoise = generator.denoiser()
        if constants is not denoise.frozen.weights:  # those that a compiled step on JAX is given
            denoise = denoise.replace(constants)
        return self._over_cores(
            lambda part: generator.decode_tensor(
                self._embed(part, training), remat=self._remat, denoise=denoise
            ),
            pixels,
            training,
        )

    def compute_losses(self, pixels, seed, training, constants):
        adapting = training and self._adapt_statistics
        reconstruction = self._reconstruct(pixels, adapting, constants)
        padding = self._generator.value.padding
        loss = self._loss(crop_padding(pixels - reconstruction, padding))
        clipped = crop_padding(pixels - ops.clip(reconstruction, 0, 1), padding)
        return loss, {"mse": ops.mean(ops.square(clipped))}


class LatentRegression(_EmbedderModel):
    """The warm start: regresses the latents of generated images.

    The loss is the mean squared error of the latents, whose minimum is the mean of emb(x).

    Args:
        embedder: a network of `build_embedder`.
        generator: a `Generator`, for its normaliser.

    `fit` takes pairs of pixels and latents, each `(batch, height, width, channels)`.

    Example:
        >>> import keras
        >>> generator = de.build_generator((16, 16, 1), widths=(4, 8), block_depth=1, num_steps=2)
        >>> regression = de.LatentRegression(de.build_embedder("conv1"), generator)
        >>> regression.compile(keras.optimizers.Adam(1e-3))
        >>> latents = generator.latents(4)
        >>> pixels = np.asarray(generator.decode(latents)).clip(0, 1)
        >>> list(regression.fit(pixels, latents, verbose=0).history)
        ['loss']
    """

    batch_parts = ("pixels", "latents")

    @property
    def metrics(self):
        return [self.loss_tracker]

    def call(self, pixels, training=None):
        """Embeds pixels."""
        return self._over_cores(lambda part: self._embed(part, training), pixels, training)

    def compute_losses(self, pair, seed, training, constants):
        pixels, latents = pair
        return ops.mean(ops.square(latents - self(pixels, training=training))), {}
