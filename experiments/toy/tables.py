"""The study's verdicts, and its tables on the console and on the markup."""

from experiments.toolkit import markup

# What a claim must reach. The paper states none in numbers, but for the last.
_NEARLY_STRAIGHT = 0.95
_NEARLY_A_LINE = 0.99
_NEARLY_ORTHOGONAL = 10.0
_ORDERS_OF_MAGNITUDE = 1e-2

_PATH_HEADER = (
    "denoiser", "chord / arc", "of x / signal", "on one line", "chord to normal",
    "arrival to normal", "emb(x) to normal", "off the curve",
)  # fmt: skip

_MAP_CLAIMS = {
    "absolute / exact": "a network (absolute loss) approaches the map of the data",
    "squared / exact": "a network (squared loss) approaches the map of the data",
    "absolute / squared": "distinct networks end with the same map",
    "exact median / exact": "the map depends on the data alone (exactly solved for both losses)",
}


def verdicts(datasets):
    """The paper's statements beside what was measured.

    Args:
        datasets: `toy.json`'s, a dict from names to numbers.

    Returns:
        List of dicts of words: `dataset`, `claim`, `measured`, `verdict`.
    """
    return [row for name, numbers in datasets.items() for row in _verdicts(name, numbers)]


def _verdicts(name, numbers):
    exact, chance = numbers["paths"]["exact"], numbers["paths"]["chance"]
    straight = exact["straightness"]

    def row(claim, measured, holds, partly=False):
        verdict = "holds" if holds else "partly" if partly else "does not hold"
        return {"dataset": name, "claim": claim, "measured": measured, "verdict": verdict}

    def angle_row(claim, angle, by_chance, words):
        return row(
            claim,
            words.format(_interval(angle, 0)) + f", by chance {by_chance:.0f}",
            angle["mean"] <= _NEARLY_ORTHOGONAL,
            angle["mean"] <= by_chance / 2,
        )

    line, line_by_chance = exact["line_share"], chance["line_share"]["mean"]
    rescaled = exact["straightness_rescaled"]
    yield row(
        "trajectories are almost straight",
        f"chord / arc {_interval(straight, 2)}, by chance {chance['straightness']['mean']:.2f}",
        straight["mean"] >= _NEARLY_STRAIGHT,
        straight["mean"] >= (1 + chance["straightness"]["mean"]) / 2,
    )
    yield row(
        "... or each on a line, on which it may turn round",
        f"share of its variance on a line {_interval(line, 3)}, by chance {line_by_chance:.3f}",
        line["mean"] >= _NEARLY_A_LINE,
        line["mean"] >= (1 + line_by_chance) / 2,
    )
    yield row(
        "... with points divided by the signal rate",
        f"chord / arc {_interval(rescaled, 2)}, by chance "
        f"{chance['straightness_rescaled']['mean']:.2f}: they come from fifty times as far",
        rescaled["mean"] >= _NEARLY_STRAIGHT,
    )
    yield angle_row(
        "they are orthogonal to the data manifold",
        exact["chord_angle"],
        chance["chord_angle"]["mean"],
        "from latent to landing point {} degrees from the normal",
    )
    yield angle_row(
        "... where they arrive",
        exact["arrival_angle"],
        chance["arrival_angle"]["mean"],
        "in the last fifth of the steps {} degrees from the normal",
    )
    embeddings = numbers["embeddings"]["exact"]
    if embeddings["axis_angle"] is not None:
        yield angle_row(
            "emb(x) extends orthogonally to it",
            embeddings["axis_angle"],
            45.0,
            "the longest axis of emb(x) is {} degrees from the normal at x",
        )
    for pair, of_maps in numbers["maps"].items():
        ratio = of_maps["mean_square_ratio"]
        if pair in _MAP_CLAIMS:
            yield row(
                _MAP_CLAIMS[pair],
                f"mean squared distance {ratio:.1e} of that of random pairs",
                ratio <= _ORDERS_OF_MAGNITUDE,
            )


def write_page(folder, contents, figures):
    """Writes `index.html`; returns its path.

    Args:
        folder: where the figures are.
        contents: what `toy.json` holds.
        figures: file names, in the page's order.
    """
    from experiments.toy.figures import CAPTIONS

    body = [
        markup.paragraph(
            "Points of the plane as images of one pixel with two channels: where each latent lands "
            "and how it gets there, with the exact denoiser of the data and with networks.",
            faint=True,
        ),
        markup.heading("The paper's statements"),
        markup.table(
            ("data", "statement", "measured: mean (central 95%)", "verdict"),
            [list(row.values()) for row in contents["verdicts"]],
            kind="words",
        ),
        markup.paragraph(
            "The first ones are of the exact denoiser; the paper gives no numbers for them. Here "
            f"almost straight is a mean chord of at least {_NEARLY_STRAIGHT} of the arc, on a line "
            f"a mean share of at least {_NEARLY_A_LINE}, orthogonal a mean angle of at most "
            f"{_NEARLY_ORTHOGONAL:.0f} degrees, the same map a mean squared distance of at most "
            f"{_ORDERS_OF_MAGNITUDE} of that of random pairs; partly is nearer to the statement "
            "than to chance, a random latent drawn to a random datum."
        ),
        *(markup.figure(name, *CAPTIONS[name]) for name in figures),
    ]
    for name, numbers in contents["datasets"].items():
        body += [
            markup.heading(f"Trajectories: {name}"),
            markup.table(_PATH_HEADER, _path_rows(numbers)),
            markup.heading(f"Maps compared: {name}"),
            markup.table(*_map_table(numbers)),
            markup.heading(f"Predicted noise beside the exact one: {name}"),
            markup.table(*_noise_table(numbers)),
        ]
    seconds = [
        f"{name}, {loss}: {value:.0f} s"
        for name, numbers in contents["datasets"].items()
        for loss, value in numbers["training_seconds"].items()
    ]
    body += [
        markup.paragraph(
            "Angles are in degrees. The last denoiser, chance, needs none: a random latent is "
            "drawn to a random datum. Training took " + "; ".join(seconds) + "."
        ),
        markup.how(contents, "toy.json"),
    ]
    return markup.save(folder, "The gravitational analogy", body)


def print_tables(contents):
    """Prints what the page shows in tables."""
    for name, numbers in contents["datasets"].items():
        print(f"\n{name}: trajectories; mean (central 95%), angles in degrees")
        _print(_PATH_HEADER, _path_rows(numbers))
        print(f"\n{name}: maps compared")
        _print(*_map_table(numbers))
        print(f"\n{name}: predicted noise, root mean square difference from the exact one")
        _print(*_noise_table(numbers))
    print()
    for row in contents["verdicts"]:
        print(f"{row['dataset']}: {row['claim']}: {row['measured']}: {row['verdict'].upper()}")
    print()


def _path_rows(numbers):
    rows = []
    for denoiser, row in numbers["paths"].items():
        axis = numbers["embeddings"].get(denoiser, {}).get("axis_angle")
        rows.append(
            (
                denoiser,
                _interval(row["straightness"], 2),
                _interval(row["straightness_rescaled"], 2),
                _interval(row["line_share"], 2),
                _interval(row["chord_angle"], 0),
                _interval(row["arrival_angle"], 0),
                "-" if axis is None else _interval(axis, 0),
                markup.number(row["distance_rms"], 3),
            )
        )
    return rows


def _map_table(numbers):
    header = ("maps", "RMS distance / random pairs", "median distance", "squared")
    rows = [
        (
            pair,
            markup.number(row["relative_rms"], 4),
            markup.number(row["relative_median"], 4),
            f"{row['mean_square_ratio']:.1e}",
        )
        for pair, row in numbers["maps"].items()
    ]
    return header, rows


def _noise_table(numbers):
    columns = dict(numbers["noises"])
    header = ("diffusion time", *(f"t = {time:.1f}" for time in columns.pop("times")))
    rows = [(name, *(f"{v:.4f}" for v in values)) for name, values in columns.items()]
    return header, rows


def _interval(values, digits):
    mean, low, high = (markup.number(values[key], digits) for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _print(header, rows):
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
