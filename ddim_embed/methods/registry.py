"""Every way from pixels to latents, behind one call: `embed(generator, pixels, method)`."""

import dataclasses
import functools

import keras
import numpy as np

from ddim_embed import metrics
from ddim_embed.data import crop_padding
from ddim_embed.methods.correction import DefectCorrection
from ddim_embed.methods.coupled import BDIA, EDICT
from ddim_embed.methods.descent import Descent
from ddim_embed.methods.filling import fill
from ddim_embed.methods.gauss_newton import GaussNewton
from ddim_embed.methods.inversion import DDIMInversion, ImplicitInversion
from ddim_embed.methods.protocol import Found, Method, Trace
from ddim_embed.methods.quasi_newton import LBFGS
from ddim_embed.networks.embedders import NETWORKS, load_embedder
from ddim_embed.store.weights import find_weights


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
        _, entry = find_weights(generator.dataset, self.network, generator.root)
        return _load(generator.dataset, self.network, generator.root, entry["sha256"])


@functools.lru_cache(maxsize=8)
def _load(dataset, network, root, sha256):
    """So that batches of one call, and the methods of one table, load a network once.

    The checksum is there to tell weights that were trained further from those loaded before.
    """
    return load_embedder(dataset, network, root)


@dataclasses.dataclass(frozen=True)
class Hybrid(Method):
    """One method starts another: a network then descent is Fig. 18 of Asperti et al.

    A mask holds for both. A `start` that takes none, as a network, sees a smooth continuation of
    the held pixels where the image is free: with what was drawn there the finish would begin, and
    never leave it. Gaussian latents there, beside those of a network, leave stripes.

    Attributes:
        start: a name of `METHODS`, or a configured method.
        finish: a method that `refines`: `LBFGS`, `Descent`, `GaussNewton`, `DefectCorrection`,
            `ImplicitInversion`, or a hybrid that begins with one.

    Raises:
        ValueError: for an unknown name, a `finish` that cannot go on from given latents, or a
            `batch_size` or `progress` of its own: those are of `start` and `finish`.
    """

    start: Method | str = "unet"
    finish: Method | str = "lbfgs"

    def __post_init__(self):
        if self.progress or self.batch_size != Method.batch_size:
            raise ValueError(
                "`batch_size` and `progress` must be given to `start` and `finish`, each a "
                "configured method: a hybrid has none of its own."
            )
        if not _configured(self.finish).refines:
            raise ValueError(
                f"`finish` must be a method that goes on from latents. Received: {self.finish}"
            )
        _configured(self.start)

    def __call__(self, generator, pixels, seed=0, latents=None, mask=None):
        held = self._check_mask(generator, pixels, mask)
        start, finish = _configured(self.start), _configured(self.finish)
        if held is None or start.takes_mask:
            begun = start(generator, pixels, seed=seed, latents=latents, mask=mask)
        else:
            begun = _begin(start, generator, generator.check_pixels(pixels), seed, latents, held)
        done = finish(generator, pixels, seed=seed, latents=begun.latents, mask=mask)
        return _after(begun, done)

    @property
    def refines(self):
        return _configured(self.start).refines

    @property
    def takes_mask(self):
        return _configured(self.finish).takes_mask


def _begin(start, generator, pixels, seed, latents, held):
    """An embedding of the held pixels by a method that takes no mask."""
    known = np.zeros(held.shape, bool)
    # Padding tells nothing of the image.
    crop_padding(known, generator.padding)[:] = crop_padding(held, generator.padding) > 0
    filled = np.where(held, pixels, fill(pixels, known[..., 0]))
    begun = start(generator, filled, seed=seed, latents=latents)
    return dataclasses.replace(
        begun,
        # So far the error was that of whole images.
        mse=metrics.mse(pixels, begun.reconstruction, generator.padding, held),
        trace=None,
    )


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
METHODS = {network: functools.partial(Network, network) for network in NETWORKS} | {
    "descent": Descent,
    "lbfgs": LBFGS,
    "gauss_newton": GaussNewton,
    "correction": DefectCorrection,
    "hybrid": Hybrid,
    "ddim_inversion": DDIMInversion,
    "implicit": ImplicitInversion,
    "edict": EDICT,
    "bdia": BDIA,
}


def embed(generator, pixels, method="unet", seed=0, latents=None, mask=None):
    """Finds latents that the generator decodes to given images.

    Args:
        generator: a `Generator`.
        pixels: `(n, height, width, channels)` in [0, 1], of the generator's `image_shape`.
        method: a name of `METHODS`, or a configured method.
        seed: integer; what a method draws depends on it alone.
        latents: where to start, same shape as `pixels`, for methods that refine latents.
        mask: bool `(n, height, width)` or `(n, height, width, 1)`, True where the image may become
            anything, for methods that take one; see `editing.project`.

    Returns:
        An `Embedding`.

    Raises:
        ValueError: for an unknown method; for pixels of another shape or range, with NaN, or none;
            for latents or a mask that the method has no use for.
        FileNotFoundError: for a network whose weights are not there.
    """
    return _configured(method)(generator, pixels, seed=seed, latents=latents, mask=mask)


def _configured(method):
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]()
    if not isinstance(method, Method):
        raise ValueError(
            f"`method` must be one of {tuple(METHODS)}, or a configured method, `LBFGS()` for "
            f"example. Received: {method!r}"
        )
    return method
