"""The study's figures."""

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from experiments.toy import geometry

_TITLES = {
    "exact": "exact denoiser",
    "mean_absolute_error": "network, absolute loss",
    "mean_squared_error": "network, squared loss",
    "exact median": "exact median",
    "chance": "chance",
}
_CHOSEN = 8
# Share of the curve on each side of a chosen point that counts as this point.
_NEAR = 0.01
_SHOWN_PATHS = 200
_PATHS_PER_POINT = 12


def figures(findings):
    """All figures of the study, by file name in the order of the page."""
    return {
        "fig08_gravity.png": attraction(),
        "fig09ab_maps.png": _panels(findings, "maps", _draw_map),
        "fig09cd_embeddings.png": _panels(findings, "maps", _draw_embeddings),
        "trajectories.png": _panels(findings, "paths", _draw_paths),
        "distributions.png": distributions(findings),
        "noises.png": noises(findings),
    }


def attraction():
    """Figure 8."""
    distances = np.linspace(-5, 5, 1001)
    figure = Figure((7, 3.6), layout="constrained")
    axes = figure.subplots()
    weighted = geometry.weighted_attraction(distances, 1.0)
    axes.plot(distances, geometry.gravity(distances, 1.0), label="gravity of a ball, radius 1")
    axes.plot(distances, weighted / weighted.max(), label="Eq. 11, deviation 1")
    axes.axvspan(-1, 1, color="gray", alpha=0.15, lw=0)
    axes.set(
        xlabel="distance from the centre, in radii or deviations",
        ylabel="attraction / maximum",
        xlim=(-5, 5),
        ylim=(0, 1.2),
    )
    axes.legend(loc="upper center", ncols=2)
    return figure


def distributions(findings):
    """Draws the distributions of the straightness and the angles of trajectories."""
    figure = Figure((9, 2.9 * len(findings)), layout="constrained")
    for row, each in zip(figure.subplots(len(findings), 2, squeeze=False), findings, strict=True):
        bins = (np.linspace(0, 1, 41), np.linspace(0, 90, 46))
        for name in ("exact", "chance"):
            values = each.samples[name]
            for axes, key, edges in zip(row, ("straightness", "chord_angle"), bins, strict=True):
                shares = np.full(len(values[key]), 1 / max(1, len(values[key])))
                axes.hist(values[key], edges, weights=shares, alpha=0.6, label=_TITLES[name])
        row[0].set(xlabel="chord / arc", ylabel=f"{each.manifold.name}\nshare of latents")
        row[1].set(xlabel="chord to normal, degrees")
        row[0].legend(loc="upper left")
    return figure


def noises(findings):
    """Draws the difference of predicted noises at each level."""
    figure = Figure((9, 3.8), layout="constrained")
    for axes, each in zip(figure.subplots(1, len(findings), sharey=True), findings, strict=True):
        values = dict(each.numbers["noises"])
        times = values.pop("times")
        axes.semilogy(times, values.pop("unexplained"), "k--", label="unexplained")
        for name, differences in values.items():
            axes.semilogy(times, differences, "o-", ms=4, label=_TITLES[name])
        axes.set(title=each.manifold.name, xlabel="diffusion time t")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[0].set_ylabel("difference from the exact noise")
    return figure


def colours(manifold, positions):
    """Returns colours of positions on a curve, `(n,)` -> `(n, 3)`; cyclic if it is closed."""
    if manifold.arcs[0].closed:
        return matplotlib.colormaps["hsv"](positions)[:, :3]
    # Colours differ between the end of an arc and the start of the next one.
    count = len(manifold.arcs)
    within = positions * count % 1
    spread = (np.floor(positions * count) + 0.08 + 0.84 * within) / count
    return matplotlib.colormaps["turbo"](spread)[:, :3]


def _panels(findings, attribute, draw):
    """Draws one row of panels per data set and one column per denoiser."""
    names = [name for name in getattr(findings[0], attribute) if name in findings[0].maps]
    figure = Figure((3.7 * len(names), 3.8 * len(findings)), layout="constrained")
    grid = figure.subplots(len(findings), len(names), squeeze=False, sharex=True, sharey=True)
    for row, each in zip(grid, findings, strict=True):
        for axes, name in zip(row, names, strict=True):
            draw(axes, each, name)
            axes.set(aspect="equal", xlim=(-3, 3), ylim=(-3, 3), xticks=range(-3, 4))
            axes.set_yticks(range(-3, 4))
        row[0].set_ylabel(each.manifold.name)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(_TITLES[name])
    return figure


def _draw_map(axes, each, name):
    landings = each.maps[name]
    side = round(len(landings) ** 0.5)
    positions = each.manifold.nearest(landings).positions
    image = colours(each.manifold, positions).reshape(side, side, 3)
    half = 3 / (side - 1)
    axes.imshow(image, origin="lower", extent=(-3 - half, 3 + half) * 2, interpolation="nearest")
    _draw_curve(axes, each.manifold, "k", 3.5)
    _draw_curve(axes, each.manifold, "w", 1.2)
    _draw_deviations(axes)


def _draw_embeddings(axes, each, name):
    manifold = each.manifold
    chosen = (np.arange(_CHOSEN) + 0.5) / _CHOSEN
    points = manifold.at(chosen)
    feet = manifold.nearest(each.maps[name])
    _draw_curve(axes, manifold, "0.7", 2)
    ends = each.paths[name][-1]
    of_paths = manifold.nearest(ends)
    for position, point, colour in zip(chosen, points, colours(manifold, chosen), strict=True):
        near = np.abs(feet.positions - position) < _NEAR
        axes.scatter(*each.grid[near].T, s=3, color=colour, lw=0)
        to_point = np.flatnonzero(np.abs(of_paths.positions - position) < _NEAR)[:_PATHS_PER_POINT]
        lines = each.paths[name][:, to_point].transpose(1, 0, 2)
        axes.add_collection(LineCollection(lines, colors=[colour], lw=0.7, alpha=0.9))
        axes.plot(*point, "o", ms=7, color=colour, mec="k")
    _draw_deviations(axes)


def _draw_paths(axes, each, name):
    paths = each.paths[name][:, :_SHOWN_PATHS]
    shades = colours(each.manifold, each.manifold.nearest(paths[-1]).positions)
    _draw_curve(axes, each.manifold, "0.7", 3)
    axes.add_collection(LineCollection(paths.transpose(1, 0, 2), colors=shades, lw=0.8))
    axes.scatter(*paths[0].T, s=5, c=shades, lw=0)


def _draw_curve(axes, manifold, colour, width):
    for index in range(len(manifold.arcs)):
        positions = (index + np.linspace(0, 1 - 1e-9, 200)) / len(manifold.arcs)
        axes.plot(*manifold.at(positions).T, color=colour, lw=width)


def _draw_deviations(axes):
    angles = np.linspace(0, 2 * np.pi, 200)
    for radius in (1, 2):
        axes.plot(radius * np.cos(angles), radius * np.sin(angles), "k--", lw=0.6, alpha=0.6)
