"""Files that are written whole or not at all."""

import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path

from ddim_embed.store.locks import fcntl, is_there, lock

# What temporary files are called: by this the next run knows those that a kill has left.
PREFIX = ".saving-"


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path` and renames it to `path` when the block ends.

    After an error, or a kill, `path` is as it was; a link `path` is replaced, not what it leads to.
    The folder is created if it is missing, and rid of the temporary files of processes that were
    killed. The temporary file exists already, so that no one else's, nor a link, is written to. It
    has the suffix of `path`, which tells matplotlib and Pillow the format.

    Raises:
        OSError: with the name of `path`, if it cannot be written: the disk is full, for instance.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        temporary, file = _create(path)
        with file:
            try:
                yield temporary
                # On disk before it takes the old file's place: a power cut is a kill, too.
                with open(temporary, "rb") as written:
                    os.fsync(written.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        # Not those of the block that are about another file, or the library's own.
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def sha256_of(path):
    """The checksum of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path):
    """Waits until the renames in a folder are on disk, where the system can tell."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _create(path):
    """A new temporary file, and what holds its lock: a sign that this process lives."""
    while True:
        name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(8)}{path.suffix}"
        temporary = path.with_name(name)
        file = open(temporary, "xb")  # noqa: SIM115 (the caller closes it)
        if fcntl is None:
            file.close()  # Windows renames no open files
            return temporary, contextlib.nullcontext()
        lock(file, wait=True)
        if is_there(file):
            return temporary, file
        file.close()  # another process took it for a leftover before it was locked


def _remove_leftovers(folder):
    if fcntl is None:
        return
    found = []
    with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
        found = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    for path in found:
        # Not a link, and no waiting for a pipe.
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
        with contextlib.suppress(OSError):
            descriptor = os.open(path, flags)
            with open(descriptor, "rb") as file:
                if stat.S_ISREG(os.fstat(descriptor).st_mode) and lock(file, wait=False):
                    os.unlink(path)
