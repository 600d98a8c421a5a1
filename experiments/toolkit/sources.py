"""Images and weights of an experiment."""

import contextlib
import dataclasses

import ddim_embed as de
from ddim_embed.data.attributes import name_attributes
from ddim_embed.data.loading import resolve
from experiments.toolkit.command_line import UsageError, with_command


def load_generator(config, precision="float32", **options):
    """Loads the experiment's generator, which must make images of the experiment's shape."""
    options = {"num_steps": config.num_steps, "precision": precision, **options}
    return _fitting(config, "generator", de.load_generator(config.name, config.weights, **options))


def load_autoencoder(config, **options):
    """Loads the experiment's diffusion autoencoder, for images of the experiment's shape."""
    options = {"num_steps": config.num_steps, **options}
    autoencoder = de.load_autoencoder(config.name, config.weights, **options)
    return _fitting(config, "autoencoder", autoencoder)


def _fitting(config, kind, model):
    if model.image_shape != config.image_shape:
        shapes = ["x".join(map(str, one.image_shape)) for one in (model, config)]
        raise UsageError(
            f"--image-size and --channels must be those of the {kind} {config.name}, which "
            f"makes images of {shapes[0]}. Received: {shapes[1]}"
        )
    return model


def load_classifier(config):
    """Loads the feature classifier of the experiment's data; None without one of its shape."""
    try:
        classifier = de.load_feature_classifier(config.name, config.weights)
    except FileNotFoundError:
        return None
    return classifier if classifier.image_shape == config.image_shape else None


def load(config, split, limit=None):
    """Loads pixels of the experiment's data."""
    return load_labelled(config, split, limit)[0]


def load_labelled(config, split, limit=None):
    """Loads pixels and labels of the experiment's data."""
    with _usage_errors():
        return de.load_images(
            config.data,
            part(config, split),
            image_size=config.image_size,
            source=config.source,
            limit=limit,
            channels=config.channels,
        )


def load_with_attributes(config, split, limit=None):
    """Loads pixels of the experiment's data, names of attributes, and labels, bool `(n, k)`."""
    pixels, labels = load_labelled(config, split, limit)
    with _usage_errors():
        source, where = resolve(config.data, part(config, split), config.source)
        return pixels, *name_attributes(labels, source, where)


def reported(config):
    """Returns the configuration whose `source` is that of the images of a report."""
    return dataclasses.replace(config, source=config.report_source or config.source)


def stream(config, batch_size, start_step):
    """Yields batches of training pixels from step `start_step` on."""
    with _usage_errors():
        return de.stream_images(
            config.data,
            part(config, "train"),
            batch_size,
            image_size=config.image_size,
            source=config.source,
            channels=config.channels,
            seed=config.seed,
            start_step=start_step,
            mirror=config.mirror,
            shard=de.training_strategy(config.strategy).shard,
        )


@contextlib.contextmanager
def _usage_errors():
    """Turns a ValueError of the library about values of the flags into a `UsageError`."""
    try:
        yield
    except MemoryError:
        raise  # some are a ValueError, too
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def left_out_without_weights(words):
    """Leaves out what needs missing weights, with a message that says how to make them."""
    try:
        yield
    except FileNotFoundError as error:
        print(f"Left out: {words}. {with_command(error)}")


def part(config, split):
    """Returns the split to load: a smoke run has test images only, those of the bundled sample."""
    return "test" if config.smoke else split
