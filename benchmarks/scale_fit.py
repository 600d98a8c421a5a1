"""The law of a cost: seconds = a * pixels^p * steps^q * batch^r, by least squares of logarithms."""

import dataclasses
import math

import numpy as np
from scipy import stats

# Name of a factor -> where a point has it. Pixels are height times width.
FACTORS = ("pixels", "steps", "batch")


@dataclasses.dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes:
        seconds: at the means of the factors' logarithms, `centre`.
        centre: dict from factors to values.
        exponents: dict from factors to exponents; a factor that no point varies has none.
        half_widths: half of the 95% interval of each exponent; infinite for as many points as
            parameters.
        residual: the root mean square of the logarithms' residuals, as a factor: 1.1 is 10%.
    """

    seconds: float
    centre: dict
    exponents: dict
    half_widths: dict
    residual: float

    def __call__(self, **factors):
        """Seconds where the factors have these values; those without an exponent do not matter."""
        return self.seconds * math.prod(
            (factors[name] / self.centre[name]) ** exponent
            for name, exponent in self.exponents.items()
        )


def fit(points):
    """Fits a `Law` to points, dicts with "pixels", "steps", "batch" and "seconds" (per image)."""
    varied = [name for name in FACTORS if len({point[name] for point in points}) > 1]
    logs = {name: np.log([point[name] for point in points]) for name in varied}
    seconds = np.log([point["seconds"] for point in points])
    matrix = np.stack([np.ones(len(points)), *(x - x.mean() for x in logs.values())], axis=1)
    found, *_ = np.linalg.lstsq(matrix, seconds, rcond=None)
    residuals = seconds - matrix @ found
    free = len(points) - len(found)
    half_widths = np.full(len(found), math.inf)
    if free > 0:
        variance = residuals @ residuals / free
        errors = np.sqrt(variance * np.diag(np.linalg.inv(matrix.T @ matrix)))
        half_widths = stats.t.ppf(0.975, free) * errors
    return Law(
        float(np.exp(found[0])),
        {name: float(np.exp(x.mean())) for name, x in logs.items()},
        dict(zip(varied, map(float, found[1:]), strict=True)),
        dict(zip(varied, map(float, half_widths[1:]), strict=True)),
        float(np.exp(np.sqrt(np.mean(residuals**2)))),
    )
