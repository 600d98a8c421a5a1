"""The command line that all experiments share: `main(CONFIG)`.

TensorFlow is imported when a verb runs, not here: `--help` and a wrong flag answer at once.
"""

import contextlib
import dataclasses
import logging
import os
import platform
import shlex
import sys
from pathlib import Path

import tyro

from experiments.configuration import Experiment, UsageError, adapt, apart, check, shrink
from experiments.embedding.verbs import verbs


def main(config, arguments=None):
    """Runs one verb of an experiment.

    Args:
        config: an `Experiment`, whose values are the flags' defaults.
        arguments: list of words; by default those of the command line.

    Raises:
        SystemExit: with code 2 for a wrong verb, flag or value; with code 1 where weights, data or
            readable images are missing. The reason is printed to stderr.
    """
    arguments = [str(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    command = command_line(config.name, arguments)
    with errors_in_a_line():
        call = _parse(config, arguments)
        check(call.config)
        import_tensorflow(call.one_core_per_operation)
        call.run(command)


def command_line(module, arguments):
    """What a user would type to run `experiments.<module>`, kept beside every result.

    A path in the home folder begins with `~`: what is published names no user.
    """
    home = f"{Path.home()}{os.sep}"
    words = [
        f"~/{shlex.quote(word.removeprefix(home))}" if word.startswith(home) else shlex.quote(word)
        for word in arguments
    ]
    return " ".join(["python", "-m", f"experiments.{module}", *words])


@contextlib.contextmanager
def errors_in_a_line():
    """Ends the program with a line on stderr for errors that are not faults of the program.

    Raises:
        SystemExit: with code 2 for what cannot be (`UsageError`), 1 for weights or data that are
            missing or damaged, folders that are none, and a training that diverged.
    """
    try:
        yield
    except UsageError as error:
        sys.exit(_say(error, code=2))
    except (FileExistsError, NotADirectoryError, PermissionError, FloatingPointError) as error:
        # A folder that was named is none, or a training diverged.
        sys.exit(_say(error, code=1))
    except (FileNotFoundError, ConnectionError) as error:
        # `errno` is set on the system's own errors, which are faults of the program here. Those
        # without are the library's words on weights or data that are not there yet.
        if error.errno is not None:
            raise
        sys.exit(_say(error, code=1))
    except ValueError as error:
        from ddim_embed.store.weights import WeightsError

        if not isinstance(error, WeightsError):
            raise
        sys.exit(_say(error, code=1))


def import_tensorflow(one_core_per_operation=True):
    """Imports TensorFlow and finds its devices without the messages of both; sets its threads.

    They come before TensorFlow has its logging up and heeds `TF_CPP_MIN_LOG_LEVEL`; setting that
    to 0 or 1 shows them.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        # TensorFlow leaves its faster convolutions off on processors without VNNI: before AMD's
        # Zen 4 and Intel's Cascade Lake.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    quiet = os.environ["TF_CPP_MIN_LOG_LEVEL"] >= "2" and "tensorflow" not in sys.modules
    with _no_stderr() if quiet else contextlib.nullcontext():
        import tensorflow as tf

        from ddim_embed.networks.parallel import use_one_core_per_operation

        tf.config.list_physical_devices()
    # Ampere and later would round products to ten bits: errors are reported in float32.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if one_core_per_operation:
        # In a process that has computed already, a notebook's for example, they stay: slower.
        with contextlib.suppress(RuntimeError):
            use_one_core_per_operation()
    # Each training run traces its own step, of which TensorFlow warns after the fifth.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextlib.contextmanager
def _no_stderr():
    """Discards what C++ writes to the file descriptor; exceptions pass."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _say(error, code):
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parse(config, arguments):
    """Words -> the `Call` of the verb they name."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = [next(iter(verbs(config))), *arguments]
    call = _read(config, arguments)
    # Once more with other defaults, so that flags still come before them.
    config = adapt(config, call.config)
    call = _read(config, arguments)
    if call.config.smoke:
        tiny = shrink(dataclasses.replace(config, results=call.config.results))
        call = _read(tiny, arguments)
        call = dataclasses.replace(call, config=apart(call.config, tiny))
    return call


def _read(config, arguments):
    found = verbs(config)
    try:
        return tyro.extras.subcommand_cli_from_dict(
            found,
            prog=f"python -m experiments.{config.name}",
            description=f"The experiment {config.name}. `VERB --help` lists the flags of a verb.",
            args=arguments,
        )
    except SystemExit as stop:
        if stop.code == 2:  # tyro names the flags that look alike; here are all
            fields = [f.name for f in dataclasses.fields(Experiment)]
            hidden = ("paper_mse", "paper_table2")
            names = ["--" + f.replace("_", "-") for f in fields if f not in hidden]
            print(f"Verbs: {', '.join(found)}\nFlags: {', '.join(names)}", file=sys.stderr)
        raise
