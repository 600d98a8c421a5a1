"""A convolutional classifier of images' attributes: a judge of edits that did not guide them."""

import keras
import numpy as np
from keras import ops

import ddim_embed as de
from ddim_embed.metrics.pixels import clipped_batches
from ddim_embed.training.loop import warmup_cosine
from ddim_embed.training.trained import TrainedModel
from experiments.toolkit import runs

_BATCH, _RATE, _WIDTHS, _FEATURES = 64, 2e-3, (32, 64, 128), 64


class JudgeModel(TrainedModel):
    """Trains a `FeatureClassifier` by the mean cross-entropy of independent attributes.

    Args:
        network: a `FeatureClassifier`, whose logits are those of k attributes.
        pixels: uint8 `(n, height, width, channels)`.
        labels: bool `(n, k)`.
        mirrored: whether half of the images of a batch are mirrored.

    `fit` takes batches of indices of images, float `(batch, 1)`; of mirrored ones from n on.
    """

    batch_parts = ("indices",)
    image_shape = (1,)

    def __init__(self, network, pixels, labels, mirrored=False):
        super().__init__(network)
        self.network = network
        if mirrored:
            pixels = np.concatenate([pixels, pixels[:, :, ::-1]])
            labels = np.concatenate([labels, labels])
        self._images = ops.convert_to_tensor(pixels), ops.convert_to_tensor(labels, "float32")
        self.loss_tracker = keras.metrics.Mean(name="loss", dtype="float32")
        self.built = True

    @property
    def trained(self):
        return self.network

    @property
    def constants(self):
        return self._images

    @property
    def metrics(self):
        return [self.loss_tracker]

    def check_values(self, values):
        """Indices are whatever `batches` draws."""

    def compute_losses(self, indices, seed, training, constants):
        chosen = ops.cast(indices[:, 0], "int32")
        pixels, labels = (ops.take(values, chosen, axis=0) for values in constants)
        logits = self.network(ops.cast(pixels, "float32") / 255, training=training)
        return ops.mean(keras.losses.binary_crossentropy(labels, logits, from_logits=True)), {}


def train(config, pixels, labels, steps, folder, identity):
    """Trains a classifier of attributes; a killed run resumes, a finished one is read.

    Args:
        config: the configuration, of seed, padding and mirroring.
        pixels: `(n, height, width, channels)` in [0, 1].
        labels: bool `(n, k)`.
        steps: training steps, of 64 images.
        folder: of the run.
        identity: what the images are.

    Returns:
        A `FeatureClassifier`.
    """
    network = de.FeatureClassifier(
        config.image_shape, labels.shape[1], _WIDTHS, _FEATURES, config.padding, config.seed
    )
    values = np.round(255 * pixels).astype(np.uint8)
    model = JudgeModel(network, values, labels, config.mirror)
    model.compile(keras.optimizers.Adam(warmup_cosine(_RATE, steps)))
    count = len(values) * (1 + config.mirror)

    def batches(step):
        while True:  # a function of the step alone, so that a resumed run sees the same
            random = np.random.default_rng([config.seed, step])
            yield random.integers(count, size=(_BATCH, 1)).astype(np.float32)
            step += 1

    identity = f"{identity}, seed {config.seed}"
    runs.run(config, model, batches, steps, folder, identity=identity, description="judge")
    return network


def logits(network, pixels):
    """Logits of attributes `(n, k)`; pixels are clipped."""
    parts = clipped_batches(np.asarray(pixels, np.float32), 256)
    return np.concatenate([network(part).numpy() for part in parts])
