"""The way through a U-Net, the same for networks that train and for frozen ones."""

from keras import ops

from ddim_embed.networks.kernels import upsample


def walk_down(levels, x, run):
    """The lower half of a U-Net: down to the bottleneck and through it.

    Args:
        levels: `(down, middle, up)`, as `UNet.levels`.
        x: `(batch, height, width, channels)`.
        run: `run(block, x)`, the output of a block.

    Returns:
        h, the output of the last middle block, and the list of skips, the first one first.
    """
    down, middle, _ = levels
    skips = []
    for blocks in down:
        for block in blocks:
            x = run(block, x)
            skips.append(x)
        x = ops.average_pool(x, 2, 2, "valid", data_format="channels_last")
    for block in middle:
        x = run(block, x)
    return x, skips


def walk_up(levels, h, skips, run):
    """The upper half of a U-Net: up from the bottleneck, each block joined by its skip.

    Args:
        levels, run: as for `walk_down`.
        h, skips: what `walk_down` returns; the skips stay as they are.

    Returns:
        `(batch, height, width, channels)` of the last block.
    """
    skips = list(skips)
    for blocks in levels[2]:
        h = upsample(h)
        for block in blocks:
            h = run(block, ops.concatenate([h, skips.pop()], axis=-1))
    return h
