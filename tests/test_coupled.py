"""Coupled samplers are inverted exactly for any denoiser; one latent of the pair alone is not."""

import numpy as np
import oracles
import pytest
from conftest import assert_close, make_generator, make_pixels
from hypothesis import given, settings
from hypothesis import strategies as st

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.process.coupled import bdia_invert, bdia_sample, edict_invert, edict_sample
from ddim_embed.process.inversion import implicit_steps
from ddim_embed.process.sampling import LAST_STEPS, invert, sample, time_grid
from ddim_embed.process.schedules import continuous_cosine

each_last_step = pytest.mark.parametrize("last_step", LAST_STEPS)
each_method = pytest.mark.parametrize("method", [de.EDICT(), de.BDIA()], ids=["edict", "bdia"])


def normal(shape=(3, 4, 4, 1), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def wild(images, rates):
    """A strongly nonlinear denoiser that predicts nothing useful."""
    return rates.noise * np.sin(3 * images) + rates.signal * np.mean(images) / 3


class Counting:
    def __init__(self, denoise):
        self.denoise, self.calls = denoise, 0

    def __call__(self, images, rates):
        self.calls += 1
        return self.denoise(images, rates)


class TestExactness:
    """In float64, from images to the pair and back, and from the pair to images and back."""

    @settings(deadline=None, max_examples=20)
    @given(st.integers(1, 10), st.sampled_from(LAST_STEPS), st.floats(0.8, 1), st.integers(0, 99))
    def test_edict(self, num_steps, last_step, mixing, seed):
        options = {"num_steps": num_steps, "last_step": last_step, "mixing": mixing}
        images = normal(seed=seed)
        latents, partner = edict_invert(wild, continuous_cosine, images, **options)
        for found in edict_sample(wild, continuous_cosine, latents, partner, **options):
            # Rounding grows by 1 / 0.8**20 at most, and by what the steps multiply with.
            np.testing.assert_allclose(found, images, atol=1e-8)

    @settings(deadline=None, max_examples=20)
    @given(st.integers(2, 10), st.sampled_from(LAST_STEPS), st.floats(0.5, 1), st.integers(0, 99))
    def test_bdia(self, num_steps, last_step, gamma, seed):
        options = {"num_steps": num_steps, "last_step": last_step, "gamma": gamma}
        images = normal(seed=seed)
        latents, partner = bdia_invert(wild, continuous_cosine, images, **options)
        found = bdia_sample(wild, continuous_cosine, latents, partner, **options)
        np.testing.assert_allclose(found, images, atol=1e-8 * max(1, np.abs(latents).max()))

    @each_last_step
    def test_float32(self, last_step):
        images = normal().astype(np.float32)
        denoise = oracles.gaussian(0.5)
        pair = edict_invert(denoise, continuous_cosine, images, 10, last_step)
        assert pair[0].dtype == np.float32 and pair[0].shape == images.shape
        found, _ = edict_sample(denoise, continuous_cosine, *pair, 10, last_step)
        np.testing.assert_allclose(found, images, atol=5e-4)  # 1e-7, grown by 0.93**-20 and more
        pair = bdia_invert(denoise, continuous_cosine, images, 10, last_step)
        found = bdia_sample(denoise, continuous_cosine, *pair, 10, last_step)
        np.testing.assert_allclose(found, images, atol=1e-5)


class TestScheme:
    """The schemes themselves, apart from their inversion."""

    def test_bdia_is_exact_for_a_point_mass(self):
        """Paths are straight, and a pair on one path stays on it."""
        denoise, noises = oracles.point_mass(0.7), normal()
        levels = [rates.signal * 0.7 + rates.noise * noises for rates in time_grid_of(5)]
        found = bdia_sample(denoise, continuous_cosine, levels[5], levels[4], 5, "transfer")
        np.testing.assert_allclose(found, levels[0], atol=1e-12)
        latents, partner = bdia_invert(denoise, continuous_cosine, levels[0], 5, "transfer")
        np.testing.assert_allclose(latents, levels[5], atol=1e-12)
        np.testing.assert_allclose(partner, levels[4], atol=1e-12)

    @pytest.mark.parametrize(
        "invert, option, order",
        [(edict_invert, {"mixing": 1.0}, 1), (bdia_invert, {"gamma": 1.0}, 2)],
    )
    def test_order_of_convergence(self, invert, option, order):
        """Against the exact ODE of N(0, 0.25), as naive inversion, whose order is 1."""
        start, end = time_grid_of(1)
        exact = oracles.gaussian_flow(0.5, start, end)
        steps, errors = np.array([40, 80, 160, 320]), []
        for n in steps:
            found, _ = invert(
                oracles.gaussian(0.5), continuous_cosine, np.ones(()), n, "transfer", **option
            )
            errors.append(abs(float(found) - exact))
        slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
        assert slope == pytest.approx(-order, abs=0.15)  # the next order bends it

    def test_of_constant_noise_edict_is_the_plain_sampler(self):
        noises = normal(seed=1)
        latents = normal()
        x, y = edict_sample(lambda x, rates: noises, continuous_cosine, latents, latents, 4)
        expected = sample(lambda x, rates: noises, continuous_cosine, latents, 4)
        np.testing.assert_allclose(x, expected, atol=1e-10)
        np.testing.assert_allclose(y, expected, atol=1e-10)

    def test_one_step_by_hand(self):
        """The four lines of the EDICT paper, a = s'/s and b = n' - n a."""
        (_, now), p = time_grid_of(1), 0.9
        x, y = normal(), normal(seed=1)
        a, b = 1 / now.signal, -now.noise / now.signal
        x1 = a * x + b * wild(y, now)
        y1 = a * y + b * wild(x1, now)
        x2 = p * x1 + (1 - p) * y1
        y2 = p * y1 + (1 - p) * x2
        found = edict_sample(wild, continuous_cosine, x, y, 1, mixing=p)
        np.testing.assert_allclose(found[1], x2, rtol=1e-9)  # they have changed roles
        np.testing.assert_allclose(found[0], y2, rtol=1e-9)

    def test_two_steps_of_bdia_by_hand(self):
        """z(v) = gamma z(u) + (a z + b e) - gamma (z / c - d / c e), where z = c z(u) + d e."""
        start, middle, end = time_grid_of(2)
        u, z, gamma = normal(), normal(seed=1), 0.6
        e = wild(z, middle)
        a = start.signal / middle.signal
        b = start.noise - middle.noise * a
        c = middle.signal / end.signal
        d = middle.noise - end.noise * c
        expected = gamma * u + (a * z + b * e) - gamma * (z / c - d / c * e)
        found = bdia_sample(wild, continuous_cosine, u, z, 2, "transfer", gamma)
        np.testing.assert_allclose(found, expected, rtol=1e-9)

    @each_last_step
    def test_evaluations(self, last_step):
        for function, expected in (
            (lambda d: edict_invert(d, continuous_cosine, normal(), 5, last_step), 10),
            (lambda d: edict_sample(d, continuous_cosine, normal(), normal(), 5, last_step), 10),
            (lambda d: bdia_invert(d, continuous_cosine, normal(), 5, last_step), 5),
            (lambda d: bdia_sample(d, continuous_cosine, normal(), normal(), 5, last_step), 4),
        ):
            denoise = Counting(wild)
            function(denoise)
            assert denoise.calls == expected


class TestLatents:
    """Images of N(0, 0.25) made from standard Gaussian latents, which implicit inversion finds."""

    denoise = staticmethod(oracles.gaussian(0.5))

    @pytest.mark.parametrize("invert_", [edict_invert, bdia_invert])
    def test_their_deviation_is_not_one(self, invert_):
        latents = normal((8, 16, 16, 1))
        images = sample(self.denoise, continuous_cosine, latents, 5, "transfer")
        found, partner = invert_(self.denoise, continuous_cosine, images, 5, "transfer")
        own = implicit_steps(self.denoise, continuous_cosine, images.numpy(), 5, "transfer")
        assert np.std(own.states[-1]) == pytest.approx(np.std(latents), rel=1e-5)
        assert 0.8 < np.std(found) / np.std(latents) < 0.9
        assert np.abs(np.subtract(found, partner)).max() > 1e-3

    def test_small_options_make_the_pair_grow(self):
        """Exact they remain, but rounding and the latents grow by about 1 / share per step."""
        images = normal()
        pair = bdia_invert(self.denoise, continuous_cosine, images, 20, "transfer", gamma=0.5)
        assert np.std(pair[0]) > 100
        options = (continuous_cosine, images, 160, "transfer")
        pair = edict_invert(self.denoise, *options)
        naive = invert(self.denoise, *options[:3])
        assert np.std(pair[0]) > 5 * np.std(naive)


def time_grid_of(num_steps):
    return time_grid(continuous_cosine, num_steps)


class TestMethods:
    @pytest.fixture(scope="class")
    @staticmethod
    def generators():
        return {name: make_generator(last_step=name, num_steps=6) for name in LAST_STEPS}

    @each_last_step
    @each_method
    def test_the_pair_is_exact_and_one_alone_is_not(
        self, generators, tiny_pixels, method, last_step
    ):
        generator = generators[last_step]
        result = de.embed(generator, tiny_pixels, method)
        assert result.converged.all() and result.mse.max() < 1e-9  # float32, squared
        assert result.single_mse.min() > 1e-5
        assert result.latents.shape == result.partner.shape == tiny_pixels.shape
        cost = 12 if isinstance(method, de.EDICT) else 6
        np.testing.assert_array_equal(result.evaluations, np.full(5, cost))

    @each_method
    def test_the_certificate_can_be_computed_again(self, method):
        generator = make_generator(num_steps=6, padding=2)
        pixels = make_pixels(3, (16, 16, 1), seed=4)
        result = de.embed(generator, pixels, method)
        together = method.decode(generator, result.latents, result.partner)
        np.testing.assert_array_equal(result.reconstruction, together)
        np.testing.assert_array_equal(result.mse, metrics.mse(pixels, together, padding=2))
        alone = generator.decode(result.latents)
        np.testing.assert_allclose(
            result.single_mse, metrics.mse(pixels, alone, padding=2), rtol=1e-6
        )

    @each_method
    @pytest.mark.parametrize("n", range(1, 6))
    def test_result_does_not_depend_on_batch_size(self, generators, tiny_pixels, method, n):
        generator = generators["predicted_image"]
        whole = de.embed(generator, tiny_pixels[:n], method)
        parts = de.embed(generator, tiny_pixels[:n], type(method)(batch_size=2))
        for name in ("latents", "partner", "reconstruction"):
            assert getattr(parts, name).shape == (n, 16, 16, 1)
            assert_close(getattr(parts, name), getattr(whole, name), 1e-3)  # float32, amplified
        np.testing.assert_allclose(parts.single_mse, whole.single_mse, rtol=1e-2)
        assert parts.mse.shape == (n,)

    @each_method
    def test_is_in_float32_for_a_bfloat16_generator(self, tiny_pixels, method):
        generator = make_generator(num_steps=6, precision="bfloat16")
        assert de.embed(generator, tiny_pixels[:2], method).mse.max() < 1e-9

    def test_single_error_on_generated_images(self, generators):
        """Where an exact single latent exists: implicit inversion finds it."""
        generator = generators["transfer"]
        pixels = np.clip(generator.sample(3, seed=5), 0, 1)
        single = de.embed(generator, pixels, de.ImplicitInversion(iterations=30))
        assert single.single_mse is None and single.partner is None
        for method in (de.EDICT(), de.BDIA()):
            pair = de.embed(generator, pixels, method)
            assert (pair.single_mse > 100 * single.mse).all()

    def test_starts_a_hybrid(self, generators, tiny_pixels):
        generator = generators["predicted_image"]
        hybrid = de.Hybrid("edict", de.ImplicitInversion(iterations=30))
        result = de.embed(generator, tiny_pixels[:2], hybrid)
        assert result.mse.max() < 1e-9 and result.partner is None
        with pytest.raises(ValueError, match="goes on from latents"):
            de.Hybrid("ddim_inversion", "edict")


@pytest.mark.parametrize("value", [0.0, -0.5, 1.01, float("nan")])
def test_options_out_of_range_raise(value):
    for make, name in ((de.EDICT, "mixing"), (de.BDIA, "gamma")):
        with pytest.raises(ValueError, match=rf"{name}.*above 0 and at most 1\. Received: {value}"):
            make(**{name: value})
    images = normal()
    for call, name in (
        (lambda: edict_invert(wild, continuous_cosine, images, 3, mixing=value), "mixing"),
        (lambda: edict_sample(wild, continuous_cosine, images, images, 3, mixing=value), "mixing"),
        (lambda: bdia_invert(wild, continuous_cosine, images, 3, gamma=value), "gamma"),
        (lambda: bdia_sample(wild, continuous_cosine, images, images, 3, gamma=value), "gamma"),
    ):
        with pytest.raises(ValueError, match=name):
            call()


def test_other_invalid_values_raise(tiny_pixels):
    for call in (edict_invert, bdia_invert):
        with pytest.raises(ValueError, match=r"last_step.*Received: 'last'"):
            call(wild, continuous_cosine, normal(), 3, "last")
        with pytest.raises(ValueError, match=r"num_steps.*Received: 0"):
            call(wild, continuous_cosine, normal(), 0)
    with pytest.raises(ValueError, match=r"num_steps.*at least 2.*Received: 1"):
        de.embed(make_generator(num_steps=1), tiny_pixels, "bdia")
