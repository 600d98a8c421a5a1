"""Random weights of trained-like size: for tests, whatever backend they run on, and benchmarks."""

import numpy as np


def set_random_weights(model, seed=0):
    """Gives a model weights of trained-like size, the same on every machine; returns the model.

    Kernels keep the scale of their input; BatchNorm's and the normaliser's statistics, biases and
    the output convolution are not what they were initialised to.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name.endswith("variance"):
            values = rng.uniform(0.5, 1.5, weight.shape)
        elif weight.name == "kernel":
            values = rng.normal(size=weight.shape) / np.sqrt(np.prod(weight.shape[:-1]))
        else:
            values = rng.normal(size=weight.shape) * 0.2
        weight.assign(values)
    return model
