"""Ten steps of every trainer by a strategy, as one of its workers.

`python training_workers.py OUT.npz STRATEGY FOLDER NAMES [DIES_AT]`: weights and losses of trainers
by name, with commas between; this worker dies at a step of the first. TensorFlow has two virtual
devices if the strategy is "mirrored"; JAX has those of `XLA_FLAGS`.
"""

import os
import signal
import sys
from pathlib import Path

if os.environ.get("KERAS_BACKEND") == "jax":
    sys.modules["tensorflow"] = None  # as if it were not installed

import numpy as np
import training_steps

import ddim_embed as de
from ddim_embed.backend import is_tensorflow
from ddim_embed.parallel import share

STEPS = 10
RUNS = {
    # Statistics of the batch, and a clipped gradient through the sampler.
    "embedder": lambda: training_steps.make_trainer("conv3_16", adapt_statistics=True),
    "denoiser": lambda: training_steps.make_denoiser("mean_squared_error", "velocity"),
    "autoencoder": training_steps.make_autoencoder,
    "encoder": training_steps.make_encoder_model,
    "delta": training_steps.make_delta_trainer,
}
PRIOR = {"hidden": 6, "depth": 2, "batch_size": 8, "validation_steps": 5, "progress": False}


ALL = ",".join([*RUNS, "prior"])


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def main(out, name, folder, names=ALL, dies_at=None):
    strategy, found = de.training_strategy(name), {}
    assert strategy.num_replicas == (1 if name == "one" else 2)
    (numbers,) = strategy.from_chief([np.arange(3) + strategy.worker])
    np.testing.assert_array_equal(numbers, np.arange(3))
    assert strategy.text_from_chief("é" * (1 + strategy.worker)) == "é"
    for name in names.split(","):
        if name == "prior":
            vectors = np.random.default_rng(0).normal(2, 3, (40, 3))
            folder_of_prior = Path(folder, name)
            prior, history = de.fit_prior(
                vectors, folder=folder_of_prior, num_steps=STEPS, strategy=strategy, **PRIOR
            )
            found["prior/losses"] = np.array([line["validation_loss"] for line in history])
            found["prior/weights"] = flat(prior.network.get_weights())
            continue

        def own_rows(step):
            for number, batch in enumerate(training_steps.batches(step), start=step):
                if dies_at is not None and number == int(dies_at):
                    os.kill(os.getpid(), signal.SIGKILL)
                yield batch[share(len(batch), *strategy.shard)]

        with strategy.scope():
            model = RUNS[name]()
        options = {"log_steps": 1, "progress": False, "checkpoint_seconds": -1}
        history = de.train(model, own_rows, STEPS, Path(folder, name), **options)
        found[f"{name}/weights"] = flat(model.get_weights())
        if strategy.is_chief:
            found[f"{name}/losses"] = np.array([line["loss"] for line in history])
    if strategy.is_chief:
        np.savez(out, **found)
    else:
        assert not Path(folder).exists(), "only the chief writes"


if __name__ == "__main__":
    if is_tensorflow() and sys.argv[2] == "mirrored":
        import tensorflow as tf

        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, devices)
    main(*sys.argv[1:])
