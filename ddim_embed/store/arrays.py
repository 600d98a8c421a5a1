"""What is learnt and is no Keras model: named arrays, recorded as weights are."""

import io

import h5py
import numpy as np

from ddim_embed.store import records
from ddim_embed.store.hdf5 import WeightsError, describe, find_datasets, open_hdf5, read_array


def record_arrays(root, dataset, name, arrays, packages, **about):
    """Saves arrays as `<root>/<dataset>/<name>.weights.h5`, and what they are beside them.

    Args:
        root, dataset, name: as for `record_weights`.
        arrays: dict from name to an array of floats, stored in its own precision.
        packages: names of the packages that made them, whose versions are noted.
        about: "config", "data", "budget" and "errors", as for `record_weights`.

    Returns and raises as `record_weights`.
    """
    path = records.weights_path(records.weights_root(root), dataset, name)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for key, values in arrays.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{path}: {describe(key)} has values that are not finite.")
            file[key] = values
    parameters = sum(values.size for values in arrays.values())
    return path, records.record(path, memory.getbuffer(), parameters, packages, **about)


def load_arrays(arrays, path, sha256=None):
    """Fills arrays from a file of `record_arrays`, after checking all of it.

    Args:
        arrays: dict from name to an array of the shape that the file must have.
        path, sha256, and what is raised: as for `load_weights`.
    """
    with open_hdf5(path, sha256) as file:
        datasets = find_datasets(file, path)
        expected = {name: values.shape for name, values in arrays.items()}
        found = {name: dataset.shape for name, dataset in datasets.items()}
        if found != expected:
            raise WeightsError(f"{path} has other arrays. Expected: {expected}. Received: {found}")
        for name, values in arrays.items():
            values[...] = read_array(datasets[name], path, name)
