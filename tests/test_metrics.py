"""Errors against their definitions, for any images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d

from ddim_embed import metrics
from ddim_embed.metrics.classifier import FeatureClassifier
from ddim_embed.metrics.frechet import fid
from ddim_embed.metrics.perceptual import PerceptualDistance, lpips
from ddim_embed.metrics.pixels import clipped_batches

seeds = st.integers(0, 10_000)


def pair(seed, shape=(2, 12, 12, 1), low=0.0, high=1.0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1, shape), rng.uniform(low, high, shape)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, padding=st.integers(0, 4), channels=st.sampled_from([1, 3]))
def test_mse_is_that_of_clipped_pixels_inside_the_padding(seed, padding, channels):
    pixels, reconstruction = pair(seed, (3, 12, 10, channels), -0.4, 1.4)
    errors = metrics.mse(pixels, reconstruction, padding)
    assert errors.shape == (3,) and errors.dtype == np.float64
    clipped = np.clip(reconstruction, 0, 1)[:, padding : 12 - padding, padding : 10 - padding]
    inside = pixels[:, padding : 12 - padding, padding : 10 - padding]
    np.testing.assert_allclose(errors, ((inside - clipped) ** 2).mean((1, 2, 3)), rtol=1e-12)


def test_mse_of_the_pixels_that_count():
    pixels, reconstruction = pair(5, (2, 12, 10, 3), -1, 2)
    held = np.random.default_rng(6).uniform(size=(2, 12, 10, 1)) < 0.5
    held = np.repeat(held, 3, axis=3)
    found = metrics.mse(pixels, reconstruction, 2, held.astype(np.float32))
    for i, inside in enumerate(held[:, 2:-2, 2:-2]):
        squares = (pixels - np.clip(reconstruction, 0, 1))[i, 2:-2, 2:-2] ** 2
        assert found[i] == pytest.approx(squares[inside].mean(), rel=1e-12)
    assert np.isnan(metrics.mse(pixels, reconstruction, 0, np.zeros(held.shape))).all()


def test_no_images_have_no_errors():
    assert metrics.mse(np.zeros((0, 4, 4, 1)), np.zeros((0, 4, 4, 1))).shape == (0,)


def test_batches_are_clipped_and_have_all_pixels():
    pixels = np.linspace(-1, 2, 5).reshape(5, 1, 1, 1)
    parts = list(clipped_batches(pixels, 2))
    assert [len(part) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(parts), np.clip(pixels, 0, 1))


def test_mse_is_computed_in_float64():
    """float32 would lose the square of a difference of 1e-4 beside a sum over many pixels."""
    pixels = np.full((1, 64, 64, 1), 0.5, np.float32)
    reconstruction = pixels + np.float32(2**-13)
    assert metrics.mse(pixels, reconstruction)[0] == 2.0**-26


def test_pixels_are_clipped():
    pixels = np.array([0.0, 1.0, 0.25, 0.75]).reshape(1, 2, 2, 1)
    reconstruction = np.array([-0.4, 1.4, 0.25, 1.3]).reshape(1, 2, 2, 1)
    assert metrics.mse(pixels, reconstruction)[0] == 0.25**2 / 4
    decoded = np.array([-5.0, 3.0, 0.25, 9.0]).reshape(1, 2, 2, 1)
    assert metrics.mse(pixels, decoded)[0] == 0.25**2 / 4
    assert metrics.clipped_mse(decoded, pixels)[0] == 0.25**2 / 4


@settings(deadline=None, max_examples=25)
@given(seed=seeds, padding=st.integers(0, 2))
def test_psnr_is_the_logarithm_of_mse(seed, padding):
    pixels, reconstruction = pair(seed, low=-0.4, high=1.4)
    expected = -10 * np.log10(metrics.mse(pixels, reconstruction, padding))
    found = metrics.psnr(pixels, reconstruction, padding)
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # tf.image.psnr is float32


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_ssim_is_one_for_equals_and_less_for_others(seed):
    pixels, other = pair(seed)
    np.testing.assert_allclose(metrics.ssim(pixels, pixels), 1, rtol=1e-5)  # float32
    found = metrics.ssim(pixels, other)
    assert found.shape == (2,) and (found < 0.9).all()
    np.testing.assert_allclose(found, metrics.ssim(other, pixels), rtol=1e-4, atol=1e-6)


def test_ssim_of_constants_is_its_luminance_term():
    # So dark that the constant of Wang et al. (2004), for a range of 1, counts.
    pixels, other = np.full((1, 12, 12, 1), 0.02), np.full((1, 12, 12, 1), 0.06)
    c = 0.01**2
    expected = (2 * 0.02 * 0.06 + c) / (0.02**2 + 0.06**2 + c)
    # The other term divides variances, zero but for float32 rounding, by 9e-4.
    assert metrics.ssim(pixels, other)[0] == pytest.approx(expected, abs=1e-3)


def test_ssim_clips_and_ignores_the_padding():
    pixels, other = pair(3, (1, 16, 16, 1), -0.4, 1.4)
    expected = metrics.ssim(pixels[:, 2:-2, 2:-2], np.clip(other, 0, 1)[:, 2:-2, 2:-2])
    np.testing.assert_allclose(metrics.ssim(pixels, other, 2), expected, rtol=1e-6)


def test_zero_padded_ssim_is_that_of_the_published_code():
    """Convolutions of images, squares and products with a Gaussian, as large as the image."""
    pixels, other = pair(4, (2, 14, 12, 3))
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))

    def blurred(images):
        for axis in (1, 2):
            images = correlate1d(images, weights / weights.sum(), axis, mode="constant")
        return images

    means, other_means = blurred(pixels), blurred(other)
    variances = blurred(pixels**2) - means**2, blurred(other**2) - other_means**2
    covariance = blurred(pixels * other) - means * other_means
    c1, c2 = 0.01**2, 0.03**2
    ratios = (2 * means * other_means + c1) * (2 * covariance + c2)
    ratios /= (means**2 + other_means**2 + c1) * (sum(variances) + c2)
    found = metrics.ssim(pixels, other, zero_padded=True)
    np.testing.assert_allclose(found, ratios.mean(axis=(1, 2, 3)), rtol=1e-4)  # float32
    assert np.abs(found - metrics.ssim(pixels, other)).min() > 1e-3
    with pytest.raises(ValueError, match="`zero_padded` must be True or False"):
        metrics.ssim(pixels, other, zero_padded=5)


@pytest.mark.parametrize("metric", [metrics.mse, metrics.psnr, metrics.ssim])
class TestErrors:
    def test_shapes(self, metric):
        with pytest.raises(ValueError, match=r"\(2, 12, 12, 1\) and \(1, 12, 12, 1\)"):
            metric(np.zeros((2, 12, 12, 1)), np.zeros((1, 12, 12, 1)))
        with pytest.raises(ValueError, match="same shape"):
            metric(np.zeros((12, 12, 1)), np.zeros((12, 12, 1)))

    @pytest.mark.parametrize("padding", [-1, 6, 7])
    def test_padding(self, metric, padding):
        with pytest.raises(ValueError, match=f"`padding` must be an integer .*: {padding}"):
            metric(np.zeros((1, 12, 14, 1)), np.zeros((1, 12, 14, 1)), padding)


def _features(pixels, other):
    return FeatureClassifier((8, 8, 1), classes=2, widths=(), num_features=2).features(other)


def _fid(pixels, other):
    return fid(pixels, other, lambda images: np.asarray(images)[:, ::150, 0, 0])


UNIT = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)
# Not pixels, with the range that the message names.
OTHERS = {
    "uint8": ((UNIT * 255).astype(np.uint8), r"uint8 values from \d+ to 25\d"),
    "mask": ((UNIT > 0.5).astype(np.int64), "int64 values from 0 to 1"),
    "bool": (UNIT > 0.5, "bool values from False to True"),
    "255": (UNIT * 255, r"from \d?\.\d+ to 25\d"),
    "twice": (UNIT * 2, r"from 0\.0\d* to 1\.9"),
    "-1, 1": (2 * UNIT - 1, r"from -0\.9\d* to 0\.9"),
    "-.5, .5": (UNIT - 0.5, r"from -0\.4\d* to 0\.4"),
    "normalised": ((UNIT - UNIT.mean()) / UNIT.std(), r"from -1\.\d* to 1\.\d"),
    "NaN": (np.where(UNIT > 0.9, np.nan, UNIT), "finite"),
    "infinite": (np.where(UNIT > 0.9, np.inf, UNIT), "finite"),
    "text": (UNIT.astype(str), "real numbers"),
}


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize(
    "metric", [metrics.mse, metrics.psnr, metrics.ssim, lpips, _fid, _features]
)
def test_what_is_not_in_the_range_of_pixels_is_refused(metric, others):
    values, words = OTHERS[others]
    pair = metric not in (_features, _fid)
    if others != "normalised" or not pair:  # a bad reconstruction may look like that
        names = "(reconstruction|other|pixels|pixels_b)"
        with pytest.raises(ValueError, match=f"`{names}` must be .*{words}"):
            metric(UNIT, values)
    if pair:
        with pytest.raises(ValueError, match=f"`pixels` must be .*{words}"):
            metric(values, UNIT)


@pytest.mark.parametrize("pixels", [UNIT.astype(np.float16), UNIT * 1.8 - 0.4, UNIT * 0])
def test_decoded_pixels_may_overshoot(pixels):
    clipped = pixels.clip(0, 1)
    for metric in (metrics.mse, _fid, _features):
        np.testing.assert_allclose(metric(UNIT, pixels), metric(UNIT, clipped), rtol=1e-6)


@pytest.mark.parametrize("held", [[[[[np.nan]]]], [[[[2.0]]]], [[[[-1]]]], "x"])
def test_weights_are_from_0_to_1(held):
    with pytest.raises(ValueError, match="`held` must be"):
        metrics.mse(np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1)), held=held)


def test_integers_are_no_pixels_of_the_differentiable_metrics():
    images = np.zeros((1, 32, 32, 1), np.uint8)
    with pytest.raises(ValueError, match=r"divide uint8 by 255.*Received: uint8"):
        PerceptualDistance()([images, images])
    classifier = FeatureClassifier((32, 32, 1), classes=2, widths=(), num_features=2)
    with pytest.raises(ValueError, match=r"divide uint8 by 255.*Received: uint8"):
        classifier(images)
