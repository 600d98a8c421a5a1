"""Trains the classifier on whose features the Frechet distance of a grey data set is taken.

python -m experiments.features fashion_mnist
"""

import sys
import time
from pathlib import Path
from typing import Literal

import tyro

from experiments.configuration import UsageError

# 28x28 images come in 32x32.
_PADDING = 2
# As many as the test sets have.
_COMPARED = 10_000


def train(
    name: tyro.conf.Positional[Literal["fashion_mnist", "mnist"]],
    source: Literal["tfds", "sample"] = "tfds",
    epochs: int = 6,
    seed: int = 0,
    weights: Path | None = None,
):
    """Trains a data set's feature classifier and records it, with its accuracy on the test set.

    Args:
        name: the data set.
        source: "sample" trains on the bundled test images, to see that everything works; `weights`
            must then be a folder of one's own.
        epochs: passes over the training images.
        seed: of everything random.
        weights: folder of weights; None for the shipped one.

    Returns:
        The path of the weights file.

    Raises:
        UsageError: for values that cannot be.
        ConnectionError: if the data are not there and cannot be fetched.
    """
    if epochs < 1 or seed < 0:
        raise UsageError(
            f"--epochs must be positive, --seed at least 0. Received: {epochs}, {seed}"
        )
    if source == "sample" and weights is None:
        raise UsageError(
            "--weights must be a folder of your own for --source sample: what is trained on the "
            "test images must not take the place of what is shipped."
        )
    import ddim_embed as de

    split = "test" if source == "sample" else "train"
    try:
        pixels, labels = de.load_images(name, split, source=source)
        test_pixels, test_labels = de.load_images(name, "test", source=source)
    except ValueError as error:
        raise UsageError(str(error)) from error
    started = time.perf_counter()
    classifier = de.train_feature_classifier(
        pixels, labels, seed, epochs, padding=_PADDING, progress=sys.stderr.isatty()
    )
    seconds = time.perf_counter() - started
    accuracy = float((classifier.classify_pixels(test_pixels) == test_labels).mean())
    kept = ("image_shape", "classes", "widths", "num_features", "padding")
    command = f"python -m experiments.features {name}"
    flags = f"--source {source} --epochs {epochs} --seed {seed}"
    path, _ = de.record_weights(
        weights,
        name,
        "features",
        classifier,
        config={key: classifier.get_config()[key] for key in kept},
        data=f"{name}, {split}",
        budget={
            "images": len(pixels),
            "epochs": epochs,
            "seconds": round(seconds, 1),
            "seed": seed,
            "command": f"{command} {flags}",
        },
        errors={
            "test_accuracy": accuracy,
            "test_images": len(test_pixels),
            # How far two sets of real images, as many each, are apart: the scale of the distance.
            "frechet_distance_train_test": de.frechet_distance(
                classifier.features(pixels[:_COMPARED]), classifier.features(test_pixels)
            ),
        },
    )
    print(f"{path}: test accuracy {accuracy:.4f}, {seconds:.0f} s")
    return path


def main(arguments=None):
    """The command line.

    Args:
        arguments: list of words; by default those of the command line.

    Raises:
        SystemExit: with code 2 for what cannot be, with code 1 where there are no data.
    """
    try:
        return tyro.cli(train, args=arguments, prog="python -m experiments.features")
    except (UsageError, ConnectionError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
