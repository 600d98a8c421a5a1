"""Figures of the verbs that sample semantic vectors."""

from matplotlib.figure import Figure

import ddim_embed as de
from experiments.toolkit.results import label_steps, tidy


def sheet(pixels, shown):
    """Draws a sheet of samples, `shown` in a row."""
    return de.image_grid([pixels[i : i + shown] for i in range(0, len(pixels), shown)])


def by_steps(samples, shown):
    """Draws samples by model and number of steps, of the same latents and vectors in a column.

    Args:
        samples: pixels by (model, number of steps).
        shown: images in a row.
    """
    models = dict.fromkeys(model for model, _ in samples)
    rows = {
        f"{model},\nT = {steps}": samples[model, steps][:shown]
        for each in models
        for model, steps in samples
        if model == each
    }
    return de.image_grid([*rows.values()], [*rows])


def classes(samples, scenario, shown):
    """Draws samples by class, in rows of `shown`; `samples` has pixels by (scenario, class)."""
    rows, labels = [], []
    for (of, name), pixels in samples.items():
        if of == scenario:
            parts = [pixels[i : i + shown] for i in range(0, len(pixels), shown)]
            rows += parts
            labels += [name, *[""] * (len(parts) - 1)]
    return de.image_grid(rows, labels)


def frechet_by_steps(contents):
    """Draws Table 4: distances by number of steps."""
    figure = Figure((6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for model in dict.fromkeys(row["model"] for row in contents["rows"]):
        rows = [row for row in contents["rows"] if row["model"] == model]
        axes.errorbar(
            [row["num_steps"] for row in rows],
            [row["frechet"]["mean"] for row in rows],
            [row["frechet"]["interval"] or 0 for row in rows],
            fmt="o-",
            capsize=3,
            label=model,
        )
    axes.axhline(contents["floor"]["mean"], color="grey", linestyle=":", label="held-out images")
    axes.set(xscale="log", xlabel="steps", ylabel=f"Frechet distance, {contents['features']}")
    label_steps(axes, contents["rows"])
    tidy(axes, which="both")
    axes.legend(frameon=False)
    return figure


def prior(contents):
    """Draws the losses of a prior's training, and the distances of the ablation, if any."""
    rows = contents["ablation"]
    figure = Figure((11 if rows else 6.5, 4.5), layout="constrained")
    panels = figure.subplots(1, 2 if rows else 1, squeeze=False)[0]
    steps = [line["step"] for line in contents["history"]]
    for key, words in (("loss", "training"), ("validation_loss", "validation")):
        panels[0].plot(steps, [line[key] for line in contents["history"]], label=words)
    panels[0].axvline(contents["best_step"], color="grey", linestyle=":", label="the best")
    panels[0].set(xlabel="steps", ylabel=contents["config"]["loss"].replace("_", " "))
    panels[0].legend(frameon=False)
    if rows:
        panels[1].barh(
            [row["name"] for row in rows],
            [row["frechet"]["mean"] for row in rows],
            xerr=[row["frechet"]["interval"] or 0 for row in rows],
        )
        panels[1].axvline(
            contents["distances"]["gaussian"]["mean"], color="grey", linestyle=":", label="Gaussian"
        )
        panels[1].set(xlabel="Frechet distance of vectors")
        panels[1].legend(frameon=False)
    tidy(*panels)
    return figure
