"""Training through the unrolled sampler: its gradient is the loss's, and all else stays."""

import contextlib
import itertools
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_close, make_generator, make_pixels, set_random_weights

from ddim_embed.networks.embedders import build_embedder
from ddim_embed.store.locks import locked
from ddim_embed.training import pairs as pairs_module
from ddim_embed.training.embedder import EmbedderTrainer, LatentRegression
from ddim_embed.training.losses import LOSSES
from ddim_embed.training.pairs import LatentPairs


@pytest.fixture(scope="module")
def generator():
    return make_generator(image_shape=(8, 8, 1), widths=(4, 8), padding=1)


def make_trainer(generator, network="conv3_16", optimizer=None, **kwargs):
    embedder = build_embedder(network, widths=(4,), block_depth=1)
    trainer = EmbedderTrainer(set_random_weights(embedder, seed=2), generator, **kwargs)
    trainer.compile(optimizer or keras.optimizers.SGD(1.0))
    return trainer


def loss_of(generator, embedder, pixels, training=False, loss="mean_absolute_error"):
    """The documented loss, put together outside the trainer."""
    latents = embedder(generator.normalizer(pixels), training=training)
    errors = (pixels - generator.decode(latents)).numpy().astype(np.float64)
    errors = errors[:, 1:-1, 1:-1]  # the border of 1 that this generator's data do not have
    if loss == "mean_absolute_error":
        return np.abs(errors).mean()
    squares = np.mean(errors**2, axis=(1, 2, 3))
    return np.mean(np.sqrt(squares) if loss == "root_mean_square" else squares)


def step_taken(trainer, pixels):
    """What a step of plain descent with rate 1 subtracts: the gradient, as `train_step` has it."""
    variables = trainer.embedder.trainable_variables
    before = [variable.numpy() for variable in variables]
    trainer.train_step(tf.constant(pixels))
    gradient = [old - new.numpy() for old, new in zip(before, variables, strict=True)]
    for variable, old in zip(variables, before, strict=True):
        variable.assign(old)
    return gradient


class TestEmbedderTrainer:
    @pytest.mark.parametrize(
        "network, options",
        [
            ("conv3_16", {}),
            ("conv3_16", {"remat": True}),
            ("conv3_16", {"loss": "mean_squared_error"}),
            ("conv3_16", {"loss": "root_mean_square"}),
            ("unet", {}),
            ("unet", {"remat": True}),
        ],
    )
    def test_a_step_follows_the_central_difference_of_the_loss(self, generator, network, options):
        """Along the gradient; a second, random direction catches a wrong angle."""
        trainer = make_trainer(generator, network, **options)
        loss = options.get("loss", "mean_absolute_error")
        pixels, variables = make_pixels(3), trainer.embedder.trainable_variables
        values = [variable.numpy() for variable in variables]
        gradient = step_taken(trainer, pixels)
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradient))
        assert norm > 1e-2

        def slope(direction, h):
            losses = []
            for sign in (1, -1):
                for variable, value, d in zip(variables, values, direction, strict=True):
                    variable.assign(value + sign * h * d)
                losses.append(loss_of(generator, trainer.embedder, pixels, loss=loss))
            return (losses[0] - losses[1]) / (2 * h)

        rng = np.random.default_rng(0)
        random = [rng.normal(size=g.shape) / np.sqrt(g.size) for g in gradient]
        along = sum((g * d).sum() for g, d in zip(gradient, random, strict=True))
        # A step this small crosses few of the kinks of absolute values and ReLU; the loss, up to 14
        # here, is rounded to 1e-6, which leaves 2e-2 in slopes of about 30.
        h = 3e-5
        assert slope([g / norm for g in gradient], h) == pytest.approx(norm, rel=5e-3)
        assert slope(random, h) == pytest.approx(along, abs=5e-3 * norm)

    def test_remat_gives_the_same_step_in_a_graph(self, generator):
        pixels = tf.constant(make_pixels(3))
        stepped = []
        for remat in (False, True):
            trainer = make_trainer(generator, remat=remat)
            before = trainer.embedder.get_weights()
            tf.function(trainer.train_step, autograph=False)(pixels)
            after = trainer.embedder.get_weights()
            stepped.append([new - old for old, new in zip(before, after, strict=True)])
        for plain, recomputed in zip(*stepped, strict=True):
            assert np.abs(plain).max() > 0
            assert_close(recomputed, plain, 1e-4)  # float32 differences of weights

    @pytest.mark.parametrize(
        "loss", ["mean_absolute_error", "mean_squared_error", "root_mean_square"]
    )
    @pytest.mark.parametrize("n", range(1, 6))
    def test_losses_of_any_batch_size(self, generator, n, loss):
        trainer = make_trainer(generator, loss=loss)
        pixels = make_pixels(n, seed=n)
        logs = trainer.test_step(tf.constant(pixels))
        reconstruction = trainer(pixels).numpy()
        # Clipped, and without the border of 1 that this generator's data do not have.
        error = (pixels - np.clip(reconstruction, 0, 1))[:, 1:-1, 1:-1] ** 2
        assert float(logs["mse"]) == pytest.approx(error.mean(), rel=1e-5)
        expected = loss_of(generator, trainer.embedder, pixels, loss=loss)
        assert float(logs["loss"]) == pytest.approx(expected, rel=1e-5)
        trainer.reset_metrics()
        logs = trainer.train_step(tf.constant(pixels))
        assert float(logs["loss"]) == pytest.approx(expected, rel=1e-4)

    def test_a_loss_that_is_none_is_refused(self, generator):
        with pytest.raises(
            ValueError, match=r"`loss` must be one of .*'mean_squared.*Received: 'l3'"
        ):
            make_trainer(generator, loss="l3")

    def test_an_image_without_an_error_has_a_gradient(self):
        errors = tf.Variable(tf.zeros((1, 2, 2, 1)))
        with tf.GradientTape() as tape:
            loss = LOSSES["root_mean_square"](errors)
        assert np.isfinite(tape.gradient(loss, errors)).all()

    def test_saturated_pixels_have_a_gradient(self, generator):
        trainer = make_trainer(generator, "conv1")
        for variable in trainer.embedder.trainable_variables:
            variable.assign(10 * variable)
        pixels = make_pixels(1)
        reconstruction = trainer(pixels).numpy()
        beyond = (reconstruction < 0) | (reconstruction > 1)
        assert beyond.mean() > 0.3

        with tf.GradientTape() as tape:
            value = tf.reduce_sum(tf.where(beyond, trainer(pixels), 0))
        gradients = tape.gradient(value, trainer.embedder.trainable_variables)
        assert all(np.abs(gradient).max() > 0 for gradient in gradients)

    def test_touches_no_weight_of_the_generator(self, generator):
        before = [weight.numpy() for weight in generator.weights]
        trainer = make_trainer(generator, optimizer=keras.optimizers.Adam(1e-2))
        trainer.fit(make_pixels(5), batch_size=2, verbose=0)  # the last batch is ragged
        for old, weight in zip(before, generator.weights, strict=True):
            np.testing.assert_array_equal(old, weight)
        foreign = {id(weight) for weight in generator.weights}
        assert not foreign & {id(variable) for variable in trainer.variables}
        own = {id(weight) for weight in trainer.embedder.weights}
        assert {id(weight) for weight in trainer.weights} == own
        assert not any(variable.path.startswith("generator") for variable in trainer.variables)
        assert generator.trainable is False and not generator.trainable_variables

    def test_learns(self, generator):
        trainer = make_trainer(generator, optimizer=keras.optimizers.Adam(3e-3))
        pixels = make_pixels(4)
        history = trainer.fit(pixels, batch_size=4, epochs=25, verbose=0).history
        assert history["loss"][-1] < 0.7 * history["loss"][0]
        assert history["mse"][-1] < history["mse"][0]
        assert trainer.evaluate(pixels, verbose=0, return_dict=True)["loss"] > 0

    @pytest.mark.parametrize("adapt", [False, True])
    def test_statistics_move_only_where_asked(self, generator, adapt):
        trainer = make_trainer(generator, "unet", adapt_statistics=adapt)
        pixels = make_pixels(4)
        expected = loss_of(generator, trainer.embedder, pixels, training=False)
        statistics = [w for w in trainer.embedder.weights if "moving" in w.name]
        before = [weight.numpy() for weight in statistics]
        logs = trainer.train_step(tf.constant(pixels))
        moved = [not np.array_equal(a, b) for a, b in zip(before, statistics, strict=True)]
        assert moved == [adapt] * len(statistics)
        assert (float(logs["loss"]) == pytest.approx(expected, rel=1e-4)) != adapt


class TestLatentRegression:
    def test_one_step_and_its_loss(self, generator):
        trainer = LatentRegression(set_random_weights(build_embedder("conv1")), generator)
        trainer.compile(keras.optimizers.SGD(0.01))
        pixels, latents = make_pixels(3), generator.latents(3)
        predicted = trainer.embedder(generator.normalizer(pixels)).numpy()
        expected = np.mean((latents - predicted) ** 2)
        batch = (tf.constant(pixels), tf.constant(latents))
        assert float(trainer.test_step(batch)["loss"]) == pytest.approx(expected, rel=1e-5)
        trainer.reset_metrics()
        assert float(trainer.train_step(batch)["loss"]) == pytest.approx(expected, rel=1e-5)
        trainer.reset_metrics()
        assert float(trainer.test_step(batch)["loss"]) < expected
        np.testing.assert_array_equal(
            trainer(pixels), trainer.embedder(generator.normalizer(pixels))
        )

    def test_the_optimum_is_the_mean_of_the_latents(self, generator):
        """One image, two latents, and a network that can only put out its bias."""
        embedder = build_embedder("conv1")
        embedder.convs[0].kernel.assign(tf.zeros((5, 5, 1, 1)))
        embedder.convs[0].kernel.trainable = False
        trainer = LatentRegression(embedder, generator)
        trainer.compile(keras.optimizers.SGD(0.25))  # gradient 2 (b - mean): halves the distance
        pixels = tf.constant(make_pixels(1).repeat(2, 0))
        latents = tf.stack([tf.fill((8, 8, 1), 1.0), tf.fill((8, 8, 1), 4.0)])
        for _ in range(20):
            trainer.train_step((pixels, latents))
        assert float(embedder.convs[0].bias[0]) == pytest.approx(2.5, abs=1e-4)


class TestLatentPairs:
    @pytest.fixture(autouse=True)
    def small_parts(self, monkeypatch):
        monkeypatch.setattr(pairs_module, "DECODE_BATCH", 2)

    @pytest.fixture
    def decoded(self, generator, monkeypatch):
        """Every batch of latents that the generator is asked to decode."""
        calls, decode = [], generator.decode

        def spy(latents):
            calls.append(latents)
            return decode(latents)

        monkeypatch.setattr(generator, "decode", spy)
        return calls

    def make(self, generator, path, count=6, **kwargs):
        return LatentPairs(generator, count, path, progress=False, **kwargs)

    def test_pixels_are_what_the_latents_decode_to(self, generator, tmp_path):
        pairs = self.make(generator, tmp_path / "pairs.bin", count=5)
        assert len(pairs) == 6  # whole parts
        for part in range(3):
            expected = np.clip(generator.decode(pairs.latents(part)), 0, 1)
            # float16 in [0, 1]
            np.testing.assert_allclose(pairs.pixels[2 * part : 2 * part + 2], expected, atol=3e-4)
        assert np.abs(pairs.latents(0) - pairs.latents(1)).max() > 0.5

    def test_a_second_run_reads_the_file(self, generator, tmp_path, decoded):
        first = self.make(generator, tmp_path / "new folder" / "pairs.bin")
        assert len(decoded) == 3
        second = self.make(generator, tmp_path / "new folder" / "pairs.bin")
        assert len(decoded) == 3
        np.testing.assert_array_equal(first.pixels, second.pixels)
        np.testing.assert_array_equal(first.latents(1), second.latents(1))

    def test_more_pairs_continue_the_file(self, generator, tmp_path, decoded):
        self.make(generator, tmp_path / "pairs.bin", count=4)
        longer = self.make(generator, tmp_path / "pairs.bin", count=8)
        assert len(decoded) == 4
        fresh = self.make(generator, tmp_path / "fresh.bin", count=8)
        np.testing.assert_array_equal(longer.pixels, fresh.pixels)
        shorter = self.make(generator, tmp_path / "pairs.bin", count=2)
        np.testing.assert_array_equal(shorter.pixels, fresh.pixels[:2])

    def test_a_killed_run_goes_on(self, generator, tmp_path, decoded, monkeypatch):
        path, spy = tmp_path / "pairs.bin", generator.decode

        def killed(latents):
            if len(decoded) == 17:
                raise KeyboardInterrupt
            return spy(latents)

        monkeypatch.setattr(generator, "decode", killed)
        with pytest.raises(KeyboardInterrupt):
            self.make(generator, path, count=36)
        monkeypatch.setattr(generator, "decode", spy)
        decoded.clear()
        pairs = self.make(generator, path, count=36)
        assert len(decoded) == 2  # 18 parts, of which 16 were written
        expected = np.clip(generator.decode(pairs.latents(17)), 0, 1)
        np.testing.assert_allclose(pairs.pixels[-2:], expected, atol=3e-4)  # float16

    @pytest.mark.parametrize("damage", ["truncated", "foreign", "a bit"])
    def test_a_damaged_file_is_made_anew(self, generator, tmp_path, decoded, damage):
        path = tmp_path / "pairs.bin"
        first = self.make(generator, path)
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:-500])
        elif damage == "a bit":
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 64
            path.write_bytes(content)
        else:
            path.write_bytes(b"something else")
        decoded.clear()
        with pytest.warns(UserWarning, match=f"{path} is damaged.*The latent pairs are made anew"):
            second = self.make(generator, path)
        assert len(decoded) == 3
        np.testing.assert_array_equal(first.pixels, second.pixels)

    def test_the_second_at_once_waits_for_the_first(self, generator, tmp_path, decoded):
        path = tmp_path / "pairs.bin"
        with contextlib.ExitStack() as held:
            held.enter_context(locked(tmp_path / ".pairs.bin.lock"))
            first = threading.Timer(0.5, held.close)
            first.start()
            with pytest.warns(UserWarning, match=f"Waiting for the latent pairs {path} of process"):
                self.make(generator, path)
        assert len(decoded) == 3
        assert [path.name for path in tmp_path.iterdir()] == ["pairs.bin"]

    def test_pairs_of_another_generator_or_seed_are_made_anew(self, generator, tmp_path):
        path = tmp_path / "pairs.bin"
        first = self.make(generator, path)
        other = make_generator(seed=1, image_shape=(8, 8, 1), widths=(4, 8))
        second = self.make(other, path)
        expected = np.clip(other.decode(second.latents(0)), 0, 1)
        np.testing.assert_allclose(second.pixels[:2], expected, atol=3e-4)  # float16
        third = self.make(other, path, seed=1)
        assert np.abs(first.latents(0) - third.latents(0)).max() > 0.5
        expected = np.clip(other.decode(third.latents(0)), 0, 1)
        np.testing.assert_allclose(third.pixels[:2], expected, atol=3e-4)

    def test_batches(self, generator, tmp_path):
        pairs = self.make(generator, tmp_path / "pairs.bin")
        latents = np.concatenate([pairs.latents(part) for part in range(3)])

        def take(count, start_step=0):
            batches = itertools.islice(pairs.batches(2, start_step), count)
            return list(batches)

        whole = take(7)
        orders = []
        for pixels, found in whole:
            assert pixels.shape == found.shape == (2, 8, 8, 1)
            assert pixels.dtype == found.dtype == np.float32
            rows = [int(np.where((latents == row).all((1, 2, 3)))[0][0]) for row in found]
            np.testing.assert_array_equal(pixels, pairs.pixels[rows])  # each with its own latents
            orders += rows
        # Each epoch has every pair once, in an order of its own.
        assert sorted(orders[:6]) == sorted(orders[6:12]) == list(range(6))
        assert orders[:6] != orders[6:12]
        for start in (0, 2, 4):  # the same batches again, from anywhere, over an epoch's end
            for (pixels, found), again in zip(whole[start:], take(7 - start, start), strict=True):
                np.testing.assert_array_equal(pixels, again[0])
                np.testing.assert_array_equal(found, again[1])

    def test_a_batch_larger_than_the_set(self, generator, tmp_path):
        pairs = self.make(generator, tmp_path / "pairs.bin")
        with pytest.raises(ValueError, match=r"at most the 6 pairs. Received: 7"):
            pairs.batches(7)
