"""Diffusion autoencoders: networks, joint training, codes, and what Gaussian data give exactly."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, make_generator, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.autoencoder.attributes import rejection
from ddim_embed.autoencoder.pretrained import autoencoder_config
from ddim_embed.autoencoder.prior import prior_config
from ddim_embed.networks.group_normalized import GroupNorm, SelfAttention
from ddim_embed.store.weights import WeightsError

SIZES = {"channels": 1, "widths": (4, 8), "block_depth": 1}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class TestGroupNorm:
    @pytest.mark.parametrize("channels, groups", [(4, 4), (64, 32), (48, 24), (34, 17)])
    def test_against_numpy(self, channels, groups):
        layer = GroupNorm()
        x = 3 + 2 * normal(2, 3, 5, channels)
        layer.build(x.shape)
        assert layer.groups == groups
        gamma, beta = normal(channels, seed=1), normal(channels, seed=2)
        layer.set_weights([gamma, beta])
        grouped = x.astype(np.float64).reshape(2, 15, groups, channels // groups)
        mean, variance = (f(grouped, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
        expected = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * gamma + beta
        assert_close(layer(x), expected, 1e-5)

    def test_a_constant_image(self):
        layer = GroupNorm()
        assert np.abs(layer(np.full((1, 4, 4, 8), 7.0, np.float32))).max() == 0

    def test_statistics_are_float32(self):
        layer = GroupNorm(dtype="mixed_bfloat16")
        x = tf.constant(100 + normal(2, 8, 8, 4))
        found, expected = layer(x), GroupNorm()(tf.cast(x, tf.bfloat16))
        assert found.dtype == "bfloat16"
        assert_close(tf.cast(found, tf.float32), expected, 0.01)  # 8 bits, of results of order 1


class TestSemanticEncoder:
    def test_makes_a_vector_of_an_image_of_any_size(self):
        encoder = de.SemanticEncoder(3, (4, 8, 8), 2, 5)
        for size in (8, 16, 20):
            assert encoder(normal(2, size, size, 3)).shape == (2, 5)

    def test_its_parameters(self):
        # Blocks of one convolution; attention at 16x16, the second level, and in the middle.
        encoder = de.SemanticEncoder(1, (4, 8), 1, 5, image_size=32)

        def block(inputs, outputs):
            projection = inputs * outputs + outputs if inputs != outputs else 0
            return 2 * inputs + 9 * inputs * outputs + outputs + projection

        def attention(width):
            return 2 * width + 4 * (width * width) + 4 * width

        expected = 9 * 4 + 4 + block(4, 4) + block(4, 4) + block(4, 8) + attention(8)
        expected += 2 * block(8, 8) + attention(8) + 2 * 8 + 8 * 5 + 5
        assert encoder.count_params() == expected

    def test_attention_against_numpy(self):
        layer, x = SelfAttention(), normal(2, 3, 2, 4)
        assert np.array_equal(layer(x), x)  # at its start
        set_random_weights(layer)
        normed = np.asarray(layer.norm(x)).reshape(2, 6, 4)
        queries, keys, values = np.split(np.asarray(layer.queries_keys_values(normed)), 3, -1)
        scores = np.exp(queries @ keys.transpose(0, 2, 1) / 2)  # the root of 4 channels
        attended = scores / scores.sum(axis=-1, keepdims=True) @ values
        expected = x + np.asarray(layer.projection(attended)).reshape(x.shape)
        assert_close(layer(x), expected, 1e-5)

    def test_configuration(self):
        encoder = set_random_weights(de.SemanticEncoder(1, (4, 8), 2, 5, 16, (8,)))
        again = de.SemanticEncoder.from_config(encoder.get_config())
        again.set_weights(encoder.get_weights())
        x = normal(2, 16, 16, 1)
        assert np.array_equal(again(x), encoder(x))

    @pytest.mark.parametrize("shape", [(2, 9, 8, 1), (2, 8, 8, 3), (8, 8, 1)])
    def test_images_that_do_not_fit(self, shape):
        with pytest.raises(ValueError, match="Images for this encoder must have 1 channels"):
            de.SemanticEncoder(1, (4, 8), 1, 5)(np.zeros(shape))


@pytest.fixture(scope="module")
def modulated():
    """A generator, and its modulated copy with modulations that matter."""
    generator = make_generator()
    network = de.ModulatedUNet(3, **SIZES | {"widths": (8, 16)})
    network.start_from(generator.network)
    for index, layer in enumerate(network.modulations):
        layer.kernel.assign(0.3 * normal(*layer.kernel.shape, seed=index))
        layer.bias.assign(0.1 * normal(*layer.bias.shape, seed=index + 100))
    return de.Generator(
        network, generator.normalizer, generator.process, image_shape=generator.image_shape
    )


class TestModulatedUNet:
    @pytest.mark.parametrize("attention", [None, "squeeze_excitation"])
    def test_starts_as_the_unconditional_network_bit_for_bit(self, attention):
        plain = set_random_weights(de.UNet(**SIZES, attention=attention))
        network = set_random_weights(de.ModulatedUNet(3, **SIZES, attention=attention), seed=1)
        network.start_from(plain)
        images, variances, semantic = normal(2, 8, 8, 1), np.full((2, 1, 1, 1), 0.3), normal(2, 3)
        expected = plain([images, variances])
        for training in (False, True):
            found = network([images, variances, semantic], training=training)
            assert np.array_equal(found, expected)
        trunk = {id(variable) for variable in network.trunk_variables}
        others = [v for v in network.trainable_variables if id(v) not in trunk]
        assert len(trunk) == len(plain.trainable_variables)
        assert [v.path.split("/")[-2] for v in others[::2]] == [
            f"modulation_{index}" for index in range(len(network.blocks))
        ]

    def test_a_generator_starts_as_the_unconditional_one(self):
        generator = make_generator()
        network = de.ModulatedUNet(3, **SIZES | {"widths": (8, 16)})
        network.start_from(generator.network)
        own = de.Generator(
            network, generator.normalizer, generator.process, image_shape=generator.image_shape
        )
        latents = generator.latents(2)
        expected = generator.decode(latents)
        assert_close(own.given(normal(2, 3)).decode(latents), expected, 1e-6)

    def test_each_block_is_modulated_behind_its_first_swish(self, modulated):
        network, semantic = modulated.network, normal(2, 3)
        block, layer = network.blocks[1], network.modulations[1]
        x = normal(2, 8, 8, 8)
        activated = semantic / (1 + np.exp(-semantic))
        scale, shift = np.split(activated @ layer.kernel.numpy() + layer.bias.numpy(), 2, axis=-1)
        inner = block.conv1(block.norm(x)) * (1 + scale[:, None, None]) + shift[:, None, None]
        residual = x if block.projection is None else block.projection(x)
        found = network._runner(tf.constant(semantic))(block, tf.constant(x))
        assert_close(found, block.conv2(inner) + residual, 1e-6)

    @pytest.mark.parametrize("count", [1, 3])
    def test_frozen_equals_the_network_and_so_do_its_gradients(self, modulated, count):
        frozen, semantic = modulated.denoiser().frozen, tf.constant(normal(count, 3))
        images, upstream = tf.constant(normal(count, 16, 16, 1)), normal(count, 16, 16, 1, seed=1)

        def evaluate(function):
            with tf.GradientTape() as tape:
                tape.watch([images, semantic])
                values = function()
            return values, *tape.gradient(values, [images, semantic], output_gradients=upstream)

        for step, rates in enumerate(modulated.grid):
            variances = tf.fill((count, 1, 1, 1), rates.noise**2)
            expected = evaluate(lambda v=variances: modulated.network([images, v, semantic]))
            found = evaluate(lambda s=step: frozen(images, s, frozen.conditioned(semantic)))
            for own, other, tolerance in zip(found, expected, (1e-5, 1e-4, 1e-4), strict=True):
                assert_close(own, other, tolerance)  # float32, as for `FrozenUNet`

    @pytest.mark.parametrize("of", ["images", "vectors"])
    def test_products_with_the_jacobian_differentiate_its_gradient(self, modulated, of):
        frozen, point = modulated.denoiser().frozen, [normal(1, 16, 16, 1), normal(1, 3)]
        chosen = ["images", "vectors"].index(of)
        direction = normal(*point[chosen].shape, seed=2)

        def evaluate(x):
            images, vectors = (x if place == chosen else given for place, given in enumerate(point))
            return frozen(images, 1, frozen.conditioned(vectors))

        x, upstream = tf.constant(point[chosen]), tf.constant(normal(1, 16, 16, 1, seed=1))
        with tf.GradientTape() as outer:
            outer.watch(upstream)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = evaluate(x)
            pulled = inner.gradient(y, x, output_gradients=upstream)
        product = outer.gradient(pulled, upstream, output_gradients=direction)
        ends = [evaluate(tf.constant(x + step * direction)) for step in (1e-3, -1e-3)]
        assert_close(product, (ends[0] - ends[1]) / 2e-3, 2e-3)  # differences of float32

    def test_every_image_has_its_own_vector(self, modulated):
        semantic, latents = normal(5, 3), modulated.latents(5)
        together = modulated.given(semantic).decode(latents)
        for index in range(5):
            part = slice(index, index + 1)
            alone = modulated.given(semantic[part]).decode(latents[part])
            assert_close(alone, together[part], 1e-5)
        exchanged = modulated.given(semantic[::-1].copy()).decode(latents)
        assert np.abs(exchanged - together)[0].max() > 1e-2

    def test_the_modulation_is_computed_once_for_all_steps(self, modulated, monkeypatch):
        modulated.decode  # noqa: B018  the snapshot
        frozen, calls = modulated.denoiser().frozen, []
        original = type(frozen).conditioned

        def conditioned(self, condition):
            calls.append(len(condition))
            return original(self, condition)

        monkeypatch.setattr(type(frozen), "conditioned", conditioned)
        bound = modulated.given(normal(2, 3))
        bound.decode_tensor(tf.constant(bound.latents(2)), denoise=modulated.denoiser())
        assert calls == [2]

    def test_configuration(self, modulated):
        network = modulated.network
        again = de.ModulatedUNet.from_config(network.get_config())
        again.set_weights(network.get_weights())
        inputs = [normal(2, 16, 16, 1), np.full((2, 1, 1, 1), 0.3), normal(2, 3)]
        assert np.array_equal(again(inputs), network(inputs))

    def test_wrong_inputs(self, modulated):
        images, variances = normal(2, 16, 16, 1), np.full((2, 1, 1, 1), 0.3)
        with pytest.raises(ValueError, match=r"is called on .*Received: list"):
            modulated.network([images, variances])
        with pytest.raises(ValueError, match=r"\(batch, 3\). Received: semantic of shape \(2, 4\)"):
            modulated.network([images, variances, normal(2, 4)])
        with pytest.raises(ValueError, match=r"have shape \(n, 3\). Received shape: \(2, 4\)"):
            modulated.given(normal(2, 4)).decode(modulated.latents(2))
        with pytest.raises(ValueError, match=r"must be a U-Net with .*'widths': \(8, 16\)"):
            modulated.network.start_from(de.UNet(**SIZES))


TWO_KINDS = np.repeat([0.2, 0.8], 4)[:, None, None, None] * np.ones((8, 8, 8, 1), np.float32)


@pytest.fixture(scope="module")
def model():
    """A tiny autoencoder on top of a random U-Net whose output matters, ready to train."""
    sizes = SIZES | {"widths": (4,)}
    decoder = de.ModulatedUNet(3, **sizes)
    decoder.start_from(set_random_weights(de.UNet(**sizes), seed=5))
    keras.utils.set_random_seed(0)
    network = de.AutoencoderNetwork(de.SemanticEncoder(1, (4,), 1, 3, 8), decoder)
    model = de.AutoencoderModel(network, ema=0.5, seed=3, prediction="velocity")
    model.normalizer.adapt(TWO_KINDS)
    model.compile(de.PartwiseAdam(3e-2, network.trunk_numbers, 0.1))
    return model


class TestTraining:
    """The tests of one model follow one another: compiling it is what takes time."""

    def test_the_gradient_reaches_the_encoder_after_one_step_and_not_before(self, model):
        encoder, decoder = model.network.encoder, model.network.decoder
        before = {variable.path: variable.numpy() for variable in model.network.variables}

        def change(variable):
            return np.abs(variable.numpy() - before[variable.path]).max()

        model.train_on_batch(TWO_KINDS)
        assert all(change(variable) == 0 for variable in encoder.variables)
        # Adam's first step has the length of the learning rate, whatever the gradient.
        assert change(decoder.modulations[0].bias) == pytest.approx(3e-2, rel=0.02)
        assert change(decoder.output_conv.kernel) == pytest.approx(3e-3, rel=0.02)
        model.train_on_batch(TWO_KINDS)
        assert change(encoder.output_dense.kernel) > 0 and change(encoder.input_conv.kernel) > 0
        assert change(decoder.blocks[0].norm.moving_mean) == 0

    def test_it_learns_to_use_the_vector(self, model):
        """The own vector of images of two kinds beats the other's after some steps."""
        for _ in range(100):
            loss = model.train_on_batch(TWO_KINDS, return_dict=True)["loss"]
        assert np.isfinite(loss)
        images = model.normalizer(TWO_KINDS)
        noises, rates = normal(8, 8, 8, 1), de.Rates(np.sqrt(0.01), np.sqrt(0.99))
        target = rates.signal * noises - rates.noise * images
        inputs = [rates.signal * images + rates.noise * noises, np.full((8, 1, 1, 1), 0.99)]
        for network in (model.network, model.ema_network):  # which averages both parts
            errors = [
                float(np.square(network([*inputs, seen]) - target).mean())
                for seen in (images, images[::-1])
            ]
            assert errors[0] < 0.1 * errors[1]

    def test_a_saved_model_goes_on(self, model, tmp_path):
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        logs = [each.train_on_batch(TWO_KINDS, return_dict=True) for each in (model, again)]
        assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], rel=1e-5)  # of float32
        for own, other in zip(model.trained.weights, again.trained.weights, strict=True):
            assert_close(own, other, 1e-5)

    def test_noisy_images_are_emphasised(self):
        network = de.AutoencoderNetwork(
            de.SemanticEncoder(**SIZES, dims=3), de.ModulatedUNet(3, **SIZES)
        )
        model = de.AutoencoderModel(network, emphasis=3)
        times = model.training_times(np.linspace(0, 1, 10_001))
        assert times.mean() == pytest.approx(3 / 4, rel=1e-3)  # of the density 3 t**2
        assert np.mean(times > 0.9) == pytest.approx(1 - 0.9**3, rel=1e-2)
        again = de.AutoencoderModel.from_config(model.get_config())
        assert again.emphasis == 3
        rates = [model._draw(np.zeros((500, 1, 1, 1)), [1, 2, 3, 4], even)[1] for even in (0, 1)]
        angles = [np.arctan2(rate.noise, rate.signal).mean() for rate in rates]
        assert angles[0] - angles[1] == pytest.approx(THETA / 4, rel=0.1)  # the noisier half

    def test_the_optimizer_is_restored_with_its_factors(self):
        optimizer = de.PartwiseAdam(0.1, [3, 1], 0.2)
        again = de.PartwiseAdam.from_config(optimizer.get_config())
        assert (again.slow, again.factor) == ({1, 3}, 0.2)
        with pytest.raises(ValueError, match=r"numbers below 1, .* Received: 3"):
            again.build([keras.Variable(0.0)])


@keras.saving.register_keras_serializable(package="tests")
class ConditionalGaussian(keras.Model):
    """The exact noise of x | z ~ N(m(z), deviation**2), m(z) the image that repeats z."""

    channels = 1

    def __init__(self, deviation, **kwargs):
        super().__init__(**kwargs)
        self.deviation = deviation
        self.built = True

    def call(self, inputs):
        noisy, variances, semantic = inputs
        signal = keras.ops.sqrt(1 - variances)
        errors = noisy - signal * mean_of(semantic)
        total = (1 - variances) * self.deviation**2 + variances
        return keras.ops.sqrt(variances) * errors / total

    def get_config(self):
        return super().get_config() | {"deviation": self.deviation}


class FirstPixels(keras.Model):
    """An encoder whose vector is the first row of the image."""

    dims = 4

    def call(self, images):
        return images[:, 0, :, 0]


def mean_of(semantic):
    return keras.ops.tile(semantic[:, None, :, None], (1, 4, 1, 1))


def gaussian(deviation, num_steps=10, last_step="predicted_image"):
    normalizer = de.build_generator((4, 4, 1), (4,)).normalizer
    normalizer.set_weights([np.array([0.5]), np.array([0.01])])
    process = de.Process(num_steps=num_steps, last_step=last_step)
    network = ConditionalGaussian(deviation)
    generator = de.Generator(network, normalizer, process, image_shape=(4, 4, 1))
    return de.Autoencoder(FirstPixels(), generator)


THETA = np.arccos(0.02) - np.arccos(0.95)


@pytest.fixture
def eagerly():
    """Runs what is a graph elsewhere: of a hundred steps that run once, tracing takes seconds."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class TestGaussianData:
    def test_random_latents_decode_to_the_conditional_distribution(self):
        autoencoder = gaussian(1.0, num_steps=40)
        semantic = np.tile(normal(1, 4), (2000, 1))
        decoded = autoencoder.decode(semantic, seed=1).numpy() * 10 - 5  # model space
        mean = np.asarray(mean_of(semantic[:1]))
        assert np.abs(decoded.mean(axis=0) - mean[0]).max() < 5 / np.sqrt(2000)
        # About the mean, unit Gaussian data: each step but the last shrinks latents by the cosine
        # of its angle, and the last predicted image by the signal rate where it is predicted.
        step = THETA / 40
        expected = np.cos(step) ** 39 * np.cos(np.arccos(0.95) + step)
        assert (decoded - mean).std() == pytest.approx(expected, rel=0.02)

    def test_one_step_is_the_conditional_mean(self):
        autoencoder = gaussian(0.3)
        semantic = normal(5, 4)
        found = autoencoder.predict(semantic, seed=2).numpy() * 10 - 5
        # What the latents say of the image has the signal rate of t = 1, 0.02.
        latents = autoencoder.generator.latents(5, 2)
        mean = np.asarray(mean_of(semantic))
        rates = autoencoder.generator.grid[-1]
        total = rates.signal**2 * 0.09 + rates.noise**2
        expected = mean + rates.signal * 0.09 * (latents - rates.signal * mean) / total
        assert_close(found, expected, 1e-5)  # float32; divided by 0.02

    def test_the_error_of_random_latents_is_twice_that_of_the_mean(self):
        autoencoder = gaussian(1.0, num_steps=40)
        semantic = normal(500, 4)
        images = np.asarray(mean_of(semantic)) + normal(500, 4, 4, 1, seed=1)
        errors = [
            np.square(decoded.numpy() * 10 - 5 - images).mean()
            for decoded in (
                autoencoder.decode(semantic, seed=3),
                autoencoder.predict(semantic, seed=3),
            )
        ]
        step = THETA / 40
        deviation = np.cos(step) ** 39 * np.cos(np.arccos(0.95) + step)  # 1 in the limit
        assert errors[0] / errors[1] == pytest.approx(1 + deviation**2, rel=0.05)

    def test_point_masses_are_chosen_by_the_vector_alone(self):
        autoencoder = gaussian(0.0)
        semantic = normal(2, 4)
        for seed in (0, 1):
            found = autoencoder.decode(semantic, seed).numpy() * 10 - 5
            assert_close(found, mean_of(semantic), 1e-4)

    @pytest.mark.parametrize("deviation", [1.0, 0.3])
    def test_naive_inversion_loses_what_the_angles_of_its_steps_say(self, deviation, eagerly):
        """There and back a step multiplies what the vector does not tell by a squared cosine.

        The angle is that between its ends, (signal * deviation, noise): together 1/N of what the
        vector leaves is lost, and the squared error falls by N**2.
        """
        pixels, counts = about_means(deviation), [10, 20, 50, 100]
        found = []
        for num_steps in counts:
            autoencoder = gaussian(deviation, num_steps, last_step="transfer")
            code = autoencoder.encode(pixels, method="ddim_inversion")
            levels = np.array(autoencoder.generator.grid) * [deviation, 1]
            levels /= np.linalg.norm(levels, axis=1, keepdims=True)
            lost = 1 - np.prod(np.sum(levels[1:] * levels[:-1], axis=1) ** 2)
            expected = 0.01 * lost**2 * np.square(left(pixels)).mean(axis=(1, 2, 3))
            np.testing.assert_allclose(code.embedding.mse, expected, rtol=1e-3)  # float32
            found.append(code.embedding.mse.mean())
        orders = -np.diff(np.log(found)) / np.diff(np.log(counts))
        assert (np.diff(orders) > 0).all() and 1.85 < orders[0] < orders[-1] < 2

    @pytest.mark.parametrize("deviation", [1.0, 0.3])
    def test_implicit_inversion_is_exact_where_naive_inversion_is_not(self, deviation):
        pixels = about_means(deviation)
        autoencoder = gaussian(deviation, last_step="transfer")
        code = autoencoder.encode(pixels, method="implicit")
        assert code.embedding.mse.max() < 1e-11  # float32
        assert autoencoder.encode(pixels, method="ddim_inversion").embedding.mse.min() > 1e-6
        # Each step of the sampler multiplies what the vector does not tell by the same factor.
        ends = np.array(autoencoder.generator.grid) * [deviation, 1]
        squares = np.sum(ends**2, axis=1)
        factor = np.prod(np.sum(ends[1:] * ends[:-1], axis=1) / squares[1:])
        means = autoencoder.generator.grid[-1].signal * np.asarray(mean_of(code.semantic))
        assert_close(code.latents, means + left(pixels) / factor, 1e-5)


def about_means(deviation):
    """Pixels within `deviation` of images that repeat their vectors, none of them clipped."""
    images = np.asarray(mean_of(normal(20, 4, seed=1))) + deviation * normal(20, 4, 4, 1)
    return (images / 10 + 0.5).astype(np.float32)


def left(pixels):
    """What an image's own vector does not tell of it, in model space at t = 0."""
    images = pixels * 10.0 - 5
    return images - np.cos(np.arccos(0.95)) * images[:, :1]


@pytest.fixture(scope="module")
def autoencoder():
    autoencoder = de.build_autoencoder((16, 16, 1), (8, 16), 1, semantic_dims=3, num_steps=3)
    generator = make_generator()
    autoencoder.generator.network.start_from(generator.network)
    autoencoder.generator.normalizer.set_weights(generator.normalizer.get_weights())
    for index, layer in enumerate(autoencoder.generator.network.modulations):
        layer.kernel.assign(0.1 * normal(*layer.kernel.shape, seed=index))
    set_random_weights(autoencoder.encoder, seed=1)
    return autoencoder


class TestAutoencoder:
    def test_codes_decode_to_their_images(self, autoencoder):
        pixels = autoencoder.decode(normal(3, 3), seed=1).numpy().clip(0, 1)
        code = autoencoder.encode(pixels, method="implicit")
        assert code.semantic.shape == (3, 3) and code.latents.shape == pixels.shape
        decoded = autoencoder.decode(code).numpy()
        assert_close(decoded, code.embedding.reconstruction, 1e-5)
        assert np.square(decoded.clip(0, 1) - pixels).mean() == pytest.approx(
            code.embedding.mse.mean(), rel=1e-3
        )
        # Naive inversion leaves 6e-4 and more, the mean image 8e-4.
        assert code.embedding.mse.max() < 1e-4

    def test_the_vector_is_the_encoders_of_normalised_images(self, autoencoder):
        pixels = make_pixels(70, (16, 16, 1))  # more than one part
        code = autoencoder.encode(pixels)
        assert code.latents is None and code.embedding is None
        expected = autoencoder.encoder(autoencoder.generator.normalizer(pixels))
        assert_close(code.semantic, expected, 1e-5)
        assert_close(autoencoder(pixels), expected, 1e-6)

    def test_other_latents_by_a_seed(self, autoencoder):
        semantic = normal(2, 3)
        first, same, other = (autoencoder.decode(semantic, seed).numpy() for seed in (1, 1, 2))
        assert np.array_equal(first, same) and not np.array_equal(first, other)
        code = de.Code(semantic, autoencoder.generator.latents(2, 1))
        assert np.array_equal(autoencoder.decode(code), first)
        assert np.array_equal(autoencoder.decode(code, seed=2), other)

    def test_the_mean_image_takes_one_evaluation(self, autoencoder):
        one = de.Autoencoder(autoencoder.encoder, autoencoder.generator.with_steps(1))
        found = autoencoder.predict(normal(2, 3))
        assert np.array_equal(found, one.decode(normal(2, 3), seed=0))
        assert autoencoder.generator.num_steps == 3

    def test_steps_are_compiled_once(self, autoencoder):
        generator = autoencoder.generator
        views = [generator.with_steps(2), generator.with_steps(2), generator.with_steps(3)]
        assert views[0]._snapshot is views[1]._snapshot
        assert views[2]._snapshot is generator._snapshot is views[0].with_steps(3)._snapshot
        latents = generator.latents(2)
        semantic = normal(2, 3)
        found = views[0].given(semantic).decode(latents)
        fresh = de.Generator(
            generator.network,
            generator.normalizer,
            de.Process(num_steps=2, prediction=generator.prediction),
            image_shape=(16, 16, 1),
        )
        assert_close(found, fresh.given(semantic).decode(latents), 1e-6)

    def test_some_codes_of_many(self, autoencoder):
        code = de.Code(normal(4, 3), normal(4, 16, 16, 1))
        some = code[np.array([2, 0])]
        assert len(code) == 4 and len(some) == 2
        assert np.array_equal(some.latents[0], code.latents[2])

    @pytest.mark.parametrize(
        "code, words",
        [
            (normal(2, 4), r"have shape \(n, 3\), n at least 1. Received shape: \(2, 4\)"),
            (normal(0, 3), "n at least 1"),
            (np.full((2, 3), np.nan), "finite"),
            (de.Code(normal(2, 3), normal(3, 16, 16, 1)), "a row for each of `latents`, 3"),
            (de.Code(normal(2, 3), normal(2, 8, 8, 1)), "must have shape"),
            (de.Code(normal(2, 3)), "without latents is decoded from random ones"),
        ],
    )
    def test_codes_that_do_not_fit(self, autoencoder, code, words):
        seed = None if isinstance(code, de.Code) else 0
        with pytest.raises(ValueError, match=words):
            autoencoder.decode(code, seed)

    def test_weights_are_recorded_and_loaded(self, autoencoder, tmp_path):
        config = autoencoder_config(autoencoder)
        de.record_weights(
            tmp_path, "toys", "autoencoder", autoencoder,
            config=config, data="toys", budget={}, errors={}, half=False,
        )  # fmt: skip
        loaded = de.load_autoencoder("toys", tmp_path, num_steps=3)
        pixels = make_pixels(2, (16, 16, 1))
        code = autoencoder.encode(pixels)
        assert np.array_equal(loaded.encode(pixels).semantic, code.semantic)
        assert np.array_equal(loaded.decode(code, 0), autoencoder.decode(code, 0))
        with pytest.raises(FileNotFoundError, match="No weights `toy/autoencoder`"):
            de.load_autoencoder("toy", tmp_path)
        assert loaded.prior is None and loaded.checksum
        for key, left_out in ((loaded.checksum, False), ("b" * 64, True)):
            prior = de.build_prior(3, 4, 2, autoencoder=key)
            de.record_weights(
                tmp_path, "toys", "prior", prior,
                config=prior_config(prior), data="toys", budget={}, errors={},
            )  # fmt: skip
            with contextlib.nullcontext() if not left_out else pytest.warns(match="is left out"):
                loaded = de.load_autoencoder("toys", tmp_path)
            assert (loaded.prior is None) == left_out
        del config["semantic_dims"]
        de.record_weights(
            tmp_path, "toys", "autoencoder", autoencoder,
            config=config, data="toys", budget={}, errors={}, half=False,
        )  # fmt: skip
        with pytest.raises(WeightsError, match="lacks `semantic_dims`"):
            de.load_autoencoder("toys", tmp_path)


@pytest.fixture(scope="module")
def attributes(autoencoder):
    """Standardised vectors with known attributes, and their classifier."""
    autoencoder.standardizer.adapt(2 + 3 * normal(200, 3))
    vectors = normal(300, 3, seed=1)
    labels = vectors[:, :2] + 0.3 * normal(300, 2, seed=2) > 0
    return vectors, de.fit_attribute_classifier(vectors, labels, ("big", "red"))


class TestManipulation:
    def test_vectors_are_standardised_by_the_images_they_are_adapted_to(self, autoencoder):
        pixels = make_pixels(40, (16, 16, 1))
        own = de.Autoencoder(autoencoder.encoder, autoencoder.generator)
        own.adapt(pixels)
        vectors = own.standardize(own.encode(pixels).semantic)
        assert_close(vectors.mean(axis=0) + 1, np.ones(3), 1e-4)
        assert_close(vectors.std(axis=0, ddof=1), np.ones(3), 1e-4)
        assert_close(own.unstandardize(vectors), own.encode(pixels).semantic, 1e-5)

    def test_a_step_of_a_strength(self, autoencoder, attributes):
        _, classifier = attributes
        code = de.Code(normal(2, 3), autoencoder.generator.latents(2))
        direction = classifier.direction("red")
        moved = autoencoder.manipulate(code, direction, strength=0.3)
        change = autoencoder.standardize(moved.semantic) - autoencoder.standardize(code.semantic)
        assert_close(change, np.tile(0.3 * np.sqrt(3) * np.asarray(direction), (2, 1)), 1e-5)
        assert np.array_equal(moved.latents, code.latents)
        assert type(2 * direction) is np.ndarray

    @pytest.mark.parametrize("target, sign", [("median", 1), ("negative_median", -1)])
    def test_a_step_to_the_median(self, autoencoder, attributes, target, sign):
        vectors, classifier = attributes
        code = de.Code(autoencoder.unstandardize(vectors[:5]))
        moved = autoencoder.manipulate(code, classifier.direction("red"), target=target)
        logits = classifier.logits(autoencoder.standardize(moved.semantic))[:, 1]
        all_logits = classifier.logits(vectors)[:, 1]
        positive = vectors[:, 1] + 0.3 * normal(300, 2, seed=2)[:, 1] > 0
        median = np.median(all_logits[positive if sign > 0 else ~positive])
        assert_close(logits, np.full(5, median), 1e-5)

    def test_what_belongs_to_another_autoencoder(self, autoencoder, attributes):
        _, classifier = attributes
        own = de.Autoencoder(autoencoder.encoder, autoencoder.generator)
        own.checksum = "a" * 64
        foreign = dataclasses.replace(classifier, autoencoder="b" * 64)
        with pytest.raises(ValueError, match="The classifier is of another autoencoder"):
            own.manipulate(normal(1, 3), foreign.direction("red"))
        with pytest.raises(ValueError, match=r"The code is of another .* bbbbbbbbbbbb, these aaaa"):
            own.decode(de.Code(normal(1, 3), autoencoder="b" * 64), seed=0)
        prior = de.build_prior(3, 4, 2, autoencoder="b" * 64)
        with pytest.raises(ValueError, match="The prior is of another autoencoder"):
            own.prior = prior
        with pytest.raises(ValueError, match=r"must be of vectors of 3 numbers. Received: 4"):
            own.prior = de.build_prior(4, 4, 2)
        with pytest.raises(ValueError, match="`direction` must be that of a classifier"):
            own.manipulate(normal(1, 3), np.ones(3), target="median")
        with pytest.raises(ValueError, match="`target` must be one of"):
            own.manipulate(normal(1, 3), np.ones(3), target="medium")


class TestSamples:
    def test_images_of_the_prior_s_vectors(self, autoencoder, attributes):
        own = de.Autoencoder(autoencoder.encoder, autoencoder.generator)
        own.standardizer.set_weights(autoencoder.standardizer.get_weights())
        with pytest.raises(ValueError, match="no prior of its semantic vectors"):
            own.sample(1)
        own.prior = de.build_prior(3, 4, 2)
        own.prior.normalizer.set_weights(own.standardizer.get_weights())
        found = own.sample(3, seed=2, prior_steps=4)
        vectors = own.prior.sample(3, 2, 4)
        assert_close(found, own.decode(vectors, seed=2), 1e-6)
        one = own.sample(3, seed=2, num_steps=1, prior_steps=4)
        assert_close(one, own.with_steps(1).decode(vectors, seed=2), 1e-6)

        _, classifier = attributes
        pixels = own.sample_class(4, classifier, "red", threshold=0.9, seed=1, prior_steps=4)
        accepted = rejection(
            lambda count, seed: own.prior.sample(count, seed, 4),
            lambda vectors: classifier.probabilities(own.standardize(vectors))[:, 1],
            4, threshold=0.9, seed=1,
        ).vectors  # fmt: skip
        assert classifier.probabilities(own.standardize(accepted))[:, 1].min() >= 0.9
        assert_close(pixels, own.decode(accepted, seed=1), 1e-6)


def test_an_adaptive_decoder_is_loaded_as_it_was_trained(tmp_path):
    sizes = {"channels": 1, "widths": (4, 8), "block_depth": 1}
    network = de.AutoencoderNetwork(
        de.SemanticEncoder(**sizes, dims=3, image_size=8, attention_resolutions=(4,)),
        de.AdaptiveUNet(3, image_size=8, attention_resolutions=(4,), dropout=0.5, **sizes),
    )
    model = de.AutoencoderModel(set_random_weights(network), prediction="velocity")
    own = de.Autoencoder.from_model(model, (8, 8, 1), num_steps=2)
    de.record_weights(
        tmp_path, "toys", "autoencoder", own,
        config=autoencoder_config(own), data="toys", budget={}, errors={}, half=False,
    )  # fmt: skip
    loaded = de.load_autoencoder("toys", tmp_path, num_steps=2)
    semantic = normal(2, 3)
    found = loaded.decode(semantic, seed=1)
    assert np.array_equal(found, own.decode(semantic, seed=1))
    for index in range(2):
        part = slice(index, index + 1)
        code = de.Code(semantic[part], own.generator.latents(2, 1)[part])
        assert_close(own.decode(code), found[part], 1e-5)
    with pytest.raises(ValueError, match=r"`attention` must be None. Received: .nafnet."):
        de.build_autoencoder((8, 8, 1), (4, 8), attention="nafnet", decoder="adaptive")


class TestInterpolation:
    def test_ends_are_the_decoded_codes_and_the_middle_is_of_both_subcodes(self, autoencoder):
        ends = [
            de.Code(normal(2, 3, seed=seed), autoencoder.generator.latents(2, seed))
            for seed in (1, 2)
        ]
        found = de.interpolate(autoencoder, *ends, num=3)
        assert found.shape == (2, 3, 16, 16, 1)
        for index, end in ((0, ends[0]), (2, ends[1])):
            assert_close(found[:, index], autoencoder.decode(end), 1e-5)
        middle = de.Code(
            (ends[0].semantic + ends[1].semantic) / 2,
            de.slerp(ends[0].latents, ends[1].latents, 0.5),
        )
        assert_close(found[:, 1], autoencoder.decode(middle), 1e-5)
        cross = de.interpolate(autoencoder, *ends, num=3, kind="pixels")
        assert_close(cross[:, 1], (cross[:, 0] + cross[:, 2]) / 2, 1e-6)

    def test_codes_without_latents(self, autoencoder):
        with pytest.raises(ValueError, match="Codes must have latents to be interpolated"):
            de.interpolate(autoencoder, de.Code(normal(1, 3)), de.Code(normal(1, 3)), num=3)

    def test_the_length_of_a_path(self, autoencoder):
        """Of the pixels' squared error on a cross-fade: the squared distance of its ends."""
        ends = [
            de.Code(normal(2, 3, seed=seed), autoencoder.generator.latents(2, seed))
            for seed in (1, 2)
        ]
        found = de.path_length(
            autoencoder, *ends, kind="pixels", samples=2, epsilon=0.1, distance=mean_square
        )
        first, last = (autoencoder.decode(end).numpy() for end in ends)
        assert_close(found.each, mean_square(first, last), 1e-3)


def mean_square(pixels, other):
    return np.square(pixels - other).mean(axis=(1, 2, 3))
