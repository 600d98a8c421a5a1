"""Gives the notebooks the repository's address, which they install from, and badges of Colab.

python notebooks/publish.py https://github.com/OWNER/NAME            # of the branch main
python notebooks/publish.py https://github.com/OWNER/NAME v1.0       # of another, or of a tag
"""

import re
import sys
from pathlib import Path

import nbformat

FOLDER = Path(__file__).resolve().parent
_BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"


def badge(name, repository, branch="main"):
    """The Markdown of a badge that opens a notebook of a repository on GitHub in Colab."""
    owner = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", repository)
    if owner is None:
        raise ValueError(
            f"`repository` must be https://github.com/OWNER/NAME. Received: {repository!r}"
        )
    address = "https://colab.research.google.com/github"
    return f"{_BADGE}({address}/{owner[1]}/blob/{branch}/notebooks/{name})"


def publish(path, repository, branch="main"):
    """Writes a notebook with the address in its first cell of code, and its badge at the top.

    Those of an earlier call are replaced. Outputs stay: the cell prints nothing.
    """
    notebook = nbformat.read(path, as_version=4)
    line = badge(path.name, repository, branch)
    title = notebook.cells[0]
    if title.source.startswith(_BADGE):
        title.source = title.source.partition("\n\n")[2]
    title.source = f"{line}\n\n{title.source}"
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source, count = re.subn(
        r'^REPOSITORY = ".*"$',
        lambda _: f'REPOSITORY = "{repository}"',
        first.source,
        flags=re.MULTILINE,
    )
    if count != 1:
        raise ValueError(f"{path.name} has no line `REPOSITORY = ...` in its first cell of code")
    nbformat.write(notebook, path)


def main(repository, branch="main"):
    """Publishes all notebooks of the folder."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        publish(path, repository, branch)
        print(badge(path.name, repository, branch))


if __name__ == "__main__":
    main(*sys.argv[1:])
