"""Result files and pages: what is odd or damaged costs what it is in, and nothing else."""

import json
import math

import pytest

from ddim_embed.console import UsageError
from experiments.toolkit import results
from experiments.toolkit.pages import Section, write_results

CONTENTS = {
    "dataset": "cats", "command": "python -m experiments.cats", "seed": 0, "commit": None,
    "versions": {"numpy": "2"}, "config": {},
}  # fmt: skip


def section(name, tables=lambda contents: {}):
    return Section(f"{name}.json", "toolkit/templates/provenance.html", tables)


def test_numbers_that_json_has_not_become_null(tmp_path):
    values = {"inf": math.inf, "rows": [(1.5, math.nan), {"a": -math.inf}], "n": 3, "s": "inf"}
    results.save_json(tmp_path / "a.json", values)
    expected = {"inf": None, "rows": [[1.5, None], {"a": None}], "n": 3, "s": "inf"}
    assert results.load_json(tmp_path / "a.json") == expected


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_damaged_results_are_named(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=rf"{path} (is not JSON|must be a JSON object)") as error:
        results.load_json(path)
    assert "Delete it, or make it again." in str(error.value)


def test_another_verb_s_results_cost_their_part_of_the_page(tmp_path, capsys):
    def refuse(contents):
        return {"rows": contents["no such key"]}

    for name in ("damaged", "other", "good", "later"):
        results.save_json(tmp_path / f"{name}.json", CONTENTS | {"command": f"made {name}"})
    (tmp_path / "damaged.json").write_bytes(b'{"dataset": "\xff')
    sections = [section("damaged"), section("other", refuse), section("good"), section("missing")]
    page = write_results(tmp_path, sections).read_text()
    assert "Embedding cats" in page and "made good" in page
    # As they are, as results of later versions.
    assert "made other" in page and "made later" in page and "<summary>damaged.json" in page
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" (")[0] for line in lines] == [
        f"Left out of the page: {tmp_path / name}.json" for name in ("damaged", "other")
    ]


def test_a_page_of_nothing_but_damage(tmp_path):
    (tmp_path / "a.json").write_text("{")
    assert tmp_path.name in write_results(tmp_path, [section("a")]).read_text()


def test_names_that_are_no_text(tmp_path):
    """Python has them with half characters, which UTF-8 does not."""
    results.save_json(tmp_path / "a.json", CONTENTS | {"command": "embed \udcff.png"})
    page = write_results(tmp_path, [section("a")])
    assert r"embed \udcff.png" in page.read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_text())["command"] == "embed \udcff.png"
