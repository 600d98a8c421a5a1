"""What values from a file must be, and the words of the error where they are not."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ddim_embed.store.hdf5 import WeightsError


class Kind(NamedTuple):
    """What a value must be: a test of it, and words for it."""

    holds: Callable[[Any], bool]
    words: str


# Of weights that others belong to.
CHECKSUM = Kind(
    lambda value: (
        value is None or (isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value)))
    ),
    "64 hexadecimal digits, or null",
)


def integer(low, high=2**48):
    """An integer in an interval."""
    words = f"an integer from {low:,} to {high:,}"
    return Kind(lambda value: type(value) is int and low <= value <= high, words)


def integers(low, high, least, most):
    """A list of integers in an interval, `least` to `most` of them."""
    one, count = integer(low, high), f"{least}" if least == most else f"{least} to {most}"
    return Kind(
        lambda value: (
            isinstance(value, list) and least <= len(value) <= most and all(map(one.holds, value))
        ),
        f"a list of {count} integers from {low:,} to {high:,}",
    )


def one_of(names):
    """One of some names; None can be one of them."""
    names = [*names]
    return Kind(
        lambda value: not isinstance(value, list | dict) and value in names, f"one of {names}"
    )


def check(values, kinds, where, only=False):
    """Raises a WeightsError, which names the place and the key, unless a dict is as it should be.

    Args:
        values: what was read.
        kinds: dict from each key that there must be to its `Kind`.
        where: words for the place.
        only: whether there may be no other keys.
    """
    if not isinstance(values, dict):
        raise WeightsError(f"{where} must be a JSON object. Received: {_shown(values)}")
    for key, kind in kinds.items():
        if key not in values:
            raise WeightsError(f"{where} lacks `{key}`, which must be {kind.words}.")
        if not kind.holds(values[key]):
            raise WeightsError(
                f"{where}: `{key}` must be {kind.words}. Received: {_shown(values[key])}"
            )
    if only and (unknown := [key for key in values if key not in kinds]):
        raise WeightsError(
            f"{where} has `{_shown(unknown[0])[1:-1]}`, which is unknown here. "
            f"Expected: {', '.join(kinds)}"
        )


def _shown(value):
    words = ascii(value)
    return words if len(words) <= 80 else f"{words[:80]}..."
