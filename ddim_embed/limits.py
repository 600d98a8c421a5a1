"""How much a file may expand to when it is read: small files can hold gigabytes of zeros."""

import os

ENVIRONMENT_VARIABLE = "DDIM_EMBED_MAX_GIB"
_DEFAULT_GIB = 4


class ExpansionError(ValueError):
    """A file expands to more than the limit."""


def check_expansion(what, size, stored=0):
    """Raises an ExpansionError for data that take more than the limit, before they are read.

    Args:
        what: words for the message.
        size: bytes in memory.
        stored: bytes in the file; as many are never too many, since they are there.
    """
    limit = os.environ.get(ENVIRONMENT_VARIABLE) or _DEFAULT_GIB
    try:
        limit = float(limit)
    except ValueError:
        raise ValueError(
            f"{ENVIRONMENT_VARIABLE} must be a number, of GiB. Received: {limit!r}"
        ) from None
    if not size <= max(limit * 2**30, stored):
        raise ExpansionError(
            f"{what} takes {size / 2**30:,.1f} GiB in memory, more than the limit of {limit:g} GiB "
            f"for files that expand. If it is as it should be, set {ENVIRONMENT_VARIABLE} to more."
        )
