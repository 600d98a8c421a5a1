"""One command line for all systems: `main(config, verbs)`.

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
from typing import Annotated, ClassVar, Union, get_origin

import tyro
from tyro.conf import Suppress


class UsageError(ValueError):
    """The command line asks for something impossible; the message is for the user."""


def require(condition, name, expected, received):
    """Raises `UsageError`, which names the flag of the field `name`, unless `condition` holds."""
    if not condition:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} must be {expected}. Received: {received}")


class Settings:
    """What configurations and studies derive from their fields `name`, `results` and `smoke`."""

    @property
    def result_folder(self):
        """Folder of the results."""
        return self.results / (f"{self.name}-smoke" if self.smoke else self.name)

    @property
    def progress(self):
        """Whether to show progress bars: a smoke run shows them on a terminal only."""
        return sys.stderr.isatty() or not self.smoke


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """What a command line runs: its fields are its flags, its docstring is its help.

    Attributes:
        command: what a user types to repeat it, recorded with every result.
    """

    # How TensorFlow uses the cores, as for `import_tensorflow`.
    one_core_per_operation: ClassVar[bool] = True
    # What the page of results shows of this command, a tuple of `pages.Section`.
    sections: ClassVar[tuple] = ()

    command: Suppress[str] = ""

    def check(self):
        """Raises `UsageError` for values that can be refused without TensorFlow."""

    def run(self):
        """Does the work."""
        raise NotImplementedError


def main(config, verbs, arguments=None, prepare=None):
    """Runs one verb of an experiment.

    Args:
        config: the configuration, whose values are the defaults of the flags. It has a `name` and
            a `result_folder`, and the methods `adapt(parsed)` and `override(parsed, given)`.
        verbs: dict from name to a subclass of `Command` with a field `config` and a class method
            `defaults(config)`; the first one runs if no verb is named.
        arguments: list of words; None for those of the command line.
        prepare: function of the verb that is called before it runs, or None.

    Raises:
        SystemExit: with code 2 for a wrong verb, flag or value; with code 1 where weights, data or
            readable images are missing. The reason is printed to stderr.
    """
    arguments = words(arguments)
    with errors_in_one_line():
        verb = parse_verb(config, verbs, arguments)
        verb.check()
        import_tensorflow(verb.one_core_per_operation)
        if prepare is not None:
            prepare(verb)
        verb.run()
        if verb.sections:
            from experiments.toolkit import pages

            sections = [section for each in verbs.values() for section in each.sections]
            print(f"The page is {pages.write_results(verb.config.result_folder, sections)}")


def words(arguments):
    """Returns arguments as strings; None stands for those of the command line."""
    return [str(word) for word in (sys.argv[1:] if arguments is None else arguments)]


def parse_verb(config, verbs, arguments):
    """Returns the verb that the command line asks for, ready to run.

    Defaults depend on the flags, for instance on `--smoke` and `--data`, so that they are set after
    parsing, for all flags that are not given.

    Args:
        config, verbs: as for `main`.
        arguments: list of strings.
    """
    command = command_of(config.name, arguments)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = [next(iter(verbs)), *arguments]
    subcommands = [
        Annotated[verb, tyro.conf.subcommand(name, default=verb.defaults(config))]
        for name, verb in verbs.items()
    ]
    parsed = parse(
        Union[tuple(subcommands)],  # noqa: UP007 (their number is not known here)
        hint=f"Verbs: {', '.join(verbs)}\n{flags_hint(config)}",
        args=arguments,
        prog=f"python -m experiments.{config.name}",
        description=f"The experiment {config.name}. `VERB --help` lists the flags of a verb.",
    )
    defaults = type(parsed).defaults(config.adapt(parsed.config))
    changes = {name: getattr(parsed, name) for name in given(arguments, parsed)}
    # Positional arguments: no default of theirs depends on the configuration.
    before = type(parsed).defaults(config)
    changes |= {
        field.name: value
        for field in dataclasses.fields(parsed)
        if field.name != "config"
        and (value := getattr(parsed, field.name)) != getattr(before, field.name)
    }
    changes["config"] = defaults.config.override(parsed.config, given(arguments, config))
    return dataclasses.replace(defaults, **changes | {"command": command})


def parse(kind, hint, **options):
    """`tyro.cli`, which prints a hint where it refuses the arguments."""
    try:
        return tyro.cli(kind, **options)
    except SystemExit as stop:
        if stop.code == 2:  # tyro names similar flags only
            print(hint, file=sys.stderr)
        raise


def flags(command):
    """Returns the names of the fields of a dataclass that are flags.

    Fields whose type is annotated are not: they are hidden, positional, or hold flags themselves.
    """
    fields = dataclasses.fields(command)
    return [field.name for field in fields if get_origin(field.type) is not Annotated]


def given(arguments, command):
    """Returns the names of the flags of a dataclass that are among the arguments: a set."""
    names = {
        word.removeprefix("--").partition("=")[0].replace("-", "_")
        for word in arguments
        if word.startswith("--")
    }
    names |= {name.removeprefix("no_") for name in names}  # --no-mirror
    return names & {*flags(command)}


def flags_hint(command):
    """Returns a line that lists the flags of a dataclass."""
    return "Flags: " + ", ".join("--" + name.replace("_", "-") for name in flags(command))


def command_of(module, arguments):
    """Returns what a user types to run `experiments.<module>`; it is recorded with every result.

    A path in the home folder begins with `~`, so that published results name no user.
    """
    home = f"{Path.home()}{os.sep}"
    words = [
        f"~/{shlex.quote(word.removeprefix(home))}" if word.startswith(home) else shlex.quote(word)
        for word in arguments
    ]
    return " ".join(["python", "-m", f"experiments.{module}", *words])


@contextlib.contextmanager
def errors_in_one_line():
    """Ends the program with one line on stderr for errors that are not bugs of the program.

    Raises:
        SystemExit: with code 2 for a `UsageError`; with code 1 if weights or data are missing or
            damaged, if a folder is a file or not writable, or if training diverged.
    """
    try:
        yield
    except UsageError as error:
        sys.exit(_report(error, code=2))
    except (FileExistsError, NotADirectoryError, PermissionError, FloatingPointError) as error:
        sys.exit(_report(error, code=1))
    except (FileNotFoundError, ConnectionError) as error:
        # The operating system's own errors have an `errno`: here they are bugs. The library's
        # errors, about missing weights or data, have none.
        if error.errno is not None:
            raise
        sys.exit(_report(error, code=1))
    except ValueError as error:
        from ddim_embed.store.weights import WeightsError

        if not isinstance(error, WeightsError):
            raise
        sys.exit(_report(error, code=1))


def import_tensorflow(one_core_per_operation=True):
    """Imports TensorFlow and lists its devices silently; sets its threads.

    TensorFlow prints before it reads `TF_CPP_MIN_LOG_LEVEL`; the values 0 and 1 show its messages.

    Args:
        one_core_per_operation: whether each operation runs on one core, and several at a time.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        # TensorFlow disables its faster convolutions on processors without VNNI, which are older
        # than AMD's Zen 4 and Intel's Cascade Lake.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    quiet = os.environ["TF_CPP_MIN_LOG_LEVEL"] >= "2" and "tensorflow" not in sys.modules
    with _no_stderr() if quiet else contextlib.nullcontext():
        import tensorflow as tf

        from ddim_embed.networks.parallel import use_one_core_per_operation

        tf.config.list_physical_devices()
    # GPUs since Ampere round products to ten bits by default; errors are reported in float32.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if one_core_per_operation:
        # Threads cannot be set in a process that has computed, for example a notebook's.
        with contextlib.suppress(RuntimeError):
            use_one_core_per_operation()
    # Each training run traces its own step; TensorFlow warns after the fifth.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextlib.contextmanager
def _no_stderr():
    """Discards output to file descriptor 2, including that of C++."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _report(error, code):
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code
