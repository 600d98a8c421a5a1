"""What a denoiser's network predicts: the noise, as in the paper, or the velocity.

At high noise rates an image is predicted from the noise by dividing by a small signal rate, 0.02 at
t=1: what the network leaves of an error in the noise is fifty times as large in the image. The
velocity (Salimans and Ho, 2022), signal * noises - noise * images, is the derivative of the noisy
image by the angle of its rates. The noise that follows from it is exact where the image hardly
shows, and so is the first step of the sampler.
"""

from ddim_embed import arguments


def noises_from(prediction, outputs, noisy_images, rates):
    """The noises that the outputs of a network imply.

    Args:
        prediction: a name of `PREDICTIONS`.
        outputs: float, `(batch, height, width, channels)`, of the network.
        noisy_images: same shape; what it was asked about.
        rates: `Rates`, each broadcastable to `(batch, 1, 1, 1)`.

    Returns:
        `pred_noises`, same shape.
    """
    if prediction == "noise":
        return outputs
    return rates.noise * noisy_images + rates.signal * outputs


def targets_of(prediction, images, noises, rates):
    """What a network ought to predict.

    Args:
        prediction: a name of `PREDICTIONS`.
        images: float, `(batch, height, width, channels)`, model space, clean.
        noises: same shape.
        rates: `Rates`, each broadcastable to `(batch, 1, 1, 1)`.

    Returns:
        The targets, same shape.
    """
    if prediction == "noise":
        return noises
    return rates.signal * noises - rates.noise * images


PREDICTIONS = ("noise", "velocity")


def check_prediction(name):
    """Returns `name` if it is one of `PREDICTIONS`.

    Raises:
        ValueError: if it is not.
    """
    return arguments.choice("prediction", name, PREDICTIONS)
