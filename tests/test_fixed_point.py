"""The solver alone, on maps whose fixed points and rates are known."""

import numpy as np
import pytest

from ddim_embed.process.fixed_point import _SLOPE, _least_squares, solve


def linear(eigenvalues, n=2, size=30, seed=0):
    """x -> d * x + c with d of these values; the map and its fixed point."""
    slopes = np.resize(np.float64(eigenvalues), size)
    constants = np.random.default_rng(seed).normal(size=(n, size))
    return lambda x: slopes * x + constants, constants / (1 - slopes)


class Counting:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, x):
        self.calls += 1
        return self.function(x)


@pytest.mark.parametrize(
    "eigenvalues, evaluations",
    [
        # One evaluation to start, one per eigenvalue to learn it, one to see that it is solved.
        ((0.5,), 3),
        ((0.8,), 3),
        ((0.5, -0.3), 4),
        # These do not contract, so that the plain iteration would diverge.
        ((3.0,), 3),
        ((-4.0,), 3),
        ((-2.0, 0.5), 4),
    ],
)
def test_anderson_needs_a_step_for_each_eigenvalue(eigenvalues, evaluations):
    function, expected = linear(eigenvalues)
    counting = Counting(function)
    # Slopes of f, 0.2 at least, are penalised by 1e-3: squared and divided, 2.5e-5 is left.
    found = solve(counting, np.zeros_like(expected), tolerance=1e-4)
    np.testing.assert_allclose(found.points, expected, atol=3e-3)  # 1e-4 / 0.2, the largest of 30
    np.testing.assert_array_equal(found.evaluations, evaluations)
    assert counting.calls == len(found.residuals) == evaluations
    np.testing.assert_allclose(found.values, function(found.points), rtol=1e-12)


def test_the_plain_iteration_contracts_at_its_rate():
    function, expected = linear((-0.6,))
    found = solve(function, np.zeros_like(expected), iterations=9, tolerance=0, window=0)
    np.testing.assert_allclose(found.residuals[1:] / found.residuals[:-1], 0.6, rtol=1e-10)
    np.testing.assert_allclose(found.points, expected * (1 - (-0.6) ** 9), rtol=1e-10)
    np.testing.assert_array_equal(found.evaluations, 10)


class TestDamping:
    """Eigenvalue -1.6: x + damping * f has the eigenvalue 1 - 2.6 * damping."""

    function, expected = linear((-1.6,))
    function = staticmethod(function)

    def test_makes_it_contract(self):
        start = np.zeros_like(self.expected)
        found = solve(self.function, start, 6, tolerance=0, window=0, damping=0.5)
        np.testing.assert_allclose(found.residuals[1:] / found.residuals[:-1], 0.3, rtol=1e-9)

    def test_halves_by_itself_where_the_residual_grows(self):
        found = solve(self.function, np.zeros_like(self.expected), 40, tolerance=1e-9, window=0)
        assert found.residuals[1].min() > found.residuals[0].max()
        np.testing.assert_allclose(found.points, self.expected, atol=1e-8)

    @pytest.mark.parametrize(
        "eigenvalue, residuals",
        [
            # Growth to more than twice the best goes back to the best, here the start, and halves.
            (-1.6, [1, 1.6, 1.6**2, 0.3, 0.3**2]),
            (-2.0, [1, 2, 4, 0.5, 0.25]),  # twice is not more than twice
            (-4.0, [1, 4, 1.5, 1.5**2, 0.25]),  # 1 - 5 / 2, which grows as well; then 1 - 5 / 4
        ],
    )
    def test_halves_where_the_residual_has_more_than_doubled(self, eigenvalue, residuals):
        scale = 3.0
        found = solve(lambda x: eigenvalue * x + scale, np.zeros((1, 2)), 4, tolerance=0, window=0)
        np.testing.assert_allclose(found.residuals[:, 0] / scale, residuals, rtol=1e-12)
        np.testing.assert_array_equal(found.evaluations, 5)


def test_a_long_step_is_penalised():
    """One difference of length 2, whose step is long enough for a penalty of a quarter."""
    step, change = np.array([[0, 0.5 * 2 / _SLOPE]]), np.array([[2.0, 0]])
    (found,) = _least_squares([step], [change], np.array([[3.0, 7]]))
    np.testing.assert_allclose(found, [[3 / 2 / 1.25]], rtol=1e-9)


class TestSafety:
    def test_never_worse_than_the_start(self):
        """x = x + 1 + x**2 has no solution."""
        start = np.random.default_rng(0).normal(size=(4, 20))
        for window in (0, 1, 5):
            found = solve(lambda x: x + 1 + x**2, start, 20, window=window)
            errors = np.sqrt(np.mean((1 + found.points**2) ** 2, axis=1))
            np.testing.assert_allclose(errors, found.residuals.min(axis=0), rtol=1e-12)
            assert (errors <= found.residuals[0]).all()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_where_f_does_not_depend_on_x_no_step_is_long(self, dtype):
        """x = x + c: rounding makes f differ a little, and no use is made of that."""
        constants = np.random.default_rng(0).normal(size=(3, 16)).astype(dtype)
        found = solve(lambda x: (3 * x + constants) - 2 * x, np.zeros_like(constants), 10)
        assert np.abs(found.points).max() < 20 * np.abs(constants).max()

    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
    def test_outside_its_domain_a_map_does_no_harm(self):
        """From 0.3 the first step of x = 1 - 4 sqrt(x) leads below 0."""
        found = solve(lambda x: 1 - 4 * np.sqrt(x), np.full((2, 3), 0.3), 30)
        assert np.isnan(found.residuals[1]).all()
        np.testing.assert_allclose(found.points, (2 - np.sqrt(5)) ** 2, atol=1e-5)

    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
    def test_nowhere_a_number(self):
        found = solve(lambda x: np.sqrt(-1 - x), np.ones((2, 3)), 3)
        np.testing.assert_array_equal(found.points, 1)
        np.testing.assert_array_equal(found.evaluations, 4)


class TestBatch:
    """A nonlinear map under which some take longer than others."""

    strength = np.array([0.1, 0.9, 0.5, 0.99, -0.7])[:, None, None]
    start = np.random.default_rng(1).normal(size=(5, 4, 5))

    def map(self, part):
        return lambda x: 1 + self.strength[part] * np.sin(x + np.arange(5))

    @pytest.mark.parametrize("window", [0, 5])
    def test_each_is_solved_alone(self, window):
        options = {"iterations": 25, "tolerance": 1e-7, "window": window}
        whole = solve(self.map(slice(None)), self.start, **options)
        assert len(set(whole.evaluations)) > 2  # they stop at different times
        for i in range(5):
            part = slice(i, i + 1)
            alone = solve(self.map(part), self.start[part], **options)
            # float64; sums over a batch of another size may run in another order
            np.testing.assert_allclose(alone.points[0], whole.points[i], rtol=1e-9)
            assert alone.evaluations[0] == whole.evaluations[i]
            rows = len(alone.residuals)
            np.testing.assert_allclose(alone.residuals[:, 0], whole.residuals[:rows, i], atol=1e-9)
            np.testing.assert_array_equal(whole.residuals[rows:, i], whole.residuals[rows - 1, i])

    def test_dtype_shape_and_start_are_kept(self):
        start = self.start.astype(np.float32)
        kept = start.copy()
        found = solve(lambda x: (0.5 * np.cos(x)).astype(np.float32), start)
        for values in found[:2]:
            assert values.dtype == np.float32 and values.shape == start.shape
        np.testing.assert_array_equal(start, kept)
        np.testing.assert_allclose(found.points, 0.4501836, atol=1e-5)  # x = cos(x) / 2

    def test_a_solution_costs_one_evaluation(self):
        function, expected = linear((0.5,))
        found = solve(function, expected)
        np.testing.assert_array_equal(found.evaluations, 1)
        np.testing.assert_array_equal(found.points, expected)
        # A residual that equals the tolerance has reached it.
        found = solve(lambda x: 0.5 * x + 1, np.full((1, 3), 2.0), tolerance=0)
        np.testing.assert_array_equal(found.evaluations, 1)

    def test_of_points_that_are_as_good_the_first_is_returned(self):
        found = solve(lambda x: x + 1, np.zeros((1, 2)), 4, window=0)
        np.testing.assert_array_equal(found.residuals, 1)
        np.testing.assert_array_equal(found.points, 0)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"iterations": 0}, "iterations.*at least 1.*Received: 0"),
        ({"tolerance": -1e-9}, "tolerance.*at least 0.*Received: -1e-09"),
        ({"tolerance": np.nan}, "tolerance.*Received: nan"),
        ({"damping": 0}, r"damping.*above 0 and at most 1\. Received: 0"),
        ({"damping": 1.5}, "damping.*Received: 1.5"),
        ({"damping": np.nan}, "damping.*Received: nan"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        solve(np.cos, np.zeros((1, 2)), **options)
