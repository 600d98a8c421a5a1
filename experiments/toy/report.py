"""Runs the study: trains networks, samples trajectories, measures and writes results."""

import dataclasses
import itertools
import math
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.process.schedules import MIN_SIGNAL_RATE, Rates, continuous_cosine
from experiments.toolkit import pages, results
from experiments.toolkit.tables import show
from experiments.toy import claims, figures, measures
from experiments.toy.denoisers import MedianDenoiser, train, trajectories
from experiments.toy.manifolds import MANIFOLDS, Manifold
from experiments.toy.tables import claims_table, dataset_tables

EXACT, MEDIAN, PAPER_RATES = "exact", "exact median", "exact, the paper's rates"
FINE = "exact, four times the steps"
# The maps show latents up to this number of deviations from the origin.
EXTENT = 3.0
_PAPER_STEPS = 10


@dataclasses.dataclass(frozen=True)
class Findings:
    """Results of one data set; the keys of the dicts are names of denoisers.

    Attributes:
        manifold: the curve on which the data lie.
        points: the data, `(n, 2)`.
        paths: trajectories of Gaussian latents, `(num_steps + 1, samples, 2)`.
        grid: latents evenly over the plane, `(grid**2, 2)`, row by row from the lowest.
        maps: where these land, `(grid**2, 2)`; not for the median.
        samples: results of `measures.of_paths` for each path, for those of the exact denoiser with
            the rates that the paper uses for images and with more steps, and for chance.
        numbers: the part of `toy.json` about this data set.
    """

    manifold: Manifold
    points: np.ndarray
    paths: dict[str, np.ndarray]
    grid: np.ndarray
    maps: dict[str, np.ndarray]
    samples: dict[str, dict[str, np.ndarray]]
    numbers: dict


def report(study):
    """Writes `toy.json`, figures and `index.html` to `study.result_folder`, and prints tables."""
    started = time.perf_counter()
    outputs = study.outputs
    findings = [investigate(study, manifold) for manifold in MANIFOLDS]
    datasets = {each.manifold.name: each.numbers for each in findings}
    contents = {
        "datasets": datasets,
        "verdicts": claims.verdicts(datasets),
        **results.provenance(study, study.command, "scikit-learn"),
    }
    pages.save_json(outputs, "toy.json", contents)
    pages.save_figures(outputs, figures.figures(findings))
    tables, claims_of_paper = dataset_tables(contents), claims_table(contents)
    show(*tables, claims_of_paper)
    pages.write(
        outputs,
        "toy/templates/toy.html",
        title="The gravitational analogy",
        contents=contents,
        claims=claims_of_paper,
        tables=tables,
        limits=claims,
    )
    print(f"{time.perf_counter() - started:.0f} s")


def investigate(study, manifold):
    """Trains the networks of one data set and compares them with the exact denoiser."""
    name, seed, steps = manifold.name, study.seed, study.num_steps
    points = manifold.data(study.points, study.noise, seed)
    schedule = cosine_to(study.max_signal_rate)
    denoisers = {EXACT: de.EmpiricalDenoiser(points.reshape(-1, 1, 1, 2))}
    seconds = {}
    for index, loss in enumerate(study.losses):
        # Different seeds, so that networks do not agree because of their initial weights.
        denoisers[loss], seconds[loss] = train(
            study, points, schedule, loss, seed + index, f"{name}, {loss}"
        )
    denoisers[MEDIAN] = MedianDenoiser(points)

    latents = np.random.default_rng(seed).normal(size=(study.samples, 2))
    side = np.linspace(-EXTENT, EXTENT, study.grid)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    paths, maps = {}, {}
    flows = [*denoisers, *(f"map of {key}" for key in denoisers if key != MEDIAN)]
    with tqdm(flows, desc=f"{name}, latents to points", disable=not study.progress) as bar:
        for flow in bar:
            key = flow.removeprefix("map of ")
            if key == flow:
                paths[key] = trajectories(denoisers[key], schedule, latents, steps)
            else:
                maps[key] = trajectories(denoisers[key], schedule, grid, steps)[-1]
    exact = paths[EXACT]
    in_ten = trajectories(denoisers[EXACT], schedule, latents, _PAPER_STEPS)
    papers = trajectories(denoisers[EXACT], continuous_cosine, latents, steps)
    samples = {key: measures.of_paths(path, schedule, manifold) for key, path in paths.items()}
    samples[PAPER_RATES] = measures.of_paths(papers, continuous_cosine, manifold)
    fine = trajectories(denoisers[EXACT], schedule, latents, 4 * steps)
    samples[FINE] = measures.of_paths(fine, schedule, manifold)
    samples["chance"] = measures.of_chance(latents, schedule, manifold, points, steps, seed)
    numbers = {
        "paths": {key: measures.summary(values) for key, values in samples.items()},
        "embeddings": {
            key: measures.of_embeddings(grid, landings, manifold) for key, landings in maps.items()
        },
        "maps": {
            f"{one} / {other}": measures.of_maps(paths[one][-1], paths[other][-1], manifold)
            for one, other in _pairs(study.losses)
        }
        | {"exact, 10 steps / exact": measures.of_maps(exact[-1], in_ten[-1], manifold)},
        "nearest_ends": float(1 - manifold.nearest(latents).inner.mean()),
        "noises": measures.of_noises(denoisers, schedule, points, study.samples, seed),
        "training_seconds": seconds,
    }
    return Findings(manifold, points, paths, grid, maps, samples, numbers)


def cosine_to(max_signal_rate):
    """Returns the continuous cosine schedule with a signal rate at t=0 other than 0.95."""
    start, end = math.acos(max_signal_rate), math.acos(MIN_SIGNAL_RATE)

    def schedule(diffusion_times):
        angles = start + tf.convert_to_tensor(diffusion_times) * (end - start)
        return Rates(tf.cos(angles), tf.sin(angles))

    return schedule


def _pairs(losses):
    """Returns the pairs of maps that are compared."""
    pairs = [(loss, exact) for loss in losses for exact in (EXACT, MEDIAN)]
    return [*pairs, *itertools.combinations(losses, 2), (MEDIAN, EXACT)]
