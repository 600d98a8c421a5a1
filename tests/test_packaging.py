"""What a wheel installs: the library alone, with its weights, samples, types and command."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ddim_embed.store.weights import read_manifest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The files of a wheel, built without a network from a copy: a build leaves its own files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for name in ("ddim_embed", "weights", "experiments"):
        (source / name).symlink_to(ROOT / name)
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder]
    command = [sys.executable, "-m", "pip", "wheel", source, *flags]
    subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name: file.getinfo(name).file_size for name in file.namelist()}
        names["entry points"] = file.read(
            next(name for name in names if name.endswith("entry_points.txt"))
        ).decode()
    return names


def test_one_top_level_name(names):
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "ddim_embed", "entry points",
    }  # fmt: skip


def test_every_module_and_file_of_the_library(names):
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ddim_embed").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= names.keys(), files - names.keys()
    assert {"ddim_embed/py.typed", "ddim_embed/__init__.pyi"} <= files


def test_the_shipped_weights(names):
    for entry, description in read_manifest(ROOT / "weights").items():
        assert names[f"ddim_embed/pretrained_weights/{entry}.weights.h5"] == description["size"]
        assert f"ddim_embed/pretrained_weights/{entry}.json" in names
    for folder in ("identity", "lpips"):
        assert f"ddim_embed/pretrained_weights/{folder}/LICENSES.md" in names


def test_the_command(names):
    assert "ddim-embed = ddim_embed.cli:main" in names["entry points"]
