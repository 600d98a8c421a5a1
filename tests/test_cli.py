"""The command `ddim-embed`: what it writes for a user's own images, and what it refuses."""

import csv
import errno
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import set_random_weights
from PIL import Image

import ddim_embed as de
from ddim_embed import cli, commands
from ddim_embed.cli import main
from ddim_embed.console import UsageError

ROOT = Path(__file__).parent.parent
MODEL = ("--model", "fashion_mnist", "--num-steps", "2")


@pytest.fixture(scope="module", autouse=True)
def generator():
    """The generator, which all commands load once: it is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(de, "load_generator", functools.cache(de.load_generator))
        yield de.load_generator("fashion_mnist", None, 2)


@pytest.fixture
def pictures(tmp_path):
    """Three test images as files, two of them of one stem, then an empty and a missing one."""
    pixels, _ = de.load_images("fashion_mnist", "test", source="sample", limit=3)
    paths = [tmp_path / name for name in ("shoe.png", "more/shoe.png", "shirt.png")]
    for path, image in zip(paths, pixels[:, 2:-2, 2:-2], strict=True):
        save_png(path, image)
    (tmp_path / "empty.png").touch()
    return [*paths, tmp_path / "empty.png", tmp_path / "missing.png"]


def save_png(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.uint8(np.rint(255 * pixels[..., 0]))).save(path)


def stopped(capsys, *arguments):
    """Runs the command to its exit; returns the code and what stderr says."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code, capsys.readouterr().err


def test_embed(generator, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    main(["embed", *pictures, *MODEL, "--method", "conv3_16", "--out", out])

    assert capsys.readouterr().err.count("Skipped") == 2
    pixels, read, _ = de.read_image_files(pictures, generator.image_shape, generator.padding)
    expected = de.embed(generator, pixels, "conv3_16")
    with np.load(out / "latents.npz") as found:
        np.testing.assert_allclose(found["latents"], expected.latents, atol=1e-4)  # float32
        assert found["files"].tolist() == [str(path) for path in read] == [*map(str, pictures[:3])]
    with open(out / "errors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["reconstruction"] for row in rows[:3]] == ["shoe.png", "shoe-2.png", "shirt.png"]
    assert [row["error"] for row in rows] == ["", "", "", "empty file", "no such file"]
    mse = [float(row["mse"]) for row in rows[:3]]
    np.testing.assert_allclose(mse, expected.mse, rtol=1e-4)  # float32
    saved = np.asarray(Image.open(out / "shirt.png")) / 255
    decoded = np.clip(expected.reconstruction[2, 2:-2, 2:-2, 0], 0, 1)
    np.testing.assert_allclose(saved, decoded, atol=0.6 / 255)  # rounded to 8 bits
    notes = json.loads((out / "embed.json").read_text())
    assert notes["command"] == "embed" and notes["options"]["method"] == "conv3_16"


def test_encode(pictures, tmp_path, monkeypatch, capsys):
    autoencoder = de.build_autoencoder(
        (32, 32, 1), (4, 8), 1, semantic_dims=3, num_steps=2, padding=2
    )
    autoencoder = set_random_weights(autoencoder)
    monkeypatch.setattr(de, "load_autoencoder", lambda name, root, num_steps: autoencoder)
    out = tmp_path / "out"
    main(["encode", *pictures, *MODEL, "--out", out])

    pixels, _, _ = de.read_image_files(pictures, autoencoder.image_shape, autoencoder.padding)
    code = autoencoder.encode(pixels, method="implicit")
    with np.load(out / "latents.npz") as found:
        np.testing.assert_allclose(found["semantic"], code.semantic, atol=1e-5)  # float32
        np.testing.assert_allclose(found["latents"], code.latents, atol=1e-3)
    with open(out / "errors.csv", newline="") as file:
        mse = [float(row["mse"]) for row in list(csv.DictReader(file))[:3]]
    np.testing.assert_allclose(mse, code.embedding.mse, rtol=0.05, atol=1e-9)
    assert json.loads((out / "embed.json").read_text())["command"] == "encode"

    capsys.readouterr()
    for _ in range(2):  # not what it wrote itself
        main(["encode", tmp_path, *MODEL, "--out", out])
        assert "3 of 4 images" in capsys.readouterr().out
    with np.load(out / "latents.npz") as found:
        assert found["files"].tolist() == sorted(map(str, pictures[:3]))


def test_embed_replaces_no_file_that_it_reads(pictures, capsys):
    """Nor another one that it did not write: it says so before it begins."""
    folder = pictures[0].parent
    before = pictures[0].read_bytes()
    flags = [*MODEL, "--method", "conv1", "--out", folder]
    main(["embed", pictures[0], *flags])
    assert pictures[0].read_bytes() == before and (folder / "shoe-2.png").exists()
    main(["embed", pictures[0], *flags])  # its own files are replaced
    assert not (folder / "shoe-3.png").exists()

    written = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    save_png(folder / "other" / "shirt.png", np.zeros((28, 28, 1)))  # the name is taken: shirt.png
    code, words = stopped(capsys, "embed", folder / "other" / "shirt.png", *flags)
    assert code == 1 and "files of yours" in words and "(shirt.png)" in words
    (folder / "errors.csv").write_text("my own table")  # changed since: it is the user's now
    written[folder / "errors.csv"] = b"my own table"
    code, words = stopped(capsys, "embed", pictures[0], *flags)
    assert code == 1 and "(errors.csv)" in words and len(words.splitlines()) == 1
    assert written == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_embed_of_long_and_of_strange_names(pictures, tmp_path, capfd):
    """Names are shortened, and need be no text; what cannot be written costs the others nothing."""
    long = pictures[0].with_name("a" * 246 + ".png")
    strange = pictures[0].with_name(os.fsdecode(b"caf\xe9.png"))
    for path in (long, strange):
        path.write_bytes(pictures[0].read_bytes())
    out = tmp_path / os.fsdecode(b"\xe9")
    (out / "shirt.png").parent.mkdir()
    main(["embed", long, strange, *MODEL, "--method", "conv1", "--out", out])
    with open(out / "errors.csv", newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["reconstruction"] for row in rows] == ["a" * 120 + ".png", strange.name]
    assert all((out / row["reconstruction"]).stat().st_size for row in rows)
    assert "udce9: 2 of 2 images" in capfd.readouterr().out


def test_work_that_ends_before_there_is_a_file(pictures, tmp_path, monkeypatch, capsys):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "interpolate_files", stop)
    flags = [*MODEL, "--out", tmp_path / "out"]
    code, words = stopped(capsys, "interpolate", *pictures[:2], *flags)
    assert code == 130 and "No file was written. The same command begins anew." in words
    (tmp_path / "out").mkdir()
    words = stopped(capsys, "interpolate", *pictures[:2], *flags)[1]
    assert f"What was done is in {tmp_path / 'out'}." in words


def test_what_is_embedded_is_kept_if_the_work_ends_early(pictures, tmp_path, monkeypatch, capsys):
    """Batches are those of `de.embed`; one image cannot be written, and the third stops the run."""

    class Stopping(de.DDIMInversion):
        def solve(self, generator, pixels, *arguments):
            if solved:
                raise KeyboardInterrupt
            solved.append(len(pixels))
            return super().solve(generator, pixels, *arguments)

    solved, save = [], commands.save_png
    monkeypatch.setitem(de.METHODS, "ddim_inversion", lambda: Stopping(batch_size=2))

    def failing(outputs, name, image):
        if name == "shoe.png":
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        save(outputs, name, image)

    monkeypatch.setattr(commands, "save_png", failing)
    flags = [*MODEL, "--method", "ddim_inversion", "--out", tmp_path / "out"]
    code, words = stopped(capsys, "embed", *pictures[:3], *flags)
    assert code == 130 and words.splitlines()[-1].startswith("Interrupted. What was done is in")
    with np.load(tmp_path / "out" / "latents.npz") as found:
        assert found["files"].tolist() == [*map(str, pictures[:2])]
    with open(tmp_path / "out" / "errors.csv", newline="") as file:
        errors = [row["error"] for row in csv.DictReader(file)]
    assert errors == ["shoe.png cannot be written: File name too long", ""]
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["shoe-2.png"]


def test_sample(generator, tmp_path):
    main(["sample", *MODEL, "--count", "3", "--seed", "5", "--out", tmp_path])

    with np.load(tmp_path / "samples.npz") as found:
        np.testing.assert_array_equal(found["latents"], generator.latents(3, seed=5))
        decoded = np.clip(generator.decode(found["latents"]), 0, 1)
        np.testing.assert_allclose(found["pixels"], decoded, atol=1e-5)  # float32
    assert {path.name for path in tmp_path.glob("*.png")} == {f"sample-{i}.png" for i in range(3)}
    with Image.open(tmp_path / "sample-0.png") as picture:
        assert picture.size == (28, 28)


def test_interpolate(generator, pictures, tmp_path):
    out = tmp_path / "out"
    flags = ["--method", "unet", "--frames", "4", "--out", out]
    main(["interpolate", *pictures[1:3], *MODEL, *flags])

    with np.load(out / "interpolation.npz") as found:
        latents, spherical = found["latents"], found["spherical"]
        assert found["linear"].shape == found["pixels"].shape == (4, 32, 32, 1)
    expected = de.interpolate(generator, latents[:1], latents[1:], 4)[0]
    np.testing.assert_allclose(spherical, expected, atol=1e-4)  # float32
    with Image.open(out / "interpolation.gif") as picture:
        assert picture.n_frames == 2 * 4 - 2 and picture.size == (2 * 168, 168)
    with Image.open(out / "interpolation.png") as picture:
        assert picture.width > picture.height
    assert len(json.loads((out / "interpolation.json").read_text())["mse"]) == 2


def test_project_with_a_mask(generator, pictures, tmp_path, monkeypatch):
    """What is under the mask has no influence on the latents that are found."""
    monkeypatch.setitem(de.METHODS, "lbfgs", lambda: de.LBFGS(num_steps=2))
    mask = np.zeros((28, 28, 1))
    mask[10:20, 10:20] = 1
    save_png(tmp_path / "mask.png", mask)
    drawn = np.asarray(Image.open(pictures[0])).copy()
    drawn[10:20, 10:20] = 128
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    found = {}
    for name, path in (("plain", pictures[0]), ("drawn", tmp_path / "drawn.png")):
        flags = ["--method", "lbfgs", "--mask", tmp_path / "mask.png", "--out", tmp_path / name]
        main(["project", path, *MODEL, *flags])
        with np.load(tmp_path / name / "latents.npz") as arrays:
            found[name] = arrays["latents"]
    np.testing.assert_allclose(found["drawn"], found["plain"], atol=1e-3)  # float32, two steps
    assert (tmp_path / "drawn" / "projection.png").stat().st_size
    with open(tmp_path / "drawn" / "errors.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["psnr"] == "" and 0 < float(row["mse"]) < 1


def make_direction(generator, name, seed=0):
    shape = (generator.num_steps, *de.HSpaceEditor(generator).h_shape)
    shifts = np.random.default_rng(seed).normal(size=shape)
    own = generator.denoiser_fingerprint()
    return de.SemanticDirection(shifts, own, strength=0.5, name=name)


def test_edit(generator, pictures, tmp_path, capsys, monkeypatch):
    """By recorded directions; what cannot be read is reported, and the others are edited."""
    for name in ("Sole", "Heel"):
        de.record_direction(tmp_path, "fashion_mnist", make_direction(generator, name), data=None)
    load = de.load_direction
    monkeypatch.setattr(de, "load_direction", lambda model, name, _: load(model, name, tmp_path))
    out = tmp_path / "out"
    flags = [*MODEL, "--attribute", "Sole", "Heel", "--method", "conv1", "--frames", "3"]
    main(["edit", *pictures, *flags, "--out", out])
    words = capsys.readouterr()
    assert words.err.count("Skipped") == 2 and "Sole, Heel of 3 of 5 images" in words.out

    editor = de.HSpaceEditor(generator)
    with np.load(out / "edit.npz") as found:
        latents, edited = found["latents"], found["edited"]
        assert found["directions"].tolist() == ["Sole", "Heel"]
    for name, own in zip(("Sole", "Heel"), edited, strict=True):
        direction = load("fashion_mnist", name, tmp_path)
        # Its own strength; clipped.
        expected = editor.edit(latents, direction, 0.5).clip(0, 1)
        np.testing.assert_allclose(own, expected, atol=1e-4)  # float32
    strip = np.asarray(Image.open(out / "shoe-2-Heel.png")) / 255
    half = editor.edit(latents, load("fashion_mnist", "Heel", tmp_path), 0.25).clip(0, 1)
    assert strip.shape == (28, 84)
    for i, expected in enumerate((generator.decode(latents).numpy().clip(0, 1), half, edited[1])):
        part = strip[:, 28 * i : 28 * i + 28]
        np.testing.assert_allclose(part, expected[1, 2:-2, 2:-2, 0], atol=0.003)  # 8 bits
    with Image.open(out / "shirt-Sole.gif") as animation:
        assert animation.n_frames == 4  # there and back
    assert json.loads((out / "edit.json").read_text())["options"]["attribute"] == ["Sole", "Heel"]

    for given, expected in ((["-1"], (-1, -1)), (["-1", "0.3"], (-1, 0.3))):
        main(["edit", pictures[2], *flags, "--strength", *given, "--out", tmp_path / "back"])
        with np.load(tmp_path / "back" / "edit.npz") as found:
            for i, name in enumerate(("Sole", "Heel")):
                direction = load("fashion_mnist", name, tmp_path)
                images = editor.edit(found["latents"], direction, expected[i]).clip(0, 1)
                np.testing.assert_allclose(found["edited"][i], images, atol=1e-4)


def test_edit_by_two_folders(generator, pictures, tmp_path, capsys):
    folders = {"positive": pictures[:2], "negative": pictures[2:4]}
    for name, paths in folders.items():
        (tmp_path / name).mkdir()
        for i, path in enumerate(paths):
            (tmp_path / name / f"{i}.png").write_bytes(path.read_bytes())
    own = [word for name in folders for word in (f"--{name}", tmp_path / name)]
    flags = [*MODEL, "--method", "conv1", "--frames", "2", "--out", tmp_path / "out"]
    main(["edit", pictures[0], *own, *flags])
    assert "empty file" in capsys.readouterr().err  # in the folder of negatives
    pixels = de.read_image_files(pictures[:3], generator.image_shape, generator.padding)[0]
    editor = de.HSpaceEditor(generator)
    direction = editor.fit(pixels, [1, 1, 0])
    with np.load(tmp_path / "out" / "edit.npz") as found:
        expected = editor.edit(found["latents"], direction, 1).clip(0, 1)
        np.testing.assert_allclose(found["edited"][0], expected, atol=1e-3)  # float32
    (tmp_path / "none").mkdir()
    for folder, words in ((tmp_path / "none", "with images that can be read"),
                          (pictures[0], "must be a folder of images")):  # fmt: skip
        arguments = [*own[:2], "--negative", folder, *flags]
        code, found = stopped(capsys, "edit", pictures[0], *arguments)
        assert code == 2 and "--negative" in found and words in found


def test_list(capsys):
    main(["list"])
    words = capsys.readouterr().out
    line = next(line for line in words.splitlines() if line.split()[:2] == ["celeba", "unet"])
    assert "1,942,147" in line and "4.1" in line and float(line.split()[-1]) < 0.001
    assert "64x64x3" in words and "hybrid" in words and "lpips" not in words
    # Directions are by name, and not among the networks.
    assert "directions of celeba: " in words and "Smiling" in words and "direction_" not in words


def test_methods_are_those_of_the_library():
    assert tuple(de.METHODS) == cli.METHODS


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["embde"], ["embde", "interpolate"]),
        (["embed", "a.png"], ["--model"]),
        (["embed", *MODEL], ["needs at least one image"]),
        (["encode", *MODEL], ["needs at least one image"]),
        (["encode", "a.png", *MODEL, "--method", "unet"], ["unet", "implicit"]),
        (["embed", "a.png", *MODEL, "--method", "vae"], ["vae", "hybrid"]),
        (["embed", "a.png", "--model", "../x"], ["--model must be a name", "../x"]),
        (["embed", "a.png", *MODEL[:2], "--num-steps", "0"], ["--num-steps must be at least 1"]),
        (["sample", *MODEL, "--count", "0"], ["--count must be at least 1. Received: 0"]),
        (["sample", *MODEL, "--seed", "-1"], ["--seed must be at least 0"]),
        (["interpolate", "a.png", *MODEL], ["two images. Received: 1"]),
        (["interpolate", "a.png", "b.png", *MODEL, "--frames", "1"], ["--frames", "Received: 1"]),
        (["embed", "a.png", *MODEL, "--out", ""], ["--out must not be empty"]),
        (["embed", "a.png", *MODEL, "--out="], ["--out must not be empty"]),
        (["embed", "", *MODEL], ["must not be empty"]),
        (["sample", *MODEL, "--frames", "3"], ["--frames does nothing for `sample`"]),
        (["sample", *MODEL, "--cuont", "3"], ["--cuont. Did you mean --count?"]),
        (["embed", "a.png", *MODEL, "--method", "hybird"], ["hybird", "Did you mean hybrid?"]),
        (["interpolate", "a.png", "b.png", *MODEL, "--method", "bdia"], ["single", "BDIA"]),
        (["project", *MODEL], ["needs at least one image"]),
        (["edit", *MODEL], ["needs at least one image"]),
        (["edit", "a.png", *MODEL], ["--attribute", "Received: neither"]),
        (["edit", "a.png", *MODEL, "--positive", "x"], ["--negative must be given together"]),
        (
            ["edit", "a.png", *MODEL, "--attribute", "A", "--positive", "x", "--negative", "y"],
            ["Received: both"],
        ),
        (["edit", "a.png", *MODEL, "--attribute", "A", "--strength", "nan"], ["finite"]),
        (
            ["edit", "a.png", *MODEL, "--attribute", "A", "B", "--strength", "1", "2", "3"],
            ["2 att"],
        ),
        (["edit", "a.png", *MODEL, "--attribute", "A", "A"], ["names that differ"]),
        (["project", "a.png", "b.png", *MODEL, "--mask", "m.png"], ["belongs to one image"]),
        (["project", "a.png", *MODEL, "--method", "unet", "--mask", "m.png"], ["takes a mask"]),
    ],
)
def test_wrong_usage_ends_with_code_2(capsys, arguments, expected):
    code, words = stopped(capsys, *arguments)
    assert code == 2
    assert len(words.splitlines()) == 1 and words.startswith("error: ")
    assert all(word in words for word in expected), words


def test_what_does_not_fit_into_memory_is_refused(generator, capsys, tmp_path):
    out, method = tmp_path / "out", de.DDIMInversion()
    with pytest.raises(MemoryError, match="100,000,000 images of 32x32x1"):
        commands.sample_images(generator, 10**8, out)
    with pytest.raises(MemoryError, match="600,000,000 images of 32x32x1"):
        commands.interpolate_files(generator, ["a.png", "b.png"], method, out, frames=10**8)
    code, words = stopped(capsys, "sample", *MODEL[:2], "--num-steps", "1000000", "--out", out)
    assert code == 1 and "1,000,000 sampler steps" in words and len(words.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["embed", "no.png", *MODEL], "None of the 1 files can be read"),
        (["embed", "no.png", "--model", "cats"], "No weights `cats/generator`"),
        (["encode", "no.png", "--model", "cifar10"], "No weights `cifar10/autoencoder`"),
        (["sample", *MODEL, "--weights", "nowhere"], "nowhere, which has: none"),
        (["interpolate", "no.png", "no.png", *MODEL], "no.png: no such file"),
        (["project", "no.png", *MODEL, "--mask", "m.png"], "no.png: no such file"),
        (["edit", "no.png", "--attribute", "Smilin"], "Did you mean 'celeba/direction_Smiling'"),
    ],
)
def test_missing_files_end_with_code_1_and_a_line(capsys, arguments, expected):
    code, words = stopped(capsys, *arguments)
    assert code == 1
    assert words.splitlines()[-1].startswith("error: ") and expected in words


def test_masks_that_do_not_fit(generator, pictures, tmp_path):
    for size, colour, words in (
        ((28, 14), "white", "of the image's size, 28x28. Received: 28x14"),
        ((28, 28), "white", "white all over"),
        ((28, 28), "black", "black all over"),
    ):
        Image.new("L", size, colour).save(tmp_path / "mask.png")
        with pytest.raises(UsageError, match=words):
            commands.read_mask(generator, tmp_path / "mask.png", pictures[0])


def test_an_output_folder_that_is_a_file(capsys, pictures, tmp_path):
    flags = ["--method", "conv1", "--out", pictures[0]]
    code, words = stopped(capsys, "embed", pictures[2], *MODEL, *flags)
    assert code == 1 and words.splitlines()[-1].startswith("error: ")


def python_m(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "ddim_embed", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_version():
    run = python_m("--version")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{de.__version__}\n", "")


def test_help_takes_less_than_a_second():
    seconds = []
    for arguments in (["--help"], ["embed", "--help"], ["--help"]):
        started = time.perf_counter()
        run = python_m(*arguments)
        seconds.append(time.perf_counter() - started)
        assert run.returncode == 0 and "embed" in run.stdout
    assert min(seconds) < 1


def test_the_command_line_imports_no_tensorflow():
    code = (
        "import sys; from ddim_embed import cli; "
        "print(sorted({'tensorflow', 'keras', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr
