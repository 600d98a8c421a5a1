"""Refuses work that does not fit into memory before it starts; the system would kill it later."""

import math
import os
from pathlib import Path

_UNITS = "bytes", "KiB", "MiB", "GiB", "TiB", "PiB"
# Limits of a container and its use, of either version of Linux's control groups.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.stat", "anon"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
        "total_rss",
    ),
)


class NotEnoughMemoryError(ValueError, MemoryError):
    """What was asked for would not fit into memory; nothing was begun.

    A `ValueError`, as a smaller value is what helps.
    """


def require_memory(needed: float, what: str) -> None:
    """Returns if there is memory for some work.

    Args:
        needed: bytes that the work is expected to take at once, at the least.
        what: the work with its size, for the message, such as "1000000 images of 32x32x1".

    Raises:
        NotEnoughMemoryError: a `ValueError` and a `MemoryError`, if less is available.
    """
    available = available_memory()
    if needed > available:
        raise NotEnoughMemoryError(
            f"There is not enough memory for {what}: it takes about {_size(needed)}, and "
            f"{_size(available)} are available. Ask for less at a time."
        )


def available_memory() -> float:
    """Bytes that this process can still allocate: of the system, its container and its `ulimit`.

    Infinite where the system does not say. Memory of a GPU does not count.
    """
    return max(0, min(_system(), _address_space(), *(_group(*files) for files in _GROUPS)))


def _system():
    sizes = _numbers("/proc/meminfo")
    if "MemAvailable:" in sizes:
        return 1024 * (sizes["MemAvailable:"] + sizes.get("SwapFree:", 0))
    try:  # not Linux: all of it is the best guess
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _group(limit, statistics, used):
    try:
        size = int(Path(limit).read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return math.inf
    return size - _numbers(statistics).get(used, 0)


def _address_space():
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        used = pages * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError, ValueError):
        return math.inf
    return math.inf if limit == resource.RLIM_INFINITY else limit - used


def _numbers(path):
    """The numbers of a file with a name and a number on each line."""
    try:
        rows = [line.split() for line in Path(path).read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _size(count):
    """A number of bytes in words."""
    if count >= 2**70:
        return "1 ZiB or more"
    power = min(max(int(count).bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{count / 1024**power:,.{1 if power else 0}f} {_UNITS[power]}"
