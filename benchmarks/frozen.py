"""Decoding by frozen networks against the same networks evaluated as they are, in turn.

python -m benchmarks.frozen --size 32x32x1 --rounds 5
"""

import dataclasses
import statistics
import time

import keras
import numpy as np
import tyro

import ddim_embed as de
from benchmarks.work import NUM_STEPS, SIZES

DIMS = 128  # of semantic vectors


@dataclasses.dataclass(frozen=True)
class Options:
    """What to time.

    Attributes:
        size: of networks and images.
        batch: images at a time.
        steps: of the sampler, each a copy of the network to compile.
        rounds: turns that each contender gets.
        names: of the networks.
        precision: of the convolutions.
    """

    size: str = "32x32x1"
    batch: int = 16
    steps: int = NUM_STEPS
    rounds: int = 5
    names: tuple[str, ...] = ("UNet", "ModulatedUNet", "AdaptiveUNet")
    precision: str = "float32"


class AsItIs(keras.Model):
    """A network without its `freeze`."""

    def __init__(self, network):
        super().__init__(autocast=False)
        self.network = network

    def call(self, inputs, training=None):
        return self.network(inputs, training=training)


def make(name, size, precision):
    """A network by its name, and whether it takes a semantic vector."""
    sizes = {"channels": size.channels, "widths": size.widths, "block_depth": size.block_depth}
    sizes["dtype"] = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
    if name == "UNet":
        return de.UNet(**sizes), False
    if name == "ModulatedUNet":
        return de.ModulatedUNet(DIMS, **sizes), True
    return de.AdaptiveUNet(DIMS, image_size=size.image_size, **sizes), True


def seconds_of(network, semantic, size, options):
    """Seconds of each decode: frozen, and as it is."""
    calls = []
    for each in (network, AsItIs(network)):
        generator = de.Generator(
            each,
            process=de.Process(num_steps=options.steps),
            image_shape=size.image_shape,
            precision=options.precision,
        )
        given = generator.given(semantic)
        latents = generator.latents(options.batch)
        calls.append(lambda given=given, latents=latents: np.asarray(given.decode(latents)))
    seconds = [[], []]
    for number in range(options.rounds + 1):
        for taken, call in zip(seconds, calls, strict=True):
            started = time.perf_counter()
            call()
            if number:  # the first one compiles
                taken.append(time.perf_counter() - started)
    return seconds


def main(options):
    """Prints images per second."""
    de.use_one_core_per_operation()
    size = SIZES[options.size]
    for name in options.names:
        network, conditional = make(name, size, options.precision)
        kernel = network.output_conv.kernel  # zeros would be nothing to normalise
        kernel.assign(0.02 * np.random.default_rng(0).normal(size=kernel.shape))
        semantic = np.random.default_rng(1).normal(size=(options.batch, DIMS)).astype(np.float32)
        frozen, plain = seconds_of(network, semantic if conditional else None, size, options)
        rates = [options.batch / statistics.median(taken) for taken in (frozen, plain)]
        print(
            f"{options.size} {options.precision} {name:14}{rates[0]:7.1f} images/s frozen,"
            f"{rates[1]:7.1f} as it is: {rates[0] / rates[1]:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
