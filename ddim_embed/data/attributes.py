"""What images are labelled with, by name: attributes of faces, or classes as one attribute each."""

import os

import numpy as np

from ddim_embed.data.files import CELEBA_ATTRIBUTES
from ddim_embed.data.loading import open_images, resolve

# In the order of the labels.
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    ),
    "cifar10": (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
}  # fmt: skip


def load_attributes(
    name_or_path: str | os.PathLike,
    split: str = "train",
    image_size: int | None = None,
    source: str = "auto",
    limit: int | None = None,
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of attributes, and which of them each image has, in the order of `load_images`.

    The images are read, too, since `load_images` leaves out files that cannot be read: the same
    arguments give labels of the same images. Of a data set with classes each class is an attribute.

    Args:
        name_or_path, split, image_size, source, limit: as for `load_images`.

    Returns:
        `(names, labels)`: k names, and bool `(n, k)`. CelebA has its 40 attributes; MNIST,
        Fashion-MNIST and CIFAR-10 have their 10 classes; other labels are called by their numbers:
        the columns of labels `(n, k)`, or the classes from 0 to the largest that is loaded.

    Raises:
        ValueError: for images without labels, labels `(n, k)` that are not 0 and 1, or as
            `load_images`.
        ConnectionError: as `load_images`.

    Example:
        >>> names, labels = de.load_attributes("fashion_mnist", "test", source="sample", limit=8)
        >>> labels.shape, names[9], labels[:, 9].sum()
        ((8, 10), 'Ankle boot', np.int64(1))
    """
    source, where = resolve(name_or_path, split, source)
    _, labels = open_images(source, where, split, image_size, limit).load()
    return name_attributes(labels, source, where)


def name_attributes(labels: np.ndarray, source: str, where) -> tuple[tuple[str, ...], np.ndarray]:
    """`load_attributes` of images whose labels are loaded; `source` and `where` of `resolve`."""
    if labels.min() < 0:
        raise ValueError(
            f"The images of {where} have no labels, so no attributes. Attributes have CelebA in "
            "its official layout, the catalogue's data sets, and an .npz file with labels."
        )
    if labels.ndim == 1:
        names = CLASSES.get(where) or tuple(map(str, range(labels.max() + 1)))
        return names, labels[:, None] == np.arange(len(names))
    if labels.max() > 1:
        raise ValueError(
            f"The labels of {where}, of {labels.shape[1]} attributes, must be 0 and 1. "
            f"Received: {labels.max()}"
        )
    numbers = tuple(map(str, range(labels.shape[1])))
    return numbers if source == "npz" else CELEBA_ATTRIBUTES, labels.astype(bool)
