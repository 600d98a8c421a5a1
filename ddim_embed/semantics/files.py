"""Directions among the weights of a data set: recorded, and loaded by name."""

import math
from pathlib import Path

import keras
import numpy as np
from keras import ops

from ddim_embed import arguments
from ddim_embed.semantics.direction import SemanticDirection
from ddim_embed.store.schema import Kind, integer, integers
from ddim_embed.store.weights import load_recorded, record_weights

_CONFIG = {
    "shape": integers(1, 2**15, 4, 4),
    "num_steps": integer(1, 2**16),
    "fingerprint": Kind(lambda value: isinstance(value, str), "the key of a generator"),
    "strength": Kind(lambda value: type(value) in (int, float), "a number"),
}


class _Shifts(keras.Model):
    """The shifts of a direction as what is recorded: the weights of a model."""

    def __init__(self, shape, num_steps):
        if shape[0] not in (1, num_steps):
            raise ValueError(f"There must be 1 or {num_steps} shifts. Received: {shape[0]}")
        super().__init__(dtype="float32")
        self.shifts = self.add_weight(shape=tuple(shape), name="shifts", initializer="zeros")
        self.built = True


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
        ValueError: for names that are not plain, or values that JSON does not have.

    Example:
        >>> smiling = de.SemanticDirection(np.ones((10, 4, 4, 8)), "mine", 0.7, name="Smiling")
        >>> path, entry = de.record_direction("my_weights", "faces", smiling, data="20 portraits")
        >>> path.name
        'direction_Smiling.weights.h5'
        >>> de.load_direction("faces", "Smiling", "my_weights").strength
        0.7
    """
    arguments.instance("direction", direction, SemanticDirection)
    rows = direction.distinct
    model = _Shifts(rows.shape, direction.num_steps)
    model.shifts.assign(rows)
    config = {
        "shape": rows.shape,
        "num_steps": direction.num_steps,
        "fingerprint": direction.fingerprint,
        "strength": direction.strength,
    }
    return record_weights(
        root,
        dataset,
        _name(direction.name),
        model,
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
    model, _, entry = load_recorded(
        lambda config: _Shifts(config["shape"], config["num_steps"]),
        _CONFIG,
        dataset,
        _name(name),
        root,
        least_size=lambda config: 2 * math.prod(config["shape"]),
    )
    config, rows = entry["config"], ops.convert_to_numpy(model.shifts.value)
    shifts = np.broadcast_to(rows, (config["num_steps"], *rows.shape[1:]))
    return SemanticDirection(shifts, config["fingerprint"], config["strength"], name)


def _name(name):
    return f"direction_{name}" if isinstance(name, str) and name else name
