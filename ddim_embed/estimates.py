"""What work takes at the least, from its sizes alone: it is refused before it starts.

The numbers are lower bounds, so that nothing is refused that would have fitted.
"""

import math
import os
import shutil
from pathlib import Path

from ddim_embed.memory import NotEnoughMemoryError, require_memory

_FLOAT = 4
# Latents, pixels and what is made of them.
_COPIES = 4
# Measured on a CPU: the copy of the network that a compiled decode has for each step (2.5 MiB), and
# a residual block of a compiled training step (4 MiB).
_STEP, _BLOCK = 2 * 2**20, 2**20
# Weights, their average and gradient, and two moments.
_TRAINED = 5


def require_decodes(count: int, image_shape: tuple, num_steps: int, copies: int = 1):
    """Raises a `NotEnoughMemoryError` unless images can be held, and decoded in `num_steps`.

    Args:
        count: images that are held at once.
        image_shape: their (height, width, channels).
        num_steps: sampler steps.
        copies: sets of them.
    """
    require_memory(num_steps * _STEP, f"{num_steps:,} sampler steps")
    size = "x".join(map(str, image_shape))
    needed = count * copies * math.prod(image_shape) * _FLOAT * _COPIES
    require_memory(needed, f"{count * copies:,} images of {size}")


def require_training(widths: tuple, block_depth: int, image_shape: tuple, batch_size: int):
    """Raises a `NotEnoughMemoryError` unless a U-Net of these sizes can be trained.

    Args:
        widths, block_depth: as for `UNet`.
        image_shape: (height, width, channels).
        batch_size: images in a step.
    """
    blocks = 2 * block_depth * len(widths)
    size = f"--widths {' '.join(map(str, widths))} and --block-depth {block_depth}"
    require_memory(blocks * _BLOCK, f"a network of {size}")
    # A block has two convolutions of 3x3, the first one of twice the channels on the way up.
    weights = sum(block_depth * (2 + 3) * 9 * width**2 for width in widths)
    require_memory(_TRAINED * _FLOAT * weights, f"a network of {size}")
    height, width, _ = image_shape
    activations = sum(
        2 * block_depth * (height >> level) * (width >> level) * channels
        for level, channels in enumerate(widths)
    )
    images = f"a step with {batch_size:,} images of {height}x{width} and {size}"
    require_memory(batch_size * activations * _FLOAT, images)


def require_disk(folder: str | Path, needed: int, what: str):
    """Raises a `NotEnoughMemoryError` unless the disk of a folder has `needed` bytes left."""
    folder = Path(folder).absolute()
    existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise NotEnoughMemoryError(
            f"There is not enough space in {folder} for {what}: it takes about "
            f"{needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free."
        )
