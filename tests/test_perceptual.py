"""LPIPS: the published numbers, and the properties of a distance."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.metrics import perceptual
from ddim_embed.metrics.perceptual import PerceptualDistance, load_perceptual_distance, lpips
from ddim_embed.store import records

PORTRAITS = Path(__file__).parent / "golden" / "lpips_portraits.npz"


@pytest.fixture(scope="module")
def portraits():
    """Pixels of seven portraits, and the published LPIPS between each two of them."""
    with np.load(PORTRAITS) as stored:
        return np.float32(stored["images"] / 255), stored["distances"]


@pytest.fixture(scope="module")
def published():
    return load_perceptual_distance()


def noisy(pixels, scale, seed=0):
    noise = np.random.default_rng(seed).normal(size=pixels.shape).astype(np.float32)
    return np.clip(pixels + scale * noise, 0, 1)


class TestPublishedNumbers:
    def test_all_pairs_of_portraits(self, portraits):
        images, expected = portraits
        rows, columns = np.indices(expected.shape).reshape(2, -1)
        found = lpips(images[rows], images[columns])
        assert found.shape == (49,) and found.dtype == np.float32
        assert np.ptp(expected) > 0.3
        # The shipped weights are rounded to float16; the float32 ones are within 1e-7.
        np.testing.assert_allclose(found, expected.ravel(), atol=1e-4)

    def test_distances_of_coordinates_are_the_distances(self, portraits, published):
        images, _ = portraits
        wide = np.concatenate([images, images[:, :, :32]], axis=2)  # height and width differ
        for pixels in (images, wide):
            coordinates = published.coordinates(tf.constant(pixels)).numpy()
            assert coordinates.shape[0] == 7 and coordinates.ndim == 2
            squares = ((coordinates[:, None] - coordinates) ** 2).sum(axis=2)
            rows, columns = np.indices((7, 7)).reshape(2, -1)
            direct = lpips(pixels[rows], pixels[columns]).reshape(7, 7)
            np.testing.assert_allclose(squares, direct, atol=1e-5)

    def test_features_are_means_of_the_last_convolution(self, portraits, published):
        pixels = tf.constant(portraits[0][:, :, :48])
        found = published.features(pixels).numpy()
        assert found.shape == (7, 256)
        last = published._taps(pixels)[4].numpy()
        assert last.shape[1] != last.shape[2]
        np.testing.assert_allclose(found, last.mean(axis=2).mean(axis=1), rtol=1e-4, atol=1e-5)

    def test_heads_are_not_negative(self, published):
        """So that no difference makes images more alike, and a distance is never negative."""
        assert all(head.kernel.numpy().min() >= 0 for head in published.heads)

    def test_size_of_the_network(self, published):
        assert published.count_params() == 2_470_848
        assert not published.trainable_variables


def test_features_shorter_than_the_smallest_norm_are_not_normalised():
    vectors = tf.constant([[3e-6, 4e-6], [3e-11, 4e-11], [0, 0]])
    expected = [[0.6, 0.8], [0.003, 0.004], [0, 0]]  # the second is divided by 1e-8
    np.testing.assert_allclose(perceptual._unit_length(vectors), expected, rtol=1e-4)


class TestDistance:
    def test_is_zero_for_equals_and_symmetric(self, portraits):
        images, _ = portraits
        # A kernel may round the two of a pair differently; this is a square.
        np.testing.assert_allclose(lpips(images, images), 0, atol=1e-12)
        one, other = images[:3], images[3:6]
        np.testing.assert_allclose(lpips(one, other), lpips(other, one), atol=1e-6)  # float32

    def test_grows_with_noise(self, portraits):
        images, _ = portraits
        levels = [lpips(images[:3], noisy(images[:3], scale)) for scale in (0.02, 0.05, 0.1, 0.3)]
        assert (np.diff(levels, axis=0) > 0).all()
        assert (levels[0] > 0).all()

    @pytest.mark.parametrize("size", range(1, 6))
    def test_does_not_depend_on_the_batch(self, portraits, size):
        images, _ = portraits
        expected = lpips(images[:5], images[1:6])
        found = lpips(images[:5], images[1:6], batch_size=size)
        np.testing.assert_allclose(found, expected, atol=1e-6)  # float32
        np.testing.assert_allclose(
            lpips(images[:size], images[1:][:size]), expected[:size], 0, 1e-6
        )

    def test_of_no_images(self):
        none = np.zeros((0, 64, 64, 3))
        assert lpips(none, none).shape == (0,)

    def test_clips_pixels(self, portraits):
        images = portraits[0][:2]
        beyond = noisy(images, 0.3).clip(0, 1) * 1.8 - 0.4
        expected = lpips(images, beyond.clip(0, 1))
        np.testing.assert_allclose(lpips(images, beyond), expected, atol=1e-6)

    def test_the_model_does_not_clip(self, portraits, published):
        """A loss through a clip would have no gradient where pixels are saturated."""
        images = tf.constant(portraits[0][:1])
        with tf.GradientTape() as tape:
            tape.watch(beyond := images * 0 + 1.5)
            distance = published([beyond, images])
        assert np.abs(tape.gradient(distance, beyond)).max() > 0

    def test_grey_is_repeated_over_three_channels(self, portraits):
        grey = portraits[0][:4, ..., :1]
        colour = np.repeat(grey, 3, axis=-1)
        np.testing.assert_allclose(
            lpips(grey[:2], grey[2:]), lpips(colour[:2], colour[2:]), atol=1e-6
        )

    def test_padding_does_not_count(self):
        pixels, _ = de.load_images("fashion_mnist", "test", source="sample", limit=6)
        framed = pixels.copy()
        framed[:, :2] = framed[:, -2:] = framed[:, :, :2] = framed[:, :, -2:] = 0.7
        assert (lpips(pixels, framed) > 0.01).all()
        np.testing.assert_allclose(lpips(pixels, framed, padding=2), 0, atol=1e-12)
        inside = pixels[:, 2:-2, 2:-2]
        np.testing.assert_allclose(
            lpips(pixels[:3], framed[3:], padding=2), lpips(inside[:3], inside[3:]), atol=1e-6
        )

    @pytest.mark.parametrize("size, larger", [((28, 28), (64, 64)), ((40, 60), (64, 96))])
    def test_small_images_are_upsampled_bilinearly(self, size, larger):
        pixels = noisy(make_pixels(4, (*size, 3)), 0.1)
        upsampled = tf.image.resize(pixels, larger, "bilinear").numpy()
        expected = lpips(upsampled[:2], upsampled[2:])
        assert expected.min() > 0.01
        np.testing.assert_allclose(lpips(pixels[:2], pixels[2:]), expected, atol=1e-6)

    def test_large_images_are_not_resized(self, published):
        pixels = noisy(make_pixels(2, (80, 64, 3)), 0.1)
        exact = PerceptualDistance(min_size=32)
        exact.set_weights(published.get_weights())
        inputs = [pixels[:1], pixels[1:]]
        np.testing.assert_allclose(published(inputs), exact(inputs), atol=1e-6)
        small = [images[:, :40, :40] for images in inputs]
        assert abs(float(published(small)[0] - exact(small)[0])) > 1e-3


class TestGradient:
    def test_is_that_of_the_distance(self, portraits, published):
        """Along the gradient itself, by finite differences, for either argument."""
        images, _ = portraits
        for moved in (0, 1):
            pair = [tf.constant(images[:2]), tf.constant(images[3:5])]
            with tf.GradientTape() as tape:
                tape.watch(pair[moved])
                distance = tf.reduce_sum(published(pair))
            gradient = tape.gradient(distance, pair[moved]).numpy()
            length = np.linalg.norm(gradient)
            step = 0.02 * gradient / length
            ends = []
            for sign in (1, -1):
                there = [*pair]
                there[moved] = pair[moved] + sign * step
                ends.append(tf.reduce_sum(published(there)).numpy())
            # ReLU and max pools have kinks, which a step of this size crosses.
            np.testing.assert_allclose((ends[0] - ends[1]) / 0.04, length, rtol=0.03)

    def test_is_finite_where_features_are_zero(self, published):
        """Random weights: whole positions without a feature; of the published ones, flat images."""
        dead = set_random_weights(PerceptualDistance())
        for conv in dead.convs:
            conv.bias.assign(conv.bias - 2.0)
        flat = tf.ones((1, 64, 64, 3))
        for model in (dead, published):
            with tf.GradientTape() as tape:
                tape.watch(flat)
                distance = model([flat, tf.constant(make_pixels(1, (64, 64, 3)))])
            assert np.isfinite(distance).all()
            assert np.isfinite(tape.gradient(distance, flat)).all()

    def test_descent_finds_the_image(self, portraits, published):
        """In a compiled step, as methods use it, with the number of images unknown."""
        target = tf.constant(portraits[0][:2])
        pixels = tf.Variable(noisy(portraits[0][:2], 0.2))
        shape = tf.TensorSpec((None, 64, 64, 3))

        @tf.function(input_signature=[shape, shape])
        def value_and_gradient(pixels, other):
            with tf.GradientTape() as tape:
                tape.watch(pixels)
                distance = published([pixels, other])
            return distance, tape.gradient(distance, pixels)

        first, _ = value_and_gradient(pixels, target)
        optimizer = keras.optimizers.Adam(0.01)
        for _ in range(12):
            _, gradient = value_and_gradient(pixels, target)
            optimizer.apply([gradient], [pixels])
        last, _ = value_and_gradient(pixels, target)
        np.testing.assert_array_equal(first.shape, (2,))
        assert (last.numpy() < 0.6 * first.numpy()).all()


class TestErrors:
    @pytest.mark.parametrize(
        "shape, other",
        [
            ((2, 64, 64, 3), (1, 64, 64, 3)),
            ((2, 64, 64, 3), (2, 64, 64, 1)),
            ((2, 64, 64, 3), (2, 64, 32, 3)),
            ((64, 64, 3), (64, 64, 3)),
            ((2, 64, 64, 2), (2, 64, 64, 2)),
        ],
    )
    def test_shapes(self, published, shape, other):
        with pytest.raises(ValueError, match="same shape"):
            lpips(np.zeros(shape), np.zeros(other))
        with pytest.raises(ValueError, match="same shape"):
            published([np.zeros(shape), np.zeros(other)])

    def test_unknown_height(self, published):
        @tf.function(input_signature=[tf.TensorSpec((1, None, 64, 3))])
        def distance(images):
            return published([images, images])

        with pytest.raises(ValueError, match="known and positive"):
            distance(tf.zeros((1, 64, 64, 3)))

    def test_its_options_are_kept(self):
        config = PerceptualDistance(min_size=48).get_config()
        assert PerceptualDistance.from_config(config).min_size == 48

    def test_output_shape(self, published):
        images = keras.Input((64, 64, 3))
        assert published([images, images]).shape == (None,)

    def test_padding_batch_and_smallest_size(self):
        images = np.zeros((1, 12, 14, 3))
        with pytest.raises(ValueError, match=r"`padding` must be .* from 0 to 5. Received: 6"):
            lpips(images, images, padding=6)
        with pytest.raises(
            ValueError, match=r"`batch_size` must be an integer of at least 1. Received: 0"
        ):
            lpips(images, images, batch_size=0)
        with pytest.raises(
            ValueError, match=r"`min_size` must be an integer of at least 32. Received: 8"
        ):
            PerceptualDistance(min_size=8)


class TestWeights:
    def test_are_loaded_once(self, monkeypatch):
        calls, load = [], perceptual.load_weights
        monkeypatch.setattr(
            perceptual, "load_weights", lambda *given: calls.append(given) or load(*given)
        )
        perceptual._load_once.cache_clear()
        images = np.zeros((1, 64, 64, 3))
        for _ in range(3):
            lpips(images, images)
        assert len(calls) == 1

    def test_changed_weights_are_loaded_again(self, tmp_path):
        description = {"config": {"min_size": 64}, "data": "none", "budget": {}, "errors": {}}
        images, distances = make_pixels(2, (64, 64, 3)), []
        for seed in (0, 1):
            model = set_random_weights(PerceptualDistance(), seed)
            de.record_weights(tmp_path, "lpips", "alexnet", model, **description)
            distances.append(lpips(images[:1], images[1:], root=tmp_path)[0])
        assert distances[0] != distances[1]

    def test_shipped_weights_are_the_fallback(self, tmp_path):
        images = make_pixels(2, (64, 64, 3))
        expected = lpips(images[:1], images[1:])
        np.testing.assert_array_equal(lpips(images[:1], images[1:], root=tmp_path), expected)

    def test_a_missing_file_names_the_command(self, tmp_path, monkeypatch):
        monkeypatch.setattr(records, "_PACKAGE", tmp_path / "package")
        images = np.zeros((1, 64, 64, 3))
        with pytest.raises(FileNotFoundError, match=r"No weights `lpips/alexnet`"):
            lpips(images, images, root=tmp_path)

    def test_another_file_is_refused(self, tmp_path):
        config = {"min_size": 64}
        description = {"config": config, "data": "none", "budget": {}, "errors": {}}
        model = set_random_weights(PerceptualDistance())
        path, _ = de.record_weights(tmp_path, "lpips", "alexnet", model, **description)
        images = make_pixels(2, (64, 64, 3))
        expected = model([images[:1], images[1:]])
        found = lpips(images[:1], images[1:], root=tmp_path)
        np.testing.assert_allclose(found, expected, rtol=0.05)  # float16
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match="checksum"):
            load_perceptual_distance(tmp_path)
