"""How well a generator's denoiser does its work, level by level of the sampler.

A mean over all noise levels, which is what training prints, hides the levels with hardly any
signal: there a small error of the noise is a large one of the image, and latents pass through them
first.
"""

from typing import NamedTuple

import numpy as np

from ddim_embed.generator.generator import DECODE_BATCH
from ddim_embed.process import noise
from ddim_embed.process.sampling import predict_images


class DenoisingErrors(NamedTuple):
    """Mean squared errors of predicted images, model space: 1 is the variance of the data's pixels.

    Attributes:
        rates: the N levels that the sampler asks about, from t = 1 on; a list of `Rates`.
        mse: float64 array `(N,)`, of the image predicted at each level.
        mean_image: float, the error of the mean of the images, that no predictor that sees nothing
            of an image can go below. A denoiser above it has learnt nothing of that level.
    """

    rates: list
    mse: np.ndarray
    mean_image: float


def denoising_errors(generator, pixels, seed=0):
    """Mixes noise into images at each level of the sampler, and predicts them from it.

    Args:
        generator: a `Generator`.
        pixels: float `(n, height, width, channels)` in [0, 1], n at least 1; not trained on.
        seed: integer, of the noise.

    Returns:
        `DenoisingErrors`, computed in float32; padding counts, as in training.

    Raises:
        ValueError: for pixels that are none of the generator's.
    """
    images = generator.normalizer(generator.check_pixels(pixels)).numpy()
    denoise = generator.denoiser("float32").compiled
    levels, errors = generator.grid[:0:-1], []
    for stream, rates in enumerate(levels):
        squares = []
        for start in range(0, len(images), DECODE_BATCH):
            part = images[start : start + DECODE_BATCH]
            noise_seed = noise.seed_words(seed, stream * len(images) + start)
            noises = noise.normal(part.shape, noise_seed, numpy=True)
            noisy = rates.signal * part + rates.noise * noises
            found = predict_images(noisy, np.asarray(denoise(noisy, rates)), rates)
            squares.append(np.mean((found - part) ** 2, axis=(1, 2, 3), dtype=np.float64))
        errors.append(np.concatenate(squares).mean())
    spread = np.mean((images - images.mean(axis=0)) ** 2, dtype=np.float64)
    return DenoisingErrors(levels, np.array(errors), float(spread))
