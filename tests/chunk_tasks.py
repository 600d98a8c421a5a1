"""What workers compute in test_workers.py: functions of a module, which they can import."""

import os
import signal
import time
from pathlib import Path


def square(number):
    return number**2


def fail_at_five(number, folder):
    """Fails for 5, and leaves a file for each try of it, named after the process."""
    if number == 5:
        _note(folder)
        raise ValueError("five is refused")
    return number


def fail_once(number, folder):
    """Fails for 5 the first time."""
    if number == 5:
        _note(folder)
        if len([*Path(folder).iterdir()]) == 1:
            raise OSError("no luck yet")
    return number


def die_at_five(number, folder):
    """Kills its process for 5."""
    time.sleep(0.02)
    if number == 5:
        _note(folder)
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def where_it_runs(number):
    time.sleep(0.05)
    return os.getpid()


def _note(folder):
    Path(folder, f"{os.getpid()}-{time.monotonic_ns()}").touch()
