"""Images, masks, methods and the provenance of the verbs that edit images."""

import dataclasses

import numpy as np

import ddim_embed as de
from experiments.toolkit import results, sources
from experiments.toolkit.command_line import UsageError

# Iterations of a smoke run.
_FEW = 2


def test_images(config, count):
    """Loads the first test images, from the source of a report's, and their labels."""
    pixels, labels = sources.load_labelled(sources.reported(config), "test", count)
    if len(pixels) < count:
        raise UsageError(f"There are {len(pixels)} test images, not {count}.")
    return pixels, labels


def configured(config, name):
    """Returns a method of `de.METHODS` with a progress bar; in a smoke run, with few iterations."""
    method = de.METHODS[name]()
    if isinstance(method, de.Hybrid):
        return dataclasses.replace(method, finish=configured(config, method.finish))
    few = {"num_steps": _FEW} if config.smoke and method.ticks > 1 else {}
    return dataclasses.replace(method, progress=config.progress, **few)


def without_progress(method):
    """Returns a method without its progress bar: chunks have one, and workers need none."""
    if isinstance(method, de.Hybrid):
        method = dataclasses.replace(method, finish=without_progress(method.finish))
    return dataclasses.replace(method, progress=False)


def unet(config):
    """Returns the U-Net of the experiment as a method; None, with a message, without weights."""
    with sources.left_out_without_weights("the U-Net"):
        return de.Network("unet", de.load_embedder(config.name, "unet", config.weights))


def unlikeness(generator, pixels, network):
    """Returns the U-Net's mean squared error of each image: it has learnt its data only."""
    return de.embed(generator, np.clip(pixels, 0, 1), network).mse


def provenance(verb):
    """Returns how the result of a verb was made, with the verb's options, for its JSON file."""
    packages = ("scikit-learn", "scipy", "pillow")
    return {"options": verb.options} | results.provenance(verb.config, verb.command, *packages)
