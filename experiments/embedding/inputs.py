"""What the verbs that edit images have in common: images, methods, and the notes of a result."""

import dataclasses

import numpy as np

import ddim_embed as de
from ddim_embed.data import crop_padding
from experiments.configuration import UsageError
from experiments.toolkit import results, sources

# Iterations of a smoke run.
_FEW = 2


def read(generator, files, channels=None):
    """A user's images, as the generator takes them.

    Args:
        generator: a `Generator`.
        files: paths; each image is cropped to its centre, resized, and padded as the data are.
        channels: None for the generator's own.

    Returns:
        Pixels, float32 `(n, height, width, channels)`.

    Raises:
        FileNotFoundError: if one of them cannot be read; says which, and why.
    """
    height, width, own = generator.image_shape
    shape = (height, width, channels or own)
    pixels, _, problems = de.read_image_files(files, shape, generator.padding)
    if problems:
        words = "; ".join(f"{path}: {reason}" for path, reason in problems)
        raise FileNotFoundError(f"Not all files can be read as images. {words}")
    return pixels


def read_mask(generator, file, image):
    """A mask of a user's, cut and resized as the image is: white, or transparent, is free.

    Args:
        generator: a `Generator`.
        file: its path.
        image: path of the image that it belongs to.

    Returns:
        bool `(1, height, width)`; the padding is held.

    Raises:
        FileNotFoundError: if it cannot be read.
        UsageError: if its sides are not in the proportion of the image's, so that it would be cut
            elsewhere; or if it leaves nothing of the image, or all of it.
    """
    mask = read(generator, [file], channels=1) > 0.5
    sizes = [_size(path) for path in (file, image)]
    if sizes[0][0] * sizes[1][1] != sizes[0][1] * sizes[1][0]:
        words = ["x".join(map(str, size)) for size in sizes]
        raise UsageError(f"--mask must be of the image's size, {words[1]}. Received: {words[0]}")
    share = crop_padding(mask, generator.padding).mean()
    if share in (0, 1):
        raise UsageError(
            "--mask must be white where the image was edited, and black elsewhere. "
            f"Received one that is {'white' if share else 'black'} all over"
        )
    return mask[..., 0]


def _size(path):
    from PIL import Image, ImageOps

    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).size


def test_images(config, count):
    """The first test images, and their labels.

    Args:
        config: an `Experiment`; the images come from where those of a report do.
        count: how many.

    Raises:
        ConnectionError: if the data are not there and cannot be fetched.
        UsageError: if there are fewer.
    """
    found = sources.load_labelled(sources.reported(config), "test", count)
    if len(found[0]) < count:
        raise UsageError(f"There are {len(found[0])} test images, not {count}.")
    return found


def configured(config, name):
    """A method by its name, with a progress bar; in a smoke run of few iterations.

    Args:
        config: an `Experiment`.
        name: of `de.METHODS`.
    """
    method = de.METHODS[name]()
    if isinstance(method, de.Hybrid):
        finish = _with_bar(config, de.METHODS[method.finish]())
        return dataclasses.replace(method, finish=finish)
    return _with_bar(config, method)


def _with_bar(config, method):
    options = {"progress": config.progress}
    if config.smoke and method.ticks > 1:
        options["num_steps"] = _FEW
    return dataclasses.replace(method, **options)


def unet(config):
    """The U-Net of the experiment as a method, or None without its weights; says so."""
    try:
        return de.Network("unet", de.load_embedder(config.name, "unet", config.weights))
    except FileNotFoundError as error:
        print(f"Left out: what the U-Net makes of images. {error}")
        return None


def unlikeness(generator, pixels, network):
    """By how much the U-Net fails to embed images: it has learnt those of its data only.

    Args:
        generator: a `Generator`.
        pixels: `(n, height, width, channels)`, clipped here.
        network: what `unet` gives.

    Returns:
        Mean squared error of each image, `(n,)`.
    """
    return de.embed(generator, np.clip(pixels, 0, 1), network).mse


def notes(config, command, **options):
    """How a result was made, for its JSON file.

    Args:
        config: an `Experiment`.
        command: what a user would type to repeat it.
        **options: those of the verb.
    """
    return {
        "options": results.plain(options),
        **results.provenance(config, command, "scikit-learn", "scipy", "pillow"),
    }
