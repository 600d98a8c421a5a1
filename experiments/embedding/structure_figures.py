"""Figures 11 to 14: members of a cloud, their combinations and means, and its components."""

import functools

import numpy as np
from matplotlib.figure import Figure

from ddim_embed.analysis.jacobian import forecast_variances
from ddim_embed.figures import displayable
from experiments.toolkit.results import tidy

# Steps of a walk through the mean.
WALK = (-3, -2, -1, 0, 1, 2, 3)
_GREY = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
_BLUE, _ORANGE, _FAINT = "#1f77b4", "#d95f02", "#999999"
_figure = functools.partial(Figure, layout="constrained")


def figures(contents, drawn, shown):
    """Returns all figures of a cloud, by file name.

    They show `structure.json`, what `structure.study` drew, and `pixels`, `latents` and `decoded`
    of members, of which `shown` make a row.
    """
    return {
        "fig11_cloud.png": members(drawn["pixels"], drawn["latents"], drawn["decoded"], shown),
        "fig12_combinations.png": combinations(drawn, contents),
        "fig13_running_means.png": running_means(drawn, contents),
        "fig14_components.png": components(drawn, contents),
        "cloud_jacobian.png": jacobian(drawn, contents),
    }


def members(pixels, latents, decoded, shown):
    """Draws Figure 11: an image, some of its latents, and what they decode to."""
    figure = _figure((1.1 * shown + 2, 2.5))
    left, right = figure.subplots(1, 2, width_ratios=[1, min(shown, len(latents))])
    _tiles(left, pixels[:, None], title="image")
    rows = displayable(latents[:shown]), np.clip(decoded[:shown], 0, 1)
    _tiles(right, np.stack(rows), ["latents", "decoded"])
    return figure


def combinations(drawn, contents):
    """Draws Figure 12: the image, and what random combinations of its latents decode to."""
    sets = drawn["combinations"]
    panels = -(-(1 + len(sets)) // 2)
    figure = _figure((3.6 * panels, 7.8))
    axes = figure.subplots(2, panels).ravel()
    for unused in axes[1 + len(sets) :]:
        unused.axis("off")
    _tiles(axes[0], drawn["pixels"][None], title="image")
    for panel, (name, images) in zip(axes[1:], sets.items(), strict=False):
        side = int(np.sqrt(len(images)))
        square = np.clip(images[: side**2], 0, 1).reshape(side, side, *images.shape[1:])
        words = "samples of the fitted Gaussian" if name == "gaussian" else f"{name} members"
        found = contents["combinations"][name]
        words += f"\nerror {found['mse']:.4f}, deviation of latents {found['latents_std']:.2f}"
        _tiles(panel, square, title=words)
    return figure


def running_means(drawn, contents):
    """Draws Figure 13: means of more and more latents, what they decode to, error and blur."""
    found, error = contents["running_means"], contents["mse"]["mean"]
    counts, means = found["counts"], drawn["means"]
    figure = _figure((max(1.0 * len(counts), 8), 5.4))
    above, below = figure.subfigures(2, 1)
    # Each has its own scale: the deviation of a mean falls with the number of latents.
    centre = means.mean(axis=(1, 2, 3), keepdims=True)
    deviation = np.maximum(means.std(axis=(1, 2, 3), keepdims=True), 1e-9)
    scaled = np.clip(0.5 + (means - centre) / (6 * deviation), 0, 1)
    rows = np.stack([scaled, np.clip(drawn["decoded_means"], 0, 1)])
    _tiles(above.subplots(), rows, ["mean", "decoded"], [f"{count:,}" for count in counts])
    left, right = below.subplots(1, 2)
    left.plot(counts, found["mse"], "o-", color=_BLUE, label="error of the decoded mean")
    left.plot(counts[1:], found["change"][1:], "s--", color=_ORANGE, label="change by doubling")
    left.axhline(error, color=_FAINT, linestyle=":", label="error of a member")
    left.set(xscale="log", yscale="log", xlabel="members", ylabel="mean squared error")
    right.plot(counts, found["sharpness"], "o-", color=_BLUE)
    right.axhline(1, color=_FAINT, linestyle=":")
    right.set(xscale="log", xlabel="members", ylabel="total variation / the image's")
    left.legend(frameon=False, fontsize=8)
    tidy(left, right)
    return figure


def components(drawn, contents):
    """Draws Figure 14: the spectrum, the change of the image along components, and walks."""
    spectrum, measured = contents["spectrum"], contents["components"]
    figure = _figure((12, 9))
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.4])
    left, right = above.subplots(1, 2)
    for words, name, style in (
        ("members", "eigenvalues", {"color": _BLUE}),
        ("as many of N(0, I)", "gaussian", {"color": _FAINT, "linestyle": "--"}),
        ("half of the members, along the other half's", "held_out", {"color": _ORANGE}),
    ):
        values = np.maximum(spectrum[name], 1e-12)
        left.plot(np.linspace(0, 1, len(values)), values, label=words, linewidth=1.4, **style)
    left.set(yscale="log", xlabel="components, major to minor", ylabel="variance")
    ranks = np.array(measured["indices"]) / max(1, measured["indices"][-1])
    right.plot(ranks, measured["change_per_unit"], color=_BLUE, label="a step of length 1")
    own = measured["change_per_deviation"]
    right.plot(ranks, own, color=_ORANGE, label="a step of the component's deviation")
    right.set(yscale="log", xlabel="components, major to minor", ylabel="change of the image")
    left.legend(frameon=False)
    right.legend(frameon=False)
    tidy(left, right)
    left, right = below.subplots(1, 2)
    words = "component", "mean"
    _walks(left, drawn["walks"], "own", *words, "steps of the component's deviation")
    _walks(right, drawn["walks"], "equal", *words, "steps of the largest deviation")
    return figure


def jacobian(drawn, contents):
    """Draws variances of the cloud along singular vectors of one linearisation, and walks."""
    found = contents["jacobian"]
    values, variances = np.array(found["values"]), np.maximum(found["variances"], 1e-12)
    figure = _figure((13, 4.6))
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.15])
    ranks = np.arange(1, len(values) + 1)
    left.plot(ranks, np.maximum(values, 1e-12), color=_BLUE)
    left.set(yscale="log", xlabel="singular vector", ylabel="singular value")
    middle.plot(values, variances, ".", color=_BLUE, alpha=0.5, label="members")
    order = np.argsort(values)
    forecast = forecast_variances(values[order], found["tolerance"])
    words = f"1 / (1 + (s / {found['tolerance']:.2g})²)"
    middle.plot(values[order], forecast, color=_ORANGE, label=words)
    middle.set(
        xscale="log", yscale="log", xlabel="singular value s", ylabel="variance along the vector",
        xlim=(1e-6 * values[0], 2 * values[0]),
    )  # fmt: skip
    middle.legend(frameon=False)
    tidy(left, middle)
    _walks(right, drawn["walks"], "singular", "vector", "start", "steps of length 1, 2 and 3")
    return figure


def _walks(axes, walks, kind, direction, centre, title):
    """Draws the walks of a kind, a row for each direction."""
    chosen = {index: images for (name, index), images in walks.items() if name == kind}
    names = [f"{direction} {index + 1:,}" for index in chosen]
    steps = [f"{step:+d}" if step else centre for step in WALK]
    _tiles(axes, np.clip(np.stack([*chosen.values()]), 0, 1), names, steps, title)


def _tiles(axes, rows, names=(), columns=(), title=None):
    """Draws images `(rows, columns, height, width, channels)` as one picture with labels."""
    count, width = rows.shape[0], rows.shape[1]
    padded = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    high, wide, channels = padded.shape[2:]
    picture = padded.transpose(0, 2, 1, 3, 4).reshape(count * high, width * wide, channels)
    axes.imshow(picture.squeeze(-1) if channels == 1 else picture, **_GREY)
    axes.set_xticks((np.arange(len(columns)) + 0.5) * wide - 0.5, columns, fontsize=8)
    axes.set_yticks((np.arange(len(names)) + 0.5) * high - 0.5, names, fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=10)
