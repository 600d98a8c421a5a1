"""TensorFlow Datasets by catalogue name: prepared data first, then a download."""

import io
import os
import re
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ddim_embed import arguments
from ddim_embed.data.arrays import ArrayImages, checked_arrays, fit_arrays, rows_of_batches
from ddim_embed.data.files import CELEBA_ATTRIBUTES, read_many
from ddim_embed.data.pictures import celeba_crop, celeba_crop_box, read_picture

# Where each data set is downloaded from: a download starts only if this is reachable.
CATALOGUE = {
    "mnist": "https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz",
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "oxford_flowers102": "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",
    "celeba": "https://drive.google.com/",
}

_PROBE_SECONDS = 5
_SHUFFLE_BUFFER = 16_384  # encoded images, some 150 MB of CelebA
_READ_BATCH = 1000


def data_folder():
    """The folder of TensorFlow Datasets' prepared data: `TFDS_DATA_DIR`, or its default."""
    default = Path("~") / "tensorflow_datasets"
    return Path(os.environ.get("TFDS_DATA_DIR") or default).expanduser()


def prepared_folder(name):
    """The newest prepared version of a data set, or `None`."""
    versions = [
        path
        for path in (data_folder() / name).glob("*")
        # An unfinished one is called 3.0.1.incomplete...
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and (path / "dataset_info.json").is_file()
    ]
    return max(versions, key=lambda path: [int(n) for n in path.name.split(".")], default=None)


def probe(url):
    """Returns `None` if a server answers within `_PROBE_SECONDS`, otherwise the reason.

    It runs in a thread, since the lookup of a host name has no timeout.
    """
    outcome = [f"no answer within {_PROBE_SECONDS} s"]

    def attempt():
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
            outcome[0] = None
        except (OSError, ValueError) as error:
            outcome[0] = str(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return outcome[0]


def open_catalogue(name, split, image_size, channels, limit):
    """A data set as `ArrayImages`, or `CatalogueImages` if images must be cropped one by one.

    Raises a ConnectionError if it is not prepared and cannot be downloaded; a ValueError if it has
    no such split, or needs an `image_size` and none is given.
    """
    folder = prepared_folder(name)
    if folder is None:
        builder = _downloadable(name)
    else:
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(folder)
    stored_shape = builder.info.features["image"].shape
    fixed = None not in stored_shape
    if image_size is None and not fixed:
        raise ValueError(f"`image_size` is needed, since the images of {name!r} differ in size")
    if folder is None:
        builder.download_and_prepare()
    splits = tuple(builder.info.splits)
    arguments.choice("split", split, splits, f" for {name!r}")

    if name != "celeba" and fixed:
        images, labels = _read_arrays(builder, split, limit)
        images, labels = checked_arrays(images, labels, name)
        return ArrayImages(fit_arrays(images, image_size, channels, name), labels)
    crop = celeba_crop if name == "celeba" else None
    if image_size is None:
        height, width, _ = stored_shape
        left, _, right, _ = celeba_crop_box(width, height)
        image_size = right - left
    num_images = builder.info.splits[split].num_examples
    image_shape = (image_size, image_size, channels or stored_shape[-1] or 3)
    return CatalogueImages(builder, split, image_shape, crop, min(limit or num_images, num_images))


def _downloadable(name):
    reason = probe(CATALOGUE[name])
    if reason is not None:
        raise ConnectionError(
            f"{name!r} is not prepared in {data_folder()}, and its download cannot be reached: "
            f"{CATALOGUE[name]} ({reason}). Connect to the network; or prepare it elsewhere with "
            f"`tfds build {name}` and copy the folder {name} there (or set TFDS_DATA_DIR to where "
            "it is); or pass an .npz file or a folder of images instead of the name; or use "
            'load_images("fashion_mnist", "test", source="sample"), which needs no network.'
        )
    import tensorflow_datasets as tfds

    return tfds.builder(name, data_dir=data_folder(), try_gcs=False)


def _read_arrays(builder, split, limit):
    dataset = builder.as_dataset(split=split).take(limit or -1).batch(_READ_BATCH)
    batches = [(batch["image"], batch["label"]) for batch in dataset.as_numpy_iterator()]
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


@dataclass(frozen=True)
class CatalogueImages:
    """Images of TensorFlow Datasets that differ in size, or do not fit into memory."""

    builder: Any  # a prepared `tfds` builder
    split: str
    image_shape: tuple  # after cropping and resizing
    crop: Any  # function that crops a picture first, or None
    limit: int  # at most the number of images

    def __len__(self):
        return self.limit

    @property
    def nbytes(self):
        """Size of the images in memory, as uint8."""
        return len(self) * int(np.prod(self.image_shape))

    def _encoded(self):
        import tensorflow_datasets as tfds

        # Still encoded: shuffling and skipping then take a tenth of the memory or less.
        decoders = {"image": tfds.decode.SkipDecoding()}
        read_config = tfds.ReadConfig(try_autocache=False)
        dataset = self.builder.as_dataset(
            split=self.split, decoders=decoders, read_config=read_config
        )
        return dataset.take(self.limit)

    def _read(self, encoded):
        return read_picture(io.BytesIO(encoded), self.image_shape, self.crop)

    def load(self):
        """Returns images, uint8, and labels."""
        images = np.empty((len(self), *self.image_shape), np.uint8)
        labels = []
        start = 0
        for batch in self._encoded().batch(_READ_BATCH).as_numpy_iterator():
            encoded = batch["image"]
            read, _, problems = read_many(encoded, self._read, self.image_shape, len(encoded))
            if problems:
                raise ValueError(f"An image of {self.builder.name!r} is broken: {problems[0][1]}")
            images[start : start + len(read)] = read
            start += len(read)
            labels.append(self._labels(batch))
        return images[:start], np.concatenate(labels)

    def _labels(self, batch):
        if "attributes" in batch:
            columns = [batch["attributes"][name] for name in CELEBA_ATTRIBUTES]
            return np.stack(columns, axis=-1).astype(np.int8)
        return batch["label"].astype(np.int64)

    def stream(self, batch_size, seed, start_step, rows):
        """Returns an infinite `tf.data.Dataset` of rows of uint8 batches.

        Shards can only be read in order. Each epoch shuffles within a buffer (the shards are stored
        shuffled), and a resumed epoch first skips the batches that it has seen.
        """
        import tensorflow as tf

        steps_per_epoch = len(self) // batch_size
        first_epoch, done_steps = divmod(start_step, steps_per_epoch)
        encoded = self._encoded().map(lambda example: example["image"])

        def one_epoch(epoch):
            # `shuffle` mixes its seed with the global one. Inside this function that is the seed of
            # the traced graph, so that the order depends on `seed` alone.
            tf.random.set_seed(seed)
            shuffled = encoded.shuffle(
                _SHUFFLE_BUFFER, seed=epoch + 1, reshuffle_each_iteration=False
            )
            done = tf.where(epoch == first_epoch, done_steps, 0) * batch_size
            whole_batches = steps_per_epoch * batch_size
            return shuffled.take(whole_batches).skip(tf.cast(done, tf.int64))

        encoded_images = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(one_epoch)
        encoded_images = rows_of_batches(encoded_images, batch_size, rows)
        images = encoded_images.map(
            lambda image: tf.ensure_shape(
                tf.numpy_function(self._read, [image], tf.uint8), self.image_shape
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return images.batch(rows.stop - rows.start, drop_remainder=True)
