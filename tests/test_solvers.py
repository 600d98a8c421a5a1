"""Descent, L-BFGS, Gauss-Newton, defect correction: closed forms and common behaviour."""

import dataclasses

import keras
import numpy as np
import oracles
import pytest
import scipy
import tensorflow as tf
from conftest import assert_close, make_generator, make_pixels, set_random_weights
from hypothesis import given, settings
from hypothesis import strategies as st

import ddim_embed as de
from ddim_embed.methods import gauss_newton, hybrid, quasi_newton
from ddim_embed.methods.embedding import CONVERGED_MSE, Embedding, Trace, concatenate
from ddim_embed.methods.iterates import Iterates

SOLVERS = [
    de.Descent(num_steps=4),
    de.LBFGS(num_steps=8),
    de.GaussNewton(num_steps=3, cg_steps=2),
    de.DefectCorrection(num_steps=3),
]
each_solver = pytest.mark.parametrize("method", SOLVERS, ids=lambda m: type(m).__name__)


class Linear(de.Generator):
    """A generator of Gaussian data with a deviation per pixel: decode is linear.

    Each latent is multiplied by its own factor, one of `deviations`.
    """

    def __init__(self, deviations=(1.0, 0.5, 0.2), image_shape=(4, 4, 1)):
        network = de.UNet(1, widths=(4, 4), block_depth=1)
        super().__init__(network, process=de.Process(num_steps=2), image_shape=image_shape)
        self.normalizer.mean.assign([0.5])
        self.normalizer.variance.assign([0.01])
        deviation = np.resize(np.float32(deviations), (4, 4, 1))
        self.oracle = oracles.gaussian(deviation)

    def denoiser(self, precision=None):
        return self.oracle

    def reachable(self, n=3):
        """Latents, and their pixels."""
        latents = self.latents(n, seed=9)
        return latents, self.decode(latents).numpy()


class TestQuadratic:
    """Where decode is linear the least-squares problem has one solution."""

    @pytest.mark.parametrize("values", [(1.0,), (1.0, 0.5), (1.0, 0.5, 0.2)])
    def test_gauss_newton_needs_one_cg_step_per_curvature(self, values):
        generator = Linear(values)
        latents, pixels = generator.reachable()
        method = de.GaussNewton(num_steps=4, cg_steps=len(values), damping=1e-7)
        result = de.embed(generator, pixels, method)
        assert result.mse.max() < 1e-10
        np.testing.assert_allclose(result.latents, latents, atol=1e-2)
        assert result.trace.mse[1].max() < 1e-6 < result.trace.mse[0].min()

    def test_lbfgs_learns_the_curvatures(self):
        generator = Linear()
        latents, pixels = generator.reachable()
        result = de.embed(generator, pixels, de.LBFGS(num_steps=40, laplacian=0.0))
        assert result.mse.max() < 1e-9
        np.testing.assert_allclose(result.latents, latents, atol=2e-2)

    def test_lbfgs_with_a_penalty_finds_the_most_probable_latents(self):
        """Pixels are 0.5 + s z, so that z is s (x - 0.5) / (s**2 + penalty)."""
        generator = Linear()
        latents, pixels = generator.reachable()
        scale = (pixels - 0.5) / latents
        penalty = 0.1 * float(np.median(scale**2))
        method = de.LBFGS(num_steps=40, laplacian=0.0, penalty=penalty)
        # Also from the solution without a penalty, whose error is the least.
        for start in (None, latents):
            result = de.embed(generator, pixels, method, latents=start)
            expected = scale * (pixels - 0.5) / (scale**2 + penalty)
            np.testing.assert_allclose(result.latents, expected, atol=2e-2)
        assert result.mse.min() > 1e-6

    def test_lbfgs_beats_descent_beats_the_start(self):
        generator = Linear()
        _, pixels = generator.reachable()
        start = de.embed(generator, pixels, de.Descent(num_steps=1))
        descent = de.embed(generator, pixels, de.Descent(num_steps=30))
        lbfgs = de.embed(generator, pixels, de.LBFGS(num_steps=30))
        assert (lbfgs.mse < 0.1 * descent.mse).all() and (descent.mse < start.mse).all()


@pytest.mark.parametrize(
    "name, loss",
    [("mean_absolute_error", tf.abs), ("mean_squared_error", lambda x: 0.5 * x**2)],
)
def test_descent_is_adam(name, loss):
    """Step by step equal to Keras' Adam on the same loss; half the squared error, as in Eq. 12."""
    generator, pixels = make_generator(), make_pixels(2, (16, 16, 1))
    start = generator.latents(2, seed=3)
    optimizer = keras.optimizers.Adam(0.02, epsilon=1e-12)
    variable = tf.Variable(start)
    iterates = []
    for _ in range(4):
        iterates.append(variable.numpy())
        with tf.GradientTape() as tape:
            errors = loss(generator.decode_tensor(variable) - pixels)
            total = tf.reduce_sum(tf.reduce_mean(errors + 0.1 * variable**2, axis=(1, 2, 3)))
        optimizer.apply([tape.gradient(total, variable)], [variable])
    method = de.Descent(num_steps=4, learning_rate=0.02, loss=name, penalty=0.1)
    result = de.embed(generator, pixels, method, latents=start)
    errors = [de.metrics.mse(pixels, generator.decode(latents).numpy()) for latents in iterates]
    best = np.argmin(errors, axis=0)
    expected = np.stack([iterates[b][i] for i, b in enumerate(best)])
    np.testing.assert_allclose(result.latents, expected, atol=1e-4)
    np.testing.assert_allclose(result.trace.mse, np.minimum.accumulate(errors), rtol=1e-3)


@pytest.mark.parametrize("decay", [False, True])
def test_descent_s_rate_falls_along_a_cosine_if_it_decays(decay):
    asked = []

    class Generator:
        gradient_evaluations = 2

        def traced(self, function):
            def step(latents, mean, square, pixels, count, rate, **options):
                asked.append((float(count), float(rate)))
                return latents, mean, square, np.ones(1)

            return step

    image = np.zeros((1, 2, 2, 1), np.float32)
    method = de.Descent(num_steps=4, learning_rate=0.1, decay=decay)
    method.solve(Generator(), image, image, lambda: None)
    half = np.sqrt(0.5)
    shares = [1, (1 + half) / 2, 0.5, (1 - half) / 2] if decay else [1] * 4
    np.testing.assert_allclose(asked, [(i + 1, 0.1 * s) for i, s in enumerate(shares)], rtol=1e-6)


def test_earlier_names_of_the_losses():
    assert de.Descent(loss="l1") == de.Descent() == de.Descent(loss="mean_absolute_error")
    assert de.Descent(loss="l2") == de.Descent(loss="mean_squared_error") != de.Descent()


@pytest.mark.parametrize("attention", [None, "spatial", "squeeze_excitation", "nafnet"])
def test_the_forecast_is_that_of_the_linear_model(attention):
    """Products with the Jacobian against finite differences, for every kind of block."""
    generator = make_generator(image_shape=(8, 8, 1), num_steps=2, attention=attention)
    point, pixels = tf.constant(generator.latents(1)), make_pixels(1)
    solve = generator.traced(gauss_newton._solve_linearized)
    _, step, forecast, _ = solve(point, pixels, tf.constant([1.0]), tf.constant(2))
    direction = step / tf.norm(step) * 0.02
    difference = generator.decode(point + direction) - generator.decode(point - direction)
    moved = difference.numpy() * float(tf.norm(step)) / 0.04
    residual = generator.decode(point).numpy() - pixels
    assert float(forecast[0]) == pytest.approx(0.5 * np.sum((residual + moved) ** 2), rel=0.01)


def test_the_gauss_newton_step_solves_the_damped_equations():
    """Against the Jacobian, formed by brute force, of a network with real nonlinearities."""
    generator = make_generator(image_shape=(8, 8, 1), num_steps=2)
    point, pixels = tf.constant(generator.latents(1)), make_pixels(1)
    with tf.GradientTape() as tape:
        tape.watch(point)
        decoded = generator.decode_tensor(point)
    jacobian = tape.jacobian(decoded, point).numpy().reshape(64, 64).astype(np.float64)
    residual = (decoded.numpy() - pixels).ravel().astype(np.float64)
    slope = jacobian.T @ residual
    damping = 0.1 * np.sum((jacobian @ slope) ** 2) / np.sum(slope**2)
    expected = np.linalg.solve(jacobian.T @ jacobian + damping * np.eye(64), -slope)
    solve = generator.traced(gauss_newton._solve_linearized)
    value, step, forecast, mse = solve(point, pixels, tf.constant([0.1]), tf.constant(40))
    np.testing.assert_allclose(step.numpy().ravel(), expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_allclose(value, [0.5 * np.sum(residual**2)], rtol=1e-4)
    np.testing.assert_allclose(
        forecast, [0.5 * np.sum((residual + jacobian @ expected) ** 2)], rtol=1e-2
    )
    np.testing.assert_allclose(mse, de.metrics.mse(pixels, decoded), rtol=1e-4)
    # Linear in the residual, however small: the damping is relative to the curvature.
    near = decoded - 1e-3 * (decoded - pixels)
    _, short, *_ = solve(point, near, tf.constant([0.1]), tf.constant(40))
    assert_close(1e3 * short, step, 5e-3)  # float32
    # One step of conjugate gradients goes to the minimum along the gradient.
    _, step, *_ = solve(point, pixels, tf.constant([0.1]), tf.constant(1))
    curvature = np.sum((jacobian @ slope) ** 2) + damping * np.sum(slope**2)
    expected = -slope * np.sum(slope**2) / curvature
    np.testing.assert_allclose(step.numpy().ravel(), expected, atol=1e-3 * np.abs(expected).max())


def test_gauss_newton_s_damping_follows_the_gain():
    """Eight images whose values fall by known shares of what is forecast."""
    # Large, middle, small, much; on both borders; no change; refused twice.
    second = np.float32([0.4, 1.0, 1.8, 0.5, 1.5, 2.0, 3.0, 2.5])
    forecasts = np.float32([0, 0, 0, 0, 0, 0, 0.4, 0.4])
    third = np.float32([0.1] * 6 + [1.888, 2.1])  # gains of 0.28, -0.25, of a forecast of 0.4
    values = iter([np.full(8, 2, np.float32), second, third, np.zeros(8, np.float32)])
    steps = iter([1.0, 2.0, 4.0, 8.0])
    asked = []

    class Generator:
        gradient_evaluations, num_steps = 2, 1

        def traced(self, function):
            def linearize(trial, pixels, damping, count, held):
                asked.append((trial.numpy().ravel(), damping.numpy()))
                step, errors = tf.fill((8, 1, 1, 1), next(steps)), np.full(8, 0.5 ** len(asked))
                return tf.constant(next(values)), step, tf.constant(forecasts), errors

            return linearize

    image = np.zeros((8, 1, 1, 1), np.float32)
    method = de.GaussNewton(num_steps=4, damping=0.1)
    method.solve(Generator(), image, image, lambda: None)
    trials, dampings = zip(*asked, strict=True)
    np.testing.assert_array_equal(trials[1], np.ones(8))
    # From the trial by its own step where the error has fallen, else a quarter of the first step.
    np.testing.assert_array_equal(trials[2], [3] * 5 + [0.25] * 3)
    np.testing.assert_allclose(dampings[2], 0.1 * np.array([1 / 3, 1, 3, 1, 3, 3, 3, 3]), rtol=1e-5)
    np.testing.assert_allclose(trials[3][6:], [0.25 + 4, 0.0625])
    np.testing.assert_allclose(dampings[3][6:], [0.3, 0.9], rtol=1e-5)


def _preconditioned(values, weight, shape=(2, 3)):
    """(1 - weight * Laplacian) of one image, pi wide and high, by scipy."""
    values = values.reshape(shape)
    pixel = np.pi / np.array(shape)
    rows, columns = (
        scipy.ndimage.correlate1d(values, [1, -2, 1], axis=axis, mode="reflect") / pixel[axis] ** 2
        for axis in (0, 1)
    )
    return values - weight * (rows + columns)


class TestPreconditioner:
    def test_is_one_minus_the_laplacian(self):
        rng = np.random.default_rng(0)
        images = rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
        found = quasi_newton._precondition(tf.constant(images), 0.3).numpy()
        for image in range(2):
            for channel in range(3):
                expected = _preconditioned(images[image, ..., channel], 0.3, (4, 6))
                np.testing.assert_allclose(
                    found[image, ..., channel], expected, rtol=1e-4, atol=1e-4
                )

    def test_multiplies_a_cosine_by_one_plus_its_squared_frequency(self):
        at = (np.arange(64) + 0.5) * np.pi / 64
        wave = np.float32(np.cos(3 * at)[:, None] * np.cos(5 * at))[None, :, :, None]
        found = quasi_newton._precondition(tf.constant(wave), 1.0).numpy()
        np.testing.assert_allclose(found, (1 + 3**2 + 5**2) * wave, atol=0.02 * 35)

    def test_two_gradients_suffice_where_decode_is_as_smooth_as_assumed(self):
        """Then the first inverse Hessian is the inverse Hessian, but for its scale."""
        size = (6, 6)
        matrix = np.reshape([_preconditioned(unit, 1.0, size) for unit in np.eye(36)], (36, 36))
        jacobian = tf.constant(scipy.linalg.sqrtm(np.linalg.inv(matrix)).real, tf.float32)

        class Smooth(Linear):
            def decode_tensor(self, latents, remat=False, precision=None):
                return 0.5 + 0.1 * tf.reshape(
                    tf.reshape(latents, (-1, 36)) @ jacobian, (-1, *size, 1)
                )

        generator = Smooth(image_shape=(*size, 1))
        latents, pixels = generator.reachable(4)
        start = latents + 0.1 * generator.latents(4, seed=1)
        errors = {
            weight: de.embed(
                generator, pixels, de.LBFGS(num_steps=5, laplacian=weight), latents=start
            ).mse.max()
            for weight in (0.0, 1.0)
        }
        assert errors[1.0] < 1e-10 < 1e-7 < errors[0.0]


@pytest.mark.parametrize("masked", [False, True])
def test_lbfgs_minimises_half_the_squared_error_and_the_penalty(masked):
    generator, pixels = make_generator(num_steps=2), make_pixels(2, (16, 16, 1))
    latents = tf.constant(generator.latents(2))
    mask = np.float32(np.random.default_rng(0).uniform(size=pixels.shape) < 0.5)
    held = mask if masked else np.ones_like(mask)

    def half(latents):
        decoded = np.float64(generator.decode(latents))
        squares = (held * (decoded - pixels)) ** 2 + 0.1 * np.float64(latents) ** 2
        return 0.5 * np.sum(squares, axis=(1, 2, 3))

    value, slope, mse = generator.traced(quasi_newton._value_and_gradient)(
        latents, pixels, tf.constant(mask) if masked else None, tf.constant(0.1)
    )
    np.testing.assert_allclose(value, half(latents), rtol=1e-4)
    step = 1e-2 * slope / tf.norm(slope)
    rise = (half(latents + step) - half(latents - step)).sum() / 0.02
    assert rise == pytest.approx(np.linalg.norm(slope), rel=1e-2)  # float32 differences
    if not masked:
        decoded = generator.decode(latents)
        np.testing.assert_allclose(mse, de.metrics.mse(pixels, decoded), rtol=1e-4)


class TestTwoLoops:
    """The recursion against the explicit BFGS matrix."""

    def test_direction(self):
        rng = np.random.default_rng(0)
        point = tf.zeros((1, 2, 3, 1))
        slope = rng.normal(size=(1, 2, 3, 1)).astype(np.float32)
        steps = rng.normal(size=(3, 1, 2, 3, 1)).astype(np.float32)
        changes = (steps + 0.1 * rng.normal(size=steps.shape)).astype(np.float32)
        products = np.sum(steps * changes, axis=(2, 3, 4))
        inverse = np.reshape([_preconditioned(unit, 0.3) for unit in np.eye(6)], (6, 6)) * 0.7
        for step, change, product in zip(steps, changes, products, strict=True):
            s, y = step.ravel().astype(np.float64), change.ravel().astype(np.float64)
            left = np.eye(6) - np.outer(s, y) / product[0]
            inverse = left @ inverse @ left.T + np.outer(s, s) / product[0]
        memory = (steps, changes, tf.constant(1 / products), tf.constant([0.7]))
        moved = quasi_newton._move(None, point, slope, memory, tf.constant([np.inf]), 0.3)
        np.testing.assert_allclose(
            moved.numpy().ravel(), -(inverse @ slope.ravel()), rtol=1e-4, atol=1e-5
        )
        short = quasi_newton._move(None, point, slope, memory, tf.constant([0.25]), 0.3)
        assert np.linalg.norm(short) == pytest.approx(0.25, rel=1e-5)
        tiny = quasi_newton._move(None, point, 1e-3 * slope, memory, tf.constant([np.inf]), 0.3)
        np.testing.assert_allclose(tiny, 1e-3 * moved.numpy(), rtol=1e-4, atol=1e-8)

    def test_the_first_move_is_as_long_as_the_first_radius(self):
        point, slope = tf.zeros((1, 2, 3, 1)), np.full((1, 2, 3, 1), 1e-3, np.float32)
        memory = quasi_newton._empty_memory(point, slope, 2)
        radius = quasi_newton._first_radius(point)
        assert float(radius) == pytest.approx(np.sqrt(6) / 64)
        for longest in (np.inf, 1e-3):
            moved = quasi_newton._move(None, point, slope, memory, tf.constant([longest]), 0.0)
            expected = min(np.sqrt(6) / 64, longest) * slope / np.linalg.norm(slope)
            np.testing.assert_allclose(moved, -expected, rtol=1e-5)

    def test_a_direction_uphill_is_replaced_by_the_preconditioned_gradient(self):
        point, slope = tf.zeros((1, 2, 3, 1)), np.zeros((1, 2, 3, 1), np.float32)
        slope[0, 1, 1] = 1
        memory = (slope[None], slope[None], tf.constant([[-1.0]]), tf.constant([0.01]))
        moved = quasi_newton._move(None, point, slope, memory, tf.constant([np.inf]), 0.3)
        expected = -0.01 * _preconditioned(slope.ravel(), 0.3).ravel()
        np.testing.assert_allclose(moved.numpy().ravel(), expected, rtol=1e-4, atol=1e-7)

    def test_every_image_is_judged_alone(self):
        """Better; not by enough; neither better nor sloped; a short step; none."""
        steps = np.float32([-2, -2, -2, -1e-4, 0])[:, None, None, None]
        slopes = np.float32([1, 1, 0, 1e-4, 1])[:, None, None, None]
        changes = np.float32([-0.5, -0.5, 0, -1e-4, 0])[:, None, None, None]
        values, trial_values = np.ones(5, np.float32), np.float32([0.5, 0.9999, 1, 0, 1])
        memory = quasi_newton._empty_memory(tf.zeros((5, 1, 1, 1)), tf.constant(slopes), 2)
        point, _, slope, memory, radius = quasi_newton._judge(
            None, tf.zeros((5, 1, 1, 1)), values, slopes, memory, tf.fill((5,), 1.5), 1.0,
            steps, trial_values, slopes + changes,
        )  # fmt: skip
        accepted = np.array([True, False, False, True, False])
        np.testing.assert_array_equal(point.numpy().ravel(), np.where(accepted, steps.ravel(), 0))
        np.testing.assert_array_equal(slope, slopes + changes * accepted[:, None, None, None])
        np.testing.assert_allclose(radius, [4, 1, 1, 1.5, 0])
        np.testing.assert_allclose(memory[2][-1], [1, 1, 0, 1e8, 0], rtol=1e-5)
        assert np.isfinite(memory[3]).all()

    def test_a_failed_step_is_refused_and_halves_the_radius(self):
        point, slope = tf.zeros((2, 1, 1, 1)), tf.ones((2, 1, 1, 1))
        memory = quasi_newton._empty_memory(point, slope, 2)
        trial = tf.fill((2, 1, 1, 1), -1.0)
        value, radius = tf.constant([1.0, 1.0]), tf.constant([3.0, 3.0])
        trial_value = tf.constant([0.5, np.nan])
        point, value, _, memory, radius = quasi_newton._judge(
            None, point, value, slope, memory, radius, 1.0, trial, trial_value, 0.5 * slope
        )
        np.testing.assert_array_equal(point.numpy().ravel(), [-1, 0])
        np.testing.assert_array_equal(value, [0.5, 1])
        np.testing.assert_array_equal(radius, [3, 0.5])
        np.testing.assert_allclose(memory[2][-1], [2, 2])  # both have learnt
        np.testing.assert_allclose(memory[3], [2, 2])

    def test_the_scale_is_that_of_the_last_change(self):
        """Eq. 7.20, with the first inverse Hessian in the place of the identity."""
        rng = np.random.default_rng(1)
        point, trial, slope, change = rng.normal(size=(4, 1, 2, 3, 1)).astype(np.float32)
        change += trial - point
        memory = quasi_newton._empty_memory(tf.constant(point), tf.constant(slope), 2)
        *_, memory, _ = quasi_newton._judge(
            None, point, tf.ones(1), slope, memory, tf.ones(1), 0.3,
            trial, tf.zeros(1), slope + change,
        )  # fmt: skip
        y = change.ravel().astype(np.float64)
        expected = (trial - point).ravel() @ y / (y @ _preconditioned(y, 0.3).ravel())
        np.testing.assert_allclose(memory[3], [expected], rtol=1e-4)

    def test_nan_does_not_enter_the_memory(self):
        point, slope = tf.zeros((2, 1, 1, 1)), tf.ones((2, 1, 1, 1))
        memory = quasi_newton._empty_memory(point, slope, 2)
        trial = tf.fill((2, 1, 1, 1), -1.0)
        bad = tf.constant([0.5, np.nan])
        point, value, slope, memory, radius = quasi_newton._judge(
            None, point, tf.ones(2), slope, memory, tf.ones(2), 1.0,
            trial, bad, bad[:, None, None, None],
        )  # fmt: skip
        assert all(np.isfinite(values).all() for values in (point, value, slope, *memory, radius))
        np.testing.assert_array_equal(memory[2][-1], [2, 0])
        moved = quasi_newton._move(None, point, slope, memory, radius, 1.0)
        assert np.isfinite(moved).all() and (moved.numpy() < point.numpy()).all()


@each_solver
class TestEverySolver:
    def test_result_does_not_depend_on_batches(self, method, tiny_generator):
        pixels = make_pixels(5, (16, 16, 1))
        whole = de.embed(tiny_generator, pixels, method, seed=4)
        parts = de.embed(tiny_generator, pixels, dataclasses.replace(method, batch_size=2), seed=4)
        # float32, amplified by what is iterated.
        np.testing.assert_allclose(parts.mse, whole.mse, rtol=1e-2)
        np.testing.assert_allclose(parts.latents, whole.latents, atol=1e-2)
        np.testing.assert_array_equal(parts.evaluations, whole.evaluations)

    def test_the_best_iterate_is_returned_with_its_trace(self, method, tiny_generator):
        pixels = make_pixels(2, (16, 16, 1))
        result = de.embed(tiny_generator, pixels, method)
        trace = result.trace
        assert (np.diff(trace.mse, axis=0) <= 0).all() and (
            np.diff(trace.seconds, axis=0) > 0
        ).all()
        np.testing.assert_allclose(result.mse, trace.mse[-1], rtol=1e-3)
        np.testing.assert_array_equal(result.evaluations, trace.evaluations[-1])
        assert trace.mse.shape == (method.num_steps, 2)
        start = method.initial_latents(tiny_generator, 2, 0)
        first = de.metrics.mse(pixels, tiny_generator.decode(start).numpy())
        np.testing.assert_allclose(trace.mse[0], first, rtol=1e-3)
        assert (result.mse < first).all()
        assert trace.seconds[-1].sum() <= result.seconds

    def test_stops_where_no_image_improves(self, method, tiny_generator, monkeypatch):
        calls, update = [], Iterates.update

        def last_of_two(self, *arguments):
            calls.append(update(self, *arguments))
            return len(calls) < 2

        monkeypatch.setattr(Iterates, "update", last_of_two)
        result = de.embed(tiny_generator, make_pixels(1, (16, 16, 1)), method)
        assert len(calls) == len(result.trace.mse) == 2

    def test_evaluations_are_counted(self, method, tiny_generator):
        result = de.embed(tiny_generator, make_pixels(1, (16, 16, 1)), method)
        # Each iterate; only a correction's first one is cheaper, being a decode and nothing else.
        each = {"Descent": 2, "LBFGS": 2, "GaussNewton": 2 + 1 + 2 * 2, "DefectCorrection": 1 + 2}
        less = 2 if isinstance(method, de.DefectCorrection) else 0
        expected = (method.num_steps * each[type(method).__name__] - less) * 3
        np.testing.assert_array_equal(result.evaluations, expected)

    def test_starts_from_given_latents(self, method, tiny_generator):
        latents = tiny_generator.latents(2, seed=8)
        pixels = np.clip(tiny_generator.decode(latents), 0, 1)
        result = de.embed(tiny_generator, pixels, method, latents=latents)
        assert result.mse.max() < 1e-8 and result.converged.all()
        # With the seed that made the images it starts elsewhere: that would be no test of anything.
        assert de.embed(tiny_generator, pixels, method, seed=8).mse.min() > 1e-6

    def test_unreachable_images_are_not_converged(self, method, tiny_generator):
        noise = np.random.default_rng(0).uniform(size=(2, 16, 16, 1)).astype(np.float32)
        result = de.embed(tiny_generator, noise, method)
        assert not result.converged.any() and (result.mse > CONVERGED_MSE).all()
        assert np.isfinite(result.latents).all()

    def test_bad_starts(self, method, tiny_generator):
        pixels = make_pixels(2, (16, 16, 1))
        with pytest.raises(ValueError, match=r"as many as `pixels`, 2\. Received: 3"):
            de.embed(tiny_generator, pixels, method, latents=tiny_generator.latents(3))
        with pytest.raises(ValueError, match="finite"):
            de.embed(tiny_generator, pixels, method, latents=np.full(pixels.shape, np.nan))
        with pytest.raises(ValueError, match=r"Received shape: \(2, 8, 8, 1\)"):
            de.embed(tiny_generator, pixels, method, latents=np.zeros((2, 8, 8, 1)))

    @pytest.mark.parametrize("name", ["num_steps", "patience", "batch_size"])
    def test_bad_options(self, method, name, tiny_generator):
        with pytest.raises(
            ValueError, match=f"`{name}` must be an integer of at least 1. Received: 0"
        ):
            bad = dataclasses.replace(method, **{name: 0})
            de.embed(tiny_generator, make_pixels(1, (16, 16, 1)), bad)


def test_bad_options_of_one_method():
    for bad in ({"learning_rate": 0.0}, {"learning_rate": np.nan}, {"penalty": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            de.Descent(**bad)
    with pytest.raises(ValueError, match="'mean_absolute_error', 'mean_squared_error'"):
        de.Descent(loss="mse")
    with pytest.raises(ValueError, match="memory"):
        de.LBFGS(memory=0)
    with pytest.raises(ValueError, match="cg_steps"):
        de.GaussNewton(cg_steps=0)
    with pytest.raises(ValueError, match="damping"):
        de.GaussNewton(damping=-1.0)
    with pytest.raises(ValueError, match="laplacian"):
        de.LBFGS(laplacian=-1)
    with pytest.raises(ValueError, match="penalty"):
        de.LBFGS(penalty=-1)


class TestStarts:
    """Several descents of each image."""

    def test_the_best_of_them_is_returned(self, tiny_generator):
        pixels = make_pixels(2, (16, 16, 1))
        method = de.Descent(num_steps=3, starts=3)
        result = de.embed(tiny_generator, pixels, method, seed=2)
        each = de.embed(tiny_generator, np.repeat(pixels, 3, 0), de.Descent(num_steps=3), seed=2)
        np.testing.assert_allclose(result.mse, each.mse.reshape(2, 3).min(axis=1))
        np.testing.assert_array_equal(result.evaluations, [3 * 3 * 6] * 2)
        decoded = tiny_generator.decode(result.latents)
        np.testing.assert_allclose(result.reconstruction, decoded, atol=1e-5)
        np.testing.assert_allclose(result.trace.mse[-1], result.mse, rtol=1e-3)
        np.testing.assert_array_equal(result.trace.evaluations[-1], result.evaluations)
        assert result.trace.seconds.shape == result.trace.mse.shape == (3, 2)

    def test_start_from_no_given_latents(self, tiny_generator):
        pixels = make_pixels(1, (16, 16, 1))
        with pytest.raises(ValueError, match="`starts` must be 1"):
            de.embed(tiny_generator, pixels, de.Descent(starts=2), latents=pixels)

    def test_a_mask_has_one_row_per_image_not_per_start(self, tiny_generator):
        pixels, mask = make_pixels(2, (16, 16, 1)), np.zeros((1, 16, 16), bool)
        with pytest.raises(ValueError, match=r"of shape \(2, 16, 16\) or"):
            de.embed(tiny_generator, pixels, de.Descent(starts=3), mask=mask)


def test_gauss_newton_counts_all_evaluations(tiny_generator, monkeypatch):
    calls, generator = [], tiny_generator

    def traced(function):
        return lambda *arguments: calls.append(function.__name__) or function(generator, *arguments)

    monkeypatch.setattr(generator, "traced", traced)
    method = de.GaussNewton(num_steps=3, cg_steps=1)
    result = de.embed(generator, make_pixels(1, (16, 16, 1)), method)
    assert len([name for name in calls if not name.startswith("_decode")]) == 3
    # Each is a decode and its gradient, and three products with the Jacobian.
    np.testing.assert_array_equal(result.evaluations, [3 * (6 + 3 * 3)])


class TestIterates:
    def test_an_image_stops_by_itself(self):
        """Its later iterates have no effect."""
        ticks = []
        iterates = Iterates(2, patience=2, tick=lambda: ticks.append(1))
        errors = [(1.0, 1.0), (0.999, 0.5), (0.998, 0.4), (0.1, 0.3)]
        going = [
            iterates.update(np.full((2, 1, 1, 1), i), np.array(e), 10) for i, e in enumerate(errors)
        ]
        assert going == [True] * 4 and len(ticks) == iterates.iterations == 4
        assert iterates.running.tolist() == [False, True]
        solution = iterates.solution()
        np.testing.assert_array_equal(solution.latents.ravel(), [2, 3])
        np.testing.assert_array_equal(solution.evaluations, [30, 40])
        np.testing.assert_array_equal(solution.trace.mse[-1], [0.998, 0.3])
        running = iterates.update(solution.latents, np.array([0, np.nan]), 10)
        assert not running or iterates.running[1]

    @given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=250))
    @settings(max_examples=25, deadline=None)
    def test_the_trace_is_short_and_ends_at_the_best(self, errors):
        iterates = Iterates(1, patience=1000, tick=lambda: None)
        for error in errors:
            iterates.update(np.zeros((1, 1, 1, 1)), np.array([error]), 1)
        trace = iterates.solution().trace
        assert len(trace.mse) <= 101 and trace.mse[0] == errors[0]
        assert trace.mse[-1] == min(errors) and trace.evaluations[-1] == len(errors)


class TestHybrid:
    @pytest.fixture(scope="class")
    @staticmethod
    def network():
        return de.Network(embedder=set_random_weights(de.build_embedder("conv1")))

    def test_one_goes_on_from_the_other(self, tiny_generator, network):
        pixels = make_pixels(2, (16, 16, 1))
        begun = de.embed(tiny_generator, pixels, network)
        alone = de.embed(tiny_generator, pixels, de.LBFGS(num_steps=3), latents=begun.latents)
        result = de.embed(tiny_generator, pixels, de.Hybrid(network, de.LBFGS(num_steps=3)))
        np.testing.assert_allclose(result.latents, alone.latents, atol=1e-5)
        np.testing.assert_array_equal(result.evaluations, alone.evaluations + 1)
        assert result.seconds > 0 and (result.mse <= begun.mse).all()
        assert len(result.trace.mse) == 4
        np.testing.assert_allclose(result.trace.mse[0], begun.mse)
        np.testing.assert_array_equal(result.trace.evaluations[:, 0], [1, 7, 13, 19])

    def test_of_a_hybrid(self, tiny_generator, network):
        pixels = make_pixels(1, (16, 16, 1))
        first = de.Hybrid(network, de.Descent(num_steps=2))
        result = de.embed(tiny_generator, pixels, de.Hybrid(first, de.GaussNewton(num_steps=1)))
        np.testing.assert_array_equal(result.evaluations, 1 + 2 * 6 + 9 * 3)
        assert len(result.trace.mse) == 1 + 2 + 1

    @pytest.mark.parametrize("traced", [False, True])
    def test_costs_are_added(self, traced):
        def part(seconds, evaluations, rows):
            image, errors = np.zeros((2, 1, 1, 1)), np.full(2, 0.25)
            costs = np.full((rows, 2), evaluations)
            trace = Trace(costs, np.full((rows, 2), seconds / 2), np.full((rows, 2), 0.25))
            return Embedding(image, image, errors, costs[0], seconds, trace if rows > 1 else None)

        begun, finished = part(6.0, 5.0, 3 if traced else 1), part(2.0, 7.0, 2)
        joined = hybrid._joined(begun, finished)
        assert joined.seconds == 8 and joined.evaluations.tolist() == [12, 12]
        rows = 3 if traced else 1
        for values, first, last in (
            (joined.trace.evaluations, 5, 12),
            (joined.trace.seconds, 3, 4),
            (joined.trace.mse, 0.25, 0.25),
        ):
            np.testing.assert_array_equal(values, [[first] * 2] * rows + [[last] * 2] * 2)
        untraced = hybrid._joined(begun, part(2.0, 7.0, 1))
        assert untraced.trace is None and untraced.seconds == 8

    def test_invalid_start_or_finish(self):
        with pytest.raises(ValueError, match="goes on from latents"):
            de.Hybrid("unet", "conv1")
        with pytest.raises(ValueError, match="must be one of"):
            de.Hybrid("vae", "lbfgs")
        with pytest.raises(ValueError, match="must be one of"):
            de.Hybrid("unet", "vae")

    def test_refines_if_its_start_does(self, tiny_generator, network):
        pixels = make_pixels(1, (16, 16, 1))
        both = de.Hybrid(de.Descent(num_steps=1), de.LBFGS(num_steps=1))
        assert both.refines and not de.Hybrid(network, de.LBFGS()).refines
        latents = tiny_generator.latents(1, seed=7)
        result = de.embed(tiny_generator, pixels, both, latents=latents)
        np.testing.assert_array_equal(result.latents, latents)
        with pytest.raises(ValueError, match="cannot go on from given `latents`"):
            de.embed(tiny_generator, pixels, network, latents=latents)


def test_concatenate_pads_traces():
    def part(rows, value):
        trace = Trace(*(np.arange(rows * 2.0).reshape(rows, 2) + value for _ in range(3)))
        image = np.full((2, 1, 1, 1), value, np.float32)
        return Embedding(image, image, image[:, 0, 0, 0], image[:, 0, 0, 0], 1.5, trace, image)

    joined = concatenate([part(3, 0.0), part(1, 10.0)])
    assert joined.seconds == 3 and joined.partner.shape == (4, 1, 1, 1)
    np.testing.assert_array_equal(joined.mse, [0, 0, 10, 10])
    np.testing.assert_array_equal(
        joined.trace.mse, [[0, 1, 10, 11], [2, 3, 10, 11], [4, 5, 10, 11]]
    )
