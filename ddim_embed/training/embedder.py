"""Training embedding networks: through the unrolled sampler, or on latents known to be right.

The paper's loss needs the gradient of a whole decode for every image (Sec. 5.2). Regression on
pairs (latents, decode(latents)) needs none: its optimum is the mean of emb(x), which is a good
place for the former to start.
"""

import os
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ddim_embed.data import crop_padding
from ddim_embed.generator.generator import DECODE_BATCH
from ddim_embed.networks.blocks import BatchNorm
from ddim_embed.networks.parallel import has_gpu, over_cores

# Of the errors of pixels, `(batch, height, width, channels)`. The paper's is the first. Table 1
# measures the second, in which few bad images outweigh the others; the third weighs all alike.
EMBEDDER_LOSSES = {
    "absolute": lambda errors: tf.reduce_mean(tf.abs(errors)),
    "squared": lambda errors: tf.reduce_mean(errors**2),
    "root_mean_square": lambda errors: tf.reduce_mean(
        tf.sqrt(tf.reduce_mean(errors**2, axis=(1, 2, 3)) + _TINY)
    ),
}
# So that an image without an error has a gradient.
_TINY = 1e-12


class _EmbedderModel(keras.Model):
    """What both ways of training an embedding network share: `embedder` is all that they train."""

    def __init__(self, embedder, generator, **kwargs):
        super().__init__(**kwargs)
        self.embedder = embedder
        # A function, not the generator itself: Keras would track its weights as this model's.
        self._normalize = generator.normalizer.__call__
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.built = True

    def compile(self, optimizer, jit_compile=None, **kwargs):
        """Sets the optimizer; arguments as for `DiffusionModel.compile`."""
        if jit_compile is None:
            jit_compile = has_gpu()
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.embedder.trainable_variables)

    def _embed(self, pixels, training):
        return self.embedder(self._normalize(pixels), training=training)

    def _over_cores(self, function, pixels, training):
        """`function(pixels)` as `over_cores`, unless the batch's statistics tie its images."""
        layers = self.embedder._flatten_layers()
        if training and any(isinstance(layer, BatchNorm) for layer in layers):
            return function(pixels)
        return over_cores(function, pixels)

    def _descend(self, tape, loss):
        variables = self.embedder.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


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
        loss: "absolute" (mean absolute error, the paper's), "squared" (mean squared error, which
            Table 1 measures) or "root_mean_square" (of each image, averaged over images).

    `fit` takes batches of pixels `(batch, height, width, channels)` in [0, 1].
    """

    def __init__(
        self,
        embedder,
        generator,
        remat=False,
        adapt_statistics=False,
        loss="absolute",
        **kwargs,
    ):
        super().__init__(embedder, generator, **kwargs)
        if loss not in EMBEDDER_LOSSES:
            raise ValueError(f"`loss` must be one of {tuple(EMBEDDER_LOSSES)}. Received: {loss!r}")
        self._loss = EMBEDDER_LOSSES[loss]
        self._decode = generator.decode_tensor
        self._padding = generator.padding
        self._remat = remat
        self._adapt_statistics = adapt_statistics
        self.mse_tracker = keras.metrics.Mean(name="mse")

    @property
    def metrics(self):
        return [self.loss_tracker, self.mse_tracker]

    def call(self, pixels, training=None):
        """Reconstructs pixels: decode(embed(pixels)), not clipped."""
        return self._over_cores(
            lambda part: self._decode(self._embed(part, training), remat=self._remat),
            pixels,
            training,
        )

    def train_step(self, pixels):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in self.embedder.trainable_variables])
            reconstruction = self(pixels, training=self._adapt_statistics)
            loss = self._error(pixels, reconstruction)
        self._descend(tape, loss)
        return self._track(loss, pixels, reconstruction)

    def test_step(self, pixels):
        reconstruction = self(pixels, training=False)
        return self._track(self._error(pixels, reconstruction), pixels, reconstruction)

    def _error(self, pixels, reconstruction):
        return self._loss(crop_padding(pixels - reconstruction, self._padding))

    def _track(self, loss, pixels, reconstruction):
        count = tf.shape(pixels)[0]
        difference = crop_padding(pixels - tf.clip_by_value(reconstruction, 0, 1), self._padding)
        self.loss_tracker.update_state(loss, sample_weight=count)
        self.mse_tracker.update_state(tf.reduce_mean(difference**2), sample_weight=count)
        return {metric.name: metric.result() for metric in self.metrics}


class LatentRegression(_EmbedderModel):
    """The warm start: regresses the latents of generated images.

    The loss is the mean squared error of the latents, whose minimum is the mean of emb(x).

    Args:
        embedder: a network of `build_embedder`.
        generator: a `Generator`, for its normaliser.

    `fit` takes pairs of pixels and latents, each `(batch, height, width, channels)`.
    """

    @property
    def metrics(self):
        return [self.loss_tracker]

    def call(self, pixels, training=None):
        """Embeds pixels."""
        return self._over_cores(lambda part: self._embed(part, training), pixels, training)

    def train_step(self, pair):
        pixels, latents = pair
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((latents - self(pixels, training=True)) ** 2)
        self._descend(tape, loss)
        self.loss_tracker.update_state(loss, sample_weight=tf.shape(pixels)[0])
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, pair):
        pixels, latents = pair
        loss = tf.reduce_mean((latents - self(pixels, training=False)) ** 2)
        self.loss_tracker.update_state(loss, sample_weight=tf.shape(pixels)[0])
        return {metric.name: metric.result() for metric in self.metrics}


class LatentPairs:
    """A set of (pixels, latents) with pixels = clip(decode(latents)), kept in a file.

    Latents are a function of the seed, so the file holds the pixels alone, as float16. It grows
    part by part; a killed run goes on where it stopped, and all five networks share it.

    Args:
        generator: a `Generator`.
        count: how many pairs, rounded up to whole parts of `DECODE_BATCH`.
        path: the HDF5 file; one that belongs to another generator or seed is made anew.
        seed: integer.
        progress: whether to show a progress bar.
    """

    def __init__(self, generator, count, path, seed=0, progress=True):
        self._shape = generator.image_shape
        self._seed = seed
        self._num_parts = -(-count // DECODE_BATCH)
        self.pixels = self._load_or_decode(generator, Path(path), progress)

    def __len__(self):
        return len(self.pixels)

    def latents(self, part):
        """The latents of one part, `(DECODE_BATCH, height, width, channels)`."""
        return tf.random.stateless_normal((DECODE_BATCH, *self._shape), (self._seed, part)).numpy()

    def batches(self, batch_size, start_step=0):
        """Batches of pairs without end, shuffled anew each epoch, from batch `start_step` on.

        Args:
            batch_size: at most the number of pairs.
            start_step: how many batches a resumed run has seen.

        Returns:
            A `tf.data.Dataset` of `(pixels, latents)`, float32 `(batch, height, width, channels)`.
        """
        per_epoch = len(self) // batch_size
        if not per_epoch:
            raise ValueError(
                f"`batch_size` must be at most the {len(self)} pairs. Received: {batch_size}"
            )
        latents = np.concatenate([self.latents(part) for part in range(self._num_parts)])

        def generate():
            epoch, position = divmod(start_step, per_epoch)
            while True:
                order = np.random.default_rng([self._seed, epoch]).permutation(len(self))
                for i in range(position, per_epoch):
                    chosen = order[i * batch_size : (i + 1) * batch_size]
                    yield self.pixels[chosen].astype(np.float32), latents[chosen]
                epoch, position = epoch + 1, 0

        spec = tf.TensorSpec((batch_size, *self._shape), tf.float32)
        return tf.data.Dataset.from_generator(generate, output_signature=(spec, spec)).prefetch(4)

    def _load_or_decode(self, generator, path, progress):
        path.parent.mkdir(parents=True, exist_ok=True)
        identity = f"seed {self._seed}, weights {generator.fingerprint()}"
        pixels = np.zeros((self._num_parts * DECODE_BATCH, *self._shape), np.float16)
        done = 0
        if path.exists():
            try:
                with h5py.File(path, "r") as file:
                    if file.attrs["identity"] == identity:
                        stored = file["pixels"][: len(pixels)]
                        done = len(stored) // DECODE_BATCH
                        pixels[: len(stored)] = stored
            except (OSError, KeyError):
                pass  # not a whole file of ours: made anew below
        parts = range(done, self._num_parts)
        for part in tqdm(parts, desc="latent pairs", unit="part", disable=not progress):
            decoded = generator.decode(self.latents(part)).numpy()
            pixels[part * DECODE_BATCH : (part + 1) * DECODE_BATCH] = np.clip(decoded, 0, 1)
            if part % 16 == 15 or part == self._num_parts - 1:
                self._write(path, identity, pixels[: (part + 1) * DECODE_BATCH])
        return pixels

    @staticmethod
    def _write(path, identity, pixels):
        temporary = path.with_suffix(f".{os.getpid()}.tmp")  # others may make the same pairs
        with h5py.File(temporary, "w") as file:
            file.attrs["identity"] = identity
            file["pixels"] = pixels
        temporary.replace(path)
