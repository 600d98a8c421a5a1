"""Directions against closed forms and dense matrices, and what an edit along them does."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_generator
from test_solvers import Linear

import ddim_embed as de


def unit(array):
    return array / np.linalg.norm(array)


class TestPrincipal:
    def test_of_a_known_covariance(self):
        rng = np.random.default_rng(0)
        basis = np.linalg.qr(rng.normal(size=(12, 12)))[0]
        deviations = np.array([5.0, 3.0, 2.0, *[0.1] * 9])
        rows = rng.normal(size=(4000, 12)) * deviations @ basis.T + 7
        found = de.principal_directions(rows.reshape(-1, 3, 4, 1), 3)
        assert found.vectors.shape == (3, 3, 4, 1)
        cosines = np.sum(found.vectors.reshape(3, 12) * basis.T[:3], axis=1)
        np.testing.assert_allclose(np.abs(cosines), 1, atol=2e-3)  # 4000 samples
        np.testing.assert_allclose(found.values, deviations[:3] ** 2, rtol=0.1)
        with pytest.raises(ValueError, match="from 1 to 12"):
            de.principal_directions(rows.reshape(-1, 3, 4, 1), 13)


class TestClass:
    def classes(self, gap, n=400, seed=0):
        rng = np.random.default_rng(seed)
        direction = unit(rng.normal(size=(3, 4, 1)))
        labels = np.arange(n) % 4
        latents = (
            rng.normal(size=(n, 3, 4, 1)) + gap * (labels == 2)[:, None, None, None] * direction
        )
        return latents, labels, direction

    def test_of_separable_gaussians(self):
        latents, labels, direction = self.classes(gap=8)
        found = de.class_direction(latents, labels, 2)
        assert np.linalg.norm(found.direction) == pytest.approx(1)
        assert np.sum(found.direction * direction) > 0.99
        assert found.accuracy > 0.99
        again = de.class_direction(latents, labels, 2, seed=2**32)  # scikit-learn takes 32 bits
        np.testing.assert_array_equal(again.direction, found.direction)

    def test_the_accuracy_is_of_latents_left_out(self):
        """Noise of more dimensions than samples is separable, and tells nothing."""
        rng = np.random.default_rng(1)
        latents, labels = rng.normal(size=(60, 10, 10, 1)), np.arange(60) % 6
        found = de.class_direction(latents, labels, 0, strength=1.0)
        assert 0.2 < found.accuracy < 0.7
        assert np.sum(latents[labels == 0] * found.direction) > 0
        other = de.class_direction(latents, labels, 0, strength=1.0, seed=2)
        assert other.accuracy != found.accuracy  # other latents are left out together

    def test_errors(self):
        latents, labels, _ = self.classes(gap=1, n=40)
        with pytest.raises(ValueError, match=r"at least 5 .* 7.*Received: 0 and 40"):
            de.class_direction(latents, labels, 7)
        with pytest.raises(ValueError, match=r"shapes: \(40, 3, 4, 1\) and \(39,\)"):
            de.class_direction(latents, labels[1:], 2)
        with pytest.raises(ValueError, match="finite"):
            de.class_direction(np.full_like(latents, np.nan), labels, 2)
        with pytest.raises(
            ValueError, match=r"`strength` must be a finite number above 0. Received: 0"
        ):
            de.class_direction(latents, labels, 2, strength=0)


class TestFirstLayer:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_against_the_dense_matrix_of_the_layers(self, channels):
        generator = make_generator(image_shape=(8, 8, channels))
        network, size = generator.network, 64 * channels
        block = network.blocks[0]
        embedded = network.embedding(tf.constant([[[[generator.grid[-1].noise ** 2]]]]))

        def before_activation(latents):
            x = network.input_conv(latents)
            constant = tf.broadcast_to(embedded, (*x.shape[:3], embedded.shape[-1]))
            x = block.norm(tf.concat([x, constant], -1), training=False)
            kernel, bias = block.conv1.weights
            return (tf.nn.conv2d(x, kernel, 1, "SAME") + bias).numpy().astype(np.float64)

        basis = np.eye(size, dtype=np.float32).reshape(size, 8, 8, channels)
        dense = before_activation(basis) - before_activation(np.zeros_like(basis[:1]))
        dense = dense.reshape(size, -1).T
        _, values, right = np.linalg.svd(dense, full_matrices=False)
        # Up to a gap in the spectrum, so that the span is well determined.
        count = 1 + np.argmax(values[:10] / values[1:11])
        found = de.first_layer_directions(generator, count)
        np.testing.assert_allclose(found.values, values[:count], rtol=1e-4)  # float32
        rows = found.vectors.reshape(count, size)
        np.testing.assert_allclose(rows @ rows.T, np.eye(count), atol=1e-10)
        np.testing.assert_allclose(np.linalg.norm(dense @ rows.T, axis=0), found.values, rtol=1e-4)
        assert de.principal_angles(rows, right[:count]).max() < 0.5
        again = de.first_layer_directions(generator, count)
        np.testing.assert_array_equal(again.vectors, found.vectors)
        largest = np.abs(rows).argmax(axis=1)
        assert (rows[np.arange(count), largest] > 0).all()

    def test_errors(self, tiny_generator):
        for n in (0, 256):
            with pytest.raises(ValueError, match=f"from 1 to 255. Received: {n}"):
                de.first_layer_directions(tiny_generator, n)


class TestEdits:
    def test_a_strip_of_a_linear_generator(self):
        generator = Linear()
        latents, pixels = generator.reachable(2)
        direction = np.zeros((4, 4, 1))
        direction[1, 2] = 7.0  # of any length
        strip = de.edit_strip(generator, latents, direction, [-2, 0, 1])
        assert strip.shape == (2, 3, 4, 4, 1)
        np.testing.assert_allclose(strip[:, 1], pixels, atol=1e-6)
        change = strip - pixels[:, None]
        slope = change[0, 2, 1, 2, 0]
        assert abs(slope) > 0.01
        expected = np.tile(np.array([-2, 0, 1]) * slope, (2, 1))
        np.testing.assert_allclose(change[:, :, 1, 2, 0], expected, atol=1e-5)
        change[:, :, 1, 2] = 0
        np.testing.assert_allclose(change, 0, atol=1e-6)

    def test_effect_compared_with_random_steps(self, tiny_generator):
        classifier = de.FeatureClassifier((16, 16, 1), 3, (4,), 8)
        latents = tiny_generator.latents(3)
        direction = tiny_generator.latents(1, seed=1)[0]
        effect, control = de.edit_effect(
            tiny_generator, latents, direction, 4, classifier, positive=1
        )
        before = tiny_generator.decode(latents).numpy().clip(0, 1)
        after = de.edit_strip(tiny_generator, latents, direction, [4])[:, 0].clip(0, 1)
        np.testing.assert_allclose(effect.mse, de.metrics.mse(before, after), rtol=1e-4)
        np.testing.assert_allclose(effect.lpips, de.lpips(before, after), rtol=1e-3, atol=1e-6)
        probability = classifier.class_probabilities(np.concatenate([before, after]))
        np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(
            effect.probability, probability[3:, 1] - probability[:3, 1], atol=1e-5
        )
        assert (control.mse > 0).all() and not np.allclose(control.mse, effect.mse)
        other = de.edit_effect(tiny_generator, latents, -direction, 4)
        assert other[0].probability is None and other[1].probability is None
        np.testing.assert_array_equal(other[1].mse, control.mse)
        still, _ = de.edit_effect(tiny_generator, latents, direction, 0, classifier)
        assert still.probability is None  # of no class
        np.testing.assert_allclose(still.mse, 0, atol=1e-12)

    def test_random_steps_are_as_long(self):
        """Where all pixels change alike, a step of any direction changes the image as much."""
        generator = Linear((1.0,))
        latents, direction = generator.latents(3), np.eye(4)[..., None]
        effect, control = de.edit_effect(generator, latents, direction, 0.5)
        factor = float(
            np.ptp(
                generator.decode(
                    np.float32([0, 1])[:, None, None, None] * np.ones((2, 4, 4, 1), np.float32)
                ),
                axis=0,
            )[0, 0, 0]
        )
        for found in (effect, control):
            np.testing.assert_allclose(found.mse, (0.5 * factor) ** 2 / 16, rtol=1e-4)
        steps = np.random.default_rng(0).normal(size=latents.shape)
        steps /= np.linalg.norm(steps.reshape(3, -1), axis=1)[:, None, None, None]
        before, after = (
            generator.decode(x).numpy() for x in (latents, np.float32(latents + 0.5 * steps))
        )
        np.testing.assert_allclose(control.lpips, de.lpips(before, after), rtol=1e-3)

    def test_errors(self, tiny_generator):
        latents, direction = tiny_generator.latents(1), tiny_generator.latents(1, 1)[0]
        for bad in (np.zeros((16, 16, 1)), np.full((16, 16, 1), np.nan), direction[:8]):
            with pytest.raises(ValueError, match="`direction` must be finite, not 0"):
                de.edit_strip(tiny_generator, latents, bad, [1])
        for steps in ([], [np.inf], [[1]]):
            with pytest.raises(ValueError, match="`steps`"):
                de.edit_strip(tiny_generator, latents, direction, steps)
        with pytest.raises(ValueError, match="`length` must be a finite number"):
            de.edit_effect(tiny_generator, latents, direction, np.nan)
        classifier = de.FeatureClassifier((16, 16, 1), 3, (4,), 8)
        with pytest.raises(ValueError, match=r"`positive` must be .* from 0 to 2. Received: 3"):
            de.edit_effect(tiny_generator, latents, direction, 1, classifier, 3)
