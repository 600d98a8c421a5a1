"""Weights files: written whole with their records, and checked before they are loaded."""

import io
import os
from pathlib import Path

import h5py
import keras
import numpy as np

from ddim_embed import arguments
from ddim_embed.store import records
from ddim_embed.store.atomic import replacing
from ddim_embed.store.hdf5 import (
    WeightsError,
    check_format,
    describe,
    find_datasets,
    open_hdf5,
    read_array,
)
from ddim_embed.store.records import (
    MANIFEST,
    SUFFIX,
    MissingWeightsError,
    find_instrument,
    find_weights,
    read_manifest,
    record_errors,
    weights_root,
)
from ddim_embed.store.schema import check

__all__ = [
    "MANIFEST",
    "SUFFIX",
    "MissingWeightsError",
    "WeightsError",
    "find_instrument",
    "find_weights",
    "load_recorded",
    "load_weights",
    "read_manifest",
    "record_errors",
    "record_weights",
    "save_weights",
    "weights_root",
]


def save_weights(model: keras.Model, path: str | os.PathLike, half: bool = False) -> None:
    """Writes the weights of a model in Keras' own layout, replacing `path` in one rename.

    The file holds arrays and names, no code and no optimizer state; `model.load_weights` reads it.

    Args:
        model: a built `keras.Model`.
        path: the file, ending in `.weights.h5`; its folder is made if missing.
        half: whether arrays of two or more dimensions are stored as float16. Biases and statistics
            stay float32: they are few, and sums over many values.

    Raises:
        ValueError: for another ending, weights that are not finite, or, if `half`, weights beyond
            the range of float16. An existing file is then unchanged.

    Example:
        >>> de.save_weights(de.build_embedder("conv1", channels=1), "conv1.weights.h5", half=True)
    """
    path = _check_suffix(path)
    contents = _contents(model, half, path)
    with replacing(path) as temporary:
        temporary.write_bytes(contents)


def load_weights(model: keras.Model, path: str | os.PathLike, sha256: str | None = None) -> None:
    """Loads a file of `save_weights`, or of Keras' `model.save_weights`, after checking all of it.

    The layout that a model writes is the layout that it reads: the same arrays of the same shapes.
    An optimizer's state in the file is ignored. After an error the model is as it was.

    Args:
        model: a built `keras.Model`; variables keep their dtype, whatever the file's precision.
        path: the file, ending in `.weights.h5`.
        sha256: the expected checksum, hexadecimal, or None.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for another ending or checksum, a file that is truncated or not HDF5, arrays of
            other layers or shapes, or values that are not finite. The message names the file and,
            where it is about one, the layer and both shapes.

    Example:
        >>> model, other = (de.build_embedder("conv1", channels=1) for _ in range(2))
        >>> de.save_weights(model, "conv1.weights.h5")
        >>> de.load_weights(other, "conv1.weights.h5")
        >>> np.array_equal(model.get_weights()[0], other.get_weights()[0])
        True
    """
    path = arguments.path("path", path)
    if sha256 is not None and not isinstance(sha256, str):
        raise ValueError(
            f"`sha256` must be hexadecimal digits, or None. Received: {arguments.received(sha256)}"
        )
    check_format(path)
    path = _check_suffix(path)
    own = _written(model)
    with open_hdf5(path, sha256) as file, h5py.File(own, "a") as target:
        datasets, expected = (
            find_datasets(file, path, skip="optimizer"),
            find_datasets(target, path),
        )
        _check_layout(path, datasets, expected)
        # Keras reads its own file with these values in it: nothing else of another one.
        for name, dataset in datasets.items():
            values = read_array(dataset, path, name)
            del target[name]
            target[name] = values
    keras.saving.load_weights(model, own, objects_to_skip=_optimizers(model))


def record_weights(
    root: str | os.PathLike | None,
    dataset: str,
    name: str,
    model: keras.Model,
    *,
    config: dict,
    data,
    budget: dict,
    errors: dict,
    half: bool = True,
) -> tuple[Path, dict]:
    """Saves weights as `<root>/<dataset>/<name>.weights.h5`, and what they are beside them.

    Weights and record, `<name>.json`, change together: a kill leaves the earlier ones or these.

    Args:
        root: see `weights_root`.
        dataset, name: plain names; `name` is "generator", "prior", "features" or that of an
            embedding network; LPIPS is "lpips", "alexnet".
        model: a built `keras.Model`.
        config: dict, what is needed to build the model again: all options that the weights depend
            on, since those that load them take no defaults.
        data: JSON value, what it was trained on.
        budget: dict, what the training took.
        errors: dict, measured errors.
        half: as for `save_weights`.

    Returns:
        `(path, entry)`, as `find_weights` returns them.

    Raises:
        ValueError: for other names, or values that JSON does not have, such as NaN, before
            anything is written; or as `save_weights` does.

    Example:
        >>> path, entry = de.record_weights(
        ...     "my_weights", "cats", "conv1", de.build_embedder("conv1", channels=1),
        ...     config={"channels": 1}, data="cats", budget={"steps": 0}, errors={},
        ... )
        >>> path.name, entry["parameters"]
        ('conv1.weights.h5', 26)
    """
    path = records.weights_path(weights_root(root), dataset, name)
    contents = _contents(model, half, path)
    packages = ("keras", keras.backend.backend())
    about = {"config": config, "data": data, "budget": budget, "errors": errors}
    return path, records.record(path, contents, model.count_params(), packages, **about)


def load_recorded(
    build, kinds, dataset, name, root=None, find=find_weights, least_size=None, load=load_weights
):
    """Builds a model from the entry of recorded weights, and loads them.

    Args:
        build: function from the entry's "config" to a built model.
        kinds: dict of the keys that "config" must have, all others may not be; see `schema.check`.
        dataset, name, root: as for `record_weights`.
        find: `find_weights` or `find_instrument`.
        least_size: function from "config" to bytes that a file of such weights has at least, or
            None.
        load: function of the model, the path and the checksum, which loads them.

    Returns:
        `(model, path, entry)`.

    Raises:
        MissingWeightsError: if there are none.
        WeightsError: if they, or their record, are damaged.
    """
    while True:
        path, entry = find(dataset, name, root)
        where, config = f"The record of {path}, in `config`", entry["config"]
        check(config, kinds, where, only=True)
        size = path.stat().st_size
        if least_size is not None and least_size(config) > size:
            raise WeightsError(f"{where}, is of a larger network than {size:,} bytes hold.")
        try:
            model = build(config)
        except (TypeError, ValueError) as error:
            raise WeightsError(f"{where}: {error}") from error
        try:
            load(model, path, entry["sha256"])
        except WeightsError:
            if find(dataset, name, root)[1]["sha256"] == entry["sha256"]:
                raise
            continue  # another process has replaced them in between
        return model, path, entry


class _Memory(io.BytesIO):
    """A file in memory where Keras expects a path, of which it looks at the ending.

    HDF5 that meets a full disk prints hundreds of lines and can crash.
    """

    def __str__(self):
        return f"memory{SUFFIX}"


def _written(model):
    arguments.instance("model", model, keras.Model)
    memory = _Memory()
    keras.saving.save_weights(model, memory, objects_to_skip=_optimizers(model))
    return memory


def _contents(model, half, path):
    """The bytes of a weights file; errors name `path`."""
    memory = io.BytesIO()
    # A second file: HDF5 does not give back the room of an array that is replaced.
    with h5py.File(_written(model), "r") as source, h5py.File(memory, "w") as target:
        _copy(source, target, half, path)
    return memory.getbuffer()


def _check_suffix(path):
    path = arguments.path("path", path)
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"The name of a weights file must end in `{SUFFIX}`. Received: {path}")
    return path


def _optimizers(model):
    """The optimizers of a model and of those inside it; Keras would store their state, too."""
    found = (getattr(layer, "optimizer", None) for layer in model._flatten_layers())
    return [optimizer for optimizer in found if optimizer is not None]


def _check_layout(path, datasets, expected):
    found, expected = (
        {name: dataset.shape for name, dataset in each.items()} for each in (datasets, expected)
    )
    differing = [name for name in expected | found if expected.get(name) != found.get(name)]
    if differing:
        name = differing[0]
        count = "1 array differs" if len(differing) == 1 else f"{len(differing)} arrays differ"
        raise WeightsError(
            f"{path} has the weights of another model: {count}. The first is {describe(name)}: "
            f"shape {found.get(name, 'missing')} in the file, "
            f"{expected.get(name, 'missing')} in the model."
        )


def _copy(source, target, half, path):
    """Copies groups, their attributes, and arrays, these in float16 where `half` says so."""

    def copy(name, item):
        if isinstance(item, h5py.Group):
            target.require_group(name).attrs.update(item.attrs)
            return
        values = read_array(item, path, name)
        if half and values.ndim >= 2:
            values = _to_half(values, path, name)
        target[name] = values

    source.visititems(copy)


def _to_half(values, path, name):
    with np.errstate(over="ignore"):  # reported below
        halved = values.astype(np.float16)
    if not np.isfinite(halved).all():
        raise ValueError(
            f"{path}: {describe(name)} does not fit float16, whose largest value is "
            f"{np.finfo(np.float16).max}. Received: {np.abs(values).max()}. "
            f"Save it with `half=False`."
        )
    return halved
