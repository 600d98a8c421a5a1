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


def training(contents):
    """Draws the losses of a prior's training."""
    figure = Figure((6.5, 4.5), layout="constrained")
    axes, history = figure.subplots(), contents["history"]
    steps = [line["step"] for line in history]
    for key, words in (("loss", "training"), ("validation_loss", "validation")):
        axes.plot(steps, [line[key] for line in history], label=words)
    axes.axvline(contents["best_step"], color="grey", linestyle=":", label="the best")
    axes.set(xlabel="steps", ylabel=contents["config"]["loss"].replace("_", " "))
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def priors(contents):
    """Draws the distances of the prior, the Gaussian, the training and the ablation, if any."""
    found = contents["distances"]
    rows = {"training images": found["training"], "Gaussian": found["gaussian"]}
    rows |= {"the prior": found["prior"]}
    rows |= {row["name"]: row["frechet"] for row in contents["ablation"]}
    figure = Figure((7, 1 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    means = [each["mean"] for each in rows.values()]
    axes.barh([*rows], means, xerr=[each["interval"] or 0 for each in rows.values()])
    axes.invert_yaxis()
    axes.set(xlabel="Frechet distance from vectors of test images")
    tidy(axes)
    return figure
