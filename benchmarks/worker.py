"""One contender in a process of its own, so that no library disturbs another's threads or memory.

Reads requests as JSON lines from standard input and answers each with one line.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path

from benchmarks.work import SIZES


def main():
    """Answers requests `{"piece", "size", "batch", "calls", ...}` with seconds per call.

    `first_seconds` are those of the call before, which compiles.
    """
    contender, precision = sys.argv[1:]
    module = importlib.import_module(f"benchmarks.{contender}")
    # The libraries print, too; the answers go where nothing else does.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    made, first = {}, None
    for line in sys.stdin:
        request = json.loads(line)
        key = (request["piece"], request["size"], request["batch"])
        if key not in made:
            made.clear()  # one model at a time: memory is measured
            gc.collect()
            forget_peak()
            arguments = request.get("arguments", {})
            size = SIZES[request["size"]]
            made[key] = module.make(
                request["piece"], size, request["batch"], precision, **arguments
            )
            started = time.perf_counter()
            made[key]()  # builds graphs and caches
            first = time.perf_counter() - started
        seconds = []
        for _ in range(request["calls"]):
            started = time.perf_counter()
            made[key]()
            seconds.append(time.perf_counter() - started)
        answer = {"seconds": seconds, "first_seconds": first, "peak_mib": peak_mib()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def forget_peak():
    """Has Linux start its measurement of the peak anew; elsewhere it is that of the process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib():
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
