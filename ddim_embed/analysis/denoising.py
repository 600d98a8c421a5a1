"""Errors of a generator's denoiser at each noise level of the sampler.

The mean over all noise levels, which training prints, hides the levels with hardly any signal.
There a small error of the noise is a large error of the image, and sampling starts at these levels.
"""

from typing import NamedTuple

import numpy as np

from ddim_embed import arguments
from ddim_embed.generator.generator import DECODE_BATCH, Generator, as_generator
from ddim_embed.process import noise
from ddim_embed.process.sampling import predict_images


class DenoisingErrors(NamedTuple):
    """Mean squared errors of predicted images, model space: 1 is the variance of the data's pixels.

    Attributes:
        rates: the N levels at which the sampler evaluates the network, from t = 1 on; a list of
            `Rates`.
        mse: float64 array `(N,)`, error of the images predicted at each level.
        mean_image: float, the error of the mean image: the least that is possible without seeing
            the image. A denoiser with a larger error has learnt nothing at that level.
        each: float64 array `(N, n)`, the error of each image.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=2)
        >>> errors = de.denoising_errors(generator, generator.sample(2).clip(0, 1))
        >>> len(errors.rates), errors.mse.shape
        (2, (2,))
    """

    rates: list
    mse: np.ndarray
    mean_image: float
    each: np.ndarray


def denoising_errors(generator: Generator, pixels: np.ndarray, seed: int = 0) -> DenoisingErrors:
    """Mixes noise into images at each level of the sampler, and predicts the images again.

    Args:
        generator: a `Generator`.
        pixels: float `(n, height, width, channels)` in [0, 1], n at least 1; images that were not
            used in training.
        seed: integer from 0 to 2**63 - 1, of the noise.

    Returns:
        `DenoisingErrors`, computed in float32; padding counts, as in training.

    Raises:
        ValueError: for pixels that do not fit the generator, or a seed that is no such integer.

    Example:
        >>> generator = de.load_generator("fashion_mnist", num_steps=5)
        >>> errors = de.denoising_errors(generator, generator.sample(2).clip(0, 1))
        >>> bool(errors.mse[0] > errors.mse[-1])  # hardly any signal at t = 1
        True
    """
    as_generator(generator)
    seed = arguments.seed(seed)
    images = generator.normalizer(generator.check_pixels(pixels)).numpy()
    levels, errors = generator.grid[:0:-1], []
    for stream, rates in enumerate(levels):
        squares = []
        for start in range(0, len(images), DECODE_BATCH):
            batch = slice(start, start + DECODE_BATCH)
            denoise = generator.take(batch).denoiser("float32").compiled
            part = images[batch]
            noise_seed = noise.seed_words(seed, stream * len(images) + start)
            noises = noise.normal(part.shape, noise_seed, numpy=True)
            noisy = rates.signal * part + rates.noise * noises
            pred_images = predict_images(noisy, np.asarray(denoise(noisy, rates)), rates)
            squares.append(np.mean((pred_images - part) ** 2, axis=(1, 2, 3), dtype=np.float64))
        errors.append(np.concatenate(squares))
    mean_image = np.mean((images - images.mean(axis=0)) ** 2, dtype=np.float64)
    each = np.array(errors)
    return DenoisingErrors(levels, each.mean(axis=1), float(mean_image), each)
