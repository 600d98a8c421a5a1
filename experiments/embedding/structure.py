"""The verb `structure`: many latents of one image, how far they are apart, in which directions."""

import dataclasses
import functools
import itertools

import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.analysis import clouds, jacobian
from ddim_embed.methods.protocol import CONVERGED_MSE, concatenate
from experiments import kept
from experiments.configuration import UsageError, require
from experiments.embedding import structure_figures, structure_verdicts
from experiments.toolkit import page, results, sources

# A cloud's shape must be that of emb(x): L-BFGS that prefers some frequencies would add its own.
FINDERS = {"descent": de.Descent, "lbfgs": functools.partial(de.LBFGS, laplacian=0.0)}
# Combinations: of all members, and of two, which are far from the mean.
_COMBINED = (("convex", None), ("affine", None), ("convex", 2), ("affine", 2))
_COMBINATIONS = 100
_CONTROLS = 64
# A reconstruction of 20 dB is still seen to be of the same image.
_SAME_MSE = 1e-2
# Components, at most, that the change of the image is measured along.
_MEASURED = 128
# Beyond so many dimensions only so many singular vectors are computed.
_ALL_DIRECTIONS, _SOME_DIRECTIONS = 4096, 256


def structure(
    config,
    command,
    image=0,
    members=2000,
    method="descent",
    iterations=1500,
    at_a_time=25,
    tolerance=None,
):
    """Finds latents of one test image; writes `structure.json`, figures 11 to 14, and the page.

    What is found is kept in `config.run_folder`, `at_a_time` members in a file; after a kill the
    same command goes on from there, and one for more members begins with those.

    Args:
        config: an `Experiment`.
        command: what a user would type to repeat it.
        image: index of the test image.
        members: descents from Gaussian latents.
        method: what descends, a name of `FINDERS`.
        iterations: of each descent, at most.
        at_a_time: members that are worked on, and kept, at a time.
        tolerance: members of a larger mean squared error are left out; None keeps all.

    Returns:
        What is in `structure.json`.

    Raises:
        UsageError: for values out of their ranges, or fewer than 8 members within the tolerance.
        FileNotFoundError: if there is no generator.
        ConnectionError: if the data are not there and cannot be fetched.
    """
    require(image >= 0, "image", "at least 0", image)
    require(members >= 8, "members", "at least 8", members)
    require(iterations >= 1, "iterations", "at least 1", iterations)
    require(at_a_time >= 1, "at_a_time", "at least 1", at_a_time)
    require(tolerance is None or tolerance > 0, "tolerance", "positive", tolerance)
    generator = sources.load_generator(config)
    pixels = _image(config, image)
    finder = FINDERS[method](num_steps=iterations, batch_size=at_a_time)
    folder = config.run_folder / "structure" / f"image{image}-{method}"
    found = find(config, generator, pixels, finder, members, folder)
    inside = found.mse <= (np.inf if tolerance is None else tolerance)
    if inside.sum() < 8:
        raise UsageError(
            f"--tolerance must leave at least 8 members. Received: {tolerance}, which "
            f"{inside.sum()} of {members} reach"
        )
    latents, mse = found.latents[inside], found.mse[inside]
    canonical = _canonical(config, generator, pixels)
    contents, drawn = study(config, generator, pixels[0], latents, mse, canonical)
    contents = {
        "dataset": config.name,
        "image": image,
        "method": repr(finder),
        "found": {
            "members": members,
            "within_tolerance": int(inside.sum()),
            "converged": float(np.mean(found.mse <= CONVERGED_MSE)),
            "evaluations": float(found.evaluations.mean()),
            "seconds": found.seconds,
        },
        **contents,
    }
    contents["verdicts"] = structure_verdicts.verdicts(contents)
    contents |= {
        "options": {
            "image": image,
            "members": members,
            "method": method,
            "iterations": iterations,
            "at_a_time": at_a_time,
            "tolerance": tolerance,
        },
        **results.provenance(config, command, "scipy", "scikit-learn"),
    }
    folder = config.result_folder
    results.save_json(folder / "structure.json", contents)
    drawn |= {"pixels": pixels, "latents": latents, "decoded": found.reconstruction[inside]}
    for name, figure in structure_figures.figures(contents, drawn, config.shown).items():
        results.save_figure(folder / name, figure)
    structure_verdicts.show(contents)
    print(f"The page is {page.write_page(folder)}")
    return contents


def find(config, generator, pixels, finder, members, folder):
    """Latents of one image by descents from Gaussian ones, or what is left of an earlier run.

    Args:
        config: an `Experiment`.
        generator: a `Generator`.
        pixels: the image, `(1, height, width, channels)`.
        finder: a method that `refines`; its `batch_size` members are found, and kept, at a time.
        members: how many.
        folder: where they are kept.

    Returns:
        An `Embedding` of so many times the image.
    """
    starts = generator.latents(members, config.seed)
    parts = []
    with tqdm(total=members, desc="cloud", unit="member", disable=not config.progress) as bar:
        for i in range(0, members, finder.batch_size):
            latents = starts[i : i + finder.batch_size]
            images = np.repeat(pixels, len(latents), axis=0)
            parts.append(kept.embed(folder / f"{i}.npz", generator, images, finder, latents))
            bar.update(len(latents))
    return concatenate(parts)


def study(config, generator, pixels, latents, mse, canonical=None):
    """Everything that is measured of a cloud.

    Args:
        config: an `Experiment`; its `seed` is of the random combinations.
        generator: a `Generator`.
        pixels: the image, `(height, width, channels)`.
        latents: the members, `(n, height, width, channels)`, n at least 8.
        mse: their errors, `(n,)`.
        canonical: the U-Net's latents of the image, or None.

    Returns:
        A dict of numbers for `structure.json`; a dict of what figures show, images and curves.
    """
    fitted = de.LatentCloud().fit(latents)
    counts, means = clouds.running_means(latents)
    # The U-Net's latents owe nothing to the members, and cost no descent.
    point = latents[np.argmin(mse)] if canonical is None else canonical
    singular = _singular_vectors(generator, point)
    walks = _walks(fitted, point, singular)
    parts = {
        f"{kind} of {of or 'all'}": clouds.combinations(
            latents, _COMBINATIONS, kind, config.seed, of
        )
        for kind, of in _COMBINED
    }
    parts |= {"gaussian": fitted.sample(_CONTROLS, config.seed)}
    combined = [*parts]
    # `control`: what unrelated images make of the same error.
    parts |= {"means": means, "control": generator.latents(_CONTROLS, config.seed + 1), **walks}
    if canonical is not None:
        parts["canonical"] = canonical[None]
    decoded = _decode_all(generator, parts)

    def error(images):
        return metrics.mse(np.repeat(pixels[None], len(images), 0), images, generator.padding)

    contents = {
        "mse": {
            "mean": float(mse.mean()),
            "median": float(np.median(mse)),
            "least": float(mse.min()),
            "largest": float(mse.max()),
            "control": float(error(decoded["control"]).mean()),
        },
        "latents_mean": float(latents.mean()),
        "latents_std": float(latents.std(axis=(1, 2, 3)).mean()),
        "spread": dataclasses.asdict(clouds.spread(latents)),
        "combinations": {name: _summary(parts[name], error(decoded[name])) for name in combined},
        "running_means": _settling(generator, pixels, counts, decoded["means"], error),
        "border": _border(fitted, latents, mse),
        "canonical": None,
        "spectrum": _spectrum(fitted, generator, latents, config.seed),
        "components": _changes(generator, fitted),
        "jacobian": _jacobian(fitted, latents, singular)
        | {"at": "the best member" if canonical is None else "the U-Net's latents"},
    }
    if canonical is not None:
        contents["canonical"] = dataclasses.asdict(clouds.centrality(latents, canonical)) | {
            "mse": float(error(decoded["canonical"])[0])
        }
    drawn = {
        "combinations": {name: decoded[name] for name in combined},
        "means": means,
        "decoded_means": decoded["means"],
        "walks": {key: decoded[key] for key in walks},
    }
    return contents, drawn


def _image(config, image):
    pixels = sources.load(sources.reported(config), "test", image + 1)
    require(image < len(pixels), "image", f"less than the {len(pixels)} images there are", image)
    return pixels[image : image + 1]


def _canonical(config, generator, pixels):
    """The U-Net's latents of the image, or None without its weights."""
    try:
        embedder = de.load_embedder(config.name, "unet", config.weights)
    except FileNotFoundError as error:
        print(f"Left out: the U-Net's latents. {error}")
        return None
    return de.embed(generator, pixels, de.Network("unet", embedder)).latents[0]


def _decode_all(generator, parts):
    """Name -> latents to name -> pixels, in one call, which traces few sizes of batches."""
    decoded = generator.decode(np.concatenate([*parts.values()]), precision="float32").numpy()
    ends = np.cumsum([len(part) for part in parts.values()])
    return dict(zip(parts, np.split(decoded, ends[:-1]), strict=True))


def _walks(fitted, point, singular):
    """Latents along the first directions, the middle one and the last, by (kind, index).

    The kinds are "own" and "equal": components, from the mean, in steps of their own deviation and
    of the largest; and "singular": singular vectors, from the point, in steps of length 1.
    """
    largest = float(np.sqrt(fitted.explained_variance_[0]))
    steps = np.reshape(structure_figures.WALK, (-1, 1, 1, 1))
    walks = {
        (kind, index): fitted.walk(index, structure_figures.WALK, length)
        for kind, length in (("own", None), ("equal", largest))
        for index in _shown(len(fitted.components_))
    }
    return walks | {
        ("singular", index): (point + steps * singular.latents[index]).astype(np.float32)
        for index in _shown(len(singular.latents))
    }


def _shown(count):
    return [0, 1, 2, (count - 1) // 2, count - 3, count - 2, count - 1]


def _summary(latents, errors):
    """Errors, the share that is of the same image, and the deviation of latents: that of members
    is about 1, and decoding expects it."""
    return {
        "mse": float(errors.mean()),
        "largest": float(errors.max()),
        "same": float(np.mean(errors <= _SAME_MSE)),
        "latents_std": float(latents.std(axis=(1, 2, 3)).mean()),
    }


def _settling(generator, pixels, counts, decoded, error):
    """Errors and blur of decoded means, and how far each is from the one before."""
    changes = [
        float(metrics.mse(after[None], before[None], generator.padding)[0])
        for before, after in itertools.pairwise(decoded)
    ]
    sharp = _variation(generator, pixels[None])[0]
    return {
        "counts": counts,
        "mse": error(decoded).tolist(),
        "change": [None, *changes],
        "sharpness": (_variation(generator, decoded) / max(sharp, 1e-12)).tolist(),
    }


def _variation(generator, images):
    """Total variation of each image: what a blur takes away."""
    images, _ = metrics.content(images, images, generator.padding, np.float64)
    return sum(np.abs(np.diff(images, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2))


def _border(fitted, latents, mse):
    """Quartiles by distance, in latents and in deviations; the latter only where it tells them
    apart."""
    measures = {"euclidean": clouds.distances_to(latents, fitted.mean_)}
    if len(latents) >= 1.5 * fitted.mean_.size:
        measures["mahalanobis"] = fitted.mahalanobis(latents)
    border = {}
    for name, distances in measures.items():
        found = clouds.border_quartiles(distances, mse)
        border[name] = dataclasses.asdict(found) | {
            "distances": found.distances.tolist(),
            "errors": found.errors.tolist(),
        }
    return border


def _spectrum(fitted, generator, latents, seed):
    """Eigenvalues, beside those of as many Gaussian latents; and of held-out members.

    Components are the directions in which these very members happen to vary least and most. Those
    of one half, and the variance of the other half along them, know nothing of each other.
    """
    gaussian = de.LatentCloud().fit(generator.latents(len(latents), seed))
    half = len(latents) // 2
    coordinates = de.LatentCloud().fit(latents[:half]).transform(latents[half:])
    least, largest = clouds.marchenko_pastur(len(latents), latents[0].size)
    return {
        "eigenvalues": fitted.explained_variance_.tolist(),
        "gaussian": gaussian.explained_variance_.tolist(),
        "held_out": coordinates.var(axis=0, ddof=1).tolist(),
        "marchenko_pastur": [least, largest],
        "dimensions": int(latents[0].size),
    }


def _changes(generator, fitted):
    """How much the image changes along components: per unit of distance, and per deviation."""
    last = len(fitted.components_) - 1
    chosen = np.unique(np.linspace(0, last, _MEASURED).astype(int))
    directions = fitted.components_[chosen]
    deviations = np.maximum(np.sqrt(fitted.explained_variance_[chosen]), 1e-6)
    per_unit = clouds.decoded_changes(generator, fitted.mean_, directions)
    own = clouds.decoded_changes(generator, fitted.mean_, directions, deviations)
    return {
        "indices": chosen.tolist(),
        "change_per_unit": per_unit.tolist(),
        "change_per_deviation": (own * deviations).tolist(),
    }


def _singular_vectors(generator, point):
    rank = None if point.size <= _ALL_DIRECTIONS else _SOME_DIRECTIONS
    return de.singular_vectors(generator, point, rank)


def _jacobian(fitted, latents, singular):
    """What one linearisation tells of the cloud: variances along singular vectors, and angles."""
    rows = (latents - fitted.mean_).reshape(len(latents), -1)
    directions = singular.latents.reshape(len(singular.values), -1)
    variances = (rows @ directions.T).var(axis=0, ddof=1)
    correlation = spearmanr(singular.values, variances).statistic
    few = max(1, len(singular.values) // 16)
    half = max(1, len(fitted.components_) // 2)
    pairs = {"sensitive and minor": (singular.latents[:few], fitted.components_[-half:])}
    if len(singular.values) == fitted.mean_.size:
        ignored = singular.latents[-few:]
        pairs["ignored and major"] = (ignored, fitted.components_[:half])
    angles = {}
    for name, (first, second) in pairs.items():
        found = de.principal_angles(first, second)
        angles[name] = {
            "vectors": len(first),
            "components": len(second),
            "degrees": found.tolist(),
            # The share of the vectors' square that lies in the components' span.
            "overlap": float(np.sum(np.cos(np.deg2rad(found)) ** 2) / len(first)),
            "overlap_by_chance": len(second) / fitted.mean_.size,
        }
    return {
        "values": singular.values.tolist(),
        "variances": variances.tolist(),
        "tolerance": jacobian.fit_tolerance(singular.values, variances),
        "correlation": float(correlation),
        "angles": angles,
    }
