"""Directions among the weights of a data set: recorded, and loaded by name."""

import math
from pathlib import Path

import numpy as np

from ddim_embed import arguments
from ddim_embed.semantics.direction import SemanticDirection
from ddim_embed.store.arrays import load_arrays, record_arrays
from ddim_embed.store.schema import Kind, integer, integers
from ddim_embed.store.weights import load_recorded

_CONFIG = {
    "shape": integers(1, 2**15, 4, 4),
    "num_steps": integer(1, 2**12),
    "fingerprint": Kind(lambda value: isinstance(value, str), "the key of a generator"),
    "strength": Kind(lambda value: type(value) in (int, float), "a number"),
}


def record_direction(
    root: str | Path | None,
    dataset: str,
    direction: SemanticDirection,
    *,
    data,
    budget: dict | None = None,
    errors: dict | None = None,
) -> tuple[Path, dict]:
    """Saves a direction beside the weights of its generator, with a record of what it is.

    The shifts are stored as float16; those of a direction whose steps are all alike once.

    Args:
        root: see `weights_root`; None for the shipped folder.
        dataset: data set, the folder of the generator.
        direction: a `SemanticDirection`, whose name is a plain one.
        data: JSON value, what it was found with.
        budget: dict, what it took.
        errors: dict, what was measured.

    Returns:
        `(path, entry)`, as `record_weights`.

    Raises:
        ValueError: for names that are not plain, values that JSON does not have, or shifts beyond
            the range of float16.

    Example:
        >>> smiling = de.SemanticDirection(np.ones((10, 4, 4, 8)), "mine", 0.7, name="Smiling")
        >>> path, entry = de.record_direction("my_weights", "faces", smiling, data="20 portraits")
        >>> path.name
        'direction_Smiling.weights.h5'
        >>> de.load_direction("faces", "Smiling", "my_weights").strength
        0.7
    """
    arguments.instance("direction", direction, SemanticDirection)
    with np.errstate(over="ignore"):  # what is too large for it is refused as not finite
        rows = np.float16(direction.distinct)
    config = {
        "shape": [*rows.shape],
        "num_steps": direction.num_steps,
        "fingerprint": direction.fingerprint,
        "strength": direction.strength,
    }
    return record_arrays(
        root,
        dataset,
        _name(direction.name),
        {"shifts": rows},
        ("numpy",),
        config=config,
        data=data,
        budget=budget or {},
        errors=errors or {},
    )


def load_direction(dataset: str, name: str, root: str | Path | None = None) -> SemanticDirection:
    """Loads a direction of `record_direction`.

    Args:
        dataset: data set, a folder of `weights/`.
        name: of the direction, such as "Smiling".
        root: folder of weights; by default the shipped one.

    Returns:
        A `SemanticDirection`.

    Raises:
        FileNotFoundError: if there is none; the message lists what there is.
        ValueError: if the file is not what its record says.

    Example:
        >>> try:
        ...     de.load_direction("mnist", "Smiling")
        ... except FileNotFoundError as error:
        ...     print(str(error).partition(" in ")[0])
        No weights `mnist/direction_Smiling`
    """
    arrays, _, entry = load_recorded(
        _empty,
        _CONFIG,
        dataset,
        _name(name),
        root,
        least_size=lambda config: 2 * math.prod(config["shape"]),
        load=load_arrays,
    )
    config, rows = entry["config"], arrays["shifts"]
    shifts = np.broadcast_to(rows, (config["num_steps"], *rows.shape[1:]))
    return SemanticDirection(shifts, config["fingerprint"], config["strength"], name)


def _empty(config):
    count, *_ = config["shape"]
    if count not in (1, config["num_steps"]):
        raise ValueError(f"There must be 1 or {config['num_steps']} shifts. Received: {count}")
    return {"shifts": np.empty(config["shape"], np.float32)}


def _name(name):
    return f"direction_{name}" if isinstance(name, str) and name else name
