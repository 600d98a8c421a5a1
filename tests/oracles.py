"""Exact denoisers: for these data the best prediction of the noise has a closed form.

Each is a function `denoise(noisy_images, rates)`, as a trained network is, in the dtype of its
input; so samplers and inverters are tested to machine precision without training.
"""

import math


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


def gaussian_flow(deviation, rates, next_rates):
    """By which factor the exact ODE moves noisy images of N(0, deviation**2 I) between two levels.

    Noisy images are Gaussian at every level, so the flow keeps their quantiles: it scales with
    their standard deviation.
    """

    def spread(at):
        return math.sqrt(at.signal**2 * deviation**2 + at.noise**2)

    return spread(next_rates) / spread(rates)
