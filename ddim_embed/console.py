"""What the command lines of the library and of the experiments share; imports no TensorFlow."""

import contextlib
import dataclasses
import difflib
import errno
import io
import logging
import os
import platform
import re
import signal
import sys
import threading
from typing import Annotated, get_origin

from ddim_embed.quiet import no_stderr

# What to do about errors of the file system; their own words say what is wrong.
_REMEDIES = {
    errno.ENOSPC: "Free some space, or choose a folder on another disk.",
    errno.EDQUOT: "Free some of your quota, or choose a folder on another disk.",
    errno.EROFS: "Choose a folder that can be written to.",
    errno.EACCES: "Choose a folder that can be written to, or change its permissions.",
    errno.EPERM: "Choose a folder that can be written to, or change its permissions.",
    errno.ENAMETOOLONG: "Choose shorter names.",
    errno.ELOOP: "Choose a path without a circle of links.",
    errno.EMFILE: "Raise the limit of open files, `ulimit -n`.",
    errno.ENFILE: "Close other programs.",
    errno.EIO: "The disk may be damaged: choose a folder on another one.",
    errno.EFBIG: "Choose a folder on another disk, or raise the limit of file sizes, `ulimit -f`.",
}


# Characters of a message.
_LONGEST = 2000


class UsageError(ValueError):
    """The user asked for something impossible; the message says what was expected."""


class Terminated(KeyboardInterrupt):
    """The system asked the program to end."""

    def __init__(self, number):
        super().__init__()
        self.number = number


@contextlib.contextmanager
def errors_in_a_line(explain=str):
    """Ends the program with one line on stderr for errors that are not faults of the program.

    The exit code is 2 for a `UsageError`; 1 for missing or damaged weights, data or images, any
    error of the file system, too little memory, chunks of work that failed, and a training that
    diverged; 130 for Ctrl-C, with
    the words of its exception, and 128 + its number for another signal to end; 141, without a word,
    if nobody reads the output any more. `explain` turns an error into its message.
    """
    try:
        with _signals():
            try:
                yield
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()  # a full disk or a closed pipe shows now
    except BrokenPipeError:
        _discard(sys.stdout, sys.stderr)
        sys.exit(141)
    except KeyboardInterrupt as stop:
        print(_line("Interrupted.", *stop.args), file=sys.stderr)
        sys.exit(128 + getattr(stop, "number", signal.SIGINT))
    except UsageError as error:
        sys.exit(_report(explain(error), code=2))
    except OSError as error:
        if error.errno is None:  # the library's own
            sys.exit(_report(explain(error), code=1))
        if error.filename is None and error.errno == errno.ENOSPC:
            _discard(sys.stdout)  # else Python tries once more
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        reason = error.strerror or str(error)
        sys.exit(_report(f"{': '.join([*names, reason])}. {_REMEDIES.get(error.errno, '')}", 1))
    except (MemoryError, FloatingPointError) as error:
        sys.exit(_report(explain(error) or "There is not enough memory. Ask for less.", code=1))
    except Exception as error:
        if not _is_expected(error):
            raise
        sys.exit(_report(explain(error), code=1))


def _is_expected(error):
    """Whether an error is of weights, of chunks, or of too little memory as the backends say it."""
    if "ResourceExhausted" in type(error).__name__ or "RESOURCE_EXHAUSTED" in str(error):
        return True
    if not isinstance(error, ValueError | RuntimeError):
        return False
    from ddim_embed.store.weights import WeightsError
    from ddim_embed.workers import FailedChunksError

    return isinstance(error, WeightsError | FailedChunksError)


@contextlib.contextmanager
def _signals():
    """Turns the signals that end a program into an exception, so that what is open is closed."""
    asked = []

    def stop(number, frame):
        raise Terminated(number)

    def interrupt(number, frame):
        asked.append(number)
        raise KeyboardInterrupt

    def unraisable(what, usual=sys.unraisablehook):
        if not isinstance(what.exc_value, KeyboardInterrupt):
            return usual(what)
        # It came while Python freed an object, where exceptions are lost: once more in a moment.
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()

    before, hook = {}, sys.unraisablehook
    with contextlib.suppress(ValueError):  # not the main thread
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
            sys.unraisablehook = unraisable
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Only where nobody else decided: `nohup` ignores the end of the terminal.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # not the main thread
                before[number] = signal.signal(number, stop)
    try:
        yield
    except Exception as error:
        if asked:  # TensorFlow makes an error of its own of the exception
            raise KeyboardInterrupt from error
        raise
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _discard(*streams):
    """Sends streams nowhere: Python flushes them once more at its end, which would fail again."""
    for stream in streams:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def words_of(arguments):
    """Returns the words of a command line as strings; None stands for those of the process.

    Words that cannot be written to the terminal, such as file names of another encoding, are
    written with escapes from here on. Raises a UsageError for an empty word: a variable of the
    shell that is not set would else name the current folder.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a notebook's
            stream.reconfigure(errors="backslashreplace")
    words = [str(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    for before, word in zip(["", *words], words, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            flag = word.rstrip("=") or (before if before.startswith("--") else "An argument")
            raise UsageError(f"{flag} must not be empty.")
    return words


def flags(command):
    """Returns the names of the fields of a dataclass that are flags.

    Fields whose type is annotated are not: they are hidden, positional, or hold flags themselves.
    """
    fields = dataclasses.fields(command)
    return [field.name for field in fields if get_origin(field.type) is not Annotated]


def given(arguments, names):
    """Returns those of some names of flags that are among the arguments: a set."""
    found = {_name(word) for word in arguments if word.startswith("--")}
    found |= {name.removeprefix("no_") for name in found}  # --no-mirror
    return found & {*names}


def flag(name):
    """Returns the flag of a field."""
    return "--" + name.replace("_", "-")


def require_flags(arguments, commands):
    """Raises a UsageError for a word that is no command, or a flag that does nothing for it.

    Args:
        arguments: words of the command line, the command first.
        commands: dict from the name of a command to the names of its flags.
    """
    command, *words = arguments or ["--help"]
    if command in ("-h", "--help"):
        return
    if command not in commands:
        raise UsageError(
            f"There is no command {command}.{nearest(command, commands)} "
            f"There are: {', '.join(commands)}."
        )
    own = {*commands[command], "help"}
    for word in words:
        if word.startswith("--") and word != "--" and not given([word], own):
            refused = word.partition("=")[0]
            if given([word], set().union(*commands.values())):
                raise UsageError(f"{refused} does nothing for `{command}`.")
            raise UsageError(
                f"`{command}` has no flag {refused}.{nearest(refused, [*map(flag, sorted(own))])} "
                "--help lists all."
            )


def _name(word):
    return word.removeprefix("--").partition("=")[0].replace("-", "_")


def parse(kind, arguments, **options):
    """Returns what `tyro.cli` makes of the arguments; what it refuses is a UsageError of a line."""
    import tyro

    written, columns = io.StringIO(), os.environ.get("COLUMNS")
    if not {"-h", "--help"} & {*arguments}:
        os.environ["COLUMNS"] = "1000"  # no line of a message is broken
    try:
        with contextlib.redirect_stderr(written):
            return tyro.cli(kind, args=arguments, **options)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise UsageError(_line_of(written.getvalue())) from None
    finally:
        os.environ.pop("COLUMNS", None)
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _line_of(box):
    """Returns what a box of tyro says, without its title and its help, in a line."""
    lines = [line.strip(" │") for line in box.splitlines()]
    inside = "\n".join(line for line in lines if not line.startswith(("╭", "╰")))
    # Where a terminal has no lines for boxes, the title comes before a rule, too.
    parts = [part.strip() for part in re.split(r"^[─-]{3,}$", inside, flags=re.MULTILINE)]
    line = " ".join(parts[0 if "╭" in box or len(parts) == 1 else 1].split())
    line = line.replace("invalid literal for int() with base 10:", "expected a whole number, not")
    line = line.replace("could not convert string to float:", "expected a number, not")
    received, *choices = re.findall(r"'([^']*)'", line) or [""]
    return f"{line.rstrip('.')}.{nearest(received, choices)}"


def nearest(word, words):
    """Returns a sentence with the nearest of some words, or ""."""
    found = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f" Did you mean {found[0]}?" if found else ""


def import_tensorflow(one_core_per_operation=True):
    """Imports TensorFlow and finds its devices without printing their messages; sets its threads.

    Both print before TensorFlow's logging heeds `TF_CPP_MIN_LOG_LEVEL`; a level of 0 or 1 shows
    their messages. Keras with another backend needs no TensorFlow: then it does nothing.
    """
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    if platform.machine() in ("x86_64", "AMD64"):
        # TensorFlow leaves its faster convolutions off on processors without VNNI: before AMD's
        # Zen 4 and Intel's Cascade Lake.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    quiet = level >= "2" and "tensorflow" not in sys.modules
    with no_stderr() if quiet else contextlib.nullcontext():
        import tensorflow as tf

        from ddim_embed import use_one_core_per_operation

        tf.config.list_physical_devices()
    # TensorFloat-32 rounds products to ten bits: errors are reported in float32.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if one_core_per_operation:
        # A process that has computed before, such as a notebook's, keeps its threads: slower.
        with contextlib.suppress(RuntimeError):
            use_one_core_per_operation()
    # Each training run traces its own step, of which TensorFlow warns after the fifth.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def _report(message, code):
    print(_line("error:", message), file=sys.stderr)
    return code


def _line(*words):
    """Words as one line, which is not too long: a file name may have line breaks, and thousands of
    names may be wrong."""
    text = " ".join(" ".join(map(str, words)).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
