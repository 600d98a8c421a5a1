"""The verbs `sample-semantic` and `sample-classes`: images of the prior's vectors."""

import itertools
import re
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.autoencoder.attributes import rejection
from ddim_embed.methods.cache import cache_key
from ddim_embed.metrics.ranking import auroc
from ddim_embed.store.sealed import read_arrays, write_arrays
from experiments.autoencoder import sampling_figures
from experiments.autoencoder.autoencode import decode
from experiments.autoencoder.priors import encode, load_models
from experiments.autoencoder.sampling_sections import CLASSES, SAMPLES
from experiments.toolkit import distances, results, sources
from experiments.toolkit.command_line import UsageError

# The rows of Table 4.
DDIM, OURS, AUTOENCODING, GAUSSIAN = "DDIM", "ours", "+ autoencoding", "ours, Gaussian prior"
# The scenarios of Table 3.
BINARY, UNLABELLED = "binary", "positive-unlabelled"
# The classes of Table 3: Female and Non-Blond are the images that are not.
CLASSES_OF_FACES = ("Male", "not Male", "Blond_Hair", "not Blond_Hair")
_NOT = "not "
# Images that are decoded, and cached, at a time.
_CHUNK = 100


def decoded(config, generator, latents, name):
    """What latents decode to: pixels of 8 bits, as those of files, cached by a hundred.

    Args:
        config: the configuration; the cache is in its folder of runs.
        generator: a `Generator`, with a condition for each of the latents.
        latents: `(n, height, width, channels)`.
        name: of the progress bar, and of the folder.

    Returns:
        float32 `(n, height, width, channels)` in [0, 1].
    """
    parts, folder = [], config.run_folder / "samples" / re.sub(r"[\W_]+", "-", name)
    with tqdm(total=len(latents), desc=name, unit="image", disable=not config.progress) as bar:
        for start in range(0, len(latents), _CHUNK):
            part = slice(start, start + _CHUNK)
            own = generator.take(part)
            # No method: what is decoded depends on the generator and the latents alone.
            key = cache_key(own, None, "ddim_inversion", 0, latents[part])
            path = folder / f"{start}.npz"
            arrays = read_arrays(path, f"samples {key}")
            if arrays is None:
                pixels = np.clip(decode(own, latents[part]), 0, 1)
                arrays = {"pixels": np.rint(255 * pixels).astype(np.uint8)}
                write_arrays(path, f"samples {key}", **arrays)
            parts.append(arrays["pixels"])
            bar.update(len(parts[-1]))
    return np.concatenate(parts).astype(np.float32) / 255


def sample_semantic(verb):
    """Samples of DDIM and of the autoencoder by steps (Table 4); a killed run resumes."""
    config = verb.config
    generator, autoencoder = sources.load_generator(config), load_models(config)
    held = sources.load(config, "test", limit=config.images)
    reference = sources.load(config, "train", limit=verb.references)
    name, features = distances.image_features(config, generator.padding)
    of_reference, count = features(reference), len(held)
    prior = autoencoder.prior
    gaussian = de.GaussianPrior().fit(encode(config, autoencoder, reference, "train"))
    inferred = encode(config, autoencoder, held, "test")
    latents = generator.latents(count, config.seed)
    rows, shown = [], {}

    def measure(model, steps, prior_steps, vectors):
        own = generator if vectors is None else autoencoder.generator.given(vectors)
        pixels = decoded(config, own.with_steps(steps), latents, f"{model}, T = {steps}")
        shown[model, steps] = pixels[: 6 * config.shown]
        rows.append(
            {
                "model": model,
                "num_steps": steps,
                "prior_steps": prior_steps,
                "frechet": distances.frechet(features(pixels), of_reference),
            }
        )

    for steps in verb.steps:
        prior_steps = verb.prior_steps or steps
        measure(DDIM, steps, None, None)
        measure(OURS, steps, prior_steps, prior.sample(count, config.seed, prior_steps))
        measure(AUTOENCODING, steps, None, inferred)
    measure(GAUSSIAN, min(verb.steps), None, gaussian.sample(count, config.seed))
    contents = {
        "dataset": config.name,
        "images": count,
        "references": len(reference),
        "features": name,
        "semantic_dims": autoencoder.dims,
        "floor": distances.frechet(features(held), of_reference),
        "rows": rows,
        "options": verb.options,
        **results.provenance(config, verb.command),
    }

    def figures():
        return {
            "fig20_samples.png": sampling_figures.sheet(shown[OURS, max(verb.steps)], config.shown),
            "samples_by_steps.png": sampling_figures.by_steps(shown, config.shown),
            "sample-semantic.png": sampling_figures.frechet_by_steps(contents),
        }

    SAMPLES.publish(verb.outputs, contents, figures)


def sample_classes(verb):
    """Samples of classes of which few images are labelled (Table 3); a killed run resumes."""
    config = verb.config
    autoencoder = load_models(config)
    training, held = (
        _Labelled.load(config, autoencoder, split, limit)
        for split, limit in (("train", verb.train_images), ("test", None))
    )
    classes = verb.classes or _default_classes(training.names)
    name, features = distances.image_features(config, autoencoder.padding)
    of_held = features(held.pixels)
    seeds = range(config.seed, config.seed + verb.repeats)
    naive, prior = [], autoencoder.prior
    for seed in seeds:
        vectors = prior.sample(config.images, seed, verb.prior_steps)
        naive.append(features(_images(config, autoencoder, vectors, seed, f"no class, {seed}")))
    rows, shown = [], {}
    for scenario, one in itertools.product((BINARY, UNLABELLED), classes):
        members, held_members = training.of_class(one), held.of_class(one)
        reference, found = of_held[held_members], []
        if len(reference) < 2:
            raise UsageError(
                f"--classes must have 2 test images each, at least. Received: {one}, of "
                f"{len(reference)} test images"
            )
        for seed in seeds:
            classifier, accepted = few_shot(
                verb, autoencoder, training.vectors, members, one, scenario, seed
            )
            words = f"{one}, {scenario}, {seed}"
            images = _images(config, autoencoder, accepted.vectors, seed, words)
            shown.setdefault((scenario, one), images[: 2 * config.shown])
            scores = classifier.logits(held.vectors)[:, 0]
            found.append(
                {
                    "frechet": de.frechet_distance(features(images), reference),
                    "acceptance": accepted.accepted / accepted.drawn,
                    "auroc": float(auroc(scores, held_members)),
                }
            )
        all_classes = [de.frechet_distance(each, reference) for each in naive]
        rows.append(
            {
                "scenario": scenario,
                "class": one,
                "share": float(held_members.mean()),
                "held": len(reference),
                **{key: results.estimate([each[key] for each in found]) for key in found[0]},
                "naive": results.estimate(all_classes),
                "training": distances.frechet(
                    features(training.pixels[members][: config.images]), reference
                ),
            }
        )
    contents = {
        "dataset": config.name,
        "images": config.images,
        "num_steps": config.num_steps,
        "prior_steps": verb.prior_steps or prior.process.num_steps,
        "repeats": verb.repeats,
        "features": name,
        "training_images": len(training.pixels),
        "rows": rows,
        "options": verb.options,
        **results.provenance(config, verb.command),
    }

    def figures():
        return {
            "fig18_19_classes.png": sampling_figures.classes(shown, UNLABELLED, config.shown),
            "classes_binary.png": sampling_figures.classes(shown, BINARY, config.shown),
        }

    CLASSES.publish(verb.outputs, contents, figures)


class _Labelled(NamedTuple):
    """Images with their standardised vectors, and which attributes they have."""

    pixels: np.ndarray
    vectors: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray

    @classmethod
    def load(cls, config, autoencoder, split, limit):
        pixels, names, labels = sources.load_with_attributes(config, split, limit)
        vectors = autoencoder.standardize(encode(config, autoencoder, pixels, split))
        return cls(pixels, vectors, names, labels)

    def of_class(self, name):
        """Which are of a class, bool `(n,)`; "not Male" are those that lack the attribute."""
        attribute = name.removeprefix(_NOT)
        if attribute not in self.names:
            raise UsageError(
                f"--classes must be among {', '.join(self.names)}, or these with 'not ' before "
                f"them. Received: {name}"
            )
        having = self.labels[:, self.names.index(attribute)]
        return ~having if name.startswith(_NOT) else having


def _default_classes(names):
    faces = {name.removeprefix(_NOT) for name in CLASSES_OF_FACES}
    return CLASSES_OF_FACES if faces <= {*names} else names[:2]


def few_shot(verb, autoencoder, vectors, members, name, scenario, seed):
    """Fits the classifier of a class to few labels; draws vectors of the class with it.

    Args:
        verb: its options.
        autoencoder: with a prior.
        vectors: standardised, of training images, `(n, dims)`.
        members: bool `(n,)`, which of them are of the class.
        name: of the class.
        scenario: `BINARY` or `UNLABELLED`.
        seed: of the choice of images, and of the samples.

    Returns:
        An `AttributeClassifier`, and `Accepted` vectors of the prior.
    """
    unlabelled = scenario == UNLABELLED
    positives = verb.positives if unlabelled else verb.labels
    others = min(verb.unlabelled, len(members) - positives) if unlabelled else verb.labels
    prior = autoencoder.prior
    try:
        classifier = de.fit_few_shot_classifier(
            vectors, members, name, positives, others, unlabelled, seed
        )
        accepted = rejection(
            lambda count, seed: prior.sample(count, seed, verb.prior_steps),
            lambda drawn: classifier.probabilities(autoencoder.standardize(drawn))[:, 0],
            verb.config.images,
            verb.threshold,
            seed,
        )
    except ValueError as error:
        raise UsageError(f"The class {name}, {scenario}: {error}") from error
    return classifier, accepted


def _images(config, autoencoder, vectors, seed, name):
    """The images that `Autoencoder.sample` and `sample_class` make of these vectors."""
    generator = autoencoder.generator.given(vectors)
    return decoded(config, generator, generator.latents(len(vectors), seed), name)
