"""Silence for what libraries print before their logging heeds a setting."""

import contextlib
import os
import sys


@contextlib.contextmanager
def no_stderr():
    """Discards what C++ writes to the file descriptor of stderr; exceptions pass."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as devnull:
            os.dup2(devnull.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
