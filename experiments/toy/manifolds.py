"""Curves in the plane made of circular arcs, with their normals in closed form."""

import dataclasses
import functools
import math
from typing import NamedTuple

import numpy as np
from sklearn import datasets

# A foot within this number of radians of an arc's end counts as the end, without a normal.
_END = 0.03


class Feet(NamedTuple):
    """The points of a curve nearest to some points of the plane.

    Attributes:
        points: `(n, 2)`, on the curve.
        normals: `(n, 2)`, unit vectors perpendicular to the curve there, away from an arc's centre.
        inner: `(n,)` bool, whether the foot is not the end of an arc.
        positions: `(n,)` in [0, 1), how far along the curve; arcs have equal shares.
    """

    points: np.ndarray
    normals: np.ndarray
    inner: np.ndarray
    positions: np.ndarray


@dataclasses.dataclass(frozen=True)
class Arc:
    """A circular arc that runs from the angle `start` by `sweep`, counter-clockwise, in radians."""

    center: tuple[float, float]
    radius: float
    start: float = 0.0
    sweep: float = 2 * math.pi

    @property
    def closed(self):
        """Whether it is a whole circle, which has no ends."""
        return self.sweep >= 2 * math.pi

    def nearest(self, points):
        """Returns the `Feet` of points, `(n, 2)`."""
        offsets = np.asarray(points, np.float64) - self.center
        angles = (np.arctan2(offsets[:, 1], offsets[:, 0]) - self.start) % (2 * math.pi)
        if not self.closed:
            # Beyond the ends the nearer one is the foot.
            nearer_start = angles > math.pi + self.sweep / 2
            angles = np.where(nearer_start, 0.0, np.minimum(angles, self.sweep))
        at = self.start + angles
        normals = np.stack([np.cos(at), np.sin(at)], axis=-1)
        inner = self.closed | ((angles > _END) & (angles < self.sweep - _END))
        # The last point of an arc must not be the first one of the next.
        positions = np.minimum(angles / self.sweep, np.nextafter(1, 0))
        return Feet(self.center + self.radius * normals, normals, inner, positions)


@dataclasses.dataclass(frozen=True)
class Manifold:
    """Data on arcs, in model space: mean 0, and variance 1 on average over the two axes.

    One scale serves both axes, so that angles are those of the data.

    Attributes:
        name: name of the data set.
        arcs: tuple of `Arc`, in model space.
        draw: function `(n, seed)` -> points of scikit-learn, `(n, 2)`.
        mean: mean of these points, `(x, y)`, which is subtracted.
        scale: number by which they are then divided.
    """

    name: str
    arcs: tuple[Arc, ...]
    draw: object
    mean: tuple[float, float]
    scale: float

    def data(self, n, noise=0.0, seed=0):
        """Draws points in model space, float64 `(n, 2)`, and adds noise of deviation `noise`."""
        points = (self.draw(n, seed) - np.array(self.mean)) / self.scale
        return points + noise * np.random.default_rng(seed).normal(size=points.shape)

    def nearest(self, points):
        """Returns the `Feet` of points, `(n, 2)`, on the nearest arc."""
        points = np.asarray(points, np.float64)
        by_arc = [arc.nearest(points) for arc in self.arcs]
        distances = [np.linalg.norm(points - feet.points, axis=-1) for feet in by_arc]
        best = np.argmin(distances, axis=0)
        rows = np.arange(len(points))
        chosen = Feet(*(np.stack(values)[best, rows] for values in zip(*by_arc, strict=True)))
        # Rounding must not move the last position of an arc to the first of the next.
        positions = np.minimum(best + chosen.positions, np.nextafter(best + 1.0, 0))
        return chosen._replace(positions=positions / len(self.arcs))

    @property
    def closed(self):
        """Whether no arc has an end."""
        return all(arc.closed for arc in self.arcs)

    def arc_of(self, points):
        """Returns the number of the arc nearest to each point, `(n, 2)` -> `(n,)`."""
        return (self.nearest(points).positions * len(self.arcs)).astype(int)

    def at(self, positions):
        """Returns the points of the curve at positions in [0, 1), `(n,)` -> `(n, 2)`."""
        scaled = np.asarray(positions, np.float64) * len(self.arcs)
        points = np.empty((len(scaled), 2))
        for index, arc in enumerate(self.arcs):
            here = scaled.astype(int) == index
            angles = arc.start + arc.sweep * (scaled[here] - index)
            points[here] = arc.center + arc.radius * np.stack(
                [np.cos(angles), np.sin(angles)], axis=-1
            )
        return points


def circle():
    """Returns scikit-learn's outer circle: radius sqrt(2) in model space."""

    def draw(n, seed):
        return datasets.make_circles((n, 0), random_state=seed)[0]

    scale = math.sqrt(0.5)
    return Manifold("circle", (Arc((0.0, 0.0), 1 / scale),), draw, (0.0, 0.0), scale)


def moons():
    """Returns scikit-learn's two moons: half circles of radius 1 about (0, 0) and (1, 0.5)."""

    def draw(n, seed):
        return datasets.make_moons(n, random_state=seed)[0]

    mean = (0.5, 0.25)
    # Integrals over both half circles, on which points lie evenly: E[x**2] is 1/2 and 3/2, E[y**2]
    # is 1/2 and 3/4 - 2/pi.
    variances = (1.0 - mean[0] ** 2, (1.25 - 2 / math.pi) / 2 - mean[1] ** 2)
    scale = math.sqrt(sum(variances) / 2)
    arc = functools.partial(Arc, radius=1 / scale, sweep=math.pi)
    centers = [tuple((np.array(c) - mean) / scale) for c in ((0.0, 0.0), (1.0, 0.5))]
    arcs = (arc(centers[0], start=0.0), arc(centers[1], start=math.pi))
    return Manifold("moons", arcs, draw, mean, scale)


MANIFOLDS = (circle(), moons())
