"""What the command lines of the library and of the experiments share; imports no TensorFlow."""

import contextlib
import logging
import os
import platform
import sys


class UsageError(ValueError):
    """The user asked for something impossible; the message says what was expected."""


@contextlib.contextmanager
def errors_in_a_line(explain=str):
    """Ends the program with one line on stderr for errors that are not faults of the program.

    The exit code is 2 for a `UsageError`; 1 for missing or damaged weights, data or images, a path
    that cannot be written, and a training that diverged. `explain` turns an error into its message.
    """
    try:
        yield
    except UsageError as error:
        sys.exit(_report(explain(error), code=2))
    except (FileExistsError, NotADirectoryError, PermissionError, FloatingPointError) as error:
        sys.exit(_report(explain(error), code=1))
    except (FileNotFoundError, ConnectionError) as error:
        # The library's own errors have no `errno`. The system's are faults of the program here.
        if error.errno is not None:
            raise
        sys.exit(_report(explain(error), code=1))
    except ValueError as error:
        from ddim_embed.store.weights import WeightsError

        if not isinstance(error, WeightsError):
            raise
        sys.exit(_report(explain(error), code=1))


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
    with _no_stderr() if quiet else contextlib.nullcontext():
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


@contextlib.contextmanager
def _no_stderr():
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


def _report(message, code):
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    return code
