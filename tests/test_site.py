"""The site of the documentation: its pages, its reference, its links to files outside docs/."""

import importlib.util
import re
from collections import Counter

import pytest
from test_examples import PAGES, PUBLIC, ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def links():
    """The hook of mkdocs, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("site_links", DOCS / "site_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nav():
    """The pages that the site's navigation lists."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return re.findall(r": (\S+\.md)$", text[text.index("\nnav:") :], re.MULTILINE)


def test_the_reference_has_every_public_name_once():
    pages = sorted((DOCS / "reference").glob("*.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    names = re.findall(r"^::: ddim_embed\.(\w+)$", text, re.MULTILINE)
    assert Counter(names) == Counter([*PUBLIC])


def test_every_page_is_in_the_navigation(links):
    pages = [*PAGES, *(DOCS / "reference").glob("*.md")]
    assert {links.place_in_site(page) for page in pages} <= {*nav()}
    assert len(nav()) == len({*nav()})


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("README.md", "[a](docs/gpu.md#compiling)", "[a](gpu.md#compiling)"),
        ("README.md", "![b](docs/compare.png)", "![b](compare.png)"),
        ("README.md", "[c](weights/README.md)", "[c](repository/weights/README.md)"),
        ("docs/gpu.md", "[d](../weights/README.md#x)", "[d](repository/weights/README.md#x)"),
        ("docs/gpu.md", "[e](../README.md), [f](speed.md)", "[e](index.md), [f](speed.md)"),
        ("docs/reference/images.md", "[g](../methods.md)", "[g](../methods.md)"),
        ("weights/README.md", "![h](mnist/samples.png)", "![h](mnist/samples.png)"),
        ("weights/README.md", "[i](../docs/gpu.md)", "[i](../../gpu.md)"),
        # No file of the repository: left to mkdocs, which reports what leads nowhere.
        ("docs/gpu.md", "[j](https://a.b/c.md) [k](#compiling)", None),
        ("docs/gpu.md", "[l](../no_such.md) [m](../../../etc/passwd) [n](../tests)", None),
    ],
)
def test_links(links, page, text, expected):
    assert links.rewrite(text, ROOT / page) == (expected or text)


def test_what_pages_link_to_is_in_the_site():
    """Pages outside docs/ are followed: their figures and links are there, too."""
    pytest.importorskip("mkdocs")
    from mkdocs.config import load_config
    from mkdocs.structure.files import get_files

    config = load_config(str(ROOT / "mkdocs.yml"), plugins=["search"])
    files = config.plugins.on_files(get_files(config), config=config)  # the hook
    for path in (
        "index.md",
        "repository/weights/README.md",
        "repository/weights/mnist/samples.png",
    ):
        assert files.get_file_from_path(path) is not None, path
    assert {*nav()} <= {file.src_uri for file in files}
    sources = [file.src_uri for file in files]
    assert len(sources) == len({*sources})
