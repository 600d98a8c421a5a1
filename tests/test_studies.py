"""The command line of studies, and the study of schedules."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import ddim_embed as de
from ddim_embed.process import schedules
from experiments.schedules import figures as schedule_figures
from experiments.schedules.__main__ import Schedules
from experiments.toolkit import pages, tables
from experiments.toolkit.study import Study, main

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Sizes(Study):
    """A study with one flag of its own."""

    name: ClassVar[str] = "sizes"
    calls: ClassVar[list] = []
    size: int = 100

    def run(self):
        self.calls.append(self)

    def shrink(self):
        return dataclasses.replace(self, size=1, smoke=True)


def parsed(*arguments):
    """The study that runs."""
    main(Sizes(), arguments)
    return Sizes.calls.pop()


def test_flags_and_command_reach_the_study():
    study = parsed("--size", "3", "--results", "a b")
    command = "python -m experiments.sizes --size 3 --results 'a b'"
    assert study == Sizes(size=3, results=Path("a b"), command=command)
    assert study.result_folder == Path("a b") / "sizes"


def test_flags_override_the_sizes_of_a_smoke_run():
    assert parsed("--smoke").size == 1
    study = parsed("--smoke", "--size", "3")
    assert study.size == 3
    assert parsed("--smoke", "--size", "100").size == 100
    assert study.result_folder == Path("results") / "sizes-smoke"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--sizzle", "3"],
            "error: `sizes` has no flag --sizzle. Did you mean --size? --help lists all.",
        ),
        (["--size=nan"], "expected a whole number, not 'nan'"),
        (["--size", "many"], "many"),
        (["--seed", "-1"], "--seed must be at least 0. Received: -1"),
    ],
)
def test_usage_errors_exit_with_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        parsed(*arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and words in error and len(error.splitlines()) == 1


def test_studies_import_without_tensorflow():
    words = (
        "import experiments.toy.__main__, experiments.schedules.__main__, sys; "
        "print('tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "False"


# Schedules


def test_schedules_writes_figures_numbers_and_a_page(tmp_path, capsys):
    main(Schedules(), ["--smoke", "--times", "3", "--results", tmp_path])
    folder = tmp_path / "schedules-smoke"
    text = (folder / "index.html").read_text()
    assert re.findall(r'src="([^"]+)"', text) == ["fig06_schedules.png", "fig07_noised.png"]
    for name in ("fig06_schedules.png", "fig07_noised.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "://" not in text
    contents = json.loads((folder / "schedules.json").read_text())
    assert list(contents["schedules"]) == list(schedule_figures.SCHEDULES)
    assert contents["config"]["times"] == 3
    output = capsys.readouterr().out
    for name in schedule_figures.SCHEDULES:
        assert name in text and name in output


def test_the_summary_of_the_continuous_cosine_is_closed_form():
    found = schedule_figures.summary(schedules.continuous_cosine)
    start, end = np.arccos([0.95, 0.02])

    def when(signal):
        return pytest.approx((np.arccos(signal) - start) / (end - start), abs=2e-3)

    assert found["signal_at_0"] == pytest.approx(0.95)
    assert found["signal_at_1"] == pytest.approx(0.02)
    assert found["equal_at"] == when(np.sqrt(0.5))
    assert found["gone_at"] == when(0.1)
    assert found["share_in_between"] == when(0.1)  # its start has a tenth of noise


def test_an_image_is_noised_at_the_rates_of_the_schedules():
    pixels, _ = de.load_images("fashion_mnist", "test", source="sample", limit=50)
    figure = schedule_figures.noised(pixels, index=2, count=3, seed=0)
    rows = np.reshape([axes.images[0].get_array() for axes in figure.axes], (4, 3, 32, 32))
    names = list(schedule_figures.SCHEDULES)
    cosine = rows[names.index("cosine")]
    np.testing.assert_allclose(cosine[0], pixels[2, ..., 0], atol=0.02)  # hardly any noise at t=0
    assert np.corrcoef(cosine[1].ravel(), pixels[2].ravel())[0, 1] > 0.5
    np.testing.assert_allclose(rows[0, 2], rows[1, 2], atol=0.05)  # the same noise in all
    assert np.abs(np.corrcoef(cosine[2].ravel(), pixels[2].ravel())[0, 1]) < 0.1


def test_pieces_of_a_page_escape_text(tmp_path):
    template = """{% extends "toolkit/templates/page.html" %}{% block body %}
    {{ table(numbers) }}{{ figure(name, "<t>", "<c>") }}{{ figure("no.png", "<none>") }}
    {{ provenance(contents, "<f>.json") }}{% endblock %}"""
    contents = {"command": "<x>", "seed": 0, "commit": None, "versions": {"<v>": "1"}}
    contents["config"] = {"<k>": 1}
    name = '"n".png'
    (tmp_path / name).touch()
    environment = pages._environment()
    numbers = tables.Table("<h>", ("<a>",), [("<b>",)])
    text = environment.from_string(template).render(
        folder=tmp_path, shown=[], title="<title>", numbers=numbers, name=name, contents=contents
    )
    for word in ("h", "a", "b", "t", "c", "x", "f", "v", "k", "title"):
        assert f"&lt;{word}&gt;" in text
        assert word == "title" or f"<{word}>" not in text
    assert 'src="&#34;n&#34;.png"' in text
    assert "no.png" not in text and "&lt;none&gt;" not in text
    assert text.index("&lt;h&gt;") < text.index("&lt;t&gt;") < text.index("not a checkout")


def test_tables_print_markup_literally(capsys):
    table = tables.Table("[title]", ("", "[red]a"), [("one :smile:", "1.5"), ("two", "[/x]")])
    tables.show(table, "[bold]end")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == "[title]" and lines[-1] == "[bold]end"
    assert [line.split() for line in lines if "two" in line or "one" in line] == [
        ["one", ":smile:", "1.5"], ["two", "[/x]"],
    ]  # fmt: skip
