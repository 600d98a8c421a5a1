"""The page of a data set's results: whatever verbs have run, one file beside its figures."""

import json
from pathlib import Path

from experiments.embedding.editing_sections import (
    DIRECTIONS,
    INTERPOLATION,
    PROJECTION,
    REIFICATION,
)
from experiments.embedding.sections import COMPARISON, INVARIANCE, REPORT, STRUCTURE
from experiments.toolkit.markup import figure, figures, how, paragraph, save, text

SECTIONS = (
    REPORT, COMPARISON, STRUCTURE, INVARIANCE,
    INTERPOLATION, PROJECTION, REIFICATION, DIRECTIONS,
)  # fmt: skip


def write_page(folder):
    """Writes `index.html`, which shows the results of every verb that has run, and all others.

    Args:
        folder: holds the JSON file of at least one verb, and the figures.

    Returns:
        The path of the page.
    """
    folder = Path(folder)
    found = [section for section in SECTIONS if (folder / section.file).exists()]
    contents = [json.loads((folder / section.file).read_text()) for section in found]
    body = []
    for section, its in zip(found, contents, strict=True):
        body += section.body(its)
        body += figures(folder, section.captions)
        body.append(paragraph(f"Made by: {its['command']}", faint=True))
    captions = {name for section in SECTIONS for name in section.captions}
    # What later versions, or the user, have put there.
    body += [
        figure(path.name, path.stem, "")
        for path in sorted(folder.glob("[!.]*.png"))
        if path.name not in captions
    ]
    body += [
        f"<details><summary>{text(path.name)}</summary>"
        f"<pre>{text(path.read_text(errors='replace'))}</pre></details>"
        for path in sorted(folder.glob("[!.]*.json"))
        if path.name != found[0].file
    ]
    body.append(how(contents[0], found[0].file))
    return save(folder, f"Embedding {contents[0]['dataset']}", body)
