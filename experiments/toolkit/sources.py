"""What experiments read: images of their data, and the weights that are shipped for them."""

import contextlib
import dataclasses

import ddim_embed as de
from experiments.configuration import UsageError


def load_generator(config, precision="float32", **options):
    """The experiment's generator.

    Args:
        config: an `Experiment`.
        precision, **options: as for `de.load_generator`.

    Raises:
        UsageError: if it makes images of another shape than the experiment's.
        FileNotFoundError: if there is none.
    """
    options = {"num_steps": config.num_steps, "precision": precision, **options}
    generator = de.load_generator(config.name, config.weights, **options)
    if generator.image_shape != config.image_shape:
        shapes = ["x".join(map(str, one.image_shape)) for one in (generator, config)]
        raise UsageError(
            f"--image-size and --channels must be those of the generator {config.name}, which "
            f"makes images of {shapes[0]}. Received: {shapes[1]}"
        )
    return generator


def load_classifier(config):
    """The feature classifier of the experiment's data, or None if there is none for such images."""
    try:
        classifier = de.load_feature_classifier(config.name, config.weights)
    except FileNotFoundError:
        return None
    return classifier if classifier.image_shape == config.image_shape else None


def load(config, split, limit=None):
    """Pixels of the experiment's data, without labels; raises as `load_labelled` does."""
    return load_labelled(config, split, limit)[0]


def load_labelled(config, split, limit=None):
    """Pixels and labels of the experiment's data.

    Raises:
        UsageError: for data that the flags name and `load_images` refuses.
        ConnectionError: if they are not there and cannot be fetched.
    """
    with _refusals_in_words():
        return de.load_images(
            config.data,
            part(config, split),
            image_size=config.image_size,
            source=config.source,
            limit=limit,
            channels=config.channels,
        )


def reported(config):
    """The configuration whose `source` is that of the images that results are reported on."""
    return dataclasses.replace(config, source=config.report_source or config.source)


def stream(config, batch_size, start_step):
    """Batches of training pixels from step `start_step` on; raises as `load` does."""
    with _refusals_in_words():
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
        )


@contextlib.contextmanager
def _refusals_in_words():
    """What the library refuses of what the flags name is a `UsageError`."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def part(config, split):
    """The bundled sample has test images only; a smoke run makes do with them."""
    return "test" if config.smoke else split
