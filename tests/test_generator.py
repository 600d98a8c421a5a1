"""The map from latents to pixels: batches, gradients, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, make_diffusion, make_generator, make_pixels

import ddim_embed as de
from ddim_embed.generator import generator as module
from ddim_embed.process import sampling
from ddim_embed.process.sampling import sample


@pytest.mark.parametrize("n", range(1, 6))
def test_every_latent_is_decoded_alone(tiny_generator, n):
    latents = tiny_generator.latents(n, seed=n)
    alone = [tiny_generator.decode(latents[i : i + 1]) for i in range(n)]
    pixels = tiny_generator.decode(latents)
    assert pixels.dtype == tf.float32
    assert_close(pixels, tf.concat(alone, 0), 1e-5)  # float32, three steps


def test_large_batches_are_decoded_in_parts(tiny_generator, monkeypatch):
    monkeypatch.setattr(module, "DECODE_BATCH", 4)
    latents = tiny_generator.latents(9)
    pixels = tiny_generator.decode(latents)
    assert pixels.shape == latents.shape
    assert_close(pixels, tiny_generator.decode_tensor(latents), 1e-5)  # float32, three steps


def test_decoding_is_sampling_with_its_own_settings():
    """Both conventions, and the normaliser on the way out."""
    for last_step in ("predicted_image", "transfer"):
        generator = make_generator(
            image_shape=(4, 4, 3), widths=(4,), schedule="cosine", num_steps=2, last_step=last_step
        )

        def denoise(images, rates, network=generator.network):
            variances = tf.fill((len(images), 1, 1, 1), rates.noise**2)
            return network([images, variances], training=False)

        latents = generator.latents(2)
        images = sample(denoise, de.schedules.cosine, latents, 2, last_step)
        expected = images * np.sqrt([0.04, 0.045, 0.05]) + [0.4, 0.5, 0.6]
        assert_close(generator.decode(latents), expected, 1e-4)  # float32, divided by signal .001


def test_pixels_are_not_clipped(tiny_generator):
    pixels = tiny_generator.decode(3 * tiny_generator.latents(4)).numpy()
    assert pixels.min() < 0 and pixels.max() > 1


class TestGradient:
    @pytest.mark.parametrize("remat", [False, True])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_central_differences(self, tiny_generator, seed, remat):
        """Along the gradient, where the slope is steepest and rounding matters least.

        A step of 1e-2 (latents have deviation 1): float32 rounds the value, a sum of about 10, to
        1e-6, which leaves 1e-4 in a slope of about 10; the third derivative adds the step's square.
        """
        latents = tf.constant(tiny_generator.latents(1, seed))
        weights = tiny_generator.latents(1, seed + 10) / 16

        def value(at):
            return tf.reduce_sum(weights * tiny_generator.decode_tensor(at, remat=remat))

        with tf.GradientTape() as tape:
            tape.watch(latents)
            result = value(latents)
        gradient = tape.gradient(result, latents)
        norm = float(tf.norm(gradient))
        assert norm > 0.1
        random = tf.constant(tiny_generator.latents(1, seed + 20)) / 16
        for direction, expected in (
            (gradient / norm, norm),
            (gradient / norm + random, norm + float(tf.reduce_sum(gradient * random))),
        ):
            h = 1e-2
            slope = float(value(latents + h * direction) - value(latents - h * direction)) / (2 * h)
            assert slope == pytest.approx(expected, rel=5e-3, abs=5e-3 * norm)

    def test_decode_is_differentiable_across_its_parts(self, tiny_generator, monkeypatch):
        monkeypatch.setattr(module, "DECODE_BATCH", 2)
        latents = tf.constant(tiny_generator.latents(3))
        gradients = []
        for decode in (tiny_generator.decode, tiny_generator.decode_tensor):
            with tf.GradientTape() as tape:
                tape.watch(latents)
                value = tf.reduce_sum(decode(latents) ** 2)
            gradients.append(tape.gradient(value, latents))
        assert_close(*gradients, 1e-4)  # float32, three steps there and back

    def test_remat_equals_plain_in_a_graph(self, tiny_generator):
        @tf.function
        def gradient(latents, remat):
            with tf.GradientTape() as tape:
                tape.watch(latents)
                value = tf.reduce_sum(tiny_generator.decode_tensor(latents, remat=remat) ** 3)
            return tape.gradient(value, latents)

        latents = tf.constant(tiny_generator.latents(2))
        assert_close(
            gradient(latents, True), gradient(latents, False), 1e-5
        )  # float32, same kernels


class TestLatents:
    def test_are_a_function_of_the_seed(self, tiny_generator):
        latents = tiny_generator.latents(4, seed=3)
        assert latents.shape == (4, 16, 16, 1) and latents.dtype == np.float32
        tf.random.set_seed(5)
        np.testing.assert_array_equal(tiny_generator.latents(4, seed=3), latents)
        assert np.abs(tiny_generator.latents(4, seed=4) - latents).max() > 1

    def test_are_standard_gaussian(self, tiny_generator):
        latents = tiny_generator.latents(100)  # 25,600 values: deviations of .006 and .009
        assert latents.mean() == pytest.approx(0, abs=0.03)
        assert latents.std() == pytest.approx(1, abs=0.03)

    def test_sample_decodes_them(self, tiny_generator):
        pixels = tiny_generator.sample(2, seed=3)
        assert isinstance(pixels, np.ndarray)
        expected = tiny_generator.decode(tiny_generator.latents(2, seed=3))
        np.testing.assert_allclose(pixels, expected, rtol=1e-6)


class TestWeights:
    def test_round_trip_with_the_units(self, tiny_generator, tmp_path):
        path = tmp_path / "generator.weights.h5"
        de.save_weights(tiny_generator, path)
        other = de.Generator(**OPTIONS)
        de.load_weights(other, path)
        assert other.normalizer.mean.numpy() == np.float32(0.4)
        latents = other.latents(2)
        np.testing.assert_allclose(
            other.decode(latents), tiny_generator.decode(latents), rtol=1e-6, atol=1e-6
        )

    def test_nothing_is_trainable(self, tiny_generator):
        assert not tiny_generator.trainable_variables
        assert len(tiny_generator.weights) == 2 + len(tiny_generator.network.weights)

    def test_from_a_diffusion_model(self):
        model = make_diffusion(schedule="cosine")
        for weight in model.ema_network.weights:
            weight.assign(weight * 0.9)  # the average differs from the network
        generator = de.Generator.from_diffusion(model, (8, 8, 1), num_steps=2, padding=1)
        assert generator.num_steps == 2 and generator.padding == 1
        assert generator.schedule is de.schedules.cosine
        assert generator.network.widths == (4, 8) and generator.network.block_depth == 1
        for own, average in zip(generator.network.weights, model.ema_network.weights, strict=True):
            np.testing.assert_array_equal(own, average)
        assert generator.normalizer.mean.numpy() == model.normalizer.mean.numpy()
        assert generator.normalizer.variance.numpy() == model.normalizer.variance.numpy()

    def test_from_a_model_of_the_velocity(self):
        """Another map than that of a model of the noise with the same weights, and known apart."""
        noise = de.Generator.from_diffusion(make_diffusion(), (8, 8, 1), num_steps=2)
        model = make_diffusion(prediction="velocity")
        generator = de.Generator.from_diffusion(model, (8, 8, 1), num_steps=2)
        assert (noise.prediction, generator.prediction) == ("noise", "velocity")
        assert generator.fingerprint() != noise.fingerprint()

        def denoise(images, rates):
            variances = tf.fill((len(images), 1, 1, 1), rates.noise**2)
            output = generator.network([images, variances], training=False)
            return rates.noise * images + rates.signal * output

        latents = generator.latents(2)
        images = de.sampling.sample(denoise, generator.schedule, latents, 2)
        expected = generator.normalizer.inverse(images)
        assert_close(generator.decode(latents), expected, 1e-5)  # float32
        again = de.Generator.from_config(generator.get_config())
        assert again.prediction == "velocity"
        with pytest.raises(ValueError, match="`prediction` must be one of"):
            de.Generator(prediction="image")


OPTIONS = {"image_shape": (16, 16, 1), "widths": (8, 16), "block_depth": 1, "num_steps": 3}


class TestDenoiser:
    def test_answers_at_the_levels_of_any_grid(self, tiny_generator):
        images = tiny_generator.latents(2)
        for num_steps in (None, 3, 7):
            for rates in sampling.time_grid(tiny_generator.schedule, num_steps or 3):
                variances = tf.fill((2, 1, 1, 1), rates.noise**2)
                expected = tiny_generator.network([images, variances], training=False)
                denoise = tiny_generator.denoiser(num_steps=num_steps)
                assert_close(denoise(images, rates), expected, 1e-5)  # float32

    def test_is_made_once_for_each_grid_and_precision(self, tiny_generator):
        own = tiny_generator.denoiser()
        assert tiny_generator.denoiser("float32", 3) is own
        assert tiny_generator.denoiser(num_steps=5) is tiny_generator.denoiser("float32", 5)
        assert tiny_generator.denoiser(num_steps=5) is not own
        assert tiny_generator.denoiser("bfloat16") is not own


def test_precision():
    exact, rounded = make_generator(), make_generator(precision="bfloat16")
    latents = exact.latents(2)
    expected = exact.decode(latents)
    assert_close(rounded.decode(latents, precision="float32"), expected, 1e-6)
    pixels = rounded.decode(latents)
    assert pixels.dtype == tf.float32
    error = np.sqrt(np.mean((pixels - expected) ** 2))
    # 8 bits; the first step multiplies the errors by 20 (signal .02 to .40)
    assert 1e-5 < error < 0.5 * np.std(expected)


@pytest.mark.parametrize(
    "latents, words",
    [
        (np.zeros((0, 16, 16, 1)), "at least 1"),
        (np.zeros((16, 16, 1)), r"Received shape: \(16, 16, 1\)"),
        (np.zeros((2, 16, 16, 3)), r"\(n, 16, 16, 1\).*Received shape: \(2, 16, 16, 3\)"),
        (tf.zeros((2, 8, 16, 1)), r"Received shape: \(2, 8, 16, 1\)"),
        (np.full((1, 16, 16, 1), np.nan), "finite"),
        (np.full((1, 16, 16, 1), np.inf), "finite"),
    ],
)
def test_latents_that_cannot_be_decoded(tiny_generator, latents, words):
    with pytest.raises(ValueError, match="latents.*" + words):
        tiny_generator.decode(latents)


@pytest.mark.parametrize(
    "pixels, words",
    [
        (np.zeros((0, 16, 16, 1)), "at least 1"),
        (np.zeros((1, 28, 28, 1)), r"Received shape: \(1, 28, 28, 1\)"),
        (np.full((1, 16, 16, 1), np.nan), "finite"),
        (np.full((1, 16, 16, 1), -0.1), r"\[0, 1\].*from -0.1"),
        (np.full((1, 16, 16, 1), 255), r"\[0, 1\].*to 255"),
    ],
)
def test_pixels_that_are_none(tiny_generator, pixels, words):
    with pytest.raises(ValueError, match="pixels.*" + words):
        tiny_generator.check_pixels(pixels)


def test_pixels_are_returned_as_float32(tiny_generator):
    pixels = make_pixels(2, (16, 16, 1)).astype(np.float64)
    checked = tiny_generator.check_pixels(pixels)
    assert checked.dtype == np.float32
    np.testing.assert_allclose(checked, pixels)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"last_step": "clean"}, "last_step.*Received: 'clean'"),
        ({"precision": "float16"}, "precision.*Received: 'float16'"),
        ({"schedule": "steep"}, "schedule.*Received: 'steep'"),
        ({"num_steps": 0}, "num_steps.*Received: 0"),
        ({"widths": ()}, "widths"),
    ],
)
def test_wrong_settings_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        de.Generator(**(OPTIONS | options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_shape": (28, 28, 1)}, "8 divides"),
        ({"padding": 16}, "`padding` must be at least 0 and less than half"),
        ({"padding": -1}, "`padding`"),
    ],
)
def test_sizes_that_cannot_be_decoded_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        de.Generator(**options)
