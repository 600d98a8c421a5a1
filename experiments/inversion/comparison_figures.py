"""Figures of the verb `compare`."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

import ddim_embed as de
from experiments.toolkit.results import tidy

# Methods of Fig. 18.
_REFINED = ("unet", "unet, descent", "unet, correction", "unet, lbfgs")


def cost(rows):
    """Draws error against evaluations and against seconds per image, both logarithmic.

    Coupled methods, exact for their pairs, appear with the error of single latents.
    """
    figure = Figure((12, 5.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for index, row in enumerate(rows):
        colour = colormaps["tab20"](index % 20)
        ends = {"evaluations": row["evaluations"], "seconds": row["seconds_per_image"]}
        for axes, name in zip(panels, ends, strict=True):
            if row["trace"]:
                axes.plot(row["trace"][name], row["trace"]["mse"], color=colour, linewidth=1.6)
            single = row["single_mse"] is not None
            axes.plot(
                ends[name],
                row["single_mse"] if single else row["mse"],
                "o",
                color=colour,
                fillstyle="none" if single else "full",
                label=f"{row['name']}, one of the pair" if single else row["name"],
            )
    panels[0].set(xlabel="network evaluations per image", ylabel="mean squared error")
    panels[1].set(xlabel="seconds per image")
    for axes in panels:
        axes.set(xscale="log", yscale="log")
        tidy(axes, which="both")
    panels[1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def refined(pixels, embeddings, shown):
    """Draws Fig. 18: what the U-Net's latents decode to before and after refinement.

    Returns None without the U-Net or without any refinement of it.
    """
    names = [name for name in _REFINED if name in embeddings]
    if len(names) < 2 or names[0] != "unet":
        return None
    rows, labels = [pixels[:shown]], ["image"]
    for name in names:
        embedding = embeddings[name]
        decoded = np.clip(embedding.reconstruction[:shown], 0, 1)
        rows += [decoded, np.abs(decoded - pixels[:shown])]
        labels += [f"{name}\nmse {embedding.mse.mean():.2g}", "difference"]
    return de.image_grid(rows, labels)


def residuals(by_convention):
    """Draws how the residuals of implicit inversion fall at each step of the sampler."""
    figure = Figure((11, 4.5), layout="constrained")
    panels = figure.subplots(1, len(by_convention), sharey=True, squeeze=False)[0]
    for axes, (convention, steps) in zip(panels, by_convention.items(), strict=True):
        for index, step in enumerate(steps):
            axes.plot(
                np.maximum(step["median"], 1e-9),
                color=colormaps["viridis"](index / max(1, len(steps) - 1)),
                label=f"t = {step['time']:.1f}",
            )
        axes.set(yscale="log", xlabel="iterations of a step", title=f"last step: {convention}")
        tidy(axes, which="both")
    panels[0].set_ylabel("residual, median of the images")
    panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure
