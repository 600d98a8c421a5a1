"""A study answers one question: a dataclass of flags, without verbs."""

import contextlib
import dataclasses
import inspect
import sys
import zipfile
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import tyro

from ddim_embed import console
from ddim_embed.store.outputs import Outputs
from experiments.toolkit import command_line
from experiments.toolkit.command_line import (
    Command,
    Settings,
    require_at_least,
    require_finite,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(Settings, Command):
    """The settings that every study has.

    Attributes:
        seed: random seed.
        results: folder of results; files are written to `<results>/<name>/`.
        smoke: tiny sizes, to see in seconds that everything works.
    """

    name: ClassVar[str]

    seed: int = 0
    results: Path = Path("results")
    smoke: bool = False

    def shrink(self):
        """Returns the `--smoke` version of these settings."""
        return dataclasses.replace(self, smoke=True)

    @property
    def outputs(self):
        return Outputs(self.result_folder, "--results")

    def check(self):
        """Raises `UsageError` for a value out of its range; names the flag and the value."""
        require_at_least(self, seed=0)


def main(study, arguments=None):
    """Runs a study with its values as the defaults of flags; exits as `command_line.main` does."""
    with console.errors_in_a_line(command_line.with_command):
        arguments = console.words_of(arguments)
        names = console.flags(study)
        console.require_flags([study.name, *arguments], {study.name: names})
        parsed = console.parse(
            Annotated[type(study), tyro.conf.arg(name="")],
            arguments,
            prog=f"python -m experiments.{study.name}",
            description=sys.modules[type(study).__module__].__doc__,
            default=study,
        )
        study = study.shrink() if parsed.smoke else study
        study = dataclasses.replace(
            study,
            command=command_line.command_of(study.name, arguments),
            **{name: getattr(parsed, name) for name in console.given(arguments, names)},
        )
        require_finite(study)
        study.check()
        command_line.run(study)


def call(function, name, arguments=None):
    """Runs a function whose arguments are the flags of `python -m experiments.<name>`."""
    with console.errors_in_a_line(command_line.with_command):
        arguments = console.words_of(arguments)
        console.require_flags([name, *arguments], {name: inspect.signature(function).parameters})
        prog = f"python -m experiments.{name}"
        return console.parse(function, arguments, prog=prog)


@contextlib.contextmanager
def open_npz(name, path):
    """Opens an .npz file; says in a line what is wrong with one that does not hold its arrays.

    Args:
        name: what the command line calls it.
        path: the file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            yield stored
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise console.UsageError(
            f"{name} must be the .npz file. Received: {path} ({error})"
        ) from error
