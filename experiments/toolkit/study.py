"""What studies have in common: one question each, a dataclass of flags, no verbs.

As in `runner`, TensorFlow is imported by what a study runs: a wrong flag answers at once.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from experiments.configuration import require
from experiments.toolkit.command_line import command_line, errors_in_a_line, import_tensorflow


@dataclasses.dataclass(frozen=True)
class Study:
    """The settings that every study has.

    Attributes:
        seed: of everything random.
        results: folder of results; `<results>/<name>/` is written to.
        smoke: tiny sizes, to see in seconds that everything works.
    """

    name: ClassVar[str]

    seed: int = 0
    results: Path = Path("results")
    smoke: bool = False

    @property
    def result_folder(self):
        """Where results of this study are written."""
        return self.results / (f"{self.name}-smoke" if self.smoke else self.name)

    @property
    def progress(self):
        """Whether to show bars: a smoke run is over before one is read."""
        return sys.stderr.isatty() or not self.smoke

    def shrink(self):
        """The `--smoke` version of these settings."""
        return dataclasses.replace(self, smoke=True)

    def check(self):
        """Sees to it that values are in their ranges; raises UsageError, which names the flag."""
        require(self.seed >= 0, "seed", "at least 0", self.seed)


def main(study, run, arguments=None):
    """Runs a study from the command line.

    Args:
        study: a `Study`, whose values are the flags' defaults.
        run: `run(study, command)`, called with the settings that the flags make and with what a
            user would type to repeat it.
        arguments: list of words; by default those of the command line.

    Raises:
        SystemExit: with code 2 for a wrong flag or value, the reason on stderr.
    """
    arguments = [str(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    parsed = _parse(study, arguments)
    if parsed.smoke:
        # Once more, so that tiny sizes are defaults, and flags still come before defaults.
        parsed = _parse(study.shrink(), arguments)
    with errors_in_a_line():
        parsed.check()
        import_tensorflow()
        run(parsed, command_line(study.name, arguments))


def _parse(study, arguments):
    try:
        return tyro.cli(
            Annotated[type(study), tyro.conf.arg(name="")],
            prog=f"python -m experiments.{study.name}",
            description=sys.modules[type(study).__module__].__doc__,
            args=arguments,
            default=study,
        )
    except SystemExit as stop:
        if stop.code == 2:  # tyro names the flags that look alike; here are all
            names = ["--" + field.name.replace("_", "-") for field in dataclasses.fields(study)]
            print(f"Flags: {', '.join(names)}", file=sys.stderr)
        raise
