"""Weights that Keras 2 wrote for the published functional models, loaded into the models here."""

import itertools
import os
import re

import keras

from ddim_embed import arguments
from ddim_embed.store.hdf5 import WeightsError, check_format, find_datasets, open_hdf5, read_array

# Per kind of layer, named as Keras 2 names it: its variables and their ranks.
_KINDS = {
    "conv2d": {"kernel": 4, "bias": 1},
    "batch_normalization": {"moving_mean": 1, "moving_variance": 1},
}
_LAYER_NAME = re.compile(rf"({'|'.join(_KINDS)})(?:_([0-9]+))?")


def load_legacy_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads a Keras 2 file (`.h5`, `.hdf5`) of a functional model of the published architecture.

    Keras 2 numbers the layers of each kind as they are created. The convolutions of the file in the
    order of these numbers are those of the model in the order of creation, and so are the batch
    normalisations. Files of `model.save_weights` and of `model.save` both load; the optimizer and
    the description of the model in them are not read.

    Args:
        model: a built `UNet`, conditioned or not, an embedding network of convolutions, or any
            `keras.Model` of 2D convolutions with bias and batch normalisations without centre and
            scale, created in the published order. Attention is not supported.
        path: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not HDF5, if the file or the model has a layer of another kind, if
            their numbers of layers or shapes differ, or if values are not finite. The message names
            the file and, where it is about one, its layer, the model's, and both shapes. The model
            is then unchanged.

    Example:
        >>> import h5py
        >>> network = de.build_embedder("conv1", channels=1)
        >>> with h5py.File("published.h5", "w") as file:
        ...     for name, weight in zip(("kernel:0", "bias:0"), network.get_weights()):
        ...         file[f"conv2d/conv2d/{name}"] = np.ones_like(weight)
        >>> de.load_legacy_weights(network, "published.h5")
        >>> network.get_weights()[1]
        array([1.], dtype=float32)
    """
    path = arguments.path("path", path)
    check_format(path)
    targets = _model_layers(arguments.instance("model", model, keras.Model))
    with open_hdf5(path) as file:
        sources = _file_layers(file, path)
        for kind in _KINDS:
            _check_shapes(kind, sources[kind], targets[kind], path)
        values = [
            read_array(dataset, path, dataset.name.strip("/")) for dataset in _variables(sources)
        ]
    for variable, value in zip(_variables(targets), values, strict=True):
        variable.assign(value)


def _model_layers(model):
    """Per kind, pairs (layer path, variables) in the order of creation, that of `model.weights`."""
    layers = {kind: [] for kind in _KINDS}
    for path, group in itertools.groupby(model.weights, lambda v: v.path.rpartition("/")[0]):
        variables = list(group)
        ranks = {variable.name: len(variable.shape) for variable in variables}
        kind = next((kind for kind, own in _KINDS.items() if own == ranks), None)
        if kind is None:
            raise ValueError(
                f"The published models have 2D convolutions with bias and batch normalisations "
                f"without centre and scale, but no attention or other layers. This model has "
                f"`{path}` with variables {', '.join(ranks)}."
            )
        layers[kind].append((path, variables))
    return layers


def _file_layers(file, path):
    """Per kind, pairs (layer name, datasets) in the order of creation.

    The order in which the file itself lists its layers is no help: it is that of the graph.
    """
    found = {}
    for name, dataset in find_datasets(file, path, skip="optimizer_weights").items():
        layer_path, _, variable = name.rpartition("/")
        found.setdefault(layer_path, {})[variable.partition(":")[0]] = dataset
    numbered = {kind: [] for kind in _KINDS}
    for layer_path, datasets in found.items():
        layer = layer_path.rpartition("/")[2]
        match = _LAYER_NAME.fullmatch(layer)
        if not match or datasets.keys() != _KINDS[match[1]].keys():
            raise WeightsError(
                f"{path}: layer `{layer}` has arrays {', '.join(sorted(datasets))}. Layers must be "
                f"those of the published models as Keras 2 names them: conv2d, conv2d_1, ... with "
                f"kernel and bias; batch_normalization, ... with moving_mean and moving_variance, "
                f"without centre and scale (beta, gamma)."
            )
        kind, number = match[1], int(match[2] or 0)
        numbered[kind].append((number, layer, [datasets[name] for name in _KINDS[kind]]))
    return {
        kind: [(layer, datasets) for _, layer, datasets in sorted(layers, key=lambda item: item[0])]
        for kind, layers in numbered.items()
    }


def _check_shapes(kind, sources, targets, path):
    absent = ("none", [])
    for (layer, datasets), (own_layer, variables) in itertools.zip_longest(
        sources, targets, fillvalue=absent
    ):
        shapes = [tuple(dataset.shape) for dataset in datasets]
        own_shapes = [tuple(variable.shape) for variable in variables]
        if shapes != own_shapes:
            raise WeightsError(
                f"{path} does not fit the model: layer `{layer}` in the file, shapes {shapes}, "
                f"stands where the model has `{own_layer}`, shapes {own_shapes}. The file has "
                f"{len(sources)} {kind} layers, the model {len(targets)}."
            )


def _variables(layers):
    """All datasets or variables of `_file_layers` or `_model_layers`, in one order for both."""
    return [item for kind in _KINDS for _, items in layers[kind] for item in items]
