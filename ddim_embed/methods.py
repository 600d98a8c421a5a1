"""Every way from pixels to latents, behind one call: `embed(generator, pixels, method)`."""

import dataclasses
import functools
import time

import keras
import numpy as np

from ddim_embed import metrics
from ddim_embed.embedders import NETWORKS
from ddim_embed.pretrained import load_embedder


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Latents of images, with what they decode to and what they cost.

    Attributes:
        latents: float32 `(n, height, width, channels)`.
        reconstruction: what they decode to in float32; pixels of the same shape, not clipped.
        mse: per image, of clipped pixels in float64, `(n,)`; padding does not count.
        evaluations: network evaluations per image; a gradient counts as what it costs.
        seconds: wall time of the embedding, the final decode not included.
    """

    latents: np.ndarray
    reconstruction: np.ndarray
    mse: np.ndarray
    evaluations: float
    seconds: float

    @property
    def latents_mean(self):
        """Mean of each image's latents, `(n,)`; 0 in expectation if they are Gaussian."""
        return self.latents.mean(axis=(1, 2, 3))

    @property
    def latents_std(self):
        """Standard deviation of each image's latents, `(n,)`; 1 in expectation if Gaussian."""
        return self.latents.std(axis=(1, 2, 3))


@dataclasses.dataclass(frozen=True)
class Network:
    """An embedding network: one evaluation per image (Asperti et al., Sec. 5.2).

    Attributes:
        network: a name of `NETWORKS`; its shipped weights are those for the generator's data set.
        embedder: a model of `build_embedder` to use instead of shipped weights.
        batch_size: images per evaluation.
    """

    network: str = "unet"
    embedder: keras.Model | None = None
    batch_size: int = 64

    def __call__(self, generator, pixels, seed=0):
        """Embeds pixels; the seed changes nothing. Arguments and result as for `embed`."""
        pixels = generator.check_pixels(pixels)
        embedder = self.embedder or self._load(generator)
        started = time.perf_counter()
        images = generator.normalizer(pixels).numpy()
        latents = embedder.predict(images, batch_size=self.batch_size, verbose=0)
        seconds = time.perf_counter() - started
        return certify(generator, pixels, latents, evaluations=1, seconds=seconds)

    def _load(self, generator):
        if generator.dataset is None:
            raise ValueError(
                "This generator has no shipped embedding networks. Pass one: "
                "`Network(embedder=model)`."
            )
        return load_embedder(generator.dataset, self.network, root=generator.root)


# Name -> what makes a configured method when called.
METHODS = {network: functools.partial(Network, network) for network in NETWORKS}


def embed(generator, pixels, method="unet", seed=0):
    """Finds latents that the generator decodes to given images.

    Args:
        generator: a `Generator`.
        pixels: `(n, height, width, channels)` in [0, 1], of the generator's `image_shape`.
        method: a name of `METHODS`, or a configured method.
        seed: integer; what a method draws depends on it alone.

    Returns:
        An `Embedding`.

    Raises:
        ValueError: for an unknown method, or pixels of another shape or range, with NaN, or none.
        FileNotFoundError: for a network whose weights are not there.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"`method` must be one of {tuple(METHODS)}. Received: {method!r}")
        method = METHODS[method]()
    return method(generator, pixels, seed=seed)


def certify(generator, pixels, latents, *, evaluations, seconds):
    """Decodes latents in float32 and measures their error: every method ends here.

    Args:
        generator: a `Generator`.
        pixels: the images asked for, `(n, height, width, channels)` in [0, 1].
        latents: what was found for them, same shape.
        evaluations: network evaluations per image so far.
        seconds: wall time so far.

    Returns:
        An `Embedding`.
    """
    reconstruction = generator.decode(latents, precision="float32").numpy()
    return Embedding(
        latents=np.asarray(latents, np.float32),
        reconstruction=reconstruction,
        mse=metrics.mse(pixels, reconstruction, generator.padding),
        evaluations=evaluations,
        seconds=seconds,
    )
