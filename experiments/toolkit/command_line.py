"""One command line for all systems: `main(config, verbs)`.

TensorFlow is imported when a verb runs, not here: `--help` and a wrong flag answer at once.
"""

import dataclasses
import math
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, ClassVar, Union, get_origin

import tyro
from tyro.conf import Suppress

from ddim_embed.console import UsageError, errors_in_a_line, import_tensorflow


def require(owner, name, holds, expected):
    """Raises `UsageError`, which names the flag of a field and its value, unless `holds`."""
    if not holds:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} must be {expected}. Received: {getattr(owner, name)}")


def require_positive(owner, *names):
    """Raises `UsageError` unless these fields are positive and finite."""
    for name in names:
        require(owner, name, 0 < getattr(owner, name) < math.inf, "positive")  # false for NaN, too


def require_at_least(owner, **least):
    """Raises `UsageError` for a field below its least value."""
    for name, value in least.items():
        require(owner, name, getattr(owner, name) >= value, f"at least {value}")


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

    Prints an error to stderr and exits with code 2 for a wrong verb, flag or value, or with code 1
    where weights, data or readable images are missing.

    Args:
        config: the configuration, whose values are the defaults of the flags. It has a `name` and
            a `result_folder`, and the methods `adapt(parsed)` and `override(parsed, given)`.
        verbs: dict from name to a subclass of `Command` with a field `config` and a class method
            `defaults(config)`; the first one runs if no verb is named.
        arguments: list of words; None for those of the command line.
        prepare: function of the verb that is called before it runs, or None.
    """
    arguments = words(arguments)
    with errors_in_a_line(with_command):
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


def with_command(error):
    """Returns the message of an error; with the command that makes weights that are missing."""
    name = getattr(error, "name", None)
    if not isinstance(error, FileNotFoundError) or name is None:
        return str(error)
    words = {
        "generator": f"{error.dataset} train",
        "features": f"features {error.dataset}",
        "alexnet": "lpips_weights ARRAYS.npz tests/golden/lpips_portraits.npz",
    }.get(name, f"{error.dataset} train-embedders {name}")
    return f"{error} Make them with `python -m experiments.{words}`."


def command_of(module, arguments):
    """Returns what a user types to run `experiments.<module>`; it is recorded with every result.

    A path in the home folder begins with `~`, so that published results name no user.
    """
    home = f"{Path.home()}{os.sep}"
    words = [
        f"~/{shlex.quote(word.removeprefix(home))}" if word.startswith(home) else shlex.quote(word)
        for word in arguments
    ]
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    words = ["python", "-m", f"experiments.{module}", *words]
    return " ".join([f"KERAS_BACKEND={backend}"] * (backend != "tensorflow") + words)
