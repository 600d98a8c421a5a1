"""The tour of the four systems, with the shipped weights."""

import json
import re

import pytest

from experiments.demo.__main__ import Demo
from experiments.toolkit.study import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    main(Demo(), ["--smoke", "--results", str(folder)])
    return folder / "demo-smoke"


def test_every_system_has_numbers(demo):
    contents = json.loads((demo / "demo.json").read_text())
    assert contents["images"] == 2
    errors = {row["name"]: row["mse"]["mean"] for row in contents["methods"]}
    # BDIA is exact, but for rounding; the others are of two steps, not of the ten of the weights.
    assert errors["BDIA, for a pair of latents"] < 1e-8
    assert errors["embedding U-Net"] > errors["U-Net, then defect correction"]
    codes = contents["autoencoder"]
    assert codes["one_step_mse"]["mean"] < codes["one_step_mse_of_others"]["mean"]
    assert list(contents["h_space"]["judged"]) == ["strength 0", "strength 0.5", "strength 1"]


def test_the_page_shows_every_system(demo):
    text = (demo / "index.html").read_text(encoding="utf-8")
    for name in ("embedding", "inversion", "autoencoder", "h_space"):
        assert (demo / f"{name}.png").exists()
        assert re.search(rf'<img\s+src="{name}\.png" alt="[A-Z][^"]{{30,}}"', text), name
    headings = re.findall(r'<h2 id="(.*?)">(.*?)</h2>', text)
    assert [words for _, words in headings] == [
        "1. Image embedding", "2. Inversion", "3. Diffusion autoencoder",
        "4. Editing in the h-space", "How it was made",
    ]  # fmt: skip
    assert re.findall(r'<a href="#(.*?)">(.*?)</a>', text) == headings  # the table of contents


def test_more_images_than_are_bundled_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(Demo(), ["--images", "1001"])
    assert "--images must be from 2 to 1000" in capsys.readouterr().err
