"""The notebooks run from top to bottom, on tiny sizes."""

import functools
import importlib.util
import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_close
from IPython.core.inputtransformer2 import TransformerManager
from IPython.utils.text import DollarFormatter

import ddim_embed as de

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
ADDRESS = "https://github.com/someone/ddim"


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


# With fewer steps of the sampler than by default, and loaded once.
load_generator = functools.cache(functools.partial(de.load_generator, num_steps=2))


@pytest.fixture
def started(monkeypatch):
    """This process has computed before the notebook begins: too late to set its threads."""
    monkeypatch.setattr(de, "use_one_core_per_operation", lambda: None)
    monkeypatch.setattr(de, "load_generator", load_generator)
    few = functools.partial(de.load_autoencoder, num_steps=2)
    monkeypatch.setattr(de, "load_autoencoder", few)


def test_embed(started, capsys):
    names = {}
    exec(
        code("embed.ipynb", steps=("STEPS = 30", "STEPS = 2"), limit=("limit=8", "limit=2")), names
    )
    assert names["best"].mse.mean() < names["found"].mse.mean() < 0.02
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


def test_shape(started):
    names = {}
    exec(code("shape.ipynb", size=("MEMBERS, STEPS = 12, 20", "MEMBERS, STEPS = 6, 2")), names)
    assert names["spread"].distance > 1 and len(names["members"].mse) == 6
    assert names["cloud"].explained_variance_ratio_.sum() == pytest.approx(1)


def test_autoencoder(started):
    names = {}
    exec(code("autoencoder.ipynb", limit=("EXAMPLES = 300", "EXAMPLES = 60")), names)
    assert names["code"].embedding.mse.mean() < 0.01
    assert names["strip"].shape == (6, 32, 32, 1)
    np.testing.assert_allclose(names["strip"][2], names["decoded"][1], atol=2e-3)  # strength 0


def test_editing(started):
    names = {}
    exec(code("editing.ipynb", limit=("EXAMPLES = 300", "EXAMPLES = 60")), names)
    before = names["generator"].decode(names["latents"]).numpy()
    for strip in names["strips"]:
        np.testing.assert_allclose(strip[2], before[0], atol=2e-3)  # strength 0
        assert np.abs(strip[-1] - strip[2]).max() > 0.1


def test_train(started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    text = code(
        "train.ipynb",
        images=('source="sample")', 'source="sample", limit=32)'),
        epochs=("\nEPOCHS = 20", "\nEPOCHS = 1"),
        more=("EMBEDDER_EPOCHS = 3", "EMBEDDER_EPOCHS = 1"),
        steps=("padding=2, num_steps=5", "padding=2, num_steps=2"),
        batch=("batch_size=50, epochs=EPOCHS", "batch_size=16, epochs=EPOCHS"),
        size=("widths=(16, 32, 48)", "widths=(4, 8)"),
    )
    exec(text, names)
    assert (tmp_path / "my_weights" / "small_fashion" / "generator.json").exists()
    assert names["best"].mse.mean() <= names["found"].mse.mean()
    loaded, made = names["again"], names["generator"]
    assert_close(
        loaded.sample(2), made.with_steps(loaded.num_steps).sample(2), rtol=0.05
    )  # float16


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_outputs_are_those_of_one_run(path):
    """From top to bottom, without an error, small, and with text or an image where one is due."""
    contents = json.loads(path.read_text(encoding="utf-8"))
    assert contents["nbformat"] == 4
    cells = [cell for cell in contents["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {
        "stream", "display_data", "execute_result",
    }  # fmt: skip
    images = sum("image/png" in output.get("data", {}) for output in outputs)
    drawn = sum("de.image_grid(" in "".join(cell["source"]) for cell in cells)
    assert images == drawn > 0
    assert path.stat().st_size < 400_000


def test_logs_are_no_outputs():
    is_log = runpy.run_path(str(FOLDER / "execute.py"))["is_log"]
    for name, text, expected in (
        ("stdout", "WARNING:tensorflow:5 out of the last 92 calls", True),
        ("stderr", "100%", True),
        ("stdout", "WARNING: a file is missing", False),
    ):
        assert is_log({"output_type": "stream", "name": name, "text": text}) is expected
    assert not is_log({"output_type": "display_data", "data": {"image/png": ""}})


@pytest.fixture
def published(tmp_path):
    """Copies of the notebooks, with the address of a repository that does not exist."""
    publish = runpy.run_path(str(FOLDER / "publish.py"))["publish"]
    copies = [Path(shutil.copy(path, tmp_path)) for path in NOTEBOOKS]
    for copy in copies:
        publish(copy, "https://github.com/someone/earlier")
        publish(copy, ADDRESS, "v1.0")  # replaces it
    return {copy.name: json.loads(copy.read_text(encoding="utf-8")) for copy in copies}


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS])
def test_badges_open_the_notebook(published, name):
    badge, _, rest = "".join(published[name]["cells"][0]["source"]).partition("\n\n")
    assert badge == (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/someone/ddim/blob/v1.0/notebooks/{name})"
    )
    own = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert rest == "".join(own["cells"][0]["source"])
    outputs, own_outputs = (
        [cell.get("outputs") for cell in each["cells"]] for each in (published[name], own)
    )
    assert outputs == own_outputs


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS])
def test_the_first_cell_installs_where_the_package_is_missing(
    published, name, missing, monkeypatch
):
    cells = [cell for cell in published[name]["cells"] if cell["cell_type"] == "code"]
    text = TransformerManager().transform_cell("".join(cells[0]["source"]))
    names, ran = {}, []

    def run_line_magic(magic, line):
        ran.append(f"{magic} {DollarFormatter().format(line, **names)}")  # as IPython does

    names["get_ipython"] = lambda: SimpleNamespace(run_line_magic=run_line_magic)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if missing else name)
    exec(text, names)
    install = [f"pip install -q git+{ADDRESS}"] if missing else []
    assert ran == [*install, "matplotlib inline"]


def test_addresses_that_colab_does_not_open_are_refused():
    badge = runpy.run_path(str(FOLDER / "publish.py"))["badge"]
    expected = badge("a.ipynb", ADDRESS)
    assert "someone/ddim/blob/main/notebooks/a.ipynb" in expected
    assert badge("a.ipynb", f"{ADDRESS}.git") == badge("a.ipynb", f"{ADDRESS}/") == expected
    for address in ("", "someone/ddim", "https://gitlab.com/someone/ddim", ADDRESS + '/"'):
        with pytest.raises(ValueError, match="OWNER/NAME"):
            badge("a.ipynb", address)


def test_they_need_the_package_alone():
    """`pip install` brings no `experiments`."""
    for path in NOTEBOOKS:
        assert "experiments import" not in path.read_text(encoding="utf-8")
