"""The paper's claims about trajectories (Figs 8 and 9), beside what the study measured."""

from experiments.toolkit.claims import Claim, Verdict, not_measured
from experiments.toy.tables import mean_and_range

# Thresholds of the claims. The paper gives a number for the last one only.
STRAIGHT = 0.95
ON_A_LINE = 0.99
ORTHOGONAL = 10.0
SAME_MAP = 1e-2

_MAP_CLAIMS = {
    "mean_absolute_error / exact": "a network (absolute loss) approaches the map of the data",
    "mean_squared_error / exact": "a network (squared loss) approaches the map of the data",
    "mean_absolute_error / mean_squared_error": "distinct networks end with the same map",
    "exact median / exact": "the map depends on the data alone (exactly solved for both losses)",
}


def toy_claims(contents):
    """Figs 8 and 9, for the ledger."""
    if contents is None:
        words = "trajectories are straight, and orthogonal to the data"
        yield not_measured("Figs 8, 9", words, "figures", "toy", "python -m experiments.toy")
        return
    columns = ("measured", "dataset", "verdict", "why")
    for row in verdicts(contents["datasets"]):
        yield Claim("Figs 8, 9", row["claim"], "words", *(row[column] for column in columns))


def verdicts(datasets):
    """Compares the paper's claims with `datasets` of `toy.json`; returns a list of dicts."""
    return [row for name, numbers in datasets.items() for row in _verdicts(name, numbers)]


def _verdicts(name, numbers):
    exact, chance = numbers["paths"]["exact"], numbers["paths"]["chance"]
    straight, straight_by_chance = exact["straightness"], chance["straightness"]["mean"]
    line, line_by_chance = exact["line_share"], chance["line_share"]["mean"]
    rescaled = exact["straightness_rescaled"]

    def row(claim, measured, holds, partly=False):
        return {
            "dataset": name,
            "claim": claim,
            "measured": measured,
            "verdict": Verdict.of(holds),
            "why": "partly" if partly and not holds else "",
        }

    def angle_row(claim, angle, by_chance, words):
        return row(
            claim,
            words.format(mean_and_range(angle, 0)) + f", by chance {by_chance:.0f}",
            angle["mean"] <= ORTHOGONAL,
            angle["mean"] <= by_chance / 2,
        )

    yield row(
        "trajectories are almost straight",
        f"chord / arc {mean_and_range(straight, 2)}, by chance {straight_by_chance:.2f}",
        straight["mean"] >= STRAIGHT,
        straight["mean"] >= (1 + straight_by_chance) / 2,
    )
    yield row(
        "... or each on a line, on which it may turn round",
        f"share of its variance on a line {mean_and_range(line, 3)}, "
        f"by chance {line_by_chance:.3f}",
        line["mean"] >= ON_A_LINE,
        line["mean"] >= (1 + line_by_chance) / 2,
    )
    yield row(
        "... with points divided by the signal rate",
        f"chord / arc {mean_and_range(rescaled, 2)}, by chance "
        f"{chance['straightness_rescaled']['mean']:.2f}: they come from fifty times as far",
        rescaled["mean"] >= STRAIGHT,
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
                ratio <= SAME_MAP,
            )
