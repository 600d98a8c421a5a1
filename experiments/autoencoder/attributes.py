"""The verb `attributes`: linear classifiers of attributes, on vectors and on others (Table 8)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.data import crop_padding
from ddim_embed.store.outputs import require_folder
from ddim_embed.store.weights import weights_root
from experiments.autoencoder import attribute_figures, autoencode, encoded
from experiments.autoencoder.attribute_sections import ATTRIBUTES
from experiments.toolkit import labelled, results, runs, sources
from experiments.toolkit.command_line import UsageError

SEMANTIC, PIXELS = "semantic vector", "pixels"
LATENTS, NETWORK = "latents x_T", "latents of the U-Net"
MEASURES = ("auroc", "average_precision", "balanced_accuracy")
_CHUNK = 40


def run(verb):
    """Fits and records the classifier; writes `attributes.json` and a figure.

    The latents are cached in `config.run_folder`, 40 images at a time; a killed run resumes.
    """
    config = verb.config
    fitted = fit(verb)
    rankings = {(SEMANTIC, fitted.images): fitted.rankings}
    for name, few, vectors, of_test in representations(verb, fitted):
        labels = fitted.labels[: len(vectors)]
        known = _both(labels)  # fewer images may lack a rare attribute
        names = tuple(np.array(fitted.names)[known].tolist())
        classifier = de.fit_attribute_classifier(vectors, labels[:, known], names, verb.penalty)
        rankings[name, few] = _measure(verb, classifier, of_test, fitted.test_labels[:, known])
    contents = {
        "dataset": config.name,
        "images": len(fitted.test),
        "training_images": fitted.images,
        "mirrored": config.mirror,
        "semantic_dims": fitted.autoencoder.dims,
        "least": verb.least,
        "penalty": verb.penalty,
        "representations": [
            {"name": name, "training_images": few} | summary(found) | behind(rankings, name, few)
            for (name, few), found in rankings.items()
        ],
        "attributes": each(rankings, fitted.names),
        "options": verb.options,
        **results.provenance(config, verb.command, "scikit-learn"),
    }
    ATTRIBUTES.publish(
        verb.outputs, contents, lambda: {"attributes.png": attribute_figures.attributes(contents)}
    )


class Fitted(NamedTuple):
    """What `fit` returns: vectors and labels of training images, test images, and measures.

    Where training images are mirrored, those of the mirror images follow the others: `images` is
    the number without them.
    """

    autoencoder: de.Autoencoder
    names: tuple[str, ...]
    images: int
    vectors: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    test_vectors: np.ndarray
    test_labels: np.ndarray
    rankings: dict


def fit(verb):
    """Fits the classifier of the training images' vectors, and records it; returns `Fitted`."""
    config = verb.config
    require_folder(weights_root(config.weights), "--weights")
    autoencoder = sources.load_autoencoder(config)
    names, vectors, labels = encoded.training_vectors(config, autoencoder, verb.train_images)
    images = len(vectors)
    if config.mirror:
        more = encoded.training_vectors(config, autoencoder, verb.train_images, mirrored=True)
        vectors, labels = np.concatenate([vectors, more[1]]), np.concatenate([labels, labels])
    test, test_labels = labelled.test_images(config, names, config.images)
    names, labels, test_labels = _with_both(names, labels, test_labels)
    test_vectors = autoencoder.standardize(autoencoder.encode(test))
    classifier = de.fit_attribute_classifier(
        vectors, labels, names, verb.penalty, autoencoder=autoencoder.checksum
    )
    rankings = _measure(verb, classifier, test_vectors, test_labels)
    errors = {f"test_macro_{name}": results.finite(one.macro) for name, one in rankings.items()}
    path, _ = de.record_attribute_classifier(
        config.weights,
        config.name,
        classifier,
        data=f"{Path(config.data).name}, {sources.part(config, 'train')}"
        + ", each image and its mirror image" * config.mirror,
        budget={"images": images, "command": verb.command},
        errors=errors | {"test_images": len(test), "least_positives": verb.least},
    )
    print(f"{path}: {runs.in_words(errors)}")
    return Fitted(
        autoencoder, names, images, vectors, labels, test, test_vectors, test_labels, rankings
    )


def _measure(verb, classifier, vectors, labels):
    options = {"least": verb.least, "seed": verb.config.seed}
    return {name: getattr(classifier, name)(vectors, labels, **options) for name in MEASURES}


def _both(labels):
    return labels.any(axis=0) & ~labels.all(axis=0)


def _with_both(names, labels, test_labels):
    """Leaves out attributes that no training image has, or that all have."""
    known = _both(labels)
    if not known.all():
        lacking = [name for name, fine in zip(names, known, strict=True) if not fine]
        print(f"Left out: {', '.join(lacking)}, without positives or negatives in training.")
    if not known.any():
        raise UsageError("--train-images must have an attribute that some images have, not all.")
    names = tuple(name for name, fine in zip(names, known, strict=True) if fine)
    return names, labels[:, known], test_labels[:, known]


def representations(verb, fitted):
    """Yields what else attributes are told from, at the dimensions of the vector.

    Each is a name, the number of training images, and standardised vectors of training and of test
    images; of all training images there are mirror images, too, as for the semantic vectors.
    Pixels, latents and the U-Net's latents are represented by their principal components; these,
    and the semantic vectors once more, have the same training images.
    """
    config, autoencoder, test = verb.config, fitted.autoencoder, fitted.test
    train = sources.load(config, "train", verb.train_images)
    few = min(verb.compared, len(train))

    def principal(name, count, own, of_test):
        dims = autoencoder.dims
        return name, count, *principal_components(own[:count], of_test, dims, config.seed)

    shown = [crop_padding(images, autoencoder.padding) for images in (train, test)]
    every = np.concatenate([shown[0], shown[0][:, :, ::-1]]) if config.mirror else shown[0]
    yield PIXELS, len(train), *principal_components(every, shown[1], autoencoder.dims, config.seed)
    if not few:
        return
    if few < len(train):
        yield SEMANTIC, few, fitted.vectors[:few], fitted.test_vectors
        yield principal(PIXELS, few, *shown)
    both = {"train": train[:few], "test": test}
    latents = [_latents(config, autoencoder, images, name) for name, images in both.items()]
    yield principal(LATENTS, few, *latents)
    with sources.left_out_without_weights("the U-Net's latents"):
        network = de.load_embedder(config.name, "unet", config.weights)
        normalizer = autoencoder.generator.normalizer
        latents = [network.predict(normalizer(images), verbose=0) for images in both.values()]
        yield principal(NETWORK, few, *latents)


def principal_components(train, test, dims, seed=0):
    """Principal components of images, of unit variance over the training images.

    Args:
        train, test: `(n, height, width, channels)`, in any units.
        dims: components, at most; there are fewer than training images.
        seed: of the randomised decomposition.

    Returns:
        Arrays `(n, dims)` of the training and of the test images.
    """
    from sklearn.decomposition import PCA  # not at the top: few need it

    train, test = (images.reshape(len(images), -1) for images in (train, test))
    dims = min(dims, len(train) - 1, train.shape[1])
    pca = PCA(dims, whiten=True, svd_solver="randomized", random_state=seed).fit(train)
    return pca.transform(train), pca.transform(test)


def _latents(config, autoencoder, pixels, name):
    """Latents of naive inversion under the vectors, cached in chunks."""
    parts = []
    with tqdm(total=len(pixels), desc=f"latents, {name}", disable=not config.progress) as bar:
        for start in range(0, len(pixels), _CHUNK):
            part = pixels[start : start + _CHUNK]

            def compute(part=part):
                own = autoencoder.generator.given(autoencoder.encode(part).semantic)
                return {"latents": autoencode.naive(own, part)}

            steps = autoencoder.generator.num_steps
            key = labelled.data_key(config, autoencoder.checksum, name, len(part), f"{steps} steps")
            path = config.run_folder / "attributes" / f"latents-{name}" / f"{start}.npz"
            parts.append(labelled.cached(path, key, compute)["latents"])
            bar.update(len(part))
    return np.concatenate(parts)


def summary(rankings):
    """Macro averages of the measures, and the AUROC weighted by positives, which the paper has."""
    ranking = rankings["auroc"]
    known = np.isfinite(ranking.values)
    weights = ranking.positives * known
    weighted = np.sum(weights * np.where(known, ranking.values, 0)) / max(weights.sum(), 1)
    return {
        measure: {
            "macro": results.finite(one.macro),
            "interval": [*map(results.finite, one.macro_interval)],
        }
        for measure, one in rankings.items()
    } | {"weighted_auroc": float(weighted) if weights.any() else None}


def behind(rankings, name, few):
    """How far the AUROC is behind that of the semantic vector, of as many training images.

    Returns:
        A dict of `behind`, the difference of the macro averages and its interval; an empty one
        where both are not of the same attributes, or there is no such vector.
    """
    own, found = rankings.get((SEMANTIC, few)), rankings[name, few]
    if name == SEMANTIC or own is None or own["auroc"].names != found["auroc"].names:
        return {}
    difference, interval = own["auroc"].macro_difference(found["auroc"])
    macro, bounds = results.finite(difference), [*map(results.finite, interval)]
    return {"behind": {"macro": macro, "interval": bounds}}


def each(rankings, names):
    """Values and intervals of each attribute, of the semantic vector; of the others, the AUROC."""
    (_, of_vector), *others = rankings.items()
    rows = []
    for i, name in enumerate(names):
        row = {
            "name": name,
            "positives": int(of_vector["auroc"].positives[i]),
            "counted": bool(of_vector["auroc"].counted[i]),
        }
        for measure, ranking in of_vector.items():
            row[measure] = {
                "value": results.finite(ranking.values[i]),
                "interval": [*map(results.finite, ranking.intervals[i])],
            }
        row["others"] = {
            f"{other}, {few}": _value(found["auroc"], name) for (other, few), found in others
        }
        rows.append(row)
    return rows


def _value(ranking, name):
    if name not in ranking.names:
        return None
    return results.finite(ranking.values[ranking.names.index(name)])
