"""Projection of images to the nearest ones that the generator makes."""

import numpy as np

from ddim_embed.generator.generator import Generator
from ddim_embed.methods.embedding import Embedding
from ddim_embed.methods.protocol import Method
from ddim_embed.methods.registry import embed


def project(
    generator: Generator,
    pixels: np.ndarray,
    method: Method | str = "hybrid",
    mask: np.ndarray | None = None,
    seed: int = 0,
) -> Embedding:
    """Projects images to the nearest ones that the generator makes (Figs. 4 and 5).

    An image off the manifold of generated images, such as a painting or a sketched edit, moves
    towards it as far as the method goes. A network can only do what it has learnt, and blends in
    what it does not know; a descent finds latents even for that, and stays close to the given
    image.

    With a mask only the pixels outside are held to the image. The pixels under the mask have no
    influence at all, and become what the generator makes of the rest.

    Args:
        generator: a `Generator`.
        pixels: `(n, height, width, channels)` in [0, 1], of the generator's `image_shape`.
        method: a name of `METHODS`, or a configured method.
        mask: bool `(n, height, width)` or `(n, height, width, 1)`, True where the image was edited
            and is free; for `LBFGS`, `Descent`, `GaussNewton`, `DefectCorrection`, and a `Hybrid`
            that ends with one of them.
        seed: integer; all random numbers of the method depend on it alone.

    Returns:
        An `Embedding`: `reconstruction` is the projection, `mse` the error of the held pixels.

    Raises:
        ValueError: as for `embed`; for a mask of another shape or type, one that holds no pixel, or
            a method that takes none.
        FileNotFoundError: for a network whose weights do not exist.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=1)
        >>> mask = np.zeros((1, 32, 32), bool)
        >>> mask[:, :16] = True  # the upper half is free
        >>> pixels = generator.sample(1).clip(0, 1)
        >>> de.project(generator, pixels, de.LBFGS(num_steps=2), mask).reconstruction.shape
        (1, 32, 32, 1)
    """
    return embed(generator, pixels, method, seed, mask=mask)
