"""The verbs `train-prior` and `priors`: the distribution of semantic vectors, and others."""

import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.autoencoder.prior import prior_config
from ddim_embed.backend import is_tensorflow
from ddim_embed.store.outputs import require_folder
from ddim_embed.store.sealed import read_arrays, write_arrays
from ddim_embed.store.weights import find_weights, weights_root
from ddim_embed.training.loop import CheckpointError
from experiments.autoencoder.sampling_sections import PRIORS, TRAINING
from experiments.autoencoder.sampling_verbs import Priors, TrainPrior
from experiments.toolkit import results, runs, sources
from experiments.toolkit.command_line import UsageError

# Images that are encoded, and cached, at a time.
_CHUNK = 1000
# One image of so many is for validation, with its mirror image.
_TENTH = 10
# Vectors whose nearest neighbours are sought at a time.
_BLOCK = 500


class Vectors(NamedTuple):
    """Semantic vectors of a data set: to train on, to stop by, and of test images."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def load_models(config):
    """Loads the autoencoder of the experiment with its prior, which must be of its vectors."""
    autoencoder = sources.load_autoencoder(config)
    if autoencoder.prior is None:  # says what is missing, or that it is of other vectors
        autoencoder.prior = de.load_prior(config.name, config.weights)
    return autoencoder


def train_prior(verb):
    """Trains a prior and records it with its errors; returns the path.

    Of several workers the chief records; the others return None.
    """
    config = verb.config
    strategy = de.training_strategy(config.strategy)
    require_folder(weights_root(config.weights), "--weights")
    autoencoder = sources.load_autoencoder(config)
    vectors = load_vectors(config, autoencoder, verb.train_images)
    folder = _folder(config, autoencoder)
    prior, history = fit(verb, vectors, folder / "fit")
    if not strategy.is_chief:
        return None
    prior.autoencoder = autoencoder.checksum
    best = min(history, key=lambda line: line["validation_loss"])
    path = _record(verb, prior, vectors, history, best, folder)
    if not is_tensorflow():
        return path
    from experiments.autoencoder import sampling_figures

    contents = {
        "dataset": config.name,
        "vectors": len(vectors.training),
        "best_step": best["step"],
        "validation_loss": best["validation_loss"],
        "history": history,
        "options": verb.options,
        **results.provenance(config, verb.command),
    }
    TRAINING.publish(
        verb.outputs, contents, lambda: {"train-prior.png": sampling_figures.training(contents)}
    )
    return path


def _record(verb, prior, vectors, history, best, folder):
    config = verb.config
    errors = _errors(prior, vectors, config.seed) if is_tensorflow() else {}
    budget = {
        "validation_loss": results.finite(best["validation_loss"]),
        "steps": history[-1]["step"],
        "best_step": best["step"],
        "batch_size": config.batch_size,
        "vectors": len(vectors.training),
        "loss": config.loss,
        **runs.spent(config, history, verb.command),
        "precision": "float32",
        "autoencoder": prior.autoencoder,
    }
    return runs.record(
        config, "prior", prior, prior_config(prior), budget, errors, folder, "and mirrored"
    )


def _errors(prior, vectors, seed):
    """The errors of a prior for its record."""
    found = distances(prior, vectors, Priors.samples, seed)
    return {
        "test_vectors_frechet": results.finite(found["prior"]["mean"]),
        "test_vectors_frechet_of_a_gaussian": results.finite(found["gaussian"]["mean"]),
        "test_vectors_frechet_of_training": results.finite(found["training"]["mean"]),
        "test_images": len(vectors.test),
    }


def measure(config):
    """Returns the errors of the recorded prior for its record."""
    autoencoder = load_models(config)
    return _errors(autoencoder.prior, load_vectors(config, autoencoder), config.seed)


def compare(verb):
    """Writes how the recorded prior compares with a fitted Gaussian, and with others (A.1)."""
    config = verb.config
    autoencoder = load_models(config)
    prior = autoencoder.prior
    vectors = load_vectors(config, autoencoder, verb.train_images)
    _require_its_vectors(config, vectors)
    contents = {
        "dataset": config.name,
        "dims": prior.dims,
        "vectors": len(vectors.training),
        "test_images": len(vectors.test),
        "samples": verb.samples,
        "distances": distances(prior, vectors, verb.samples, config.seed),
        "ablation": ablation(verb, prior, vectors, _folder(config, autoencoder))
        if verb.ablation
        else [],
        "options": verb.options,
        **results.provenance(config, verb.command),
    }
    from experiments.autoencoder import sampling_figures

    PRIORS.publish(
        verb.outputs, contents, lambda: {"priors.png": sampling_figures.priors(contents)}
    )


def _require_its_vectors(config, vectors):
    """Raises `UsageError` unless these are the vectors that the recorded prior was trained on.

    It cannot know others by heart, and a Gaussian that is fitted to others is another baseline.
    """
    _, entry = find_weights(config.name, "prior", config.weights)
    for name, given in (("vectors", len(vectors.training)), ("seed", config.seed)):
        expected = entry["budget"].get(name, given)
        if given != expected:
            raise UsageError(
                f"The training images and --seed must be those of the recorded prior, with {name} "
                f"{expected}. Received: {given}"
            )


def _folder(config, autoencoder):
    """The folder of what is made of the autoencoder's vectors: of other weights, another one."""
    return config.run_folder / f"prior-{autoencoder.checksum[:12]}"


def encode(config, autoencoder, pixels, name):
    """The semantic vectors of pixels, cached by a thousand under a name; a killed run resumes."""
    parts, folder = [], _folder(config, autoencoder)
    with tqdm(total=len(pixels), desc=name, unit="image", disable=not config.progress) as bar:
        for start in range(0, len(pixels), _CHUNK):
            part = np.ascontiguousarray(pixels[start : start + _CHUNK])
            key = hashlib.sha256(f"{autoencoder.checksum} {part.shape}".encode())
            key.update(part.tobytes())
            path, key = folder / f"{name}-{start}.npz", key.hexdigest()
            arrays = read_arrays(path, key)
            if arrays is None:
                arrays = {"semantic": autoencoder.encode(part).semantic}
                write_arrays(path, key, **arrays)
            parts.append(arrays["semantic"])
            bar.update(len(part))
    return np.concatenate(parts)


def load_vectors(config, autoencoder, train_images=None):
    """Encodes training images, and their mirror images with `config.mirror`, and test images.

    A tenth of the training images is held out with their mirror images, to stop the training by.
    """
    pixels = sources.load(config, "train", limit=train_images)
    sides = [encode(config, autoencoder, pixels, "train")]
    if config.mirror:
        sides.append(encode(config, autoencoder, pixels[:, :, ::-1], "mirrored"))
    count = -(-len(pixels) // _TENTH)
    if count == len(pixels):
        raise UsageError(f"There must be 2 training images at least. Received: {len(pixels)}")
    order = np.random.default_rng(config.seed).permutation(len(pixels))
    held, kept = order[:count], order[count:]
    test = encode(config, autoencoder, sources.load(config, "test", config.images), "test")
    return Vectors(*(np.concatenate([side[part] for side in sides]) for part in (kept, held)), test)


def fit(verb, vectors, folder, **changes):
    """Fits a prior with the options of the verb, or others; returns it and its history."""
    config = verb.config
    options = {
        "hidden": verb.hidden,
        "depth": verb.depth,
        "dropout": verb.dropout,
        "schedule": verb.schedule,
        "loss": config.loss,
        "prediction": config.prediction,
        "num_steps": config.train_steps,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "validation_steps": verb.validation_steps,
        "patience": verb.patience,
        "seed": config.seed,
        "strategy": de.training_strategy(config.strategy),
        "progress": config.progress,
    }
    try:
        return de.fit_prior(
            vectors.training, vectors.validation, folder=folder, **options | changes
        )
    except CheckpointError as error:
        raise UsageError(str(error)) from error


def distances(prior, vectors, samples, seed=0):
    """How far samples of a prior are from the vectors of test images.

    All vectors are standardised as those of the training are: in each dimension 1 is their
    variance.

    Args:
        prior: with `sample` and `standardize`, as a `SemanticPrior`.
        vectors: the `Vectors` that it was trained on.
        samples: how many are drawn of it, and of the Gaussian.
        seed: of the samples.

    Returns:
        A dict of Frechet distances from the test vectors as `frechet` returns them: of samples of
        the `prior`; of samples of the `gaussian` that was fitted to the training vectors; and of
        `training` vectors, the least that a perfect prior would have. And `nearest`: a dict of how
        far samples of both are from the nearest training vector, in proportion to vectors of test
        images, on average; well below 1 where a prior knows its vectors by heart. And
        `nearest_interval`: half widths of the 95% intervals of these proportions.
    """
    from experiments.toolkit.distances import frechet  # needs TensorFlow

    gaussian = de.GaussianPrior().fit(vectors.training)
    some = np.random.default_rng(seed).permutation(len(vectors.training))[:samples]
    training, test = (prior.standardize(each) for each in (vectors.training, vectors.test))
    drawn = {
        "prior": prior.standardize(prior.sample(samples, seed)),
        "gaussian": prior.standardize(gaussian.sample(samples, seed)),
        "training": training[some],
    }
    of_test, near, half_widths = nearest(test, training), {}, {}
    if of_test.any():  # not where all test images are among those of the training
        for name in ("prior", "gaussian"):
            of_drawn = nearest(drawn[name][: len(test)], training)
            near[name] = float(of_drawn.mean() / of_test.mean())
            half_widths[name] = interval_of_ratio(of_drawn, of_test)
    found = {name: frechet(each, test) for name, each in drawn.items()}
    return found | {"nearest": near, "nearest_interval": half_widths}


def interval_of_ratio(values, others):
    """The half width of the 95% interval of mean(values) / mean(others), to first order.

    None for a single value on a side.
    """
    above, below = results.estimate(values), results.estimate(others)
    if above["interval"] is None or below["interval"] is None:
        return None
    ratio = above["mean"] / below["mean"]
    return float(np.hypot(above["interval"], ratio * below["interval"]) / below["mean"])


def nearest(vectors, others):
    """How far vectors `(n, d)` are from the nearest of others `(m, d)`: `(n,)`."""
    lengths = (others**2).sum(axis=1)
    found = []
    for start in range(0, len(vectors), _BLOCK):
        part = vectors[start : start + _BLOCK]
        squares = (part**2).sum(axis=1, keepdims=True) - 2 * part @ others.T + lengths
        found.append(np.sqrt(squares.min(axis=1).clip(0)))
    return np.concatenate(found)


def ablation(verb, prior, vectors, folder):
    """Appendix A.1: priors of other losses, schedules and sizes, each in a short run of its own.

    Sizes are in proportion to those of the recorded prior; all else is as `train-prior` has it.

    Returns:
        A list of dicts: `name`, the `parameters` of the network, the Frechet distance of its
        samples from the test vectors, `frechet`, the step that was best, and `seconds`.
    """
    rows, sizes = [], {name: prior_config(prior)[name] for name in ("hidden", "depth")}
    trainer = dataclasses.replace(TrainPrior.defaults(verb.config), **sizes)
    for name, changes in variants(**sizes).items():
        own = folder / f"ablation-{name.replace(', ', '-').replace(' ', '')}"
        other, history = fit(trainer, vectors, own, num_steps=verb.ablation_steps, **changes)
        found = distances(other, vectors, verb.samples, verb.config.seed)
        best = min(history, key=lambda line: line["validation_loss"])
        rows.append(
            {
                "name": name,
                **changes,
                "parameters": other.network.count_params(),
                "frechet": found["prior"],
                "best_step": best["step"],
                "seconds": history[-1]["seconds"],
            }
        )
    return rows


def variants(hidden, depth):
    """The rows of the table in A.1, in proportion to these sizes: options of `fit_prior`."""
    losses = {"L1": "mean_absolute_error", "L2": "mean_squared_error"}
    found = {
        f"{schedule}, {words}": {"schedule": schedule, "loss": loss}
        for schedule in ("linear", "constant")
        for words, loss in losses.items()
    }
    best = found["constant, L1"]
    sizes = [(hidden, round(1.5 * depth)), (hidden, 2 * depth)]
    sizes += [(round(1.5 * hidden), depth), (2 * hidden, depth)]
    for wide, deep in sizes:
        name = f"constant, L1, {deep} layers of {wide}"
        found[name] = best | {"hidden": wide, "depth": deep}
    return found
