"""Figures are made of the right pieces, and nothing is drawn on anybody's screen."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from ddim_embed.figures import displayable, image_grid


def images(n, channels=1, seed=0, shape=(6, 5)):
    return np.random.default_rng(seed).uniform(size=(n, *shape, channels)).astype(np.float32)


def test_one_axes_per_image():
    figure = image_grid([images(4), images(2, 3)], cell=0.5)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 6
    np.testing.assert_allclose(figure.get_size_inches(), (2, 1))
    shown = [axes.images[0].get_array() for axes in figure.axes]
    np.testing.assert_array_equal(shown[1], images(4)[1, :, :, 0])
    np.testing.assert_array_equal(shown[5], images(2, 3)[1])
    assert all(axes.images[0].get_clim() == (0, 1) for axes in figure.axes[:4])


def test_rows_go_down_and_images_to_the_right():
    first, second, below = (axes.get_position() for axes in image_grid([images(2), images(1)]).axes)
    assert first.y0 == pytest.approx(second.y0) and first.x1 <= second.x0
    assert below.y1 <= first.y0 and below.x0 == pytest.approx(first.x0)


def test_labels_stand_beside_their_rows():
    figure = image_grid([images(2), images(2)], labels=["pixels", "latents"])
    assert [text.get_text() for text in figure.texts] == ["pixels", "latents"]
    assert figure.texts[0].get_position()[1] > figure.texts[1].get_position()[1]
    left = min(axes.get_position().x0 for axes in figure.axes)
    assert all(text.get_position()[0] < left for text in figure.texts)


def test_is_saved(tmp_path):
    image_grid([images(2)], labels=["x"]).savefig(tmp_path / "grid.png")
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_pixels_are_clipped_and_latents_scaled():
    near = np.linspace(-0.1, 1.1, 10)
    near[3] = 7  # one pixel that strays far does not make an image of latents
    near = near.reshape(1, 5, 2, 1)
    np.testing.assert_allclose(displayable(near), np.clip(near, 0, 1))
    latents = np.random.default_rng(0).normal(5, 2, (3, 8, 8, 1))
    shown = displayable(latents)
    assert shown.min() >= 0 and shown.max() <= 1
    inside = np.abs(latents - latents.mean()) < 2.9 * latents.std()
    expected = 0.5 + (latents - latents.mean()) / latents.std() / 6
    np.testing.assert_allclose(shown[inside], expected[inside])
    np.testing.assert_array_equal(displayable(np.full((1, 4, 4, 1), 2.0)), 0.5)


@pytest.mark.parametrize(
    "rows, labels, words",
    [
        ([], None, "at least one array"),
        ([np.zeros((6, 5, 1))], None, r"Received shape: \(6, 5, 1\)"),
        ([np.zeros((1, 6, 5, 2))], None, "1 or 3"),
        ([np.zeros((0, 6, 5, 1))], None, "at least 1"),
        ([np.zeros((1, 6, 5, 1))], ["a", "b"], "a string for each of 1 rows"),
        ([np.zeros((1, 6, 5, 1), np.uint8)], None, "divide uint8 by 255"),
    ],
)
def test_what_is_no_grid(rows, labels, words):
    with pytest.raises(ValueError, match=words):
        image_grid(rows, labels)
