"""Trains the classifier on whose features the Frechet distance of a grey data set is taken.

python -m experiments.features fashion_mnist
"""

import sys
import time
from pathlib import Path
from typing import Literal

import tyro

from ddim_embed.console import UsageError, import_tensorflow
from ddim_embed.store.outputs import require_folder
from experiments.toolkit import study

# 28x28 images come in 32x32.
_PADDING = 2
# Images of each set of the distance, the number of test images.
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
        source: "sample" trains on the bundled test images, to see that everything works; it needs
            `weights`, a folder of your own.
        epochs: passes over the training images.
        seed: random seed.
        weights: folder of weights; None for the shipped one.
    """
    if epochs < 1 or not 0 <= seed < 2**32:
        raise UsageError(
            "--epochs must be positive, --seed at least 0 and below 2**32. "
            f"Received: {epochs}, {seed}"
        )
    if source == "sample" and weights is None:
        raise UsageError(
            "--weights must be a folder of your own for --source sample: weights trained on test "
            "images must not replace the shipped ones."
        )
    import_tensorflow(one_core_per_operation=False)
    import ddim_embed as de

    if weights is not None:
        require_folder(weights, "--weights")
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
    fields = ("image_shape", "classes", "widths", "num_features", "padding")
    command = f"python -m experiments.features {name}"
    flags = f"--source {source} --epochs {epochs} --seed {seed}"
    path, _ = de.record_weights(
        weights,
        name,
        "features",
        classifier,
        config={key: classifier.get_config()[key] for key in fields},
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
            # The distance of two sets of real images of the same size: its scale.
            "frechet_distance_train_test": de.frechet_distance(
                classifier.features(pixels[:_COMPARED]), classifier.features(test_pixels)
            ),
        },
    )
    print(f"{path}: test accuracy {accuracy:.4f}, {seconds:.0f} s")
    return path


def main(arguments=None):
    """The command line; `arguments` is None for the words that the user typed."""
    return study.call(train, "features", arguments)


if __name__ == "__main__":
    main()
