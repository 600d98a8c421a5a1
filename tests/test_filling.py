"""The filling of a hole is the smoothest one."""

import numpy as np
import pytest

from ddim_embed.methods.filling import fill


def roughness(images):
    return sum(np.square(np.diff(images.astype(np.float64), axis=axis)).sum() for axis in (1, 2))


def make_hole(seed, size=12):
    """Random pixels, and a mask that holds half of them."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(size=(2, size, size, 3)).astype(np.float32)
    return pixels, rng.uniform(size=(2, size, size)) < 0.5


def test_a_plane_is_continued_as_a_plane():
    """Where the hole has held pixels all around: at an edge the continuation is level."""
    rows, columns = np.meshgrid(np.linspace(0, 0.5, 9), np.linspace(0, 0.4, 7), indexing="ij")
    plane = (rows + columns)[None, ..., None]
    held = np.ones((1, 9, 7), bool)
    held[:, 2:7, 1:5] = False
    filled = fill(np.where(held[..., None], plane, 9.0), held)
    np.testing.assert_allclose(filled, plane, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_none_is_smoother(seed):
    pixels, held = make_hole(seed)
    filled = fill(pixels, held)
    assert filled.dtype == pixels.dtype
    np.testing.assert_array_equal(filled[held], pixels[held])
    assert pixels[held].min() <= filled.min() and filled.max() <= pixels[held].max()
    least = roughness(filled)
    for other in range(5):
        change = np.random.default_rng(other).normal(size=pixels.shape) * 1e-2
        assert roughness(filled + change * ~held[..., None]) > least


def test_free_pixels_have_no_influence():
    pixels, held = make_hole(0)
    other = np.where(held[..., None], pixels, 1 - pixels)
    np.testing.assert_array_equal(fill(pixels, held), fill(other, held))


def test_one_held_pixel_fills_the_image():
    pixels, held = np.full((1, 4, 5, 1), 0.25, np.float32), np.zeros((1, 4, 5), bool)
    pixels[0, 1, 2], held[0, 1, 2] = 0.75, True
    np.testing.assert_allclose(fill(pixels, held), 0.75, rtol=1e-6)


def test_images_without_free_pixels_are_unchanged():
    pixels, _ = make_hole(0)
    np.testing.assert_array_equal(fill(pixels, np.ones((2, 12, 12), bool)), pixels)
