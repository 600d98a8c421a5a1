"""Locks of files, which the system releases when their process ends, however it ends."""

import contextlib
import datetime
import os
import platform
import shlex
import sys

try:
    import fcntl
except ImportError:  # Windows: nothing is locked
    fcntl = None


class LockedError(BlockingIOError):
    """Another process holds a lock; the message says which."""


@contextlib.contextmanager
def locked(path, wait=True):
    """Holds the lock that the file `path` stands for; the file is there only while it is held.

    Where the system or the file system has no locks, nothing is locked.

    Args:
        path: the file, in a folder that exists.
        wait: whether to wait for a process that holds it.

    Raises:
        LockedError: if another process, or another block of this one, holds it and `wait` is False.
        OSError: if the file cannot be written.
    """
    # Not through a link: the file is written to.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        with open(os.open(path, flags, 0o666), "rb+", buffering=0) as file:
            if not lock(file, wait):
                raise LockedError(file.read(1000).decode("ascii", "replace") or "another process")
            if not is_there(file):
                continue  # who held it before has removed it
            try:
                with contextlib.suppress(OSError):  # only words: a full disk is found elsewhere
                    file.truncate()
                    file.write(_this_process())
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            return


def lock(file, wait):
    """Locks an open file until it is closed; returns False if another process holds its lock."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def is_there(file):
    """Whether an open file has a name still."""
    return os.fstat(file.fileno()).st_nlink > 0


def _this_process():
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    words = f"process {os.getpid()} on {platform.node()}, since {now}: {shlex.join(sys.argv)}"
    return words.encode("ascii", "backslashreplace")[:1000]
