"""The distribution of semantic vectors, from which new ones are sampled."""

from pathlib import Path
from typing import Self

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments, backend
from ddim_embed.autoencoder.gaussian import STREAM
from ddim_embed.metrics.frechet import frechet_distance
from ddim_embed.networks.blocks import VectorNormalizer, register
from ddim_embed.networks.latent_mlp import LatentMLP
from ddim_embed.process import noise, sampling
from ddim_embed.process.predictions import PREDICTIONS, noises_from
from ddim_embed.process.process import Process
from ddim_embed.process.schedules import (
    SCHEDULES,
    by_angle,
    get_schedule,
    schedule_to_config,
)
from ddim_embed.store.schema import CHECKSUM, integer, one_of
from ddim_embed.store.weights import load_recorded

# Vectors that are sampled at a time: larger batches gain nothing, and memory grows with them.
SAMPLE_BATCH = 1024
NUM_STEPS = 100
# What `prior_config` puts into a record. No key has a default: with another value the same weights
# make other vectors.
_CONFIG = {
    "dims": integer(1, 2**16),
    "hidden": integer(1, 2**16),
    "depth": integer(2, 2**8),
    "schedule": one_of(SCHEDULES),
    "prediction": one_of(PREDICTIONS),
    "autoencoder": CHECKSUM,
}


@register
class SemanticPrior(keras.Model):
    """A DDIM of semantic vectors (Preechakul et al., 2022, Sec. 4).

    A `keras.Model` for the sake of its weights file, which holds the statistics that standardise
    vectors, and the network. It is sampled at the levels of `schedules.by_angle`, which takes a
    tenth of the steps that the published even times take.

    Args:
        network: a `LatentMLP`, or any `keras.Model` with `dims` that maps `[noisy_vectors,
            noise_variances]`, of shapes `(batch, dims)` and `(batch, 1)`, to predicted noises.
        normalizer: a `VectorNormalizer`; None for one that is not adapted yet.
        process: a `Process`; None for the constant schedule and 100 steps.

    Attributes:
        autoencoder: checksum of the weights of the autoencoder that makes such vectors; None if it
            is not known.

    Raises:
        ValueError: for other objects.

    Example:
        >>> prior = de.SemanticPrior(de.LatentMLP(dims=4, hidden=8, depth=2))
        >>> prior.normalizer.adapt(np.random.default_rng(0).normal(3, 2, size=(50, 4)))
        >>> vectors = prior.sample(5, seed=1, num_steps=10)
        >>> vectors.shape
        (5, 4)
        >>> bool(np.allclose(prior.unstandardize(prior.standardize(vectors)), vectors, atol=1e-5))
        True
    """

    def __init__(
        self,
        network: keras.Model,
        normalizer: VectorNormalizer | None = None,
        process: Process | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs | {"dtype": "float32"})
        arguments.instance("network", network, keras.layers.Layer)
        self.process = Process("constant", NUM_STEPS) if process is None else process
        arguments.instance("process", self.process, Process)
        self.normalizer = normalizer or VectorNormalizer(network.dims, name="normalizer")
        arguments.instance("normalizer", self.normalizer, VectorNormalizer)
        self.network = network
        self.autoencoder = None
        self.trainable = False
        self.built = True
        self._compiled = backend.compiled(self._sample, static_argnums=2, reduce_retracing=True)

    @classmethod
    def from_model(cls, model, num_steps: int = NUM_STEPS) -> Self:
        """The prior of a trained `PriorModel`: its averaged network and its normaliser.

        Args:
            model: a `PriorModel`.
            num_steps: sampler steps.
        """
        trained = model.ema_network
        config = trained.get_config() | {"dtype": "float32"}
        if "dropout" in config:  # the state of its random numbers would be among the weights
            config["dropout"] = 0.0
        network = type(trained).from_config(config)
        network.set_weights(trained.get_weights())
        process = Process(model.schedule_name, num_steps, prediction=model.prediction)
        prior = cls(network, process=process)
        prior.normalizer.set_weights(model.normalizer.get_weights())
        return prior

    @property
    def dims(self) -> int:
        """Length of a vector."""
        return self.network.dims

    def standardize(self, vectors) -> np.ndarray:
        """Vectors `(n, dims)` with zero mean and unit variance over those it was trained on."""
        return ops.convert_to_numpy(self.normalizer(self._check(vectors)))

    def unstandardize(self, vectors) -> np.ndarray:
        """The inverse of `standardize`."""
        return ops.convert_to_numpy(self.normalizer.inverse(self._check(vectors)))

    def distance(self, vectors: np.ndarray, others: np.ndarray) -> float:
        """The Frechet distance between two sets of vectors, standardised.

        1 is one variance of one dimension. Of samples and vectors of images it says how well means
        and covariances agree, and nothing else: a `GaussianPrior` has no better rival by it. What
        is not Gaussian is seen by `energy_distance`.

        Args:
            vectors, others: float, `(n, dims)`, each with its own n of at least 2; see
                `frechet_distance` about their number.
        """
        return frechet_distance(self.standardize(vectors), self.standardize(others))

    def sample(self, n: int, seed: int = 0, num_steps: int | None = None) -> np.ndarray:
        """Samples n vectors, as the encoder makes them of images.

        Args:
            n: how many, at least 1.
            seed: integer from 0 to 2**63 - 1; vector i is a function of it and i.
            num_steps: sampler steps; None for the process's own.

        Returns:
            float32 array `(n, dims)`.

        Raises:
            ValueError: for anything else, or more vectors than memory holds.
        """
        n, seed = arguments.integer("n", n), arguments.seed(seed)
        num_steps = self.process.num_steps if num_steps is None else num_steps
        num_steps = arguments.integer("num_steps", num_steps)
        latents = noise.normal((n, self.dims), noise.seed_words(seed, STREAM), numpy=True)
        # An argument of the compiled function, which follows them so on every backend.
        weights = [ops.convert_to_tensor(variable) for variable in self.variables]
        parts = [
            self._compiled(weights, latents[i : i + SAMPLE_BATCH], num_steps)
            for i in range(0, n, SAMPLE_BATCH)
        ]
        return np.concatenate([ops.convert_to_numpy(part) for part in parts])

    def denoise(self, noisy_vectors, rates):
        """Predicts the noise in standardised vectors, tensors `(n, dims)`, as samplers take it."""
        variances = ops.ones_like(noisy_vectors[:, :1]) * rates.noise**2
        outputs = self.network([noisy_vectors, variances], training=False)
        return noises_from(self.process.prediction, outputs, noisy_vectors, rates)

    def call(self, latents, num_steps=None):
        """Vectors of Gaussian latents `(n, dims)`, as tensors, differentiable."""
        vectors = sampling.sample(
            self.denoise,
            by_angle(self.process.rates),
            latents,
            self.process.num_steps if num_steps is None else num_steps,
            self.process.last_step,
            scan=True,  # of so many steps
        )
        return self.normalizer.inverse(vectors)

    def _sample(self, weights, latents, num_steps):
        mapping = zip(self.variables, weights, strict=True)
        with keras.StatelessScope(state_mapping=[*mapping]):
            return self.call(latents, num_steps)

    def _check(self, vectors):
        vectors = arguments.finite_array("vectors", vectors)
        if vectors.ndim != 2 or vectors.shape[1] != self.dims:
            raise ValueError(
                f"`vectors` must have shape (n, {self.dims}). Received shape: {vectors.shape}"
            )
        return vectors

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "process": self.process.to_config(),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        network = keras.saving.deserialize_keras_object(
            config.pop("network"), custom_objects=custom_objects
        )
        process = Process.from_config(config.pop("process"), custom_objects)
        return cls(network, process=process, **config)


def build_prior(
    dims: int,
    hidden: int = 512,
    depth: int = 10,
    schedule: str = "constant",
    prediction: str = "noise",
    num_steps: int = NUM_STEPS,
    autoencoder: str | None = None,
) -> SemanticPrior:
    """A prior with random weights.

    Args:
        dims, hidden, depth: sizes of its `LatentMLP`.
        schedule, prediction, num_steps: as for `Process`.
        autoencoder: checksum of the weights of the autoencoder that makes such vectors, if known.

    Returns:
        A `SemanticPrior`.

    Raises:
        ValueError: for options that `LatentMLP` or `Process` refuses.

    Example:
        >>> de.build_prior(dims=4, hidden=8, depth=2).sample(2, num_steps=3).shape
        (2, 4)
    """
    network = LatentMLP(dims, hidden, depth, dtype="float32")
    prior = SemanticPrior(network, process=Process(schedule, num_steps, prediction=prediction))
    prior.autoencoder = autoencoder
    return prior


def prior_config(prior: SemanticPrior) -> dict:
    """The options of `build_prior` that are recorded with a prior's weights.

    Raises:
        ValueError: if the schedule has no name of `SCHEDULES`, by which it would be found.
    """
    network, schedule = prior.network, schedule_to_config(prior.process.schedule)
    get_schedule(schedule)
    return {
        "dims": network.dims,
        "hidden": network.hidden,
        "depth": network.depth,
        "schedule": schedule,
        "prediction": prior.process.prediction,
        "autoencoder": prior.autoencoder,
    }


def load_prior(
    name: str, root: str | Path | None = None, num_steps: int = NUM_STEPS
) -> SemanticPrior:
    """Loads a trained prior of semantic vectors.

    Args:
        name: data set, a folder of `weights/`.
        root: folder of weights; by default the shipped one (see `weights.weights_root`).
        num_steps: sampler steps.

    Returns:
        A `SemanticPrior`.

    Raises:
        FileNotFoundError: if there are no such weights; says which there are.
        ValueError: if the file is not what its record says.

    Example:
        >>> from ddim_embed.autoencoder.prior import prior_config
        >>> prior = de.build_prior(dims=4, hidden=8, depth=2)
        >>> path, entry = de.record_weights(
        ...     "my_weights", "cats", "prior", prior,
        ...     config=prior_config(prior), data="cats", budget={"steps": 0}, errors={},
        ... )
        >>> de.load_prior("cats", "my_weights").dims
        4
    """
    arguments.integer("num_steps", num_steps)
    return load_recorded(
        lambda config: build_prior(**config, num_steps=num_steps),
        _CONFIG,
        name,
        "prior",
        root,
        least_size=_least_size,
    )[0]


def _least_size(config):
    """The bytes that a file of such a prior has at least, in half precision."""
    dims, hidden, depth = config["dims"], config["hidden"], config["depth"]
    # HDF5 takes more than 2000 bytes for the groups and the arrays of a layer.
    return (depth - 1) * (2000 + 2 * hidden * dims) + 2 * (depth - 2) * hidden**2
