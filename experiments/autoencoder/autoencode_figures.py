"""Figures of the verb `autoencode`."""

import numpy as np
from matplotlib.figure import Figure

import ddim_embed as de
from experiments.toolkit.results import label_steps, tidy

# Images of Fig. 3 that share a vector, images whose path is shown, images in a row of noise maps.
_VARIATIONS, _PATHS, _MAPS = 4, 2, 8


def reconstructions(pixels, decoded, best):
    """Draws what images are decoded to; `decoded` has pixels by (model, latents)."""
    labels = {
        ("DDIM", "naive"): "DDIM, naive",
        ("ours", "naive"): "ours, naive",
        ("ours", best): "ours, " + best.replace(", ", ",\n"),
        ("ours", "random"): "vector alone",
        ("ours", "one step"): "vector alone,\none step",
        ("plain autoencoder", None): "plain\nautoencoder",
    }
    rows = {label: decoded[key] for key, label in labels.items() if key in decoded}
    rows = {"image": pixels} | {label: images.clip(0, 1) for label, images in rows.items()}
    return de.image_grid([*rows.values()], [*rows])


def variations(pixels, decoded, varied):
    """Draws Figs 3 and 10: one vector and many latents; each column is an image."""
    deviations = varied.std(axis=1).mean(axis=-1, keepdims=True)
    rows = {"image": pixels, "inferred\nlatents": decoded.clip(0, 1)}
    for index in range(min(_VARIATIONS, varied.shape[1])):
        rows["random\nlatents" + " " * index] = varied[:, index]
    rows[f"mean of {varied.shape[1]}"] = varied.mean(axis=1)
    rows[f"deviation\n(1 = {deviations.max():.2g})"] = deviations / max(deviations.max(), 1e-9)
    return de.image_grid([*rows.values()], [*rows])


def predicted(pixels, paths):
    """Draws Fig. 6: the image predicted at each step; `paths` has pixels by model."""
    rows, labels = [], []
    for index in range(min(_PATHS, len(pixels))):
        for model, images in paths.items():
            rows.append(np.concatenate([images[:, index], pixels[index : index + 1]]).clip(0, 1))
            labels.append(model)
    return de.image_grid(rows, labels)


def noise_maps(mapped, kind):
    """Draws Fig. 11 ("shifted") or 12 ("other"): images, their latents, and what they decode to."""
    rows, labels = [], []
    for name, (images, latents, decoded) in mapped.items():
        if not name.startswith(("own", kind)):
            continue
        rows += [images[:_MAPS], latents[:_MAPS], decoded[:_MAPS].clip(0, 1)]
        labels += [name, "latents", "decoded"]
    return de.image_grid(rows, labels)


def curves(contents):
    """Draws errors against steps (Table 2), and against the signal rate (the collapse test)."""
    figure = Figure((11, 4.5), layout="constrained")
    steps, levels = figure.subplots(1, 2)
    for model in dict.fromkeys(row["model"] for row in contents["table2"]):
        rows = [row for row in contents["table2"] if row["model"] == model]
        errors = [row["mse"]["mean"] for row in rows]
        steps.plot([row["num_steps"] for row in rows], errors, "o-", label=model)
    for row in contents["table1"]:
        if row["model"] in ("DDIM", "ours") and row["latents"] == contents["best"]:
            label = f"{row['model']}, {contents['best']}"
            steps.plot(contents["num_steps"], row["mse"]["mean"], "s", label=label)
    steps.set(xscale="log", yscale="log", xlabel="steps", ylabel="mean squared error")
    label_steps(steps, contents["table2"])
    signals = [level["signal"] for level in contents["collapse"]["levels"]]
    for key, words in (
        ("unconditional", "unconditional generator"),
        ("other", "another image's vector"),
        ("own", "own vector"),
    ):
        errors = [level[key]["mean"] for level in contents["collapse"]["levels"]]
        levels.plot(signals, errors, "o-", label=words)
    mean_image = contents["collapse"]["mean_image"]
    levels.axhline(mean_image, color="grey", linestyle=":", label="mean image")
    levels.set(yscale="log", xlabel="signal rate", ylabel="error of the predicted image")
    for axes in (steps, levels):
        tidy(axes, which="both")
        axes.legend(frameon=False)
    return figure


def compared(contents):
    """Draws errors of vectors against their lengths; a decoder with one length is a hollow mark."""
    figure = Figure((6, 4.5), layout="constrained")
    axes = figure.subplots()
    few = contents["rows"][0]["random"][0]["num_steps"]
    for key, label, measured in (
        ("random", f"random latents, {few} steps", lambda row: row["random"][0]["mse"]),
        ("one_step", "one step", lambda row: row["one_step"]["mse"]),
    ):
        for decoder in dict.fromkeys(row["decoder"] for row in contents["rows"]):
            rows = [row for row in contents["rows"] if row["decoder"] == decoder]
            errors = [measured(row) for row in rows]
            axes.errorbar(
                [row["semantic_dims"] for row in rows],
                [error["mean"] for error in errors],
                [error["interval"] for error in errors],
                fmt=("o" if key == "random" else "s") + ("-" if len(rows) > 1 else ""),
                fillstyle="full" if len(rows) > 1 else "none",
                label=f"{decoder}, {label}",
            )
    axes.set(xscale="log", yscale="log", xlabel="length of the vector", ylabel="mean squared error")
    tidy(axes, which="both")
    axes.legend(frameon=False)
    return figure
