"""The verb `manipulate`: attributes of images changed along a classifier's normal (Eq. 11)."""

import math

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import commands
from ddim_embed.data import crop_padding
from ddim_embed.metrics import ranking
from experiments.autoencoder import attribute_figures, encoded
from experiments.autoencoder.attribute_sections import (
    MANIPULATION,
    MANIPULATION_OF_FILES,
    WAYS,
)
from experiments.toolkit import judge, labelled, results, sources
from experiments.toolkit.distances import frechet

# The published step.
FIXED = 0.3
# Attributes without --attribute; images of each in a figure, with and without it.
_ATTRIBUTES, _OF_EACH = 5, 2
# Training images on each side of a Frechet distance, at most.
_SIDE = 2000


def run(verb):
    """Manipulates test images, or a user's; writes strips, and what a judge says of the edits.

    Codes, edits and the judge are kept in `config.run_folder`: a killed run resumes.
    """
    config = verb.config
    autoencoder = sources.load_autoencoder(config)
    classifier = encoded.load_classifier(config, autoencoder)
    names = labelled.chosen(classifier.names, verb.attribute, 1 if verb.files else _ATTRIBUTES)
    (_of_files if verb.files else _of_test_images)(verb, autoencoder, classifier, names)


def moved(autoencoder, code, classifier, name, step):
    """The code moved by a strength, or to a median.

    That is "median" or "negative_median" along the classifier's normal, as published, and "pattern"
    or "negative_pattern" along its pattern.
    """
    if not isinstance(step, str):
        return autoencoder.manipulate(code, classifier.direction(name), step)
    kind = "pattern" if step.endswith("pattern") else "normal"
    target = step.replace("pattern", "median")
    return autoencoder.manipulate(code, classifier.direction(name, kind), target=target)


def _of_files(verb, autoencoder, classifier, names):
    config = verb.config
    pixels = commands.read_images(autoencoder.generator, verb.files)
    code = autoencoder.encode(pixels, encoded.METHOD, config.seed)
    steps = ["pattern"] if verb.median else verb.strength
    strips = {
        name: [
            autoencoder.decode(moved(autoencoder, code, classifier, name, step)).numpy()
            for step in tqdm(steps, desc=name, disable=not config.progress)
        ]
        for name in names
    }
    shown = [pixels, code.embedding.reconstruction]
    for i, stem in enumerate(verb.outputs.names_for(verb.files, "")):
        for name, images in strips.items():
            strip = np.stack([pixels[i], *(edited[i] for edited in images)])
            strip = crop_padding(strip, autoencoder.padding)
            commands.save_png(verb.outputs, _file(stem, name), np.concatenate([*strip], axis=1))
    logits = classifier.logits(autoencoder.standardize(code.semantic))
    contents = {
        "dataset": config.name,
        "files": [str(path) for path in results.plain([*verb.files])],
        "attributes": [*names],
        "steps": [*steps],
        "mse": code.embedding.mse.tolist(),
        "latents_std": code.embedding.latents_std.tolist(),
        "logits": [[float(row[classifier.index(name)]) for name in names] for row in logits],
        **_provenance(verb),
    }

    def figures():
        rows = {
            f"{name}\n{i + 1}": np.stack([*(one[i] for one in [*shown, *images])]).clip(0, 1)
            for i in range(len(pixels))
            for name, images in strips.items()
        }
        return {"manipulate_files.png": de.image_grid([*rows.values()], [*rows])}

    MANIPULATION_OF_FILES.publish(verb.outputs, contents, figures)


def _file(stem, name):
    """The file of an image's strip."""
    return f"{stem}-{labelled.plain_name(name)}.png"


def _of_test_images(verb, autoencoder, classifier, names):
    config = verb.config
    all_names, vectors, labels = encoded.training_vectors(config, autoencoder, verb.train_images)
    pixels, test_labels = labelled.test_images(config, all_names, config.images)
    network, features = train_judge(verb, labels)
    code = encoded.codes(config, autoencoder, pixels)
    before = judge.logits(network, code.embedding.reconstruction)
    faces = _faces(config, all_names, pixels)
    rows = []
    for name in tqdm(names, desc="manipulate", disable=not config.progress):
        index = all_names.index(name)
        without = np.flatnonzero(~test_labels[:, index])
        if len(without) < 2:
            print(f"Left out: {name}, which all test images have.")
            continue
        edits = {}
        for way in WAYS:
            step = FIXED if way == "fixed" else way
            edited = moved(autoencoder, code[without], classifier, name, step)
            edits[way] = edited, encoded.decoded(config, autoencoder, edited, f"{index}-{way}")
        after = {way: judge.logits(network, images) for way, (_, images) in edits.items()}
        found = measure(index, before[without], after)
        own = vectors_of(autoencoder, code[without])
        for way, (edited, images) in edits.items():
            lengths = np.linalg.norm(vectors_of(autoencoder, edited) - own, axis=1)
            found[way]["strength"] = results.estimate(lengths / math.sqrt(autoencoder.dims))
            found[way] |= _likeness(pixels[without], images, autoencoder.padding, faces)
        of_test = network.features(pixels[without])
        of_edits = network.features(edits["pattern"][1])
        rows.append(
            {"attribute": name, "images": len(without)}
            | found
            | {"frechet": distances(features, labels[:, index], of_test, of_edits)}
        )
    contents = {
        "dataset": config.name,
        "images": len(pixels),
        "training_images": len(vectors),
        "semantic_dims": autoencoder.dims,
        "fixed": FIXED,
        "judge": judged(network, pixels, test_labels, all_names, names, config.seed),
        "faces": faces and {"others": faces["others"]},
        "rows": rows,
        **_provenance(verb),
    }

    def figures():
        drawn = strips(verb, autoencoder, classifier, names, all_names, code, pixels, test_labels)
        return {
            "fig05_manipulation.png": de.image_grid([*drawn.values()], [*drawn]),
            "manipulation.png": attribute_figures.manipulation(contents) if rows else None,
        }

    MANIPULATION.publish(verb.outputs, contents, figures)


def vectors_of(autoencoder, code):
    """Standardised vectors of a code, in float64."""
    return autoencoder.standardize(code.semantic).astype(np.float64)


def train_judge(verb, labels):
    """The judge, trained on the pixels of training images, and its features of these.

    Returns:
        A `FeatureClassifier` of all attributes, and float32 `(n, num_features)`.
    """
    config, steps = verb.config, verb.judge_steps
    pixels = sources.load(config, "train", verb.train_images)
    key = labelled.data_key(config, verb.train_images)
    network = judge.train(config, pixels, labels, steps, config.run_folder / f"judge-{steps}", key)
    return network, network.features(pixels)


def judged(network, pixels, labels, names, shown, seed):
    """How well the judge tells attributes of test images: the AUROC of the ones that are shown."""
    found = ranking.rank(
        ranking.auroc, judge.logits(network, pixels).astype(np.float64), labels, names, seed=seed
    )
    known = np.isfinite(found.values)
    return {
        "macro": results.finite(found.macro),
        "interval": [*map(results.finite, found.macro_interval)],
        "auroc": {
            name: float(found.values[i])
            for i, name in enumerate(names)
            if name in shown and known[i]
        },
    }


def measure(index, before, after):
    """What a judge says of edits of images that lack an attribute.

    Args:
        index: the attribute's column.
        before: logits of the images `(n, k)`.
        after: dict from a way, one of them "fixed", to logits of the edited images.

    Returns:
        Dict from a way to a dict of estimates over images: `positive`, the share that the judge
        says have the attribute; `others`, how much the other attributes' logits moved, on average;
        `own`, how much the attribute's; and `others_difference`, how much less than "fixed" the
        others, image by image.
    """
    rest = np.arange(before.shape[1]) != index
    found, moves = {}, {}
    for way, logits in after.items():
        change = logits - before
        moves[way] = np.abs(change[:, rest]).mean(axis=1) if rest.any() else np.zeros(len(change))
        found[way] = {
            "positive": results.estimate(logits[:, index] > 0),
            "own": results.estimate(change[:, index]),
            "others": results.estimate(moves[way]),
        }
    for way, own in moves.items():
        found[way]["others_difference"] = results.estimate(moves["fixed"] - own)
    found["before"] = {"positive": results.estimate(before[:, index] > 0)}
    return found


def distances(features, labels, of_negatives, of_edited):
    """Table 9: Frechet distances on the judge's features, each between a set and training images.

    Args:
        features: of training images `(n, d)`.
        labels: which of them have the attribute, bool `(n,)`.
        of_negatives: features of test images without it.
        of_edited: those of the same images with the attribute given to them.

    Returns:
        A dict: `positive_negative`, of the test images to training images with the attribute;
        `manipulated_positive` and `manipulated_negative`, of the edited ones to training images
        with and without it; `floor`, of the test images to those without it; the half widths of
        their intervals, `floor_interval` and so on; the numbers of test and of training images.
        None with too few training images.
    """
    sides = [features[labels], features[~labels]]
    count = min(_SIDE, *map(len, sides))
    if count < 2:
        return None
    positive, negative = (side[:count] for side in sides)
    found = {
        "positive_negative": frechet(of_negatives, positive),
        "manipulated_positive": frechet(of_edited, positive),
        "manipulated_negative": frechet(of_edited, negative),
        "floor": frechet(of_negatives, negative),
    }
    return {
        **{name: each["mean"] for name, each in found.items()},
        **{f"{name}_interval": each["interval"] for name, each in found.items()},
        "images": [len(of_negatives), count],
    }


def _faces(config, names, pixels):
    """The descriptor of faces, and how far apart other people are; None for other images."""
    if not labelled.are_faces(names):
        print(f"Left out: the identity of faces. The images of {config.name} are none.")
        return None
    identity = de.load_face_identity()
    others = results.estimate(identity.distance(pixels, np.roll(pixels, 1, axis=0)))
    return {"identity": identity, "others": others}


def _likeness(pixels, edited, padding, faces):
    """Table 10: how much of an image an edit leaves."""
    found = {"lpips": results.estimate(de.lpips(pixels, edited, padding)), "identity": None}
    if faces:
        pair = [faces["identity"].descriptors(images) for images in (pixels, edited)]
        unit = [own / np.linalg.norm(own, axis=1, keepdims=True) for own in pair]
        found["identity"] = {
            "distance": results.estimate(np.linalg.norm(pair[0] - pair[1], axis=1)),
            "cosine": results.estimate((unit[0] * unit[1]).sum(axis=1)),
        }
    return found


def strips(verb, autoencoder, classifier, names, all_names, code, pixels, labels):
    """Figs 5 and 13: rows by name, of each attribute an image without it and one with it.

    A row is the image, what its code decodes to, each strength, and the other side's median along
    the pattern.
    """
    rows = {}
    for name in names:
        has = labels[:, all_names.index(name)]
        for side, target in ((~has, "pattern"), (has, "negative_pattern")):
            for i in np.flatnonzero(side)[: _OF_EACH // 2]:
                own = code[i : i + 1]
                steps = [own] + [
                    moved(autoencoder, own, classifier, name, step)
                    for step in (*verb.strength, target)
                ]
                every = de.Code(
                    np.concatenate([each.semantic for each in steps]),
                    np.concatenate([each.latents for each in steps]),
                )
                images = autoencoder.decode(every).numpy().clip(0, 1)
                sign = "-" if has[i] else "+"
                words = name.replace("_", "\n")
                rows[f"{words} {sign}"] = np.concatenate([pixels[i : i + 1], images])
    return rows


def _provenance(verb):
    packages = "scikit-learn", "pillow"
    return {"options": verb.options} | results.provenance(verb.config, verb.command, *packages)
