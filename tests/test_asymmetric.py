"""The asymmetric reverse process against exact denoisers, in float64."""

import itertools
import math

import numpy as np
import oracles
import pytest

from ddim_embed.process import noise
from ddim_embed.process.asymmetric import asymmetric_sample, symmetric_share
from ddim_embed.process.sampling import LAST_STEPS, sample, sampler_levels, time_grid
from ddim_embed.process.schedules import SCHEDULES, Rates, continuous_cosine

LATENTS = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
both_ends = pytest.mark.parametrize("last_step", LAST_STEPS)
both_modes = pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])


def shifts_of(num_steps, seed=1):
    """A shift of the noises for each step."""
    return np.random.default_rng(seed).normal(size=(num_steps, *LATENTS.shape))


def edited_by(denoise, shifts, levels):
    rows = {rates.noise: shift for rates, shift in zip(levels, shifts, strict=False)}

    def edited(noisy_images, rates):
        noises = denoise(noisy_images, rates)
        return noises, noises + rows[rates.noise]

    return edited


def run(denoise, shifts, last_step="predicted_image", schedule=continuous_cosine, **options):
    levels = sampler_levels(schedule, len(shifts), last_step)
    edited = edited_by(denoise, shifts, levels)
    return np.asarray(
        asymmetric_sample(denoise, edited, schedule, LATENTS, len(shifts), last_step, **options)
    )


@both_ends
@both_modes
@pytest.mark.parametrize("until", [0, 0.5, 1])
def test_equal_noises_give_the_plain_sampler(last_step, symmetric, until):
    denoise, options = oracles.gaussian(0.5), {"symmetric": symmetric, "until": until}
    found = run(denoise, 0 * shifts_of(4), last_step, **options)
    np.testing.assert_array_equal(found, sample(denoise, continuous_cosine, LATENTS, 4, last_step))


class TestOneStep:
    """x'_sym - x' = rho (x'_asym - x'), rho = 1 - n's / (s'n), whatever the shift."""

    @both_ends
    @pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
    def test_symmetric_and_asymmetric_edits_differ_by_rho(self, schedule, last_step):
        denoise, count = oracles.gaussian(0.5), 5
        levels = sampler_levels(schedule, count, last_step)
        shifts = shifts_of(count)
        for index, (now, after) in enumerate(itertools.pairwise(levels)):
            one = np.zeros_like(shifts)
            one[index] = shifts[index]
            ends = []
            for steps, symmetric in ((0 * one, False), (one, False), (one, True)):
                found = []
                run(denoise, steps, last_step, schedule, symmetric=symmetric, callback=found.append)
                ends.append(np.asarray(found[index].next_images))
            plain, asymmetric, both = ends
            rho = 1 - after.noise * now.signal / (after.signal * now.noise)
            assert symmetric_share(now, after) == pytest.approx(rho, rel=1e-12)
            # float64; signal rates are at least 1e-3
            np.testing.assert_allclose(both - plain, rho * (asymmetric - plain), atol=1e-9)
            moved = -after.signal * now.noise / now.signal * shifts[index]
            np.testing.assert_allclose(asymmetric - plain, moved, rtol=1e-8, atol=1e-9)

    def test_rho_of_ten_steps(self):
        levels = sampler_levels(continuous_cosine, 10, "predicted_image")
        found = [symmetric_share(*pair) for pair in itertools.pairwise(levels)]
        expected = [0.861, 0.472, 0.335, 0.271, 0.238, 0.222, 0.220, 0.229, 0.254, 1]
        np.testing.assert_allclose(found, expected, atol=6e-4)

    @pytest.mark.parametrize(
        ("num_steps", "share"), [(10, 0.356), (40, 0.1011), (100, 0.0415), (1000, 0.00422)]
    )
    def test_how_much_cancels_depends_on_the_number_of_steps(self, num_steps, share):
        """For one shift of the velocity at all steps: a shift signal * dv of the noises."""
        levels = sampler_levels(continuous_cosine, num_steps, "predicted_image")
        pairs = [*itertools.pairwise(levels)]
        moved = [after.signal * now.noise for now, after in pairs]
        kept = [symmetric_share(*pair) * each for pair, each in zip(pairs, moved, strict=True)]
        assert sum(kept) / sum(moved) == pytest.approx(share, rel=2e-3)
        # The step of a velocity turns the image: sin(theta - theta').
        angles = [math.atan2(rates.noise, rates.signal) for rates in levels]
        turned = [math.sin(a - b) for a, b in itertools.pairwise(angles)]
        np.testing.assert_allclose(kept, turned, atol=1e-12)


@both_modes
def test_a_point_mass_keeps_the_shift_of_the_last_step_alone(symmetric):
    shifts, last = shifts_of(5), time_grid(continuous_cosine, 5)[1]
    found = run(oracles.point_mass(0.7), shifts, symmetric=symmetric)
    expected = 0.7 - last.noise / last.signal * shifts[-1]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@both_ends
@both_modes
def test_a_gaussian_hands_each_shift_on_by_a_factor_a_step(last_step, symmetric):
    deviation, shifts = 0.6, shifts_of(4)
    denoise = oracles.gaussian(deviation)
    levels = sampler_levels(continuous_cosine, 4, last_step)
    difference = 0
    for (now, after), shift in zip(itertools.pairwise(levels), shifts, strict=True):
        variance = now.signal**2 * deviation**2 + now.noise**2
        factor = (now.signal * after.signal * deviation**2 + now.noise * after.noise) / variance
        tau = now.noise / now.signal
        if symmetric:
            tau -= after.noise / after.signal
        difference = factor * difference - after.signal * tau * shift
    plain = sample(denoise, continuous_cosine, LATENTS, 4, last_step)
    found = run(denoise, shifts, last_step, symmetric=symmetric)
    np.testing.assert_allclose(found - plain, difference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("until", "times"),
    [(0, [1, 0.75, 0.5, 0.25]), (0.5, [1, 0.75, 0.5]), (0.51, [1, 0.75]), (1, [1])],
)
def test_the_editing_interval_ends_at_until(until, times):
    grid = time_grid(continuous_cosine, 4)
    called = {"plain": [], "edited": []}

    def denoise(images, rates, kind="plain"):
        called[kind].append(grid.index(rates) / 4)
        return images

    def edited(images, rates):
        return (denoise(images, rates, "edited"),) * 2

    asymmetric_sample(denoise, edited, continuous_cosine, LATENTS, 4, until=until)
    assert called["edited"] == times
    assert called["plain"] == [t for t in (1, 0.75, 0.5, 0.25) if t not in times]


class TestBoost:
    denoise = staticmethod(oracles.gaussian(0.5))

    def test_0_draws_nothing_and_the_last_step_never(self):
        found = run(self.denoise, shifts_of(2), boost=0, seed=1)
        np.testing.assert_array_equal(run(self.denoise, shifts_of(2), boost=0, seed=2), found)
        # Steps at 1 and 0.5: the second one is below 0.51, and ends without noise.
        np.testing.assert_array_equal(run(self.denoise, shifts_of(2), boost=0.51), found)

    @both_ends
    def test_1_draws_at_all_steps_but_the_first(self, last_step):
        """What follows the first step is ancestral sampling."""
        levels = sampler_levels(continuous_cosine, 3, last_step)
        shifts, found = shifts_of(3), []
        images = run(self.denoise, shifts, last_step, boost=1, seed=4, callback=found.append)
        x = LATENTS
        for index, (now, after) in enumerate(itertools.pairwise(levels)):
            eta, noises = float(index > 0), self.denoise(x, now)
            ratio = (1 - now.signal**2 / after.signal**2) / now.noise**2
            sigma = eta * after.noise * math.sqrt(ratio)
            predicted = (x - now.noise * (noises + shifts[index])) / now.signal
            drawn = np.float64(noise.normal(x.shape, noise.seed_words(4, index + 1), numpy=True))
            x = after.signal * predicted + math.sqrt(after.noise**2 - sigma**2) * noises
            x = x + sigma * drawn
            np.testing.assert_allclose(found[index].next_images, x, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(images, found[-1].next_images)
        other = run(self.denoise, shifts, last_step, boost=1, seed=5)
        assert np.abs(other - images).max() > 1e-2

    def test_boosted_steps_start_below_it(self):
        found = []
        run(self.denoise, 0 * shifts_of(4), "transfer", boost=0.5, callback=found.append)
        plain = []
        run(self.denoise, 0 * shifts_of(4), "transfer", callback=plain.append)
        pairs = zip(found, plain, strict=True)
        equal = [np.array_equal(a.next_images, b.next_images) for a, b in pairs]
        assert equal == [True, True, True, False]  # at 1, 0.75, 0.5 and 0.25


@both_modes
def test_the_callback_sees_what_was_joined(symmetric):
    found, shifts = [], shifts_of(3)
    denoise = oracles.gaussian(0.5)
    images = run(denoise, shifts, "transfer", symmetric=symmetric, callback=found.append)
    levels = sampler_levels(continuous_cosine, 3, "transfer")
    assert [step.index for step in found] == [0, 1, 2]
    for step, (now, after) in zip(found, itertools.pairwise(levels), strict=True):
        assert (step.rates, step.next_rates) == (now, after)
        noises = denoise(step.noisy_images, now)
        np.testing.assert_array_equal(step.pred_noises, noises)
        shifted = noises + shifts[step.index]
        predicted = (step.noisy_images - now.noise * shifted) / now.signal
        np.testing.assert_allclose(step.parts.pred_images, predicted, rtol=1e-12)
        direction = after.noise * (shifted if symmetric else noises)
        np.testing.assert_allclose(step.parts.directions, direction, rtol=1e-12)
        joined = after.signal * step.parts.pred_images + step.parts.directions
        np.testing.assert_allclose(step.next_images, joined, rtol=1e-12)
    np.testing.assert_array_equal(found[-1].next_images, images)


def test_a_step_to_no_noise_leaves_nothing_to_cancel():
    assert symmetric_share(Rates(0.6, 0.8), Rates(1.0, 0.0)) == 1
    assert symmetric_share(Rates(0.6, 0.8), Rates(0.6, 0.8)) == 0
