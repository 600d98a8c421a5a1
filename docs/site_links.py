"""The links of the site: a hook of mkdocs, which knows docs/ alone.

On GitHub a page links to any file of the repository by its relative path. In the site, the README
is the first page, and each file outside docs/ that a page links to has a copy below `repository/`:
links lead there.
"""

import os
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# [text](path#anchor), and pictures: the path.
LINK = re.compile(r"(?<=\]\()[^)\s#:]+(?=[#)])")


def place_in_site(path: Path) -> str:
    """Where the site has a file of the repository."""
    relative = path.relative_to(ROOT).as_posix()
    if relative == "README.md":
        return "index.md"
    inside = relative.removeprefix("docs/")
    return f"repository/{relative}" if inside == relative else inside


def linked_files(markdown: str, source: Path) -> dict[str, Path]:
    """The files of the repository that a page links to, by the link's path."""
    found = {link: Path(os.path.normpath(source.parent / link)) for link in LINK.findall(markdown)}
    return {
        link: path for link, path in found.items() if path.is_relative_to(ROOT) and path.is_file()
    }


def rewrite(markdown: str, source: Path) -> str:
    """Returns the text of the page at `source` with the site's links."""
    files = linked_files(markdown, source)
    here = posixpath.dirname(place_in_site(source))

    def link(match):
        path = files.get(match[0])
        return match[0] if path is None else posixpath.relpath(place_in_site(path), here or ".")

    return LINK.sub(link, markdown)


def on_files(files, config):
    """Adds the README, and what pages outside docs/ and in it link to."""
    from mkdocs.structure.files import File

    waiting = [Path(file.abs_src_path) for file in files.documentation_pages()]
    waiting += [ROOT / "README.md", ROOT / "CHANGELOG.md"]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        place = place_in_site(path)
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, abs_src_path=str(path)))
        if path.suffix == ".md":
            linked = {*linked_files(path.read_text(encoding="utf-8"), path).values()} - seen
            waiting += linked
            seen |= linked
    return files


def on_page_markdown(markdown, page, config, files):
    """Gives a page the site's links."""
    return rewrite(markdown, Path(page.file.abs_src_path))
