"""What verbs of labelled images share: attributes that are shown, test images, a cache."""

import numpy as np

from ddim_embed.arguments import nearest
from ddim_embed.data import CELEBA_ATTRIBUTES
from ddim_embed.store.sealed import read_arrays, write_arrays
from experiments.toolkit import sources
from experiments.toolkit.command_line import UsageError

# Those of Tables 9 and 10 of Preechakul et al. (2022), unless --attribute says otherwise.
SHOWN = ("Smiling", "Male", "Wavy_Hair", "Young", "Blond_Hair")


def cached(path, key, compute):
    """Returns a dict of arrays: those of the file `path`, or what `compute()` returns."""
    arrays = read_arrays(path, key)
    if arrays is None:
        arrays = compute()
        write_arrays(path, key, **arrays)
    return arrays


def data_key(config, *more):
    """Returns a key of what is computed of images, and of what `more` says."""
    words = config.data, config.source, config.image_shape, config.smoke
    return ", ".join(map(str, [*words, *more]))


def test_images(config, names, limit):
    """Test images, and their labels of the attributes `names`, bool `(n, k)`."""
    pixels, found, labels = sources.load_with_attributes(sources.reported(config), "test", limit)
    index = {name: i for i, name in enumerate(found)}
    # A class that no test image has is not among the names of unnamed classes.
    none = np.zeros(len(labels), bool)
    columns = [labels[:, index[name]] if name in index else none for name in names]
    return pixels, np.stack(columns, axis=1)


def chosen(names, wanted, most, shown=SHOWN):
    """Returns the attributes that are wanted; without any, those shown, or the first `most`."""
    for name in wanted:
        if name not in names:
            raise UsageError(
                f"--attribute must be one of {', '.join(names)}. "
                f"Received: {name}{nearest(name, names)}"
            )
    return wanted or (tuple(name for name in shown if name in names) or names)[:most]


def plain_name(name):
    """The name of an attribute as that of a file: classes may have slashes and spaces."""
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name)


def are_faces(names):
    """Whether attributes are those of faces."""
    return {*names} <= {*CELEBA_ATTRIBUTES}
