"""HTML pages: one file beside its figures, which needs no network.

Templates lie in the folders `templates` of this package and of each system. Everything that they
insert is escaped.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

from ddim_embed.store.atomic import replacing
from experiments.toolkit import results
from experiments.toolkit.tables import Table, interval, number, show

_EXPERIMENTS = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Section:
    """What the page of an experiment shows of the results of one verb.

    Attributes:
        file: name of the JSON file of the results.
        template: path of the template within `experiments`. It has the variables `contents`, which
            are those of the JSON file, `tables`, and those of `write`.
        tables: function from the contents to a dict of `Table`s.
    """

    file: str
    template: str
    tables: Callable[[dict], dict[str, Table]]

    def publish(self, folder, contents, figures):
        """Writes contents and figures, a dict by file name, to a folder; prints the tables."""
        results.save_json(folder / self.file, contents)
        results.save_figures(folder, figures)
        show(*self.tables(contents).values())


def write(folder, template, **variables):
    """Writes `index.html` beside the figures that it shows; returns its path.

    The template, a path within `experiments`, has the variables, `folder`, and `shown`, the list of
    the figures that the page has shown.
    """
    path = Path(folder) / "index.html"
    text = _environment().get_template(template).render(folder=path.parent, shown=[], **variables)
    with replacing(path) as temporary:
        # The name of a file may hold bytes that are no text.
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    return path


def write_results(folder, sections):
    """Writes the page of an experiment: the results of all verbs that have run, in order.

    Results that cannot be shown, such as damaged ones, are left out with a message.
    """
    folder, found = Path(folder), []
    for section in sections:
        path = folder / section.file
        if not path.exists():
            continue
        try:
            found.append(_rendered(folder, section, results.load_json(path)))
        except Exception as error:  # whatever tables and templates make of any JSON
            print(f"Left out of the page: {path} ({type(error).__name__}: {error})")
    shown = {name for one in found for name in one["shown"]}
    return write(
        folder,
        "toolkit/templates/results.html",
        title=f"Embedding {found[0]['dataset'] if found else folder.name}",
        sections=found,
        figures=[path.name for path in sorted(folder.glob("[!.]*.png")) if path.name not in shown],
        files={
            path.name: path.read_text(encoding="utf-8", errors="replace")
            for path in sorted(folder.glob("[!.]*.json"))
            if not found or path.name != found[0]["file"]
        },
    )


def _rendered(folder, section, contents):
    """What a page has of the results of one verb; `shown` are the figures in it."""
    variables = {"section": section, "contents": contents, "folder": folder, "shown": []}
    variables["tables"] = section.tables(contents)
    import markupsafe

    body, provenance = (
        _environment().get_template(f"toolkit/templates/{name}.html").render(variables)
        for name in ("section", "provenance")
    )
    return {
        "file": section.file,
        "dataset": contents.get("dataset", folder.name),
        "body": markupsafe.Markup(body),
        "provenance": markupsafe.Markup(provenance),
        "shown": variables["shown"],
    }


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
    return environment
