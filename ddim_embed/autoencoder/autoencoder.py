"""A diffusion autoencoder: images to codes and back (Preechakul et al., Sec. 3)."""

import dataclasses
from typing import Self

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments, backend
from ddim_embed.generator.generator import DECODE_BATCH, Generator
from ddim_embed.methods.embedding import Embedding
from ddim_embed.methods.protocol import Method
from ddim_embed.methods.registry import embed
from ddim_embed.networks.blocks import register
from ddim_embed.process.process import Process


@dataclasses.dataclass(frozen=True)
class Code:
    """Both subcodes of images.

    Attributes:
        semantic: float32 `(n, dims)`, what the semantic encoder sees.
        latents: float32 `(n, height, width, channels)`, from which the decoder generates the images
            under `semantic`; None where only the vectors were computed.
        embedding: the `Embedding` of the latents, with its errors and costs; None without latents.

    Example:
        >>> code = de.Code(np.zeros((4, 32), np.float32))
        >>> len(code), code[:2].semantic.shape
        (4, (2, 32))
    """

    semantic: np.ndarray
    latents: np.ndarray | None = None
    embedding: Embedding | None = None

    def __len__(self):
        return len(self.semantic)

    def __getitem__(self, images) -> Self:
        """The codes of some of the images, a slice or an array of indices."""
        latents = None if self.latents is None else self.latents[images]
        return Code(self.semantic[images], latents)


@register
class Autoencoder(keras.Model):
    """A semantic encoder and a conditional generator, the decoder.

    Args:
        encoder: a `SemanticEncoder`, or any `keras.Model` from normalised images to vectors.
        generator: a `Generator` whose network takes such vectors as its condition.

    Attributes:
        prior: None, or a `SemanticPrior`, the distribution of the semantic vectors.

    Example:
        >>> autoencoder = de.build_autoencoder((16, 16, 1), widths=(4, 8), semantic_dims=3)
        >>> code = autoencoder.encode(np.full((2, 16, 16, 1), 0.5), method="implicit")
        >>> code.semantic.shape, autoencoder.decode(code).shape
        ((2, 3), TensorShape([2, 16, 16, 1]))
    """

    def __init__(self, encoder: keras.Model, generator: Generator, **kwargs):
        arguments.instance("encoder", encoder, keras.layers.Layer)
        arguments.instance("generator", generator, Generator)
        super().__init__(**kwargs | {"dtype": "float32"})
        self.encoder = encoder
        self.generator = generator
        self.prior = None
        self.trainable = False
        self.built = True
        self._encode = None

    @classmethod
    def from_model(cls, model, image_shape, precision="float32", padding=0, **process) -> Self:
        """The autoencoder of a trained `AutoencoderModel`: its averaged networks.

        Args:
            model: an `AutoencoderModel`.
            image_shape, precision, padding: as for `Generator`.
            **process: `num_steps` and `last_step` of the `Process`.
        """

        def copy(network):
            own = type(network).from_config(network.get_config() | {"dtype": "float32"})
            own.set_weights(network.get_weights())
            return own

        process = Process(model.schedule_name, prediction=model.prediction, **process)
        network = model.ema_network
        generator = Generator(
            copy(network.decoder),
            process=process,
            image_shape=image_shape,
            precision=precision,
            padding=padding,
        )
        generator.normalizer.set_weights(model.normalizer.get_weights())
        return cls(copy(network.encoder), generator)

    @property
    def image_shape(self):
        """(height, width, channels) of pixels and of latents."""
        return self.generator.image_shape

    @property
    def dims(self):
        """Length of the semantic vectors."""
        return self.encoder.dims

    def with_steps(self, num_steps: int) -> Self:
        """The same autoencoder with another number of sampler steps."""
        if num_steps == self.generator.num_steps:
            return self
        other = object.__new__(type(self))
        generator = self.generator.with_steps(num_steps)
        vars(other).update(vars(self), generator=generator)
        return other

    def encode(
        self,
        pixels: np.ndarray,
        method: Method | str | None = None,
        seed: int = 0,
    ) -> Code:
        """Pixels -> codes.

        Args:
            pixels: `(n, height, width, channels)` in [0, 1].
            method: how the latents are found under the semantic vectors, the stochastic encoder: a
                name of `METHODS` or a configured method. "ddim_inversion" is the published one.
                None for the vectors alone.
            seed: of the method.

        Returns:
            A `Code`.

        Raises:
            ValueError: for pixels of another shape or range, or a method that needs a network which
                this autoencoder does not have.
        """
        pixels = self.generator.check_pixels(pixels)
        if self._encode is None:
            self._encode = backend.compiled(
                lambda pixels: self.encoder(self.generator.normalizer(pixels)),
                reduce_retracing=True,
            )
        parts = [pixels[i : i + DECODE_BATCH] for i in range(0, len(pixels), DECODE_BATCH)]
        vectors = [ops.convert_to_numpy(self._encode(ops.convert_to_tensor(p))) for p in parts]
        semantic = np.concatenate(vectors)
        if method is None:
            return Code(semantic)
        embedding = embed(self.generator.given(semantic), pixels, method, seed=seed)
        return Code(semantic, embedding.latents, embedding)

    def decode(self, code: Code | np.ndarray, seed: int | None = None):
        """Codes -> pixels, **not clipped**.

        Args:
            code: a `Code`; or semantic vectors `(n, dims)`, or a `Code` without latents, with a
                `seed`.
            seed: of random latents, which take the place of the code's own; image i has the latents
                that `Generator.latents(n, seed)` gives it.

        Returns:
            float32 tensor `(n, height, width, channels)`.

        Raises:
            ValueError: for a code of another autoencoder's sizes, values that are not finite, or
                neither latents nor a seed.
        """
        code = self.check_code(code)
        if code.latents is None and seed is None:
            raise ValueError(
                "A code without latents is decoded from random ones: `decode(code, seed=0)`. "
                "Its latents are found by `encode(pixels, method=...)`."
            )
        latents = code.latents if seed is None else self.generator.latents(len(code), seed)
        return self.generator.given(code.semantic).decode(latents)

    def predict_images(self, semantic: Code | np.ndarray, seed: int = 0):
        """The mean of the images with these semantic vectors, as the decoder sees it at t = 1.

        One evaluation of the network, whose error is half of that of an image from random latents
        where it is exact: those vary about the mean as much as the image itself does.

        Args:
            semantic: a `Code`, or vectors `(n, dims)`.
            seed: of the latents, which say next to nothing of the image.

        Returns:
            Pixels, float32 tensor `(n, height, width, channels)`, not clipped.
        """
        semantic = self.check_code(semantic).semantic
        return self.with_steps(1).decode(semantic, seed)

    def check_code(self, code: Code | np.ndarray) -> Code:
        """Returns a code of float32 arrays; see `decode`."""
        code = code if isinstance(code, Code) else Code(code)
        semantic = np.asarray(arguments.finite_array("semantic", code.semantic), np.float32)
        if semantic.ndim != 2 or semantic.shape[1] != self.dims or not len(semantic):
            raise ValueError(
                f"Semantic vectors of this autoencoder have shape (n, {self.dims}), n at least 1. "
                f"Received shape: {semantic.shape}"
            )
        latents = code.latents
        if latents is not None:
            latents = self.generator.given(semantic).check_latents(latents)
        return Code(semantic, latents, code.embedding)

    def call(self, pixels):
        return self.encoder(self.generator.normalizer(pixels))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.dims)

    def get_config(self):
        return super().get_config() | {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "generator": keras.saving.serialize_keras_object(self.generator),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("encoder", "generator"):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
        return cls(**config)
