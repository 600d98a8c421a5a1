"""Every public name has a docstring with an example, and the examples run."""

import doctest
import functools
import inspect
from types import ModuleType

import numpy as np
import pytest

import ddim_embed as de

PUBLIC = {name: getattr(de, name) for name in de.__all__}
DOCUMENTED = [
    n for n, value in PUBLIC.items() if inspect.isclass(value) or inspect.isroutine(value)
]
MODULES = [name for name, value in PUBLIC.items() if isinstance(value, ModuleType)]


def run_examples(value, name):
    """Runs the examples of an object and of what it contains; returns how many there are."""
    names = {"de": de, "np": np}
    output = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    for test in doctest.DocTestFinder().find(value, name, globs=names, extraglobs={}):
        runner.run(test, out=output.append)
    assert not runner.failures, "".join(output)
    return runner.tries


# Many examples load the same generator: its compiled functions serve all of them.
load_generator = functools.cache(de.load_generator)


@pytest.fixture(autouse=True)
def load_once(monkeypatch):
    monkeypatch.setattr(de, "load_generator", load_generator)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = PUBLIC[name]
    assert value.__doc__ and not value.__doc__.startswith(f"{name}(")  # a dataclass generates that
    assert run_examples(value, f"de.{name}") > 0, "it has no example"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_public_module_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert PUBLIC[name].__doc__
    run_examples(PUBLIC[name], f"de.{name}")
