"""The notebooks run from top to bottom, on tiny sizes."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import ddim_embed as de

FOLDER = Path(__file__).parent.parent / "notebooks"


def code(name, **replaced):
    """The code of a notebook without its installation, with other values of some settings."""
    cells = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert "%pip install" in sources[0]
    text = "\n".join(sources[1:])
    for old, new in replaced.values():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture
def started(monkeypatch):
    """This process has computed before the notebook begins: too late to set its threads."""
    monkeypatch.setattr(de, "use_one_core_per_operation", lambda: None)


def test_embed(started, capsys):
    names = {}
    exec(
        code("embed.ipynb", steps=("STEPS = 30", "STEPS = 2"), limit=("limit=8", "limit=2")), names
    )
    assert names["best"].mse.mean() < names["found"].mse.mean() < 0.01
    assert names["nearest"].reconstruction.shape == (1, 32, 32, 1)
    assert "reached: [" in capsys.readouterr().out


def test_embed_an_image_of_ones_own(started, tmp_path):
    from PIL import Image

    path = tmp_path / "own.png"
    Image.new("RGB", (50, 40), "white").save(path)
    text = code(
        "embed.ipynb",
        steps=("STEPS = 30", "STEPS = 1"),
        file=('FILE = ""', f"FILE = {str(path)!r}"),
    )
    start = text.index("import numpy as np")
    names = {}
    exec(text[: text.index("found = ")] + "STEPS = 1\n" + text[start:], names)
    own = names["own"]
    assert own[:, 2:-2, 2:-2].min() == 1 and names["mask"] is None
    assert own.sum() == 28 * 28  # framed as the generator's own images are


def test_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = []
    text = code(
        "train.ipynb",
        flags=('"--results", "results"]', '"--results", "results", "--smoke"]'),
        folder=("results/fashion_mnist", "results/fashion_mnist-smoke"),
        images=('"--images", "1000", ', ""),
        steps=('"--train-steps", "20000", ', ""),
    )
    module = SimpleNamespace(Image=str, display=shown.append, version_info=(9, 0))
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    exec(text, {})
    # A smoke run leaves the folders that are named for what is real alone.
    assert (tmp_path / "my_weights" / "smoke" / "fashion_mnist" / "generator.json").exists()
    assert [path.name for path in (tmp_path / "my_weights").iterdir()] == ["smoke"]
    assert len(shown) >= 5


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.name)
def test_no_output_is_kept(path):
    contents = json.loads(path.read_text(encoding="utf-8"))
    assert contents["nbformat"] == 4
    assert all(not c["outputs"] for c in contents["cells"] if c["cell_type"] == "code")
