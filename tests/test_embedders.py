"""The embedding networks of Table 1: their sizes and what they compute."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, set_random_weights

import ddim_embed as de
from ddim_embed.networks.embedders import (
    CONVOLUTIONS,
    NETWORKS,
    ConvEmbedder,
    build_embedder,
    unet_size,
)
from ddim_embed.networks.unet import UNet

each_network = pytest.mark.parametrize("network", NETWORKS)
SIZES = {"widths": (4, 8), "block_depth": 1}


def images(n, channels=1, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 8, 12, channels)).astype(np.float32)


@pytest.mark.parametrize(
    "network, grey, colour",
    [
        ("conv1", 26, 228),
        ("conv3_16", 7_233, 8_835),
        ("conv3_64", 105_729, 112_131),
        ("conv5_128", 859_009, 871_811),
    ],
)
def test_parameter_counts(network, grey, colour):
    assert build_embedder(network, channels=1).count_params() == grey
    assert build_embedder(network, channels=3).count_params() == colour


def test_the_unet_is_the_denoiser_without_conditioning():
    network = build_embedder("unet", channels=3, **SIZES)
    assert isinstance(network, UNet) and not network.conditioned
    assert (network.channels, network.widths, network.block_depth) == (3, (4, 8), 1)
    assert build_embedder("unet").count_params() == 1_942_017


def test_the_order_is_that_of_the_table():
    assert NETWORKS == ("conv1", "conv3_16", "conv3_64", "conv5_128", "unet")


@each_network
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_of_a_batch_is_embedded_alone(network, channels):
    embedder = set_random_weights(build_embedder(network, channels, **SIZES))
    for n in range(1, 6) if network == "conv3_16" else (2,):
        batch = images(n, channels)
        alone = [embedder(batch[i : i + 1]) for i in range(n)]
        latents = embedder(batch)
        assert latents.shape == batch.shape and latents.dtype == tf.float32
        assert np.std(latents) > 0.1
        assert_close(latents, tf.concat(alone, 0), 1e-5)  # float32
        assert embedder.compute_output_shape(batch.shape) == batch.shape


@pytest.mark.parametrize("network", sorted(CONVOLUTIONS))
def test_convolutions_with_relu_between_them(network):
    embedder = set_random_weights(build_embedder(network))
    batch = images(1)
    x = batch
    weights = embedder.get_weights()
    for i in range(0, len(weights), 2):
        x = tf.nn.conv2d(x, weights[i], 1, "SAME") + weights[i + 1]
        if i + 2 < len(weights):
            x = np.maximum(x, 0)
    assert_close(embedder(batch), x, 1e-5)  # float32
    assert (embedder(batch) < 0).numpy().any()  # latents have both signs


@each_network
def test_bfloat16_computes_in_8_bits_with_float32_weights(network):
    exact = set_random_weights(build_embedder(network, **SIZES))
    rounded = build_embedder(network, **SIZES, precision="bfloat16")
    rounded.set_weights(exact.get_weights())
    assert all(weight.dtype == "float32" for weight in rounded.weights)
    latents, expected = rounded(images(2)), exact(images(2))
    assert latents.dtype == tf.float32
    assert_close(latents, expected, 0.1)  # up to 10 roundings in a row
    assert np.abs(latents - expected).max() > 1e-4


def test_wrong_names_are_answered_with_the_right_ones():
    with pytest.raises(ValueError, match=r"conv5_128.*unet.*Received: 'conv2'"):
        build_embedder("conv2")
    with pytest.raises(ValueError, match=r"precision.*Received: 'half'"):
        build_embedder("conv1", precision="half")


def test_own_convolutions():
    embedder = ConvEmbedder(2, [[3, 5], [1, None]])
    assert isinstance(embedder, keras.Model)
    assert [tuple(weight.shape) for weight in embedder.weights] == [
        (3, 3, 2, 5),
        (5,),
        (1, 1, 5, 2),
        (2,),
    ]
    again = ConvEmbedder.from_config(embedder.get_config())
    assert (again.channels, again.convolutions) == (2, embedder.convolutions)


def test_the_least_size_of_a_unet_s_file(tmp_path):
    """Two bytes for each weight of a second convolution, and what HDF5 needs for each block."""
    sizes = {"widths": (4, 8, 16), "block_depth": 2}
    least = unet_size(sizes)
    assert least == 2 * (2 * 3 * 3 * (4 * 4 + 8 * 8 + 16 * 16) + 2000 * 5)
    de.save_weights(build_embedder("unet", 1, **sizes), tmp_path / "x.weights.h5", half=True)
    assert least < (tmp_path / "x.weights.h5").stat().st_size < 10 * least
