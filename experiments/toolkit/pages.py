"""HTML pages: one file beside its figures, which needs no network.

Templates lie in the folders `templates` of this package and of each system. Everything that they
insert is escaped.
"""

import contextlib
import dataclasses
import functools
import html
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

from experiments.toolkit.tables import Table, interval, number, show

# A part of a page, with the macros that its template uses.
_SECTION = (
    '{% from "toolkit/templates/pieces.html" import table, figure, provenance with context %}'
    "{% include template %}"
)
_EXPERIMENTS = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Section:
    """What the page of an experiment shows of the results of one verb.

    Attributes:
        file: name of the JSON file of the results.
        figures: names of the figures beside it.
        template: path of the template within `experiments`. It has the variables `contents`, which
            are those of the JSON file, `tables`, and those of `write`.
        tables: function from the contents to a dict of `Table`s.
    """

    file: str
    figures: tuple[str, ...]
    template: str
    tables: Callable[[dict], dict[str, Table]]

    def publish(self, outputs, contents, figures):
        """Writes contents and figures to `outputs`; prints the tables.

        `figures` is a function that returns a dict by file name, called when the contents are
        written: what cannot be drawn does not cost them.
        """
        save_json(outputs, self.file, contents)
        save_figures(outputs, figures())
        show(*self.tables(contents).values())


def save_json(outputs, name, contents):
    """Writes a dict as JSON, which has no NaN and no infinity: null stands for them."""
    text = json.dumps(_finite(contents), indent=2, allow_nan=False)
    with outputs.replacing(name) as temporary:
        temporary.write_text(text + "\n")


def _finite(values):
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def save_figures(outputs, figures):
    """Writes figures as PNG files, by name; None deletes an earlier figure of that name."""
    for name, figure in figures.items():
        if figure is None:
            outputs.remove(name)
            continue
        with outputs.replacing(name) as temporary:
            figure.savefig(temporary, dpi=100)


def write(outputs, template, shown=(), **variables):
    """Writes `index.html` beside the figures that it shows, and prints its path.

    The results are written: whatever is wrong with a page costs the page, and a line on stderr.
    The template, a path within `experiments`, has the variables, `folder`, and `shown`, the list of
    the figures that the page has shown.
    """
    with left_out("the page"):
        page = _environment().get_template(template)
        text = page.render(folder=outputs.folder, shown=[*shown], **variables)
        with outputs.replacing("index.html") as temporary:
            # A name need not be UTF-8.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        print(f"The page is {outputs / 'index.html'}")


def write_results(outputs, sections):
    """Writes the page of an experiment: the results of all verbs that have run, in order.

    Results that are not as a verb writes them are left out, with a line on stderr.
    """
    folder, found, shown = outputs.folder, [], []
    for section in sections:
        path = folder / section.file
        if contents := read(path):
            with left_out(path):
                variables = {"contents": contents, "tables": section.tables(contents)}
                variables |= {"folder": folder, "shown": shown, "template": section.template}
                text = _environment().from_string(_SECTION).render(variables)
                found.append((section.file, contents, text))
    with left_out("the page"):
        first, contents = found[0][:2] if found else ("", {})
        others = [path for path in sorted(folder.glob("[!.]*.json")) if path.name != first]
        write(
            outputs,
            "toolkit/templates/results.html",
            shown,
            title=f"Results: {contents.get('dataset', folder.name)}",
            sections=found,
            figures=[path.name for path in sorted(folder.glob("[!.]*.png"))],
            files={path.name: path.read_text(errors="replace") for path in others},
        )


def read(path):
    """Returns the contents of a result file, a dict; None without one that can be read."""
    if not path.exists():
        return None
    with left_out(path):
        contents = json.loads(path.read_text())
        return contents | {}


@contextlib.contextmanager
def left_out(what):
    """Leaves something out, with a line on stderr, if what it is made of is damaged."""
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"Left out: {what} ({reason})", file=sys.stderr)


def outline(text):
    """Gives the headings `<h2>` of a page anchors.

    Returns its text, and (anchor, heading) of each heading, both as markup.
    """
    from markupsafe import Markup

    found = []

    def anchored(match):
        words = "-".join(re.findall(r"[a-z0-9]+", html.unescape(match[1]).lower()))
        anchor = words or "section"
        while anchor in dict(found):  # a heading may come twice
            anchor += "-"
        found.append((anchor, Markup(match[1])))
        return f'<h2 id="{anchor}">{match[1]}</h2>'

    text = re.sub(r"<h2>(.*?)</h2>", anchored, text, flags=re.DOTALL)
    return Markup(text), found


@functools.cache
def _environment():
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_EXPERIMENTS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    indented = functools.partial(json.dumps, indent=2)
    environment.filters |= {"number": number, "interval": interval, "json": indented}
    environment.filters["outline"] = outline
    return environment
