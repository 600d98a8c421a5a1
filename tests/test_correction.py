"""Defect correction: exactness, cost, and no image gets worse."""

import itertools

import numpy as np
import oracles
import pytest
import tensorflow as tf
from conftest import make_generator, make_pixels

import ddim_embed as de
from ddim_embed.methods.correction import Decoding, follow, sweep
from ddim_embed.process.inversion import implicit_steps
from ddim_embed.process.sampling import sample, sampler_levels
from ddim_embed.process.schedules import continuous_cosine

DEVIATIONS = np.geomspace(0.1, 2, 16).reshape(4, 4, 1)


def decoding_and_defect(last_step="transfer", steps=6, size=1.0):
    """For exact Gaussian data in float64: a denoiser, levels, a decoding, their defect."""
    denoise = oracles.gaussian(DEVIATIONS)
    levels = sampler_levels(continuous_cosine, steps, last_step)
    rng = np.random.default_rng(0)
    decoding = follow(
        denoise, tf.constant(rng.normal(size=(3, 4, 4, 1))), continuous_cosine, steps, last_step
    )
    return denoise, levels, decoding, size * DEVIATIONS * rng.normal(size=(3, 4, 4, 1))


class TestSweep:
    def test_a_decoding_equals_the_sampler(self):
        denoise, levels, decoding, _ = decoding_and_defect("predicted_image")
        expected = sample(denoise, continuous_cosine, decoding.latents, 6)
        np.testing.assert_allclose(decoding.images, expected, rtol=1e-12)
        assert len(decoding.noises) == 6
        np.testing.assert_allclose(decoding.noises[0], denoise(decoding.latents, levels[0]))

    @pytest.mark.parametrize("last_step", ["transfer", "predicted_image"])
    def test_without_a_defect_nothing_moves(self, last_step):
        denoise, levels, decoding, _ = decoding_and_defect(last_step)
        found = sweep(denoise, levels, decoding, np.zeros((3, 4, 4, 1)))
        np.testing.assert_allclose(found, decoding.latents, rtol=1e-9)

    def test_with_many_iterations_it_is_the_inverse(self):
        """With many iterations every step is solved, as by implicit inversion."""
        denoise, levels, decoding, defect = decoding_and_defect()
        found = sweep(denoise, levels, decoding, defect, iterations=400)
        again = follow(denoise, found, continuous_cosine, 6, "transfer").images
        np.testing.assert_allclose(again, decoding.images + defect, atol=1e-6)
        options = {"iterations": 400, "tolerance": 1e-13}
        other = implicit_steps(
            denoise, continuous_cosine, (decoding.images + defect).numpy(), 6, "transfer", **options
        )
        np.testing.assert_allclose(found, other.states[-1], atol=1e-5)

    def test_one_step_by_hand(self):
        """Data of one deviation, one step, one iteration: a product in closed form."""
        denoise, defect = oracles.gaussian(0.5), 0.3
        levels = sampler_levels(continuous_cosine, 1, "transfer")
        start, end = levels
        noise = start.noise / (start.signal**2 * 0.25 + start.noise**2)  # per unit of the latents
        along, across = (
            start.signal / end.signal,
            start.noise - end.noise * start.signal / end.signal,
        )
        # x = along * y + across * e; e as it was for the first guess, and at that x for the last.
        guess = noise * along * defect
        expected = 1.0 + along * defect + across * guess
        decoding = follow(
            denoise, tf.ones((1, 1, 1, 1), tf.float64), continuous_cosine, 1, "transfer"
        )
        found = sweep(denoise, levels, decoding, defect, iterations=1)
        np.testing.assert_allclose(found, expected, rtol=1e-9)

    def test_more_iterations_leave_less_of_the_defect(self):
        """After one, two and four of each step."""
        denoise, levels, decoding, defect = decoding_and_defect(size=0.1)
        left = {}
        for iterations in (1, 2, 4):
            found = sweep(denoise, levels, decoding, defect, iterations=iterations)
            image = follow(denoise, found, continuous_cosine, 6, "transfer").images
            left[iterations] = np.linalg.norm(decoding.images + defect - image) / np.linalg.norm(
                defect
            )
        assert left[4] < left[2] < left[1] < 1

    def test_each_image_has_its_own_relaxation(self):
        denoise, levels, decoding, defect = decoding_and_defect()
        relaxation = np.array([1.0, 0.5, 0.1]).reshape(3, 1, 1, 1)
        found = sweep(denoise, levels, decoding, defect, relaxation)
        for i, own in enumerate(relaxation.ravel()):
            alone = Decoding(
                decoding.latents[i], [noise[i] for noise in decoding.noises], decoding.images[i]
            )
            np.testing.assert_allclose(
                found[i], sweep(denoise, levels, alone, defect[i], own), rtol=1e-9
            )
        moved = np.linalg.norm((found - decoding.latents).numpy().reshape(3, -1), axis=1)
        assert moved[0] > moved[1] > moved[2]

    @pytest.mark.parametrize("iterations", [1, 3])
    def test_evaluations_are_counted(self, iterations):
        denoise, levels, decoding, defect = decoding_and_defect()
        asked = []

        def counting(images, rates):
            asked.append(rates)
            return denoise(images, rates)

        sweep(counting, levels, decoding, defect, iterations=iterations)
        assert asked == [rates for rates in levels[-2::-1] for _ in range(iterations)]


class Exact(de.Generator):
    """A generator of Gaussian data with a deviation per pixel."""

    def __init__(self, **process):
        network = de.UNet(1, widths=(4, 4), block_depth=1)
        process = de.Process(**{"num_steps": 4} | process)
        super().__init__(network, process=process, image_shape=(4, 4, 1))
        self.normalizer.mean.assign([0.5])
        self.normalizer.variance.assign([0.01])

    def denoiser(self, precision=None, num_steps=None):
        denoise = oracles.gaussian(np.resize(np.float32([1.0, 0.7, 0.4]), (4, 4, 1)))
        denoise.compiled = denoise
        return denoise


class TestMethod:
    def test_reaches_generated_images(self):
        """Without a gradient, in fewer evaluations than descent with one."""
        generator = Exact()
        pixels = generator.decode(generator.latents(3, seed=9)).numpy()
        result = de.embed(generator, pixels, de.DefectCorrection(num_steps=30, patience=30))
        descent = de.embed(
            generator, pixels, de.Descent(num_steps=60, loss="mean_squared_error", penalty=0.0)
        )
        assert result.mse.max() < 1e-7 and (result.mse < 0.1 * descent.mse).all()
        assert (np.diff(result.trace.mse, axis=0) <= 0).all()

    def test_a_failed_sweep_is_taken_back(self, monkeypatch):
        """The relaxation factor falls, and the best latents stay."""
        generator, factors = Exact(), []
        pixels = generator.decode(generator.latents(2, seed=9)).numpy()

        def bad_sweep(denoise, levels, decoding, defect, relaxation, iterations):
            factors.append(relaxation.numpy().ravel().copy())
            # Away from the image for the first, not a number for the second.
            return decoding.latents + tf.reshape(tf.constant([50.0, np.nan]), (2, 1, 1, 1))

        monkeypatch.setattr("ddim_embed.methods.correction.sweep", bad_sweep)
        start = generator.latents(2, seed=3)
        result = de.embed(generator, pixels, de.DefectCorrection(num_steps=4), latents=start)
        np.testing.assert_array_equal(result.latents, start)
        np.testing.assert_allclose(factors, [[1, 1], [0.3, 0.3], [0.09, 0.09]], rtol=1e-5)

    def test_relaxation_grows_again_up_to_one(self, monkeypatch):
        generator, factors = Exact(), []
        pixels = generator.decode(generator.latents(1, seed=9)).numpy()
        start = generator.latents(1, seed=3)
        moves = itertools.chain([-5.0], itertools.repeat(0.1))  # one bad, then towards the latents

        def known_sweep(denoise, levels, decoding, defect, relaxation, iterations):
            factors.append(float(relaxation[0, 0, 0, 0]))
            return decoding.latents + next(moves) * (
                generator.latents(1, seed=9) - decoding.latents
            )

        monkeypatch.setattr("ddim_embed.methods.correction.sweep", known_sweep)
        de.embed(generator, pixels, de.DefectCorrection(num_steps=7), latents=start)
        np.testing.assert_allclose(factors, [1, 0.3, 0.45, 0.675, 1, 1], rtol=1e-5)

    @pytest.mark.parametrize("iterations", [1, 3])
    def test_counts_the_evaluations_of_its_denoiser(self, iterations):
        generator = Exact()
        exact, asked = generator.denoiser(), []

        def counting(images, rates):
            asked.append(rates)
            return exact(images, rates)

        counting.compiled = counting
        generator.denoiser = lambda *_: counting
        method, tick = de.DefectCorrection(num_steps=3, iterations=iterations), lambda: None
        start, pixels = generator.latents(2), generator.sample(2, seed=9)
        asked.clear()
        solution = method.solve(generator, pixels, start, tick)
        np.testing.assert_array_equal(solution.evaluations, len(asked))
        np.testing.assert_array_equal(
            solution.trace.evaluations[:, 0], 4 + 4 * (1 + iterations) * np.arange(3)
        )

    def test_free_pixels_have_no_influence(self):
        generator = make_generator()
        pixels, mask = make_pixels(2, (16, 16, 1)), np.zeros((2, 16, 16), bool)
        mask[:, 4:9, 3:12] = True
        drawn = np.where(mask[..., None], 1 - pixels, pixels)
        method = de.DefectCorrection(num_steps=3)
        found, other = (de.embed(generator, p, method, mask=mask) for p in (pixels, drawn))
        np.testing.assert_allclose(found.latents, other.latents, atol=1e-6)
        assert (found.trace.mse[-1] < 0.9 * found.trace.mse[0]).all()  # the held pixels have
        whole = de.embed(generator, pixels, method)
        assert np.abs(found.latents - whole.latents).max() > 1e-3

    def test_is_in_float32_for_a_bfloat16_generator(self):
        exact, rounded = make_generator(), make_generator(precision="bfloat16")
        pixels, method = make_pixels(1, (16, 16, 1)), de.DefectCorrection(num_steps=2)
        found = [de.embed(generator, pixels, method).latents for generator in (exact, rounded)]
        np.testing.assert_allclose(*found, atol=1e-5)

    @pytest.mark.parametrize("name", ["num_steps", "iterations", "patience"])
    def test_bad_options(self, name):
        with pytest.raises(
            ValueError, match=f"`{name}` must be an integer of at least 1. Received: 0"
        ):
            de.DefectCorrection(**{name: 0})
