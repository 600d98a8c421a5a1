"""Generators whose network is a `UNet`: built from plain options, and loaded by name."""

from collections.abc import Sequence
from pathlib import Path

import keras

from ddim_embed import arguments
from ddim_embed.generator.generator import Generator
from ddim_embed.networks.blocks import ATTENTIONS, dtype_policy
from ddim_embed.networks.embedders import UNET_SIZES, load_embedder, unet_size
from ddim_embed.networks.unet import UNet
from ddim_embed.process.predictions import PREDICTIONS
from ddim_embed.process.process import Process
from ddim_embed.process.sampling import LAST_STEPS
from ddim_embed.process.schedules import SCHEDULES, get_schedule, schedule_to_config
from ddim_embed.store.schema import integer, integers, one_of
from ddim_embed.store.weights import find_weights, load_recorded

# What `generator_config` puts into a record. No key has a default: with another value the same
# weights make other images.
_CONFIG = {
    "image_shape": integers(1, 2**15, 3, 3),
    "widths": UNET_SIZES["widths"],
    "block_depth": UNET_SIZES["block_depth"],
    "attention": one_of([None, *ATTENTIONS]),
    "schedule": one_of(SCHEDULES),
    "last_step": one_of(LAST_STEPS),
    "padding": integer(0, 2**14),
    "prediction": one_of(PREDICTIONS),
}


def generator_kinds() -> dict:
    """What a record must say of a generator, for the records of what contains one."""
    return dict(_CONFIG)


def build_generator(
    image_shape: Sequence[int] = (32, 32, 1),
    widths: Sequence[int] = (32, 64, 96, 128),
    block_depth: int = 2,
    attention: str | None = None,
    schedule: str = "continuous_cosine",
    num_steps: int = 10,
    last_step: str = "predicted_image",
    precision: str = "float32",
    padding: int = 0,
    prediction: str = "noise",
) -> Generator:
    """A generator of Asperti et al., with random weights.

    Args:
        image_shape: (height, width, channels) of pixels and of latents.
        widths, block_depth, attention: sizes of the denoiser, as for `UNet`.
        schedule, num_steps, last_step, prediction: as for `Process`.
        precision, padding: as for `Generator`.

    Returns:
        A `Generator`.

    Raises:
        ValueError: for options that `UNet`, `Process` or `Generator` refuses.

    Example:
        >>> de.build_generator((16, 16, 3), widths=(8, 16)).image_shape
        (16, 16, 3)
    """
    image_shape = arguments.integers("image_shape", image_shape, count=3)
    process = Process(schedule, num_steps, last_step, prediction)
    network = UNet(image_shape[-1], widths, block_depth, attention, dtype="float32")
    return Generator(
        network, process=process, image_shape=image_shape, precision=precision, padding=padding
    )


def generator_config(generator) -> dict:
    """The options of `build_generator` that are recorded with a generator's weights.

    Raises:
        ValueError: if the schedule has no name of `SCHEDULES`, by which it would be found.
    """
    network, schedule = generator.network, schedule_to_config(generator.schedule_name)
    get_schedule(schedule)
    return {
        "image_shape": generator.image_shape,
        "widths": network.widths,
        "block_depth": network.block_depth,
        "attention": getattr(network, "attention", None),
        "schedule": schedule,
        "last_step": generator.last_step,
        "padding": generator.padding,
        "prediction": generator.prediction,
    }


def load_generator(
    name: str,
    root: str | Path | None = None,
    num_steps: int = 10,
    precision: str = "float32",
    last_step: str | None = None,
) -> Generator:
    """Loads a trained generator.

    Args:
        name: data set, a folder of `weights/`.
        root: folder of weights; by default the shipped one (see `weights.weights_root`).
        num_steps: sampler steps of a decode.
        precision: "float32" or "bfloat16", of the convolutions.
        last_step: "predicted_image" or "transfer", as for `sampling.sample`; None for that which
            the weights were recorded with.

    Returns:
        A `Generator`.

    Raises:
        FileNotFoundError: if there are no such weights; says which there are.
        ValueError: if the file is not what its record says, or for options that `Generator`
            refuses.

    Example:
        >>> generator = de.load_generator("fashion_mnist")
        >>> generator.sample(2, seed=1).shape
        (2, 32, 32, 1)
    """
    options = sampler_options(num_steps, precision, last_step)
    generator, _, _ = load_recorded(
        lambda config: build_generator(**config | options),
        _CONFIG,
        name,
        "generator",
        root,
        least_size=unet_size,
    )
    generator.files = GeneratorFiles(name, root)
    return generator


def sampler_options(num_steps, precision, last_step) -> dict:
    """What a user asks for beside what a record says; None leaves `last_step` to the record.

    Raises:
        ValueError: for values that cannot be; what is refused after that is the record's.
    """
    dtype_policy(precision)
    Process(num_steps=num_steps, last_step=LAST_STEPS[0] if last_step is None else last_step)
    options = {"num_steps": num_steps, "precision": precision}
    return options if last_step is None else options | {"last_step": last_step}


class GeneratorFiles:
    """Where a generator's weights came from, and the embedding networks beside them.

    Args:
        dataset, root: `name` and `root` of `load_generator`.
    """

    def __init__(self, dataset, root):
        self.dataset, self.root = dataset, root
        self._embedders = {}  # name -> (checksum, network)

    def __reduce__(self):
        return GeneratorFiles, (self.dataset, self.root)

    def checksum(self, network: str) -> str:
        """The checksum of an embedding network's file; raises as `load_embedder`."""
        return find_weights(self.dataset, network, self.root)[1]["sha256"]

    def embedder(self, network: str) -> keras.Model:
        """An embedding network, loaded once for each checksum; raises as `load_embedder`."""
        checksum = self.checksum(network)
        if self._embedders.get(network, (None,))[0] != checksum:
            self._embedders[network] = checksum, load_embedder(self.dataset, network, self.root)
        return self._embedders[network][1]
