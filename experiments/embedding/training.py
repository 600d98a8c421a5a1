"""The verbs `train` and `train-embedders`: both resumable, both ending in shipped weights."""

import sys
import time
from pathlib import Path

import keras
from tqdm import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.backend import fast_precision, is_tensorflow
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.networks.blocks import dtype_policy
from ddim_embed.store.outputs import require_folder
from ddim_embed.store.records import changing
from ddim_embed.store.schema import check, one_of
from ddim_embed.store.weights import find_weights, load_weights, weights_root
from ddim_embed.training.loop import CheckpointError, warmup_cosine
from experiments.configuration import NETWORKS
from experiments.toolkit import sources
from experiments.toolkit.command_line import UsageError
from experiments.toolkit.results import finite

# Statistics of that many images are the data set's, for all that float32 can tell.
NORMALIZER_IMAGES = 60_000
# Seconds, and the steps by which the time left is estimated.
_DAY, _TIMED = 86_400, 2
# A file that is in the folder of a run while its weights are recorded.
_RECORDING = "recording"


def train(config, command=None):
    """Trains the denoiser and records the generator's weights; returns their path."""
    require_folder(weights_root(config.weights), "--weights")
    model = diffusion_model(config)
    folder, key, before = config.run_folder / "generator", run_key(config), {}
    if config.further:
        if path := _recorded_before(config, "generator", folder):
            return path
        sizes = {"widths": config.widths, "block_depth": config.block_depth}
        recorded = de.build_generator(config.image_shape, padding=config.padding, **sizes)
        folder, key, before = _go_further(config, "generator", recorded, folder, key)
        for part in (model.network, model.ema_network):
            part.set_weights(recorded.network.get_weights())
        model.normalizer.set_weights(recorded.normalizer.get_weights())
    else:
        model.normalizer.adapt(sources.load(config, "train", limit=NORMALIZER_IMAGES))
    model.compile(keras.optimizers.Adam(warmup_cosine(config.learning_rate, config.train_steps)))
    test = sources.load(config, "test", limit=config.images)  # fails now rather than after hours
    history = run(
        config,
        model,
        lambda step: sources.stream(config, config.batch_size, step),
        config.train_steps,
        folder,
        identity=key,
        description="generator",
    )
    steps = int(model.optimizer.iterations)
    generator = de.Generator.from_diffusion(
        model, config.image_shape, num_steps=config.num_steps, padding=config.padding
    )
    budget = {
        "steps": steps,
        "batch_size": config.batch_size,
        "images_seen": steps * config.batch_size,
        "loss": config.loss,
        "prediction": config.prediction,
        **_spent(config, history, command),
        **before,
    }
    errors = denoiser_errors(model, test) if is_tensorflow() else {}
    sizes = generator_config(generator)
    return _record(config, "generator", generator, sizes, budget, errors, folder)


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


def denoiser_errors(model, test):
    """Returns the validation error of a compiled `DiffusionModel` for its record."""
    found = model.evaluate(test, batch_size=64, verbose=0, return_dict=True)["loss"]
    abbreviation = {"mean_absolute_error": "mae", "mean_squared_error": "mse"}[model.loss_name]
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
    network = type(generator.network).from_config(generator.network.get_config())
    network.set_weights(generator.network.get_weights())
    model = de.DiffusionModel(
        network, seed=config.seed, loss=budget["loss"], prediction=generator.prediction
    )
    model.normalizer.set_weights(generator.normalizer.get_weights())
    model.compile(keras.optimizers.Adam())
    return denoiser_errors(model, test)


def train_embedders(config, networks=NETWORKS, command=None):
    """Trains embedding networks through the frozen generator; returns the paths of the weights."""
    require_folder(weights_root(config.weights), "--weights")
    generator = sources.load_generator(config, config.precision)
    return [_train_embedder(config, generator, network, command) for network in networks]


def _train_embedder(config, generator, network, command):
    keras.utils.set_random_seed(config.seed)
    sizes = {
        "channels": config.channels,
        "widths": list(config.widths),
        "block_depth": config.block_depth,
    }
    embedder = de.build_embedder(network, **sizes, precision=config.precision)
    folder, key = config.run_folder / network, run_key(config, generator)
    test = sources.load(config, "test", limit=config.images)  # fails now rather than after hours
    if config.further:
        if path := _recorded_before(config, network, folder):
            return path
        folder, key, before = _go_further(config, network, embedder, folder, key)
    elif config.pairs:
        before = _warm_start(config, generator, network, embedder, folder, key)
    else:
        key, before = f"{key}, from scratch", {}
    if config.embedder_loss != "mean_absolute_error":  # the warm start has a loss of its own
        key = f"{key}, {config.embedder_loss}"

    trainer = de.EmbedderTrainer(
        embedder,
        generator,
        remat=config.remat,
        adapt_statistics=not before,
        loss=config.embedder_loss,
    )
    rate = warmup_cosine(config.embedder_learning_rate, config.embedder_steps)
    trainer.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    history = run(
        config,
        trainer,
        lambda step: sources.stream(config, config.embedder_batch_size, step),
        config.embedder_steps,
        folder / "unrolled",
        identity=key,
        description=f"{network}, through the sampler",
    )
    # Errors are measured in float32: the weights have it, the policy of training need not.
    exact = de.build_embedder(network, **sizes)
    exact.set_weights(embedder.get_weights())
    budget = {
        "generator": find_weights(config.name, "generator", config.weights)[1]["sha256"],
        "steps": int(trainer.optimizer.iterations),
        "batch_size": config.embedder_batch_size,
        "loss": config.embedder_loss,
        **_spent(config, history, command),
        **before,
    }
    errors = embedder_errors(generator, network, exact, test) if is_tensorflow() else {}
    return _record(config, network, exact, sizes, budget, errors, folder)


def _spent(config, history, command):
    return {
        "seconds": history[-1]["seconds"],
        "precision": config.precision,
        "seed": config.seed,
        "command": command,
    }


def _record(config, name, model, sizes, budget, errors, folder):
    mirrored = ", mirrored at random" if config.mirror else ""
    data = Path(config.data).name  # the folder is the user's own, and is not published
    mark = folder / _RECORDING
    mark.touch()
    path, _ = de.record_weights(
        config.weights,
        config.name,
        name,
        model,
        config=sizes,
        data=f"{data}, {sources.part(config, 'train')}{mirrored}",
        budget=budget,
        errors=errors,
    )
    mark.unlink()
    print(f"{path}: {in_words(errors)}")
    return path


def _recorded_before(config, name, folder):
    """The path of recorded weights whose run was killed as it recorded them; None for others.

    With `--further` the same command would else begin with them, and train further once more.
    """
    path, entry = find_weights(config.name, name, config.weights)
    before = entry["budget"].get("before")
    start = before.get("sha256") if isinstance(before, dict) else None
    mark = _further_folder(folder, str(start)) / _RECORDING
    if start is None or not mark.exists():
        return None
    with changing(path):  # and rid of the lock that the kill left
        mark.unlink()
    print(f"{path}: {in_words(entry['errors'])}")
    return path


def _further_folder(folder, sha256):
    """The folder of the run that goes on from weights."""
    return folder.with_name(f"{folder.name}-from-{Path(sha256[:12]).name}")


def _warm_start(config, generator, network, embedder, folder, key):
    """Regresses the latents of generated images; returns the budget, for the record."""
    pairs = de.LatentPairs(
        generator,
        config.pairs,
        config.run_folder / "pairs.bin",
        seed=config.seed,
        progress=config.progress,
    )
    regression = de.LatentRegression(embedder, generator)
    rate = warmup_cosine(config.warm_start_learning_rate, config.warm_start_steps)
    regression.compile(keras.optimizers.Adam(rate))
    history = run(
        config,
        regression,
        lambda step: pairs.batches(config.warm_start_batch_size, step),
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


def _go_further(config, name, model, folder, key):
    """Sets the weights of `model` to the recorded ones called `name`.

    Returns the folder and the key of the run of its own that begins with them, and what was spent
    on them, for the record.
    """
    path, entry = find_weights(config.name, name, config.weights)
    load_weights(model, path, entry["sha256"])
    start = entry["sha256"][:12]
    budget = {key: value for key, value in entry["budget"].items() if key != "generator"}
    before = {"before": budget | {"sha256": entry["sha256"]}}
    return _further_folder(folder, start), f"{key}, from {start}", before


def run_key(config, generator=None):
    """Returns a key of a run: a checkpoint with another key is not resumed.

    It has the data, the seed and what is predicted and minimised, or the generator's fingerprint.
    Rates and sizes of batches are not in it: a run may be resumed with others.
    """
    words = [] if generator is None else [generator.fingerprint()]
    words += [f"{config.data}, seed {config.seed}"] + ["mirrored"] * config.mirror
    if generator is None:  # the paper's settings go unnamed
        words += [config.prediction] * (config.prediction != "noise")
        words += [config.loss] * (config.loss != "mean_absolute_error")
    return ", ".join(words)


def run(config, model, batches, num_steps, folder, **kwargs):
    """Runs `de.train` with the options of the configuration."""
    try:
        return de.train(
            model,
            _watched(batches, num_steps, config),
            num_steps,
            folder,
            checkpoint_seconds=config.checkpoint_seconds,
            progress=config.progress,
            **kwargs,
        )
    except CheckpointError as error:
        raise UsageError(str(error)) from error


def _watched(batches, num_steps, config):
    """The same batches; says once what would be faster if more than a day is left."""

    def watched(step):
        for count, batch in enumerate(batches(step)):
            if count == 1:  # the first step compiles
                started = time.monotonic()
            if count == 1 + _TIMED:
                left = (num_steps - step - count) * (time.monotonic() - started) / _TIMED
                if left > _DAY:
                    slow = config.precision == "bfloat16" and fast_precision()[0] != "bfloat16"
                    ways = ["--precision float32"] * slow + ["a GPU", "smaller --widths"]
                    ways += ["a smaller --image-size", "smaller batches", "fewer steps"]
                    words = f"{left / _DAY:.1f} days are left. Faster: {', '.join(ways)}."
                    tqdm.write(words, file=sys.stderr)
            yield batch

    return watched


def in_words(errors):
    """Returns the errors of weights as a message."""
    if not errors:
        return "not measured yet; the verb `measure` does it where TensorFlow is installed"
    return ", ".join(
        f"{name.replace('_', ' ')} {'-' if value is None else f'{value:.4g}'}"
        for name, value in errors.items()
    )
