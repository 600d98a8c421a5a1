"""The paper's claims about trajectories (Figs 8 and 9), beside what the study measured."""

from experiments.toolkit.claims import Claim, Verdict, not_measured
from experiments.toy.tables import mean_and_range

# Thresholds of the claims. The paper gives a number for the last one only.
STRAIGHT = 0.95
ON_A_LINE = 0.99
ORTHOGONAL = 10.0
SAME_MAP = 1e-2
# Difference of a share with four times the steps that leaves it as it was.
_AS_BEFORE = 0.01

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
    reasons = _reasons(numbers)

    def row(claim, measured, holds, partly=False, reason=""):
        words = ["partly"] * partly + [reason] * bool(reason)
        return {
            "dataset": name,
            "claim": claim,
            "measured": measured,
            "verdict": Verdict.of(holds),
            "why": "" if holds else "; ".join(words),
        }

    def angle_row(claim, angle, by_chance, words, reason):
        return row(
            claim,
            words.format(mean_and_range(angle, 0)) + f", by chance {by_chance:.0f}",
            angle["mean"] <= ORTHOGONAL,
            angle["mean"] <= by_chance / 2,
            reason,
        )

    yield row(
        "trajectories are almost straight",
        f"chord / arc {mean_and_range(straight, 2)}, by chance {straight_by_chance:.2f}",
        straight["mean"] >= STRAIGHT,
        straight["mean"] >= (1 + straight_by_chance) / 2,
        reasons["straightness"],
    )
    yield row(
        "... or each on a line, on which it may turn round",
        f"share of its variance on a line {mean_and_range(line, 3)}, "
        f"by chance {line_by_chance:.3f}",
        line["mean"] >= ON_A_LINE,
        line["mean"] >= (1 + line_by_chance) / 2,
        reasons["line_share"],
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
        reasons["chord_angle"],
    )
    yield angle_row(
        "... where they arrive",
        exact["arrival_angle"],
        chance["arrival_angle"]["mean"],
        "in the last fifth of the steps {} degrees from the normal",
        reasons["arrival_angle"],
    )
    embeddings = numbers["embeddings"]["exact"]
    if embeddings["axis_angle"] is not None:
        yield angle_row(
            "emb(x) extends orthogonally to it",
            embeddings["axis_angle"],
            45.0,
            "the longest axis of emb(x) is {} degrees from the normal at x",
            reasons["axis_angle"],
        )
    for pair, of_maps in numbers["maps"].items():
        ratio = of_maps["mean_square_ratio"]
        if pair in _MAP_CLAIMS:
            yield row(
                _MAP_CLAIMS[pair],
                f"mean squared distance {ratio:.1e} of that of random pairs",
                ratio <= SAME_MAP,
                reason=_reason_of_maps(of_maps),
            )


def _reasons(numbers):
    """Returns what explains that a statement does not hold, "" where the numbers do not.

    The paths are those of the exact denoiser, so that no network is the reason.
    """
    exact, chance = numbers["paths"]["exact"], numbers["paths"]["chance"]
    fine = numbers["paths"]["exact, four times the steps"]
    mean = {key: exact[key]["mean"] for key in ("straightness", "line_share", "landing_angle")}
    finely = {key: fine[key]["mean"] for key in ("straightness", "line_share", "chord_angle")}
    rescaled = exact["straightness_rescaled"]["mean"]
    inside = numbers["embeddings"]["exact"]["axis_angle_inside"]

    def bent(key, digits):
        if rescaled < STRAIGHT or abs(finely[key] - mean[key]) > _AS_BEFORE:
            return ""
        return (
            f"the process bends them: {chance[key]['mean']:.{digits}f} where all data are one "
            f"datum (by chance), and x / signal has chord / arc {rescaled:.2f}; with four times "
            f"the steps {finely[key]:.{digits}f}"
        )

    turns = mean["line_share"] >= ON_A_LINE
    uncovered = numbers["nearest_ends"] > 2 * exact["ends"]
    arrives = mean["landing_angle"] is not None and mean["landing_angle"] <= ORTHOGONAL
    ends = inside and inside["mean"] is not None and inside["mean"] <= ORTHOGONAL
    return {
        "straightness": "each turns round on its own line" if turns else bent("straightness", 2),
        "line_share": bent("line_share", 3),
        "chord_angle": f"they cover the curve evenly: {exact['ends']:.1%} end at the end of an "
        f"arc, the nearest point of {numbers['nearest_ends']:.0%} of the latents; with four times "
        f"the steps {finely['chord_angle']:.0f} degrees"
        if uncovered
        else "",
        "arrival_angle": f"they turn to the normal as they land: in the last step "
        f"{mean['landing_angle']:.1f} degrees"
        if arrives
        else "",
        "axis_angle": f"on the middle three fifths of the arcs {inside['mean']:.0f} degrees, more "
        "near their ends"
        if ends
        else "",
    }


def _reason_of_maps(of_maps):
    """Returns the share of latents that make up a distance, if the others are close enough."""
    rest, ratio = of_maps["mean_square_ratio_same_arc"], of_maps["mean_square_ratio"]
    if rest is None or rest > SAME_MAP:
        return ""
    share = 1 - rest * (1 - of_maps["other_arc"]) / ratio if ratio else 0
    return (
        f"{of_maps['other_arc']:.1%} of the latents land on another arc, which is {share:.0%} of "
        f"the distance; the others differ by {rest:.1e}"
    )
