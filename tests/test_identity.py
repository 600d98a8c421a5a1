"""The descriptor of faces: the published numbers, and what it must not depend on."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.metrics.identity import BLOCKS, FaceIdentity
from ddim_embed.store import records

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def published():
    return de.load_face_identity()


@pytest.fixture(scope="module")
def golden():
    """Pixels of seven portraits; their descriptors and distances by another implementation."""
    with (
        np.load(GOLDEN / "lpips_portraits.npz") as portraits,
        np.load(GOLDEN / "identity_portraits.npz") as stored,
    ):
        assert portraits["names"].tolist() == stored["names"].tolist()
        pixels = np.float32(portraits["images"] / 255)
        return pixels, stored["descriptors"], stored["distances"]


class TestPublishedNumbers:
    def test_descriptors_of_portraits(self, published, golden):
        pixels, descriptors, _ = golden
        found = published.descriptors(pixels)
        assert found.shape == (7, 128) and found.dtype == np.float32
        assert descriptors.std() > 0.08
        # The shipped weights are rounded to float16; the float32 ones are within 4e-7.
        np.testing.assert_allclose(found, descriptors, atol=4e-4)

    def test_distances_of_portraits(self, published, golden):
        pixels, _, distances = golden
        rows, columns = np.triu_indices(7, 1)
        found = published.distance(pixels[rows], pixels[columns])
        np.testing.assert_allclose(found, distances[rows, columns], atol=4e-4)  # float16
        # Antonello, Caravaggio, the Mona Lisa, Napoleon three times, Primavera.
        same = np.isin(rows, (3, 4, 5)) & np.isin(columns, (3, 4, 5))
        assert found[same].max() < 0.35 < 0.4 < found[~same].min()

    def test_size_of_the_network(self, published):
        assert len(published.convs) == 29 == 1 + 2 * len(BLOCKS)
        assert published.count_params() == 5_607_488
        assert not published.trainable_variables


class TestDescriptor:
    def test_distance_is_that_of_the_descriptors(self, published, golden):
        pixels, descriptors, _ = golden
        found = published.distance(pixels[:2], pixels[5:])
        expected = np.linalg.norm(descriptors[:2] - descriptors[5:], axis=1)
        np.testing.assert_allclose(found, expected, atol=4e-4)
        assert (published.distance(pixels[:1], pixels[:1]) == 0).all()

    def test_does_not_depend_on_the_batch(self, published, golden):
        pixels = golden[0][:3]
        expected = published.descriptors(pixels)
        np.testing.assert_allclose(published.descriptors(pixels, 2), expected, atol=1e-6)
        np.testing.assert_allclose(published.descriptors(pixels[1:2]), expected[1:2], atol=1e-6)
        assert published.descriptors(pixels[:0]).shape == (0, 128)

    def test_clips_pixels_and_the_model_does_not(self, published, golden):
        beyond = (golden[0][:1] - 0.5) * 1.4 + 0.5
        expected = published.descriptors(beyond.clip(0, 1))
        np.testing.assert_array_equal(published.descriptors(beyond), expected)
        assert np.abs(published(beyond) - expected).max() > 1e-3

    def test_grey_is_repeated_over_three_channels(self, published, golden):
        grey = golden[0][:1, ..., :1]
        expected = published.descriptors(np.repeat(grey, 3, axis=-1))
        np.testing.assert_allclose(published.descriptors(grey), expected, atol=1e-6)

    def test_images_are_resized_bilinearly(self, published, golden):
        expected = published.descriptors(golden[0][:1])
        resized = tf.image.resize(golden[0][:1], (150, 150), "bilinear").numpy()
        np.testing.assert_allclose(published.descriptors(resized), expected, atol=1e-6)

    def test_its_options_and_output_shape(self, published):
        config = FaceIdentity(size=110).get_config()
        assert FaceIdentity.from_config(config).size == 110
        assert published(keras.Input((64, 64, 3))).shape == (None, 128)

    def test_the_smallest_size(self):
        pixels = make_pixels(1, (16, 16, 3))
        small = set_random_weights(FaceIdentity(size=103))
        assert np.isfinite(small(pixels)).all() and np.ptp(small(pixels)) > 0
        with pytest.raises(ValueError, match="`size` must be an integer of at least 103"):
            FaceIdentity(size=102)


class TestErrors:
    @pytest.mark.parametrize("shape", [(64, 64, 3), (2, 64, 64, 2), (2, 0, 64, 3)])
    def test_shapes(self, published, shape):
        with pytest.raises(ValueError, match=r"shape \(n, height, width"):
            published(np.zeros(shape, np.float32))
        with pytest.raises(ValueError, match=r"shape \(n, height, width|`padding`"):
            published.descriptors(np.zeros(shape))

    def test_values(self, published):
        pixels = np.zeros((2, 64, 64, 3))
        with pytest.raises(ValueError, match="divide uint8 by 255"):
            published.descriptors(pixels.astype(np.uint8))
        with pytest.raises(ValueError, match="divide uint8 by 255"):
            published(pixels.astype(np.uint8))
        with pytest.raises(ValueError, match=r"`pixels` must be in \[0, 1\]"):
            published.distance(pixels + 3, pixels)
        with pytest.raises(ValueError, match=r"`other` must be in \[0, 1\]"):
            published.distance(pixels, pixels - 1)
        with pytest.raises(ValueError, match="the same shape"):
            published.distance(pixels, pixels[:1])
        with pytest.raises(ValueError, match="`batch_size` must be an integer of at least 1"):
            published.descriptors(pixels, batch_size=0)


class TestWeights:
    def test_where_a_folder_has_none_the_shipped_ones_are_taken(self, tmp_path, monkeypatch):
        """With the size of their record."""
        pixels = make_pixels(1, (64, 64, 3))
        shipped = set_random_weights(FaceIdentity(size=110))
        about = {"config": {"size": 110}, "data": "none", "budget": {}, "errors": {}}
        de.record_weights(tmp_path, "identity", "resnet29", shipped, half=False, **about)
        monkeypatch.setattr(records, "_shipped_root", lambda: tmp_path)
        found = de.load_face_identity(tmp_path / "none")
        assert found.size == 110
        np.testing.assert_allclose(found(pixels), shipped(pixels), rtol=1e-5)

    def test_a_missing_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr(records, "_PACKAGE", tmp_path / "package")
        with pytest.raises(FileNotFoundError, match="No weights `identity/resnet29`"):
            de.load_face_identity(tmp_path)
