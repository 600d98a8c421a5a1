"""Images, masks, methods and the provenance of the verbs that edit images."""

import dataclasses

import numpy as np

import ddim_embed as de
from ddim_embed.data import crop_padding
from experiments.toolkit import results, sources
from experiments.toolkit.command_line import UsageError

# Iterations of a smoke run.
_FEW = 2


def read(generator, files, channels=None):
    """Reads image files for a generator.

    Args:
        generator: a `Generator`.
        files: paths; each image is cropped to its centre, resized, and padded as the data are.
        channels: number of channels; None for the generator's.

    Returns:
        Pixels, float32 `(n, height, width, channels)`.

    Raises:
        FileNotFoundError: if a file cannot be read; says which, and why.
    """
    height, width, own = generator.image_shape
    shape = (height, width, channels or own)
    pixels, _, problems = de.read_image_files(files, shape, generator.padding)
    if problems:
        words = "; ".join(f"{path}: {reason}" for path, reason in problems)
        raise FileNotFoundError(f"Not all files can be read as images. {words}")
    return pixels


def read_mask(generator, file, image):
    """Reads a mask, cropped and resized as its image: white, or transparent, is free.

    Args:
        generator: a `Generator`.
        file: path of the mask.
        image: path of the image that it belongs to.

    Returns:
        bool `(1, height, width)`, True where pixels are free; the padding is not.

    Raises:
        FileNotFoundError: if a file cannot be read.
        UsageError: if its aspect ratio is not the image's, so that it would be cropped differently;
            or if it is all white or all black.
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
    """Loads the first test images and their labels.

    Args:
        config: an `Experiment`; the images come from the source of those of a report.
        count: number of images.

    Raises:
        ConnectionError: if the data are missing and cannot be downloaded.
        UsageError: if there are fewer images.
    """
    pixels, labels = sources.load_labelled(sources.reported(config), "test", count)
    if len(pixels) < count:
        raise UsageError(f"There are {len(pixels)} test images, not {count}.")
    return pixels, labels


def configured(config, name):
    """Returns a method with a progress bar; in a smoke run, with few iterations.

    Args:
        config: an `Experiment`.
        name: a name of `de.METHODS`.
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
    """Returns the U-Net of the experiment as a method; None, with a message, without weights."""
    try:
        return de.Network("unet", de.load_embedder(config.name, "unet", config.weights))
    except FileNotFoundError as error:
        print(f"Left out: the U-Net. {error}")
        return None


def unlikeness(generator, pixels, network):
    """Returns the error of embedding images with the U-Net, which has learnt its data only.

    Args:
        generator: a `Generator`.
        pixels: `(n, height, width, channels)`, clipped here.
        network: the result of `unet`.

    Returns:
        Mean squared error of each image, `(n,)`.
    """
    return de.embed(generator, np.clip(pixels, 0, 1), network).mse


def provenance(verb):
    """Returns how the result of a verb was made, with the verb's options, for its JSON file."""
    packages = ("scikit-learn", "scipy", "pillow")
    return {"options": verb.options} | results.provenance(verb.config, verb.command, *packages)
