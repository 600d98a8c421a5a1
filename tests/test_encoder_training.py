"""The start of a semantic encoder: images whose principal components are known."""

import keras
import numpy as np
import pytest

import ddim_embed as de
from ddim_embed.training.encoder import PrincipalComponents

DIRECTIONS = np.linalg.qr(np.random.default_rng(1).normal(size=(64, 3)))[0].T.astype(np.float32)
DEVIATIONS = np.array([3.0, 1.0, 0.2], np.float32)


def gaussian_images(count=2000, seed=0):
    """Images of three Gaussian coordinates along orthogonal directions, and the coordinates."""
    values = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    values = (values - values.mean(0)) / values.std(0)
    flat = 0.5 + (values * DEVIATIONS) @ DIRECTIONS
    return flat.reshape(count, 8, 8, 1), values


class TestPrincipalComponents:
    def test_coordinates_of_unit_variance_in_order_of_variance(self):
        images, values = gaussian_images()
        layer = PrincipalComponents((8, 8, 1), 3)
        layer.adapt(images)
        found = np.asarray(layer(images))
        signs = np.sign((found * values).mean(0))
        # Chance correlations of 2,000 values turn the components by their size, 2%, or a little
        # more where variances are nearer.
        np.testing.assert_allclose(found * signs, values, atol=0.25)
        np.testing.assert_allclose(found.std(0), 1, rtol=1e-3)
        np.testing.assert_allclose(np.asarray(layer.deviations), DEVIATIONS, rtol=0.01)

    def test_a_direction_without_variance_is_not_enlarged(self):
        images, _ = gaussian_images(50)
        layer = PrincipalComponents((8, 8, 1), 5)
        layer.adapt(images)
        assert np.abs(np.asarray(layer(images))[:, 3:]).max() < 1e-2

    def test_what_it_refuses(self):
        layer = PrincipalComponents((8, 8, 1), 5)
        with pytest.raises(ValueError, match=r"5 images .* have 4 principal components: too few"):
            layer.adapt(np.zeros((5, 8, 8, 1)))
        with pytest.raises(ValueError, match=r"shape \(n, 8, 8, 1\). Received shape: \(9, 8, 8, 3"):
            layer.adapt(np.zeros((9, 8, 8, 3)))


class Linear(keras.Model):
    """An encoder that can be the principal components exactly."""

    dims = 3

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)
        self.dense.build((None, 64))
        self.built = True

    def call(self, images, training=None):
        return self.dense(keras.ops.reshape(images, (-1, 64)))


class TestEncoderModel:
    def make(self, encoder):
        images, _ = gaussian_images()
        pixels = np.clip(images / 20 + 0.475, 0, 1)  # in the unit interval, to the fifth deviation
        normalizer = de.build_generator((8, 8, 1), (4,), block_depth=1).normalizer
        normalizer.adapt(pixels)
        model = de.EncoderModel(encoder, normalizer, (8, 8, 1))
        return model, pixels

    def test_the_loss_weighs_errors_by_deviations(self):
        model, pixels = self.make(Linear())
        model.adapt(pixels)
        for weights in model.encoder.weights:
            weights.assign(np.zeros(weights.shape))
        model.compile("sgd")
        # z = 0: each error is the unit variance, and the weights' mean is 1.
        loss = model.evaluate(pixels, batch_size=len(pixels), verbose=0, return_dict=True)["loss"]
        assert loss == pytest.approx(1, rel=1e-3)
        components = np.asarray(model.principal.components) / np.asarray(model.principal.deviations)
        mean = np.asarray(model.principal.mean)
        components[:, 2] = 0  # all but the last
        model.encoder.dense.set_weights([components, -mean @ components])
        loss = model.evaluate(pixels, batch_size=len(pixels), verbose=0, return_dict=True)["loss"]
        assert loss == pytest.approx(DEVIATIONS[2] / DEVIATIONS.sum(), rel=0.02)

    def test_an_encoder_learns_the_components(self):
        keras.utils.set_random_seed(0)
        model, pixels = self.make(de.SemanticEncoder(1, (8, 8), 1, 3, 8))
        model.adapt(pixels)
        model.compile(keras.optimizers.Adam(1e-2))
        history = model.fit(pixels, batch_size=100, epochs=3, verbose=0).history["loss"]
        assert history[-1] < 0.5 * history[0]

    def test_components_must_be_known(self):
        model, pixels = self.make(Linear())
        model.compile("sgd")
        with pytest.raises(ValueError, match=r"not known: call `model.adapt\(pixels\)`"):
            model.fit(pixels, verbose=0)
        with pytest.raises(ValueError, match="`normalizer`"):
            de.EncoderModel(Linear(), None, (8, 8, 1))
