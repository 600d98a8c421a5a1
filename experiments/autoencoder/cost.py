"""The verb `throughput`: sizes, budget and speed of an autoencoder beside its generator's."""

import time

import keras
import numpy as np
from tqdm import tqdm

import ddim_embed as de
from ddim_embed.networks.blocks import dtype_policy
from ddim_embed.store.weights import MissingWeightsError, find_weights
from experiments.autoencoder.sections import THROUGHPUT
from experiments.toolkit import results, sources

DDIM, OURS = "DDIM", "ours"
# Operations that multiply and add: all others of these networks are few beside them.
_PRODUCTS = ("Conv2D", "MatMul", "BatchMatMulV2", "Einsum")


def run(verb):
    """Counts, measures, and writes `throughput.json`; no images are needed.

    DDIM and autoencoder take turns, so that what else the machine does slows both.
    """
    config = verb.config
    generator, autoencoder = sources.load_generator(config), sources.load_autoencoder(config)
    prior = _entry(config, "prior") and de.load_prior(config.name, config.weights)
    pieces = {
        "training": {DDIM: _training(config, generator), OURS: _training(config, autoencoder)},
        "decoding": {DDIM: _decoding(config, generator), OURS: _decoding(config, autoencoder)},
    }
    contents = {
        "dataset": config.name,
        "batch_size": config.batch_size,
        "precision": config.precision,
        "num_steps": config.num_steps,
        "records": {
            name: {key: entry[key] for key in ("config", "budget", "parameters")}
            for name in ("generator", "autoencoder", "prior")
            if (entry := _entry(config, name))
        },
        "multiply_adds": multiply_adds(generator, autoencoder, prior),
        "throughput": {
            name: in_turns(each, verb.rounds, config.batch_size, name, config.progress)
            for name, each in pieces.items()
        },
        "options": verb.options,
        **results.provenance(config, verb.command),
    }
    THROUGHPUT.publish(verb.outputs, contents, dict)


def _entry(config, name):
    """The record of weights; None without."""
    try:
        return find_weights(config.name, name, config.weights)[1]
    except MissingWeightsError:
        return None


def multiply_adds(generator, autoencoder, prior=None):
    """Multiplications with an addition in one evaluation of each network for one image: a dict."""
    rng, shape = np.random.default_rng(0), (1, *generator.image_shape)
    images = rng.uniform(size=shape).astype(np.float32)
    variances = np.full((1, 1, 1, 1), 0.5, np.float32)
    semantic = rng.normal(size=(1, autoencoder.dims)).astype(np.float32)
    found = {
        "denoiser of DDIM": count(generator.network, [images, variances]),
        "decoder": count(autoencoder.generator.network, [images, variances, semantic]),
        "encoder": count(autoencoder.encoder, images),
    }
    if prior is not None:
        found["prior"] = count(prior.network, [semantic, np.full((1, 1), 0.5, np.float32)])
    return found


def count(network, inputs):
    """Multiplications with an addition when a network is called on arrays, by TensorFlow."""
    import tensorflow as tf

    call = tf.function(lambda arrays: network(arrays, training=False))
    specs = tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, tf.float32), inputs)
    options = tf.compat.v1.profiler.ProfileOptionBuilder
    options = options(options.float_operation()).with_empty_output()
    options = options.with_accounted_types(_PRODUCTS).build()
    graph = call.get_concrete_function(specs).graph
    found = tf.compat.v1.profiler.profile(graph, cmd="scope", options=options)
    return found.total_float_ops // 2


def _training(config, model):
    """A function that trains on a batch, of networks like a generator's or an autoencoder's."""
    policy = dtype_policy(config.precision)

    def fresh(network):  # a recorded one is not trainable
        changes = {"dtype": policy, "trainable": True}
        return type(network).from_config(network.get_config() | changes)

    if isinstance(model, de.Autoencoder):
        decoder = fresh(model.generator.network)
        network = de.AutoencoderNetwork(fresh(model.encoder), decoder)
        trained = de.AutoencoderModel(network, prediction=model.generator.prediction)
    else:
        trained = de.DiffusionModel(fresh(model.network), prediction=model.prediction)
    pixels = np.random.default_rng(0).uniform(size=(config.batch_size, *config.image_shape))
    pixels = pixels.astype(np.float32)
    trained.normalizer.adapt(pixels)
    trained.compile(keras.optimizers.Adam(1e-4))
    return lambda: trained.train_on_batch(pixels)


def _decoding(config, model):
    """A function that decodes a batch of latents, by an autoencoder from their vectors, too."""
    generator = model
    if isinstance(model, de.Autoencoder):
        vectors = np.random.default_rng(0).normal(size=(config.batch_size, model.dims))
        generator = model.generator.given(model.unstandardize(vectors.astype(np.float32)))
    latents = generator.latents(config.batch_size, config.seed)
    return lambda: generator.decode(latents).numpy()


def in_turns(pieces, rounds, images, name="", progress=False):
    """Images a second of functions that take turns, each after a call that compiles it.

    Returns:
        Dict from the name of a piece to an estimate, and "ratio", that of the second one's over
        the first one's in each round.
    """
    for piece in pieces.values():
        piece()
    speeds = {key: [] for key in pieces}
    for _ in tqdm(range(rounds), desc=name, disable=not progress):
        for key, piece in pieces.items():
            started = time.perf_counter()
            piece()
            speeds[key].append(images / (time.perf_counter() - started))
    found = {key: results.estimate(each) for key, each in speeds.items()}
    first, second = map(np.array, speeds.values())
    return found | {"ratio": results.estimate(second / first)}
