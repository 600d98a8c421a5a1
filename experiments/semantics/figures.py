"""Figures of the verbs of the h-space."""

import numpy as np
from matplotlib.figure import Figure

from experiments.toolkit.results import tidy


def edits(contents):
    """Draws effect against what it costs, for each attribute and strength."""
    keys = {"positive": "said positive", "identity_median": "identity, median distance",
            "realism": "realism, change"}  # fmt: skip
    keys = {key: words for key, words in keys.items() if key in contents["edits"][0]}
    figure = Figure((0.5 + 3.5 * len(keys), 3.6), layout="constrained")
    panels = figure.subplots(1, len(keys))
    for axes, (key, words) in zip(panels, keys.items(), strict=True):
        for name in contents["strengths"]:
            rows = [row for row in contents["edits"] if row["attribute"] == name]
            values = [_value(row.get(key)) for row in rows]
            axes.plot([row["strength"] for row in rows], values, "o-", label=name)
        axes.set(xlabel="strength", ylabel=words)
        tidy(axes)
    panels[0].legend(frameon=False, fontsize="small")
    return figure


def _value(found):
    if found is None:
        return np.nan
    return found["mean"] if isinstance(found, dict) else found


def controls(contents):
    """Draws the judged effect and the change of realism of each way."""
    rows = contents["controls"]["rows"]
    figure = Figure((10, 1.2 + 0.32 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))[::-1]
    words = [
        row["way"] + (f" x{row['strength']:.2g}, equal effect" if row["kind"] == "effect" else "")
        for row in rows
    ]
    for axes, key, label in zip(
        panels, ("own", "realism"), ("rise of the judge's logit", "realism, change"), strict=True
    ):
        means = [row[key]["mean"] for row in rows]
        errors = [row[key]["interval"] or 0 for row in rows]
        axes.errorbar(means, places, xerr=errors, fmt="o")
        axes.axvline(0, color="grey", linestyle=":")
        axes.set(xlabel=label)
        tidy(axes)
    panels[0].set_yticks(places, words)
    return figure


def line(contents):
    """Draws the effect against the strength, and cosines between the shifts of steps."""
    figure = Figure((10, 3.6), layout="constrained")
    effect, steps = figure.subplots(1, 2)
    rows = contents["line"]["rows"]
    x = [row["share"] for row in rows]
    errors = [row["own"]["interval"] or 0 for row in rows]
    effect.errorbar(x, [row["own"]["mean"] for row in rows], errors, fmt="o-", capsize=3)
    effect.axhline(0, color="grey", linestyle=":")
    effect.axvline(0, color="grey", linestyle=":")
    effect.set(xlabel="strength, share of the direction's own", ylabel="rise of the judge's logit")
    found = contents["consistency"]
    count = len(found["with_mean"])
    steps.plot(np.arange(1, count + 1), found["with_mean"], "o-", label="with the mean")
    steps.plot(np.arange(1, count) + 0.5, found["adjacent"], ".-", label="with the next step's")
    steps.set(xlabel="step", ylabel="cosine of shifts", ylim=(0, 1.05))
    steps.legend(frameon=False)
    tidy(effect, steps)
    return figure


def rho(contents):
    """Draws the share of a symmetric edit at each step: predicted as lines, measured as points."""
    figure = Figure((6.5, 4), layout="constrained")
    axes = figure.subplots()
    for row in contents["rho"]:
        count = row["steps"]
        times = 1 - np.arange(count) / count
        (drawn,) = axes.plot(times, row["predicted"], "-", label=f"N = {count}")
        if row["measured"]:  # earlier results lack those of many steps
            every = slice(None, None, -(-count // 100))
            measured = np.array(row["measured"])[every]
            axes.plot(times[every], measured, "o", color=drawn.get_color(), markersize=3)
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.set(xlabel="t where the step starts", ylabel="symmetric / asymmetric")
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def delta(contents):
    """Draws effect against identity, or LPIPS, for f_t and for the mean difference."""
    figure = Figure((9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, key, words in zip(
        panels, ("lpips", "realism"), ("LPIPS", "realism, change"), strict=True
    ):
        for way in dict.fromkeys(row["way"] for row in contents["rows"]):
            rows = [row for row in contents["rows"] if row["way"] == way]
            means = [row["own"]["mean"] for row in rows]
            axes.plot([row[key]["mean"] for row in rows], means, "o-", label=way)
        axes.set(xlabel=words, ylabel="rise of the judge's logit")
        tidy(axes)
    panels[0].legend(frameon=False)
    return figure
