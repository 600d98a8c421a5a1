"""The verbs `train` and `train-embedders`: both resumable, both ending in shipped weights."""

from pathlib import Path

import keras

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.networks.blocks import dtype_policy
from ddim_embed.store.weights import find_weights, load_weights
from ddim_embed.training.loop import CheckpointError
from experiments.configuration import NETWORKS
from experiments.toolkit import sources
from experiments.toolkit.command_line import UsageError

# Statistics of that many images are the data set's, for all that float32 can tell.
NORMALIZER_IMAGES = 60_000
_WARMUP_STEPS = 200
_ERRORS = {"absolute": "mae", "squared": "mse"}


def train(config, command=None):
    """Trains the denoiser and records the generator's weights.

    Args:
        config: an `Experiment`.
        command: what a user would type to repeat it; kept in the manifest.

    Returns:
        The path of the weights file.
    """
    keras.utils.set_random_seed(config.seed)
    network = de.UNet(
        config.channels, config.widths, config.block_depth, dtype=dtype_policy(config.precision)
    )
    model = de.DiffusionModel(
        network, seed=config.seed, loss=config.loss, prediction=config.prediction
    )
    folder, words, before = config.run_folder / "generator", identity(config), {}
    if config.further:
        recorded = de.Generator(
            config.image_shape, widths=config.widths, block_depth=config.block_depth
        )
        folder, words, before = _go_further(config, "generator", recorded, folder, words)
        for part in (model.network, model.ema_network):
            part.set_weights(recorded.network.get_weights())
        model.normalizer.set_weights(recorded.normalizer.get_weights())
    else:
        model.normalizer.adapt(sources.load(config, "train", limit=NORMALIZER_IMAGES))
    model.compile(adam(config.learning_rate, config.train_steps))
    test = sources.load(config, "test", limit=config.images)  # before hours, should there be none
    history = run(
        config,
        model,
        lambda step: sources.stream(config, config.batch_size, step),
        config.train_steps,
        folder,
        identity=words,
        description="generator",
    )
    steps = int(model.optimizer.iterations)
    budget = {
        "steps": steps,
        "batch_size": config.batch_size,
        "images_seen": steps * config.batch_size,
        "loss": config.loss,
        "prediction": config.prediction,
        "seconds": history[-1]["seconds"],
        "precision": config.precision,
        "seed": config.seed,
        "command": command,
    }
    return record_generator(config, model, test, budget | before)


def record_generator(config, model, test, budget):
    """Measures a compiled `DiffusionModel` and records the generator that it makes.

    Args:
        config: an `Experiment`.
        model: it.
        test: pixels of test images.
        budget: for the manifest.

    Returns:
        The path of the weights file.
    """
    generator = de.Generator.from_diffusion(
        model, config.image_shape, num_steps=config.num_steps, padding=config.padding
    )
    validation = model.evaluate(test, batch_size=64, verbose=0, return_dict=True)
    error = f"test_{model.prediction}_{_ERRORS[model.loss_name]}"
    path, _ = de.record_weights(
        config.weights,
        config.name,
        "generator",
        generator,
        config=_generator_config(generator),
        data=_data(config),
        budget=budget,
        errors={error: validation["loss"], "test_images": len(test)},
    )
    print(f"{path}: {model.loss_name} error of the {model.prediction} {validation['loss']:.4f}")
    return path


def train_embedders(config, networks=NETWORKS, command=None):
    """Trains embedding networks through the frozen generator and records their weights.

    Args:
        config: an `Experiment`.
        networks: names of Table 1.
        command: what a user would type to repeat it; kept in the manifest.

    Returns:
        The paths of the weights files.
    """
    generator = sources.load_generator(config, config.precision)
    return [_train_embedder(config, generator, network, command) for network in networks]


def _train_embedder(config, generator, network, command):
    keras.utils.set_random_seed(config.seed)
    embedder = de.build_embedder(
        network, config.channels, config.widths, config.block_depth, config.precision
    )
    folder = config.run_folder / network
    words = identity(config, generator)
    pixels = sources.load(config, "test", limit=config.images)  # before hours, should there be none
    if config.further:
        folder, words, before = _go_further(config, network, embedder, folder, words)
    elif config.pairs:
        before = _warm_start(config, generator, network, embedder, folder, words)
    else:
        words, before = f"{words}, from scratch", {}
    if config.embedder_loss != "absolute":  # the warm start knows no such loss
        words = f"{words}, {config.embedder_loss} error"

    trainer = de.EmbedderTrainer(
        embedder,
        generator,
        remat=config.remat,
        adapt_statistics=not before,
        loss=config.embedder_loss,
    )
    trainer.compile(adam(config.embedder_learning_rate, config.embedder_steps, global_clipnorm=1.0))
    history = run(
        config,
        trainer,
        lambda step: sources.stream(config, config.embedder_batch_size, step),
        config.embedder_steps,
        folder / "unrolled",
        identity=words,
        description=f"{network}, through the sampler",
    )
    # In float32, as every error that is reported: the weights are, only the policy is not.
    exact = de.build_embedder(network, config.channels, config.widths, config.block_depth)
    exact.set_weights(embedder.get_weights())
    budget = {
        "steps": int(trainer.optimizer.iterations),
        "batch_size": config.embedder_batch_size,
        "loss": config.embedder_loss,
        "seconds": history[-1]["seconds"],
        "precision": config.precision,
        "seed": config.seed,
        "command": command,
    }
    return record_embedder(config, generator, network, exact, pixels, budget | before)


def record_embedder(config, generator, network, embedder, test, budget):
    """Measures an embedding network and records its weights.

    Args:
        config: an `Experiment`.
        generator: the recorded `Generator` that it was trained for.
        network: its name in Table 1.
        embedder: it, in float32.
        test: pixels of test images.
        budget: for the manifest.

    Returns:
        The path of the weights file.
    """
    result = de.embed(generator, test, de.Network(network, embedder))
    path, _ = de.record_weights(
        config.weights,
        config.name,
        network,
        embedder,
        config=_embedder_config(config),
        data=_data(config),
        budget={
            "generator": find_weights(config.name, "generator", config.weights)[1]["sha256"],
            **budget,
        },
        errors={
            "test_mse": float(result.mse.mean()),
            "test_psnr": float(metrics.psnr(test, result.reconstruction, config.padding).mean()),
            "test_images": len(test),
        },
    )
    print(f"{path}: test error {result.mse.mean():.5f} on {len(test)} images")
    return path


def _warm_start(config, generator, network, embedder, folder, words):
    """Regresses the latents of generated images; returns what it took, for the manifest."""
    pairs = de.LatentPairs(
        generator,
        config.pairs,
        config.run_folder / "pairs.h5",
        seed=config.seed,
        progress=config.progress,
    )
    regression = de.LatentRegression(embedder, generator)
    regression.compile(adam(config.warm_start_learning_rate, config.warm_start_steps))
    history = run(
        config,
        regression,
        lambda step: pairs.batches(config.warm_start_batch_size, step),
        config.warm_start_steps,
        folder / "warm_start",
        identity=words,
        description=f"{network}, warm start",
    )
    return {
        "pairs": config.pairs,
        "warm_start_steps": config.warm_start_steps,
        "warm_start_batch_size": config.warm_start_batch_size,
        "warm_start_seconds": history[-1]["seconds"],
    }


def _go_further(config, name, model, folder, words):
    """Sets the weights of `model` to the recorded ones called `name`.

    Returns:
        What makes it a run of its own: the folder of its checkpoints and its identity, and, for the
        manifest, what was spent on the weights before.
    """
    path, entry = find_weights(config.name, name, config.weights)
    load_weights(model, path, entry["sha256"])
    start = entry["sha256"][:12]
    return (
        folder.with_name(f"{folder.name}-from-{start}"),
        f"{words}, from {start}",
        spent_before(entry),
    )


def spent_before(entry):
    """What a manifest's new entry says of the weights, those of `entry`, that it began with."""
    budget = {key: value for key, value in entry["budget"].items() if key != "generator"}
    return {"before": budget | {"sha256": entry["sha256"]}}


def identity(config, generator=None):
    """Words that tell a run from another: none goes on from what was learned of other data.

    Nor from what was learned of another prediction or with another loss; a generator's fingerprint
    says which are its. Rates and sizes of batches are not in it: a run may go on with others.
    """
    words = [] if generator is None else [generator.fingerprint()]
    words += [f"{config.data}, seed {config.seed}"] + ["mirrored"] * config.mirror
    if generator is None:  # the paper's settings go unnamed
        words += [config.prediction] * (config.prediction != "noise")
        words += [f"{config.loss} error"] * (config.loss != "absolute")
    return ", ".join(words)


def run(config, model, batches, num_steps, folder, **kwargs):
    """`de.train` as the configuration wants it."""
    try:
        return de.train(
            model,
            batches,
            num_steps,
            folder,
            checkpoint_seconds=config.checkpoint_seconds,
            progress=config.progress,
            **kwargs,
        )
    except CheckpointError as error:
        raise UsageError(str(error)) from error


def adam(learning_rate, steps, **kwargs):
    """Adam with a warm-up, then cosine decay to a hundredth of the learning rate."""
    warmup = min(_WARMUP_STEPS, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else learning_rate,
        max(1, steps - warmup),
        alpha=0.01,
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return keras.optimizers.Adam(schedule, **kwargs)


def _generator_config(generator):
    config = generator.get_config()
    kept = (
        "image_shape", "widths", "block_depth", "attention", "schedule", "last_step", "padding",
        "prediction",
    )  # fmt: skip
    return {key: config[key] for key in kept}


def _embedder_config(config):
    return {
        "channels": config.channels,
        "widths": list(config.widths),
        "block_depth": config.block_depth,
    }


def _data(config):
    mirrored = ", mirrored at random" if config.mirror else ""
    name = Path(config.data).name  # a folder's own: what is published names no other
    return f"{name}, {sources.part(config, 'train')}{mirrored}"
