"""Result files and pages: what is odd or damaged costs what it is in, and nothing else."""

import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from jinja2 import nodes

import experiments
from ddim_embed.store.outputs import Outputs
from experiments.toolkit import pages
from experiments.toolkit.pages import Section
from experiments.toolkit.tables import Table

CONTENTS = {
    "dataset": "cats", "command": "python -m experiments.cats", "seed": 0, "commit": None,
    "versions": {"numpy": "2"}, "config": {},
}  # fmt: skip


@pytest.fixture
def outputs(tmp_path):
    return Outputs(tmp_path)


def section(name, tables=lambda contents: {}):
    return Section(f"{name}.json", (), "toolkit/templates/pieces.html", tables)


def page(outputs, *sections):
    """Writes a page; returns its text."""
    pages.write_results(outputs, sections)
    return (outputs / "index.html").read_text(encoding="utf-8")


def test_numbers_that_json_has_not_become_null(outputs):
    values = {"inf": math.inf, "rows": [(1.5, np.float64("nan")), {"a": -math.inf}], "n": 3}
    pages.save_json(outputs, "a.json", values)
    expected = {"inf": None, "rows": [[1.5, None], {"a": None}], "n": 3}
    assert pages.read(outputs / "a.json") == expected


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b"null"])
def test_damaged_results_are_named(outputs, text, capsys):
    path = outputs / "a.json"
    path.write_bytes(text)
    assert pages.read(path) is None
    error = capsys.readouterr().err
    assert error.startswith(f"Left out: {path} (") and len(error.splitlines()) == 1
    assert outputs.folder.name in page(outputs, section("a"))


def test_another_verb_s_results_cost_their_part_of_the_page(outputs, capsys):
    def refuse(contents):
        return {"rows": contents["no such key"]}

    for name in ("damaged", "other", "good", "later"):
        pages.save_json(outputs, f"{name}.json", CONTENTS | {"command": f"made {name}"})
    (outputs / "damaged.json").write_bytes(b'{"dataset": "\xff')
    sections = section("damaged"), section("other", refuse), section("good"), section("missing")
    text = page(outputs, *sections)
    assert "Results: cats" in text and "made good" in text
    # As they are, as results of later versions.
    assert "made other" in text and "made later" in text and "<summary>damaged.json" in text
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        f"Left out: {outputs / name}.json" for name in ("damaged", "other")
    ]


def test_a_page_that_cannot_be_made_takes_a_line(outputs, capsys):
    (outputs / "folder.json").mkdir()
    pages.write_results(outputs, [section("a")])
    assert "Left out: the page (IsADirectoryError" in capsys.readouterr().err


def test_names_that_are_no_text(outputs):
    """Python has them with half characters, which UTF-8 does not."""
    pages.save_json(outputs, "a.json", CONTENTS | {"command": "embed \udcff.png"})
    (outputs / os.fsdecode(b"\xfe.json")).write_text("{}")
    text = page(outputs, section("a"))
    assert r"embed \udcff.png" in text and r"<summary>\udcfe.json" in text
    assert json.loads((outputs / "a.json").read_text())["command"] == "embed \udcff.png"


def test_headings_get_anchors_of_their_own():
    text, headings = pages.outline("<h2>A &amp; b!</h2><p>x</p><h2>a b</h2><h2>\u00e9</h2>")
    assert [anchor for anchor, _ in headings] == ["a-b", "a-b-", "section"]
    assert [str(words) for _, words in headings] == ["A &amp; b!", "a b", "\u00e9"]
    assert text.startswith('<h2 id="a-b">A &amp; b!</h2><p>x</p><h2 id="a-b-">a b</h2>')


FIGURES = [
    (template.name, call)
    for template in sorted(Path(experiments.__path__[0]).glob("*/templates/*.html"))
    for call in pages._environment().parse(template.read_text()).find_all(nodes.Call)
    if isinstance(call.node, nodes.Name) and call.node.name == "figure"
    # Not those that no verb here draws.
    if template.name != "results.html"
]


def words(expression):
    """The text of an expression of a template, without what is made from numbers."""
    parts = [expression, *expression.find_all(nodes.Const)]
    return "".join(str(part.value) for part in parts if isinstance(part, nodes.Const))


@pytest.mark.parametrize(
    "call", [call for _, call in FIGURES], ids=[f"{name}-{call.lineno}" for name, call in FIGURES]
)
def test_captions_say_what_to_look_at(call):
    """Two sentences or halves: what is drawn, and what to see in it; and a text instead of it."""
    title, caption, alternative = map(words, call.args[1:])
    assert re.search(r"[.:;] \w", " ".join(caption.split())) and caption.endswith(".")
    assert re.search(
        r"\b(look|compare|count|should|would|better|means?|says?|where|closer|best|at once)\b",
        caption,
        re.IGNORECASE,
    )
    assert len(alternative) > 25 and alternative != title and alternative not in caption


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_a_table_scrolls_and_its_page_does_not(chrome, outputs, width, scheme):
    """The names of its rows stay, in front of what is scrolled under them."""
    header = ["method", *(f"a long name of column {i}" for i in range(12))]
    rows = [["a method of a long name", *["0.123456 \u00b1 0.000123"] * 12]]
    table = Table("A wide table", header, rows)
    template = "autoencoder/templates/detect.html"  # a table, and a figure that there is not
    pages.save_json(outputs, "wide.json", CONTENTS)
    page(outputs, Section("wide.json", (), template, lambda contents: {"accuracy": table}))
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    chrome.get((outputs / "index.html").as_uri())
    found = chrome.execute_script(
        "const box = document.querySelector('.scroll'), cell = box.querySelector('td');"
        "box.scrollLeft = 10000;"
        "const offset = cell.getBoundingClientRect().left - box.getBoundingClientRect().left;"
        "return [box.scrollLeft, offset, document.documentElement.scrollWidth,"
        "        getComputedStyle(cell).backgroundColor]"
    )
    scrolled, left, page_width, colour = found
    assert scrolled > 100 and abs(left) < 2 and page_width <= width
    brightness = sum(int(value) for value in re.findall(r"\d+", colour)[:3]) / 3
    assert brightness > 200 if scheme == "light" else brightness < 60


def test_most_figures_are_found():
    assert len(FIGURES) > 50


def test_what_cannot_be_drawn_does_not_cost_the_results(outputs):
    def draw():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        section("a").publish(outputs, CONTENTS, draw)
    assert pages.read(outputs / "a.json") == CONTENTS
