"""Straightness and angles of trajectories, and the two laws of attraction of Figure 8."""

import numpy as np


def straightness(paths):
    """Returns chord over arc length, `(steps, n, 2)` -> `(n,)`: 1 for a straight line.

    It is 2/pi for a half circle, and 1 for a path that stays where it is.
    """
    arcs = np.linalg.norm(np.diff(paths, axis=0), axis=-1).sum(axis=0)
    chords = np.linalg.norm(paths[-1] - paths[0], axis=-1)
    return np.divide(chords, arcs, out=np.ones_like(arcs), where=arcs > 0)


def line_share(paths):
    """Returns the share of a path's variance along its main axis, `(steps, n, 2)` -> `(n,)`.

    Unlike `straightness`, it is 1 for a path that reverses on its line, or stays where it is.
    """
    centred = paths - paths.mean(axis=0)
    covariances = np.einsum("tni,tnj->nij", centred, centred)
    smaller, larger = np.linalg.eigvalsh(covariances).T
    total = smaller + larger
    return np.divide(larger, total, out=np.ones_like(total), where=total > 0)


def angles(directions, normals):
    """Returns angles between lines, `(n, 2)` and `(n, 2)` -> `(n,)` in degrees, from 0 to 90."""
    along = np.abs(np.sum(directions * normals, axis=-1))
    across = np.abs(directions[..., 0] * normals[..., 1] - directions[..., 1] * normals[..., 0])
    return np.degrees(np.arctan2(across, along))  # exact near 0, where arccos is not


def main_axes(points, weights, groups, num_groups):
    """Returns the axis along which each group of weighted points is longest.

    They are unit vectors `(num_groups, 2)`, with the ratio of the deviations along the axis and
    across it, `(num_groups,)`. Both are NaN for a group of fewer than 10 points.
    """
    axes = np.full((num_groups, 2), np.nan)
    ratios = np.full(num_groups, np.nan)
    for group in range(num_groups):
        inside = groups == group
        if inside.sum() < 10:
            continue
        values, vectors = np.linalg.eigh(np.cov(points[inside].T, aweights=weights[inside]))
        axes[group] = vectors[:, -1]
        ratios[group] = np.sqrt(values[-1] / max(values[0], 1e-12))
    return axes, ratios


def weighted_attraction(distances, sigma):
    """Returns Eq. 11 along a line: distance times the density of N(0, sigma**2) there."""
    distances = np.abs(distances)
    density = np.exp(-(distances**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    return density * distances


def gravity(distances, radius):
    """Returns the gravity of a ball of constant density, inside and outside; 1 at its surface."""
    relative = np.abs(distances) / radius
    return np.where(relative < 1, relative, 1 / np.maximum(relative, 1) ** 2)


def interval(values):
    """Returns mean and range of the central 95 percent: a dict of numbers, None without values."""
    if not len(values):
        return {"mean": None, "low": None, "high": None}
    low, high = np.percentile(values, [2.5, 97.5])
    return {"mean": float(np.mean(values)), "low": float(low), "high": float(high)}
