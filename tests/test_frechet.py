"""The Frechet distance against its closed form, and classifiers whose features it compares."""

import math
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_pixels, set_random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

import ddim_embed as de
from ddim_embed.metrics.classifier import FeatureClassifier, _Batches, train_feature_classifier
from ddim_embed.metrics.frechet import fid, frechet_distance
from ddim_embed.store.weights import read_manifest

SHIPPED = ("fashion_mnist", "mnist")
seeds = st.integers(0, 10_000)


def exact_features(mean, covariance, n, seed=0):
    """n samples whose mean and unbiased covariance are exactly these, up to float64."""
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    samples = np.random.default_rng(seed).normal(size=(n, len(mean)))
    samples -= samples.mean(axis=0)
    samples, _ = np.linalg.qr(samples)
    root = linalg.sqrtm(covariance).real
    return samples * np.sqrt(n - 1) @ root + mean


def random_covariance(rng, d, condition=10.0):
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return rotation * np.geomspace(1 / condition, 1, d) @ rotation.T


def textbook(features_a, features_b):
    """The published formula, with a matrix square root of the product of covariances."""
    cov_a, cov_b = (np.cov(f, rowvar=False) for f in (features_a, features_b))
    root = linalg.sqrtm(cov_a @ cov_b).real
    difference = features_a.mean(axis=0) - features_b.mean(axis=0)
    return difference @ difference + np.trace(cov_a + cov_b - 2 * root)


class TestClosedForm:
    @settings(deadline=None, max_examples=25)
    @given(seed=seeds, d=st.integers(2, 8), extra=st.integers(1, 30))
    def test_equals_the_published_formula(self, seed, d, extra):
        rng = np.random.default_rng(seed)
        features_a = rng.normal(size=(d + extra, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)
        features_b = rng.normal(size=(2 * d + extra, d))
        expected = textbook(features_a, features_b)
        found = frechet_distance(features_a, features_b)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)  # sqrtm loses half the digits
        assert found == pytest.approx(frechet_distance(features_b, features_a), rel=1e-9)

    @settings(deadline=None, max_examples=25)
    @given(seed=seeds, n=st.integers(2, 40), d=st.integers(1, 12))
    def test_of_a_set_and_itself_is_zero(self, seed, n, d):
        features = np.random.default_rng(seed).normal(size=(n, d)) * 100
        shuffled = np.random.default_rng(seed + 1).permutation(features)
        assert 0 <= frechet_distance(features, features) < 1e-18
        assert 0 <= frechet_distance(features, shuffled) < 1e-18

    @settings(deadline=None, max_examples=25)
    @given(seed=seeds, n=st.integers(2, 40), d=st.integers(1, 12))
    def test_of_a_shifted_set_is_the_shift_squared(self, seed, n, d):
        rng = np.random.default_rng(seed)
        features, shift = rng.normal(size=(n, d)), rng.normal(size=d)
        found = frechet_distance(features, features + shift)
        assert found == pytest.approx(shift @ shift, rel=1e-9)

    @settings(deadline=None, max_examples=25)
    @given(seed=seeds, d=st.integers(1, 6))
    def test_of_diagonal_covariances_is_that_of_the_deviations(self, seed, d):
        rng = np.random.default_rng(seed)
        std_a, std_b = rng.uniform(0, 2, (2, d))
        features_a = exact_features(np.zeros(d), np.diag(std_a**2), 3 * d + 2, seed)
        features_b = exact_features(np.ones(d), np.diag(std_b**2), 2 * d + 9, seed + 1)
        expected = d + np.sum((std_a - std_b) ** 2)
        assert frechet_distance(features_a, features_b) == pytest.approx(expected, rel=1e-9)

    @settings(deadline=None, max_examples=15)
    @given(seed=seeds)
    def test_scales_as_a_square_and_ignores_rotations(self, seed):
        rng = np.random.default_rng(seed)
        features_a, features_b = rng.normal(size=(9, 5)), rng.normal(size=(14, 5)) + 1
        rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
        expected = frechet_distance(features_a, features_b)
        assert frechet_distance(3 * features_a, 3 * features_b) == pytest.approx(9 * expected)
        rotated = frechet_distance(features_a @ rotation, features_b @ rotation)
        assert rotated == pytest.approx(expected, rel=1e-9)

    def test_of_covariances_that_do_not_commute(self):
        rng = np.random.default_rng(3)
        cov_a, cov_b = random_covariance(rng, 6, 1e3), random_covariance(rng, 6, 1e3)
        root = linalg.sqrtm(cov_a)
        cross = linalg.sqrtm(root @ cov_b @ root)
        expected = np.trace(cov_a + cov_b - 2 * cross).real
        features = [exact_features(np.zeros(6), cov, n, n) for cov, n in ((cov_a, 40), (cov_b, 25))]
        assert frechet_distance(*features) == pytest.approx(expected, rel=1e-7)
        assert expected > 0.1

    def test_small_distances_are_not_lost_to_cancellation(self):
        """A difference of 1e-7 in a deviation of 1: the printed formula's terms are 1e14 larger."""
        cov = np.eye(20)
        features = exact_features(np.zeros(20), cov, 50)
        found = frechet_distance(features, features * (1 + 1e-7))
        assert found == pytest.approx(20e-14, rel=1e-5)

    def test_of_large_samples_is_that_of_the_distributions(self):
        rng = np.random.default_rng(0)
        cov_a, cov_b = random_covariance(rng, 4), random_covariance(rng, 4)
        mean = np.array([0.5, -0.3, 0.0, 0.2])
        root = linalg.sqrtm(cov_a)
        cross = linalg.sqrtm(root @ cov_b @ root)
        expected = mean @ mean + np.trace(cov_a + cov_b - 2 * cross).real
        features_a = rng.multivariate_normal(mean, cov_a, 100_000)
        features_b = rng.multivariate_normal(np.zeros(4), cov_b, 100_000)
        # A standard error of 1 / sqrt(n) in the mean and the deviations.
        assert frechet_distance(features_a, features_b) == pytest.approx(expected, abs=0.01)

    def test_fewer_samples_than_features(self):
        """Exact for the singular covariances of the samples, whatever directions these miss."""
        rng = np.random.default_rng(1)
        few, many = rng.normal(size=(5, 30)), rng.normal(size=(200, 30))
        cov_few, cov_many = np.cov(few, rowvar=False), np.cov(many, rowvar=False)
        root = linalg.sqrtm(cov_many).real
        values = np.linalg.eigvalsh(root @ cov_few @ root).clip(0)
        difference = few.mean(axis=0) - many.mean(axis=0)
        expected = (
            difference @ difference + np.trace(cov_few + cov_many) - 2 * np.sqrt(values).sum()
        )
        assert frechet_distance(few, many) == pytest.approx(expected, rel=1e-6)
        assert frechet_distance(many, few) == pytest.approx(expected, rel=1e-6)

    def test_bias_of_small_samples_falls_with_their_size(self):
        features = np.random.default_rng(2).normal(size=(4000, 10))
        distances = [frechet_distance(features[:n], features[n : 2 * n]) for n in (20, 200, 2000)]
        assert distances[0] > 5 * distances[1] > 25 * distances[2] > 0

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
    def test_is_computed_in_float64(self, dtype):
        rng = np.random.default_rng(0)
        features = (rng.integers(0, 9, (2, 12, 3)) + 1000).astype(dtype)
        expected = frechet_distance(*features.astype(np.float64))
        found = frechet_distance(*features)
        assert isinstance(found, float) and found == expected > 0


class TestFeatureErrors:
    GOOD = np.random.default_rng(0).normal(size=(6, 3))

    @pytest.mark.parametrize("shape", [(3,), (1, 3), (0, 3), (4, 0), (2, 3, 4)])
    def test_shapes(self, shape):
        with pytest.raises(ValueError, match=r"`features_a` must have shape \(n, d\)"):
            frechet_distance(np.zeros(shape), self.GOOD)
        with pytest.raises(ValueError, match=r"`features_b` must have shape \(n, d\)"):
            frechet_distance(self.GOOD, np.zeros(shape))

    def test_different_numbers_of_features(self):
        with pytest.raises(ValueError, match=r"\(6, 3\) and \(6, 2\)"):
            frechet_distance(self.GOOD, self.GOOD[:, :2])

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite(self, value):
        bad = self.GOOD.copy()
        bad[2, 1] = value
        with pytest.raises(ValueError, match="`features_b` must be finite"):
            frechet_distance(self.GOOD, bad)


class TestFid:
    """With callables in place of Inception, whose features are known."""

    @staticmethod
    def corners(images):
        """The image's means over its quarters: 12 features."""
        assert images.shape[1:] == (299, 299, 3) and images.dtype == tf.float32
        return tf.reshape(tf.image.resize(images, (2, 2), "area"), (len(images), 12))

    def test_is_the_distance_of_the_features(self):
        """Of flat images the features are known: their shade, in [-1, 1]."""
        shades = np.random.default_rng(0).uniform(0, 1, (2, 9, 3))
        images = [np.broadcast_to(s[:, None, None], (9, 16, 16, 3)) for s in shades]
        expected = frechet_distance(*(np.tile(2 * s - 1, 4) for s in shades))
        found = fid(*images, self.corners, batch_size=4)
        assert found == pytest.approx(expected, rel=1e-4)  # float32
        assert found > 0.1

    def test_of_a_constant_shift_is_its_square(self):
        grey = make_pixels(6, (28, 20, 1)) * 0.5
        found = fid(grey, grey + 0.25, self.corners)
        assert found == pytest.approx(12 * 0.5**2, rel=1e-4)
        assert fid(grey, grey, self.corners) < 1e-10

    def test_clips_and_takes_sets_of_other_sizes(self):
        pixels = make_pixels(5, (12, 12, 1))
        beyond = np.where(pixels > 0.5, 1.3, -0.3)
        expected = fid(pixels, beyond.clip(0, 1), self.corners)
        assert fid(pixels, beyond, self.corners) == pytest.approx(expected)
        assert fid(pixels, make_pixels(3, (320, 310, 3)), self.corners, batch_size=1) > 0

    def test_inception_gets_images_in_minus_one_to_one(self):
        """Black is -1, white is 1; a shift of both sets would leave their distance as it is."""
        seen = []

        def inception(images):
            seen.append((images.numpy().min(axis=(1, 2, 3)), images.numpy().max(axis=(1, 2, 3))))
            return self.corners(images)

        flat = np.float32([0, 0.25, 1])[:, None, None, None] * np.ones((3, 9, 9, 1), np.float32)
        fid(flat, flat, inception)
        np.testing.assert_allclose(seen, [[[-1, -0.5, 1]] * 2] * 2, atol=1e-5)
        # A third of the columns is white, the one in the middle of each new pixel.
        striped = np.tile(np.float32([0, 1, 0])[None, None, :, None], (2, 9, 299, 1))
        fid(striped, striped, inception)
        assert max(high.max() for _, high in seen[2:]) < 0.2  # antialiased

    def test_takes_a_keras_model(self):
        inputs = keras.Input((299, 299, 3))
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
        grey = make_pixels(4, (16, 16, 1)) * 0.5
        assert fid(grey, grey + 0.5, model) == pytest.approx(3, rel=1e-4)

    def test_what_inception_returns_is_checked(self):
        pixels = make_pixels(3)
        with pytest.raises(ValueError, match=r"must return shape \(3, d\).*\(3, 299, 299, 3\)"):
            fid(pixels, pixels, lambda images: images)
        with pytest.raises(
            ValueError, match=r"must return shape \(2, d\).*Received shape: \(1, 4\)"
        ):
            fid(pixels, pixels, lambda images: np.zeros((1, 4)), batch_size=2)
        with pytest.raises(ValueError, match="finite"):
            fid(pixels, pixels, lambda images: np.full((len(images), 4), np.nan))

    @pytest.mark.parametrize("shape", [(3, 8, 8), (3, 8, 8, 2), (0, 8, 8, 3)])
    def test_shapes(self, shape):
        with pytest.raises(ValueError, match="n, height, width, 1 or 3"):
            fid(make_pixels(3), np.zeros(shape), self.corners)

    def test_batch_size(self):
        with pytest.raises(ValueError, match="`batch_size`"):
            fid(make_pixels(3), make_pixels(3), self.corners, batch_size=0)


@pytest.fixture(scope="module")
def tiny_classifier():
    """Random weights and statistics, 10x12 images with a padding of 1."""
    return set_random_weights(FeatureClassifier((10, 12, 1), 3, (4, 6), 5, padding=1))


class TestClassifier:
    def test_features_and_logits(self, tiny_classifier):
        pixels = make_pixels(5, (10, 12, 1))
        features = tiny_classifier.features(pixels)
        assert features.shape == (5, 5) and features.dtype == np.float32
        assert features.std(axis=0).min() > 1e-3
        kernel, bias = tiny_classifier.classify.get_weights()
        logits = tiny_classifier(pixels)
        assert logits.shape == tiny_classifier.compute_output_shape(pixels.shape) == (5, 3)
        np.testing.assert_allclose(logits, features.clip(0) @ kernel + bias, atol=1e-5)
        np.testing.assert_array_equal(
            tiny_classifier.classify_pixels(pixels), np.argmax(logits, axis=1)
        )

    def test_parameters_of_the_shipped_size(self):
        assert FeatureClassifier(padding=2).count_params() == sum(
            (
                2 * 1 + 9 * 1 * 32 + 32,
                2 * 32 + 9 * 32 * 64 + 64,
                2 * 64 + 9 * 64 * 128 + 128,
                3 * 3 * 128 * 64 + 2 * 64,
                64 * 10 + 10,
            )
        )

    @pytest.mark.parametrize("size", range(1, 6))
    def test_result_does_not_depend_on_batch_size(self, tiny_classifier, size):
        pixels = make_pixels(5, (10, 12, 1))
        expected = tiny_classifier.features(pixels)
        found = tiny_classifier.features(pixels, batch_size=size)
        np.testing.assert_allclose(found, expected, atol=1e-5)  # float32
        np.testing.assert_allclose(
            tiny_classifier.features(pixels[:size]), expected[:size], atol=1e-5
        )

    def test_the_padding_does_not_count(self, tiny_classifier):
        pixels = make_pixels(2, (10, 12, 1))
        framed = np.pad(pixels[:, 1:-1, 1:-1], ((0, 0), (1, 1), (1, 1), (0, 0)))
        assert (framed != pixels).any()
        found = tiny_classifier.features(framed)
        np.testing.assert_allclose(found, tiny_classifier.features(pixels), atol=1e-6)
        framed[:, 1] = 0.9
        assert np.abs(tiny_classifier.features(framed) - found).max() > 1e-3

    def test_features_clip_pixels_and_feature_tensor_does_not(self, tiny_classifier):
        beyond = make_pixels(2, (10, 12, 1)) * 1.8 - 0.4
        clipped = tiny_classifier.features(beyond.clip(0, 1))
        np.testing.assert_allclose(tiny_classifier.features(beyond), clipped, atol=1e-6)
        assert np.abs(tiny_classifier.feature_tensor(beyond) - clipped).max() > 1e-3

    def test_gradient(self, tiny_classifier):
        pixels = tf.constant(make_pixels(1, (10, 12, 1)))
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            value = tf.reduce_sum(tiny_classifier.feature_tensor(pixels))
        gradient = tape.gradient(value, pixels)
        length = tf.norm(gradient)
        step = 1e-3 * gradient / length
        ends = [
            tf.reduce_sum(tiny_classifier.feature_tensor(pixels + sign * step)) for sign in (1, -1)
        ]
        assert float(ends[0] - ends[1]) / 2e-3 == pytest.approx(float(length), rel=0.02)  # kinks

    def test_errors(self, tiny_classifier):
        for shape in ((10, 12, 1), (2, 12, 10, 1), (0, 10, 12, 1), (2, 10, 12, 3)):
            with pytest.raises(ValueError, match=r"must have shape \(n, 10, 12, 1\)"):
                tiny_classifier.features(np.zeros(shape))
        with pytest.raises(ValueError, match="`batch_size`"):
            tiny_classifier.features(np.zeros((2, 10, 12, 1)), batch_size=0)
        with pytest.raises(ValueError, match="must leave a pixel"):
            FeatureClassifier((8, 8, 1), widths=(4, 4), padding=3)
        with pytest.raises(ValueError, match="`padding` must be an integer of at least 0"):
            FeatureClassifier((8, 8, 1), widths=(4, 4), padding=-1)


def stripes(n, seed=0):
    """Noisy images of three classes: rows, columns, or checks, bright in every other place."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    rows, columns = np.indices((8, 8))
    patterns = np.stack([rows % 2, columns % 2, (rows + columns) % 2])
    pixels = 0.2 + 0.4 * patterns[labels][..., None] + rng.uniform(0, 0.4, (n, 8, 8, 1))
    return pixels.astype(np.float32), labels


class TestTraining:
    OPTIONS: ClassVar = {
        "epochs": 6, "batch_size": 16, "learning_rate": 1e-2, "widths": (6, 8), "num_features": 4,
    }  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls):
        return train_feature_classifier(*stripes(320), seed=1, **cls.OPTIONS)

    def test_learns_to_tell_classes_apart(self, trained):
        pixels, labels = stripes(300, seed=1)
        assert (trained.classify_pixels(pixels) == labels).mean() > 0.95
        assert (trained.classes, trained.num_features) == (3, 4)
        chosen = trained.class_probabilities(pixels)[np.arange(300), labels]
        loss = trained.loss(labels, trained(pixels))
        assert float(loss) == pytest.approx(-np.log(chosen).mean(), rel=1e-3)  # cross-entropy
        decay = trained.optimizer._learning_rate.get_config()
        expected = {"initial_learning_rate": 1e-2, "decay_steps": 6 * 20, "alpha": 0.01}
        assert {name: decay[name] for name in expected} == expected

    def test_an_epoch_has_each_image_once_but_for_the_last_incomplete_batch(self):
        batches = _Batches(np.arange(11), 2 * np.arange(11), seed=0, batch_size=4)
        assert len(batches) == 2
        epochs = []
        for _ in range(2):
            pixels, labels = (np.stack(parts) for parts in zip(batches[0], batches[1], strict=True))
            assert pixels.shape == (2, 4) and len(np.unique(pixels)) == 8
            np.testing.assert_array_equal(labels, 2 * pixels)
            epochs.append(pixels)
            batches.on_epoch_end()
        assert (epochs[0] != epochs[1]).any()

    def test_features_have_unit_variance_over_the_training_images(self, trained):
        features = trained.features(stripes(320)[0])
        np.testing.assert_allclose(features.mean(axis=0), 0, atol=0.2)  # a moving average
        np.testing.assert_allclose(features.var(axis=0), 1, atol=0.25)

    def test_the_distance_is_sensitive_to_the_classes(self, trained):
        pixels, labels = stripes(400, seed=2)
        features = trained.features(pixels)
        one, another = features[labels == 0], features[labels == 1]
        between = frechet_distance(one, another)
        within = frechet_distance(one[::2], one[1::2])
        assert between > 10 * within

    def test_depends_on_the_seed_alone(self, trained):
        keras.utils.set_random_seed(3)
        again = train_feature_classifier(*stripes(320), seed=1, **self.OPTIONS)
        for weight, other in zip(trained.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-3)  # kernels' own order
        starts = [
            FeatureClassifier((8, 8, 1), 3, (6, 8), 4, seed=seed)
            for seed in (1, 1, 2, 3, 2**63 - 1)
        ]
        kernels = [start.convs[0].kernel.numpy() for start in starts]
        np.testing.assert_array_equal(kernels[0], kernels[1])
        assert all(np.abs(kernels[0] - other).max() > 0.1 for other in kernels[2:])

    def test_without_convolutions_it_sees_all_pixels(self):
        classifier = FeatureClassifier((2, 4, 3), 2, widths=(), num_features=5)
        assert classifier.project.kernel.shape == (2 * 4 * 3, 5)
        assert classifier.features(np.zeros((2, 2, 4, 3))).shape == (2, 5)

    def test_weights_round_trip_without_the_optimizer(self, trained, tmp_path):
        path = tmp_path / "x.weights.h5"
        de.save_weights(trained, path)
        restored = FeatureClassifier.from_config(trained.get_config())
        de.load_weights(restored, path)
        pixels, _ = stripes(5)
        np.testing.assert_array_equal(restored.features(pixels), trained.features(pixels))

    @pytest.mark.parametrize(
        "change, words",
        [
            ({"pixels": np.zeros((20, 8, 8))}, "`pixels` must have shape"),
            ({"pixels": np.full((20, 8, 8, 1), np.nan)}, "`pixels` must be finite"),
            ({"pixels": np.full((20, 8, 8, 1), 1.01)}, "`pixels` must be in .* 1.01 to 1.01"),
            ({"pixels": np.zeros((20, 8, 8, 1), np.uint8)}, "`pixels` must be floating-point"),
            ({"seed": None}, "`seed` must be an integer"),
            ({"widths": (10**5, 10**5)}, "not enough memory for a classifier of 90,"),
            ({"labels": np.zeros(19, int)}, "`labels` must be integers"),
            ({"labels": np.zeros((20, 40), int)}, "`labels` must be integers"),
            ({"labels": np.zeros(20)}, "`labels` must be integers"),
            ({"labels": np.full(20, -1)}, "`labels` must be integers"),
            ({"batch_size": 21}, "`batch_size` must be an integer from 1 to 20"),
            ({"batch_size": 0}, "`batch_size` must be an integer from 1 to 20"),
            ({"epochs": 0}, "`epochs` must be an integer of at least 1"),
            ({"learning_rate": float("nan")}, "`learning_rate` must be a finite number above 0"),
        ],
    )
    def test_errors(self, change, words):
        pixels, labels = stripes(20)
        arguments = {"pixels": pixels, "labels": labels, "batch_size": 4} | change
        with pytest.raises(ValueError, match=words):
            train_feature_classifier(**arguments)


@pytest.fixture(scope="module")
def fashion():
    """Bundled test images, 1,000, and their labels."""
    return de.load_images("fashion_mnist", "test", source="sample")


class TestShipped:
    @pytest.mark.parametrize("name", SHIPPED)
    def test_describes_itself(self, name):
        entry = read_manifest()[f"{name}/features"]
        classifier = de.load_feature_classifier(name)
        assert classifier.image_shape == (32, 32, 1) and classifier.padding == 2
        assert classifier.num_features == 64
        assert entry["errors"]["test_images"] == 10_000
        assert entry["budget"]["command"].startswith(f"python -m experiments.features {name} ")

    def test_accuracy_equals_the_manifest_s(self, fashion):
        pixels, labels = fashion
        classifier = de.load_feature_classifier("fashion_mnist")
        accuracy = (classifier.classify_pixels(pixels) == labels).mean()
        stated = read_manifest()["fashion_mnist/features"]["errors"]["test_accuracy"]
        assert stated > 0.9
        # Four standard errors of 1,000 images.
        assert accuracy == pytest.approx(stated, abs=4 * np.sqrt(stated * (1 - stated) / 1000))

    def test_features_have_about_unit_variance(self, fashion):
        variances = de.load_feature_classifier("fashion_mnist").features(fashion[0]).var(axis=0)
        assert 0.7 < variances.mean() < 1.3

    def test_worse_images_have_a_larger_distance(self, fashion):
        """Real from real, noisy, noisier, and another kind of clothes."""
        pixels, labels = fashion
        classifier = de.load_feature_classifier("fashion_mnist")
        real, held_out = pixels[::2], pixels[1::2]
        noise = np.random.default_rng(0).normal(size=held_out.shape)
        sets = [held_out, held_out + 0.05 * noise, held_out + 0.2 * noise]
        features = classifier.features(real)
        distances = [
            frechet_distance(features, classifier.features(images.clip(0, 1))) for images in sets
        ]
        assert distances == sorted(distances) and distances[2] > 3 * distances[0]
        shoes = classifier.features(pixels[labels == 7])
        assert frechet_distance(features, shoes) > 3 * distances[0]

    def test_generated_images_have_a_larger_distance_than_real_ones(self, fashion):
        """In two steps the generator's images are blurred; more steps cost the test more time."""
        pixels, _ = fashion
        classifier = de.load_feature_classifier("fashion_mnist")
        generated = de.load_generator("fashion_mnist", num_steps=2).sample(128, seed=0)
        real, others, generated = map(
            classifier.features, (pixels[:500], pixels[500:628], generated)
        )
        assert frechet_distance(real, generated) > 2 * frechet_distance(real, others)

    def test_missing_weights_are_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"No weights `cifar10/features`"):
            de.load_feature_classifier("cifar10", tmp_path)


def test_the_energy_distance_of_shifted_points_and_of_gaussians():
    """Two pairs of points by hand; N(0, 1) and N(m, 1): E|N(m, 2)| is known."""
    found = de.energy_distance([[0.0], [1.0]], [[3.0], [5.0]])
    assert found == pytest.approx(2 * (3 + 5 + 2 + 4) / 4 - 1 - 2)
    vectors = stats.norm.ppf((np.arange(1500) + 0.5) / 1500)[:, None]
    root = math.sqrt(2)
    mean = root * math.sqrt(2 / math.pi) * math.exp(-1 / 4) + math.erf(1 / 2)
    expected = 2 * mean - 2 * root * math.sqrt(2 / math.pi)
    assert de.energy_distance(vectors, 1 + vectors) == pytest.approx(expected, rel=0.01)
    drawn = np.random.default_rng(0).normal(size=(1500, 1))
    assert abs(de.energy_distance(vectors, drawn)) < 0.01


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (np.ones((3, 3)), r"same number of dimensions.*\(2, 2\) and \(3, 3\)"),
        (np.ones((1, 2)), r"`others` must have shape \(n, d\).*\(1, 2\)"),
        (np.full((2, 2), np.nan), "`others` must be finite"),
    ],
)
def test_vectors_without_an_energy_distance(others, words):
    with pytest.raises(ValueError, match=words):
        de.energy_distance(np.ones((2, 2)), others)
