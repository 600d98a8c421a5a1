"""Files that are written whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path` and renames it to `path` when the block ends.

    After an error, or a kill, `path` is as it was. Its folder is created if it is missing. The
    temporary path has the same suffix, which tells matplotlib, Pillow and HDF5 the format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        # On disk before it takes the old file's place: a power cut is a kill, too.
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
