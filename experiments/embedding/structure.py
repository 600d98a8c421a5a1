"""The verb `structure`: the cloud of all latents of one image (Secs. 5.1 and 5.1.1)."""

import dataclasses
import functools
import itertools

import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.analysis import clouds, jacobian
from ddim_embed.methods.cache import embed_in_chunks
from ddim_embed.methods.embedding import CONVERGED_MSE
from experiments.embedding import inputs, structure_figures
from experiments.embedding.cloud_claims import cloud_claims
from experiments.embedding.sections import STRUCTURE
from experiments.toolkit import sources, tables
from experiments.toolkit.command_line import UsageError, require

# Without the preference of L-BFGS for some frequencies, which would shape the cloud.
FINDERS = {"descent": de.Descent, "lbfgs": functools.partial(de.LBFGS, laplacian=0.0)}
# Kinds of combinations: of all members, and of two, which are far from the mean.
_COMBINED = (("convex", None), ("affine", None), ("convex", 2), ("affine", 2))
_COMBINATIONS = 100
_CONTROLS = 64
# At 20 dB a reconstruction is still recognised as the same image.
_SAME_MSE = 1e-2
# Maximum number of components along which the change of the image is measured.
_MEASURED = 128
# With more dimensions than this, only this number of singular vectors is computed.
_ALL_DIRECTIONS, _SOME_DIRECTIONS = 4096, 256


def run(verb):
    """Finds latents of one test image; writes `structure.json` and figures 11 to 14.

    Members are cached in `config.run_folder`, `at_a_time` in a file; a killed run resumes, and a
    run for more members starts with the existing ones.
    """
    config, image, members, tolerance = verb.config, verb.image, verb.members, verb.tolerance
    generator = sources.load_generator(config)
    pixels = sources.load(sources.reported(config), "test", image + 1)
    require(verb, "image", image < len(pixels), f"less than the {len(pixels)} images there are")
    pixels = pixels[image : image + 1]
    finder = FINDERS[verb.method](num_steps=verb.iterations, batch_size=verb.at_a_time)
    folder = config.run_folder / "structure" / f"image{image}-{verb.method}"
    found = find(config, generator, pixels, finder, members, folder)
    inside = found.mse <= (np.inf if tolerance is None else tolerance)
    if inside.sum() < 8:
        raise UsageError(
            f"--tolerance must leave at least 8 members. Received: {tolerance}, which "
            f"{inside.sum()} of {members} reach"
        )
    latents, mse = found.latents[inside], found.mse[inside]
    unet = inputs.unet(config)
    canonical = None if unet is None else de.embed(generator, pixels, unet).latents[0]
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
    contents["verdicts"] = cloud_claims(contents)
    contents |= inputs.provenance(verb)
    drawn |= {"pixels": pixels, "latents": latents, "decoded": found.reconstruction[inside]}
    mse = contents["mse"]
    tables.show(
        f"Image {image} of {config.name}: {inside.sum():,} of {members:,} latents by {finder!r}\n"
        f"mean squared error {mse['mean']:.6f} (median {mse['median']:.6f}; unrelated images "
        f"{mse['control']:.4f}), {contents['found']['converged']:.0%} above 30 dB, "
        f"{found.seconds:,.0f} s, deviation of latents {contents['latents_std']:.3f}"
    )
    STRUCTURE.publish(
        verb.outputs,
        contents,
        lambda: structure_figures.figures(contents, drawn, config.shown),
    )


def find(config, generator, pixels, finder, members, folder):
    """Returns the `Embedding` of copies of an image, `(1, height, width, channels)`.

    Each is a descent from its own Gaussian latents; those of earlier runs are read.
    """
    with tqdm(total=members, desc="cloud", unit="member", disable=not config.progress) as bar:
        return embed_in_chunks(
            generator,
            np.repeat(pixels, members, axis=0),
            finder,
            latents=generator.latents(members, config.seed),
            chunk_size=finder.batch_size,
            folder=folder,
            callback=bar.update,
        )


def study(config, generator, pixels, latents, mse, canonical=None):
    """Measures a cloud: `latents` of the image `pixels`, at least 8, and their errors `mse`.

    Returns a dict of numbers for `structure.json`, and one of the images and curves of the figures.
    """
    fitted = de.LatentCloud().fit(latents)
    counts, means = clouds.running_means(latents)
    # The U-Net's latents are independent of the members, and cost no descent.
    point = latents[np.argmin(mse)] if canonical is None else canonical
    rank = None if point.size <= _ALL_DIRECTIONS else _SOME_DIRECTIONS
    singular = de.singular_vectors(generator, point, rank)
    walks = _walks(fitted, point, singular)
    parts = {
        f"{kind} of {of or 'all'}": clouds.combinations(
            latents, _COMBINATIONS, kind, config.seed, of
        )
        for kind, of in _COMBINED
    }
    parts |= {"gaussian": fitted.sample(_CONTROLS, config.seed)}
    combined = [*parts]
    # `control`: unrelated images.
    parts |= {"means": means, "control": generator.latents(_CONTROLS, config.seed + 1), **walks}
    if canonical is not None:
        parts["canonical"] = canonical[None]
    decoded = _decode_all(generator, parts)

    def error(images):
        repeated = np.repeat(pixels[None], len(images), 0)
        return metrics.clipped_mse(repeated, images, generator.padding)

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


def _decode_all(generator, parts):
    """Decodes a dict of latents in one call, which traces few batch sizes; returns a dict."""
    decoded = generator.decode(np.concatenate([*parts.values()]), precision="float32").numpy()
    ends = np.cumsum([len(part) for part in parts.values()])
    return dict(zip(parts, np.split(decoded, ends[:-1]), strict=True))


def _walks(fitted, point, singular):
    """Returns latents along the first, middle and last directions: a dict by (kind, index).

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
    """Returns errors, the share of the same image, and the deviation of latents, ideally 1."""
    return {
        "mse": float(errors.mean()),
        "largest": float(errors.max()),
        "same": float(np.mean(errors <= _SAME_MSE)),
        "latents_std": float(latents.std(axis=(1, 2, 3)).mean()),
    }


def _settling(generator, pixels, counts, decoded, error):
    """Returns errors and blur of decoded means, and the distance of each from the previous one."""
    changes = [
        float(metrics.clipped_mse(after[None], before[None], generator.padding)[0])
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
    """Returns the total variation of each image, which a blur reduces."""
    images, _ = metrics.content(images, images, generator.padding, np.float64)
    return sum(np.abs(np.diff(images, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2))


def _border(fitted, latents, mse):
    """Returns quartiles by Euclidean distance and, with enough members, by Mahalanobis distance."""
    measures = {"euclidean": clouds.distances_to(latents, fitted.mean_)}
    if len(latents) >= 1.5 * fitted.mean_.size:
        measures["mahalanobis"] = fitted.mahalanobis(latents)
    border = {}
    for name, distances in measures.items():
        quartiles = clouds.border_quartiles(distances, mse)
        border[name] = dataclasses.asdict(quartiles) | {
            "distances": quartiles.distances.tolist(),
            "errors": quartiles.errors.tolist(),
        }
    return border


def _spectrum(fitted, generator, latents, seed):
    """Returns eigenvalues of the members, of as many Gaussian latents, and of held-out members.

    Eigenvalues are biased: components are fitted to the members whose variance they are. The
    variance of one half along the components of the other half is not.
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
    """Returns the change of the image along components, per unit of distance and per deviation."""
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


def _jacobian(fitted, latents, singular):
    """Returns variances of the cloud along singular vectors, and angles with components."""
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
        degrees = de.principal_angles(first, second)
        angles[name] = {
            "vectors": len(first),
            "components": len(second),
            "degrees": degrees.tolist(),
            # The share of the vectors' squared length in the span of the components.
            "overlap": float(np.sum(np.cos(np.deg2rad(degrees)) ** 2) / len(first)),
            "overlap_by_chance": len(second) / fitted.mean_.size,
        }
    return {
        "values": singular.values.tolist(),
        "variances": variances.tolist(),
        "tolerance": jacobian.fit_tolerance(singular.values, variances),
        "correlation": float(correlation),
        "angles": angles,
    }
