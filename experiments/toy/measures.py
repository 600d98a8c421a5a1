"""The measurements of the study, as dicts for JSON."""

import numpy as np
import tensorflow as tf

from ddim_embed.process import sampling
from experiments.toy import geometry

# Number of stretches of a curve; the latents of each have an axis.
STRETCHES = 40
# Share of the steps that counts as arrival.
_ARRIVAL = 0.2
# Share of an arc that is inside, away from both ends.
_INSIDE = 0.6
# Diffusion times at which predicted noises are compared.
TIMES = np.linspace(0.0, 1.0, 11)


def of_paths(paths, schedule, manifold):
    """Measures how straight each path is, and its angle with the curve's normal.

    The dict of arrays `(n,)` has `straightness`; `straightness_rescaled`, that of x / signal rate;
    `line_share`; `distance` to the curve; `inner`, whether the foot of the landing point is not an
    end of an arc. For the inner paths only, in degrees from the normal: `chord_angle`, of the line
    from latent to landing point; `arrival_angle`, of the last fifth of the steps; and
    `landing_angle`, of the last one.
    """
    feet = manifold.nearest(paths[-1])
    inner = feet.inner
    signal = [rates.signal for rates in sampling.time_grid(schedule, len(paths) - 1)[:0:-1]]
    rescaled = paths / np.array([*signal, 1.0])[:, None, None]
    arrival = paths[-1] - paths[int((1 - _ARRIVAL) * (len(paths) - 1))]

    def to_normal(directions):
        return geometry.angles(directions[inner], feet.normals[inner])

    return {
        "straightness": geometry.straightness(paths),
        "straightness_rescaled": geometry.straightness(rescaled),
        "line_share": geometry.line_share(paths),
        "distance": np.linalg.norm(paths[-1] - feet.points, axis=-1),
        "inner": inner,
        "chord_angle": to_normal(paths[-1] - paths[0]),
        "arrival_angle": to_normal(arrival),
        "landing_angle": to_normal(paths[-1] - paths[-2]),
    }


def summary(values):
    """Summarises `of_paths` for JSON: means and intervals, `ends`, `distance_rms`."""
    means = (
        "straightness", "straightness_rescaled", "line_share", "chord_angle", "arrival_angle",
        "landing_angle",
    )  # fmt: skip
    return {name: geometry.interval(values[name]) for name in means} | {
        "ends": float(1 - values["inner"].mean()),
        "distance_rms": float(np.sqrt(np.mean(values["distance"] ** 2))),
    }


def of_chance(latents, schedule, manifold, points, num_steps, seed):
    """Measures the same for latents that move to independent random data.

    Each latent z moves to a random datum d along s d + e z, the path of a sampler for which d is
    all of the data.
    """
    targets = points[np.random.default_rng(seed).integers(len(points), size=len(latents))]
    grid = sampling.time_grid(schedule, num_steps)[:0:-1]
    paths = [rates.signal * targets + rates.noise * latents for rates in grid]
    paths[0] = latents
    return of_paths(np.array([*paths, targets]), schedule, manifold)


def of_embeddings(latents, landings, manifold):
    """Measures the axis of emb(x), the latents that land on one stretch of the curve.

    The latents lie evenly over the plane; their weights are the Gaussian density. `axis_angle` is
    between the longest axis of emb(x) and the normal at x, in degrees; `axis_angle_inside` is that
    of the stretches that are no nearer to an end of their arc than a fifth of it; `elongation` is
    length over width, which grows with the number of stretches.
    """
    feet = manifold.nearest(landings)
    groups = np.where(feet.inner, (feet.positions * STRETCHES).astype(int), -1)
    weights = np.exp(-np.sum(latents**2, axis=-1) / 2)
    axes, ratios = geometry.main_axes(latents, weights, groups, STRETCHES)
    positions = (np.arange(STRETCHES) + 0.5) / STRETCHES
    normals = manifold.nearest(manifold.at(positions)).normals
    finite = np.isfinite(ratios)
    if not finite.any():  # a grid of few latents
        return {"axis_angle": None, "axis_angle_inside": None, "elongation": None}
    angles = geometry.angles(axes[finite], normals[finite])
    along = positions[finite] * len(manifold.arcs) % 1
    inside = manifold.closed | (np.abs(along - 0.5) < _INSIDE / 2)
    return {
        "axis_angle": geometry.interval(angles),
        "axis_angle_inside": geometry.interval(angles[inside]),
        "elongation": geometry.interval(ratios[finite]),
    }


def of_maps(landings, others, manifold):
    """Measures the distance of two maps of the same latents, relative to random pairs.

    `other_arc` is the share of latents that the maps send to distinct arcs of the curve, and
    `mean_square_ratio_same_arc` the ratio without them, None if no latents are left.
    """
    spread = np.sqrt(2 * landings.var(axis=0).sum())  # of independent pairs, root mean square
    distances = np.linalg.norm(landings - others, axis=-1)
    relative = np.sqrt(np.mean(distances**2)) / spread
    same = manifold.arc_of(landings) == manifold.arc_of(others)
    rest = np.mean(distances[same] ** 2) / spread**2 if same.any() else None
    return {
        "relative_rms": float(relative),
        "mean_square_ratio": float(relative**2),
        "relative_median": float(np.median(distances) / spread),
        "other_arc": float(1 - same.mean()),
        "mean_square_ratio_same_arc": None if rest is None else float(rest),
    }


def of_noises(denoisers, schedule, points, count, seed):
    """Measures how predicted noises differ from those of the first denoiser, at each level.

    `count` noisy points are drawn at each level; `unexplained` is the error of the first denoiser
    from the true noise. All are root mean squares of one component.
    """
    reference, *others = denoisers
    differences = {"times": TIMES.tolist(), "unexplained": []} | {name: [] for name in others}
    rng = np.random.default_rng(seed)
    for rates in sampling.time_grid(schedule, len(TIMES) - 1):
        data = points[rng.integers(len(points), size=count)]
        noises = rng.normal(size=data.shape)
        noisy = (rates.signal * data + rates.noise * noises).astype(np.float32)
        images = tf.constant(noisy.reshape(-1, 1, 1, 2))
        predicted = {
            name: np.reshape(denoise(images, rates), (-1, 2)) for name, denoise in denoisers.items()
        }
        differences["unexplained"].append(rms(predicted[reference] - noises, components=True))
        for name in others:
            differences[name].append(rms(predicted[name] - predicted[reference], components=True))
    return differences


def rms(differences, components=False):
    """Returns the root mean square length of vectors `(n, 2)`, or of their components."""
    return float(np.sqrt(np.mean(differences**2) * (1 if components else differences.shape[-1])))
