"""Fixed points of maps on batches: plain iteration, and Anderson's acceleration of it."""

from typing import NamedTuple

import numpy as np

from ddim_embed import arguments

WINDOW = 5  # differences that Anderson's acceleration looks back on

# An iterate whose residual is this many times the best so far is given up. Anderson's residuals do
# not fall monotonically, so some growth is no reason to.
_GROWTH = 2.0

# By which share of its own length a step must change f for Anderson's acceleration to trust it.
# Less is rounding, or a direction that f hardly depends on, in which solutions lie far away.
_SLOPE = 1e-3
_RIDGE = 1e-10  # changes may be parallel


class FixedPoint(NamedTuple):
    """What `solve` returns, for a batch of n.

    Attributes:
        points: the best x of each, the shape and dtype of the start.
        values: `function(points)`, same shape.
        residuals: root mean square of `function(x) - x` at each iterate, float64 `(k, n)`; the last
            one is repeated where x had reached the tolerance.
        evaluations: how often the function was needed for each, int `(n,)`.
    """

    points: np.ndarray
    values: np.ndarray
    residuals: np.ndarray
    evaluations: np.ndarray


def solve(function, start, iterations=10, tolerance=1e-6, window=WINDOW, damping=1.0):
    """Finds x = function(x), for each of a batch alone.

    With f = function(x) - x, the plain iteration is x + damping * f. Anderson (1965), in the form
    "type II" of Walker and Ni (2011), first takes from x and f that combination of their last
    differences which leaves the least of f; where the map is linear with few eigenvalues, nearly
    nothing is left after as many steps.

    Where the residual grows to more than twice the best so far, an x goes back to that best one and
    halves its damping. So a map that does not contract does no harm: the best x is returned, and it
    is never worse than the start.

    Args:
        function: takes and returns a NumPy array of the shape and dtype of `start`, and treats each
            of the batch alone.
        start: NumPy float array `(n, ...)`.
        iterations: steps at most, at least 1; the function is evaluated once more than that.
        tolerance: root mean square of f at which an x stays as it is, at least 0.
        window: differences to look back on; 0 for the plain iteration.
        damping: in (0, 1].

    Returns:
        A `FixedPoint`.

    Raises:
        ValueError: if an option is not one of those.
    """
    check_options(iterations, tolerance, window, damping)
    n = len(start)
    x = np.array(start).reshape(n, -1)
    best, best_f = x.copy(), np.zeros_like(x)
    error = np.full(n, np.inf)
    damping = np.full((n, 1), damping)
    active = np.full(n, True)
    evaluations = np.zeros(n, int)
    residuals, steps, changes = [], [], []  # `steps` and `changes`: differences of x and of f
    last_x = last_f = None
    for iteration in range(iterations + 1):
        f = np.asarray(function(x.reshape(start.shape))).reshape(n, -1) - x
        norms = np.where(active, np.sqrt(np.mean(np.square(f, dtype=np.float64), axis=1)), error)
        residuals.append(norms)
        evaluations += active
        if window and iteration:
            known = np.isfinite(norms)[:, None]
            steps = [*steps, np.where(known, x - last_x, 0)][-window:]
            changes = [*changes, np.where(known, f - last_f, 0)][-window:]
        better = active & (norms < error)
        best[better], best_f[better], error[better] = x[better], f[better], norms[better]
        active &= error > tolerance
        if iteration == iterations or not active.any():
            break
        lost = active & ~(norms <= _GROWTH * error)
        x[lost], f[lost], damping[lost] = best[lost], best_f[lost], damping[lost] / 2
        last_x, last_f = x, f
        if steps:
            combination = _least_squares(steps, changes, f)
            x = x - sum(c * step for c, step in zip(combination, steps, strict=True))
            f = f - sum(c * change for c, change in zip(combination, changes, strict=True))
        x = np.where(active[:, None], x + damping * f, best).astype(start.dtype)
    return FixedPoint(
        best.reshape(start.shape),
        (best + best_f).reshape(start.shape),
        np.stack(residuals),
        evaluations,
    )


def check_options(iterations, tolerance, window, damping):
    """Says what is wrong with options of `solve`, if anything is.

    Raises:
        ValueError: as `solve`.
    """
    iterations = arguments.integer("iterations", iterations)
    tolerance = arguments.number("tolerance", tolerance, at_least=0)
    window = arguments.integer("window", window, least=0)
    damping = arguments.number("damping", damping, above=0, at_most=1)


def _least_squares(steps, changes, f):
    """The coefficients c that make f - sum(c * changes) least; k arrays `(n, 1)`.

    Each c is penalised by the length of its step times `_SLOPE`. A change of zeros gets c = 0.
    """
    steps, changes = (np.stack(arrays, axis=1).astype(np.float64) for arrays in (steps, changes))
    lengths = np.linalg.norm(changes, axis=2, keepdims=True)
    lengths[lengths == 0] = 1
    changes /= lengths  # for the sake of the condition
    penalties = np.square(_SLOPE * np.linalg.norm(steps, axis=2) / lengths[..., 0]) + _RIDGE
    gram = changes @ changes.swapaxes(1, 2) + penalties[:, :, None] * np.eye(changes.shape[1])
    solution = np.linalg.solve(gram, changes @ f[:, :, None].astype(np.float64)) / lengths
    return solution.swapaxes(0, 1).astype(f.dtype)
