"""The denoiser's errors against exact denoisers."""

import numpy as np
import pytest
from conftest import make_pixels

import ddim_embed as de


class Known:
    """In place of a frozen network: always predicts the noise that implies one image."""

    def __init__(self, image):
        self.compiled = lambda noisy, rates: (noisy - rates.signal * image) / rates.noise


def with_denoiser(generator, denoiser):
    generator.denoiser = lambda precision=None: denoiser
    return generator


def test_predicting_the_mean_image_has_its_error(tiny_generator):
    pixels = make_pixels(70, (16, 16, 1))  # more than are denoised at a time
    generator = tiny_generator.given(None)
    images = generator.normalizer(pixels).numpy()
    found = de.denoising_errors(with_denoiser(generator, Known(images.mean(axis=0))), pixels)
    assert found.mean_image == pytest.approx(images.var(axis=0).mean(), rel=1e-5)  # float32
    # At t=1 the image is what is left of a difference of numbers fifty times as large.
    np.testing.assert_allclose(found.mse, found.mean_image, rtol=1e-4)
    expected = np.mean((images - images.mean(axis=0)) ** 2, axis=(1, 2, 3))
    assert found.each.shape == (3, 70)
    np.testing.assert_allclose(found.each, [expected] * 3, rtol=1e-3)


def test_every_image_has_its_own_noise_at_every_level(tiny_generator):
    pixels, drawn = make_pixels(70, (16, 16, 1)), []
    generator, known = tiny_generator.given(None), Known(0.0)
    images, start = generator.normalizer(pixels).numpy(), 0

    def compiled(noisy, rates):
        nonlocal start
        part = images[start : start + len(noisy)]
        drawn.append(((noisy - rates.signal * part) / rates.noise).reshape(len(noisy), -1))
        start = (start + len(noisy)) % 70
        return noisy

    known.compiled = compiled
    de.denoising_errors(with_denoiser(generator, known), pixels)
    assert [len(part) for part in drawn] == [64, 6] * 3
    drawn = np.concatenate(drawn)
    correlations = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(correlations).max() < 0.4  # 256 pixels: six deviations of 1 / 16
    assert drawn.std() == pytest.approx(1, rel=0.02)


def test_levels_are_the_sampler_s_and_so_are_the_errors(tiny_generator):
    """With the generator's own network, on the same images with other noise."""
    generator, pixels = tiny_generator, make_pixels(40, (16, 16, 1))
    found = de.denoising_errors(generator, pixels, seed=1)
    assert found.rates == generator.grid[:0:-1] and len(found.mse) == generator.num_steps
    images = generator.normalizer(pixels).numpy()
    rng = np.random.default_rng(2)
    for rates, mse in zip(found.rates, found.mse, strict=True):
        noises = rng.normal(size=images.shape).astype(np.float32)
        noisy = rates.signal * images + rates.noise * noises
        pred_noises = generator.denoiser().compiled(noisy, rates).numpy()
        errors = (pred_noises - noises) * rates.noise / rates.signal
        assert mse == pytest.approx(np.mean(errors**2), rel=0.1)  # 10,000 pixels, correlated


def test_the_noise_depends_on_the_seed(tiny_generator):
    pixels = make_pixels(3, (16, 16, 1))
    first, again, other = (
        de.denoising_errors(tiny_generator, pixels, seed).mse for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


def test_pixels_of_another_shape_are_refused(tiny_generator):
    with pytest.raises(ValueError, match="`pixels` must have shape"):
        de.denoising_errors(tiny_generator, make_pixels(2))
