"""Inversions of samplers with exact denoisers, and of a tiny random network."""

import numpy as np
import oracles
import pytest
import tensorflow as tf
from conftest import assert_close, make_generator, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.process.inversion import implicit_steps
from ddim_embed.process.sampling import CLEAN, ddim_step, invert, sample, sampler_levels, time_grid
from ddim_embed.process.schedules import continuous_cosine

each_last_step = pytest.mark.parametrize("last_step", de.sampling.LAST_STEPS)


def normal(shape=(3, 4, 4, 1), seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


class Counting:
    def __init__(self, denoise):
        self.denoise, self.levels = denoise, []

    def __call__(self, images, rates):
        self.levels.append(rates)
        return self.denoise(images, rates)


class TestNaive:
    def test_its_error_against_the_sampler_falls_as_one_over_n(self):
        denoise = oracles.gaussian(0.5)
        steps = np.array([80, 160, 320, 640])
        errors = []
        for n in steps:
            images = sample(denoise, continuous_cosine, np.ones(()), n, "transfer")
            errors.append(abs(float(invert(denoise, continuous_cosine, images, n)) - 1))
        slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
        assert slope == pytest.approx(-1, abs=0.02)  # the next order bends it by a part in 80
        assert errors[-1] < 5e-3

    @pytest.mark.parametrize("num_steps", [None, 3, 7])
    def test_method(self, tiny_generator, tiny_pixels, num_steps):
        result = de.embed(tiny_generator, tiny_pixels, de.DDIMInversion(num_steps))
        count = num_steps or 3  # the generator's own

        def denoise(images, rates):
            variances = tf.fill((len(images), 1, 1, 1), rates.noise**2)
            return tiny_generator.network([images, variances], training=False)

        images = tiny_generator.normalizer(tiny_pixels)
        assert_close(result.latents, invert(denoise, continuous_cosine, images, count), 1e-5)
        np.testing.assert_array_equal(result.evaluations, np.full(5, count))
        assert result.partner is None and result.single_mse is None

    def test_in_bfloat16_it_costs_little(self):
        exact, rounded = make_generator(), make_generator(precision="bfloat16")
        pixels = make_pixels(2, (16, 16, 1))
        own, other = (
            de.embed(generator, pixels, "ddim_inversion") for generator in (exact, rounded)
        )
        assert_close(other.latents, own.latents, 0.1)  # 8 bits
        assert np.abs(other.latents - own.latents).max() > 1e-4

    def test_invalid_options_raise(self):
        with pytest.raises(ValueError, match=r"num_steps.*at least 1.*Received: 0"):
            de.DDIMInversion(num_steps=0)


class TestRoundTrip:
    """Latents of N(0, 0.25), sampled and found again."""

    denoise = staticmethod(oracles.gaussian(0.5))

    @pytest.mark.parametrize(
        "last_step, num_steps",
        # At t=1 the predicted image hardly depends on the noisy one: its step alone is not solved.
        [("transfer", 1), ("transfer", 10), ("predicted_image", 2), ("predicted_image", 10)],
    )
    def test_in_float64(self, last_step, num_steps):
        latents = normal()
        images = sample(self.denoise, continuous_cosine, latents, num_steps, last_step)
        found = implicit_steps(
            self.denoise,
            continuous_cosine,
            images.numpy(),
            num_steps,
            last_step,
            iterations=15,
            tolerance=1e-11,
        )
        assert len(found.states) == num_steps + 1
        np.testing.assert_array_equal(found.states[0], images)
        np.testing.assert_allclose(found.states[-1], latents, atol=1e-8)
        assert all(rows[-1].max() <= 1e-11 for rows in found.residuals)

    @each_last_step
    def test_in_float32(self, last_step):
        latents = normal(dtype=np.float32)
        images = sample(self.denoise, continuous_cosine, latents, 10, last_step)
        found = implicit_steps(self.denoise, continuous_cosine, images.numpy(), 10, last_step)
        assert found.states[-1].dtype == np.float32
        np.testing.assert_allclose(found.states[-1], latents, atol=2e-5)  # ten tolerances of 1e-6

    @pytest.mark.parametrize("schedule", [de.schedules.cosine, de.schedules.linear])
    def test_schedules_whose_start_is_clean(self, schedule):
        latents = normal()
        images = sample(self.denoise, schedule, latents, 5, "transfer").numpy()
        found = implicit_steps(self.denoise, schedule, images, 5, "transfer", tolerance=1e-12)
        # Divided by a signal rate that falls to 1e-3.
        np.testing.assert_allclose(found.states[-1], latents, atol=1e-6)

    def test_difference_between_the_methods(self):
        """Data of many deviations: naive, some plain iterations, many, and Anderson's."""
        denoise = oracles.gaussian(np.geomspace(0.1, 2, 64).reshape(8, 8, 1))
        latents = normal((4, 8, 8, 1))
        images = sample(denoise, continuous_cosine, latents, 10, "transfer").numpy()

        def error(**options):
            found = implicit_steps(denoise, continuous_cosine, images, 10, "transfer", **options)
            return np.mean((found.states[-1] - latents) ** 2), found.evaluations.mean()

        naive = np.mean((invert(denoise, continuous_cosine, images, 10) - latents) ** 2)
        few, _ = error(iterations=5, window=0)
        many, cost = error(iterations=30, window=0)
        anderson, less = error(iterations=15)
        assert naive > 1e-3 and few < naive / 50 and many < few / 500 and anderson < many / 100
        assert less < 0.6 * cost


class TestPointMass:
    """All data are one image."""

    value = 0.7
    denoise = staticmethod(oracles.point_mass(value))

    def test_transfer_is_exact(self):
        latents = normal()
        images = sample(self.denoise, continuous_cosine, latents, 4, "transfer").numpy()
        found = implicit_steps(
            self.denoise, continuous_cosine, images, 4, "transfer", tolerance=1e-12
        )
        # Paths are straight, so that the first guess is right at every step.
        np.testing.assert_allclose(found.states[-1], latents, atol=1e-9)
        np.testing.assert_array_equal(found.evaluations, 1 + 4)

    def test_the_first_noises_select_the_latents(self):
        images, noises = np.full((3, 4, 4, 1), self.value), normal()
        found = implicit_steps(self.denoise, continuous_cosine, images, 4, noises=noises)
        end = time_grid(continuous_cosine, 1)[1]
        expected = end.signal * self.value + end.noise * noises
        np.testing.assert_allclose(found.states[-1], expected, atol=1e-9)
        np.testing.assert_array_equal(found.evaluations, 4)

    def test_an_unreachable_image_has_an_error(self):
        images = normal(seed=1)
        found = implicit_steps(self.denoise, continuous_cosine, images, 4, iterations=6)
        error = np.sqrt(np.mean((images - self.value) ** 2, axis=(1, 2, 3)))
        np.testing.assert_allclose(found.residuals[0], np.tile(error, (7, 1)), rtol=1e-9)
        assert np.abs(found.states[1]).max() < 20 * np.abs(images).max()
        assert np.isfinite(found.states[-1]).all()


class TestIteration:
    """N(0, 0.25): a step multiplies the noise's error by a number that the rates give."""

    deviation = 0.5
    denoise = staticmethod(oracles.gaussian(deviation))

    @each_last_step
    def test_contracts_at_the_closed_form_s_rate(self, last_step):
        found = implicit_steps(
            self.denoise,
            continuous_cosine,
            normal(),
            5,
            last_step,
            iterations=4,
            tolerance=0,
            window=0,
        )
        levels = sampler_levels(continuous_cosine, 5, last_step)[::-1]
        for residuals, before, at in zip(found.residuals, levels, levels[1:], strict=False):
            variance = at.signal**2 * self.deviation**2 + at.noise**2
            rate = at.noise * (at.noise - before.noise * at.signal / before.signal) / variance
            assert 0 < rate < 1
            np.testing.assert_allclose(residuals[1:] / residuals[:-1], rate, rtol=1e-4)

    @each_last_step
    def test_anderson_needs_three_evaluations_of_a_linear_step(self, last_step):
        images = normal((4, 4, 4, 1))
        counting = Counting(self.denoise)
        found = implicit_steps(counting, continuous_cosine, images, 6, last_step, tolerance=1e-4)
        np.testing.assert_array_equal(found.evaluations, 1 + 6 * 3)
        grid = time_grid(continuous_cosine, 6)
        assert counting.levels == grid[:1] + [rates for rates in grid[1:] for _ in range(3)]

    @each_last_step
    def test_residuals_are_what_the_sampler_s_step_misses(self, last_step):
        images = normal()
        found = implicit_steps(
            self.denoise, continuous_cosine, images, 3, last_step, iterations=2, window=0
        )
        levels = sampler_levels(continuous_cosine, 3, last_step)[::-1]
        for i in range(3):
            at = levels[i + 1]
            state = found.states[i + 1]
            there = ddim_step(state, self.denoise(state, at), at, levels[i])
            missed = np.sqrt(np.mean((there - found.states[i]) ** 2, axis=(1, 2, 3)))
            np.testing.assert_allclose(found.residuals[i][-1], missed, rtol=1e-9)
            assert len(found.residuals[i]) == 3 and missed.min() > 1e-5

    def test_a_first_guess_saves_an_evaluation(self):
        images = normal()
        counting = Counting(self.denoise)
        noises = self.denoise(images, time_grid(continuous_cosine, 2)[0])
        options = {"num_steps": 2, "last_step": "transfer", "iterations": 3}
        given = implicit_steps(counting, continuous_cosine, images, noises=noises, **options)
        assert counting.levels[0] == time_grid(continuous_cosine, 2)[1]
        own = implicit_steps(self.denoise, continuous_cosine, images, **options)
        np.testing.assert_array_equal(own.states[-1], given.states[-1])
        np.testing.assert_array_equal(own.evaluations, given.evaluations + 1)

    def test_clean_is_where_predicted_images_lie(self):
        images, noises, rates = normal(), normal(seed=1), time_grid(continuous_cosine, 3)[2]
        expected = de.sampling.predict_images(images, noises, rates)
        np.testing.assert_array_equal(ddim_step(images, noises, rates, CLEAN), expected)


class Oracle(de.Generator):
    """A generator whose denoiser is a closed form."""

    def __init__(self, oracle, last_step):
        network = de.UNet(1, widths=(4,), block_depth=1)
        process = de.Process(num_steps=3, last_step=last_step)
        super().__init__(network, process=process, image_shape=(4, 4, 1))
        self.normalizer.mean.assign([0.5])
        self.normalizer.variance.assign([0.04])
        self.oracle = oracle

    def denoiser(self, precision=None, num_steps=None):
        def denoise(images, rates):
            return self.oracle(images, rates)

        denoise.compiled = denoise
        return denoise


@pytest.fixture(scope="module")
def generators():
    """Last step -> a tiny generator of 6 steps: of those of 3 not all can be solved."""
    return {name: make_generator(last_step=name, num_steps=6) for name in de.sampling.LAST_STEPS}


class TestMethod:
    def test_latents_round_trip_under_transfer(self, generators):
        generator = generators["transfer"]
        latents = generator.latents(4, seed=3)
        pixels = generator.decode(latents).numpy()  # not clipped: those would be other images
        found = de.ImplicitInversion(iterations=30).trajectory(generator, pixels)
        assert_close(found.states[-1], latents, 1e-4)  # float32, six tolerances of 1e-6
        naive = invert(generator.denoiser(), generator.schedule, generator.normalizer(pixels), 6)
        assert np.abs(naive - latents).max() > 0.02

    @each_last_step
    @pytest.mark.parametrize("acceleration", ["anderson", "fixed_point"])
    def test_embeds(self, generators, tiny_pixels, last_step, acceleration):
        generator = generators[last_step]
        method = de.ImplicitInversion(iterations=60, acceleration=acceleration)
        result = de.embed(generator, tiny_pixels, method)
        assert result.converged.all() and result.mse.max() < 1e-9
        naive = de.embed(generator, tiny_pixels, "ddim_inversion")
        assert (naive.mse > 1e3 * result.mse).all()

    def test_a_plain_fixed_point_is_not_accelerated(self, generators, tiny_pixels):
        generator, options = generators["transfer"], {"iterations": 3, "tolerance": 0}
        method = de.ImplicitInversion(acceleration="fixed_point", **options)
        denoise = generator.denoiser("float32").compiled
        images = generator.normalizer(tiny_pixels).numpy()
        plain = implicit_steps(
            denoise, generator.schedule, images, 6, "transfer", window=0, **options
        )
        found = method.trajectory(generator, tiny_pixels)
        assert_close(found.states[-1], plain.states[-1], 1e-5)  # float32

    @each_last_step
    def test_evaluations_are_counted(self, generators, tiny_pixels, last_step):
        generator = generators[last_step]
        result = de.embed(generator, tiny_pixels, de.ImplicitInversion(iterations=4, tolerance=0))
        expected = 6 * 5 + (last_step == "transfer")  # which starts from a prediction at t=0
        np.testing.assert_array_equal(result.evaluations, np.full(5, expected))
        loose = de.embed(generator, tiny_pixels, de.ImplicitInversion(tolerance=1e-2))
        tight = de.embed(generator, tiny_pixels, de.ImplicitInversion(tolerance=1e-5))
        assert (loose.evaluations < tight.evaluations).all()
        assert (loose.mse > tight.mse).all()

    @each_last_step
    @pytest.mark.parametrize("n", range(1, 6))
    def test_result_does_not_depend_on_batch_size(self, generators, tiny_pixels, last_step, n):
        generator = generators[last_step]
        method = de.ImplicitInversion(iterations=5)
        whole = de.embed(generator, tiny_pixels[:n], method)
        parts = de.embed(
            generator, tiny_pixels[:n], de.ImplicitInversion(iterations=5, batch_size=2)
        )
        assert_close(parts.latents, whole.latents, 1e-3)  # float32, amplified where least squares
        np.testing.assert_allclose(parts.evaluations, whole.evaluations, atol=3)

    def test_the_seed_selects_the_latents_of_an_image(self, generators, tiny_pixels):
        method = de.ImplicitInversion(iterations=30)
        generator = generators["predicted_image"]
        results = [de.embed(generator, tiny_pixels, method, seed=seed) for seed in (0, 0, 1)]
        np.testing.assert_array_equal(results[0].latents, results[1].latents)
        given = de.embed(
            generator, tiny_pixels, method, latents=method.initial_latents(generator, 5, 1)
        )
        np.testing.assert_array_equal(results[2].latents, given.latents)
        generator = generators["transfer"]
        results = [de.embed(generator, tiny_pixels, method, seed=seed) for seed in (0, 1)]
        np.testing.assert_array_equal(results[0].latents, results[1].latents)

    def test_starts_from_given_latents(self, generators, tiny_pixels):
        """Those of a point mass: what does not matter to the image stays as it was."""
        generator = Oracle(oracles.point_mass(0.0), "predicted_image")
        pixels, latents = np.full((2, 4, 4, 1), 0.5, np.float32), generator.latents(2, 5)
        result = de.embed(generator, pixels, "implicit", latents=latents)
        end = generator.grid[-1]
        np.testing.assert_allclose(result.latents, end.noise * latents, atol=1e-5)
        embedder = set_random_weights(de.build_embedder("conv3_16"))
        hybrid = de.Hybrid(de.Network(embedder=embedder), "implicit")
        alone = de.embed(generators["predicted_image"], tiny_pixels, hybrid.start)
        both = de.embed(generators["predicted_image"], tiny_pixels, hybrid)
        assert (both.mse < alone.mse / 100).all()
        assert (both.evaluations > 1 + 6).all()

    def test_unreachable_images_have_an_error(self):
        generator = Oracle(oracles.point_mass(0.0), "predicted_image")
        pixels = np.random.default_rng(0).uniform(size=(3, 4, 4, 1)).astype(np.float32)
        result = de.embed(generator, pixels, "implicit")
        assert not result.converged.any()
        np.testing.assert_allclose(result.mse, np.mean((pixels - 0.5) ** 2, (1, 2, 3)), rtol=1e-4)
        assert np.isfinite(result.latents).all()

    def test_is_in_float32_for_a_bfloat16_generator(self, generators, tiny_pixels):
        exact = generators["transfer"]
        rounded = make_generator(last_step="transfer", num_steps=6, precision="bfloat16")
        method = de.ImplicitInversion(iterations=30)
        expected = de.embed(exact, tiny_pixels[:2], method)
        result = de.embed(rounded, tiny_pixels[:2], method)
        assert_close(result.latents, expected.latents, 1e-4)
        assert result.mse.max() < 1e-9

    @pytest.mark.parametrize(
        "options, words",
        [
            ({"iterations": 0}, "iterations.*Received: 0"),
            ({"tolerance": -1.0}, "tolerance.*Received: -1.0"),
            ({"tolerance": float("nan")}, "tolerance.*Received: nan"),
            ({"damping": 0.0}, "damping.*Received: 0.0"),
            ({"acceleration": "newton"}, "acceleration.*anderson.*fixed_point.*Received: 'newton'"),
        ],
    )
    def test_invalid_options_raise(self, options, words):
        with pytest.raises(ValueError, match=words):
            de.ImplicitInversion(**options)
