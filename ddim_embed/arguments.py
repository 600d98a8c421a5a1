"""Checks of arguments, so that a wrong one is answered in the same words everywhere.

Each check returns the argument, or raises a ValueError that names it, says what was expected and
what came. Numbers of NumPy's types are numbers; True and False are none.
"""

import difflib
import math
import operator
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

MOST = 2**31 - 1  # what the backends count in 32 bits
MOST_SEED = 2**63 - 1


def integer(name: str, value, least: int = 1, most: int = MOST) -> int:
    """An integer from `least` to `most`, as a Python int."""
    try:
        number = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = None
    if number is not None and least <= number <= most:
        return number
    above = number is not None and number > most
    bounds = f"of at least {least}" if most >= MOST and not above else f"from {least} to {most}"
    raise ValueError(f"`{name}` must be an integer {bounds}. Received: {received(value)}")


def integers(
    name: str, values, count: int | None = None, least: int = 1, least_count: int = 1
) -> tuple[int, ...]:
    """A sequence of integers of at least `least`: `count` of them, or at least `least_count`."""
    try:
        wrong = isinstance(values, (str, bytes, dict))
        found = None if wrong else tuple(integer(name, value, least) for value in values)
    except (TypeError, ValueError):
        found = None
    if found is None or len(found) < least_count or count not in (None, len(found)):
        raise ValueError(
            f"`{name}` must be {count or 'a sequence of'} integers of at least {least}. "
            f"Received: {received(values)}"
        )
    return found


def seed(value, name: str = "seed") -> int:
    """A seed of random numbers: an integer from 0 to 2**63 - 1."""
    return integer(name, value, 0, MOST_SEED)


def number(name: str, value, *, above=None, at_least=None, below=None, at_most=None) -> float:
    """A finite number within bounds, as a Python float."""
    limits = {
        "above": (above, operator.gt),
        "at least": (at_least, operator.ge),
        "below": (below, operator.lt),
        "at most": (at_most, operator.le),
    }
    limits = {words: limit for words, limit in limits.items() if limit[0] is not None}
    try:
        # Python makes numbers of True, and of words.
        found = float(value) if np.asarray(value).dtype.kind in "iufO" else math.nan
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not (math.isfinite(found) and all(holds(found, limit) for limit, holds in limits.values())):
        bounds = " and ".join(f"{words} {limit}" for words, (limit, _) in limits.items())
        raise ValueError(
            f"`{name}` must be a finite number{bounds and ' ' + bounds}. "
            f"Received: {received(value)}"
        )
    return found


def flag(name: str, value) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"`{name}` must be True or False. Received: {received(value)}")
    return bool(value)


def choice(name: str, value, choices: Iterable[str], otherwise: str = "") -> str:
    """One of some strings; `otherwise` continues the list of them where there is more to choose."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"`{name}` must be one of {tuple(choices)}{otherwise}. "
            f"Received: {received(value)}{nearest(value, choices)}"
        )
    return value


def nearest(value, choices: Iterable[str]) -> str:
    """ ". Did you mean 'unet'?", if one of the choices is much like the value; else ""."""
    lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(value.lower(), lower, 1) if isinstance(value, str) else ()
    return f". Did you mean {lower[found[0]]!r}?" if found else ""


def instance(name: str, value, kind: type):
    """An object of a class."""
    if not isinstance(value, kind):
        raise ValueError(f"`{name}` must be a `{kind.__name__}`. Received: {received(value)}")
    return value


def path(name: str, value) -> Path:
    """A path, which may lead nowhere yet."""
    good = isinstance(value, (str, os.PathLike)) and isinstance(os.fspath(value), str)
    if not good or os.fspath(value) == "" or "\0" in os.fspath(value):
        raise ValueError(f"`{name}` must be a path. Received: {received(value)}")
    return Path(value)


def function(name: str, value):
    """Anything that can be called."""
    if not callable(value):
        raise ValueError(f"`{name}` must be a function. Received: {received(value)}")
    return value


def array(name: str, values, dtype=np.float32) -> np.ndarray:
    """Numbers as an array of a type, None for their own; they may be infinite or NaN."""
    try:
        found = np.asarray(values)
    except (TypeError, ValueError):  # rows of different lengths
        found = np.asarray(None)
    if found.dtype.kind in "OSUcMmT":
        raise ValueError(
            f"`{name}` must be an array of real numbers. Received: "
            f"{type(values).__name__ if found.dtype.kind == 'O' else found.dtype}"
        )
    with np.errstate(over="ignore"):
        return found.astype(dtype or found.dtype, copy=False)


def finite_array(name: str, values, dtype=np.float32) -> np.ndarray:
    """As `array`, but all numbers must be finite."""
    found = array(name, values, dtype)
    if not np.isfinite(found).all():
        raise ValueError(f"`{name}` must be finite; some values are NaN or infinite.")
    return found


def contrasts(name: str, labels, count: int) -> np.ndarray:
    """Labels of attributes, 0 or 1, as weights of images whose sum is a difference of two means.

    Args:
        labels: `(count,)`, or `(count, k)` of k attributes.
        count: the number of images.

    Returns:
        float64 `(count, k)`, k = 1 for one attribute.
    """
    found = array(name, labels, np.float64)
    if found.ndim not in (1, 2) or len(found) != count or not np.isin(found, (0, 1)).all():
        raise ValueError(
            f"`{name}` must be 0 or 1, of shape ({count},) or ({count}, k). "
            f"Received: {received(labels)}"
        )
    found = found.reshape(count, -1)
    positive, negative = found.sum(axis=0), (1 - found).sum(axis=0)
    if not (positive.all() and negative.all()):
        raise ValueError(
            f"`{name}` must have images with and without each attribute. Received: "
            f"{positive.astype(int).tolist()} with it, {negative.astype(int).tolist()} without"
        )
    return found / positive - (1 - found) / negative


def received(value) -> str:
    """An argument as a message shows it: in one line, which is not too long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer of more digits than Python prints, or an object's own fault
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}..."
