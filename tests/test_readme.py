"""The documentation: its results are the ledger's, its code runs, its commands and links exist."""

import json
import re
import shlex
import tomllib

import pytest
from test_examples import PAGES, ROOT, python_blocks

from ddim_embed import cli
from ddim_embed.store.weights import read_manifest
from experiments.paper.__main__ import EXPERIMENTS
from experiments.paper.report import markdown
from experiments.runner import VERBS
from experiments.toolkit import command_line

CONFIGURATIONS = {config.name: config for config in EXPERIMENTS}
NAMES = {
    "MNIST": "mnist",
    "Fashion-MNIST": "fashion_mnist",
    "CIFAR-10": "cifar10",
    "Oxford Flowers": "oxford_flowers",
    "CelebA": "celeba",
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
LEDGER = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")


def tables(text):
    """Every table of a Markdown text, as a list of dicts."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        header, _, *rows = (
            [cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()
        )
        found.append([dict(zip(header, row, strict=False)) for row in rows])
    return found


def measured():
    """The ledger's Table 1: (network, data set) -> (paper, ours, our interval, test images)."""
    (rows,) = tables(LEDGER)
    found = {}
    for row in rows:
        if row["item"].startswith("Table 1") and "error" in row["statement"] and row["ours"] != "-":
            ours, interval = map(float, row["ours"].split(" \u00b1 "))
            dataset, images = re.fullmatch(r"(\w+), ([\d,]+) test images", row["data"]).groups()
            key = row["item"].removeprefix("Table 1, "), dataset
            found[key] = float(row["paper"]), ours, interval, int(images.replace(",", ""))
    return found


def test_the_ledger_that_is_read_is_the_one_that_is_shown():
    contents = json.loads((ROOT / "docs" / "ledger.json").read_text(encoding="utf-8"))
    assert markdown(contents) == LEDGER


def check_errors(table, found):
    """Compares errors with the ledger's Table 1; rows without a network are the unet's."""
    for row in table:
        dataset, _, images = row["test images"].partition(", ")
        paper, ours, _, count = found[row.get("network", "unet").strip("`"), NAMES[dataset]]
        assert (row["ours"], row["paper"]) == (f"{ours:.6f}", f"{paper:.6f}"), row
        assert images == f"{count:,}", row


def test_table_1_is_the_ledgers():
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    (table,) = (rows for rows in tables(text) if "PSNR (dB)" in rows[0])
    assert len(table) == len(measured())  # it shows them all
    check_errors(table, measured())


def test_the_readmes_numbers_stand_in_the_ledger_or_in_records():
    (systems,) = tables(README)
    assert len(systems) == 4
    entries = read_manifest(ROOT / "weights").values()
    recorded = {f"{value:.4f}" for entry in entries for value in entry["errors"].values() if value}
    numbers = [
        number
        for row in systems
        for number in re.findall(r"\d+\.\d+", f"{row['ours']} {row['paper']}")
    ]
    assert len(numbers) >= 8
    for number in numbers:
        assert number in recorded or re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", LEDGER), (
            number
        )
    first = systems[0]
    for dataset in ("fashion_mnist", "celeba"):
        paper, ours, _, images = measured()["unet", dataset]
        assert f"{ours:.6f}" in first["ours"] and f"{paper:.6f}" in first["paper"]
        assert f"{images:,}" in first["ours"]


def test_the_errors_of_autoencoders_are_those_of_their_records():
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    (rows,) = (table for table in tables(text) if "own vector" in table[0])
    entries = {
        name.partition("/")[0]: entry
        for name, entry in read_manifest(ROOT / "weights").items()
        if name.endswith("/autoencoder")
    }
    assert {NAMES[row["test images"].partition(", ")[0]] for row in rows} == {*entries}
    for row in rows:
        title, _, images = row["test images"].partition(", ")
        entry = entries[NAMES[title]]
        errors = entry["errors"]
        assert images == f"{errors['test_images']:,}"
        assert row["numbers in the vector"] == str(entry["config"]["semantic_dims"])
        assert row["own vector"] == f"{errors['test_one_step_mse']:.4f}"
        assert row["another's vector"] == f"{errors['test_one_step_mse_of_others_vectors']:.4f}"


@pytest.mark.parametrize("key", sorted(measured()))
def test_the_ledger_has_the_errors_of_the_weights_that_ship(key):
    """The manifest's is of the first of the test images, before weights were rounded to float16."""
    network, dataset = key
    errors = read_manifest(ROOT / "weights")[f"{dataset}/{network}"]["errors"]
    _, ours, interval, images = measured()[key]
    tolerance = 0.01 * ours if errors["test_images"] == images else 2 * interval * 10**0.5
    assert errors["test_mse"] == pytest.approx(ours, abs=tolerance)


@pytest.mark.parametrize("name", ["README.md", "docs/reproduce.md"])
def test_the_ledgers_verdicts_are_counted(name):
    found = re.findall(r"(\d+) ([a-z ]+)[,.]", LEDGER.split("\n")[2])
    counts = {words: int(number) for number, words in found}
    words = r"(\d+) rows reproduced \((\d+) of them better\), (\d+) not, (\d+) not"
    text = (ROOT / name).read_text(encoding="utf-8")
    assert [int(number) for number in re.search(words, text).groups()] == [
        counts["reproduced"] + counts["better"],
        counts["better"],
        counts["not reproduced"],
        counts.get("not measured", 0),
    ]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


def test_most_code_is_run():
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    total = sum(text.count("```python") for text in texts)
    assert sum(len(python_blocks(text)) for text in texts) >= total - 5 > 5


@each_page
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT) and linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            ids = {re.sub(r"[^\w -]", "", words).lower().replace(" ", "-") for words in headings}
            assert anchor in ids, target


def test_every_page_is_linked_from_the_readme():
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= {*re.findall(r"\]\(([^)#]+)\)", README)}


@each_page
def test_commands_exist(page, monkeypatch):
    """`ddim-embed` takes its words; the modules of `python -m` and the targets of make exist."""
    ran = []
    monkeypatch.setattr(cli, "import_tensorflow", lambda: None)
    monkeypatch.setattr(cli.Command, "run", lambda self: ran.append(self))
    for kind in (cli.List, cli.Explore):
        monkeypatch.setattr(kind, "run", lambda self: ran.append(self))
    makefile = (ROOT / "Makefile").read_text()
    text = re.sub(r"```python.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = re.findall(r"^    (?:KERAS_BACKEND=\w+ )?(\S.*)$", text, re.MULTILINE)
    commands = [shlex.split(line, comments=True) for line in lines if "->" not in line]
    for command in commands:
        match command:
            case ["ddim-embed", *words]:
                count = len(ran)
                cli.main(words)
                assert len(ran) == count + 1
            case ["python", "-m", module, *words]:
                path = ROOT / module.replace(".", "/")
                assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), command
                config = CONFIGURATIONS.get(path.name)
                if config is not None:  # flags that the verb uses
                    command_line.parse_verb(config, VERBS, words)
            case ["make", target, *_]:
                assert f"\n{target}:" in makefile


def test_the_score_of_mutation_testing_is_counted():
    mutation = ROOT / "tests" / "mutation"
    scores = tomllib.loads((mutation / "scores.toml").read_text(encoding="utf-8"))
    names = ("mutants", "equivalent", "killed", "lived", "untested")
    total = {name: sum(row[name] for row in scores.values()) for name in names}
    assert total["mutants"] == sum(total[name] for name in names[1:])
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = text.partition("## Mutation testing")[2].partition("\n## ")[0]
    for name in names:
        assert f"| {total[name]:,} |" in section, name
    assert f"{total['killed'] / (total['mutants'] - total['equivalent']):.1%}" in section
    rooms = tomllib.loads((mutation / "modules.toml").read_text(encoding="utf-8"))
    modules = {f"{room}/{name}".strip("/") for room in rooms for name in rooms[room]}
    for module in modules - scores.keys():
        assert f"`{module}`" in section, "a module that is not tested is named"
