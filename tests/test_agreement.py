import numpy as np
import pytest

import ddim_embed as de


def brute_force(images):
    """Means over pairs of networks and latents, pair by pair."""
    same, other = [], []
    for a, first in enumerate(images):
        for b, second in enumerate(images):
            if a == b:
                continue
            for i, x in enumerate(first):
                for j, y in enumerate(second):
                    (same if i == j else other).append(np.mean((x - y) ** 2))
    return np.mean(other) / np.mean(same)


def related(networks=3, latents=40, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.2, 0.8, (1, latents, 6, 6, 1))
    return base + noise * rng.normal(size=(networks, latents, 6, 6, 1))


@pytest.mark.parametrize("contrast", [1, 0.1])
def test_the_ratio_is_that_of_all_pairs(contrast):
    images = contrast * np.clip(related(latents=7), 0, 1)
    found = de.agreement(images, resamples=10)
    assert found.ratio == pytest.approx(brute_force(images), rel=1e-10)
    gaps = ((images[:, :, None, None] - images) ** 2).mean(axis=(4, 5, 6))  # (k, n, k, n)
    same = np.einsum("aibi->ab", gaps) / 7
    np.testing.assert_allclose(found.same, same, rtol=1e-9, atol=1e-15)
    other = (gaps.sum(axis=(1, 3)) - 7 * same) / (7 * 6)
    np.testing.assert_allclose(found.other, other, rtol=1e-9)


def test_ratio_of_noisy_images_in_closed_form():
    """Same latents: 2 s^2. Different ones: 2 (v + s^2), v = 0.6^2 / 12 the variance of pixels."""
    noise = 0.02
    found = de.agreement(related(latents=400, noise=noise))
    expected = (0.6**2 / 12 + noise**2) / noise**2
    assert found.ratio == pytest.approx(expected, rel=0.05)
    assert found.interval[0] < expected < found.interval[1]
    np.testing.assert_allclose(found.same, 2 * noise**2 * (1 - np.eye(3)), rtol=0.05)
    np.testing.assert_allclose(found.other, found.other.T)
    assert np.diag(found.other) == pytest.approx(2 * (0.6**2 / 12 + noise**2), rel=0.05)


def test_the_interval_has_its_coverage():
    noise = 0.05
    truth = (0.6**2 / 12 + noise**2) / noise**2
    inside = [
        low < truth < high
        for low, high in (
            de.agreement(related(2, 30, noise, seed), resamples=200).interval for seed in range(100)
        )
    ]
    assert 80 <= sum(inside) <= 100


def test_independent_networks_have_a_ratio_of_one():
    images = np.random.default_rng(0).uniform(size=(4, 60, 5, 5, 3))
    found = de.agreement(images)
    assert found.interval[0] < 1 < found.interval[1]
    assert found.interval[1] - found.interval[0] < 0.3


def test_networks_that_agree_have_an_infinite_ratio():
    images = np.repeat(np.random.default_rng(0).uniform(size=(1, 5, 4, 4, 1)), 2, axis=0)
    assert de.agreement(images, resamples=5).ratio == np.inf
    assert not de.agreement(images, resamples=5).same.any()


def test_padding_and_clipped_values_do_not_count():
    images = np.clip(related(), 0, 1)
    framed = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0)))
    framed[0, :, :2] = 1.0
    plain = de.agreement(images)
    assert de.agreement(framed, padding=2).ratio == pytest.approx(plain.ratio, rel=1e-12)
    beyond = np.where(images > 0.7, images + 1, np.where(images < 0.3, images - 1, images))
    clipped = np.clip(beyond, 0, 1)
    assert de.agreement(beyond).ratio == pytest.approx(de.agreement(clipped).ratio, rel=1e-12)


def test_a_seed_gives_the_same_interval():
    images = related()
    assert de.agreement(images, seed=1).interval == de.agreement(images, seed=1).interval
    assert de.agreement(images, seed=1).interval != de.agreement(images, seed=2).interval
    low, high = de.agreement(images, resamples=1).interval
    assert low == high != de.agreement(images).ratio  # the one sample that was drawn


@pytest.mark.parametrize("shape", [(1, 5, 4, 4, 1), (3, 1, 4, 4, 1), (5, 4, 4, 1)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"Received shape: \("):
        de.agreement(np.zeros(shape))


@pytest.mark.parametrize("n", [2, 3])
def test_an_interval_of_few_latents_is_a_number(n):
    images = np.random.default_rng(n).uniform(size=(2, n, 4, 4, 1))
    found = de.agreement(images)
    low, high = found.interval
    assert low <= found.ratio <= high and np.isfinite([low, high]).all()
