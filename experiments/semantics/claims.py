"""The claims of Kwon et al. (2023), each beside what was measured."""

import math

import numpy as np

from experiments.toolkit.claims import Claim, Verdict, not_measured
from experiments.toolkit.tables import interval, number

_PAPER = "Asyrp, "
# The share of edits that the judge must say are positive; the share of images that an edit must
# move the right way; R squared of a line; the cosine of shifts of a consistent direction.
_POSITIVE, _RISES, _LINEAR, _CONSISTENT = 0.95, 0.95, 0.9, 0.8
# What fails moves the logit by less than this share of what the direction does.
_FAILS = 0.25
# How far the effects of two directions at once may be from the sum of their effects, as a share.
_OFF = 0.25


def semantics_claims(name, contents):
    """Rows of the ledger; `contents` of `semantics.json`, or None."""
    for item, statement, paper, figure, measure in _CLAIMS:
        found = contents and measure(contents)
        if not found:
            command = f"python -m experiments.{name} semantics"
            why = f"not among what was measured: {command}" if contents else command
            yield not_measured(_PAPER + item, statement, paper, name, why)
            continue
        ours, verdict, *why = found
        data = f"{name}, {contents['images']} images"
        yield Claim(
            _PAPER + item, statement, paper, ours, data, verdict, *why, figure=f"{name}/{figure}"
        )


def _at_own_strength(contents):
    name = contents["main"]
    strength = contents["strengths"][name]["strength"]
    rows = [row for row in contents["edits"] if row["attribute"] == name]
    return next(row for row in rows if row["strength"] == strength)


def _control(contents, way, kind="length"):
    rows = contents["controls"]["rows"]
    return next((row for row in rows if (row["way"], row["kind"]) == (way, kind)), None)


def _works(contents):
    row = _at_own_strength(contents)
    words = f"{contents['main']}: {interval(row['positive'], 2)}"
    if "identity_median" in row:
        words += f", median distance of the face {number(row['identity_median'], 2)}"
    why = "a judge that did not guide the edits and saw none of the direction's images"
    return words, Verdict.of(row["positive"]["mean"] >= _POSITIVE), why


def _homogeneous(contents):
    found = contents["line"]["homogeneity"]
    words = (
        f"the logit rises in {interval(found['rises'], 2)} of the images, by "
        f"{interval(found['mean'], 2)}, deviation {number(found['deviation'], 2)}"
    )
    return words, Verdict.of(found["rises"]["mean"] >= _RISES)


def _linear(contents):
    found = contents["line"]
    if found["r_squared"] is None:
        return None
    ends = {row["share"]: row["own"] for row in found["rows"]}
    words = (
        f"R squared {number(found['r_squared'], 3)}; the logit changes by "
        f"{interval(ends[-1.0], 2)} at -1, {interval(ends[1.0], 2)} at 1, "
        f"{interval(ends[2.0], 2)} at 2"
    )
    why = "pixels are less so: " + ", ".join(
        f"{number(row['deviation']['mean'], 2)} of the change at {row['share']:g}"
        for row in found["rows"]
        if row["share"] in (-1.0, 0.5, 2.0)
    )
    return words, Verdict.of(found["r_squared"] >= _LINEAR and ends[-1.0]["mean"] < 0), why


def _composed(contents):
    found = contents["composition"]
    if not found:
        return None
    rows = {row["way"]: row for row in found["rows"]}
    names = found["attributes"]
    together, summed = (
        [sum(rows[way][name]["own"]["mean"] for way in ways) for name in names]
        for ways in (["both"], names)
    )
    if not any(summed):
        return None
    words = "; ".join(
        f"the logit of {name} changes by {number(both, 2)}, by {number(each, 2)} in sum"
        for name, both, each in zip(names, together, summed, strict=True)
    )
    off = math.dist(together, summed) / math.hypot(*summed)
    why = f"the change of pixels is {interval(found['deviation'], 2)} of its length from the sum"
    return words, Verdict.of(off < _OFF), why


def _robust(contents):
    return _fails(contents, "random shift")


def _fails(contents, *ways):
    target = contents["controls"]["target"]
    rows = [_control(contents, way) for way in ways]
    if target <= 0 or None in rows:
        return None
    words = "; ".join(
        f"{way}: {interval(row['own'], 2)}" for way, row in zip(ways, rows, strict=True)
    )
    fails = all(abs(row["own"]["mean"]) < _FAILS * target for row in rows)
    return f"{words} (the direction: {number(target, 2)})", Verdict.of(fails)


def _consistent(contents):
    found = contents["consistency"]
    if len(found["with_mean"]) < 2:
        return None
    words = (
        f"cosines with the mean {number(min(found['with_mean']), 2)} to "
        f"{number(max(found['with_mean']), 2)}, of adjacent steps at least "
        f"{number(min(found['adjacent']), 2)}"
    )
    unlike = [step for step, each in enumerate(found["with_mean"], 1) if each < _CONSISTENT]
    return words, Verdict.of(not unlike), _unlike_steps(contents, unlike) if unlike else ""


def _unlike_steps(contents, steps):
    """What the steps whose shifts are unlike the mean are, and what the others make of it."""
    found = contents["consistency"]
    others = [each for step, each in enumerate(found["with_mean"], 1) if step not in steps]
    words = f"unlike the mean: step {', '.join(map(str, steps))} of {len(found['with_mean'])}"
    if "lengths" in found:
        lengths = ", ".join(number(found["lengths"][step - 1], 2) for step in steps)
        words += f", of {lengths} of the mean length"
    if others:
        words += f"; the others' cosines are at least {number(min(others), 2)}"
    row, target = _control(contents, "h, one shift for all steps"), contents["controls"]["target"]
    if row and target > 0:
        words += f"; with the mean for all steps the edit keeps {row['own']['mean'] / target:.0%}"
    return words


def _global(contents):
    target, row = contents["controls"]["target"], _control(contents, "h, one shift for all steps")
    if target <= 0:
        return None
    words = f"the logit rises by {interval(row['own'], 2)}, by {number(target, 2)} with one a step"
    return words, Verdict.of(row["own"]["mean"] > 0.75 * target)


def _cancels(contents):
    target = contents["controls"]["target"]
    plain, matched = (_control(contents, way) for way in ("symmetric", "symmetric, matched length"))
    if target <= 0:
        return None
    words = (
        f"equal length: the logit rises by {interval(plain['own'], 2)}, asymmetric "
        f"{number(target, 2)}; divided by rho: {interval(matched['own'], 2)}"
    )
    kept = ", ".join(f"N = {row['steps']}: {row['kept']:.3f}" for row in contents["rho"])
    why = (
        "x_sym - x' is rho (x_asym - x'), rho = 1 - n's / (s'n), exactly: it does not cancel, "
        f"it is smaller, by more with more steps. Share of a constant shift of the velocity: {kept}"
    )
    return words, Verdict.of(plain["own"]["mean"] < _FAILS * target), why


def _overlay(contents):
    overlay = _control(contents, "mean difference of pixels", "effect")
    own = _control(contents, "h", "effect")
    if not overlay or not own or contents["controls"]["target"] <= 0:
        return None
    words = f"{interval(own['realism'], 2)} against {interval(overlay['realism'], 2)}"
    bound = own["realism"]["mean"] - (own["realism"]["interval"] or 0)
    return words, Verdict.of(bound > overlay["realism"]["mean"]), "a score of damaged images"


def _s_dir(contents):
    row = _at_own_strength(contents)
    rows = [
        r for r in contents["edits"] if r["attribute"] == contents["main"] and r["strength"] > 0
    ]
    words = "; ".join(f"{row['strength']:g}: {interval(row['s_dir'], 2)}" for row in rows)
    why = "cosines in the judge's features, not CLIP's; by strength: a weak edit is not punished"
    return words, Verdict.of(row["s_dir"]["mean"] > 0.5), why


def _boosted(contents):
    rows = {row["way"]: row for row in contents["boost"]["rows"]}
    plain, boosted = (rows[way]["realism"] for way in ("until", "until, boost"))
    words = f"{interval(boosted, 2)} with the noise, {interval(plain, 2)} without"
    better = boosted["mean"] - (boosted["interval"] or 0) > plain["mean"]
    found = contents["boost"]
    why = f"{found['steps']} steps, t_boost {number(found['boost'], 3)}; the score of realism"
    return words, Verdict.of(better), why


_CLAIMS = (
    (
        "Fig. 4",
        "a shift of h edits an attribute: said positive for at least 95%",
        "figures",
        "semantics_strips.png",
        _works,
    ),
    ("Sec. 5.3", "homogeneity: one shift does the same to all images", "figures",
     "semantics_sheet.png", _homogeneous),
    ("Sec. 5.3", "linearity, from -1 to 2", "figures", "semantics_line.png", _linear),
    ("Sec. 5.3", "composition: two directions add up", "figures", "semantics_edits.png", _composed),
    ("Sec. 5.3", "robustness: a random shift of the same length edits nothing", "figures",
     "semantics_controls.png", _robust),
    ("Sec. 5.3", "consistency: shifts of all steps are about their mean", "figures",
     "semantics_line.png", _consistent),
    ("Sec. 5.3", "one shift for all steps does as one for each", "figures",
     "semantics_controls.png", _global),
    ("Controls", "shuffled labels and permuted positions edit nothing", "-",
     "semantics_controls.png",
     lambda contents: _fails(contents, "shuffled labels", "permuted positions")),
    ("Sec. 3.1", "a symmetric shift cancels", "figures", "semantics_rho.png", _cancels),
    ("Table 1", "S_dir of smiling", "0.921", "semantics_edits.png", _s_dir),
    ("Sec. 3.4", "the noise of a quality boost makes edits more real", "figures",
     "semantics_edits.png", _boosted),
    ("Controls", "at equal effect an edit of h is more real than an overlay of pixels", "-",
     "semantics_controls.png", _overlay),
)  # fmt: skip


def delta_claims(name, contents):
    """The row of f_t; `contents` of `train_direction.json`, or None."""
    item, statement = "Eq. 3", "f_t edits at least as well as one shift a step, faces as alike"
    found = contents and _at_equal_cost(contents["rows"])
    if not found:
        why = f"python -m experiments.{name} train-direction --kind network"
        yield not_measured(_PAPER + item, statement, "-", name, why)
        return
    ours, verdict, why = found
    options = contents["options"]
    why += f"; {options['train_steps_delta']} steps of {options['delta_batch']} images"
    data = f"{name}, {contents['attribute']}, {contents['images']} images"
    figure = f"{name}/train_direction.png"
    yield Claim(_PAPER + item, statement, "-", ours, data, verdict, why, figure=figure)


def _at_equal_cost(rows):
    """The effect of f_t beside that of the mean difference where images are as far from theirs.

    At f_t's own strength, 1, or at the one of most effect if that is farther than any edit by the
    mean difference; between the strengths of the latter its effect is interpolated.
    """
    by_face = "identity_median" in rows[0]
    # The distance of a reconstruction is where the curve begins; it should rise with the strength.
    line = [row for row in rows if row["way"] in ("none", "mean difference")]
    line.sort(key=lambda row: _cost(row, by_face))
    costs = [_cost(row, by_face) for row in line]
    within = [
        row for row in rows if row["way"] == "f_t" and costs[0] <= _cost(row, by_face) <= costs[-1]
    ]
    if not within:
        return None
    own = [row for row in within if row["strength"] == 1]
    row = own[0] if own else max(within, key=lambda row: row["own"]["mean"])
    cost = _cost(row, by_face)

    def beside(key):
        heights = [0.0 if one["way"] == "none" else one[key]["mean"] for one in line]
        return float(np.interp(cost, costs, heights))

    words = (
        f"the logit rises by {interval(row['own'], 2)}, by {number(beside('own'), 2)} with the "
        f"mean difference, both at a distance of {number(cost, 2)}; realism changes by "
        f"{interval(row['realism'], 2)} and {number(beside('realism'), 2)}"
    )
    measured = "the median of the face" if by_face else "LPIPS"
    why = f"the distance is {measured}; said positive: {interval(row['positive'], 2)}"
    margin = row["own"]["interval"] or 0
    return words, Verdict.of(row["own"]["mean"] + margin >= beside("own")), why


def _cost(row, by_face):
    """How far edited images are from theirs."""
    return row["identity_median"] if by_face else row["lpips"]["mean"]


CLAIMS = {"semantics": semantics_claims, "train_direction": delta_claims}
