"""Trees of arrays, and the files that hold them: NumPy's own format, without pickle."""

import numpy as np

from experiments.toolkit import results

# In the folder of a data set, beside a tree per network.
SETTINGS = "settings.json"
IMAGES = "images.npy"
TRAINED = "trained"  # a folder: what was trained, a tree and a budget per network


def save_tree(path, tree):
    """Writes a tree of arrays, replacing `path` in one rename."""
    with results.replacing(path) as temporary:
        np.savez(temporary, **_flatten(tree))


def load_tree(path):
    """Reads a tree of `save_tree`, its lists and tuples as lists.

    Raises:
        ValueError: for a file that holds objects, not arrays.
    """
    with np.load(path, allow_pickle=False) as file:
        return _unflatten({name: file[name] for name in file.files})


def _flatten(tree, prefix=""):
    if isinstance(tree, dict | list | tuple):
        flat = {}
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            flat |= _flatten(value, f"{prefix}{key}/")
        return flat
    return {prefix[:-1]: np.asarray(tree)}


def _unflatten(flat):
    nested = {}
    for path, value in flat.items():
        *parents, last = path.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value

    def with_lists(node):
        if not isinstance(node, dict):
            return node
        if all(key.isdigit() for key in node):
            return [with_lists(node[str(index)]) for index in range(len(node))]
        return {key: with_lists(value) for key, value in node.items()}

    return with_lists(nested)
