"""The study's tables, for the terminal and for its page."""

from experiments.toolkit.tables import Table, number

_PATHS = (
    "denoiser", "chord / arc", "of x / signal", "on one line", "chord to normal",
    "arrival to normal", "emb(x) to normal", "off the curve",
)  # fmt: skip
_CLAIMS = ("dataset", "claim", "measured", "verdict", "why")


def claims_table(contents):
    """The paper's claims, of all data sets."""
    rows = [[row[column] for column in _CLAIMS] for row in contents["verdicts"]]
    header = ("data", "statement", "measured: mean (central 95%)", "verdict", "why")
    return Table("The paper's statements", header, rows, kind="words")


def dataset_tables(contents):
    """Three tables for each data set: trajectories, maps and noises; a list."""
    return [
        table
        for name, numbers in contents["datasets"].items()
        for table in (_paths(name, numbers), _maps(name, numbers), _noises(name, numbers))
    ]


def mean_and_range(values, digits):
    """Formats a mean and the central 95%, a dict of `mean`, `low` and `high`."""
    mean, low, high = (number(values[key], digits) for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _paths(name, numbers):
    lengths = ("straightness", "straightness_rescaled", "line_share")
    rows = []
    for denoiser, row in numbers["paths"].items():
        axis = numbers["embeddings"].get(denoiser, {}).get("axis_angle")
        angles = (row["chord_angle"], row["arrival_angle"], axis)
        rows.append(
            (
                denoiser,
                *(mean_and_range(row[key], 2) for key in lengths),
                *("-" if angle is None else mean_and_range(angle, 0) for angle in angles),
                number(row["distance_rms"], 3),
            )
        )
    return Table(f"Trajectories: {name}", _PATHS, rows)


def _maps(name, numbers):
    header = ("maps", "RMS distance / random pairs", "median distance", "squared")
    rows = [
        (
            pair,
            number(row["relative_rms"], 4),
            number(row["relative_median"], 4),
            f"{row['mean_square_ratio']:.1e}",
        )
        for pair, row in numbers["maps"].items()
    ]
    return Table(f"Maps compared: {name}", header, rows)


def _noises(name, numbers):
    columns = dict(numbers["noises"])
    header = ("diffusion time", *(f"t = {time:.1f}" for time in columns.pop("times")))
    rows = [(key, *(f"{value:.4f}" for value in values)) for key, values in columns.items()]
    return Table(f"Difference from the exact noise, root mean square: {name}", header, rows)
