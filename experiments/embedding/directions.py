"""The verb `directions`: three kinds of directions in latents, and random ones as a control."""

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.analysis.directions import (
    class_direction,
    edit_effect,
    edit_strip,
    first_layer_directions,
    principal_directions,
)
from ddim_embed.data import CELEBA_ATTRIBUTES
from experiments.embedding import inputs
from experiments.embedding.sections import DIRECTIONS
from experiments.toolkit import results, sources
from experiments.toolkit.command_line import UsageError

# Images that are edited, not those that directions are found in; and in a smoke run.
_EDITED, _FEW_EDITED = 16, 4
# Maximum number of classes.
_CLASSES = 10
# Steps of a strip, in units of the length that effects are measured at.
STEPS = (-1.5, -1, -0.5, 0, 0.5, 1, 1.5)
# This length over the length of Gaussian latents.
_SHARE = 0.3
# Minimum number of images of a class, and of others: one for each fold.
_LEAST = 5


def run(verb):
    """Finds directions in the U-Net's latents of images, and measures their effects.

    Writes `directions.json` and a figure for each kind. Of each kind there are `config.shown`
    directions, except for classes, of which each has one.
    """
    config, length = verb.config, verb.length
    generator = sources.load_generator(config)
    length = length or _SHARE * float(np.sqrt(np.prod(generator.image_shape)))
    pixels, labels = _load(config)
    classifier = sources.load_classifier(config)
    if classifier is None:
        print(f"Left out: probabilities of classes. There is no classifier of {config.name}.")
    embedder = de.load_embedder(config.name, "unet", config.weights)
    network = de.Network("unet", embedder, progress=config.progress)
    embedding = de.embed(generator, pixels, network)
    latents, edited = np.split(embedding.latents, [-_edited(config)])
    known, rest = np.split(labels, [-_edited(config)])
    classes = _classes(known)

    rows, by_kind = [], {}
    bar = tqdm(
        desc="directions", total=len(classes) + 2 * config.shown, disable=not config.progress
    )
    with bar:

        def measured(kind, name, direction, value, positive=None, chosen=slice(None)):
            effect, control = edit_effect(
                generator, edited[chosen], direction, length, classifier, positive, config.seed
            )
            rows.append(
                {
                    "kind": kind,
                    "name": name,
                    "value": float(value),
                    "effect": _summary(effect),
                    "control": _summary(control),
                }
            )
            by_kind.setdefault(kind, {})[name] = direction
            bar.update()

        for name, of_class in classes.items():
            direction, accuracy = class_direction(latents, of_class, True, seed=config.seed)
            positive, chosen = _target(name, rest, classifier)
            measured("class", name, direction, accuracy, positive, chosen)
        for kind, others in (
            ("principal", principal_directions(latents, config.shown)),
            ("first layer", first_layer_directions(generator, config.shown)),
        ):
            pairs = zip(others.vectors, others.values, strict=True)
            for index, (direction, value) in enumerate(pairs, start=1):
                measured(kind, str(index), direction, value)

    contents = {
        "dataset": config.name,
        "images": len(latents),
        "edited": len(edited),
        "length": length,
        "mse": float(embedding.mse.mean()),
        "latents_std": float(embedding.latents_std.mean()),
        "directions": rows,
        **inputs.provenance(verb),
    }
    DIRECTIONS.publish(verb.outputs, contents, lambda: _figures(generator, edited, by_kind, length))


def _load(config):
    """Loads images to find directions in, followed by those to edit, with labels."""
    config = sources.reported(config)
    split = "test" if config.source == "sample" else "train"
    pixels, labels = sources.load_labelled(config, split, config.images + _edited(config))
    least = config.shown + 1 + _edited(config)
    if len(pixels) < least:
        raise UsageError(f"--data must be at least {least} images. Received: {len(pixels)}")
    return pixels, labels


def _edited(config):
    return _FEW_EDITED if config.smoke else _EDITED


def _classes(labels):
    """Returns a dict from name to bool `(n,)`, of the classes or attributes with enough images.

    Of many attributes, those are chosen that divide the images most evenly.
    """
    if labels.ndim == 2:
        names = CELEBA_ATTRIBUTES if labels.shape[1] == len(CELEBA_ATTRIBUTES) else None
        columns = {names[i] if names else str(i): labels[:, i] > 0 for i in range(labels.shape[1])}
    else:
        columns = {str(label): labels == label for label in np.unique(labels) if label >= 0}
    rarer = {name: min(column.sum(), (~column).sum()) for name, column in columns.items()}
    few = [name for name, count in rarer.items() if count < _LEAST]
    if few:
        print(f"Left out: classes with fewer than {_LEAST} images, {', '.join(few)}.")
    chosen = sorted(rarer.keys() - set(few), key=lambda name: (-rarer[name], name))[:_CLASSES]
    return {name: column for name, column in columns.items() if name in chosen}


def _target(name, labels, classifier):
    """Returns the classifier's index of a class, and which edited images are of other classes."""
    if classifier is None or labels.ndim == 2 or int(name) >= classifier.classes:
        return None, slice(None)
    others = labels != int(name)
    return int(name), others if others.any() else slice(None)


def _summary(effect):
    measured = {name: value for name, value in vars(effect).items() if value is not None}
    return {name: results.estimate(value) for name, value in measured.items()}


def _figures(generator, edited, by_kind, length):
    figures = {}
    for kind, named in by_kind.items():
        strips = {
            name: edit_strip(generator, edited[:1], direction, np.multiply(STEPS, length))[0]
            for name, direction in named.items()
        }
        name = f"directions_{kind.replace(' ', '_')}.png"
        figures[name] = de.image_grid([*np.clip([*strips.values()], 0, 1)], [*strips])
    return figures
