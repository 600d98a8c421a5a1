"""The map from latents to pixels: batches, gradients, and what it refuses."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    assert_close,
    make_diffusion,
    make_generator,
    make_pixels,
    set_random_weights,
)

import ddim_embed as de
from ddim_embed.generator import generator as module
from ddim_embed.generator.pretrained import GeneratorFiles, generator_config
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

    def test_costs_twice_a_decode(self, tiny_generator):
        assert tiny_generator.gradient_evaluations == 2 * 3

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
        assert isinstance(latents, np.ndarray)
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
        other = de.build_generator(**OPTIONS)
        de.load_weights(other, path)
        assert other.normalizer.mean.numpy() == np.float32(0.4)
        latents = other.latents(2)
        np.testing.assert_allclose(
            other.decode(latents), tiny_generator.decode(latents), rtol=1e-6, atol=1e-6
        )

    @pytest.mark.parametrize("schedule", ["cosine", de.schedules.linear])
    def test_round_trip_of_a_model(self, schedule, tmp_path):
        network = set_random_weights(de.UNet(1, widths=(4,), block_depth=1))
        process = de.Process(schedule, num_steps=2)
        generator = de.Generator(network, process=process, image_shape=(8, 8, 1))
        generator.save(tmp_path / "generator.keras")
        loaded = keras.models.load_model(tmp_path / "generator.keras")
        assert loaded.schedule is generator.schedule
        assert loaded.fingerprint().split()[:2] == generator.fingerprint().split()[:2]

    def test_a_function_as_schedule_that_could_not_be_loaded(self, tmp_path):
        network = de.UNet(1, widths=(4,), block_depth=1)
        process = de.Process(lambda times: de.schedules.cosine(times), num_steps=2)
        generator = de.Generator(network, process=process, image_shape=(8, 8, 1))
        file = tmp_path / "generator.keras"
        file.write_text("of before")
        for refused in (lambda: generator.save(file), lambda: generator_config(generator)):
            with pytest.raises(ValueError, match="register_keras_serializable"):
                refused()
        assert file.read_text() == "of before"
        other = de.Process(lambda times: de.schedules.linear(times), num_steps=2)
        other = de.Generator(network, process=other, image_shape=(8, 8, 1))
        assert "0x" not in generator.fingerprint()  # no address, which is another in every run
        assert generator.fingerprint() != other.fingerprint()

    def test_nothing_is_trainable(self, tiny_generator):
        assert not tiny_generator.trainable_variables
        assert len(tiny_generator.weights) == 2 + len(tiny_generator.network.weights)

    def test_all_weights_are_there_before_the_first_decode(self):
        assert de.build_generator(**OPTIONS).built  # else Keras warns, and builds it by a call

    def test_the_keys_that_files_name_a_generator_by(self):
        """Caches and directions that were saved are those of the same generator later, too."""
        generator = de.build_generator(**OPTIONS)
        generator.set_weights([np.full(weight.shape, 0.5) for weight in generator.weights])
        n = sum(weight.size for weight in generator.get_weights())
        sums = f"{n / 2:.6e} {n / 4:.6e}"
        assert generator.fingerprint() == f"{sums} continuous_cosine 3 predicted_image"
        assert generator.denoiser_fingerprint() == f"{sums} continuous_cosine noise"
        process = de.Process(de.schedules.constant, num_steps=2)
        other = de.Generator(generator.network, process=process, image_shape=(16, 16, 1))
        levels = np.sqrt(-np.expm1(-8 * np.linspace(0, 1, 11)))  # alpha_bar = exp(-8 t)
        found = other.denoiser_fingerprint().split()[2:-1]
        np.testing.assert_allclose(np.float64(found), levels, rtol=1e-5)

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
            de.build_generator(prediction="image")


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
        (np.full((1, 16, 16, 1), 255.0), r"\[0, 1\].*to 255"),
        (np.full((1, 16, 16, 1), 255), r"\[0, 1\].*int64 values from 255 to 255"),
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
        de.build_generator(**(OPTIONS | options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_shape": (28, 28, 1)}, "8 divides"),
        ({"padding": 16}, "`padding` must be an integer from 0 to 15"),
        ({"padding": -1}, "`padding`"),
    ],
)
def test_sizes_that_cannot_be_decoded_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        de.build_generator(**options)


class TestWeightsThatChange:
    """New weights reach the next decode, in whatever way they come."""

    def check(self, generator, change):
        latents = generator.latents(2)
        before = generator.decode(latents).numpy()
        change()
        fresh = de.Generator.from_config(generator.get_config())
        fresh.set_weights(generator.get_weights())
        after = generator.decode(latents).numpy()
        assert np.abs(after - before).max() > 1e-3
        assert_close(after, fresh.decode(latents), 1e-6)
        found = generator.denoiser().compiled(latents, generator.grid[1])
        assert_close(found, fresh.denoiser()(latents, fresh.grid[1]), 1e-6)

    def test_set_weights(self):
        generator, other = make_generator(), make_generator(seed=7)
        self.check(generator, lambda: generator.set_weights(other.get_weights()))

    def test_load_weights(self, tmp_path):
        generator, other = make_generator(), make_generator(seed=7)
        other.save_weights(tmp_path / "other.weights.h5")
        self.check(generator, lambda: generator.load_weights(tmp_path / "other.weights.h5"))

    def test_assigning_one_variable(self):
        generator = make_generator()
        kernel = generator.network.blocks[0].conv2.kernel
        self.check(generator, lambda: kernel.assign(2 * kernel.value))

    def test_training_in_a_graph(self):
        generator = make_generator()
        kernel = generator.network.blocks[0].conv2.kernel
        self.check(generator, tf.function(lambda: kernel.assign(2 * kernel.value)))

    def test_the_normaliser_alone(self):
        generator = make_generator()
        self.check(generator, lambda: generator.normalizer.mean.assign([0.9]))

    def test_they_reach_a_graph_that_decodes(self):
        generator = make_generator()

        def change():
            generator.set_weights(make_generator(seed=7).get_weights())
            inside.append(tf.function(lambda: generator.decode(generator.latents(2)))())

        inside = []
        self.check(generator, change)
        assert_close(inside[0], generator.decode(generator.latents(2)), 1e-6)

    def test_weights_that_stay_are_frozen_and_compiled_once(self):
        generator = make_generator()
        generator.decode(generator.latents(1))
        denoiser, functions = generator.denoiser(), dict(generator._snapshot.functions)
        assert [function.experimental_get_tracing_count() for function in functions.values()] == [1]
        generator.decode(generator.latents(1))
        assert generator.denoiser() is denoiser
        assert generator._snapshot.functions == functions


def test_weights_are_the_same_bytes_or_the_same_arrays():
    """Arrays of JAX are compared by identity: an assignment brings another one."""
    one, equal = np.ones(2), np.ones(2)
    assert module._same([one, equal], [one, equal]) and not module._same([one, one], [one, equal])
    assert module._same(b"ab", b"ab") and not module._same(b"ab", b"ac")


def test_another_number_of_steps_is_compiled_once_with_the_same_weights(tiny_generator):
    other = tiny_generator.with_steps(2)
    latents = tiny_generator.latents(2)
    expected = make_generator(num_steps=2)
    expected.set_weights(tiny_generator.get_weights())
    assert_close(other.decode(latents), expected.decode(latents), 1e-5)
    assert tiny_generator.with_steps(2)._snapshot is other._snapshot
    assert other.with_steps(3)._snapshot is tiny_generator._snapshot is not other._snapshot


@pytest.mark.parametrize("padding", [0, 1])
def test_errors_are_those_of_the_metric(padding):
    generator = de.build_generator(**OPTIONS, padding=padding)
    pixels = make_pixels(3, (16, 16, 1))
    decoded = 4 * pixels[::-1] - 1.5  # below 0 and above 1
    found = generator.errors(tf.constant(decoded), pixels)
    np.testing.assert_allclose(found, de.metrics.mse(pixels, decoded, padding=padding), rtol=1e-5)
    held = np.float32(np.random.default_rng(0).uniform(size=pixels.shape) < 0.5)
    inner = slice(padding, 16 - padding)
    squares = (np.clip(decoded, 0, 1) - pixels)[:, inner, inner] ** 2
    expected = [np.mean(s[h == 1]) for s, h in zip(squares, held[:, inner, inner], strict=True)]
    np.testing.assert_allclose(
        generator.errors(tf.constant(decoded), pixels, tf.constant(held)), expected, rtol=1e-5
    )


@keras.saving.register_keras_serializable(package="tests")
class ConditionalNetwork(keras.Model):
    """A small network of images, noise variances and a condition `(batch, 3)`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = keras.layers.Conv2D(4, 3, padding="same", activation="tanh")
        self.modulate = keras.layers.Dense(4)
        self.output_conv = keras.layers.Conv2D(1, 3, padding="same")
        self.conv.build((None, None, None, 2))
        self.modulate.build((None, 3))
        self.output_conv.build((None, None, None, 4))
        self.built = True

    def call(self, inputs, training=None):
        images, variances, condition = inputs
        x = tf.concat([images, variances + tf.zeros_like(images)], axis=-1)
        x = self.conv(x) * (1 + self.modulate(condition)[:, None, None])
        return images + 0.1 * self.output_conv(x)


def make_conditional(num_steps=2):
    network = set_random_weights(ConditionalNetwork())
    generator = de.Generator(
        network, process=de.Process(num_steps=num_steps), image_shape=(8, 8, 1)
    )
    generator.normalizer.mean.assign([0.5])
    generator.normalizer.variance.assign([0.05])
    return generator


@keras.saving.register_keras_serializable("tests")
class Named(ConditionalNetwork):
    """Copies of models are made through Keras' files, which hold registered classes alone."""


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, copy.copy, lambda generator: pickle.loads(pickle.dumps(generator))],
    ids=["deepcopy", "copy", "pickle"],
)
def test_a_copy_is_a_generator_of_its_own(again):
    network = set_random_weights(Named())
    generator = de.Generator(network, process=de.Process(num_steps=1), image_shape=(8, 8, 1))
    generator.normalizer.set_weights([np.array([0.4]), np.array([0.05])])
    generator.files = GeneratorFiles("mnist", None)
    given = generator.given(CONDITION[:2])
    found = again(given)
    latents = generator.latents(2)
    expected = given.decode(latents).numpy()
    np.testing.assert_array_equal(found.decode(latents), expected)
    assert found.condition is not given.condition and found.files is not generator.files
    assert again(generator).condition is None
    # It finds the networks beside its weights.
    own, other = (one.files.embedder("conv1").get_weights() for one in (generator, found))
    np.testing.assert_array_equal(own[0], other[0])
    # Nothing that happens to it reaches the original.
    found.normalizer.mean.assign([0.9])
    np.testing.assert_array_equal(given.decode(latents), expected)
    assert np.abs(found.decode(latents) - expected).max() > 0.4


CONDITION = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


class TestConditions:
    def test_decoding_is_conditional_and_image_by_image(self):
        generator = make_conditional()
        latents = generator.latents(5)
        pixels = generator.given(CONDITION).decode(latents).numpy()
        assert np.abs(pixels - generator.given(CONDITION[::-1]).decode(latents)).max() > 1e-3
        for i in range(5):
            alone = generator.given(CONDITION[i : i + 1]).decode(latents[i : i + 1])
            assert_close(pixels[i : i + 1], alone, 1e-5)  # float32
        assert generator.condition is None

    def test_is_an_input_and_no_constant_of_the_compiled_function(self):
        generator = make_conditional()
        latents = generator.latents(2)
        for condition in (CONDITION[:2], CONDITION[2:4]):
            generator.given(condition).decode(latents)
        (function,) = generator._snapshot.functions.values()
        assert function.experimental_get_tracing_count() == 1

    def test_more_images_than_a_part_are_sliced(self, monkeypatch):
        monkeypatch.setattr("ddim_embed.generator.generator.DECODE_BATCH", 2)
        generator = make_conditional()
        latents = generator.latents(5)
        whole = generator.given(CONDITION).decode(latents)
        monkeypatch.undo()
        assert_close(whole, generator.given(CONDITION).decode(latents), 1e-5)  # float32

    def test_take_slices_and_repeats(self):
        given = make_conditional().given({"a": CONDITION, "b": [tf.constant(CONDITION)]})
        taken = given.take(np.repeat(np.arange(5), 2)).condition
        np.testing.assert_array_equal(taken["a"], CONDITION.repeat(2, axis=0))
        np.testing.assert_array_equal(taken["b"][0], CONDITION.repeat(2, axis=0))
        assert len(given.take(slice(1, 3)).condition["a"]) == 2

    def test_another_number_of_images_is_refused(self):
        given = make_conditional().given(CONDITION)
        with pytest.raises(ValueError, match=r"a row for each of `latents`, 3\. Received: 5"):
            given.decode(np.zeros((3, 8, 8, 1)))

    @pytest.mark.parametrize(
        "method",
        [
            de.DDIMInversion(batch_size=2),
            de.ImplicitInversion(iterations=3, batch_size=2),
            de.Descent(num_steps=3, batch_size=2),
            de.Descent(num_steps=3, starts=2, batch_size=3),
            de.LBFGS(num_steps=3, batch_size=2),
            de.GaussNewton(num_steps=2, batch_size=2),
            de.DefectCorrection(num_steps=3, batch_size=2),
            de.EDICT(batch_size=2),
            de.BDIA(batch_size=2),
            de.Hybrid(de.DDIMInversion(batch_size=2), de.Descent(num_steps=2, batch_size=2)),
        ],
        ids=lambda method: type(method).__name__,
    )
    def test_every_method_embeds_in_batches_as_one_by_one(self, method):
        generator = make_conditional()
        pixels, latents = make_pixels(5, (8, 8, 1)), None
        if method.refines and getattr(method, "starts", 1) == 1:
            latents = generator.latents(5, seed=3)
        found = de.embed(generator.given(CONDITION), pixels, method, latents=latents)
        for i in range(5):
            if getattr(method, "starts", 1) > 1:
                break  # its starts depend on the number of images
            one = slice(i, i + 1)
            start = None if latents is None else latents[one]
            alone = de.embed(generator.given(CONDITION[one]), pixels[one], method, latents=start)
            assert_close(found.latents[one], alone.latents, 1e-3)  # float32, through iterations
            assert_close(found.reconstruction[one], alone.reconstruction, 1e-3)
        swapped = de.embed(generator.given(CONDITION[::-1]), pixels, method, latents=latents)
        assert np.abs(swapped.latents - found.latents).max() > 1e-3


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("remat", [False, True])
def test_on_a_gpu_the_sampler_is_a_loop(monkeypatch, prediction, remat):
    """Compiled by XLA, the same pixels and gradients as N copies of the network."""
    generator = make_generator(
        widths=(4, 8), image_shape=(8, 8, 1), num_steps=4, prediction=prediction
    )

    def gradient(latents):
        with tf.GradientTape() as tape:
            tape.watch(latents)
            pixels = generator.decode_tensor(latents, remat=remat)
            loss = tf.reduce_sum(pixels**2)
        return pixels, tape.gradient(loss, latents)

    latents = tf.constant(generator.latents(3))
    expected = gradient(latents)
    monkeypatch.setattr("ddim_embed.backend.has_gpu", lambda: True)
    compiled = tf.function(gradient, jit_compile=True, autograph=False)
    for found, own in zip(compiled(latents), expected, strict=True):
        # XLA orders float32 sums in its own way, and the first step multiplies that by 30.
        assert_close(found, own, 1e-4)


def test_the_mean_of_held_pixels():
    values, held = make_pixels(3, (4, 5, 2)), np.zeros((3, 4, 5, 2), np.float32)
    held[:, 1:3, :2] = 1
    expected = values[:, 1:3, :2].reshape(3, -1).mean(axis=1)
    found = module.image_means(tf.constant(values), tf.constant(held))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(
        module.image_means(tf.constant(values)), values.mean(axis=(1, 2, 3)), rtol=1e-6
    )
