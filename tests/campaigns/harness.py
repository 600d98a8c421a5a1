"""What a case is, what it may take, and how it may end.

A campaign draws its cases from a seed and a number: `draw(rng)` returns words for the case and a
function that tries it. The function returns how the case ended, in one of the words below, and
raises for everything else.
"""

import collections
import contextlib
import faulthandler
import hashlib
import io
import linecache
import os
import random
import resource
import signal
import socket
import stat
import threading
import traceback
import warnings
from pathlib import Path

# Harmless input, and the right value; bad input, and an error in words; more work than the test
# waits for, and an end in one line after Ctrl-C.
DONE, REFUSED, INTERRUPTED = "done", "refused", "interrupted"

SECONDS = 20
HANGS = 60  # then the process is ended: nothing in it looks at signals any more
MEMORY = 2**30  # bytes that a case may take beside what there is
ROOT = Path(__file__).resolve().parents[2]
_OURS = tuple(str(ROOT / room) + os.sep for room in ("ddim_embed", "experiments"))


class Fault(Exception):
    """A case that ends in another way than it may."""


def run(campaign, seed, numbers, started=lambda number: None):
    """Tries cases; returns how many ended in which way, and a list of faults in words."""
    counts, faults = collections.Counter(), []
    for number in numbers:
        started(number)
        words = "cannot be drawn"
        try:
            words, attempt = campaign.draw(random.Random(f"{seed}/{number}"))
            with _limits(), warnings.catch_warnings(action="ignore"):
                counts[attempt()] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            counts["fault"] += 1
            faults.append(
                f"{campaign.name} --seed {seed} --only {number}: {words[:400]}: {_shown(error)}"
            )
    return counts, faults


def refused(call, also=()):
    """Calls; returns None if an error in words is raised, else the value in a tuple.

    An error in words is a ValueError, TypeError, OSError, or one of the types `also`, that a
    `raise` of ours raises, or the system's about a file that it names.
    """
    try:
        return (call(),)
    except (ValueError, TypeError, OSError, *also) as error:
        text = str(error)
        # The system's own words are good ones, too, where they name the file.
        named = isinstance(error, OSError) and error.errno is not None and error.filename
        if not (_raised_by_us(error) or named) or not text or len(text) > 4000:
            raise
        return None


def _raised_by_us(error):
    frame = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(frame.filename, frame.lineno).strip()
    return frame.filename.startswith(_OURS) and line.startswith("raise")


def command(main, arguments, seconds=None):
    """Runs a command line in this process: DONE, REFUSED, or INTERRUPTED after some seconds."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with _interrupted_after(seconds) as asked, warnings.catch_warnings():
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main(arguments)
        except SystemExit as stop:
            code = stop.code or 0
    lines = err.getvalue().replace("\r", "\n").splitlines()
    if "Traceback" in err.getvalue():
        raise Fault(f"a traceback: {lines[-1]}")
    if asked and code == 130:
        if not lines or not lines[-1].startswith("Interrupted."):
            raise Fault(f"no line about Ctrl-C, but {lines[-1:]}")
        return INTERRUPTED
    errors = [line for line in lines if line.startswith("error: ")]
    if code in (1, 2):
        if len(errors) != 1 or lines[-1] != errors[0] or len(errors[0]) > 4000:
            raise Fault(f"exit code {code} with {len(errors)} lines of errors: {lines[-3:]}")
        return REFUSED
    if code != 0 or errors:
        raise Fault(f"exit code {code} and {lines[-3:]}")
    return DONE


@contextlib.contextmanager
def _interrupted_after(seconds):
    """Ctrl-C after some seconds, or never; yields a list that is filled then."""
    asked = []
    if seconds is None:
        yield asked
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt():
        asked.append(True)
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(seconds, interrupt)
    timer.start()
    try:
        try:
            yield asked
        finally:
            timer.cancel()
            timer.join()
    except KeyboardInterrupt:
        raise Fault("Ctrl-C passes the command line") from None
    finally:
        signal.signal(signal.SIGINT, before)


class _TooLong(BaseException):
    """Passes `except Exception`."""


@contextlib.contextmanager
def _limits():
    """Time and memory of one case."""

    def stop(number, frame):
        raise _TooLong(f"more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    old, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Threads reserve addresses that they do not use: the limit on those is only the last resort.
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 8 * MEMORY, hard))
    faulthandler.dump_traceback_later(HANGS, exit=True)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_AS, (old, hard))
        signal.signal(signal.SIGALRM, before)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    if grown > MEMORY:
        raise Fault(f"{grown / 2**30:.1f} GiB more memory")


def _shown(error):
    where = ""
    if not isinstance(error, Fault):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f" ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"


class Bystanders:
    """Files that no case may change: what they are is compared before and after."""

    def __init__(self, *folders):
        self._folders = folders
        self._before = self._look()

    def check(self, added=False):
        """Raises a Fault if a file is another one, gone, or, unless `added`, new."""
        now = self._look()
        if added:
            now = {path: what for path, what in now.items() if path in self._before}
        if now != self._before:
            differing = [
                name for name in now | self._before if now.get(name) != self._before.get(name)
            ]
            self._before = now
            raise Fault(f"changed files: {differing[:3]}")

    def _look(self):
        found = {}
        for folder in self._folders:
            for path in sorted(Path(folder).rglob("*")):
                status = path.lstat()
                regular = stat.S_ISREG(status.st_mode)
                found[path] = (
                    status.st_mode, status.st_size if regular else 0, status.st_mtime_ns,
                    hashlib.sha256(path.read_bytes()).hexdigest() if regular else None,
                )  # fmt: skip
        return found


def damaged(contents, rng):
    """Bytes with one fault of a disk, a network or a hand; returns words for it and the bytes."""
    contents = bytearray(contents)
    size = max(len(contents), 1)
    at = rng.randrange(size)
    length = min(rng.choice((1, 2, 4, 8, 64, 512, size // 2)), size - at)
    kind = rng.choice(("flip", "cut", "zero", "ones", "insert", "drop", "swap", "double", "random"))
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 1, 3, 20))):
            contents[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del contents[at:]
    elif kind == "zero":
        contents[at : at + length] = bytes(length)
    elif kind == "ones":
        contents[at : at + length] = b"\xff" * length
    elif kind == "insert":
        contents[at:at] = rng.randbytes(length)
    elif kind == "drop":
        del contents[at : at + length]
    elif kind == "swap":
        other = rng.randrange(max(1, size - length))
        first, second = contents[at : at + length], contents[other : other + length]
        contents[at : at + length], contents[other : other + length] = second, first
    elif kind == "double":
        contents[at:at] = contents[at : at + length]
    else:
        contents[at : at + length] = rng.randbytes(length)
    return f"{kind} {length} at {at}", bytes(contents)


def put(path, contents=b""):
    """Writes a file in the place of whatever is there."""
    path = Path(path)
    remove(path)
    path.write_bytes(contents)
    return path


def remove(path):
    """Removes a file, link or folder, if there is one."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            remove(child)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


# What else may lie where a file is expected.
PLACES = (
    "empty",
    "folder",
    "pipe",
    "socket",
    "device",
    "loop",
    "dangling",
    "text",
    "pickle",
    "zip",
)


def place(path, kind):
    """Puts something else where a file is expected."""
    path = Path(path)
    remove(path)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # addresses are short
        try:
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(path.name)
        finally:
            os.chdir(here)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "dangling":
        path.symlink_to(path.parent / "nowhere")
    else:
        path.write_bytes(_CONTENTS[kind])


_CONTENTS = {
    "empty": b"",
    "text": b"these are not the weights\n" * 20,
    # Would print if it were unpickled.
    "pickle": b"cbuiltins\nprint\n(S'unpickled'\ntR.",
    "zip": b"PK\x05\x06" + bytes(18),
}
