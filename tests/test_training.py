"""The training loop, stopped and taken up again within one process.

Real processes are killed in test_resume.py.
"""

import json

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_diffusion, make_generator, make_pixels, set_random_weights

import ddim_embed as de
from ddim_embed.training.loop import (
    CHECKPOINT,
    HISTORY,
    CheckpointError,
    restore_checkpoint,
    save_checkpoint,
    train,
)


class Line(keras.Model):
    """The smallest model with all that the loop needs: fits a number to batches of numbers."""

    def __init__(self, learning_rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.value = self.add_weight(shape=(2,), initializer="zeros", name="value")
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.strategy = de.Strategy()
        self.built = True
        self.compile(keras.optimizers.Adam(learning_rate), jit_compile=False)
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self):
        return [self.loss_tracker]

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.value - batch) ** 2)
        gradient = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradient, self.trainable_variables, strict=True))
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}


def numbers(step):
    """Batch i is a function of i."""
    while True:
        yield tf.constant(np.random.default_rng(step).normal(size=2), tf.float32)
        step += 1


def run(model, num_steps, folder, batches=numbers, **kwargs):
    options = {"progress": False, "log_steps": 4} | kwargs
    return train(model, batches, num_steps, folder, **options)


def losses(history):
    return [(line["step"], line["loss"]) for line in history]


def assert_equal_state(first, second):
    for model in (first, second):
        assert len(model.optimizer.variables) > 2
    for a, b in zip(
        [*first.variables, *first.optimizer.variables],
        [*second.variables, *second.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


class TestTrain:
    def test_history(self, tmp_path):
        model = Line()
        history = run(model, 10, tmp_path / "new" / "folder")
        assert [line["step"] for line in history] == [4, 8, 10]
        assert all(line["seconds"] >= 0 for line in history)
        assert int(model.optimizer.iterations) == 10
        lines = (tmp_path / "new" / "folder" / HISTORY).read_text().splitlines()
        assert [json.loads(line) for line in lines] == history
        # Each line averages over the steps since the last one.
        single = run(Line(), 10, tmp_path / "single", log_steps=1)
        means = [np.mean([line["loss"] for line in single[i:j]]) for i, j in [(0, 4), (4, 8)]]
        assert [line["loss"] for line in history[:2]] == pytest.approx(means, rel=1e-5)

    def test_the_history_holds_nothing_from_before(self, tmp_path):
        model = Line()
        expected = run(Line(), 4, tmp_path / "expected")
        model.loss_tracker.update_state(100.0)
        assert losses(run(model, 4, tmp_path / "run")) == losses(expected)

    @pytest.mark.parametrize("stop", [1, 4, 6])
    def test_two_halves_are_one_run(self, tmp_path, stop):
        """In the middle of a history line as well as at its end."""

        def interrupted(step):
            for i, batch in enumerate(numbers(step), step):
                if i == stop:
                    raise KeyboardInterrupt
                yield batch

        whole = Line()
        expected = run(whole, 10, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            run(Line(), 10, tmp_path / "half", interrupted, checkpoint_seconds=-1)
        asked = []
        second = Line()

        def batches(step):
            asked.append(step)
            return numbers(step)

        history = run(second, 10, tmp_path / "half", batches)
        assert asked == [stop]
        assert [line["step"] for line in history] == [4, 8, 10]
        # The line that the stop cut averages over the steps since.
        for i, (line, other) in enumerate(zip(losses(history), losses(expected), strict=True)):
            assert (line == other) == (stop % 4 == 0 or i != stop // 4)
        assert_equal_state(second, whole)

    def test_steps_after_the_last_checkpoint_are_done_again(self, tmp_path):
        def interrupted(step):
            for i, batch in enumerate(numbers(step), step):
                if i == 6:
                    raise KeyboardInterrupt
                yield batch

        expected = run(Line(), 10, tmp_path / "whole")
        run(Line(), 3, tmp_path / "half")
        # A kill between the history's rename and the checkpoint's leaves lines of the future.
        with open(tmp_path / "half" / HISTORY, "a") as file:
            file.write(json.dumps({"step": 8, "seconds": 1.0, "loss": 9.0}) + "\n")
        with pytest.raises(KeyboardInterrupt):
            run(Line(), 10, tmp_path / "half", interrupted, checkpoint_seconds=1e9)
        model = Line()
        history = run(model, 10, tmp_path / "half")
        assert [line["step"] for line in history] == [3, 4, 8, 10]
        assert losses(history)[2:] == losses(expected)[1:]

    def test_a_finished_run_returns_at_once(self, tmp_path):
        expected = run(Line(), 5, tmp_path)
        before = (tmp_path / CHECKPOINT).read_bytes()
        model = Line()
        assert run(model, 5, tmp_path, batches=None) == expected
        assert int(model.optimizer.iterations) == 5
        assert (tmp_path / CHECKPOINT).read_bytes() == before

    def test_the_copy_of_the_history_is_written_where_a_kill_came_before_it(self, tmp_path):
        run(Line(), 5, tmp_path)
        copy = (tmp_path / HISTORY).read_bytes()
        for damage in (b"", b"{"):
            (tmp_path / HISTORY).write_bytes(damage)
            run(Line(), 5, tmp_path, batches=None)
            assert (tmp_path / HISTORY).read_bytes() == copy

    @pytest.mark.parametrize("checkpoint_seconds", [-1, 1e9])
    def test_a_loss_that_is_not_finite_stops_it(self, tmp_path, checkpoint_seconds):
        """Whenever checkpoints are due, none of them is of a run that failed."""

        def broken(step):
            for i, batch in enumerate(numbers(step), step):
                yield batch * np.nan if i == 5 else batch

        run(Line(), 2, tmp_path)
        with pytest.raises(FloatingPointError, match="not finite"):
            run(Line(), 20, tmp_path, broken, checkpoint_seconds=checkpoint_seconds)
        model = Line()
        restore_checkpoint(tmp_path / CHECKPOINT, model)
        assert int(model.optimizer.iterations) == (5 if checkpoint_seconds < 0 else 2)
        assert all(np.isfinite(variable).all() for variable in model.variables)

    def test_the_first_batch_is_looked_at(self, tmp_path):
        model = make_diffusion(widths=(4,))
        model.compile("adam")
        for batch in (255 * make_pixels(2), np.uint8(make_pixels(2)), (make_pixels(2), [0, 1])):
            with pytest.raises(ValueError, match="pixels"):
                run(model, 1, tmp_path, lambda step, batch=batch: iter([batch]))
        assert not (tmp_path / CHECKPOINT).exists()

    def test_the_progress_bar(self, tmp_path, capsys):
        run(Line(), 4, tmp_path / "a", progress=True, description="a line")
        assert "a line" in capsys.readouterr().err
        run(Line(), 4, tmp_path / "b")
        assert not capsys.readouterr().err


class TestCheckpoint:
    def test_round_trip(self, tmp_path):
        model = Line()
        run(model, 3, tmp_path)
        save_checkpoint(tmp_path / "x.h5", model, seconds=12.5, history=[{"step": 3}])
        other = Line()
        assert restore_checkpoint(tmp_path / "x.h5", other) == (12.5, [{"step": 3}])
        assert_equal_state(model, other)
        assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, HISTORY, "x.h5"}

    def test_damage_is_found_and_nothing_changed(self, tmp_path):
        """Of any bit, also in the arrays, which HDF5 itself does not notice."""
        path, model, rng = tmp_path / CHECKPOINT, Line(), np.random.default_rng(0)
        run(model, 4, tmp_path)
        before, whole = [variable.numpy() for variable in model.variables], path.read_bytes()
        words = rf"checkpoint {path} is damaged.*Delete it to start anew\.$"
        for bit in rng.choice(8 * len(whole), 40, replace=False):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            with pytest.raises(CheckpointError, match=words):
                restore_checkpoint(path, model)
        for cut in (0, 10, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:cut])
            with pytest.raises(CheckpointError, match=words):
                run(model, 4, tmp_path)
        # As earlier versions wrote them.
        with h5py.File(path, "w") as file:
            file["0000_step"] = 1
        with pytest.raises(CheckpointError, match="or of an earlier version"):
            run(model, 4, tmp_path)
        for old, variable in zip(before, model.variables, strict=True):
            np.testing.assert_array_equal(old, variable)

    def test_the_history_is_in_it(self, tmp_path):
        expected = run(Line(), 6, tmp_path)
        lines = (tmp_path / HISTORY).read_text().splitlines()
        assert [json.loads(line) for line in lines] == expected
        (tmp_path / HISTORY).unlink()
        assert run(Line(), 6, tmp_path, batches=None) == expected
        # Killed before the first line, and then no longer wanted that long.
        save_checkpoint(tmp_path / CHECKPOINT, Line(), seconds=2.0)
        assert run(Line(), 0, tmp_path, batches=None) == [{"step": 0, "seconds": 2.0}]

    def test_the_same_run_twice_at_once(self, tmp_path):
        def again(step):
            with pytest.raises(CheckpointError, match=rf"trains in {tmp_path}: process \d+ on "):
                run(Line(), 2, tmp_path)
            return numbers(step)

        run(Line(), 2, tmp_path, again)
        assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT, HISTORY}

    def test_another_model_is_named_and_unchanged(self, tmp_path):
        save_checkpoint(tmp_path / "x.h5", Line())
        other = Line()
        other.extra = other.add_weight(shape=(3,), name="extra", initializer="ones")
        before = [variable.numpy() for variable in other.variables]
        with pytest.raises(ValueError, match=r"x\.h5 is of another model .*extra.*\(3,\)"):
            restore_checkpoint(tmp_path / "x.h5", other)
        for old, variable in zip(before, other.variables, strict=True):
            np.testing.assert_array_equal(old, variable)


class TestModels:
    """The two models that are trained for hours, over an interruption in the middle."""

    def check(self, make, tmp_path):
        def batches(step):
            while True:
                yield tf.constant(make_pixels(3, seed=step))
                step += 1

        whole, first, second = make(), make(), make()
        expected = run(whole, 4, tmp_path / "whole", batches, log_steps=1)
        run(first, 2, tmp_path / "half", batches, log_steps=1)
        history = run(second, 4, tmp_path / "half", batches, log_steps=1)
        assert [loss for _, loss in losses(history)] == pytest.approx(
            [loss for _, loss in losses(expected)], rel=1e-4
        )  # float32 sums of several threads
        for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
            # Adam divides by the gradient's size: where that is tiny, its rounding shows.
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)

    def test_the_denoiser(self, tmp_path):
        def make():
            model = make_diffusion(seed=3, widths=(4,))
            model.compile(keras.optimizers.Adam(1e-3))
            return model

        self.check(make, tmp_path)

    def test_a_model_that_trains_on_is_not_compiled_again(self, tmp_path, monkeypatch):
        model, traced = make_diffusion(widths=(4,)), []
        compute = model.compute_losses
        monkeypatch.setattr(
            model, "compute_losses", lambda *args: traced.append(args) or compute(*args)
        )
        model.compile(keras.optimizers.Adam(1e-3))
        run(model, 1, tmp_path / "run", lambda step: [make_pixels(3, seed=step)] * 2)
        assert len(traced) == 1
        run(model, 3, tmp_path / "run", lambda step: [make_pixels(3, seed=step)] * 2)
        assert len(traced) == 1
        model.compile(keras.optimizers.Adam(1e-3))
        run(model, 1, tmp_path / "other", lambda step: [make_pixels(3, seed=step)])
        assert len(traced) == 2

    def test_an_embedder(self, tmp_path):
        generator = make_generator(image_shape=(8, 8, 1), widths=(4,), num_steps=2)

        def make():
            embedder = set_random_weights(de.build_embedder("conv1"))
            trainer = de.EmbedderTrainer(embedder, generator)
            trainer.compile(keras.optimizers.Adam(1e-3))
            return trainer

        self.check(make, tmp_path)
