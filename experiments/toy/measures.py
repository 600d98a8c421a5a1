"""The numbers of the study, as dicts for JSON."""

import numpy as np
import tensorflow as tf

from ddim_embed.process import sampling
from experiments.toy import geometry

# Stretches of a curve for whose latents an axis is found.
STRETCHES = 40
# The share of the steps that counts as arrival.
_ARRIVAL = 0.2
# Diffusion times at which predicted noises are compared.
TIMES = np.linspace(0.0, 1.0, 11)


def of_paths(paths, schedule, manifold):
    """How straight each path is, and at which angle to the curve's normal it comes.

    Args:
        paths: `(num_steps + 1, n, 2)`, as from `denoisers.trajectories`.
        schedule: that of the sampler.
        manifold: on which they land.

    Returns:
        A dict of arrays `(n,)`: `straightness`, and that of the rescaled path x / signal rate;
        `line_share`; `distance` to the curve; `inner`, whether the landing point's foot is no end
        of an arc; and of the paths for which it is not, fewer than n, in degrees from the normal,
        `chord_angle`, of the line from latent to landing point, and `arrival_angle`, of the last
        fifth of the steps.
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
    }


def summary(values):
    """`of_paths` in numbers for JSON: means and intervals, `ends`, `distance_rms`."""
    means = (
        "straightness", "straightness_rescaled", "line_share", "chord_angle", "arrival_angle",
    )  # fmt: skip
    return {name: geometry.interval(values[name]) for name in means} | {
        "ends": float(1 - values["inner"].mean()),
        "distance_rms": float(np.sqrt(np.mean(values["distance"] ** 2))),
    }


def of_chance(latents, schedule, manifold, points, num_steps, seed):
    """The same for latents drawn to data that have nothing to do with them.

    Each latent z goes to a random datum d by way of s d + e z, the path of a sampler for which d is
    all of the data.
    """
    targets = points[np.random.default_rng(seed).integers(len(points), size=len(latents))]
    grid = sampling.time_grid(schedule, num_steps)[:0:-1]
    paths = [rates.signal * targets + rates.noise * latents for rates in grid]
    paths[0] = latents
    return of_paths(np.array([*paths, targets]), schedule, manifold)


def of_embeddings(latents, landings, manifold):
    """Which way emb(x) lies: the latents that land on one stretch of the curve.

    Args:
        latents: `(n, 2)`, evenly over the plane; each weighs as a Gaussian draws it.
        landings: `(n, 2)`.
        manifold: on which they land.

    Returns:
        A dict: `axis_angle` between the longest axis of emb(x) and the normal at x, in degrees;
        `elongation`, how many times as long as wide, which grows with the number of stretches.
    """
    feet = manifold.nearest(landings)
    groups = np.where(feet.inner, (feet.positions * STRETCHES).astype(int), -1)
    weights = np.exp(-np.sum(latents**2, axis=-1) / 2)
    axes, ratios = geometry.main_axes(latents, weights, groups, STRETCHES)
    normals = manifold.nearest(manifold.at((np.arange(STRETCHES) + 0.5) / STRETCHES)).normals
    found = np.isfinite(ratios)
    if not found.any():  # a grid of few latents
        return {"axis_angle": None, "elongation": None}
    return {
        "axis_angle": geometry.interval(geometry.angles(axes[found], normals[found])),
        "elongation": geometry.interval(ratios[found]),
    }


def of_maps(landings, others):
    """How far apart two maps take the same latents, beside the distance of random pairs.

    Args:
        landings: `(n, 2)`, where one map takes them.
        others: `(n, 2)`, where the other one does.

    Returns:
        A dict: `relative_rms`, and its square `mean_square_ratio`; `relative_median`, that of the
        median distance.
    """
    spread = np.sqrt(2 * landings.var(axis=0).sum())  # of independent pairs, root mean square
    distances = np.linalg.norm(landings - others, axis=-1)
    relative = np.sqrt(np.mean(distances**2)) / spread
    return {
        "relative_rms": float(relative),
        "mean_square_ratio": float(relative**2),
        "relative_median": float(np.median(distances) / spread),
    }


def of_noises(denoisers, schedule, points, count, seed):
    """How the predicted noises of denoisers differ from those of the first, level by level.

    Args:
        denoisers: dict from names to denoisers; the first is the reference.
        schedule: that of the noise levels.
        points: `(n, 2)`, the data.
        count: noisy points at each level.
        seed: of the data and the noise.

    Returns:
        A dict: `times`; `unexplained`, the error of the reference itself against the noise that was
        drawn; and for each other name its difference. All root mean squares of one component.
    """
    reference, *others = denoisers
    found = {"times": TIMES.tolist(), "unexplained": []} | {name: [] for name in others}
    rng = np.random.default_rng(seed)
    for rates in sampling.time_grid(schedule, len(TIMES) - 1):
        data = points[rng.integers(len(points), size=count)]
        noises = rng.normal(size=data.shape)
        noisy = (rates.signal * data + rates.noise * noises).astype(np.float32)
        images = tf.constant(noisy.reshape(-1, 1, 1, 2))
        predicted = {
            name: np.reshape(denoise(images, rates), (-1, 2)) for name, denoise in denoisers.items()
        }
        found["unexplained"].append(rms(predicted[reference] - noises, components=True))
        for name in others:
            found[name].append(rms(predicted[name] - predicted[reference], components=True))
    return found


def rms(differences, components=False):
    """Root mean square length of vectors `(n, 2)`, or of their components."""
    return float(np.sqrt(np.mean(differences**2) * (1 if components else differences.shape[-1])))
