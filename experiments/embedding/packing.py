"""The verbs `pack` and `unpack`: what `experiments.jax_port` trains, there and back."""

import json

import keras
import numpy as np

import ddim_embed as de
from ddim_embed.data import crop_padding
from ddim_embed.store.weights import read_manifest
from experiments.configuration import NETWORKS
from experiments.embedding.training import record_embedder, record_generator, spent_before
from experiments.jax_port.trees import IMAGES, SETTINGS, TRAINED, load_tree, save_tree
from experiments.toolkit import results, sources
from experiments.toolkit.command_line import UsageError


def pack(config, folder, command=None):
    """Writes training images as bytes, and the weights that there are, to `<folder>/<name>/`.

    Networks without weights get random ones.

    Args:
        config: an `Experiment`.
        folder: a path.
        command: not used.
    """
    folder = folder / config.name
    generator = sources.load_generator(config)
    pixels = crop_padding(sources.load(config, "train"), config.padding)
    with results.replacing(folder / IMAGES) as path:
        np.save(path, np.round(pixels * 255).astype(np.uint8))
    settings = {
        "mirror": config.mirror,
        "padding": config.padding,
        "block_depth": config.block_depth,
        "num_steps": config.num_steps,
        "prediction": generator.prediction,
    }
    results.save_json(folder / SETTINGS, settings)
    save_tree(folder / "generator.npz", generator_tree(generator))
    keras.utils.set_random_seed(config.seed)
    for network in NETWORKS:
        if _entry(config, network):
            embedder = de.load_embedder(config.name, network, config.weights)
        else:
            embedder = _build(config, network)
        save_tree(folder / f"{network}.npz", tree_of(embedder))
    print(f"{folder}: {len(pixels)} images, a generator, {', '.join(NETWORKS)}")


def unpack(config, folder, command=None):
    """Measures and records what `experiments.jax_port` wrote to `<folder>/<name>/trained/`.

    Args:
        config: an `Experiment`.
        folder: that of `pack`.
        command: not used: what is recorded has the command that trained it.

    Returns:
        The paths of the weights files.

    Raises:
        UsageError: if there is nothing.
    """
    trained = folder / config.name / TRAINED
    found = [name for name in ("generator", *NETWORKS) if (trained / f"{name}.npz").exists()]
    if not found:
        raise UsageError(
            f"{trained} must hold trained networks. Train them with "
            f"`python -m experiments.jax_port {folder / config.name} ...`."
        )
    test = sources.load(config, "test", limit=config.images)
    paths, generator = [], None
    for name in found:
        tree = load_tree(trained / f"{name}.npz")
        budget = json.loads((trained / f"{name}.json").read_text(encoding="utf-8"))
        entry = _entry(config, name)
        budget |= spent_before(entry) if entry else {}
        if name == "generator":
            paths.append(record_generator(config, _model(config, tree, budget), test, budget))
        else:
            embedder = _build(config, name)
            set_tree(embedder, tree)
            generator = generator or sources.load_generator(config)  # as recorded by now
            paths.append(record_embedder(config, generator, name, embedder, test, budget))
    return paths


def tree_of(network):
    """The weights of a `UNet` or `ConvEmbedder` as a tree of `experiments.jax_port`."""
    if not isinstance(network, de.UNet):
        return {"weights": [_kernel_and_bias(conv) for conv in network.convs]}
    blocks = [
        {
            name: _kernel_and_bias(layer)
            for name in ("projection", "conv1", "conv2")
            if (layer := getattr(block, name)) is not None
        }
        for block in network.blocks
    ]
    ends = {
        name: _kernel_and_bias(getattr(network, name)) for name in ("input_conv", "output_conv")
    }
    statistics = [
        [block.norm.moving_mean.numpy(), block.norm.moving_variance.numpy()]
        for block in network.blocks
    ]
    return {"weights": {"blocks": blocks, **ends}, "statistics": statistics}


def set_tree(network, tree):
    """Sets the weights of a `UNet` or `ConvEmbedder`; the inverse of `tree_of`."""
    weights = tree["weights"]
    if not isinstance(network, de.UNet):
        for conv, layer in zip(network.convs, weights, strict=True):
            conv.set_weights([layer["kernel"], layer["bias"]])
        return
    for name in ("input_conv", "output_conv"):
        getattr(network, name).set_weights([weights[name]["kernel"], weights[name]["bias"]])
    rows = zip(network.blocks, weights["blocks"], tree["statistics"], strict=True)
    for block, layers, (mean, variance) in rows:
        for name, layer in layers.items():
            getattr(block, name).set_weights([layer["kernel"], layer["bias"]])
        block.norm.moving_mean.assign(mean)
        block.norm.moving_variance.assign(variance)


def _kernel_and_bias(layer):
    return dict(zip(("kernel", "bias"), (value.numpy() for value in layer.weights), strict=True))


def generator_tree(generator):
    """As `tree_of`, of a `Generator`, its normaliser included."""
    normalizer = generator.normalizer
    statistics = {"mean": normalizer.mean.numpy(), "variance": normalizer.variance.numpy()}
    return tree_of(generator.network) | statistics


def _model(config, tree, budget):
    """The `DiffusionModel` whose averaged network has the tree's weights."""
    network = de.UNet(config.channels, config.widths, config.block_depth)
    set_tree(network, tree)
    model = de.DiffusionModel(
        network, seed=budget["seed"], loss=budget["loss"], prediction=budget["prediction"]
    )
    model.normalizer.mean.assign(tree["mean"])
    model.normalizer.variance.assign(tree["variance"])
    model.compile(keras.optimizers.Adam())
    return model


def _build(config, network):
    return de.build_embedder(network, config.channels, config.widths, config.block_depth)


def _entry(config, name):
    return read_manifest(config.weights).get(f"{config.name}/{name}")
