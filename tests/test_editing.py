"""Interpolation, path length, and projection with and without a mask."""

import dataclasses

import numpy as np
import pytest
from conftest import make_generator, make_pixels, set_random_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from test_solvers import Linear

import ddim_embed as de
from ddim_embed.analysis import interpolation
from ddim_embed.methods.filling import fill

METHODS = [
    de.Descent(num_steps=4),
    de.Descent(num_steps=2, starts=2),
    de.LBFGS(num_steps=5),
    de.GaussNewton(num_steps=3, cg_steps=2),
]
each_method = pytest.mark.parametrize("method", METHODS, ids=repr)


def gaussian(n, shape=(3, 4, 1), seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def norms(latents):
    return np.linalg.norm(np.reshape(latents, (len(latents), -1)).astype(np.float64), axis=1)


def angles(latents, other):
    """In radians, by the law of cosines in float64."""
    first, second = (np.reshape(a, (len(a), -1)).astype(np.float64) for a in (latents, other))
    cosines = np.sum(first * second, axis=1) / norms(latents) / norms(other)
    return np.arccos(np.clip(cosines, -1, 1))


class TestLerp:
    @given(st.integers(0, 1000), st.floats(-1, 2), st.integers(1, 4))
    @settings(max_examples=25, deadline=None)
    def test_is_the_formula(self, seed, fraction, n):
        first, second = gaussian(n, seed=seed), gaussian(n, seed=seed + 1)
        moved = de.lerp(first, second, fraction)
        assert moved.dtype == np.float32
        np.testing.assert_allclose(moved, (1 - fraction) * first + fraction * second, atol=1e-6)

    def test_a_fraction_for_each_image(self):
        first, second = gaussian(3), gaussian(3, seed=1)
        moved = de.lerp(first, second, [0, 1, 0.5])
        np.testing.assert_array_equal(moved[:2], [first[0], second[1]])
        np.testing.assert_allclose(moved[2], (first[2] + second[2]) / 2, rtol=1e-6)


class TestSlerp:
    @given(st.integers(0, 1000), st.floats(0, 1), st.floats(0.1, 10))
    @settings(max_examples=25, deadline=None)
    def test_keeps_the_norm_and_turns_evenly(self, seed, fraction, length):
        first, second = (
            length * a / norms(a).reshape(-1, 1, 1, 1)
            for a in (gaussian(2, seed=seed), gaussian(2, seed=seed + 1))
        )
        moved = de.slerp(first, second, fraction)
        np.testing.assert_allclose(norms(moved), length, rtol=1e-6)
        np.testing.assert_allclose(
            angles(first, moved), fraction * angles(first, second), rtol=1e-5, atol=1e-3
        )
        np.testing.assert_allclose(
            angles(moved, second), (1 - fraction) * angles(first, second), rtol=1e-5, atol=1e-3
        )

    @pytest.mark.parametrize("turn", [0.0, 1e-30, 1e-7, 1e-3, 1.0])
    def test_reaches_its_ends_however_close_they_are(self, turn):
        first = gaussian(2)
        second = (3 * (first + np.float32(turn) * gaussian(2, seed=1))).astype(np.float32)
        np.testing.assert_array_equal(de.slerp(first, second, 0), first)
        np.testing.assert_array_equal(de.slerp(first, second, 1), second)
        middle = de.slerp(first, second, 0.5)
        if turn < 1e-2:
            np.testing.assert_allclose(middle, (first + second) / 2, rtol=1e-3, atol=1e-5)

    def test_lengths_go_from_one_to_the_other(self):
        """At a right angle the weights are cosine and sine."""
        first, second = np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32)
        first[0, 0], second[0, 1] = 2, 5
        moved = de.slerp(first, second, 1 / 3)
        np.testing.assert_allclose(moved, [[2 * np.cos(np.pi / 6), 5 * np.sin(np.pi / 6)]], 1e-6)

    def test_opposite_or_zero_latents_raise(self):
        first = gaussian(2)
        opposite = np.stack([first[0], -first[1]])
        with pytest.raises(ValueError, match=r"opposite.*\[1\]"):
            de.slerp(first, opposite, 0.5)
        with pytest.raises(ValueError, match="no direction"):
            de.slerp(first, np.zeros_like(first), 0.5)


@pytest.mark.parametrize("move", [de.lerp, de.slerp])
def test_invalid_pairs_raise(move):
    first = gaussian(2)
    with pytest.raises(ValueError, match=r"same shape.*\(2, 3, 4, 1\) and \(3, 3, 4, 1\)"):
        move(first, gaussian(3), 0.5)
    with pytest.raises(ValueError, match=r"each of 2 images.*\(3,\)"):
        move(first, first, [0, 0.5, 1])
    with pytest.raises(ValueError, match="`other` must be finite"):
        move(first, np.full_like(first, np.nan), 0.5)
    with pytest.raises(ValueError, match="`fraction` must be finite"):
        move(first, first, np.inf)


class TestInterpolate:
    @pytest.mark.parametrize("kind", interpolation.KINDS)
    def test_decodes_interpolated_latents(self, tiny_generator, kind):
        first, second = tiny_generator.latents(2, 0), tiny_generator.latents(2, 1)
        strip = de.interpolate(tiny_generator, first, second, 3, kind)
        assert strip.shape == (2, 3, 16, 16, 1)
        decode = tiny_generator.decode
        middle = {
            "spherical": lambda: decode(de.slerp(first, second, 0.5)),
            "linear": lambda: decode((first + second) / 2),
            "pixels": lambda: (decode(first) + decode(second)) / 2,
        }[kind]()
        for column, expected in enumerate((decode(first), middle, decode(second))):
            np.testing.assert_allclose(strip[:, column], expected, atol=1e-4)  # float32

    def test_errors(self, tiny_generator):
        latents = tiny_generator.latents(2)
        with pytest.raises(ValueError, match=r"at least 2. Received: 1"):
            de.interpolate(tiny_generator, latents, latents, 1)
        with pytest.raises(ValueError, match=r"'spherical', 'linear', 'pixels'.*'cubic'"):
            de.interpolate(tiny_generator, latents, latents, 3, "cubic")
        with pytest.raises(ValueError, match="same shape"):
            de.interpolate(tiny_generator, latents, tiny_generator.latents(3), 3)
        with pytest.raises(ValueError, match=r"Received shape: \(2, 8, 8, 1\)"):
            de.interpolate(tiny_generator, latents[:, :8, :8], latents[:, :8, :8], 3)


class TestPathLength:
    """Where decode is linear and the distance a square, the speed follows from the ends."""

    @staticmethod
    def square(pixels, other):
        return np.mean((pixels - other).astype(np.float64) ** 2, axis=(1, 2, 3))

    def test_of_a_straight_path(self):
        generator = Linear()
        first, second = generator.latents(2, 0), generator.latents(2, 1)
        expected = self.square(*(generator.decode(end).numpy() for end in (first, second)))
        for kind in ("linear", "pixels"):
            found = de.path_length(
                generator, first, second, kind, 5, epsilon=0.1, distance=self.square
            )
            np.testing.assert_allclose(found.each, expected, rtol=1e-4)  # float32
            assert found.mean == pytest.approx(expected.mean(), rel=1e-4)
            interval = 1.96 * expected.std(ddof=1) / np.sqrt(2)
            assert found.interval == pytest.approx(interval, rel=1e-3)

    def test_interval_of_one_path_comes_from_its_places(self):
        """An even path is as fast everywhere; a circle in unequal pixels is not."""
        generator = Linear()
        first, second = generator.latents(1, 0), generator.latents(1, 1)
        straight, round_ = (
            de.path_length(generator, first, second, kind, 8, epsilon=0.1, distance=self.square)
            for kind in ("linear", "spherical")
        )
        assert straight.interval < 1e-3 * straight.mean
        assert round_.interval > 1e-3 * round_.mean

    def test_default_distance_is_lpips(self, tiny_generator):
        first, second = tiny_generator.latents(1, 0), tiny_generator.latents(1, 1)
        found = de.path_length(tiny_generator, first, second, "linear", 2, epsilon=0.3, seed=4)
        again = de.path_length(tiny_generator, first, second, "linear", 2, epsilon=0.3, seed=4)
        assert found.mean == again.mean > 0
        place = np.random.default_rng(4).uniform(size=2)
        ends = [
            np.concatenate([tiny_generator.decode(de.lerp(first, second, p)) for p in places])
            for places in (place, place + 0.3)
        ]
        np.testing.assert_allclose(
            found.mean, de.lpips(*np.clip(ends, 0, 1)).mean() / 0.09, rtol=1e-3
        )

    def test_errors(self, tiny_generator):
        latents = tiny_generator.latents(1)
        with pytest.raises(
            ValueError, match=r"`samples` must be an integer of at least 2. Received: 1"
        ):
            de.path_length(tiny_generator, latents, latents, samples=1)
        for epsilon in (0, 1, np.nan):
            with pytest.raises(ValueError, match="`epsilon`"):
                de.path_length(tiny_generator, latents, latents, epsilon=epsilon)


def left_half(n, size=16):
    mask = np.zeros((n, size, size), bool)
    mask[:, :, : size // 2] = True
    return mask


class TestMask:
    """Free pixels have no influence; the certificate is that of held pixels."""

    def test_a_linear_generator_restores_held_pixels(self):
        generator = Linear()
        latents, pixels = generator.reachable()
        mask = left_half(3, 4)
        broken = np.where(mask[..., None], 0.9, pixels).astype(np.float32)
        results = [
            de.project(generator, broken, method, mask, seed=5)
            for method in (
                de.LBFGS(num_steps=40, laplacian=0.0),
                de.GaussNewton(num_steps=6, cg_steps=3, damping=1e-7),
            )
        ]
        start = de.LBFGS().initial_latents(generator, 3, seed=5)
        for result in results:
            assert result.mse.max() < 1e-9
            np.testing.assert_allclose(result.latents[:, :, 2:], latents[:, :, 2:], atol=2e-2)
            # Nothing asks the others to move: each is of its own pixel alone.
            np.testing.assert_allclose(result.latents[:, :, :2], start[:, :, :2], atol=1e-5)
            np.testing.assert_allclose(result.reconstruction[:, :, 2:], pixels[:, :, 2:], atol=1e-3)

    @each_method
    def test_free_pixels_have_no_influence(self, method, tiny_generator):
        pixels, mask = make_pixels(2, (16, 16, 1)), left_half(2)
        other = np.where(mask[..., None], 1 - pixels, pixels)
        result, again = (de.project(tiny_generator, p, method, mask) for p in (pixels, other))
        np.testing.assert_array_equal(result.latents, again.latents)
        np.testing.assert_array_equal(result.mse, again.mse)
        whole = de.project(tiny_generator, pixels, method)
        assert np.abs(whole.latents - result.latents).max() > 1e-3
        wide = de.project(tiny_generator, pixels, method, mask[..., None])
        np.testing.assert_array_equal(wide.latents, result.latents)

    @each_method
    def test_a_mask_without_free_pixels_is_no_mask(self, method, tiny_generator):
        pixels = make_pixels(2, (16, 16, 1))
        result = de.project(tiny_generator, pixels, method, np.zeros((2, 16, 16), bool))
        whole = de.project(tiny_generator, pixels, method)
        np.testing.assert_allclose(result.latents, whole.latents, atol=1e-3)  # float32, iterated
        np.testing.assert_allclose(result.mse, whole.mse, rtol=1e-3)

    @pytest.mark.parametrize("method", [METHODS[0], METHODS[2]], ids=repr)
    def test_result_does_not_depend_on_batch_size(self, method, tiny_generator):
        pixels, mask = make_pixels(2, (16, 16, 1)), left_half(2)
        mask[1] = ~mask[1]
        whole = de.project(tiny_generator, pixels, method, mask)
        single = dataclasses.replace(method, batch_size=1)
        parts = de.project(tiny_generator, pixels, single, mask)
        np.testing.assert_allclose(parts.mse, whole.mse, rtol=1e-2)  # as in test_solvers

    def test_certificate_counts_held_pixels_without_padding(self):
        generator = make_generator(padding=2)
        pixels, mask = make_pixels(2, (16, 16, 1)), left_half(2)
        result = de.project(generator, pixels, de.LBFGS(num_steps=3), mask)
        clipped = np.clip(result.reconstruction.astype(np.float64), 0, 1)
        by_hand = ((pixels - clipped) ** 2)[:, 2:14, 8:14].mean((1, 2, 3))
        np.testing.assert_allclose(result.mse, by_hand, rtol=1e-12)
        np.testing.assert_allclose(result.trace.mse[-1], by_hand, rtol=1e-3)  # float32

    def test_of_three_channels(self):
        generator = make_generator(image_shape=(16, 16, 3))
        pixels, mask = make_pixels(1, (16, 16, 3)), left_half(1)
        result = de.project(generator, pixels, de.LBFGS(num_steps=3), mask)
        by_hand = (pixels - np.clip(result.reconstruction, 0, 1))[:, :, 8:] ** 2
        np.testing.assert_allclose(result.mse, by_hand.mean((1, 2, 3)), rtol=1e-5)

    def test_a_hybrid_ignores_free_pixels(self, tiny_generator):
        network = de.Network(embedder=set_random_weights(de.build_embedder("conv1")))
        method = de.Hybrid(network, de.LBFGS(num_steps=2))
        pixels, mask = make_pixels(2, (16, 16, 1)), left_half(2)
        other = np.where(mask[..., None], 1 - pixels, pixels)
        result, again = (
            de.project(tiny_generator, p, method, mask, seed=3) for p in (pixels, other)
        )
        np.testing.assert_array_equal(result.latents, again.latents)
        begun = de.embed(tiny_generator, fill(pixels, ~mask), network)
        held = np.repeat(~mask[..., None], 1, 3)
        error = de.metrics.mse(pixels, begun.reconstruction, held=held)
        np.testing.assert_allclose(result.trace.mse[0], error, rtol=1e-4)  # float32
        alone = de.embed(tiny_generator, pixels, method.finish, latents=begun.latents, mask=mask)
        np.testing.assert_allclose(result.latents, alone.latents, atol=1e-4)
        # The finish may be a hybrid itself.
        nested = de.Hybrid(method.start, de.Hybrid(method.finish, de.LBFGS(num_steps=1)))
        again = de.embed(tiny_generator, pixels, nested, seed=3, mask=mask)
        np.testing.assert_allclose(again.latents, result.latents, atol=1e-4)
        both = de.Hybrid(de.Descent(num_steps=1), de.GaussNewton(num_steps=1))
        result, again = (de.project(tiny_generator, p, both, mask) for p in (pixels, other))
        np.testing.assert_array_equal(result.latents, again.latents)

    def test_padding_is_not_continued_under_the_mask(self):
        generator = make_generator(padding=2)
        seen = []

        class Start(de.Method):
            def solve(self, generator, pixels, latents, tick, held=None):
                seen.append(pixels)
                return de.Solution(np.zeros_like(pixels), evaluations=1)

        pixels, mask = np.full((1, 16, 16, 1), 0.75, np.float32), left_half(1)
        pixels[:, :2] = pixels[:, -2:] = pixels[:, :, :2] = pixels[:, :, -2:] = 0
        de.project(generator, pixels, de.Hybrid(Start(), de.LBFGS(num_steps=1)), mask)
        np.testing.assert_allclose(seen[0][:, :, :8], 0.75)

    @pytest.mark.parametrize(
        "method", [de.DDIMInversion(), de.EDICT(), de.Hybrid(de.LBFGS(), de.ImplicitInversion())]
    )
    def test_methods_without_masks_raise(self, method, tiny_generator):
        with pytest.raises(ValueError, match=f"{type(method).__name__} .* takes no `mask`"):
            de.project(tiny_generator, make_pixels(1, (16, 16, 1)), method, left_half(1))

    @pytest.mark.parametrize(
        "mask, words",
        [
            (np.zeros((2, 16, 16)), "must be bool.*float64"),
            (np.zeros((1, 16, 16), bool), r"\(2, 16, 16\).*Received: bool of shape \(1, 16, 16\)"),
            (np.zeros((2, 16, 16, 3), bool), r"Received: bool of shape \(2, 16, 16, 3\)"),
            (np.ones((2, 16, 16), bool), r"at least one pixel.*\[0, 1\]"),
        ],
    )
    def test_invalid_masks_raise(self, tiny_generator, mask, words):
        with pytest.raises(ValueError, match=words):
            de.project(tiny_generator, make_pixels(2, (16, 16, 1)), de.LBFGS(num_steps=1), mask)


def test_project_without_a_mask_is_embed(tiny_generator):
    pixels = make_pixels(2, (16, 16, 1))
    method = de.LBFGS(num_steps=3)
    result = de.project(tiny_generator, pixels, method, seed=2)
    np.testing.assert_array_equal(
        result.latents, de.embed(tiny_generator, pixels, method, 2).latents
    )
