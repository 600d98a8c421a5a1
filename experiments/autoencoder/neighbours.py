"""The verb `neighbours`: is what is sampled a copy of a training image (Fig. 9)?"""

import numpy as np

import ddim_embed as de
from ddim_embed.data import crop_padding
from experiments.autoencoder import encoded
from experiments.autoencoder.attribute_sections import NEIGHBOURS
from experiments.toolkit import results, sources

_BATCH = 256


def run(verb):
    """Samples images and finds their nearest training images; writes numbers and Fig. 9."""
    config = verb.config
    autoencoder = sources.load_autoencoder(config)
    vectors = encoded.training_vectors(config, autoencoder, verb.train_images)[1]
    train = sources.load(config, "train", verb.train_images)
    test = sources.load(sources.reported(config), "test", config.images)
    prior = "latent DDIM"
    if autoencoder.prior is None:
        prior = "Gaussian"
        print("Samples are of a Gaussian fitted to the vectors: there is no trained prior.")
        fitted = de.GaussianPrior().fit(autoencoder.unstandardize(vectors))
    sampler = autoencoder.prior or fitted
    semantic = sampler.sample(len(test), config.seed)
    sampled = autoencoder.decode(semantic, config.seed).numpy().clip(0, 1)
    own = {"sampled": sampled, "test": test}
    codes = {"sampled": semantic, "test": autoencoder.encode(test).semantic}
    of_vectors = {name: autoencoder.standardize(each) for name, each in codes.items()}
    found = {
        "vector": {name: nearest(each, vectors) for name, each in of_vectors.items()},
        **{
            metric: {name: nearest(each, train, place) for name, each in own.items()}
            for metric, place in places(autoencoder.padding).items()
        },
    }
    contents = {
        "dataset": config.name,
        "images": len(test),
        "training_images": len(train),
        "prior": prior,
        "nearest": [
            {"metric": metric} | compared(*(each[name][1] for name in ("sampled", "test")))
            for metric, each in found.items()
        ],
        "options": verb.options,
        **results.provenance(config, verb.command),
    }

    def figures():
        shown = slice(config.shown)
        rows = {"sampled": sampled[shown]}
        rows |= {
            f"nearest by\n{metric}": train[each["sampled"][0][shown]]
            for metric, each in found.items()
        }
        return {"fig09_neighbours.png": de.image_grid([*rows.values()], [*rows])}

    NEIGHBOURS.publish(verb.outputs, contents, figures)


def places(padding):
    """Functions from pixels to vectors whose mean or summed squared distances a metric is."""
    distance = de.load_perceptual_distance()

    def in_lpips(pixels):
        return distance.coordinates(crop_padding(pixels, padding)).numpy()

    def in_pixels(pixels):
        inner = np.asarray(crop_padding(pixels, padding))
        return inner.reshape(len(inner), -1) / np.sqrt(inner[0].size)

    return {"LPIPS": in_lpips, "pixels": in_pixels}


def nearest(own, train, place=None):
    """The nearest of the training images to each image.

    Args:
        own, train: `(n, ...)` and `(m, ...)`, vectors or images.
        place: function from a batch of them to vectors; None for vectors, whose distances are then
            means of squares.

    Returns:
        The indices `(n,)` in `train`, and the squared distances `(n,)`, float64.
    """
    if place is None:

        def place(vectors):
            return np.asarray(vectors) / np.sqrt(vectors.shape[1])

    placed = np.concatenate([place(part) for part in _batches(own)])
    index, least = np.zeros(len(own), int), np.full(len(own), np.inf)
    for start, part in enumerate(_batches(train)):
        others = np.asarray(place(part))
        squares = (placed**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
        squares = squares - 2 * placed @ others.T
        best = squares.argmin(axis=1)
        nearer = squares[np.arange(len(own)), best] < least
        index[nearer] = start * _BATCH + best[nearer]
        least[nearer] = squares[nearer, best[nearer]]
    return index, least.clip(0).astype(np.float64)


def _batches(values):
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def compared(sampled, test):
    """Distances of sampled images to the nearest training image beside those of test images.

    Returns:
        A dict of two estimates, and `copies`, the share of sampled images that are nearer than any
        test image.
    """
    return {
        "sampled": results.estimate(sampled),
        "test": results.estimate(test),
        "copies": float(np.mean(sampled < test.min())),
    }
