"""What a batch must be for a model to learn from it, checked on the host before a compiled step."""

import itertools
import types

import keras
import numpy as np

from ddim_embed import backend

_PAIRS = " Map the data set: `dataset.map(lambda image, label: image)`."
_DICTIONARIES = ' Map the data set: `dataset.map(lambda example: example["image"])`.'
_INTEGERS = ' Bytes become pixels by `tf.cast(image, "float32") / 255`.'


def parts_of(data, names, owner, image_shape=(None, None, None)):
    """The tensors of a batch, of which dtypes and shapes alone are looked at.

    Args:
        data: what a data set yields, or Keras makes of the arguments of `fit`: `x`, or a tuple
            `(x, y, sample_weight)`, in which None stands for nothing.
        names: what the batch consists of, such as `("pixels",)`.
        owner: name of the model, for the message.
        image_shape: (height, width, channels), or (dims,) of vectors, None where any will do.

    Returns:
        A list of tensors, one for each name.

    Raises:
        ValueError: unless there are as many float tensors `(batch, *image_shape)` of one shape.
    """
    parts = list(data) if isinstance(data, (list, tuple)) else [data]
    while len(parts) > 1 and parts[-1] is None:
        parts.pop()
    shapes = [_shape_of(part) for part in parts]
    if (
        len(parts) != len(names)
        or not all(map(_is_float, parts))
        or None in shapes
        or any(not _match(shape[1:], image_shape) for shape in shapes)
        or any(not _match(shape, shapes[0]) for shape in shapes)
    ):
        wanted = f"pairs ({', '.join(names)})" if len(names) > 1 else f"{names[0]} alone"
        axes = ("dims",) if len(image_shape) == 1 else ("height", "width", "channels")
        sizes = zip(image_shape, axes, strict=True)
        shape = ", ".join(["batch", *(str(size or name) for size, name in sizes)])
        raise ValueError(
            f"{owner} takes {wanted}, floats of shape ({shape}) without labels or weights. "
            f"Received: {_describe(parts)}.{_advice(parts, names)}"
        )
    return parts


def check_pixels(pixels):
    """Raises ValueError unless pixels, an array or tensor, are finite and in [0, 1]."""
    values = np.asarray(pixels)
    if not values.size:
        raise ValueError(f"There must be at least one image. Received shape: {values.shape}")
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            "`pixels` must be in [0, 1]; bytes become pixels by a division by 255. "
            f"Received values from {low:.4g} to {high:.4g}"
        )


def check_vectors(vectors):
    """Raises ValueError unless vectors, an array or tensor, are finite and at least one."""
    values = np.asarray(vectors)
    if not (values.size and np.isfinite(values).all()):
        raise ValueError(
            "`vectors` must be finite, and at least one. Received: "
            + ("some are NaN or infinite" if values.size else f"shape {values.shape}")
        )


def look_at(x, y=None):
    """The first batch of what `fit` takes, or arrays as a whole, without losing it.

    Args:
        x, y: as for `keras.Model.fit`.

    Returns:
        `x`, or what has to take its place; and the batch, None if there is none to see.
    """
    if isinstance(x, types.GeneratorType):
        first = next(x, None)
        return (x, None) if first is None else (_chain(first, x), first)
    if isinstance(x, keras.utils.PyDataset):
        return x, x[0]
    if isinstance(x, (list, tuple, dict)) or not hasattr(x, "__iter__") or hasattr(x, "shape"):
        return x, (x, y)
    # The parts of a distributed data set lie on several devices.
    return x, None if backend.is_distributed(x) else next(iter(x), None)


def _chain(first, rest):
    for batch in itertools.chain([first], rest):
        yield batch if isinstance(batch, tuple) else (batch,)  # Keras wants tuples of generators


def _shape_of(part):
    shape = getattr(part, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None:
        return None
    return tuple(shape)


def _is_float(part):
    dtype = getattr(part, "dtype", None)
    return dtype is not None and keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(dtype)
    )


def _match(shape, other):
    return len(shape) == len(other) and all(
        a == b or a is None or b is None for a, b in zip(shape, other, strict=True)
    )


def _advice(parts, names):
    if any(isinstance(part, dict) for part in parts):
        return _DICTIONARIES
    if len(parts) == 2 and len(names) == 1:
        return _PAIRS
    bytes_of_images = names[0] == "pixels" and any(
        _shape_of(part) and not _is_float(part) for part in parts
    )
    return _INTEGERS if bytes_of_images else ""


def _describe(data):
    if isinstance(data, dict):
        return f"a dictionary of {', '.join(f'{k!r}: {_describe(v)}' for k, v in data.items())}"
    if isinstance(data, (list, tuple)):
        words = [_describe(part) for part in data[:3]] + ["..."] * (len(data) > 3)
        return words[0] if len(data) == 1 else f"({', '.join(words)})"
    shape = getattr(data, "shape", None)
    if shape is None:
        return type(data).__name__ if data is not None else "None"
    return f"{keras.backend.standardize_dtype(data.dtype)} of shape {shape}"
