"""Samplers against exact denoisers, whose results and gradients have closed forms."""

import itertools
import math

import numpy as np
import oracles
import pytest
import tensorflow as tf
from conftest import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

from ddim_embed.process import noise, schedules
from ddim_embed.process.sampling import (
    CLEAN,
    LAST_STEPS,
    ancestral,
    ddim_step,
    invert,
    join_step,
    predict_images,
    sample,
    sampler_levels,
    time_grid,
)
from ddim_embed.process.schedules import SCHEDULES, Rates, continuous_cosine

THETA = math.acos(0.02) - math.acos(0.95)  # the angle from t=0 to t=1, 1.2332
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def normal(shape=(3, 4, 4, 1), seed=0):
    """float64, so that closed forms are met to machine precision."""
    return np.random.default_rng(seed).normal(size=shape)


def ends(schedule):
    """The rates at t=0 and t=1."""
    return time_grid(schedule, 1)


class TestUnitGaussian:
    """The noise predicted at rate n for images x is n * x: each step is a product."""

    denoise = staticmethod(oracles.gaussian())

    def test_the_published_numbers(self):
        """10 steps of the paper's schedule."""
        latents = np.ones(())
        transfer = sample(self.denoise, continuous_cosine, latents, 10, "transfer")
        predicted = sample(self.denoise, continuous_cosine, latents, 10)
        assert pytest.approx(1.2332, abs=5e-5) == THETA
        assert float(transfer) == pytest.approx(0.92660, abs=5e-6)
        assert float(predicted) == pytest.approx(0.84440, abs=5e-6)

    @pytest.mark.parametrize("num_steps", [1, 2, 3, 10, 50])
    @pytest.mark.parametrize("last_step", ["transfer", "predicted_image"])
    @pytest.mark.parametrize("remat", [False, True])
    def test_result_and_gradient(self, num_steps, last_step, remat):
        factor = math.cos(THETA / num_steps) ** num_steps
        if last_step == "predicted_image":
            steps = num_steps - 1
            rates = continuous_cosine(tf.constant(1 / num_steps, tf.float64))
            factor = math.cos(THETA / num_steps) ** steps * float(rates.signal)
        latents = tf.constant(normal())
        with tf.GradientTape() as tape:
            tape.watch(latents)
            images = sample(self.denoise, continuous_cosine, latents, num_steps, last_step, remat)
        np.testing.assert_allclose(images, factor * latents, rtol=1e-12)  # float64
        upstream = tf.constant(normal(seed=1))
        gradient = tape.gradient(images, latents, output_gradients=upstream)
        np.testing.assert_allclose(gradient, factor * upstream, rtol=1e-12)

    @pytest.mark.parametrize("n", range(1, 6))
    def test_any_batch_size_and_dtype(self, n):
        latents = normal((n, 2, 6, 3)).astype(np.float32)
        images = sample(self.denoise, continuous_cosine, latents, 4, "transfer")
        assert images.dtype == tf.float32 and images.shape == latents.shape
        np.testing.assert_allclose(
            images, math.cos(THETA / 4) ** 4 * latents, rtol=1e-5
        )  # float32, four steps


class TestPointMass:
    """The noise is known exactly, and the ODE's paths are straight: any steps are exact."""

    value = 0.7
    denoise = staticmethod(oracles.point_mass(value))

    @each_schedule
    @pytest.mark.parametrize("num_steps", [1, 7])
    def test_the_predicted_image_is_the_point(self, schedule, num_steps):
        images = sample(self.denoise, schedule, normal(), num_steps)
        # float64, divided by the signal rate (at least 1e-3)
        np.testing.assert_allclose(images, self.value, rtol=1e-9)

    @pytest.mark.parametrize("schedule", [continuous_cosine, schedules.cosine])
    @pytest.mark.parametrize("num_steps", [1, 2, 9])
    def test_transfer_and_inversion_undo_each_other(self, schedule, num_steps):
        # `cosine` has no noise at t=0: there nothing tells one latent from another.
        start, end = ends(schedule)
        latents = normal()
        noises = (latents - end.signal * self.value) / end.noise
        expected = start.signal * self.value + start.noise * noises
        images = sample(self.denoise, schedule, latents, num_steps, "transfer")
        np.testing.assert_allclose(images, expected, rtol=1e-9, atol=1e-9)
        if start.noise > 0:
            found = invert(self.denoise, schedule, images, num_steps)
            np.testing.assert_allclose(found, latents, rtol=1e-9, atol=1e-9)

    def test_the_gradient_vanishes_where_all_latents_give_one_image(self):
        latents = tf.constant(normal())
        for remat in (False, True):
            with tf.GradientTape() as tape:
                tape.watch(latents)
                images = sample(self.denoise, continuous_cosine, latents, 5, remat=remat)
            # float64 rounding, grown by 1 / 0.02 in the first step
            np.testing.assert_allclose(tape.gradient(images, latents), 0, atol=1e-10)


class TestOrderOfConvergence:
    """For N(0, 0.25) the error against the exact ODE map falls as 1/N: slope -1 in log-log."""

    steps = np.array([80, 160, 320, 640])
    denoise = staticmethod(oracles.gaussian(0.5))

    def slope(self, errors):
        return np.polyfit(np.log(self.steps), np.log(errors), 1)[0]

    def test_transfer(self):
        start, end = ends(continuous_cosine)
        exact = oracles.gaussian_flow(0.5, end, start)
        latents = np.ones(())
        errors = [
            abs(float(sample(self.denoise, continuous_cosine, latents, n, "transfer")) - exact)
            for n in self.steps
        ]
        # The next order, 1/N**2, still bends the line by about one part in 80.
        assert self.slope(errors) == pytest.approx(-1, abs=0.02)
        assert errors[-1] < 2e-3

    def test_inversion(self):
        start, end = ends(continuous_cosine)
        exact = oracles.gaussian_flow(0.5, start, end)
        images = np.ones(())
        errors = [
            abs(float(invert(self.denoise, continuous_cosine, images, n)) - exact)
            for n in self.steps
        ]
        assert self.slope(errors) == pytest.approx(-1, abs=0.02)
        assert errors[-1] < 5e-3


class TestAncestral:
    """DDPM, the control that latents do not determine."""

    denoise = staticmethod(oracles.gaussian(0.5))

    @each_schedule
    @pytest.mark.parametrize("last_step", LAST_STEPS)
    def test_without_noise_it_is_ddim(self, schedule, last_step):
        latents = normal()
        images = ancestral(self.denoise, schedule, latents, 7, last_step, seed=3, eta=0)
        expected = sample(self.denoise, schedule, latents, 7, last_step)
        np.testing.assert_array_equal(images, expected)

    @pytest.mark.parametrize("last_step", LAST_STEPS)
    @pytest.mark.parametrize("eta", [0.5, 1.0])
    def test_latents_do_not_determine_the_images(self, last_step, eta):
        latents = normal()
        options = {"num_steps": 5, "last_step": last_step, "eta": eta}
        first, again, other = (
            ancestral(self.denoise, continuous_cosine, latents, seed=seed, **options)
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, again)
        assert np.abs(np.subtract(first, other)).max() > 0.1

    def test_one_step_is_the_posterior_of_ddpm(self):
        """Ho et al. (2020), Eq. 7: mean and variance from the predicted image, by their beta."""
        end, middle, start = sampler_levels(continuous_cosine, 2, "transfer")
        known = ancestral_mean_and_deviation(self.denoise, end, middle)
        latents = np.ones((1, 200, 200, 1))
        # The second step scales what the first made, and its own noise is subtracted in quadrature.
        images = ancestral(self.denoise, continuous_cosine, latents, 2, "transfer", seed=0)
        scale, deviation = ancestral_mean_and_deviation(self.denoise, middle, start)
        mean, spread = scale * known[0], math.hypot(scale * known[1], deviation)
        # 40,000 draws: deviations of 1 / 200 and 1 / 283 of the spread
        assert np.mean(images) == pytest.approx(mean, abs=0.02 * spread)
        assert np.std(images) == pytest.approx(spread, rel=0.015)

    def test_the_first_step_draws_the_first_stream_of_the_seed(self):
        """Stream 0 is that of a generator's latents."""
        end, start = sampler_levels(continuous_cosine, 1, "transfer")
        mean, deviation = ancestral_mean_and_deviation(self.denoise, end, start)
        found = ancestral(
            self.denoise, continuous_cosine, np.ones((2, 4, 4, 1)), 1, "transfer", seed=7
        )
        drawn = noise.normal((2, 4, 4, 1), noise.seed_words(7, 1), numpy=True)
        np.testing.assert_allclose(found, mean + deviation * drawn, rtol=1e-6)

    def test_eta_is_the_share_of_the_deviation(self):
        def difference(eta):  # of two seeds: the mean is the same
            options = {"num_steps": 1, "last_step": "transfer", "eta": eta}
            first, second = (
                ancestral(self.denoise, continuous_cosine, np.ones((1, 4, 4, 1)), seed=s, **options)
                for s in (1, 2)
            )
            return np.subtract(first, second)

        np.testing.assert_allclose(difference(0.5), 0.5 * difference(1.0), rtol=1e-9)

    def test_many_steps_make_images_of_the_data_s_deviation(self):
        latents = normal((4, 50, 50, 1))
        images = ancestral(self.denoise, continuous_cosine, latents, 500, "transfer")
        start = ends(continuous_cosine)[0]
        expected = math.hypot(0.5 * start.signal, start.noise)
        assert np.std(images) == pytest.approx(expected, rel=0.03)  # 10,000 draws, 500 steps
        correlation = np.corrcoef(np.ravel(images), np.ravel(latents))[0, 1]
        assert abs(correlation) < 0.05  # for DDIM it is 1

    def test_keeps_shape_and_dtype(self):
        latents = normal((2, 3, 5, 3)).astype(np.float32)
        images = ancestral(self.denoise, continuous_cosine, latents, 3)
        assert images.dtype == tf.float32 and images.shape == latents.shape

    def test_one_evaluation_per_step(self):
        asked = []

        def denoise(images, rates):
            asked.append(rates)
            return images

        ancestral(denoise, continuous_cosine, normal(), 4)
        assert asked == time_grid(continuous_cosine, 4)[:0:-1]

    @pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
    def test_wrong_values_are_named(self, eta):
        with pytest.raises(ValueError, match=rf"eta.*at least 0 and at most 1\. Received: {eta}"):
            ancestral(self.denoise, continuous_cosine, normal(), 3, eta=eta)
        with pytest.raises(ValueError, match=r"num_steps.*Received: 0"):
            ancestral(self.denoise, continuous_cosine, normal(), 0)


def ancestral_mean_and_deviation(denoise, now, after):
    """What a step of DDPM makes of noisy images equal to 1, in the terms of Ho et al. (2020)."""
    alpha = (now.signal / after.signal) ** 2  # of this step alone
    beta, share = 1 - alpha, 1 / now.noise**2
    clean = (1 - now.noise * denoise(1.0, now)) / now.signal
    mean = after.signal * beta * share * clean + math.sqrt(alpha) * after.noise**2 * share
    return mean, math.sqrt(after.noise**2 * share * beta)


rates = st.floats(0.05, 1.5).map(lambda angle: Rates(math.cos(angle), math.sin(angle)))


class TestStep:
    @settings(deadline=None, max_examples=30)
    @given(now=rates, after=rates, seed=st.integers(0, 99))
    def test_there_and_back_is_the_identity(self, now, after, seed):
        images, noises = tf.constant(normal(seed=seed)), tf.constant(normal(seed=seed + 100))
        there = ddim_step(images, noises, now, after)
        back = ddim_step(there, noises, after, now)
        np.testing.assert_allclose(back, images, rtol=1e-9, atol=1e-9)  # float64, signal > 0.07

    @settings(deadline=None, max_examples=30)
    @given(now=rates, after=rates)
    def test_moves_a_known_mixture_to_the_other_rates(self, now, after):
        clean, noises = normal(seed=1), normal(seed=2)
        noisy = tf.constant(now.signal * clean + now.noise * noises)
        moved = ddim_step(noisy, tf.constant(noises), now, after)
        np.testing.assert_allclose(
            moved, after.signal * clean + after.noise * noises, rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(predict_images(noisy, noises, now), clean, rtol=1e-9, atol=1e-9)

    def test_each_image_may_have_its_own_rates(self):
        angles = tf.constant([0.3, 0.6, 0.9], tf.float64)[:, None, None, None]
        now, after = Rates(tf.cos(angles), tf.sin(angles)), Rates(0.8, 0.6)
        images, noises = tf.constant(normal()), tf.constant(normal(seed=1))
        moved = ddim_step(images, noises, now, after)
        for i, angle in enumerate([0.3, 0.6, 0.9]):
            own = Rates(math.cos(angle), math.sin(angle))
            alone = ddim_step(images[i : i + 1], noises[i : i + 1], own, after)
            np.testing.assert_allclose(moved[i : i + 1], alone, rtol=1e-12)

    def test_arrays_are_as_good_as_tensors(self):
        images, noises = normal(), normal(seed=1)
        now, after = ends(continuous_cosine)
        moved = ddim_step(images, noises, now, after)
        assert isinstance(moved, np.ndarray)
        np.testing.assert_allclose(
            moved, ddim_step(tf.constant(images), tf.constant(noises), now, after), rtol=1e-12
        )

    def test_shapes_must_agree(self):
        with pytest.raises(ValueError, match=r"\(3, 4, 4, 1\) and \(3, 4, 4, 3\)"):
            ddim_step(tf.zeros((3, 4, 4, 1)), tf.zeros((3, 4, 4, 3)), *ends(continuous_cosine))


class TestGrid:
    @each_schedule
    def test_runs_evenly_from_0_to_1(self, schedule):
        grid = time_grid(schedule, 4)
        expected = schedule(tf.constant([0, 0.25, 0.5, 0.75, 1], tf.float64))
        assert len(grid) == 5 and all(type(value) is float for pair in grid for value in pair)
        np.testing.assert_allclose([rates.signal for rates in grid], expected.signal, rtol=1e-12)
        np.testing.assert_allclose([rates.noise for rates in grid], expected.noise, rtol=1e-12)

    @each_schedule
    def test_the_levels_of_a_sampler(self, schedule):
        grid = time_grid(schedule, 3)
        assert sampler_levels(schedule, 3, "transfer") == grid[::-1]
        assert sampler_levels(schedule, 3, "predicted_image") == [*grid[:0:-1], CLEAN]
        with pytest.raises(ValueError, match=r"last_step.*Received: 'last'"):
            sampler_levels(schedule, 3, "last")

    def test_is_constant_inside_a_graph(self):
        @tf.function
        def graph():
            assert time_grid(continuous_cosine, 3) == time_grid(continuous_cosine, 3)
            return tf.constant(time_grid(continuous_cosine, 3))

        np.testing.assert_allclose(graph(), time_grid(continuous_cosine, 3))

    @pytest.mark.parametrize("last_step", ["transfer", "predicted_image"])
    def test_one_evaluation_per_step_at_the_paper_s_times(self, last_step):
        asked = []

        def denoise(images, rates):
            asked.append(rates)
            return images

        sample(denoise, continuous_cosine, normal(), 5, last_step)
        assert asked == time_grid(continuous_cosine, 5)[:0:-1]  # t = 1, 4/5, ..., 1/5
        asked.clear()
        invert(denoise, continuous_cosine, normal(), 5)
        assert asked == time_grid(continuous_cosine, 5)[:-1]  # t = 0, 1/5, ..., 4/5

    def test_wrong_values_are_named(self):
        denoise = oracles.gaussian()
        for call in (sample, invert):
            with pytest.raises(ValueError, match=r"num_steps.*Received: 0"):
                call(denoise, continuous_cosine, normal(), 0)
        with pytest.raises(ValueError, match=r"predicted_image.*transfer.*Received: 'last'"):
            sample(denoise, continuous_cosine, normal(), 3, "last")


class TestRemat:
    """What it is for: a step keeps its input, and runs again when its gradient is asked for."""

    @pytest.mark.parametrize("remat, calls", [(False, 4), (True, 8)])
    def test_evaluations(self, remat, calls):
        count = 0

        def denoise(images, rates):
            nonlocal count
            count += 1
            return tf.sin(images)

        latents = tf.constant(normal())
        with tf.GradientTape() as tape:
            tape.watch(latents)
            images = sample(denoise, continuous_cosine, latents, 4, remat=remat)
        assert count == 4
        tape.gradient(images, latents)
        assert count == calls

    def test_nonlinear_gradients_are_equal_in_a_graph(self):
        def denoise(images, rates):
            return (
                rates.noise * tf.sin(images)
                + tf.reduce_mean(images**2, axis=(1, 2, 3), keepdims=True) / 5
            )

        @tf.function
        def gradients(latents):
            found = []
            for remat in (False, True):
                with tf.GradientTape() as tape:
                    tape.watch(latents)
                    images = sample(denoise, continuous_cosine, latents, 4, remat=remat)
                found.append(tape.gradient(images, latents, output_gradients=tf.cos(images)))
            return found

        plain, recomputed = gradients(tf.constant(normal()))
        assert np.abs(plain).max() > 0.1
        np.testing.assert_allclose(recomputed, plain, rtol=1e-10, atol=1e-10)  # float64


class TestScan:
    """One copy of the step in a loop: the same images and gradients as N copies."""

    @pytest.mark.parametrize("remat", [False, True])
    @pytest.mark.parametrize("last_step", LAST_STEPS)
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_equals_the_copies(self, last_step, remat, jit_compile):
        weights = normal(seed=2).astype(np.float32)

        def denoise(images, rates):
            return tf.tanh(rates.noise * images * weights)

        def gradient(latents, scan):
            with tf.GradientTape() as tape:
                tape.watch(latents)
                images = sample(denoise, continuous_cosine, latents, 4, last_step, remat, scan=scan)
                loss = tf.reduce_sum(images**2)
            return images, tape.gradient(loss, latents)

        compiled = tf.function(gradient, jit_compile=jit_compile, autograph=False)
        latents = tf.constant(normal(), tf.float32)
        for found, expected in zip(compiled(latents, True), gradient(latents, False), strict=True):
            assert_close(found, expected, 1e-5)  # float32

    def test_the_network_is_traced_once(self):
        calls = []

        def denoise(images, rates):
            calls.append(rates)
            return rates.noise * images

        run = tf.function(
            lambda latents: sample(denoise, continuous_cosine, latents, 7, scan=True),
            autograph=False,
        )
        run(tf.constant(normal(), tf.float32))
        assert len(calls) < 7

    def test_a_callback_has_nothing_to_see(self):
        with pytest.raises(ValueError, match="`callback` must be None with `scan=True`"):
            sample(oracles.gaussian(), continuous_cosine, normal(), callback=print, scan=True)


class TestCallback:
    @pytest.mark.parametrize("last_step", LAST_STEPS)
    def test_sees_both_parts_of_every_step(self, last_step):
        steps = []
        latents = normal()
        images = sample(
            oracles.gaussian(0.5), continuous_cosine, latents, 4, last_step, callback=steps.append
        )
        levels = sampler_levels(continuous_cosine, 4, last_step)
        assert [step.index for step in steps] == [0, 1, 2, 3]
        np.testing.assert_array_equal(steps[0].noisy_images, latents)
        np.testing.assert_array_equal(steps[-1].next_images, images)
        for step, (rates, next_rates) in zip(steps, itertools.pairwise(levels), strict=True):
            assert (step.rates, step.next_rates) == (rates, next_rates)
            predicted = predict_images(step.noisy_images, step.pred_noises, rates)
            np.testing.assert_array_equal(step.parts.pred_images, predicted)
            np.testing.assert_array_equal(
                step.parts.directions, next_rates.noise * step.pred_noises
            )
            joined = join_step(*step.parts, next_rates)
            np.testing.assert_allclose(joined, step.next_images, rtol=1e-12)  # float64


def test_an_unknown_number_of_images_fits_any():
    signature = [tf.TensorSpec((n, 1, 1, 1)) for n in (None, 2)]
    step = tf.function(
        lambda images, noises: ddim_step(images, noises, Rates(0.8, 0.6), Rates(0.6, 0.8)),
        input_signature=signature,
    )
    found = step(tf.ones((2, 1, 1, 1)), tf.ones((2, 1, 1, 1)))
    np.testing.assert_allclose(found, 0.6 * (1 - 0.6) / 0.8 + 0.8, rtol=1e-6)
