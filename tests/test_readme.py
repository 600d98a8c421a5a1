"""The README's results are the ledger's, and the ledger's are those of the weights that ship."""

import json
import re
from pathlib import Path

import pytest

from ddim_embed.store.weights import read_manifest
from experiments.paper.report import markdown

ROOT = Path(__file__).parent.parent
NAMES = {
    "MNIST": "mnist",
    "Fashion-MNIST": "fashion_mnist",
    "CIFAR-10": "cifar10",
    "Oxford Flowers": "oxford_flowers",
    "CelebA": "celeba",
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


def test_table_1_is_the_ledgers():
    (table,) = (rows for rows in tables(README) if "PSNR (dB)" in rows[0])
    found = measured()
    assert len(table) == len(found)  # it shows them all
    for row in table:
        dataset, _, images = row["test images"].partition(", ")
        paper, ours, _, count = found[row["network"].strip("`"), NAMES[dataset]]
        assert (row["ours"], row["paper"]) == (f"{ours:.6f}", f"{paper:.6f}"), row
        assert images == f"{count:,}", row


@pytest.mark.parametrize("key", sorted(measured()))
def test_the_ledger_has_the_errors_of_the_weights_that_ship(key):
    """The manifest's is of the first of the test images, before weights were rounded to float16."""
    network, dataset = key
    errors = read_manifest(ROOT / "weights")[f"{dataset}/{network}"]["errors"]
    _, ours, interval, images = measured()[key]
    tolerance = 0.01 * ours if errors["test_images"] == images else 2 * interval * 10**0.5
    assert errors["test_mse"] == pytest.approx(ours, abs=tolerance)


def test_the_readme_counts_the_ledgers_verdicts():
    found = re.findall(r"(\d+) ([a-z ]+)[,.]", LEDGER.split("\n")[2])
    counts = {words: int(number) for number, words in found}
    words = r"(\d+) rows reproduced \((\d+) of them better\), (\d+) not, (\d+) not"
    assert [int(number) for number in re.search(words, README).groups()] == [
        counts["reproduced"] + counts["better"],
        counts["better"],
        counts["not reproduced"],
        counts.get("not measured", 0),
    ]
