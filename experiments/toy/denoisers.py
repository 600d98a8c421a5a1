"""Denoisers of points, as images of one pixel with two channels: a network, and a median."""

import itertools
import math
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import ddim_embed as de
from ddim_embed.networks.blocks import SinusoidalEmbedding
from ddim_embed.process import sampling

# Frequencies per unit of diffusion time; points need no finer ones.
_EMBEDDING = {"dims": 16, "min_frequency": 0.25, "max_frequency": 4.0}


class MLP(keras.Model):
    """A fully connected denoiser of single pixels.

    It predicts noises from `[noisy_images, noise_variances]`, of shapes `(batch, 1, 1, channels)`
    and `(batch, 1, 1, 1)`.
    """

    def __init__(self, channels=2, width=128, depth=3, **kwargs):
        super().__init__(**kwargs)
        self.channels, self.width, self.depth = channels, width, depth
        self.embedding = SinusoidalEmbedding(**_EMBEDDING)
        self.hidden = [keras.layers.Dense(width, activation="silu") for _ in range(depth)]
        self.output_layer = keras.layers.Dense(channels, kernel_initializer="zeros")
        units = channels + _EMBEDDING["dims"]
        for layer in [*self.hidden, self.output_layer]:
            layer.build((None, 1, 1, units))
            units = width
        self.built = True

    def call(self, inputs, training=None):
        noisy_images, noise_variances = inputs
        noise, signal = tf.sqrt(noise_variances), tf.sqrt(1 - noise_variances)
        angles = tf.atan2(noise, signal) * (2 / math.pi)
        x = tf.concat([noisy_images, self.embedding(angles)], axis=-1)
        for layer in self.hidden:
            x = layer(x)
        # The noise for Gaussian data of the same variance, plus a correction. Without the factor,
        # errors at t=1 are fifty times as large in the predicted image.
        return noise * noisy_images + signal * self.output_layer(x)

    def get_config(self):
        return {"channels": self.channels, "width": self.width, "depth": self.depth}


class _PointModel(de.DiffusionModel):
    """Learns points in model space, which are no pixels; its normaliser is the identity."""

    def check_batch(self, data):
        pass


def train(study, points, schedule, loss, seed, description):
    """Trains a network on points with the library's `DiffusionModel`.

    The points, `(n, 2)`, are in model space. Returns a denoiser, and the seconds of training.
    """
    keras.utils.set_random_seed(seed)
    network = MLP(width=study.width, depth=study.depth)
    model = _PointModel(network, schedule, ema=0.995, seed=seed, loss=loss)
    decay = keras.optimizers.schedules.CosineDecay(
        study.learning_rate, study.train_steps, alpha=0.01
    )
    model.compile(keras.optimizers.Adam(decay))
    images = points.astype(np.float32).reshape(-1, 1, 1, 2)

    def batches(step):
        for number in itertools.count(step):
            rng = np.random.default_rng((seed, number))
            yield tf.constant(images[rng.integers(len(images), size=study.batch_size)])

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        de.train(
            model,
            batches,
            study.train_steps,
            folder,
            description=description,
            progress=study.progress,
        )
    return network_denoiser(model.ema_network), time.perf_counter() - started


def network_denoiser(network):
    """Returns a network as a denoiser, traced once for all noise levels."""

    @tf.function(reduce_retracing=True, autograph=False)
    def predict(noisy_images, noise_variance):
        variances = tf.fill((tf.shape(noisy_images)[0], 1, 1, 1), noise_variance)
        return network([noisy_images, variances], training=False)

    def denoise(noisy_images, rates):
        return predict(noisy_images, tf.constant(rates.noise**2, noisy_images.dtype))

    return denoise


class MedianDenoiser:
    """Predicts the noise of least mean absolute error if the data are exactly these points.

    It is the median of each coordinate under the weights of `EmpiricalDenoiser`, the optimum of a
    network with the loss "mean_absolute_error". It has no gradient, and takes scalar rates.
    """

    def __init__(self, points):
        self._sorted = [points[np.argsort(points[:, axis])] for axis in (0, 1)]

    def __call__(self, noisy_images, rates):
        noisy = np.asarray(noisy_images, np.float64).reshape(-1, 2)
        medians = np.empty_like(noisy)
        for axis, points in enumerate(self._sorted):
            logits = rates.signal * noisy @ points.T - rates.signal**2 / 2 * (points**2).sum(1)
            logits /= rates.noise**2
            logits -= logits.max(axis=1, keepdims=True)
            shares = np.cumsum(np.exp(logits.astype(np.float32)), axis=1)  # twice as fast
            index = (shares < shares[:, -1:] / 2).sum(axis=1)
            medians[:, axis] = points[index, axis]
        pred_noises = (noisy - rates.signal * medians) / rates.noise
        return tf.constant(pred_noises.reshape(noisy_images.shape), noisy_images.dtype)


def trajectories(denoise, schedule, latents, num_steps):
    """Returns the states of latents `(n, 2)` at each step of the sampler.

    They are float64 `(num_steps + 1, n, 2)`: the latents, the noisy points of every step, and the
    last predicted image, the points on which they land.
    """
    visited = []

    def recorded(noisy_images, rates):
        visited.append(noisy_images)
        return denoise(noisy_images, rates)

    images = tf.constant(np.reshape(latents, (-1, 1, 1, 2)), tf.float32)
    visited.append(sampling.sample(recorded, schedule, images, num_steps))
    return np.array([step.numpy().reshape(-1, 2) for step in visited], np.float64)
