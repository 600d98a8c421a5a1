"""The verbs `train` and `train-embedders`: both resumable, both ending in shipped weights."""

import keras
import numpy as np

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.backend import is_tensorflow
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.networks.blocks import dtype_policy
from ddim_embed.store.outputs import require_folder
from ddim_embed.store.schema import check, one_of
from ddim_embed.store.weights import find_weights, weights_root
from ddim_embed.training.loop import warmup_cosine
from experiments.configuration import NETWORKS
from experiments.toolkit import runs, sources
from experiments.toolkit.results import finite

# Statistics of that many images are the data set's, for all that float32 can tell.
NORMALIZER_IMAGES = 60_000


def train(config, command=None):
    """Trains the denoiser and records the generator's weights; returns their path.

    Of several workers the chief records; the others return None.
    """
    strategy = de.training_strategy(config.strategy)
    require_folder(weights_root(config.weights), "--weights")
    with strategy.scope():
        model = diffusion_model(config)
    folder, key, before = config.run_folder / "generator", runs.run_key(config), {}
    if config.further:
        if path := runs.recorded_before(config, "generator", folder):
            return path
        sizes = {"widths": config.widths, "block_depth": config.block_depth}
        recorded = de.build_generator(config.image_shape, padding=config.padding, **sizes)
        folder, key, before = runs.go_further(config, "generator", recorded, folder, key)
        for part in (model.network, model.ema_network):
            part.set_weights(recorded.network.get_weights())
        model.normalizer.set_weights(recorded.normalizer.get_weights())
    else:
        model.normalizer.adapt(sources.load(config, "train", limit=NORMALIZER_IMAGES))
    with strategy.scope():
        model.compile(
            keras.optimizers.Adam(warmup_cosine(config.learning_rate, config.train_steps))
        )
    test = sources.load(config, "test", limit=config.images)  # fails now rather than after hours
    history = runs.run(
        config,
        model,
        lambda step: sources.stream(config, config.batch_size, step),
        config.train_steps,
        folder,
        identity=key,
        description="generator",
    )
    if not strategy.is_chief:
        return None
    steps = history[-1]["step"]
    generator = de.Generator.from_diffusion(
        model, config.image_shape, num_steps=config.num_steps, padding=config.padding
    )
    budget = {
        "steps": steps,
        "batch_size": config.batch_size,
        "images_seen": steps * config.batch_size,
        "loss": config.loss,
        "prediction": config.prediction,
        **runs.spent(config, history, command),
        **before,
    }
    errors = generator_errors(generator, config, config.loss, test) if is_tensorflow() else {}
    sizes = generator_config(generator)
    return runs.record(config, "generator", generator, sizes, budget, errors, folder)


def diffusion_model(config, attention=None):
    """Returns the experiment's `DiffusionModel` with random weights, not adapted or compiled."""
    keras.utils.set_random_seed(config.seed)
    network = de.UNet(
        config.channels,
        config.widths,
        config.block_depth,
        attention,
        dtype=dtype_policy(config.precision),
    )
    return de.DiffusionModel(
        network, seed=config.seed, loss=config.loss, prediction=config.prediction
    )


def generator_errors(generator, config, loss, test):
    """Returns the error of a generator's network, of float32 weights, for its record."""
    network = type(generator.network).from_config(generator.network.get_config())
    network.set_weights(generator.network.get_weights())
    model = de.DiffusionModel(network, seed=config.seed, loss=loss, prediction=generator.prediction)
    model.normalizer.set_weights(generator.normalizer.get_weights())
    model.compile(keras.optimizers.Adam())
    found = model.evaluate(test, batch_size=64, verbose=0, return_dict=True)["loss"]
    abbreviation = {"mean_absolute_error": "mae", "mean_squared_error": "mse"}[loss]
    return {f"test_{model.prediction}_{abbreviation}": finite(found), "test_images": len(test)}


def embedder_errors(generator, network, embedder, test):
    """Returns the errors of an embedding network, of float32 weights, for its record."""
    result = de.embed(generator, test, de.Network(network, embedder))
    psnr = metrics.psnr(test, result.reconstruction.clip(0, 1), generator.padding)
    return {
        "test_mse": finite(result.mse.mean()),
        "test_psnr": finite(psnr.mean()),
        "test_images": len(test),
    }


def measure(config, name, test, budget):
    """Returns the errors of recorded weights: of "generator", or of a network of Table 1.

    A generator's error is that of the loss it was trained with, which `budget` names.
    """
    generator = sources.load_generator(config)
    if name != "generator":
        embedder = de.load_embedder(config.name, name, config.weights)
        return embedder_errors(generator, name, embedder, test)
    losses = {"loss": one_of(["mean_absolute_error", "mean_squared_error"])}
    check(budget, losses, f"The record of {config.name}/generator, in `budget`")
    return generator_errors(generator, config, budget["loss"], test)


def train_embedders(config, networks=NETWORKS, command=None):
    """Trains embedding networks through the frozen generator; returns the paths of the weights."""
    de.training_strategy(config.strategy)  # before anything is computed
    require_folder(weights_root(config.weights), "--weights")
    generator = sources.load_generator(config, config.precision)
    return [_train_embedder(config, generator, network, command) for network in networks]


def _train_embedder(config, generator, network, command):
    strategy = de.training_strategy(config.strategy)
    keras.utils.set_random_seed(config.seed)
    sizes = {
        "channels": config.channels,
        "widths": list(config.widths),
        "block_depth": config.block_depth,
    }
    with strategy.scope():
        embedder = de.build_embedder(network, **sizes, precision=config.precision)
    folder, key = config.run_folder / network, runs.run_key(config, generator)
    test = sources.load(config, "test", limit=config.images)  # fails now rather than after hours
    if config.further:
        if path := runs.recorded_before(config, network, folder):
            return path
        folder, key, before = runs.go_further(config, network, embedder, folder, key)
    elif config.pairs:
        before = _warm_start(config, generator, network, embedder, folder, key)
    else:
        key, before = f"{key}, from scratch", {}
    if config.embedder_loss != "mean_absolute_error":  # the warm start has a loss of its own
        key = f"{key}, {config.embedder_loss}"
    if config.num_generated:
        key = f"{key}, {config.generated:g} generated, of {config.pairs}"

    with strategy.scope():
        trainer = de.EmbedderTrainer(
            embedder,
            generator,
            remat=config.remat,
            adapt_statistics=not before,
            loss=config.embedder_loss,
        )
        rate = warmup_cosine(config.embedder_learning_rate, config.embedder_steps)
        trainer.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    history = runs.run(
        config,
        trainer,
        _batches(config, generator, strategy.shard),
        config.embedder_steps,
        folder / "unrolled",
        identity=key,
        description=f"{network}, through the sampler",
    )
    if not strategy.is_chief:
        return None
    # Errors are measured in float32: the weights have it, the policy of training need not.
    exact = de.build_embedder(network, **sizes)
    exact.set_weights(embedder.get_weights())
    budget = {
        "generator": find_weights(config.name, "generator", config.weights)[1]["sha256"],
        "steps": history[-1]["step"],
        "batch_size": config.embedder_batch_size,
        "loss": config.embedder_loss,
        **({"generated": config.generated, "pairs": config.pairs} if config.num_generated else {}),
        **runs.spent(config, history, command),
        **before,
    }
    errors = embedder_errors(generator, network, exact, test) if is_tensorflow() else {}
    return runs.record(config, network, exact, sizes, budget, errors, folder)


def _batches(config, generator, shard):
    """Returns the batches of training through the sampler, a function of the first one's step."""
    size, generated = config.embedder_batch_size, config.num_generated
    if not generated:
        return lambda step: sources.stream(config, size, step)
    pairs = _pairs(config, generator)

    def batches(step):
        real = sources.stream(config, size - generated, step)
        for pixels, (others, _) in zip(real, pairs.batches(generated, step, shard), strict=True):
            yield np.concatenate([pixels, others])

    return batches


def _pairs(config, generator):
    return de.LatentPairs(
        generator,
        config.pairs,
        config.run_folder / "pairs.bin",
        seed=config.seed,
        progress=config.progress,
    )


def _warm_start(config, generator, network, embedder, folder, key):
    """Regresses the latents of generated images; returns the budget, for the record."""
    pairs = _pairs(config, generator)
    strategy = de.training_strategy(config.strategy)
    with strategy.scope():
        regression = de.LatentRegression(embedder, generator)
        rate = warmup_cosine(config.warm_start_learning_rate, config.warm_start_steps)
        regression.compile(keras.optimizers.Adam(rate))
    history = runs.run(
        config,
        regression,
        lambda step: pairs.batches(config.warm_start_batch_size, step, strategy.shard),
        config.warm_start_steps,
        folder / "warm_start",
        identity=key,
        description=f"{network}, warm start",
    )
    return {
        "pairs": config.pairs,
        "warm_start_steps": config.warm_start_steps,
        "warm_start_batch_size": config.warm_start_batch_size,
        "warm_start_seconds": history[-1]["seconds"],
    }
