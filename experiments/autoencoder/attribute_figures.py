"""Figures of the verbs of attributes, edits and codes."""

import numpy as np
from matplotlib.figure import Figure

from experiments.toolkit.results import label_steps, tidy


def attributes(contents):
    """Draws the AUROC of each attribute, with its interval, and that of other representations."""
    rows = [row for row in contents["attributes"] if row["auroc"]["value"] is not None]
    rows.sort(key=lambda row: row["auroc"]["value"])
    figure = Figure((8, 1.5 + 0.22 * len(rows)), layout="constrained")
    axes, places = figure.subplots(), np.arange(len(rows))
    values = np.array([row["auroc"]["value"] for row in rows])
    low, high = np.array([row["auroc"]["interval"] for row in rows]).reshape(-1, 2).T
    axes.errorbar(
        values, places, xerr=[values - low, high - values], fmt="o", label="semantic vector"
    )
    for name in contents["attributes"][0]["others"]:
        others = [np.nan if row["others"][name] is None else row["others"][name] for row in rows]
        axes.plot(others, places, ".", label=f"{name} images")
    axes.set(yticks=places, yticklabels=[row["name"] for row in rows], xlabel="AUROC")
    axes.axvline(0.5, color="grey", linestyle=":")
    axes.legend(frameon=False, fontsize="small")
    tidy(axes)
    return figure


def manipulation(contents):
    """Draws what the judge says of edits, by Eq. 11 on two ways and by the fixed step."""
    figure = Figure((10, 3.6), layout="constrained")
    said, others = figure.subplots(1, 2)
    places = np.arange(len(contents["rows"]))
    for shift, way, label in (
        (-0.27, "median", "Eq. 11"),
        (0, "pattern", "Eq. 11, pattern"),
        (0.27, "fixed", f"step {contents['fixed']}"),
    ):
        for axes, key in ((said, "positive"), (others, "others")):
            found = [row[way][key] for row in contents["rows"]]
            means = [each["mean"] for each in found]
            errors = [each["interval"] or 0 for each in found]
            axes.bar(places + shift, means, 0.25, yerr=errors, label=label)
    said.axhline(0.8, color="grey", linestyle=":")
    said.set(ylabel="said to be positive", ylim=(0, 1.05))
    others.set(ylabel="change of the others' logits")
    for axes in (said, others):
        axes.set_xticks(places, [row["attribute"] for row in contents["rows"]], rotation=20)
        tidy(axes)
    # Above the bars, which may be as high as the panels.
    figure.legend(
        *said.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False
    )
    return figure


def detection(contents):
    """Draws the accuracy of detectors against the number of steps."""
    figure = Figure((6, 4), layout="constrained")
    axes = figure.subplots()
    for kind in dict.fromkeys(row["kind"] for row in contents["rows"]):
        rows = [row for row in contents["rows"] if row["kind"] == kind]
        steps, means, errors = zip(
            *((r["num_steps"], r["accuracy"]["mean"], r["accuracy"]["interval"]) for r in rows),
            strict=True,
        )
        axes.errorbar(steps, means, errors, fmt="o-", capsize=3, label=kind)
    axes.axhline(0.5, color="grey", linestyle=":", label="chance")
    axes.set_xscale("log")
    label_steps(axes, contents["rows"])
    axes.set(xlabel="steps", ylabel="accuracy of the detector", ylim=(0.4, 1.02))
    axes.legend(frameon=False)
    tidy(axes)
    return figure
