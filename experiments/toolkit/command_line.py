"""One command line for all systems: `main(config, verbs)`.

TensorFlow is imported when a verb runs, not here: `--help` and a wrong flag answer at once.
"""

import contextlib
import contextvars
import dataclasses
import functools
import math
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, ClassVar, Union

import tyro
from tyro.conf import Suppress

from ddim_embed import console
from ddim_embed.console import UsageError, errors_in_a_line, flags, given, import_tensorflow

# Function from the words of a verb to the command that runs it beside the one that runs now.
_beside = contextvars.ContextVar("beside", default=None)


def require(owner, name, holds, expected):
    """Raises `UsageError`, which names the flag of a field and its value, unless `holds`."""
    if not holds:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} must be {expected}. Received: {getattr(owner, name)}")


def require_finite(*owners):
    """Raises `UsageError` for a field that is not finite: results in JSON cannot hold it."""
    for owner in owners:
        for field in dataclasses.fields(owner):
            value = getattr(owner, field.name)
            finite = not isinstance(value, float) or math.isfinite(value)
            require(owner, field.name, finite, "a finite number")


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
    # Further files that it writes to the folder of results.
    writes: ClassVar[tuple[str, ...]] = ()
    # What a user does after Ctrl-C.
    after_interrupt: ClassVar[str] = "The same command begins anew."

    command: Suppress[str] = ""

    @property
    def outputs(self):
        """The folder of results, an `Outputs`; None for a command that has no results."""
        return None

    def check(self):
        """Raises `UsageError` for values that can be refused without TensorFlow."""

    def claim(self):
        """Raises, before work begins, if a file of the user's is where a result would be."""
        if self.outputs is not None:
            names = [name for section in self.sections for name in (section.file, *section.figures)]
            self.outputs.claim(*names, *self.writes, *["index.html"] * bool(self.sections))

    def surroundings(self):
        """A context in which the work is done."""
        return contextlib.nullcontext()

    def run(self):
        """Does the work."""
        raise NotImplementedError


def main(config, verbs, arguments=None, prepare=None):
    """Runs one verb of an experiment; errors end it as `console.errors_in_a_line` says.

    Args:
        config: the configuration, whose values are the defaults of the flags. It has a `name` and
            a `result_folder`, and the methods `adapt(parsed)` and `override(parsed, given)`.
        verbs: dict from name to a subclass of `Command` with a field `config`, a class attribute
            `uses` (the names of the fields of the configuration that it uses) and a class method
            `defaults(config)`; the first one runs if no verb is named.
        arguments: list of words; None for those of the command line.
        prepare: function from the verb to the verb that runs, or None.
    """
    before = _beside.set(None)
    try:
        with errors_in_a_line(with_command):
            arguments = console.words_of(arguments)
            verb = parse_verb(config, verbs, arguments)
            _beside.set(functools.partial(_command_beside, config, verbs, verb, arguments))
            verb.check()
            run(verb, prepare)
            if verb.sections:
                from experiments.toolkit import pages

                sections = [section for each in verbs.values() for section in each.sections]
                pages.write_results(verb.outputs, sections)
    finally:
        _beside.reset(before)


def run(command, prepare=None):
    """Runs a command that is checked, after what can be refused without TensorFlow is."""
    command.claim()
    import_tensorflow(command.one_core_per_operation)
    try:
        if prepare is not None:
            command = prepare(command)
        with command.surroundings():
            command.run()
    except KeyboardInterrupt as stop:
        stop.args = (command.after_interrupt,)
        raise


def parse_verb(config, verbs, arguments):
    """Returns the verb that the command line asks for, ready to run.

    Defaults depend on the flags, for instance on `--smoke` and `--data`, so that they are set after
    parsing, for all flags that are not given.
    """
    command = command_of(config.name, arguments)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = [next(iter(verbs)), *arguments]
    prog = f"python -m experiments.{config.name}"
    if arguments[0] in ("-h", "--help"):
        kinds = [
            Annotated[verb, tyro.conf.subcommand(name, default=verb.defaults(config))]
            for name, verb in verbs.items()
        ]
        words = f"The experiment {config.name}. `VERB --help` lists the flags of a verb."
        return console.parse(Union[tuple(kinds)], arguments, prog=prog, description=words)  # noqa: UP007
    smoke = "--smoke" in arguments
    uses = {name: verb.uses_in_smoke() if smoke else verb.uses for name, verb in verbs.items()}
    offered = {name: [*flags(verb), *uses[name]] for name, verb in verbs.items()}
    console.require_flags(arguments, offered)
    name, *words = arguments
    verb, default = verbs[name], verbs[name].defaults(config)
    if {"-h", "--help"} & {*words}:
        verb, default = _showing(verb, config, uses[name])
    parsed = console.parse(verb, words, default=default, prog=f"{prog} {name}")
    defaults = verb.defaults(config.adapt(parsed.config))
    changes = {name: getattr(parsed, name) for name in given(words, flags(verb))}
    # Positional arguments: no default of theirs depends on the configuration.
    changes |= {
        field.name: value
        for field in dataclasses.fields(parsed)
        if field.name != "config"
        and (value := getattr(parsed, field.name)) != getattr(default, field.name)
    }
    own = given(words, flags(config))
    changes["config"] = defaults.config.override(parsed.config, own)
    verb = dataclasses.replace(defaults, **changes | {"command": command})
    require_finite(verb, verb.config)
    for name, reason in verb.idle.items():
        if name in own | given(words, flags(verb)):
            raise UsageError(f"{console.flag(name)} does nothing {reason}.")
    return verb


def _showing(verb, config, uses):
    """Returns a verb, and its defaults, whose help shows only some flags of the configuration."""
    fields = [
        (field.name, field.type if field.name in uses else Suppress[field.type])
        for field in dataclasses.fields(config)
    ]
    options = {"frozen": True, "kw_only": True}
    kind = dataclasses.make_dataclass("Shown", fields, bases=(type(config),), **options)
    kind.__doc__ = type(config).__doc__
    own = Annotated[kind, tyro.conf.arg(name="")]
    shown = dataclasses.make_dataclass(verb.__name__, [("config", own)], bases=(verb,), **options)
    shown.__doc__ = verb.__doc__
    return shown, shown.defaults(kind(**{name: getattr(config, name) for name, _ in fields}))


def _command_beside(config, verbs, verb, arguments, words):
    """Returns the command that runs another verb with the flags that both verbs use."""
    other = verbs[words[0]]
    shared = given(arguments, other.uses_in_smoke() if verb.config.smoke else other.uses)
    for field in dataclasses.fields(verb.config):
        value = getattr(verb.config, field.name)
        if field.name not in shared:
            continue
        name = console.flag(field.name)
        if isinstance(value, bool):
            words = [*words, name if value else name.replace("--", "--no-")]
        else:
            values = value if isinstance(value, tuple) else [value]
            words = [*words, name, *map(str, values)]
    return command_of(config.name, words)


def with_command(error):
    """Returns the message of an error; with the command that makes weights that are missing."""
    name = getattr(error, "name", None)
    if not isinstance(error, FileNotFoundError) or name is None:
        return str(error)
    if name == "alexnet":
        command = command_of("lpips_weights", ["ARRAYS.npz", "tests/golden/lpips_portraits.npz"])
    elif name == "resnet29":
        golden = "tests/golden/identity_portraits.npz"
        command = command_of("identity_weights", ["ARRAYS.npz", golden])
    elif name == "features":
        command = command_of("features", [error.dataset])
    else:
        verbs = {
            "generator": ["train"],
            "autoencoder": ["train-autoencoder"],
            "classifier": ["attributes"],
            "prior": ["train-prior"],
        }
        start, _, attribute = name.partition("_")
        if start == "direction":
            words = ["train-direction", "--attribute", attribute]
        else:
            words = verbs.get(name, ["train-embedders", name])
        beside = _beside.get()
        command = command_of(error.dataset, words) if beside is None else beside(words)
    return f"{error} Make them with `{command}`."


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
