"""The U-Net's sizes, its parameter counts, and what it does with each size of input."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, set_random_weights

from ddim_embed.networks.blocks import ATTENTIONS, NAFNetAttention, SpatialAttention
from ddim_embed.networks.unet import UNet

attentions = pytest.mark.parametrize("attention", [None, *sorted(ATTENTIONS)])


def inputs(n, shape=(8, 8, 1), seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, *shape)).astype(np.float32)
    return [images, rng.uniform(0.1, 1, (n, 1, 1, 1)).astype(np.float32)]


@pytest.fixture(scope="module")
def unet():
    return set_random_weights(UNet(1, widths=(4, 8), block_depth=2))


@pytest.mark.parametrize(
    "channels, widths, count",
    [
        (3, (48, 96, 192, 384), 9_577_683),  # the published CIFAR-10 network
        (1, (32, 64, 96, 128), 1_942_017),
    ],
)
def test_parameter_count_without_conditioning(channels, widths, count):
    network = UNet(channels, widths, block_depth=2, conditioned=False)
    assert network.count_params() == count


def test_conditioning_costs_what_its_64_channels_cost():
    """They enter one BatchNorm, one 1x1 and one 3x3 convolution: those of the first block."""
    sizes = {"channels": 1, "widths": (32, 64, 96, 128), "block_depth": 2}
    plain = UNet(**sizes, conditioned=False).count_params()
    # Without them that block's input has its own width: the whole projection is new.
    projection = (32 + 64) * 32 + 32
    assert UNet(**sizes).count_params() == plain + 2 * 64 + projection + 9 * 64 * 32


@attentions
def test_the_output_is_zero_at_first(attention):
    output = UNet(1, widths=(4, 8), block_depth=1, attention=attention)(inputs(2))
    assert output.shape == (2, 8, 8, 1)
    np.testing.assert_array_equal(output, 0)


@pytest.mark.parametrize("n", range(1, 6))
def test_every_image_of_a_batch_is_treated_alone(unet, n):
    images, variances = inputs(n)
    together = unet([images, variances])
    alone = [unet([images[i : i + 1], variances[i : i + 1]]) for i in range(n)]
    assert np.std(together) > 0.1
    assert_close(together, tf.concat(alone, 0), 1e-5)  # float32


@pytest.mark.parametrize(
    "channels, widths, depth, size",
    [(1, (8,), 1, (5, 7)), (3, (4, 8, 8), 1, (8, 12)), (1, (4, 8), 3, (4, 2))],
)
@pytest.mark.parametrize("conditioned", [True, False])
def test_sizes(channels, widths, depth, size, conditioned):
    network = UNet(channels, widths, depth, conditioned=conditioned)
    set_random_weights(network)
    batch = inputs(2, (*size, channels))
    batch = batch if conditioned else batch[0]
    output = network(batch)
    assert output.shape == (2, *size, channels) and output.dtype == tf.float32
    assert np.isfinite(output).all() and np.std(output) > 0
    down, middle, up = network.levels
    assert len(down) == len(up) == len(widths) - 1
    assert all(len(blocks) == depth for blocks in [*down, middle, *up])
    assert [blocks[0].width for blocks in [*down, middle, *up]] == [*widths, *widths[-2::-1]]
    shapes = [tf.shape(x).numpy() for x in batch] if conditioned else batch.shape
    assert network.compute_output_shape(shapes) == (2, *size, channels)


def test_the_noise_variance_matters(unet):
    images, variances = inputs(2)
    assert np.abs(unet([images, variances]) - unet([images, variances / 2])).max() > 0.1


def test_equals_its_layers_in_the_order_of_the_paper(unet):
    """A second account of the forward pass: skips are joined last in, first out."""
    images, variances = inputs(2)
    x = unet.input_conv(images)
    x = tf.concat([x, tf.tile(unet.embedding(variances), (1, 8, 8, 1))], -1)
    first, second, middle1, middle2, up1, up2 = unet.blocks
    skip1 = first(x)
    skip2 = second(skip1)
    x = middle2(middle1(tf.nn.avg_pool2d(skip2, 2, 2, "VALID")))
    x = tf.image.resize(x, (8, 8), "bilinear")
    x = up2(tf.concat([up1(tf.concat([x, skip2], -1)), skip1], -1))
    assert_close(unet([images, variances]), unet.output_conv(x), 1e-5)  # float32


def test_channel_attention_is_everywhere_and_spatial_attention_at_the_bottom():
    blocks = UNet(1, widths=(4, 8), block_depth=1, attention="spatial").blocks
    assert [type(block.attention) for block in blocks] == [
        type(None),
        SpatialAttention,
        type(None),
    ]
    blocks = UNet(1, widths=(4, 8), block_depth=1, attention="nafnet").blocks
    assert all(isinstance(block.attention, NAFNetAttention) for block in blocks)


def test_bfloat16_does_not_round_the_noise_variance():
    """Rounded to 8 bits, it would leave nothing of the frequencies beyond 256."""
    network = UNet(1, widths=(4,), block_depth=1, dtype="mixed_bfloat16")
    images, _ = inputs(1)
    near = [np.full((1, 1, 1, 1), value, np.float32) for value in (0.777, 0.7775)]
    assert len({float(tf.cast(value, tf.bfloat16)[0, 0, 0, 0]) for value in near}) == 1
    set_random_weights(network)
    assert np.abs(network([images, near[0]]) - network([images, near[1]])).max() > 1e-2


@attentions
def test_bfloat16_is_near_float32_and_returns_it(attention):
    sizes = {"channels": 1, "widths": (4, 8), "block_depth": 1, "attention": attention}
    exact = set_random_weights(UNet(**sizes))
    rounded = UNet(**sizes, dtype="mixed_bfloat16")
    rounded.set_weights(exact.get_weights())
    output, expected = rounded(inputs(4)), exact(inputs(4))
    assert output.dtype == tf.float32
    assert all(weight.dtype == "float32" for weight in rounded.weights)
    # 8 bits, some 10 roundings in a row, and differences of what was rounded
    assert_close(output, expected, 0.1)
    assert np.abs(output - expected).max() > 1e-4  # it did compute in bfloat16


def test_training_moves_the_statistics_and_inference_does_not(unet):
    network = set_random_weights(UNet(1, widths=(4, 8), block_depth=1))
    before = network.get_weights()
    network(inputs(2))
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    network(inputs(2), training=True)
    statistics = [weight for weight in network.weights if "moving" in weight.name]
    assert len(statistics) == 2 * len(network.blocks)
    for old, weight in zip(before, network.weights, strict=True):
        assert np.array_equal(old, weight) == ("moving" not in weight.name)


@pytest.mark.parametrize(
    "shape, words",
    [
        ((6, 8, 1), r"that 4 divides.*\(2, 6, 8, 1\)"),
        ((8, 10, 1), r"that 4 divides.*\(2, 8, 10, 1\)"),
        ((8, 8, 3), r"1 channels.*\(2, 8, 8, 3\)"),
        ((8, 8), r"\(batch, height, width, channels\).*\(2, 8, 8\)"),
    ],
)
def test_wrong_images_are_named(shape, words):
    network = UNet(1, widths=(4, 4, 4), block_depth=1)
    with pytest.raises(ValueError, match=words):
        network(inputs(2, shape))


def test_images_alone_are_not_unpacked(unet):
    """Two of them were once, into images and noise variances."""
    with pytest.raises(ValueError, match=r"called on `\[images, noise_variances\]`"):
        unet(inputs(2)[0])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"widths": ()}, "widths"),
        ({"widths": (8, 0)}, r"Received: \(8, 0\)"),
        ({"block_depth": 0}, "block_depth.*Received: 0"),
        ({"channels": 0}, "channels.*Received: 0"),
        ({"attention": "all"}, "attention.*Received: 'all'"),
    ],
)
def test_sizes_that_cannot_be_built_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        UNet(**({"widths": (4,)} | options))


def test_is_a_keras_model_with_gradients_for_all_that_is_trainable():
    network = set_random_weights(UNet(1, widths=(4, 8), block_depth=1))
    assert isinstance(network, keras.Model)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(network(inputs(2), training=True) ** 2)
    gradients = tape.gradient(loss, network.trainable_variables)
    assert len(gradients) == sum("moving" not in weight.name for weight in network.weights)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


class TestWalk:
    """The network splits at the bottleneck: `encode` to h and skips, `decode` from them."""

    def network(self):
        return set_random_weights(UNet(1, widths=(4, 8, 6), block_depth=2))

    def inputs(self):
        rng = np.random.default_rng(0)
        images = rng.normal(size=(2, 8, 8, 1)).astype(np.float32)
        return [images, np.full((2, 1, 1, 1), 0.3, np.float32)]

    def test_the_halves_make_the_whole(self):
        network = self.network()
        h, skips = network.encode(self.inputs())
        assert h.shape == (2, 2, 2, 6)
        assert [skip.shape[1:] for skip in skips] == [(8, 8, 4)] * 2 + [(4, 4, 8)] * 2
        expected = network(self.inputs())
        np.testing.assert_array_equal(network.decode(h, skips), expected)
        assert len(skips) == 4  # they may be decoded again
        np.testing.assert_array_equal(network.decode(h, skips), expected)

    def test_a_hook_replaces_h(self):
        network = self.network()
        seen = []
        plain = network(self.inputs(), hook=lambda h: seen.append(h) or h)
        np.testing.assert_array_equal(plain, network(self.inputs()))
        np.testing.assert_array_equal(seen[0], network.encode(self.inputs())[0])
        shifted = network(self.inputs(), hook=lambda h: h + 1)
        h, skips = network.encode(self.inputs())
        np.testing.assert_array_equal(shifted, network.decode(h + 1, skips))
        assert np.abs(shifted - plain).max() > 1e-3
