"""Directions in the h-space: their algebra, how they are found, and what an edit does with them."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, make_generator, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.data import crop_padding
from ddim_embed.metrics import perceptual
from ddim_embed.networks.blocks import SinusoidalEmbedding
from ddim_embed.process import noise, sampling
from ddim_embed.semantics import editor as editing

SIZES = {"image_shape": (8, 8, 1), "widths": (4, 8), "num_steps": 2, "padding": 1}
CONDITION = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def make_conditional():
    network = set_random_weights(de.ModulatedUNet(3, widths=(4, 8), block_depth=1), seed=3)
    process = de.Process(num_steps=2, prediction="velocity", last_step="transfer")
    generator = de.Generator(network, process=process, image_shape=(8, 8, 1))
    generator.normalizer.variance.assign([0.05])
    return generator.given(CONDITION)


class Plain(keras.Model):
    """A network with an h that does not freeze."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.built = True

    def call(self, inputs, training=None, hook=None):
        return self.network(inputs, training=training, hook=hook)

    def encode(self, inputs, training=None):
        return self.network.encode(inputs, training)

    def decode(self, h, skips, training=None):
        return self.network.decode(h, skips, training)


@pytest.fixture(scope="module")
def editors():
    """Editors of generators with five images' worth of conditions; do not change their weights."""
    generator = make_generator(**SIZES)
    plain = de.Generator(
        Plain(generator.network),
        generator.normalizer,
        de.Process(num_steps=2),
        image_shape=(8, 8, 1),
    )
    made = {"noise": generator, "conditional": make_conditional(), "not frozen": plain}
    return {name: de.HSpaceEditor(each) for name, each in made.items()}


@pytest.fixture
def editor(editors):
    return editors["noise"]


def random_direction(editor, seed=0, **options):
    shape = (editor.generator.num_steps, *editor.h_shape)
    shifts = np.random.default_rng(seed).normal(size=shape)
    fingerprint = editor.generator.denoiser_fingerprint()
    return de.SemanticDirection(shifts, fingerprint, **options)


def noises_of(generator, images, rates, hook=None):
    """What the network itself predicts."""
    inputs = [images, tf.fill((len(images), 1, 1, 1), rates.noise**2)]
    if generator.condition is not None:
        inputs.append(generator.condition[: len(images)])
    outputs = generator.network(inputs, training=False, hook=hook)
    if generator.prediction == "noise":
        return outputs
    return rates.noise * images + rates.signal * outputs


def edit_by_hand(generator, latents, shifts, symmetric=False):
    """The asymmetric process with the whole network, evaluated twice a step."""
    images = latents
    levels = generator.process.levels(generator.num_steps)
    for (now, after), shift in zip(itertools.pairwise(levels), shifts, strict=True):
        plain = noises_of(generator, images, now)
        shifted = noises_of(generator, images, now, hook=lambda h, shift=shift: h + shift)
        predicted = (images - now.noise * shifted) / now.signal
        images = after.signal * predicted + after.noise * (shifted if symmetric else plain)
    return generator.normalizer.inverse(images).numpy()


class TestEdit:
    @pytest.mark.parametrize("name", ["noise", "conditional", "not frozen"])
    def test_is_the_asymmetric_process_of_the_network(self, editors, name):
        editor = editors[name]
        generator, direction = editor.generator, random_direction(editor)
        latents = generator.latents(5)
        plain = generator.decode(latents).numpy()
        # Rounding of float32, which the first step multiplies by up to 50.
        assert_close(editor.edit(latents, direction, 0), plain, 1e-5)
        assert_close(editor.edit(latents, 0 * direction), plain, 1e-5)
        for symmetric in (False, True):
            found = editor.edit(latents, direction, 0.5, symmetric=symmetric)
            shifts = 0.5 * direction.shifts
            expected = edit_by_hand(generator, latents, shifts, symmetric)
            assert_close(found, expected, 1e-4)
            assert np.abs(expected - plain).max() > 0.03 * np.abs(plain).max()

    @pytest.mark.parametrize("name", ["noise", "conditional"])
    def test_each_image_alone_gives_the_same(self, editors, name, monkeypatch):
        """In parts of two, under its own condition and with a strength of its own."""
        editor = editors[name]
        generator, direction = editor.generator, random_direction(editor)
        latents, strengths = generator.latents(5), np.linspace(-1, 1, 5)
        monkeypatch.setattr(editing, "DECODE_BATCH", 2)
        found = editor.edit(latents, direction, strengths)
        for i in range(5):
            one = slice(i, i + 1)
            alone = de.HSpaceEditor(generator.take(one)).edit(latents[one], direction, strengths[i])
            assert_close(alone, found[one], 1e-5)  # float32

    def test_intervals_and_noise(self, editor):
        generator, direction = editor.generator, random_direction(editor)
        latents = generator.latents(3)
        first = direction.shifts * np.array([1, 0]).reshape(-1, 1, 1, 1)
        found = editor.edit(latents, direction, until=0.6)
        assert_close(found, edit_by_hand(generator, latents, first), 1e-4)
        # The last step draws nothing: of 3 steps the second one does.
        other = de.HSpaceEditor(generator.with_steps(3))
        longer = direction.at(3)
        plain, *drawn = (
            other.edit(latents, longer, boost=boost, seed=seed)
            for boost, seed in ((0, 1), (0.7, 1), (0.7, 2))
        )
        assert len({each.tobytes() for each in (plain, *drawn)}) == 3
        again = other.edit(latents[:2], longer, boost=0.7, seed=1)
        assert_close(again, drawn[0][:2], 1e-5)  # image i is a function of the seed and i

    def test_the_default_strength_is_the_direction_s(self, editor):
        latents = editor.generator.latents(1)
        found = editor.edit(latents, random_direction(editor, strength=0.3))
        direction = random_direction(editor)
        np.testing.assert_array_equal(found, editor.edit(latents, direction, 0.3))
        assert np.abs(found - editor.edit(latents, direction)).max() > 1e-3

    def test_what_does_not_fit_is_refused(self, editor, editors):
        latents, direction = editor.generator.latents(2), random_direction(editor)
        shifts, key = direction.shifts, direction.fingerprint
        wrong = {
            "of another generator, 'x'; this": de.SemanticDirection(shifts, "x"),
            "of another generator": random_direction(editors["conditional"]),
            r"size of h, \(4, 4, 8\). Received: \(2, 4": de.SemanticDirection(shifts[:, :2], key),
            r"each of 2 steps: `direction.at\(2\)` does. Received: 3": direction.at(3),
            "`direction` must be a": shifts,
            r"Received: \(4, 4, 6\)": de.DeltaNetwork(6),
            "another generator, 'y'": de.DeltaNetwork(8, fingerprint="y"),
        }
        for words, each in wrong.items():
            with pytest.raises(ValueError, match=words):
                editor.edit(latents, each)
        with pytest.raises(ValueError, match="one for each of 2 images"):
            editor.edit(latents, direction, [1, 2, 3])
        for name, value in (("until", 1.1), ("boost", -1), ("symmetric", 1), ("seed", -1)):
            with pytest.raises(ValueError, match=f"`{name}` must be"):
                editor.edit(latents, direction, **{name: value})
        with pytest.raises(ValueError, match="`generator` must be a `Generator`"):
            de.HSpaceEditor("celeba")

    def test_a_network_without_h_is_refused(self):
        network = keras.layers.Conv2D(1, 1)
        model = keras.Sequential([network])
        generator = de.Generator(model, process=de.Process(num_steps=1), image_shape=(8, 8, 1))
        with pytest.raises(ValueError, match=r"has methods `encode.*Sequential without `encode`"):
            _ = de.HSpaceEditor(generator).h_shape


class TestFit:
    pixels = make_pixels(5, (8, 8, 1))
    labels = np.array([[1, 0], [0, 0], [1, 1], [0, 1], [1, 1]])

    @pytest.mark.parametrize("name", ["noise", "conditional"])
    def test_is_the_mean_difference_of_h_at_the_noise_of_each_step(
        self, editors, name, monkeypatch
    ):
        editor = editors[name]
        generator = editor.generator
        monkeypatch.setattr(editing, "DECODE_BATCH", 3)
        found = editor.fit(self.pixels, self.labels, ["a", "b"], seed=7)
        assert [each.name for each in found] == ["a", "b"]
        images = generator.normalizer(self.pixels).numpy()
        for step, rates in enumerate(generator.grid[:0:-1]):
            parts = [slice(0, 3), slice(3, 5)]
            noises = [
                noise.normal(images[part].shape, noise.seed_words(7, 2 * i + step), numpy=True)
                for i, part in enumerate(parts)
            ]
            noisy = rates.signal * images + rates.noise * np.concatenate(noises)
            h = []
            noises_of(generator, np.float32(noisy), rates, hook=lambda x, h=h: h.append(x) or x)
            for column, each in enumerate(found):
                with_it = self.labels[:, column] == 1
                expected = h[0].numpy()[with_it].mean(axis=0) - h[0].numpy()[~with_it].mean(axis=0)
                assert_close(each.shifts[step], expected, 1e-4)  # float32
        single = editor.fit(self.pixels, self.labels[:, 1].astype(bool), seed=7)
        assert_close(single.shifts, found[1].shifts, 1e-5)  # float32, summed in another order
        assert single.strength == 1 and single.fingerprint == generator.denoiser_fingerprint()
        other = editor.fit(self.pixels, self.labels[:, 1], seed=8)
        assert np.abs(other.shifts - single.shifts).max() > 1e-3

    @pytest.mark.parametrize(
        ("labels", "words"),
        [
            ([0, 1, 2, 0, 1], "must be 0 or 1"),
            ([0, 1], r"of shape \(5,\)"),
            ([1, 1, 1, 1, 1], r"with and without each attribute. Received: \[5\] with it, \[0\]"),
            ([0, 0, 0, 0, 0], r"\[0\] with it"),
            ("ab", "array of real numbers"),
        ],
    )
    def test_bad_labels(self, editor, labels, words):
        with pytest.raises(ValueError, match=f"`labels`.*{words}"):
            editor.fit(self.pixels, labels)
        with pytest.raises(ValueError, match="`name` must be one for each of 2 attributes"):
            editor.fit(self.pixels, self.labels, ["a"])

    def test_other_weights_are_another_generator(self, editor):
        """But not other steps, or another end of the sampler."""
        key = editor.generator.denoiser_fingerprint()
        assert editor.generator.with_steps(7).denoiser_fingerprint() == key
        others = [
            de.build_generator(**SIZES | options, block_depth=1)
            for options in ({}, {"schedule": "linear"}, {"prediction": "velocity"})
        ]
        for other in others[1:]:
            other.set_weights(editor.generator.get_weights())
        keys = {other.denoiser_fingerprint() for other in others}
        assert len(keys) == 3 and key not in keys


def h_of_trajectories(generator, latents):
    """`(n, steps, ...)`: h of the network along the sampler's own way."""
    found = []

    def record(step):
        noises_of(generator, step.noisy_images, step.rates, lambda h: found.append(h) or h)

    sampling.sample(
        lambda x, rates: noises_of(generator, x, rates),
        generator.schedule,
        latents,
        generator.num_steps,
        callback=record,
    )
    return np.stack(found, axis=1)


def test_components_are_those_of_h_at_all_steps(editor):
    generator = editor.generator
    found = editor.components(3, n=8, seed=5)
    rows = h_of_trajectories(generator, generator.latents(8, seed=5)).reshape(8, -1)
    covariance = np.cov(rows.T)
    values = np.linalg.eigvalsh(covariance)[::-1]
    vectors = np.stack([each.shifts.ravel() for each in found]).astype(np.float64)
    # One standard deviation long; float32
    np.testing.assert_allclose(vectors @ vectors.T, np.diag(values[:3]), atol=1e-3 * values[0])
    assert_close(vectors @ covariance, vectors * values[:3, None], 1e-3)
    assert (vectors.max(axis=1) == np.abs(vectors).max(axis=1)).all()
    assert [each.name for each in found] == ["component 0", "component 1", "component 2"]
    for options in ({"k": 8}, {"k": 0}, {"k": 1, "n": 1}):
        with pytest.raises(ValueError, match="must be an integer"):
            editor.components(**{"n": 8} | options)


class TestSingularVectors:
    def jacobian(self, generator, latents, mask, until):
        """What a shift of h adds to the next images of each step, by one gradient a pixel."""
        steps, rows = [], []
        sampling.sample(
            lambda x, rates: noises_of(generator, x, rates),
            generator.schedule,
            latents,
            generator.num_steps,
            callback=steps.append,
        )
        for step in steps:
            if 1 - step.index / generator.num_steps < until:
                continue
            now, after = step.rates, step.next_rates
            for image in step.noisy_images:
                images = tf.repeat(image[None], 64, axis=0)
                inputs = [images, tf.fill((64, 1, 1, 1), now.noise**2)]
                h, skips = generator.network.encode(inputs, training=False)
                with tf.GradientTape() as tape:
                    tape.watch(h)
                    noises = generator.network.decode(h, skips, training=False)
                eye = tf.reshape(tf.eye(64), (64, 8, 8, 1)) * mask
                gradient = tape.gradient(noises, h, output_gradients=eye)
                tau = now.noise / now.signal
                rows.append(-after.signal * tau * gradient.numpy().reshape(64, -1))
        return np.concatenate(rows)

    def test_are_those_of_the_whole_jacobian(self, editor):
        generator = editor.generator
        latents = generator.latents(2)
        mask = np.zeros((8, 8), np.float32)
        mask[2:5, 1:6] = 1
        for options in ({"mask": mask}, {"until": 0.6}):
            found, values = editor.singular_vectors(latents, k=2, **options)
            expected_mask = options.get("mask", np.ones((8, 8)))[..., None]
            whole = self.jacobian(generator, latents, expected_mask, options.get("until", 0))
            _, expected, vectors = np.linalg.svd(whole, full_matrices=False)
            np.testing.assert_allclose(values, expected[:2], rtol=1e-3)
            for each, vector in zip(found, vectors, strict=False):
                np.testing.assert_array_equal(each.shifts[0], each.shifts[1])
                one = each.shifts[0].ravel()
                assert abs(one @ vector) == pytest.approx(1, abs=1e-3)
                assert one.max() == np.abs(one).max()

    def test_the_value_is_the_change_of_the_image_in_one_step(self, editor):
        """By finite differences."""
        single = de.HSpaceEditor(editor.generator.with_steps(1))
        latents = editor.generator.latents(1)
        (direction,), (value,) = single.singular_vectors(latents, k=1)
        ends = [single.edit(latents, direction, strength) for strength in (0.01, -0.01)]
        pixels = (ends[0] - ends[1]) / 0.02
        images = pixels / np.sqrt(editor.generator.normalizer.variance.numpy())
        assert np.linalg.norm(images) == pytest.approx(value, rel=1e-2)  # float32, second order

    @pytest.mark.parametrize(
        "options",
        [
            {"k": 0},
            {"k": 128},
            {"until": 2},
            {"mask": np.ones((4, 4))},
            {"mask": np.zeros((8, 8))},
            {"mask": np.full((8, 8), 2.0)},
        ],
        ids=str,
    )
    def test_bad_input(self, editor, options):
        with pytest.raises(ValueError, match=f"`{next(iter(options))}` must"):
            editor.singular_vectors(editor.generator.latents(1), **options)


class TestCalibration:
    pixels = make_pixels(3, (8, 8, 1))

    @pytest.fixture(autouse=True)
    def distance(self, monkeypatch):
        """In place of LPIPS, the mean absolute difference."""

        def load():
            return lambda pair: tf.reduce_mean(tf.abs(pair[0] - pair[1]), axis=(1, 2, 3))

        monkeypatch.setattr(perceptual, "load_perceptual_distance", load)

    def test_distances_along_the_trajectory(self, editor, monkeypatch):
        generator, steps = editor.generator.with_steps(4), []
        latents = generator.latents(3)
        four = de.HSpaceEditor(generator)
        sampling.sample(
            lambda x, rates: noises_of(generator, x, rates),
            generator.schedule, latents, 4, callback=steps.append,
        )  # fmt: skip
        expected = [
            [
                np.mean(np.abs(crop_padding(generator.normalizer.inverse(x) - self.pixels, 1)))
                for x in (step.parts.pred_images, step.noisy_images)
            ]
            for step in steps
        ]
        predicted, noisy = np.transpose(expected)
        monkeypatch.setattr(editing, "_EDIT_DISTANCE", np.sort(predicted)[1:3].mean())
        monkeypatch.setattr(editing, "_BOOST_DISTANCE", np.sort(noisy)[:2].mean())
        found = four.calibrate(self.pixels, latents)
        np.testing.assert_array_equal(found.times, [1, 0.75, 0.5, 0.25])
        np.testing.assert_allclose(found.predicted, predicted, rtol=1e-4)  # float32, 50 times
        np.testing.assert_allclose(found.noisy, noisy, rtol=1e-4)
        assert found.reached == (True, True)
        assert found.until == found.times[np.argsort(predicted)[-2:]].min()
        assert found.boost == found.times[np.argsort(noisy)[-3:]].min()

    def test_thresholds_that_are_not_reached_become_times_of_equal_noise(self, editor, monkeypatch):
        monkeypatch.setattr(editing, "_EDIT_DISTANCE", 1e9)
        monkeypatch.setattr(editing, "_BOOST_DISTANCE", 1e9)
        found = editor.calibrate(self.pixels)
        assert found.reached == (False, False)
        for time, published in ((found.until, 0.513), (found.boost, 0.167)):
            own, theirs = (
                schedule(np.float64(t))
                for schedule, t in (
                    (de.schedules.continuous_cosine, time),
                    (de.schedules.linear, published),
                )
            )
            assert own.noise == pytest.approx(theirs.noise, abs=2e-3)
        assert (found.until, found.boost) == pytest.approx((0.8, 0.171), abs=5e-3)

    def test_latents_are_of_the_pixels(self, editor):
        latents = de.embed(editor.generator, self.pixels, "implicit").latents
        found, expected = editor.calibrate(self.pixels), editor.calibrate(self.pixels, latents)
        np.testing.assert_array_equal(found.predicted, expected.predicted)
        with pytest.raises(ValueError, match=r"as many as `pixels`, 3\. Received: 2"):
            editor.calibrate(self.pixels, latents[:2])


def direction_of(shifts, **options):
    return de.SemanticDirection(np.asarray(shifts, np.float32), "key", **options)


class TestDirection:
    first = direction_of(np.random.default_rng(0).normal(size=(3, 2, 2, 5)), strength=0.7, name="a")
    second = direction_of(np.random.default_rng(1).normal(size=(3, 2, 2, 5)), strength=0.5)

    def test_is_a_vector(self):
        a, b = self.first, self.second
        for found, expected in (
            (2 * a, 2 * a.shifts),
            (a * -0.5, -0.5 * a.shifts),
            (-a, -a.shifts),
            (a + b, a.shifts + b.shifts),
            (a - b, a.shifts - b.shifts),
        ):
            np.testing.assert_array_equal(found.shifts, np.float32(expected))
            assert found.fingerprint == "key"
        assert (2 * a).strength == (-a).strength == 0.7 and (2 * a).name == "a"
        assert (a + b).strength == (b + a).strength == 0.5 and (a + b).name == ""

    def test_without_others_it_is_orthogonal_to_them_at_each_step(self):
        third = direction_of(np.random.default_rng(2).normal(size=(3, 2, 2, 5)))
        found = self.first.without(self.second, third)
        rows, *bases = (each.shifts.reshape(3, -1) for each in (found, self.second, third))
        for basis in bases:
            np.testing.assert_allclose(np.sum(rows * basis, axis=1), 0, atol=1e-5)  # float32
        # What was taken away is a combination of the others.
        for step in range(3):
            taken = self.first.shifts[step].ravel() - rows[step]
            plane = np.stack([basis[step] for basis in bases], axis=1)
            rest = taken - plane @ np.linalg.lstsq(plane, taken, rcond=None)[0]
            np.testing.assert_allclose(rest, 0, atol=1e-5)
        assert np.abs(self.first.without(self.first).shifts).max() < 1e-6
        np.testing.assert_array_equal(self.first.without().shifts, self.first.shifts)
        zero = self.first.without(0 * self.second)
        np.testing.assert_allclose(zero.shifts, self.first.shifts, atol=1e-6)

    def test_its_mean_is_the_same_at_all_steps(self):
        found = self.first.mean()
        assert found.num_steps == 3
        for row in found.shifts:
            np.testing.assert_allclose(row, self.first.shifts.mean(axis=0), rtol=1e-6)

    def test_at_other_steps_it_is_interpolated_over_time_and_shared(self):
        # Rows that grow with time: at t = 1, 2/3, 1/3 they are 3, 2, 1.
        direction = direction_of(np.ones((3, 1, 1, 2)) * np.array([3, 2, 1]).reshape(3, 1, 1, 1))
        longer = direction.at(6).shifts[:, 0, 0, 0]  # at t = 1, 5/6, ... 1/6: each is half
        np.testing.assert_allclose(longer, np.array([3, 2.5, 2, 1.5, 1, 1]) / 2, rtol=1e-6)
        np.testing.assert_allclose(direction.at(2).shifts[:, 0, 0, 0], [4.5, 2.25], rtol=1e-6)
        np.testing.assert_allclose(direction.at(1).shifts[:, 0, 0, 0], [9], rtol=1e-6)
        np.testing.assert_allclose(direction.at(1).at(2).shifts[:, 0, 0, 0], [4.5, 4.5], rtol=1e-6)
        assert direction.at(3) is direction
        with pytest.raises(ValueError, match="`num_steps` must be"):
            direction.at(0)

    @pytest.mark.parametrize("mean", [False, True])
    def test_is_saved_and_loaded(self, tmp_path, mean):
        path, direction = tmp_path / "a.npz", self.first.mean() if mean else self.first
        direction.save(path)
        with np.load(path, allow_pickle=False) as file:
            assert len(file["shifts"]) == (1 if mean else 3)
        found = de.SemanticDirection.load(path)
        np.testing.assert_array_equal(found.shifts, direction.shifts)
        assert (found.fingerprint, found.strength, found.name) == ("key", 0.7, "a")
        assert [*tmp_path.iterdir()] == [path]

    def test_files_that_are_none(self, tmp_path):
        path = tmp_path / "a.npz"
        with pytest.raises(FileNotFoundError):
            de.SemanticDirection.load(path)
        self.first.save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-30])
        with pytest.raises(ValueError, match=r"is not an \.npz file of plain arrays"):
            de.SemanticDirection.load(path)
        good = {"shifts": self.first.shifts, "num_steps": 3, "fingerprint": "key"}
        good |= {"strength": 1.0, "name": "a"}
        for changed, words in (
            ({"name": np.array([{}])}, "Python objects"),
            ({"num_steps": 4}, "not a file of a direction"),
            ({"num_steps": 10**9, "shifts": self.first.shifts[:1]}, "GiB in memory"),
            ({"num_steps": 0.5}, "not a file of a direction"),
            ({"shifts": self.first.shifts * np.nan}, "`shifts` must be finite"),
            ({"shifts": np.float32(3)}, "not a file of a direction"),
            ({"strength": "x"}, "`strength` must be a finite number"),
            ({"fingerprint": np.array([1, 2])}, "not a file of a direction"),
        ):
            np.savez(path, **good | changed)
            with pytest.raises(ValueError, match=words):
                de.SemanticDirection.load(path)
        np.savez(path, shifts=self.first.shifts)
        with pytest.raises(ValueError, match=r"must hold `num_steps`\. Received: .'shifts'"):
            de.SemanticDirection.load(path)
        for function in (self.first.save, de.SemanticDirection.load):
            with pytest.raises(ValueError, match=r"must end in `\.npz`. Received: .*a\.txt"):
                function(tmp_path / "a.txt")

    def test_wrong_values_are_named(self):
        for shifts in (np.ones((2, 3)), np.ones((0, 1, 1, 1)), [[[["x"]]]]):
            with pytest.raises(ValueError, match="`shifts` must"):
                de.SemanticDirection(shifts, "key")
        for name, value in (("fingerprint", 3), ("name", None), ("strength", "x")):
            with pytest.raises(ValueError, match=f"`{name}` must be"):
                de.SemanticDirection(np.ones((1, 1, 1, 1)), **{"fingerprint": "k", name: value})
        for other, words in (
            (self.second.at(2), r"same steps and sizes.*\(3, 2, 2, 5\) and \(2, 2, 2, 5\)"),
            (de.SemanticDirection(self.first.shifts, "other"), "of 'key' and 'other'"),
            (3, "`other` must be a `SemanticDirection`"),
        ):
            for function in (self.first.__add__, self.first.__sub__, self.first.without):
                with pytest.raises(ValueError, match=words):
                    function(other)
        with pytest.raises(ValueError, match="`factor` must be a finite number"):
            self.first * "2"


class TestRecords:
    direction = TestDirection.first

    @pytest.mark.parametrize("mean", [False, True])
    def test_a_recorded_direction_is_found_by_its_name(self, tmp_path, mean):
        direction = self.direction.mean() if mean else self.direction
        path, entry = de.record_direction(
            tmp_path, "faces", direction, data="5 images", errors={"happy": 0.9}
        )
        assert path.name == "direction_a.weights.h5" and entry["errors"] == {"happy": 0.9}
        assert entry["parameters"] == (20 if mean else 60)
        found = de.load_direction("faces", "a", tmp_path)
        np.testing.assert_array_equal(found.shifts, np.float32(np.float16(direction.shifts)))
        assert (found.fingerprint, found.strength, found.name) == ("key", 0.7, "a")

    def test_errors(self, tmp_path):
        path, _ = de.record_direction(tmp_path, "faces", self.direction, data=None)
        with pytest.raises(FileNotFoundError, match="Did you mean 'faces/direction_a'"):
            de.load_direction("faces", "b", tmp_path)
        for name in ("", "../a", None):
            with pytest.raises(ValueError, match="must consist of letters"):
                de.load_direction("faces", name, tmp_path)
        with pytest.raises(ValueError, match="`direction` must be a `SemanticDirection`"):
            de.record_direction(tmp_path, "faces", self.direction.shifts, data=None)
        with pytest.raises(ValueError, match="not finite"):
            de.record_direction(tmp_path, "faces", 1e5 * self.direction, data=None)
        record = path.with_name("direction_a.json")
        entry = json.loads(record.read_text())
        for key, value, words in (
            ("num_steps", 4, "must be 1 or 4 shifts. Received: 3"),
            ("strength", "x", "`strength` must be a number"),
            ("fingerprint", 3, "`fingerprint` must be the key"),
            ("shape", [3, 2, 2, 10**4], "larger network than"),
        ):
            changed = entry | {"config": entry["config"] | {key: value}}
            record.write_text(json.dumps(changed))
            with pytest.raises(ValueError, match=words):
                de.load_direction("faces", "a", tmp_path)


class TestDeltaNetwork:
    def network(self, channels=8, **options):
        return set_random_weights(de.DeltaNetwork(channels, **options), seed=2)

    def test_has_the_published_layers(self):
        assert de.DeltaNetwork(512, dims=512).count_params() == 788_992
        assert de.DeltaNetwork(128).count_params() == 41_600
        # 48 channels have no 32 groups: the next fewer that divide them.
        assert de.DeltaNetwork(48).norm.groups == 24
        network = self.network(64, dims=6)
        rng = np.random.default_rng(0)
        h = rng.normal(size=(2, 3, 5, 64)).astype(np.float32)
        variances = np.array([0.2, 0.9], np.float32).reshape(2, 1, 1, 1)
        weights = {layer.name: layer.get_weights() for layer in network.layers}

        def swish(x):
            return x / (1 + np.exp(-x))

        kernel, bias = weights["input_conv"]
        embedded = np.float64(SinusoidalEmbedding(6)(variances))
        time = swish(embedded) @ weights["time"][0] + weights["time"][1]
        x = h @ kernel[0, 0] + bias + time
        groups = x.reshape(2, 3, 5, 32, 2)
        mean = groups.mean(axis=(1, 2, 4), keepdims=True)
        variance = groups.var(axis=(1, 2, 4), keepdims=True)
        x = ((groups - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
        x = swish(x * weights["norm"][0] + weights["norm"][1])
        kernel, bias = weights["output_conv"]
        assert_close(network([h, variances]), x @ kernel[0, 0] + bias, 1e-5)

    def test_untrained_it_edits_nothing(self, editor):
        latents = editor.generator.latents(2)
        found = editor.edit(latents, de.DeltaNetwork(8, num_steps=2))
        assert_close(found, editor.generator.decode(latents), 1e-5)

    def test_an_edit_adds_its_shift_of_h(self, editor):
        """Of 6 steps it was trained for there are 2: each shifts three times as much."""
        generator = editor.generator
        network = self.network(num_steps=6, fingerprint=generator.denoiser_fingerprint())
        latents = generator.latents(2)
        found = editor.edit(latents, network, strength=0.1)
        images = latents
        for now, after in itertools.pairwise(generator.process.levels(2)):
            variances = np.full((2, 1, 1, 1), now.noise**2, np.float32)

            def hook(h, variances=variances):
                return h + 0.3 * network([h, variances])

            shifted = noises_of(generator, images, now, hook)
            predicted = (images - now.noise * shifted) / now.signal
            images = after.signal * predicted + after.noise * noises_of(generator, images, now)
        assert_close(found, generator.normalizer.inverse(images), 1e-4)

    def test_bad_sizes(self):
        for name, value in (("channels", 0), ("num_steps", 0), ("dims", 1), ("fingerprint", 1)):
            with pytest.raises(ValueError, match=f"`{name}` must be"):
                de.DeltaNetwork(**{"channels": 4, name: value})


MATRIX = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32) / 8
TARGET = np.array([0.5, -1, 0.3])


def encode(pixels):
    return tf.reshape(tf.tanh(0.05 * pixels), (-1, 64)) @ MATRIX


class TestDeltaTrainer:
    def trainer(self, editor, network=None, **options):
        network = de.DeltaNetwork(8, num_steps=2) if network is None else network
        return de.DeltaTrainer(network, editor.generator, encode, TARGET, **options)

    def loss_by_hand(
        self, generator, network, latents, l1, until=0.0, constant=tf.stop_gradient, encode=encode
    ):
        """Of each step, on images along the edited trajectory that are constants."""
        images, losses = latents, []
        for index, (now, after) in enumerate(itertools.pairwise(generator.process.levels(2))):
            if 1 - index / 2 < until:
                break
            images = constant(images)
            variances = np.full((len(latents), 1, 1, 1), now.noise**2, np.float32)
            plain = noises_of(generator, images, now)
            shifted = noises_of(generator, images, now, lambda h, v=variances: h + network([h, v]))
            source, edited = (
                generator.normalizer.inverse((images - now.noise * x) / now.signal)
                for x in (plain, shifted)
            )
            change, length = encode(edited) - encode(source), np.linalg.norm(TARGET)
            norms = tf.sqrt(tf.reduce_sum(change**2, axis=1) + (0.1 * length) ** 2)
            cosines = tf.linalg.matvec(change, tf.constant(TARGET, tf.float32)) / (length * norms)
            losses.append(1 - cosines + l1 * tf.reduce_mean(tf.abs(edited - source), (1, 2, 3)))
            predicted = (images - now.noise * shifted) / now.signal
            images = after.signal * predicted + after.noise * plain
        return tf.reduce_mean(losses)

    @pytest.mark.parametrize("until", [0, 0.6])
    def test_loss_and_gradient(self, editor, until):
        network = set_random_weights(de.DeltaNetwork(8, num_steps=2), seed=1)
        network.output_conv.kernel.assign(0.02 * network.output_conv.kernel)
        trainer = self.trainer(editor, network, l1=0.4, until=until)
        latents = tf.constant(editor.generator.latents(3))
        found = []
        for function in (
            lambda: trainer.compute_losses(latents, None, True, trainer.constants)[0],
            lambda: self.loss_by_hand(editor.generator, network, latents, 0.4, until),
        ):
            with tf.GradientTape() as tape:
                loss = function()
            gradients = tape.gradient(loss, network.trainable_variables)
            found.append([float(loss), np.concatenate([np.ravel(g) for g in gradients])])
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
        assert_close(found[0][1], found[1][1], 1e-3)  # float32

    def test_no_gradient_flows_through_the_trajectory(self, editor):
        """Of a large shift, and of an embedding that depends on where the change begins."""

        def curved(pixels):
            return tf.reshape(tf.tanh(0.3 * pixels) ** 2, (-1, 64)) @ MATRIX

        generator, network = editor.generator, de.DeltaNetwork(8, num_steps=2)
        set_random_weights(network, seed=1)
        trainer = de.DeltaTrainer(network, generator, curved, TARGET, l1=0)
        latents = tf.constant(generator.latents(3))
        found = []
        for function in (
            lambda: trainer.compute_losses(latents, None, True, trainer.constants)[0],
            *(
                lambda c=c: self.loss_by_hand(generator, network, latents, 0, 0, c, curved)
                for c in (tf.stop_gradient, tf.identity)
            ),
        ):
            with tf.GradientTape() as tape:
                loss = function()
            gradients = tape.gradient(loss, network.trainable_variables)
            found.append(np.concatenate([np.ravel(g) for g in gradients]))
        trained, stopped, flowing = found
        # What would flow is a thousandth of the rest, and a hundred times float32's rounding.
        assert np.abs(trained - stopped).max() < 0.1 * np.abs(flowing - stopped).max()

    def test_the_network_sees_h_along_the_edited_trajectory(self, editor):
        """With the edited noises in the predicted images, and the others in the direction."""
        generator, seen = editor.generator, []

        class Seeing(de.DeltaNetwork):
            def call(self, inputs, training=None):
                seen.append(inputs)
                return super().call(inputs, training)

        network = set_random_weights(Seeing(8, num_steps=2), seed=1)
        network.output_conv.kernel.assign(100 * network.output_conv.kernel)
        trainer, images = self.trainer(editor, network), tf.constant(generator.latents(1))
        trainer.compute_losses(images, None, True, trainer.constants)
        steps = itertools.pairwise(generator.process.levels(2))
        for (now, after), (h, variances) in zip(steps, seen[:2], strict=True):
            own = []
            plain = noises_of(generator, images, now, lambda h, own=own: own.append(h) or h)
            assert_close(h, own[0], 1e-4)  # float32, through the first step
            assert_close(variances, np.full((1, 1, 1, 1), now.noise**2), 1e-6)
            shift = network([h, variances])
            shifted = noises_of(generator, images, now, lambda h, shift=shift: h + shift)
            predicted = (images - now.noise * shifted) / now.signal
            images = after.signal * predicted + after.noise * plain

    def test_begins_at_1_and_learns(self, editor):
        trainer = self.trainer(editor, l1=0.01)
        trainer.compile(keras.optimizers.SGD(1.0))
        history = trainer.fit(
            editor.generator.latents(6), batch_size=6, epochs=6, verbose=0
        ).history
        # An untrained network changes nothing: no direction, no difference.
        assert history["direction"][0] == pytest.approx(1, abs=1e-3)
        assert history["l1"][0] < 1e-4
        assert history["direction"][-1] < 0.88
        assert np.isclose(
            history["loss"][-1], history["direction"][-1] + 0.01 * history["l1"][-1], rtol=1e-4
        )

    def test_what_does_not_fit_is_refused(self, editor, editors):
        generator = editor.generator
        for options, words in (
            ({"network": de.DeltaNetwork(8, num_steps=3)}, "generator's 2 steps. Received: 3"),
            ({"network": de.DeltaNetwork(8, 2, "x")}, "of another generator: 'x'"),
            ({"network": generator.network}, "`network` must be a `DeltaNetwork`"),
            ({"generator": editors["conditional"].generator}, "must have no condition"),
            ({"generator": 3}, "`generator` must be"),
            ({"image_encoder": 3}, "`image_encoder` must be a function"),
            ({"target": np.zeros(3)}, "`target` must be one vector, not 0"),
            ({"target": [[1.0]]}, "`target` must be one vector"),
            ({"l1": -1}, "`l1` must be"),
            ({"until": 2}, "`until` must be"),
        ):
            given = {"network": de.DeltaNetwork(8, num_steps=2), "generator": generator}
            given |= {"image_encoder": encode, "target": TARGET}
            with pytest.raises(ValueError, match=words):
                de.DeltaTrainer(**given | options)
        trainer = self.trainer(editor)
        trainer.compile(keras.optimizers.SGD(1e-3))
        with pytest.raises(ValueError, match="takes latents alone"):
            trainer.fit(np.zeros((2, 4, 4, 1)), verbose=0)
        with pytest.raises(ValueError, match="`latents` must be finite"):
            trainer.fit(np.full((2, 8, 8, 1), math.nan), verbose=0)
        with pytest.raises(NotImplementedError, match="Save its `network`"):
            trainer.get_config()

    def test_class_difference(self):
        pixels = make_pixels(5, (8, 8, 1))
        labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]])
        features = encode(pixels).numpy()
        found = de.class_difference(encode, pixels, labels, batch_size=2)
        for row, column in zip(found, labels.T, strict=True):
            difference = features[column == 1].mean(axis=0) - features[column == 0].mean(axis=0)
            np.testing.assert_allclose(row, difference, rtol=1e-4)
        alone = de.class_difference(encode, pixels, labels[:, 1])
        np.testing.assert_allclose(alone, found[1], rtol=1e-5)
