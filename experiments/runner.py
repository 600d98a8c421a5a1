"""The command line that all experiments share: `main(CONFIG)`.

TensorFlow is imported when a verb runs, not here: `--help` and a wrong flag answer at once.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path

import tyro

from ddim_embed.console import errors_in_a_line as errors_in_a_line
from ddim_embed.console import import_tensorflow
from experiments.configuration import Experiment, adapt, apart, check, shrink
from experiments.missing import with_command
from experiments.verbs import verbs


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
    with errors_in_a_line(with_command):
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
