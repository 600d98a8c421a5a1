"""Weights files, checked before they are loaded, and the manifest that says what they are."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
from importlib.metadata import version
from pathlib import Path

import h5py
import keras
import numpy as np

from ddim_embed.arguments import nearest, received
from ddim_embed.store.atomic import replacing

MANIFEST = "manifest.json"
SUFFIX = ".weights.h5"
ENVIRONMENT_VARIABLE = "DDIM_EMBED_WEIGHTS"
_PACKAGE = Path(__file__).resolve().parent.parent


class WeightsError(ValueError):
    """A file of weights, or a manifest, is damaged or not what it should be."""


class MissingWeightsError(FileNotFoundError):
    """There are no such weights; `dataset` and `name` say which."""

    def __init__(self, dataset, name, root, manifest):
        self.dataset, self.name = dataset, name
        meant = nearest(f"{dataset}/{name}", manifest) or "."
        super().__init__(
            f"No weights `{dataset}/{name}` in {root}, which has: "
            f"{', '.join(sorted(manifest)) or 'none'}{meant}"
        )


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
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "written" + SUFFIX)
        _write(model, written)
        # A second file: HDF5 does not give back the room of an array that is replaced.
        with (
            replacing(path) as checked,
            h5py.File(written, "r") as source,
            h5py.File(checked, "w") as target,
        ):
            _copy(source, target, half, path)


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
    path = _check_suffix(path)
    if sha256 is not None:
        _check_sha256(path, sha256)
    with open_hdf5(path) as file:
        datasets = find_datasets(file, skip="optimizer")
        _check_layout(path, datasets, _layout(model))
        for name, dataset in datasets.items():
            read_array(dataset, path, name)
    keras.saving.load_weights(model, path, objects_to_skip=_optimizers(model))


def weights_root(root=None):
    """Returns the folder of the weights files, a `Path`.

    `root` if given; else the environment variable DDIM_EMBED_WEIGHTS; else `pretrained_weights`
    inside the package, where a wheel has them; else `weights` beside the package, where a checkout
    has them.
    """
    return Path(root or os.environ.get(ENVIRONMENT_VARIABLE) or _shipped_root())


def _shipped_root():
    installed = _PACKAGE / "pretrained_weights"
    return installed if installed.is_dir() else _PACKAGE.parent / "weights"


def read_manifest(root=None):
    """Returns the manifest as a dict from "<data set>/<name>" to the file's entry.

    A folder without a manifest has no entries. Raises a WeightsError if it is not a JSON object.
    """
    path = weights_root(root) / MANIFEST
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"The manifest {path} is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise WeightsError(f"The manifest {path} must be a JSON object.")
    return manifest


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
    """Saves weights as `<root>/<dataset>/<name>.weights.h5` and enters them into the manifest.

    Args:
        root: see `weights_root`.
        dataset, name: plain names; `name` is "generator", "features" or that of an embedding
            network; LPIPS is "lpips", "alexnet".
        model: a built `keras.Model`.
        config: dict, what is needed to build the model again.
        data: JSON value, what it was trained on.
        budget: dict, what the training took.
        errors: dict, measured errors.
        half: as for `save_weights`.

    Returns:
        `(path, entry)`, as `find_weights` returns them.

    Raises:
        TypeError: if the description has values that JSON has not, before anything is written.
        ValueError: for other names, numbers that are not finite, or as `save_weights` does.

    Example:
        >>> path, entry = de.record_weights(
        ...     "my_weights", "cats", "conv1", de.build_embedder("conv1", channels=1),
        ...     config={"channels": 1}, data="cats", budget={"steps": 0}, errors={},
        ... )
        >>> path.name, entry["parameters"]
        ('conv1.weights.h5', 26)
    """
    root = weights_root(root)
    path = _weights_path(root, dataset, name)
    description = {"config": config, "data": data, "budget": budget, "errors": errors}
    # Through JSON and back, so that the caller sees what a reader will see.
    description = json.loads(_to_json(description))
    read_manifest(root)  # a damaged one is no place for an entry
    save_weights(model, path, half=half)
    entry = description | {
        "sha256": _sha256(path),
        "size": path.stat().st_size,
        "parameters": model.count_params(),
        "versions": {name: version(name) for name in ("keras", keras.backend.backend())},
    }
    _update_manifest(root, {f"{dataset}/{name}": entry})
    return path, entry


def record_errors(root, dataset: str, name: str, errors: dict) -> None:
    """Replaces the errors in the manifest's entry of recorded weights; arguments as there.

    Raises a MissingWeightsError if there are no such weights.
    """
    _, entry = find_weights(dataset, name, root)
    _update_manifest(weights_root(root), {f"{dataset}/{name}": entry | {"errors": errors}})


def _update_manifest(root, entries):
    manifest = read_manifest(root) | entries  # as it is now: saving weights takes a while
    with replacing(root / MANIFEST) as temporary:
        temporary.write_text(_to_json(manifest) + "\n", encoding="utf-8")


def find_instrument(dataset, name, root=None):
    """As `find_weights`, but where `root` has none, those that are shipped.

    Of what measures images, a classifier or LPIPS, which is no part of what is trained and measured
    in a folder of one's own.
    """
    try:
        return find_weights(dataset, name, root)
    except FileNotFoundError:
        if f"{dataset}/{name}" not in read_manifest(_shipped_root()):
            raise
        return find_weights(dataset, name, _shipped_root())


def find_weights(dataset, name, root=None):
    """Finds the weights that `record_weights` recorded under these names.

    Returns:
        `(path, entry)`: the file, and its entry in the manifest with keys "sha256", "size" (bytes),
        "parameters", "config", "data", "budget", "errors" and "versions".

    Raises:
        MissingWeightsError: if there are none; the message lists those there are.
        ValueError: for names that are not plain.
    """
    root = weights_root(root)
    path = _weights_path(root, dataset, name)
    manifest = read_manifest(root)
    entry = manifest.get(f"{dataset}/{name}")
    if entry is None or not path.is_file():
        raise MissingWeightsError(dataset, name, root, manifest)
    return path, entry


@contextlib.contextmanager
def open_hdf5(path):
    """Opens a file for reading; what HDF5 cannot read, now or in the `with` block, is a ValueError.

    Raises a FileNotFoundError if there is no such file.
    """
    _check_exists(path)
    if not h5py.is_hdf5(path):
        raise WeightsError(f"{path} is not an HDF5 file.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise WeightsError(f"{path} is truncated or damaged: {error}") from error


def find_datasets(group, skip=None):
    """Returns a dict from path to h5py dataset, for all inside a group but a child named `skip`.

    Links are not followed: they can lead out of the file.
    """
    datasets = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and name.partition("/")[0] != skip:
            datasets[name] = item

    group.visititems(visit)
    return datasets


def read_array(dataset, path, name):
    """Reads an h5py dataset, whose shape was checked, as a float32 array of finite values.

    Raises a ValueError, which names the file and the dataset, for other types, values that are not
    finite, or values that are stored in other files.
    """
    if dataset.external or dataset.is_virtual:
        raise WeightsError(f"{path}: the values of {_describe(name)} are kept in other files.")
    if not np.issubdtype(dataset.dtype, np.floating):
        raise WeightsError(
            f"{path}: {_describe(name)} is of type {dataset.dtype}, not a float type."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as not finite
        values = dataset[()].astype(np.float32)
    if not np.isfinite(values).all():
        raise WeightsError(f"{path}: {_describe(name)} has values that are not finite.")
    return values


def _check_suffix(path):
    path = Path(path)
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"The name of a weights file must end in `{SUFFIX}`. Received: {path}")
    return path


def _check_exists(path):
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sha256(path, expected):
    _check_exists(path)
    found = _sha256(path)
    if found != expected.lower():
        raise WeightsError(
            f"The checksum of {path} is wrong: the file is damaged, or another one. "
            f"Expected sha256: {expected}. Received: {found}"
        )


def _optimizers(model):
    """The optimizers of a model and of those inside it; Keras would store their state, too."""
    found = (getattr(layer, "optimizer", None) for layer in model._flatten_layers())
    return [optimizer for optimizer in found if optimizer is not None]


def _write(model, path):
    keras.saving.save_weights(model, path, objects_to_skip=_optimizers(model))


def _layout(model):
    """Paths and shapes of the arrays that a model writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model" + SUFFIX)
        _write(model, path)
        with h5py.File(path, "r") as file:
            return {name: dataset.shape for name, dataset in find_datasets(file).items()}


def _check_layout(path, datasets, expected):
    found = {name: dataset.shape for name, dataset in datasets.items()}
    differing = [name for name in expected | found if expected.get(name) != found.get(name)]
    if differing:
        name = differing[0]
        count = "1 array differs" if len(differing) == 1 else f"{len(differing)} arrays differ"
        raise WeightsError(
            f"{path} has the weights of another model: {count}. The first is {_describe(name)}: "
            f"shape {found.get(name, 'missing')} in the file, "
            f"{expected.get(name, 'missing')} in the model."
        )


def _describe(name):
    """`block/conv1/vars/0`, as Keras names arrays, in words."""
    layer, _, index = name.rpartition("/vars/")
    return f"array {index} of layer `{layer}`" if layer else f"array `{name}`"


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
            f"{path}: {_describe(name)} does not fit float16, whose largest value is "
            f"{np.finfo(np.float16).max}. Received: {np.abs(values).max()}. "
            f"Save it with `half=False`."
        )
    return halved


def _weights_path(root, dataset, name):
    """The name alone decides where a file lies: no path in a manifest can lead elsewhere."""
    for argument, value in (("dataset", dataset), ("name", name)):
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", value):
            raise ValueError(
                f"`{argument}` must consist of letters, digits, `_` and `-`. "
                f"Received: {received(value)}"
            )
    return Path(root) / dataset / f"{name}{SUFFIX}"


def _to_json(value):
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
