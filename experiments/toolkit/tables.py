"""Tables of results, made once for the terminal and for pages, and how numbers are written."""

import dataclasses
import io
import shutil
import sys
from collections.abc import Sequence

# Columns of the output where it is not a terminal.
_WIDTH = 160


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of strings.

    Attributes:
        title: its heading.
        header: one string for each column.
        rows: sequences of one string for each column.
        kind: "numbers", which are aligned to the right after the first column, or "words".
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "numbers"


def show(*tables):
    """Prints tables, given as `Table`s, and lines of text between them, given as strings."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH
    # Not to stdout: rich ends the program itself if nobody reads it any more.
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)
    for table in tables:
        console.print()
        if isinstance(table, str):
            console.print(table)
            continue
        words = table.kind == "words"
        console.print(table.title)
        grid = Grid(box=box.SIMPLE_HEAD, show_lines=words)
        for index, name in enumerate(table.header):
            grid.add_column(name, justify="left" if words or index == 0 else "right")
        for row in table.rows:
            grid.add_row(*map(str, row))
        console.print(grid)
    print(console.file.getvalue(), end="")


def number(value, digits):
    """Formats a number with `digits` decimals, or with two digits if that leaves fewer.

    A dash stands for None.
    """
    if value is None:
        return "-"
    if 0 < abs(value) < 10.0 ** (1 - digits):
        return f"{value:.2g}"
    return f"{value:,.{digits}f}"


def interval(estimate, digits):
    """Formats a dict of `mean` and `interval`, a half width or None; a dash stands for None."""
    if estimate is None or estimate["interval"] is None:
        return number(estimate and estimate["mean"], digits)
    return f"{number(estimate['mean'], digits)} \u00b1 {number(estimate['interval'], digits)}"


def of(row, key, digits):
    """Formats the mean `row[key]` of a row of results and its interval `row[key + "_interval"]`.

    Without the interval, the mean alone: earlier results lack some.
    """
    return interval({"mean": row[key], "interval": row.get(f"{key}_interval")}, digits)
