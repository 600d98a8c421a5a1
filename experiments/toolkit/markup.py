"""Pieces of an HTML page, and the page itself: one file, which needs no network."""

import dataclasses
import html
import json
from collections.abc import Callable
from pathlib import Path

from experiments.toolkit import results

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #888; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 0 auto;
       padding: 1.5rem 1rem 4rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; } .faint, figcaption { color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.how td:last-child { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.words th, .words td { text-align: left; white-space: normal; vertical-align: top; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; background: #fff; border-radius: 4px; }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; padding: .7rem; }
"""


@dataclasses.dataclass(frozen=True)
class Section:
    """What a page shows of one verb's results.

    Attributes:
        file: name of the JSON file that the verb writes.
        body: function from what is in that file to a list of pieces of HTML.
        captions: file name of a figure -> (title, caption), in the order of the page.
    """

    file: str
    body: Callable[[dict], list[str]]
    captions: dict[str, tuple[str, str]]


def save(folder, title, body):
    """Writes a page to `index.html` in a folder.

    Args:
        folder: where the figures are that the page shows.
        title: of the window and the first heading; escaped here.
        body: list of pieces of HTML, as the functions below make them.

    Returns:
        The path of the page.
    """
    path = Path(folder) / "index.html"
    with results.replacing(path) as temporary:
        temporary.write_text(
            "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
            '<meta name=viewport content="width=device-width, initial-scale=1">\n'
            f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            + "\n".join([f"<h1>{text(title)}</h1>", *body])
            + "\n</body>\n</html>\n",
            encoding="utf-8",
        )
    return path


def heading(words):
    """A heading below that of the page."""
    return f"<h2>{text(words)}</h2>"


def paragraph(words, faint=False):
    """A paragraph; `faint` for what stands in the background."""
    return f"<p{' class=faint' if faint else ''}>{text(words)}</p>"


def table(header, rows, kind="numbers"):
    """A table.

    Args:
        header: words above the columns, or none.
        rows: lists of cells: numbers, or words.
        kind: "numbers"; "how", whose second column holds words; or "words", where all do.
    """

    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{text(cell)}</{tag}>" for cell in cells) + "</tr>"

    lines = [line("th", header)] if header else []
    lines += [line("td", row) for row in rows]
    return "\n".join([f'<div class=scroll><table class="{kind}">', *lines, "</table></div>"])


def figures(folder, captions):
    """Those figures of a dict from file name to (title, caption) that are in the folder."""
    return [
        figure(name, *words) for name, words in captions.items() if (Path(folder) / name).exists()
    ]


def figure(name, title, caption):
    """A heading, the figure of that file name in the page's folder, and its caption."""
    return (
        f'{heading(title)}\n<figure><img src="{text(name)}" alt="{text(title)}">'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def how(contents, file):
    """How results were made: command, seed, commit, versions, configuration.

    Args:
        contents: dict of results with `provenance`, as in `file`.
        file: name of the JSON file of the results, beside the page.
    """
    rows = [
        ("command", contents["command"] or "-"),
        ("seed", contents["seed"]),
        ("commit", contents["commit"] or "not a checkout"),
        *contents["versions"].items(),
    ]
    config = text(json.dumps(contents["config"], indent=2))
    return "\n".join(
        [
            heading("How it was made"),
            table((), rows, kind="how"),
            f"<details><summary>Configuration</summary><pre>{config}</pre></details>",
            f'<p>The numbers are in <a href="{text(file)}">{text(file)}</a>.</p>',
        ]
    )


def number(value, digits):
    """A number with so many decimals; a power of ten where these leave less than two digits.

    A dash for None.
    """
    if value is None:
        return "-"
    if 0 < abs(value) < 10.0 ** (1 - digits):
        return f"{value:.2g}"
    return f"{value:,.{digits}f}"


def interval(estimate, digits):
    """A mean and half of its interval, as a dict of `mean` and `interval`; a dash for None."""
    if estimate is None or estimate["interval"] is None:
        return number(estimate and estimate["mean"], digits)
    return f"{number(estimate['mean'], digits)} \u00b1 {number(estimate['interval'], digits)}"


def text(value):
    """Words for a page: what HTML takes for its own is escaped."""
    return html.escape(str(value))
