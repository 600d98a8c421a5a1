"""The driver hands each batch the generator of its own images."""

import dataclasses
import io

import numpy as np
import pytest
from conftest import make_generator, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.methods import driver
from ddim_embed.methods.cache import embed_in_chunks


class Sliced:
    """A generator whose condition is the index of each image; it records what `take` returns.

    Everything but `take` and `condition` is that of a tiny generator.
    """

    def __init__(self, generator, condition, taken):
        self.condition, self.taken, self._generator = np.asarray(condition), taken, generator

    def __getattr__(self, name):
        return getattr(self._generator, name)

    def take(self, images):
        taken = Sliced(self._generator, self.condition[images], self.taken)
        self.taken.append(taken.condition.tolist())
        return taken

    def check_pixels(self, pixels):
        assert len(pixels) == len(self.condition)
        return self._generator.check_pixels(pixels)

    def decode(self, latents, precision=None):
        assert len(latents) == len(self.condition), "every decode has one condition per image"
        return self._generator.decode(latents, precision)


@pytest.fixture
def sliced(tiny_generator):
    return Sliced(tiny_generator, range(5), [])


@dataclasses.dataclass(frozen=True)
class Asking(de.Method):
    """Records the conditions of the images of each batch."""

    seen: list = dataclasses.field(default_factory=list, compare=False)
    refines = True
    takes_mask = True

    def solve(self, generator, pixels, latents, tick, held=None):
        assert len(generator.condition) == len(pixels) == len(latents)
        self.seen.append(generator.condition.tolist())
        return de.Solution(latents, evaluations=0)


def test_each_batch_has_the_condition_of_its_images(sliced, tiny_pixels):
    method = Asking(batch_size=2)
    method(sliced, tiny_pixels)
    assert method.seen == [[0, 1], [2, 3], [4]] == sliced.taken


def test_seconds_are_those_between_the_start_and_the_end_of_each_batch(
    sliced, tiny_pixels, monkeypatch
):
    clock = iter([100, 101, 110, 112, 120, 124])  # three batches
    monkeypatch.setattr(driver.time, "perf_counter", lambda: next(clock))
    method = Asking(batch_size=2)
    assert driver.run(method, sliced, tiny_pixels, seed=0).seconds == 1 + 2 + 4


def test_each_solver_decodes_with_the_condition_of_its_images(sliced, tiny_pixels):
    for method in (de.EDICT(batch_size=2), de.DDIMInversion(batch_size=2), de.Descent(1)):
        sliced.taken.clear()
        method(sliced, tiny_pixels)
        assert np.concatenate(sliced.taken).tolist() == [0, 1, 2, 3, 4]


def test_every_start_has_the_condition_of_its_image(sliced, tiny_pixels):
    de.Descent(num_steps=1, starts=2, batch_size=4)(sliced, tiny_pixels)
    repeated = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert sliced.taken == [repeated, repeated[:4], repeated[4:8], repeated[8:]]


@pytest.mark.parametrize("masked", [False, True])
def test_both_methods_of_a_hybrid_have_the_conditions(sliced, tiny_pixels, masked):
    start = de.Network(embedder=set_random_weights(de.build_embedder("conv1")), batch_size=3)
    finish = Asking(batch_size=2)
    mask = np.zeros((5, 16, 16), bool)
    mask[:, :4] = True
    de.Hybrid(start, finish)(sliced, tiny_pixels, mask=mask if masked else None)
    assert sliced.taken == [[0, 1, 2], [3, 4], [0, 1], [2, 3], [4]]
    assert finish.seen == sliced.taken[2:]


def test_each_chunk_has_the_condition_of_its_images(sliced, tiny_pixels):
    method, counts = Asking(), []
    embed_in_chunks(sliced, tiny_pixels, method, chunk_size=3, callback=counts.append)
    assert method.seen == [[0, 1, 2], [3, 4]] and counts == [3, 2]


def test_all_methods_take_the_mask_in_one_way(tiny_generator, tiny_pixels):
    """None without a mask, by position, whatever the method."""
    seen = []

    class Free(Asking):
        def solve(self, *arguments):
            seen.append(arguments[4])
            return de.Solution(arguments[2], evaluations=0)

    Free()(tiny_generator, tiny_pixels)
    mask = np.zeros((5, 16, 16), bool)
    mask[2, 3:5] = True
    Free()(tiny_generator, tiny_pixels, mask=mask)
    assert seen[0] is None
    np.testing.assert_array_equal(seen[1], 1.0 - mask[..., None])


def test_a_method_that_does_not_refine_gets_no_latents(tiny_generator, tiny_pixels):
    seen = []

    class Plain(de.Method):
        def solve(self, generator, pixels, latents, tick, held=None):
            seen.append((latents, held))
            return de.Solution(np.zeros_like(pixels), evaluations=0)

    Plain()(tiny_generator, tiny_pixels)
    assert seen == [(None, None)]


def test_progress_is_complete_where_a_method_stops_early(tiny_generator, tiny_pixels, monkeypatch):
    bars = []

    def bar(**options):
        bars.append(original(**options | {"disable": False, "file": io.StringIO()}))
        return bars[-1]

    original = driver.tqdm
    monkeypatch.setattr(driver, "tqdm", bar)
    de.LBFGS(num_steps=30, patience=1, batch_size=2)(tiny_generator, tiny_pixels)
    assert [bar.n for bar in bars] == [5 * 30]


class TestAnalysis:
    """Where latents are more than images, the condition is repeated with them."""

    def test_interpolation(self, tiny_generator):
        sliced = Sliced(tiny_generator, [7, 8], [])
        first, second = tiny_generator.latents(2, 0), tiny_generator.latents(2, 1)
        for kind in ("spherical", "pixels"):
            strip = de.interpolate(sliced, first, second, 3, kind)
            expected = de.interpolate(tiny_generator, first, second, 3, kind)
            np.testing.assert_array_equal(strip, expected)
        assert [7, 7, 7, 8, 8, 8] in sliced.taken

    def test_strips(self, tiny_generator):
        sliced = Sliced(tiny_generator, [7, 8], [])
        direction = np.ones((16, 16, 1))
        de.edit_strip(sliced, tiny_generator.latents(2), direction, [-1, 0, 1])
        assert sliced.taken == [[7, 7, 7, 8, 8, 8]]

    def test_one_point(self, tiny_generator):
        sliced = Sliced(tiny_generator, [7], [])
        point = tiny_generator.latents(1)[0]
        directions = np.eye(256)[:3].reshape(3, 16, 16, 1)
        de.clouds.decoded_changes(sliced, point, directions)
        assert sliced.taken == [[7] * 6]

    def test_singular_vectors(self):
        generator = make_generator(image_shape=(8, 8, 1), num_steps=1)
        sliced, point = Sliced(generator, [7], []), generator.latents(1)[0]
        own = de.singular_vectors(sliced, point, rank=3, oversampling=2, batch_size=4)
        plain = de.singular_vectors(generator, point, rank=3, oversampling=2, batch_size=4)
        assert sliced.taken == [[7] * 4]
        np.testing.assert_array_equal(own.values, plain.values)

    def test_denoising_errors(self, tiny_generator, monkeypatch):
        monkeypatch.setattr("ddim_embed.analysis.denoising.DECODE_BATCH", 2)
        sliced = Sliced(tiny_generator, [5, 6, 7], [])
        found = de.denoising_errors(sliced, make_pixels(3, (16, 16, 1)))
        assert sliced.taken == [[5, 6], [7]] * 3 and len(found.mse) == 3
