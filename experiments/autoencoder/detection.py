"""The verb `detect`: how well a small network tells generated images from real ones (App. L)."""

import hashlib

import numpy as np
from tqdm import tqdm

from ddim_embed.store.records import MissingWeightsError
from experiments.autoencoder import attribute_figures, autoencode, encoded
from experiments.autoencoder.attribute_sections import DETECTION
from experiments.toolkit import judge, labelled, results, sources
from experiments.toolkit.command_line import UsageError

DDIM, SAMPLED, MANIPULATED = "DDIM", "sampled", "manipulated"
_CHUNK = 40
# Of the images of each side, those that are not trained on: the paper's shares.
_TRAINED = 0.7


def run(verb):
    """Generates images with several numbers of steps, and trains a detector of each kind.

    What is generated, and each detector, is kept in `config.run_folder`: a killed run resumes.
    """
    config = verb.config
    generator, autoencoder = sources.load_generator(config), sources.load_autoencoder(config)
    real = sources.load(config, "train", 2 * verb.fakes)
    if len(real) < 2 * verb.fakes:
        raise UsageError(f"--fakes must be at most {len(real) // 2} here. Received: {verb.fakes}")
    # Those that are manipulated are not among the real ones: the detector would know the image.
    real, sources_of_edits = np.split(real, 2)
    rows = []
    for kind, (key, make) in _kinds(config, generator, autoencoder, sources_of_edits).items():
        for steps in verb.steps:
            fakes = _cached(config, f"{kind}-{steps}", steps, verb.fakes, key, make)
            accuracy, count = detect(verb, real, fakes, f"{kind}-{steps}")
            rows.append(
                {"kind": kind, "num_steps": steps, "images": count}
                | {"accuracy": {"mean": accuracy, "interval": half_width(accuracy, count)}}
            )
    contents = {
        "dataset": config.name,
        "fakes": verb.fakes,
        "rows": rows,
        "options": verb.options,
        **results.provenance(config, verb.command),
    }
    DETECTION.publish(
        verb.outputs, contents, lambda: {"detection.png": attribute_figures.detection(contents)}
    )


def _kinds(config, generator, autoencoder, pixels):
    """By kind, a key, and a function from a range of images and a number of steps to pixels."""

    def of_ddim(part, steps):
        own, latents = generator.with_steps(steps), generator.latents(len(pixels), config.seed)
        return autoencode.decode(own, latents[part])

    kinds = {DDIM: (generator.fingerprint(), of_ddim)}
    if autoencoder.prior is None:
        print(f"Left out: {SAMPLED} images. The autoencoder has no prior.")
    else:
        semantic = autoencoder.prior.sample(len(pixels), config.seed)

        def of_prior(part, steps):
            own = autoencoder.generator.with_steps(steps)
            latents = own.latents(len(pixels), config.seed)[part]
            return autoencode.decode(own.given(semantic[part]), latents)

        kinds[SAMPLED] = f"{autoencoder.checksum}, {_digest(semantic)}", of_prior
    try:
        classifier = encoded.load_classifier(config, autoencoder)
    except MissingWeightsError:
        print(f"Left out: {MANIPULATED} images. Fit a classifier of attributes: `attributes`.")
        return kinds
    names = labelled.chosen(classifier.names, (), 4)

    def manipulated(part, steps):
        """One attribute of each image is changed to the median of the other side."""
        images = pixels[part]
        code = autoencoder.encode(images)
        own = autoencoder.generator.with_steps(steps)
        latents = autoencode.naive(own.given(code.semantic), images)
        logits = classifier.logits(autoencoder.standardize(code))
        edited = np.array(code.semantic)
        turn = np.arange(part.start, part.start + len(images)) % len(names)
        for i, name in enumerate(names):
            has = logits[:, classifier.index(name)] > 0
            for side, target in ((~has, "median"), (has, "negative_median")):
                chosen = side & (turn == i)
                if chosen.any():
                    moved = autoencoder.manipulate(
                        code[chosen], classifier.direction(name), target=target
                    )
                    edited[chosen] = moved.semantic
        return autoencode.decode(own.given(edited), latents)

    key = f"{autoencoder.checksum}, {_digest(classifier.weights)}, {_digest(pixels)}, {names}"
    return kinds | {MANIPULATED: (key, manipulated)}


def _digest(array):
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def _cached(config, name, steps, count, key, make):
    """Pixels of generated images, clipped, cached in chunks."""
    parts = []
    with tqdm(total=count, desc=name, unit="image", disable=not config.progress) as bar:
        for start in range(0, count, _CHUNK):
            part = slice(start, min(start + _CHUNK, count))
            compute = lambda part=part: {"pixels": make(part, steps).clip(0, 1)}  # noqa: E731
            path = config.run_folder / "detect" / name / f"{start}.npz"
            own = f"{key}, {count} images, {steps} steps, seed {config.seed}"
            parts.append(labelled.cached(path, own, compute)["pixels"])
            bar.update(part.stop - part.start)
    return np.concatenate(parts)


def detect(verb, real, fakes, name):
    """Trains a detector, and measures it on images that it was not trained on.

    Args:
        verb: its `config`, and the `detector_steps`.
        real, fakes: pixels, as many of each.
        name: of the run.

    Returns:
        The accuracy, and of how many images it is, half of them real.
    """
    config, trained = verb.config, int(_TRAINED * len(real))
    pixels = np.concatenate([real[:trained], fakes[:trained]])
    is_fake = np.repeat([False, True], trained)[:, None]
    folder = config.run_folder / "detect" / f"{name}-detector-{verb.detector_steps}"
    key = f"{labelled.data_key(config)}, {_digest(pixels)}"
    network = judge.train(config, pixels, is_fake, verb.detector_steps, folder, key)
    right = [
        (judge.logits(network, images[trained:])[:, 0] > 0) == fake
        for images, fake in ((real, False), (fakes, True))
    ]
    return float(np.mean(right)), sum(map(len, right))


def half_width(accuracy, count):
    """Of the 95% interval of an accuracy, which is not 0 where all are right."""
    low, high = results.share_bounds(accuracy, count)
    return (high - low) / 2
