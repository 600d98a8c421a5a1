"""The frozen denoiser is the network, at every kind of network and at every position."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, make_generator, set_random_weights

from ddim_embed.generator.denoiser import Denoiser
from ddim_embed.networks.blocks import ATTENTIONS
from ddim_embed.networks.frozen import Unfrozen
from ddim_embed.networks.kernels import add_swish
from ddim_embed.networks.unet import UNet
from ddim_embed.process.sampling import sample, time_grid
from ddim_embed.process.schedules import Rates, continuous_cosine

GRID = time_grid(continuous_cosine, 2)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def evaluate(denoise, images, upstream):
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        noises = denoise(images)
    return noises, tape.gradient(noises, images, output_gradients=upstream)


@pytest.mark.parametrize(
    "channels, widths, depth, attention, size",
    [
        (1, (4, 8), 1, None, (8, 8)),
        (1, (8,), 1, None, (3, 5)),  # one level: nothing is pooled, all is border
        (3, (8,), 2, "spatial", (4, 4)),
        (3, (4, 8, 6), 2, None, (8, 12)),
        (1, (4, 4), 1, "spatial", (4, 8)),
        (3, (4, 8), 1, "squeeze_excitation", (8, 4)),
        (1, (4, 8), 1, "nafnet", (8, 8)),
        (1, (68, 4), 1, None, (4, 4)),  # as wide as image and embedding together
        (1, (6, 6, 6), 1, None, (4, 4)),  # down to a single position
    ],
)
def test_equals_the_network_and_so_does_its_gradient(channels, widths, depth, attention, size):
    network = set_random_weights(UNet(channels, widths, depth, attention), seed=3)
    frozen = Denoiser(network, GRID, size)
    shape = (2, *size, channels)
    images, upstream = normal(shape), normal(shape, seed=1)
    for rates in GRID:
        variances = tf.fill((2, 1, 1, 1), rates.noise**2)
        noises, gradient = evaluate(
            lambda x, v=variances: network([x, v], training=False), images, upstream
        )
        own_noises, own_gradient = evaluate(lambda x, r=rates: frozen(x, r), images, upstream)
        # float32; kernels are multiplied before the sum over channels instead of images. The
        # border is compared like the rest.
        assert_close(own_noises, noises, 1e-5)
        assert_close(own_gradient, gradient, 1e-4)
        assert_close(frozen.compiled(images, rates), noises, 1e-5)


def test_the_noise_may_follow_from_a_velocity():
    network = set_random_weights(UNet(1, (4, 8), 1), seed=3)
    frozen = Denoiser(network, GRID, (8, 8), prediction="velocity")
    images, upstream = normal((2, 8, 8, 1)), normal((2, 8, 8, 1), seed=1)
    for rates in GRID:
        variances = tf.fill((2, 1, 1, 1), rates.noise**2)
        noises, gradient = evaluate(
            lambda x, v=variances, r=rates: (
                r.noise * x + r.signal * network([x, v], training=False)
            ),
            images,
            upstream,
        )
        own_noises, own_gradient = evaluate(lambda x, r=rates: frozen(x, r), images, upstream)
        for own in (own_noises, frozen.compiled(images, rates), frozen.shared(images, rates)):
            assert_close(own, noises, 1e-5)  # float32
        assert_close(own_gradient, gradient, 1e-4)


def test_every_attention_is_tested_above():
    marks = test_equals_the_network_and_so_does_its_gradient.pytestmark[0].args[1]
    assert {case[3] for case in marks} == {None, *ATTENTIONS}


def test_the_whole_decode_equals_sampling_with_the_network(tiny_generator):
    def denoise(images, rates):
        variances = tf.fill((tf.shape(images)[0], 1, 1, 1), rates.noise**2)
        return tiny_generator.network([images, variances], training=False)

    latents = tiny_generator.latents(2, seed=4)
    expected = sample(denoise, continuous_cosine, latents, tiny_generator.num_steps)
    pixels = tiny_generator.normalizer.inverse(expected)
    # Three steps, the first of which multiplies rounding errors by 20 (signal .02 to .40).
    assert_close(tiny_generator.decode_tensor(latents), pixels, 1e-5)


@pytest.mark.parametrize("n", range(1, 6))
def test_any_batch_size(tiny_generator, n):
    images = normal((n, 16, 16, 1))
    frozen, rates = tiny_generator.denoiser(), tiny_generator.grid[1]
    alone = [frozen(images[i : i + 1], rates) for i in range(n)]
    assert_close(frozen(images, rates), tf.concat(alone, 0), 1e-5)  # float32


def test_compiled_is_a_graph_for_all_levels_and_batches(tiny_generator):
    frozen = tiny_generator.denoiser(num_steps=4)
    levels = time_grid(continuous_cosine, 4)
    for n, rates in enumerate(levels, start=1):
        images = normal((n, 16, 16, 1))
        assert_close(frozen.compiled(images, rates), frozen(images, rates), 1e-5)  # float32
    # One for the first batch, and one for batches of any size.
    assert frozen._functions["_evaluate_over_cores"].experimental_get_tracing_count() == 2
    with pytest.raises(ValueError, match=r"frozen at noise rates \[.*Received: "):
        frozen.compiled(images, tiny_generator.grid[1])


def test_is_a_snapshot():
    network = set_random_weights(UNet(1, (4,), 1))
    frozen = Denoiser(network, GRID, (4, 4))
    images = normal((1, 4, 4, 1))
    before = frozen(images, GRID[0]).numpy()
    set_random_weights(network, seed=8)
    np.testing.assert_array_equal(frozen(images, GRID[0]), before)


def test_other_rates_than_the_grid_s_are_refused(tiny_generator):
    images = normal((1, 16, 16, 1))
    for rates in (Rates(0.6, 0.8), (0.6, 0.8), Rates(*time_grid(continuous_cosine, 7)[3])):
        with pytest.raises(ValueError, match=r"frozen at noise rates \[.*Received: "):
            tiny_generator.denoiser()(images, rates)


def test_bfloat16_is_near_float32():
    network = set_random_weights(UNet(1, (4, 8), 1))
    images = normal((2, 8, 8, 1))
    exact = Denoiser(network, GRID, (8, 8))(images, GRID[1])
    rounded = Denoiser(network, GRID, (8, 8), precision="bfloat16")(images, GRID[1])
    assert rounded.dtype == tf.float32
    assert_close(rounded, exact, 0.1)  # 8 bits, some 10 roundings in a row
    assert np.abs(rounded - exact).max() > 1e-4


def test_compiled_by_xla_it_is_the_same():
    generator = make_generator(widths=(4, 8), image_shape=(8, 8, 1), num_steps=2)
    latents = generator.latents(3)
    compiled = tf.function(generator.decode_tensor, jit_compile=True)
    # XLA orders float32 sums in its own way, and the first step multiplies that by 30.
    assert_close(compiled(latents), generator.decode_tensor(latents), 1e-4)


@pytest.mark.parametrize("remat", [False, True])
def test_its_gradient_compiled_by_xla_is_the_same(remat):
    generator = make_generator(widths=(4, 8), image_shape=(8, 8, 1), num_steps=2)

    def gradient(latents):
        with tf.GradientTape() as tape:
            tape.watch(latents)
            loss = tf.reduce_sum(generator.decode_tensor(latents, remat=remat) ** 2)
        return tape.gradient(loss, latents)

    latents = tf.constant(generator.latents(3))
    assert_close(tf.function(gradient, jit_compile=True)(latents), gradient(latents), 1e-4)


def test_add_swish():
    x, added, upstream = normal((2, 3, 4, 5)), normal((1, 3, 4, 5), 1), normal((2, 3, 4, 5), 2)
    value, gradient = evaluate(lambda x: add_swish(x, tf.constant(added)), x, upstream)
    expected, expected_gradient = evaluate(lambda x: tf.nn.silu(x + added), x, upstream)
    assert_close(value, expected, 1e-6)  # float32
    assert_close(gradient, expected_gradient, 1e-6)


def test_splits_at_the_bottleneck_as_the_network_does():
    network = set_random_weights(UNet(1, (4, 8), 2), seed=3)
    frozen, images = network.freeze(GRID, (8, 8)), normal((2, 8, 8, 1))
    variances = tf.fill((2, 1, 1, 1), GRID[1].noise ** 2)
    h, skips = frozen.encode(images, 1)
    expected_h, expected_skips = network.encode([images, variances])
    for found, expected in zip([h, *skips], [expected_h, *expected_skips], strict=True):
        assert_close(found, expected, 1e-5)  # float32
    shifted = frozen(images, 1, hook=lambda h: 2 * h)
    assert_close(shifted, frozen.decode(2 * h, skips, 1), 1e-6)
    assert_close(shifted, network([images, variances], hook=lambda h: 2 * h), 1e-5)


def test_a_network_that_does_not_freeze_is_evaluated_as_it_is():
    network = set_random_weights(UNet(1, (4, 8), 1), seed=3)
    plain = Unfrozen(network, GRID)
    images = normal((2, 8, 8, 1))
    for step in range(len(GRID)):
        assert_close(plain(images, step), network.freeze(GRID, (8, 8))(images, step), 1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_noises_follow_from_h(precision):
    """h is handed out in float32, whatever it was computed in."""
    network = set_random_weights(UNet(1, (4, 8), 1), seed=3)
    frozen = Denoiser(network, GRID, (8, 8), precision, prediction="velocity")
    images, rates = normal((3, 8, 8, 1)), GRID[1]
    expected = frozen(images, rates)
    h, skips = frozen.encode(images, rates)
    assert h.dtype == tf.float32 and h.shape == (3, 4, 4, 8)
    np.testing.assert_array_equal(frozen.decode(h, skips, images, rates), expected)
    own, own_skips = frozen.compiled_encode(images, rates)
    tolerance = 1e-5 if precision == "float32" else 0.05  # 8 bits
    assert_close(own, h, tolerance)
    assert_close(frozen.compiled_decode(own, own_skips, images, rates), expected, tolerance)
