"""A diffusion autoencoder: images to codes and back (Preechakul et al., Sec. 3)."""

import dataclasses
from typing import Self

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments, backend
from ddim_embed.autoencoder.attributes import AttributeClassifier, move, move_to_median, rejection
from ddim_embed.autoencoder.prior import SemanticPrior
from ddim_embed.generator.generator import DECODE_BATCH, Generator
from ddim_embed.methods.embedding import Embedding
from ddim_embed.methods.protocol import Method
from ddim_embed.networks.blocks import VectorNormalizer, deserialized, register
from ddim_embed.process.process import Process


@dataclasses.dataclass(frozen=True)
class Code:
    """Both subcodes of images.

    Attributes:
        semantic: float32 `(n, dims)`, what the semantic encoder sees.
        latents: float32 `(n, height, width, channels)`, from which the decoder generates the images
            under `semantic`; None where only the vectors were computed.
        embedding: the `Embedding` of the latents, with its errors and costs; None without latents.
        autoencoder: checksum of the weights that made the code; None if it is not known.

    Example:
        >>> code = de.Code(np.zeros((4, 32), np.float32))
        >>> len(code), code[:2].semantic.shape
        (4, (2, 32))
    """

    semantic: np.ndarray
    latents: np.ndarray | None = None
    embedding: Embedding | None = None
    autoencoder: str | None = None

    def __len__(self):
        return len(self.semantic)

    def __getitem__(self, images) -> Self:
        """The codes of some of the images, a slice or an array of indices."""
        latents = None if self.latents is None else self.latents[images]
        return Code(self.semantic[images], latents, autoencoder=self.autoencoder)


@register
class Autoencoder(keras.Model):
    """A semantic encoder and a conditional generator, the decoder.

    Args:
        encoder: a `SemanticEncoder`, or any `keras.Model` from normalised images to vectors.
        generator: a `Generator` whose network takes such vectors as its condition.

    Attributes:
        standardizer: a `VectorNormalizer`, the statistics of the semantic vectors; see `adapt`.
        prior: a `SemanticPrior`, the distribution of the semantic vectors, or None.
        checksum: of the weights file of `load_autoencoder`; None for others.

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
        self.standardizer = VectorNormalizer(encoder.dims, name="standardizer")
        self.trainable = False
        self.built = True
        self.checksum = None
        self._prior = _Untracked(None)
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
            config = network.get_config() | {"dtype": "float32"}
            if "dropout" in config:  # which acts in training alone
                config["dropout"] = 0.0
            own = type(network).from_config(config)
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
    def prior(self):
        return self._prior.value

    @prior.setter
    def prior(self, prior):
        if prior is not None:
            arguments.instance("prior", prior, SemanticPrior)
            self._check_key("prior", prior.autoencoder)
            if prior.dims != self.dims:
                raise ValueError(
                    f"`prior` must be of vectors of {self.dims} numbers. Received: {prior.dims}"
                )
        self._prior = _Untracked(prior)

    @property
    def image_shape(self):
        """(height, width, channels) of pixels and of latents."""
        return self.generator.image_shape

    @property
    def padding(self):
        """Rows and columns at each border that hold no data."""
        return self.generator.padding

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
            self._encode = backend.compiled(self.call, reduce_retracing=True)
        parts = [pixels[i : i + DECODE_BATCH] for i in range(0, len(pixels), DECODE_BATCH)]
        vectors = [ops.convert_to_numpy(self._encode(ops.convert_to_tensor(p))) for p in parts]
        semantic = np.concatenate(vectors)
        if method is None:
            return Code(semantic, autoencoder=self.checksum)
        from ddim_embed.methods.registry import embed  # needs TensorFlow

        embedding = embed(self.generator.given(semantic), pixels, method, seed=seed)
        return Code(semantic, embedding.latents, embedding, self.checksum)

    def adapt(self, pixels: np.ndarray) -> None:
        """Sets the statistics of the semantic vectors to those of images, `encode`'s pixels."""
        self.standardizer.adapt(self.encode(pixels).semantic)

    def standardize(self, semantic: np.ndarray) -> np.ndarray:
        """Vectors `(n, dims)` of zero mean and unit variance over the images of `adapt`."""
        semantic = self.check_code(semantic).semantic
        return ops.convert_to_numpy(self.standardizer(semantic))

    def unstandardize(self, vectors: np.ndarray) -> np.ndarray:
        """The inverse of `standardize`."""
        vectors = self.check_code(vectors).semantic
        return ops.convert_to_numpy(self.standardizer.inverse(vectors))

    def manipulate(
        self,
        code: Code | np.ndarray,
        direction: np.ndarray,
        strength: float = 0.3,
        target: str | None = None,
    ) -> Code:
        """Moves semantic vectors along a direction, such as that of an attribute; latents stay.

        Args:
            code: a `Code`, or semantic vectors `(n, dims)`.
            direction: `(dims,)`, of standardised vectors, as `AttributeClassifier.direction`
                returns it.
            strength: length of the step in units of sqrt(dims); below 0 for the other way.
            target: "median" to move each vector along it to the median logit of images that have
                the attribute (Eq. 11), whatever the strength; "negative_median" to that of images
                without. The direction must then be a classifier's.

        Returns:
            A `Code`, whose latents are the code's own.

        Raises:
            ValueError: for a direction of other dimensions, or of a classifier of another
                autoencoder; for another target.

        Example:
            >>> autoencoder = de.build_autoencoder((16, 16, 1), widths=(4, 8), semantic_dims=3)
            >>> code = de.Code(np.zeros((1, 3)))
            >>> autoencoder.manipulate(code, np.array([0, 1, 0]), strength=2).semantic.round(2)
            array([[0.  , 3.46, 0.  ]], dtype=float32)
        """
        code = self.check_code(code)
        classifier = getattr(direction, "classifier", None)
        if classifier is not None:
            self._check_classifier(classifier)
        vectors = self.standardize(code.semantic)
        if target is None:
            moved = move(vectors, direction, strength)
        else:
            arguments.choice("target", target, ("median", "negative_median"), ", or None")
            if classifier is None:
                raise ValueError(
                    f"With target {target!r}, `direction` must be that of a classifier, "
                    f"`classifier.direction(name)`. Received: {arguments.received(direction)}"
                )
            moved = move_to_median(
                vectors, classifier, direction.name, target == "median", direction=direction
            )
        semantic = self.unstandardize(moved)
        return dataclasses.replace(code, semantic=semantic, embedding=None)

    def sample(
        self,
        n: int,
        seed: int = 0,
        num_steps: int | None = None,
        prior_steps: int | None = None,
    ) -> np.ndarray:
        """Generates n images: vectors of the prior, decoded from random latents.

        Args:
            n: how many, at least 1.
            seed: integer from 0 to 2**63 - 1; image i is a function of it and i.
            num_steps: sampler steps of the decoder; None for its own.
            prior_steps: sampler steps of the prior; None for its own.

        Returns:
            Pixels, float32 array `(n, height, width, channels)`, not clipped.

        Raises:
            ValueError: without a prior.
        """
        return self._decoded(self._check_prior().sample(n, seed, prior_steps), seed, num_steps)

    def sample_class(
        self,
        n: int,
        classifier: AttributeClassifier,
        name: str,
        threshold: float = 0.5,
        seed: int = 0,
        num_steps: int | None = None,
        prior_steps: int | None = None,
        most: int | None = None,
    ) -> np.ndarray:
        """Generates n images of a class: those vectors of the prior that a classifier accepts.

        Args:
            n, seed, num_steps, prior_steps: as for `sample`.
            classifier: an `AttributeClassifier` of standardised vectors.
            name: one of its attributes.
            threshold, most: as for `rejection`.

        Returns:
            Pixels, as `sample`.

        Raises:
            ValueError: without a prior, or as `rejection`, for example if the class is too rare.
        """
        prior, index = self._check_prior(), classifier.index(name)
        self._check_classifier(classifier)
        vectors = rejection(
            lambda count, seed: prior.sample(count, seed, prior_steps),
            lambda vectors: classifier.probabilities(self.standardize(vectors))[:, index],
            n,
            threshold,
            seed,
            most,
        ).vectors
        return self._decoded(vectors, seed, num_steps)

    def _decoded(self, semantic, seed, num_steps):
        autoencoder = self if num_steps is None else self.with_steps(num_steps)
        return ops.convert_to_numpy(autoencoder.decode(semantic, seed))

    def _check_prior(self):
        if self.prior is None:
            raise ValueError(
                "This autoencoder has no prior of its semantic vectors: set `autoencoder.prior`, "
                "to what `fit_prior` returns for example."
            )
        return self.prior

    def _check_classifier(self, classifier):
        self._check_key("classifier", classifier.autoencoder)
        if classifier.dims != self.dims:
            raise ValueError(
                f"The classifier must be of vectors of {self.dims} numbers. "
                f"Received: {classifier.dims}"
            )

    def _check_key(self, name, key):
        if None not in (key, self.checksum) and key != self.checksum:
            raise ValueError(
                f"The {name} is of another autoencoder, whose vectors mean something else: its "
                f"weights have the checksum {key[:12]}, these {self.checksum[:12]}."
            )

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

    def predict(self, semantic: Code | np.ndarray, seed: int = 0):
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
        self._check_key("code", code.autoencoder)
        latents = code.latents
        if latents is not None:
            latents = self.generator.given(semantic).check_latents(latents)
        return dataclasses.replace(code, semantic=semantic, latents=latents)

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
        return cls(**deserialized(config, ("encoder", "generator"), custom_objects))


class _Untracked:
    """Hides a model from Keras, which would save its weights with those of this one."""

    def __init__(self, value):
        self.value = value
