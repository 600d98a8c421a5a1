"""What the verbs that edit images have in common: images, methods, and the notes of a result."""

import dataclasses

import numpy as np

import ddim_embed as de
from experiments import results, sources
from experiments.configuration import UsageError
from experiments.missing import with_command

# Iterations of a smoke run.
_FEW = 2


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
        print(f"Left out: what the U-Net makes of images. {with_command(error)}")
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
