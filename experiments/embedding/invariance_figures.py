"""Figures of the verb `invariance`."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

import ddim_embed as de
from experiments.toolkit.results import tidy


def figures(contents, images, shown):
    """Returns the figures of `invariance.json`, and of each network's images, by file name."""
    rows = [values[:shown].astype(np.float32) for values in images.values()]
    return {
        "fig10_networks.png": de.image_grid(rows, [textwrap.fill(name, 14) for name in images]),
        "invariance.png": _curves(contents),
    }


def _curves(contents):
    figure = Figure((11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, along, words in (
        (left, "training", "images", "training images of each network"),
        (right, "sampler_steps", "num_steps", "steps of the sampler"),
    ):
        rows = contents[key]
        x = [row[along] for row in rows]
        low, high = zip(*(row["interval"] for row in rows), strict=True)
        axes.fill_between(x, low, high, alpha=0.25, color="#0072b2", linewidth=0)
        axes.plot(x, [row["ratio"] for row in rows], "o-", color="#0072b2", label="ours")
        axes.axhspan(100, 1000, color="#e69f00", alpha=0.2, linewidth=0, label="the paper's claim")
        axes.set(xscale="log", yscale="log", xlabel=words)
        tidy(axes, which="both")
    left.set_ylabel("distance of random images /\ndistance for the same latents")
    left.legend(frameon=False)
    return figure
