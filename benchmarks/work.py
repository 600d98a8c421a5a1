"""The pieces of work that are timed, and the sizes they are timed at.

Every contender is a module with `make(piece, size, batch, precision)`, which returns a function of
no arguments that does the piece once, for a whole batch, and returns when it is done.
"""

import dataclasses

PIECES = ("decode", "gradient", "embedder_step", "denoiser_step")
PRECISIONS = ("float32", "bfloat16")
NUM_STEPS = 10
# Of an autoencoder, whose training step is timed on a GPU alone.
SEMANTIC_DIMS = 256


@dataclasses.dataclass(frozen=True)
class Size:
    """A U-Net and its images."""

    image_size: int
    channels: int
    widths: tuple[int, ...]
    block_depth: int
    batches: tuple[int, ...]

    @property
    def image_shape(self):
        """(height, width, channels)."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def encoder_widths(self):
        """Channels per level of an autoencoder's encoder."""
        return (32, 64, 96, 128, SEMANTIC_DIMS)


SIZES = {
    "32x32x1": Size(32, 1, (32, 64, 96, 128), 2, batches=(16, 32)),
    "64x64x3": Size(64, 3, (48, 96, 192, 384), 2, batches=(4, 8)),
}


def convolutions(size):
    """The convolutions of one evaluation of the denoiser, frozen: time embedding folded away.

    Args:
        size: a `Size`.

    Returns:
        List of (kernel size, height and width, channels in, channels out).
    """
    depth, widths = size.block_depth, size.widths
    shapes = [(1, size.image_size, size.channels, widths[0])]

    def block(pixels, before, after):
        if before != after:
            shapes.append((1, pixels, before, after))
        shapes.extend([(3, pixels, before, after), (3, pixels, after, after)])
        return after

    channels, pixels = widths[0], size.image_size
    for level, width in enumerate(widths[:-1]):
        for i in range(depth):
            channels = block(pixels, channels, width)
            if level == i == 0:  # the folded channels still leave their 1x1 convolution behind
                shapes.append((1, pixels, widths[0], width))
        pixels //= 2
    for _ in range(depth):
        channels = block(pixels, channels, widths[-1])
    for width in reversed(widths[:-1]):
        pixels *= 2
        for _ in range(depth):
            channels = block(pixels, channels + width, width)
    shapes.append((1, size.image_size, channels, size.channels))
    return shapes
