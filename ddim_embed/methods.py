"""Every way from pixels to latents, behind one call: `embed(generator, pixels, method)`."""

import dataclasses
import functools

import keras
import numpy as np

from ddim_embed.embedders import NETWORKS
from ddim_embed.embedding import Found, Method, Trace
from ddim_embed.pretrained import load_embedder


@dataclasses.dataclass(frozen=True)
class Network(Method):
    """An embedding network: one evaluation per image (Asperti et al., Sec. 5.2).

    Attributes:
        network: a name of `NETWORKS`; its shipped weights are those for the generator's data set.
        embedder: a model of `build_embedder` to use instead of shipped weights.
    """

    network: str = "unet"
    embedder: keras.Model | None = None

    def prepare(self, generator):
        self._model(generator)

    def solve(self, generator, pixels, latents, tick):
        images = generator.normalizer(pixels).numpy()
        found = self._model(generator).predict(images, batch_size=self.batch_size, verbose=0)
        return Found(found, evaluations=1)

    def _model(self, generator):
        if self.embedder is not None:
            return self.embedder
        if generator.dataset is None:
            raise ValueError(
                "This generator has no shipped embedding networks. Pass one: "
                "`Network(embedder=model)`."
            )
        return _load(generator.dataset, self.network, generator.root)


# So that batches of one call, and the methods of one table, load a network once.
_load = functools.lru_cache(maxsize=8)(load_embedder)


@dataclasses.dataclass(frozen=True)
class Hybrid(Method):
    """One method starts another: a network then descent is Fig. 18 of Asperti et al.

    Attributes:
        start: a name of `METHODS`, or a configured method.
        finish: a method that `refines`: `Descent`, `GaussNewton`, `ImplicitInversion`, or a hybrid
            that begins with one.

    Raises:
        ValueError: for an unknown name, or a `finish` that cannot go on from given latents.
    """

    start: Method | str = "unet"
    finish: Method | str = "gauss_newton"

    def __post_init__(self):
        if not _configured(self.finish).refines:
            raise ValueError(
                f"`finish` must be a method that goes on from latents. Received: {self.finish}"
            )
        _configured(self.start)

    def __call__(self, generator, pixels, seed=0, latents=None):
        begun = _configured(self.start)(generator, pixels, seed=seed, latents=latents)
        done = _configured(self.finish)(generator, pixels, seed=seed, latents=begun.latents)
        return _after(begun, done)

    @property
    def refines(self):
        return _configured(self.start).refines


def _after(begun, done):
    """The embedding that `done` is, with what it took to begin."""
    count = len(done.mse)
    trace = done.trace
    if trace is not None:
        before = begun.trace or Trace(
            begun.evaluations[None], np.full((1, count), begun.seconds / count), begun.mse[None]
        )
        trace = Trace(
            np.concatenate([before.evaluations, trace.evaluations + begun.evaluations]),
            np.concatenate([before.seconds, trace.seconds + begun.seconds / count]),
            np.concatenate([before.mse, trace.mse]),
        )
    return dataclasses.replace(
        done,
        evaluations=begun.evaluations + done.evaluations,
        seconds=begun.seconds + done.seconds,
        trace=trace,
    )


# Name -> what makes a configured method when called.
METHODS = {network: functools.partial(Network, network) for network in NETWORKS}


def embed(generator, pixels, method="unet", seed=0, latents=None):
    """Finds latents that the generator decodes to given images.

    Args:
        generator: a `Generator`.
        pixels: `(n, height, width, channels)` in [0, 1], of the generator's `image_shape`.
        method: a name of `METHODS`, or a configured method.
        seed: integer; what a method draws depends on it alone.
        latents: where to start, same shape as `pixels`, for methods that refine latents.

    Returns:
        An `Embedding`.

    Raises:
        ValueError: for an unknown method, or pixels of another shape or range, with NaN, or none.
        FileNotFoundError: for a network whose weights are not there.
    """
    return _configured(method)(generator, pixels, seed=seed, latents=latents)


def _configured(method):
    if not isinstance(method, str):
        return method
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {tuple(METHODS)}. Received: {method!r}")
    return METHODS[method]()
