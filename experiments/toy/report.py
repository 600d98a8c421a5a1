"""Runs the study: trains, follows latents, measures, and writes what comes out."""

import dataclasses
import itertools
import math
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.process.schedules import MIN_SIGNAL_RATE, Rates, continuous_cosine
from experiments.toolkit import results
from experiments.toy import figures, measures, tables
from experiments.toy.denoisers import MedianDenoiser, train, trajectories
from experiments.toy.manifolds import MANIFOLDS, Manifold

EXACT, MEDIAN, PAPER_RATES = "exact", "exact median", "exact, the paper's rates"
# The maps show latents up to that many deviations from the origin.
EXTENT = 3.0
_PAPER_STEPS = 10


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found of one data set; the denoisers' names are the keys of the dicts.

    Attributes:
        manifold: the curve on which the data lie.
        points: the data, `(n, 2)`.
        paths: Gaussian latents on their way, `(num_steps + 1, samples, 2)`.
        grid: latents evenly over the plane, `(grid**2, 2)`, row by row from the lowest.
        maps: where these land, `(grid**2, 2)`; not of the median.
        samples: what `measures.of_paths` found of each path, of the exact denoiser's with the
            rates that the paper uses for images, and of chance's.
        numbers: what `toy.json` holds of it.
    """

    manifold: Manifold
    points: np.ndarray
    paths: dict[str, np.ndarray]
    grid: np.ndarray
    maps: dict[str, np.ndarray]
    samples: dict[str, dict[str, np.ndarray]]
    numbers: dict


def report(study, command):
    """Writes `toy.json`, figures and `index.html` to `study.result_folder`.

    Args:
        study: a `Toy`.
        command: what a user would type to repeat it.

    Returns:
        What `toy.json` holds.
    """
    started = time.perf_counter()
    folder = study.result_folder
    found = [investigate(study, manifold) for manifold in MANIFOLDS]
    datasets = {one.manifold.name: one.numbers for one in found}
    contents = {
        "datasets": datasets,
        "verdicts": tables.verdicts(datasets),
        **results.provenance(study, command, "scikit-learn"),
    }
    results.save_json(folder / "toy.json", contents)
    drawn = figures.figures(found)
    for name, figure in drawn.items():
        results.save_figure(folder / name, figure)
    index = tables.write_page(folder, contents, drawn)
    tables.print_tables(contents)
    print(f"{time.perf_counter() - started:.0f} s; the whole report is {index}")
    return contents


def investigate(study, manifold):
    """Trains the networks of one data set and measures them beside the exact denoiser.

    Args:
        study: a `Toy`.
        manifold: of which data set.

    Returns:
        `Findings`.
    """
    name, seed, steps = manifold.name, study.seed, study.num_steps
    points = manifold.data(study.points, study.noise, seed)
    schedule = cosine_to(study.max_signal_rate)
    denoisers = {EXACT: de.EmpiricalDenoiser(points.reshape(-1, 1, 1, 2))}
    seconds = {}
    for index, loss in enumerate(study.losses):
        # Another seed for each: that networks agree is to be no matter of how they begin.
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
    samples["chance"] = measures.of_chance(latents, schedule, manifold, points, steps, seed)
    numbers = {
        "paths": {key: measures.summary(values) for key, values in samples.items()},
        "embeddings": {
            key: measures.of_embeddings(grid, landings, manifold) for key, landings in maps.items()
        },
        "maps": {
            f"{one} / {other}": measures.of_maps(paths[one][-1], paths[other][-1])
            for one, other in _pairs(study.losses)
        }
        | {"exact, 10 steps / exact": measures.of_maps(exact[-1], in_ten[-1])},
        "noises": measures.of_noises(denoisers, schedule, points, study.samples, seed),
        "training_seconds": seconds,
    }
    return Findings(manifold, points, paths, grid, maps, samples, numbers)


def cosine_to(max_signal_rate):
    """The continuous cosine schedule, with another signal rate at t=0 than the paper's 0.95."""
    start, end = math.acos(max_signal_rate), math.acos(MIN_SIGNAL_RATE)

    def schedule(diffusion_times):
        angles = start + tf.convert_to_tensor(diffusion_times) * (end - start)
        return Rates(tf.cos(angles), tf.sin(angles))

    return schedule


def _pairs(losses):
    """Which maps are compared: networks with the exact ones, networks, and the exact ones."""
    pairs = [(loss, exact) for loss in losses for exact in (EXACT, MEDIAN)]
    return [*pairs, *itertools.combinations(losses, 2), (MEDIAN, EXACT)]
