"""The verb `train-autoencoder`: encoder and decoder, from a generator or from nothing."""

from pathlib import Path
from typing import NamedTuple

import keras

import ddim_embed as de
from ddim_embed.autoencoder.pretrained import autoencoder_config
from ddim_embed.backend import is_tensorflow
from ddim_embed.networks.blocks import dtype_policy
from ddim_embed.store.outputs import require_folder
from ddim_embed.store.weights import find_weights, weights_root
from ddim_embed.training.loop import warmup_cosine
from ddim_embed.training.optimizers import PartwiseAdam
from experiments.toolkit import runs, sources
from experiments.toolkit.results import finite

# Statistics of that many images are the data set's, for all that float32 can tell.
_NORMALIZER_IMAGES = 60_000
# Those of the vectors, whose deviations are known to a percent then.
_ADAPTED_IMAGES = 10_000


class Fitted(NamedTuple):
    """A trained autoencoder, what was spent on it, for its record, and the folder of the run."""

    autoencoder: de.Autoencoder
    budget: dict
    folder: Path


def train_autoencoder(verb):
    """Trains encoder and decoder and records their weights; returns their path.

    Of several workers the chief records; the others return None.
    """
    config = verb.config
    require_folder(weights_root(config.weights), "--weights")
    folder = config.run_folder / f"autoencoder-from-{verb.start}"
    if config.further and (path := runs.recorded_before(config, "autoencoder", folder)):
        return path
    test = sources.load(config, "test", limit=config.images)  # fails now rather than after hours
    fitted = fit(verb, folder)
    if fitted is None:
        return None
    autoencoder, budget, folder = fitted
    errors = errors_of(autoencoder, test) if is_tensorflow() else {}
    sizes = autoencoder_config(autoencoder)
    return runs.record(config, "autoencoder", autoencoder, sizes, budget, errors, folder)


def fit(verb, folder):
    """Trains encoder and decoder, resumable, with the options of `train-autoencoder`.

    Args:
        verb: a `TrainAutoencoder`.
        folder: of the checkpoints; those of the encoder's start lie beside it.

    Returns:
        A `Fitted`; None for all workers but the chief.
    """
    config = verb.config
    strategy = de.training_strategy(config.strategy)
    keras.utils.set_random_seed(config.seed)
    generator = sources.load_generator(config) if verb.start == "generator" else None
    prediction = generator.prediction if generator else config.prediction
    padding = generator.padding if generator else config.padding
    with strategy.scope():
        network = autoencoder_network(verb, generator)
        model = de.AutoencoderModel(
            network,
            seed=config.seed,
            loss=config.loss,
            prediction=prediction,
            emphasis=verb.emphasis,
        )
    key = f"{runs.run_key(config, generator)}, {config.loss}, emphasis {verb.emphasis}"
    before, slow = {}, ()
    if generator is None:
        model.normalizer.adapt(sources.load(config, "train", limit=_NORMALIZER_IMAGES))
    else:
        model.normalizer.set_weights(generator.normalizer.get_weights())
        slow = network.trunk_numbers
        before = {"generator": find_weights(config.name, "generator", config.weights)[1]["sha256"]}
    if config.further:
        recorded = de.Autoencoder.from_model(model, config.image_shape, padding=padding)
        folder, key, more = runs.go_further(config, "autoencoder", recorded, folder, key)
        before |= more
        for part in (model.network, model.ema_network):
            part.encoder.set_weights(recorded.encoder.get_weights())
            part.decoder.set_weights(recorded.generator.network.get_weights())
        model.normalizer.set_weights(recorded.generator.normalizer.get_weights())
    elif verb.encoder_steps:
        before |= start_encoder(verb, model, key, folder.with_name("autoencoder-encoder"))
    rate = warmup_cosine(config.learning_rate, config.train_steps)
    with strategy.scope():
        model.compile(PartwiseAdam(rate, slow, verb.trunk_rate, global_clipnorm=1.0))
    history = runs.run(
        config,
        model,
        lambda step: sources.stream(config, config.batch_size, step),
        config.train_steps,
        folder,
        identity=key,
        description="autoencoder",
    )
    if not strategy.is_chief:
        return None
    steps = history[-1]["step"]
    autoencoder = de.Autoencoder.from_model(
        model, config.image_shape, num_steps=config.num_steps, padding=padding
    )
    autoencoder.adapt(sources.load(config, "train", limit=_ADAPTED_IMAGES))
    budget = {
        "steps": steps,
        "batch_size": config.batch_size,
        "images_seen": steps * config.batch_size,
        "loss": config.loss,
        "emphasis": verb.emphasis,
        "prediction": prediction,
        **runs.spent(config, history, verb.command),
        **before,
    }
    return Fitted(autoencoder, budget, folder)


def start_encoder(verb, model, key, folder):
    """Trains the encoder of a model alone, resumable; returns what to record of it."""
    config, encoder = verb.config, model.network.encoder
    pixels = sources.load(config, "train", limit=_ADAPTED_IMAGES)
    with de.training_strategy(config.strategy).scope():
        start = de.EncoderModel(encoder, model.normalizer, config.image_shape)
        start.adapt(pixels, config.seed)
        rate = warmup_cosine(verb.encoder_rate, verb.encoder_steps)
        start.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    history = runs.run(
        config,
        start,
        lambda step: sources.stream(config, config.batch_size, step),
        verb.encoder_steps,
        folder,
        identity=f"{key}, encoder {encoder.get_config()['widths']}",
        description="encoder",
    )
    model.ema_network.encoder.set_weights(encoder.get_weights())
    return {"encoder_steps": verb.encoder_steps, "encoder_seconds": history[-1]["seconds"]}


def autoencoder_network(verb, generator):
    """Returns the networks that the verb trains, at the start of the training."""
    config, policy = verb.config, dtype_policy(verb.config.precision)
    encoder = de.SemanticEncoder(
        config.channels,
        verb.encoder_widths or (*config.widths, config.widths[-1]),
        verb.encoder_depth,
        config.semantic_dims,
        config.image_size,
        dtype=policy,
    )
    sizes = {"widths": config.widths, "block_depth": config.block_depth, "dtype": policy}
    if generator is None:
        decoder = de.AdaptiveUNet(
            config.semantic_dims, config.channels, image_size=config.image_size, **sizes
        )
    else:
        decoder = de.ModulatedUNet(config.semantic_dims, config.channels, **sizes)
        decoder.start_from(generator.network)
    return de.AutoencoderNetwork(encoder, decoder)


def errors_of(autoencoder, test):
    """Returns the errors of an autoencoder for its record: of the vectors alone, in one step."""
    semantic = autoencoder.encode(test).semantic

    def error(vectors):
        decoded = autoencoder.predict(vectors).numpy().clip(0, 1)
        return finite(de.metrics.mse(test, decoded, autoencoder.padding).mean())

    return {
        "test_one_step_mse": error(semantic),
        "test_one_step_mse_of_others_vectors": error(semantic[::-1].copy()),
        "test_images": len(test),
    }
