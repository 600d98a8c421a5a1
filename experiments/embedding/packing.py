"""The verb `pack`: data for training with JAX on a machine without TensorFlow."""

import numpy as np

from ddim_embed.data import PADDING, crop_padding
from ddim_embed.data.pictures import UNPADDED_SIZE
from experiments.toolkit import sources


def pack(config, outputs, train_images=None):
    """Writes the training and test images to `<name>.npz`, for `--source npz`."""
    arrays, side = {}, config.image_size - 2 * config.padding
    for split, limit in (("train", train_images), ("test", config.images)):
        pixels, labels = sources.load_labelled(config, split, limit)
        if (side, config.padding) == (UNPADDED_SIZE, PADDING):  # which loading will add again
            pixels = crop_padding(pixels, PADDING)
        arrays[f"{split}_images"] = np.round(255 * pixels).astype(np.uint8)
        arrays[f"{split}_labels"] = labels
    path = outputs / f"{config.name}.npz"
    with outputs.replacing(path.name) as temporary:
        np.savez_compressed(temporary, **arrays)
    counts = " and ".join(
        f"{len(arrays[f'{split}_images'])} {split}" for split in ("train", "test")
    )
    print(f"{path}: {counts} images, {path.stat().st_size / 2**20:.0f} MiB")
    return path
