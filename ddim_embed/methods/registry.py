"""All methods by name, and `embed(generator, pixels, method)`."""

import functools

import numpy as np

from ddim_embed import arguments
from ddim_embed.generator.generator import Generator
from ddim_embed.methods.correction import DefectCorrection
from ddim_embed.methods.coupled import BDIA, EDICT
from ddim_embed.methods.descent import Descent
from ddim_embed.methods.embedding import Embedding
from ddim_embed.methods.gauss_newton import GaussNewton
from ddim_embed.methods.hybrid import Hybrid
from ddim_embed.methods.inversion import DDIMInversion, ImplicitInversion
from ddim_embed.methods.network import Network
from ddim_embed.methods.protocol import Method
from ddim_embed.methods.quasi_newton import LBFGS
from ddim_embed.networks.embedders import NETWORKS

# Name -> a callable that returns a configured method.
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


def embed(
    generator: Generator,
    pixels: np.ndarray,
    method: Method | str = "unet",
    seed: int = 0,
    latents: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> Embedding:
    """Finds latents that the generator decodes to given images.

    Args:
        generator: a `Generator`.
        pixels: `(n, height, width, channels)` in [0, 1], of the generator's `image_shape`.
        method: a name of `METHODS`, or a configured method.
        seed: integer from 0 to 2**63 - 1; all random numbers of the method depend on it alone.
        latents: where to start, same shape as `pixels`, for methods that refine latents.
        mask: bool `(n, height, width)` or `(n, height, width, 1)`, True where the image may become
            anything, for methods that take one; see `projection.project`.

    Returns:
        An `Embedding`.

    Raises:
        ValueError: for an unknown method; for pixels of another shape or range, with NaN, or
            without images; for latents or a mask that the method does not use; for another seed.
        FileNotFoundError: for a network whose weights do not exist.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> pixels = generator.sample(2).clip(0, 1)
        >>> de.embed(generator, pixels, "implicit").latents.shape
        (2, 32, 32, 1)
        >>> de.embed(generator, pixels, de.DDIMInversion(num_steps=5)).evaluations.tolist()
        [5.0, 5.0]
    """
    return configured(method)(generator, pixels, seed=seed, latents=latents, mask=mask)


def configured(method: Method | str, name: str = "method") -> Method:
    """Returns the default method of a name of `METHODS`; a configured method as it is.

    A ValueError calls the argument by `name`.
    """
    if isinstance(method, Method):
        return method
    otherwise = ", or a configured method, `LBFGS()` for example"
    return METHODS[arguments.choice(name, method, METHODS, otherwise)]()
