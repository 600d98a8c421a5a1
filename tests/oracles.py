"""Exact denoisers: for these data the best prediction of the noise has a closed form.

Each is a function `denoise(noisy_images, rates)`, as a trained network is, in the dtype of its
input; so samplers and inverters are tested to machine precision without training.
"""

import math

import numpy as np
from keras import ops


def point_mass(value):
    """All images equal `value`: what is not signal is noise."""

    def denoise(noisy_images, rates):
        return (noisy_images - rates.signal * value) / rates.noise

    return denoise


def gaussian(deviation=1.0):
    """Images are N(0, deviation**2 I): the noise's mean is linear in the noisy image."""

    def denoise(noisy_images, rates):
        variance = rates.signal**2 * deviation**2 + rates.noise**2
        return rates.noise * noisy_images / variance

    return denoise


def gaussian_mixture(weights, means, covariances):
    """Vectors are of one of some Gaussians: the noise's mean is -noise_rate times the score."""
    parts = [
        (w, m, *np.linalg.eigh(c)) for w, m, c in zip(weights, means, covariances, strict=True)
    ]

    def denoise(noisy_vectors, rates):
        dtype = noisy_vectors.dtype
        logs, pulls = [], []
        for weight, mean, values, axes in parts:
            mean, values, axes = (ops.cast(part, dtype) for part in (mean, values, axes))
            # Diagonal in the axes of this Gaussian.
            variances = rates.signal**2 * values + rates.noise**2
            offsets = ops.matmul(noisy_vectors - rates.signal * mean, axes)
            logs.append(
                math.log(weight) - ops.sum(offsets**2 / variances + ops.log(variances), -1) / 2
            )
            pulls.append(ops.matmul(offsets / variances, ops.transpose(axes)))
        shares = ops.softmax(ops.stack(logs, -1))
        return rates.noise * ops.sum(ops.stack(pulls, -1) * shares[:, None], -1)

    return denoise


def gaussian_flow(deviation, rates, next_rates):
    """By which factor the exact ODE moves noisy images of N(0, deviation**2 I) between two levels.

    Noisy images are Gaussian at every level, so the flow keeps their quantiles: it scales with
    their standard deviation.
    """

    def spread(at):
        return math.sqrt(at.signal**2 * deviation**2 + at.noise**2)

    return spread(next_rates) / spread(rates)
