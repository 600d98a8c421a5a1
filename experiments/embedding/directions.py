"""The verb `directions`: along which latents images change, found in three ways, with a control."""

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
from experiments.configuration import require
from experiments.embedding import inputs
from experiments.toolkit import markup, page, results, sources

# Images that are edited, and in a smoke run; no direction has seen them.
_EDITED, _FEW_EDITED = 16, 4
# Classes at most.
_CLASSES = 10
# Steps of a strip, in units of the length that effects are measured at.
STEPS = (-1.5, -1, -0.5, 0, 0.5, 1, 1.5)
# That length, as a share of the length of Gaussian latents.
_SHARE = 0.3
# Images of a class, and others, that a direction needs: one for each fold.
_LEAST = 5


def directions(config, command, length=None):
    """Finds directions in the U-Net's latents of images, and measures what they do.

    Writes `directions.json`, a figure for each kind, and the page.

    Args:
        config: an `Experiment`; `images` are embedded, of the training set where there is one.
            `shown` directions are taken of each kind, but of the first: it has one for each class.
        command: what a user would type to repeat it.
        length: of the steps that are measured; None for 0.3 times that of Gaussian latents.

    Returns:
        What is in `directions.json`.

    Raises:
        UsageError: for a length that is not positive, or fewer images than there must be.
        FileNotFoundError: if there is no generator, or no U-Net.
        ConnectionError: if the data are not there and cannot be fetched.
    """
    require(length is None or 0 < length < np.inf, "length", "positive", length)
    require(config.images > config.shown, "images", f"more than {config.shown}", config.images)
    generator = sources.load_generator(config)
    length = length or _SHARE * float(np.sqrt(np.prod(generator.image_shape)))
    pixels, labels = _load(config)
    classifier = _classifier(config)
    embedder = de.load_embedder(config.name, "unet", config.weights)
    network = de.Network("unet", embedder, progress=config.progress)
    embedding = de.embed(generator, pixels, network)
    latents, edited = np.split(embedding.latents, [-_edited(config)])
    known, rest = np.split(labels, [-_edited(config)])
    classes = _classes(known)

    rows, found = [], {}
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
            found.setdefault(kind, {})[name] = direction
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
        **inputs.notes(config, command, length=length),
    }
    folder = config.result_folder
    results.save_json(folder / "directions.json", contents)
    for kind, figure in _figures(generator, edited, found, length).items():
        results.save_figure(folder / figure_name(kind), figure)
    _print(contents)
    print(f"The page is {page.write_page(folder)}")
    return contents


def figure_name(kind):
    """The file of the strips of one kind of directions."""
    return f"directions_{kind.replace(' ', '_')}.png"


def _load(config):
    """Images to learn from, then those that are edited; with labels."""
    config = sources.reported(config)
    split = "test" if config.source == "sample" else "train"
    pixels, labels = sources.load_labelled(config, split, config.images + _edited(config))
    least = config.shown + 1 + _edited(config)
    require(len(pixels) >= least, "data", f"at least {least} images", len(pixels))
    return pixels, labels


def _edited(config):
    return _FEW_EDITED if config.smoke else _EDITED


def _classifier(config):
    """The classifier whose opinion is asked, or None without its weights."""
    classifier = sources.load_classifier(config)
    if classifier is None:
        print(f"Left out: probabilities of classes. There is no classifier of {config.name}.")
    return classifier


def _classes(labels):
    """Name -> bool `(n,)`: the classes, or attributes, of which there are enough images.

    Attributes are many: those are taken that divide the images most evenly.
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
    """The classifier's index of a class, and which of the edited images are not of it yet."""
    if classifier is None or labels.ndim == 2 or int(name) >= classifier.classes:
        return None, slice(None)
    others = labels != int(name)
    return int(name), others if others.any() else slice(None)


def _summary(effect):
    found = {name: value for name, value in vars(effect).items() if value is not None}
    return {name: results.estimate(value) for name, value in found.items()}


def _figures(generator, edited, found, length):
    figures = {}
    for kind, named in found.items():
        strips = {
            name: edit_strip(generator, edited[:1], direction, np.multiply(STEPS, length))[0]
            for name, direction in named.items()
        }
        figures[kind] = de.image_grid([*np.clip([*strips.values()], 0, 1)], [*strips])
    return figures


def _print(contents):
    print(
        f"\nSteps of {contents['length']:.1f} in latents of {contents['images']} images, on "
        f"{contents['edited']} others (random steps of the same length)"
    )
    print(f"{'':24}{'value':>8}{'probability':>18}{'lpips':>18}{'mse':>20}")
    for row in contents["directions"]:
        cells = [
            f"{markup.number(row['effect'].get(key, {}).get('mean'), digits)} "
            f"({markup.number(row['control'].get(key, {}).get('mean'), digits)})"
            for key, digits in (("probability", 2), ("lpips", 3), ("mse", 4))
        ]
        print(
            f"{row['kind']:14}{row['name']:10}{row['value']:8.3g}"
            f"{cells[0]:>18}{cells[1]:>18}{cells[2]:>20}"
        )
    print()
