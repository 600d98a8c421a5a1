"""Runs an experiment: `main(CONFIG)`."""

from experiments.toolkit.command_line import main

__all__ = ["main"]
