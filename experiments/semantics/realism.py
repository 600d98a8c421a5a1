"""How real images look: a classifier that tells images from the same images, damaged.

Judges of attributes are content with a smile that is pasted over a mouth, and with a smeared face.
This score is trained on such damages of training images, and on none of the edits it is used for.
"""

import numpy as np

from ddim_embed.metrics import ranking
from experiments.toolkit import judge, results

# The share of images of either kind that are blurred as a whole, and by how many pixels at most:
# generated images are a little smoother than real ones, and that is not the damage it looks for.
_BLURRED, _BLUR = 0.5, 0.8
# Images whose means make an overlay.
_GROUPS = 8, 64


def damage(pixels, kind, seed=0):
    """Damages images, each in its own way.

    Args:
        pixels: `(n, height, width, channels)` in [0, 1].
        kind: of `DAMAGES`.
        seed: integer.

    Returns:
        float32 array of the shape of `pixels`, clipped.
    """
    random = np.random.default_rng(seed)
    damaged = [DAMAGES[kind](random, image, pixels) for image in pixels]
    return np.clip(np.stack(damaged), 0, 1).astype(np.float32)


def _overlay(random, image, pixels):
    """The difference of the means of two groups of images, added everywhere."""
    most = min(_GROUPS[1], max(1, len(pixels) // 2))
    count = random.integers(min(_GROUPS[0], most), most + 1)
    plus, minus = (pixels[random.integers(len(pixels), size=count)].mean(axis=0) for _ in "+-")
    difference = plus - minus
    # As strong as the difference of two dozen images, whatever the number.
    return image + random.uniform(0.5, 1.5) * difference * np.sqrt(count / 24)


def _paste(random, image, pixels):
    """A part of another image, a few pixels off its place."""
    other = pixels[random.integers(len(pixels))]
    return _within(random, image, _moved(random, other, 0.08))


def _ghost(random, image, pixels):
    """A part seen double."""
    return _within(random, image, (image + _moved(random, image, 0.12, 0.04)) / 2)


def _smear(random, image, pixels):
    """A part blurred, by more in one direction than in the other."""
    from scipy.ndimage import gaussian_filter

    side = image.shape[0]
    sigma = side * random.uniform(0.01, 0.08, size=2)
    return _within(random, image, gaussian_filter(image, (*sigma, 0), mode="nearest"))


def _warp(random, image, pixels):
    """A part whose pixels are moved, neighbours by nearly the same."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    side = image.shape[0]
    field = random.normal(size=(2, side, side))
    field = gaussian_filter(field, (0, side / 10, side / 10), mode="nearest")
    field *= side * random.uniform(0.06, 0.12) / np.abs(field).max()
    places = np.indices((side, side)) + field
    channels = [map_coordinates(c, places, order=1, mode="nearest") for c in image.T]
    # Images are transposed on the way in, and on the way back.
    return _within(random, image, np.stack(channels).T)


DAMAGES = {
    "overlay": _overlay, "paste": _paste, "ghost": _ghost, "smear": _smear, "warp": _warp,
}  # fmt: skip


def _moved(random, image, most, least=0.0):
    """The image moved by a share of its side in each direction."""
    side = image.shape[0]
    steps = random.uniform(least, most, size=2) * random.choice([-1, 1], size=2) * side
    return np.roll(image, np.rint(steps).astype(int), axis=(0, 1))


def _within(random, image, changed):
    """The image, changed within an ellipse with a soft border, near the centre."""
    side = image.shape[0]
    centre = side * random.uniform(0.3, 0.75, size=2)
    radii = side * random.uniform(0.1, 0.25, size=2)
    rows, columns = np.indices((side, side))
    distance = np.hypot((rows - centre[0]) / radii[0], (columns - centre[1]) / radii[1])
    mask = np.clip((1.25 - distance) / 0.5, 0, 1)[..., None]
    return image + mask * (changed - image)


def train(config, pixels, steps, folder, identity):
    """Trains the score on training images and on as many damaged ones.

    Args:
        config: the configuration, of seed, padding and mirroring.
        pixels: `(n, height, width, channels)` in [0, 1].
        steps: training steps, of 64 images.
        folder: of the run.
        identity: what the images are.

    Returns:
        A `FeatureClassifier` with one logit.
    """
    order = np.random.default_rng(config.seed).permutation(len(pixels))
    parts = np.array_split(order, len(DAMAGES))
    parts = [part for part in parts if len(part)]
    damaged = [
        damage(pixels[part], kind, config.seed + i)
        for i, (kind, part) in enumerate(zip(DAMAGES, parts, strict=False))
    ]
    both = _blurred(np.concatenate([pixels, *damaged]), config.seed)
    labels = np.arange(len(both))[:, None] < len(pixels)
    return judge.train(config, both, labels, steps, folder, f"{identity}, damaged")


def _blurred(pixels, seed):
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng([seed, 1])
    blurs = random.uniform(0, _BLUR, len(pixels)) * (random.uniform(size=len(pixels)) < _BLURRED)
    return np.stack(
        [gaussian_filter(x, (s, s, 0)) if s else x for x, s in zip(pixels, blurs, strict=True)]
    )


def score(network, pixels):
    """The logit that images are not damaged, float64 `(n,)`; pixels are clipped."""
    return judge.logits(network, pixels)[:, 0].astype(np.float64)


def measure(network, pixels, seed):
    """How well the score tells images that it was not trained on from damaged ones.

    Returns:
        Dict from the kind of damage to the AUROC, and `sound`, the scores' estimate.
    """
    sound = score(network, pixels)
    found = {"sound": results.estimate(sound), "auroc": {}}
    labels = np.arange(2 * len(pixels)) < len(pixels)
    for i, kind in enumerate(DAMAGES):
        broken = score(network, damage(pixels, kind, seed + 100 + i))
        found["auroc"][kind] = float(ranking.auroc(np.concatenate([sound, broken]), labels))
    return found
