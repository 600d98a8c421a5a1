"""Files that Keras 2 (tf-keras) really wrote, from functional models as they were published."""

import math
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ddim_embed.networks.embedders import build_embedder
from ddim_embed.networks.unet import UNet
from ddim_embed.store.legacy import load_legacy_weights
from ddim_embed.store.weights import save_weights

IMAGE_SIZE = 8
WIDTHS = (4, 6)
SIZES = [
    pytest.param((4, 6), 1, 1, id="two levels, grey"),
    pytest.param((4, 6, 10), 2, 3, id="three levels, RGB"),
]


def sinusoidal_embedding(variances):
    frequencies = tf.exp(tf.linspace(math.log(1.0), math.log(1000.0), 32))
    angles = 2.0 * math.pi * frequencies * variances
    return tf.concat([tf.sin(angles), tf.cos(angles)], axis=3)


def published_block(x, width):
    layers = tf_keras.layers
    residual = x if x.shape[3] == width else layers.Conv2D(width, 1)(x)
    x = layers.BatchNormalization(center=False, scale=False)(x)
    x = layers.Conv2D(width, 3, padding="same", activation=tf_keras.activations.swish)(x)
    x = layers.Conv2D(width, 3, padding="same")(x)
    return layers.Add()([x, residual])


def published_unet(widths, block_depth, channels, conditioned=True):
    """The published denoiser, or with `conditioned=False` the `unet` embedder, in Keras 2."""
    layers = tf_keras.layers
    inputs = images = tf_keras.Input((IMAGE_SIZE, IMAGE_SIZE, channels))
    x = layers.Conv2D(widths[0], 1)(images)
    if conditioned:
        variances = tf_keras.Input((1, 1, 1))
        inputs = [images, variances]
        e = layers.Lambda(sinusoidal_embedding)(variances)
        e = layers.UpSampling2D(IMAGE_SIZE, interpolation="nearest")(e)
        x = layers.Concatenate()([x, e])
    skips = []
    for width in widths[:-1]:
        for _ in range(block_depth):
            x = published_block(x, width)
            skips.append(x)
        x = layers.AveragePooling2D(2)(x)
    for _ in range(block_depth):
        x = published_block(x, widths[-1])
    for width in reversed(widths[:-1]):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        for _ in range(block_depth):
            x = published_block(layers.Concatenate()([x, skips.pop()]), width)
    return tf_keras.Model(inputs, layers.Conv2D(channels, 1, kernel_initializer="zeros")(x))


def published_conv3_16(channels):
    conv = tf_keras.layers.Conv2D
    inputs = tf_keras.Input((IMAGE_SIZE, IMAGE_SIZE, channels))
    x = conv(16, 5, padding="same", activation="relu")(inputs)
    x = conv(16, 5, padding="same", activation="relu")(x)
    return tf_keras.Model(inputs, conv(channels, 5, padding="same")(x))


def randomise(model, seed=0):
    """Weights that make every layer matter: positive, as variances must be, and of unit gain."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        gain = 2 / math.sqrt(math.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 1
        values = rng.uniform(0.5, 1.5, variable.shape) * gain
        if len(variable.shape) > 1:
            values *= rng.choice([-1, 1], variable.shape)
        variable.assign(values)


def inputs_for(channels, conditioned=True, batch=3):
    rng = np.random.default_rng(1)
    images = rng.normal(size=(batch, IMAGE_SIZE, IMAGE_SIZE, channels)).astype(np.float32)
    variances = rng.uniform(size=(batch, 1, 1, 1)).astype(np.float32)
    return [images, variances] if conditioned else images


def assert_equal_outputs(model, published, inputs):
    expected = published(inputs, training=False).numpy()
    outputs = model(inputs, training=False).numpy()
    assert expected.std() > 0.1
    # rtol 1e-5 as the formats promise; a sum that cancels to near zero keeps the rounding error of
    # its terms, float32's 6e-8 over some dozen layers, so atol is rtol at the outputs' scale.
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def snapshot(model):
    return [variable.numpy().copy() for variable in model.weights]


def assert_refused(model, path, match):
    """The error names the file and what else `match` says, and the model stays as it was."""
    before = snapshot(model)
    with pytest.raises(ValueError, match=match) as error:
        load_legacy_weights(model, path)
    assert str(path) in str(error.value)
    for old, new in zip(before, snapshot(model), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.fixture
def small(tmp_path):
    """A published denoiser, its file, and our model of the same sizes."""
    tf_keras.backend.clear_session()
    published = published_unet(WIDTHS, 1, 1)
    randomise(published)
    path = tmp_path / "denoiser.hdf5"
    published.save_weights(path)
    return SimpleNamespace(published=published, path=path, model=UNet(1, WIDTHS, 1))


@pytest.mark.parametrize("conditioned", [True, False])
@pytest.mark.parametrize("widths, block_depth, channels", SIZES)
def test_unet_has_the_outputs_of_keras_2(tmp_path, widths, block_depth, channels, conditioned):
    tf_keras.backend.clear_session()
    published = published_unet(widths, block_depth, channels, conditioned)
    randomise(published)
    published.save_weights(tmp_path / "unet.h5")
    with h5py.File(tmp_path / "unet.h5") as file:
        listed = [name for name in file.attrs["layer_names"] if name.startswith("conv2d")]
    # Not vacuous: the file lists its layers in another order than they were created in.
    assert listed != sorted(listed, key=lambda name: int(name.partition("_")[2] or 0))

    model = UNet(channels, widths, block_depth, conditioned=conditioned)
    load_legacy_weights(model, tmp_path / "unet.h5")

    assert_equal_outputs(model, published, inputs_for(channels, conditioned))


@pytest.mark.parametrize("channels", [1, 3])
def test_convolutional_embedder_has_the_outputs_of_keras_2(tmp_path, channels):
    published = published_conv3_16(channels)
    randomise(published)
    published.save_weights(tmp_path / "embedder.h5")
    model = build_embedder("conv3_16", channels=channels)
    load_legacy_weights(model, tmp_path / "embedder.h5")
    assert_equal_outputs(model, published, inputs_for(channels, conditioned=False))


def test_session_that_built_other_models_before(tmp_path, small):
    published_conv3_16(1)
    published = published_unet(WIDTHS, 1, 1)
    names = {layer.name for layer in published.layers if "conv2d" in layer.name}
    assert names == {f"conv2d_{number}" for number in range(14, 25)}
    randomise(published, seed=2)
    published.save_weights(tmp_path / "later.h5")
    load_legacy_weights(small.model, tmp_path / "later.h5")
    assert_equal_outputs(small.model, published, inputs_for(1))


def test_whole_model_file_with_its_optimizer(tmp_path, small):
    small.published.compile(tf_keras.optimizers.Adam(), "mae")
    small.published.optimizer.build(small.published.trainable_variables)
    path = tmp_path / "model.h5"
    small.published.save(path)
    with h5py.File(path) as file:
        assert {"model_weights", "optimizer_weights"} <= set(file)
    load_legacy_weights(small.model, path)
    assert_equal_outputs(small.model, small.published, inputs_for(1))


def test_optimizer_group_beside_the_layers(small):
    with h5py.File(small.path, "a") as file:
        file["optimizer_weights/Adam/m/conv2d/kernel:0"] = np.ones((1, 1, 1, 4))
    load_legacy_weights(small.model, small.path)
    assert_equal_outputs(small.model, small.published, inputs_for(1))


def test_description_of_the_model_is_not_read(small):
    with h5py.File(small.path, "a") as file:
        file.attrs["model_config"] = "not even JSON"
    load_legacy_weights(small.model, small.path)
    assert_equal_outputs(small.model, small.published, inputs_for(1))


@pytest.mark.parametrize("layer", ["conv2d", "conv2d_3", "conv2d_10"])
def test_missing_convolution(small, layer):
    with h5py.File(small.path, "a") as file:
        del file[layer]
    assert_refused(
        small.model, small.path, r"`.*shapes.*u_net.*shapes.*The file has 10 conv2d .* 11"
    )


def test_missing_normalization_names_what_it_stands_for(small):
    with h5py.File(small.path, "a") as file:
        del file["batch_normalization_2"]
    assert_refused(small.model, small.path, r"`none`.*shapes \[\].*u_net.*norm.*\[\(\d+,\)")


def test_surplus_layer(small):
    with h5py.File(small.path, "a") as file:
        file.copy("conv2d_10", "conv2d_11")
        file.move("conv2d_11/conv2d_10", "conv2d_11/conv2d_11")
    assert_refused(small.model, small.path, r"`conv2d_11`.*\(1, 1, 4, 1\).*`none`.*12 .*11")


def test_another_width_names_both_layers_and_shapes(small):
    model = UNet(1, (5, 6), 1)
    match = r"`conv2d`.*\(1, 1, 1, 4\).*`u_net\w*/input_conv`.*\(1, 1, 1, 5\)"
    assert_refused(model, small.path, match)


def test_width_that_differs_in_the_last_layer_only_changes_nothing(small):
    with h5py.File(small.path, "a") as file:
        del file["conv2d_10/conv2d_10/bias:0"]
        file["conv2d_10/conv2d_10/bias:0"] = np.zeros(2)
    assert_refused(small.model, small.path, r"`conv2d_10`.*\(2,\).*output_conv.*\(1,\)")


def test_values_that_are_not_finite(small):
    with h5py.File(small.path, "a") as file:
        file["conv2d_10/conv2d_10/bias:0"][0] = np.nan
    assert_refused(small.model, small.path, "conv2d_10.*not finite")


def test_normalization_with_centre_and_scale(tmp_path):
    inputs = tf_keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    published = tf_keras.Model(inputs, tf_keras.layers.BatchNormalization()(inputs))
    published.save_weights(tmp_path / "scaled.h5")
    assert_refused(UNet(1, WIDTHS, 1), tmp_path / "scaled.h5", "beta, gamma.*centre and scale")


def test_layer_of_another_name(small):
    with h5py.File(small.path, "a") as file:
        file["dense/dense/kernel:0"] = np.zeros((2, 2))
    assert_refused(small.model, small.path, "`dense` has arrays kernel")


def test_not_an_hdf5_file(tmp_path, small):
    path = tmp_path / "page.h5"
    path.write_text("<html>404</html>")
    assert_refused(small.model, path, "not an HDF5 file")


def test_truncated_file(small):
    small.path.write_bytes(small.path.read_bytes()[:-1000])
    assert_refused(small.model, small.path, "truncated")


def test_keras_3_file(tmp_path, small):
    path = tmp_path / "new.weights.h5"
    save_weights(small.model, path)
    assert_refused(small.model, path, "Keras 2")


def test_missing_file(tmp_path, small):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_legacy_weights(small.model, tmp_path / "nowhere.h5")


@pytest.mark.parametrize("attention", ["spatial", "squeeze_excitation", "nafnet"])
def test_attention_is_refused(small, attention):
    model = UNet(1, WIDTHS, 1, attention=attention)
    before = snapshot(model)
    with pytest.raises(ValueError, match="no attention"):
        load_legacy_weights(model, small.path)
    np.testing.assert_equal(snapshot(model), before)


def test_any_model_of_these_layers(tmp_path):
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    x = keras.layers.Conv2D(16, 5, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(16, 5, padding="same", activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 5, padding="same")(x))
    published = published_conv3_16(1)
    randomise(published)
    published.save_weights(tmp_path / "embedder.h5")
    load_legacy_weights(model, tmp_path / "embedder.h5")
    assert_equal_outputs(model, published, inputs_for(1, conditioned=False))
