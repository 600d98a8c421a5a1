"""Every public name has a docstring with an example; the examples and the code of pages run."""

import doctest
import functools
import inspect
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import ddim_embed as de

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


# Many load the same generator: its compiled functions serve all of them.
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


def python_blocks(text):
    """The Python code of a page that runs: all blocks but those marked as not run."""
    return re.findall(r"(?<!-->\n)^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if python_blocks(page.read_text(encoding="utf-8"))],
    ids=lambda page: page.name,
)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """From top to bottom in one namespace, beside two pictures; with one step of the sampler."""

    def load_with_one_step(name, **options):
        return load_generator(name, **options | {"num_steps": 1})

    monkeypatch.setattr(de, "load_generator", load_with_one_step)
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (70, 80), "tan").save(name)
    names = {}
    for block in python_blocks(page.read_text(encoding="utf-8")):
        exec(compile(block, page.name, "exec"), names)
