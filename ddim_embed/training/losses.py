"""The losses of images: functions from errors `(batch, height, width, channels)` to a scalar."""

from keras import ops

from ddim_embed import arguments

# So that an image without an error has a gradient.
_TINY = 1e-12

# What a denoiser can best predict under each of the first two is the median and the mean of what it
# does not see; only the mean is that of the probability flow which DDIM discretises. In the second,
# few bad images outweigh the others; the third weighs all images alike.
LOSSES = {
    "mean_absolute_error": lambda errors: ops.mean(ops.abs(errors)),
    "mean_squared_error": lambda errors: ops.mean(ops.square(errors)),
    "root_mean_square": lambda errors: ops.mean(
        ops.sqrt(ops.mean(ops.square(errors), axis=(1, 2, 3)) + _TINY)
    ),
}
DENOISER_LOSSES = ("mean_absolute_error", "mean_squared_error")


def get_loss(name, names=tuple(LOSSES)):
    """Looks a loss up by its name.

    Raises:
        ValueError: if the name is not one of `names`.
    """
    return LOSSES[arguments.choice("loss", name, names)]
