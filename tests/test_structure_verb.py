"""The verb `structure`: its results and cache, and the verdicts on the paper's claims."""

import json

import numpy as np
import pytest
from conftest import set_random_weights

import ddim_embed as de
from ddim_embed.analysis import clouds
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.methods import cache
from experiments.embedding.claims import structure_claims
from experiments.embedding.cloud_claims import cloud_claims
from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import main
from experiments.toolkit.claims import Verdict


@pytest.fixture(scope="module")
def flags(tmp_path_factory, tiny_generator):
    """Flags of a finished smoke run, with a generator and a U-Net of random weights."""
    root = tmp_path_factory.mktemp("cloud")
    flags = ["--smoke", "--results", root]
    weights, notes = root / "fashion_mnist-smoke" / "weights", {"data": "", "budget": {}}
    sizes = {"widths": [8, 16], "block_depth": 1}
    config = generator_config(tiny_generator)
    embedder = set_random_weights(de.build_embedder("unet", channels=1, **sizes))
    for name, model, given in (
        ("generator", tiny_generator, config),
        ("unet", embedder, sizes | {"channels": 1}),
    ):
        de.record_weights(weights, "fashion_mnist", name, model, config=given, errors={}, **notes)
    main(FASHION_MNIST, ["structure", *flags, "--image", "3"])
    return flags


@pytest.fixture(scope="module")
def folder(flags):
    return flags[-1] / "fashion_mnist-smoke"


@pytest.fixture
def contents(folder):
    return json.loads((folder / "structure.json").read_text())


def members(folder, name="image3-descent"):
    """The cached latents of the members."""
    files = sorted((folder / "runs" / "fashion_mnist" / "structure" / name).iterdir())
    return np.concatenate([np.load(file)["latents"] for file in files])


def test_numbers_equal_a_direct_computation(folder, contents):
    latents = members(folder)
    generator = de.load_generator("fashion_mnist", folder / "weights", num_steps=2)
    pixels, _ = de.load_images("fashion_mnist", "test", 16, source="sample", limit=4)
    images = np.repeat(pixels[3:], 10, axis=0)
    expected = de.embed(
        generator, images, de.Descent(num_steps=2), latents=generator.latents(10, 0)
    )
    # float32; other batches.
    np.testing.assert_allclose(latents, expected.latents, atol=1e-4)
    assert contents["mse"]["mean"] == pytest.approx(expected.mse.mean(), rel=1e-3)
    assert contents["found"]["members"] == 10 and contents["found"]["converged"] == 0
    assert contents["spread"]["distance"] == pytest.approx(clouds.spread(latents).distance)
    values = de.LatentCloud().fit(latents).explained_variance_
    np.testing.assert_allclose(contents["spectrum"]["eigenvalues"], values, rtol=1e-6)
    means = generator.decode(clouds.running_means(latents)[1])
    errors = de.metrics.mse(images[:5], means)
    np.testing.assert_allclose(contents["running_means"]["mse"], errors, rtol=1e-3)
    assert contents["running_means"]["counts"] == [1, 2, 4, 8, 10]
    canonical = de.embed(generator, pixels[3:], "unet").latents[0]
    found = clouds.centrality(latents, canonical)
    assert contents["canonical"]["distance"] == pytest.approx(found.distance, rel=1e-4)
    values = contents["jacobian"]["values"]
    assert len(values) == len(contents["jacobian"]["variances"]) == 256
    assert list(contents["jacobian"]["angles"]) == ["sensitive and minor", "ignored and major"]


def test_provenance_is_recorded(contents):
    assert contents["command"].startswith("python -m experiments.fashion_mnist structure --smoke")
    assert contents["options"] == {
        "image": 3, "members": 10, "method": "descent", "iterations": 2, "at_a_time": 5,
        "tolerance": None,
    }  # fmt: skip
    assert {"scipy", "scikit-learn", "tensorflow"} <= set(contents["versions"])
    assert contents["seed"] == 0 and "commit" in contents and contents["config"]["smoke"]


def test_page_shows_claims_and_figures(folder, contents):
    text = (folder / "index.html").read_text()
    figures = {path.name for path in folder.glob("*.png")}
    assert {name[:5] for name in figures} == {"fig11", "fig12", "fig13", "fig14", "cloud"}
    for name in figures:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert text.count(f'src="{name}"') == 1
    assert len(contents["verdicts"]) == 8
    for row in contents["verdicts"]:
        assert f"<td>{row['statement']}</td>" in text.replace("&#39;", "'")
        assert row["verdict"] in [*Verdict] and f"<td>{row['verdict']}</td>" in text
    assert "://" not in text and contents["command"] in text


def test_a_killed_run_resumes(folder, flags, monkeypatch, capsys):
    """Finished batches are read from the cache; a larger cloud starts with a smaller one."""
    run = folder / "runs" / "fashion_mnist" / "structure" / "image3-descent"
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    assert sorted(before) == ["0.npz", "5.npz"]
    (run / "5.npz").unlink()
    computed = []

    def embed(*arguments, **options):
        computed.append(options["latents"])
        return original(*arguments, **options)

    original = de.embed
    monkeypatch.setattr(cache, "embed", embed)
    generator = de.load_generator("fashion_mnist", folder / "weights", num_steps=2)
    pixels, _ = de.load_images("fashion_mnist", "test", 16, source="sample", limit=4)
    finder = de.Descent(num_steps=2, batch_size=5)
    starts = generator.latents(15)
    images = np.repeat(pixels[3:], 5, axis=0)

    def find(i, **changes):
        given = {"generator": generator, "pixels": images, "method": finder} | changes
        return cache.cached_embed(run / f"{i}.npz", latents=starts[i : i + 5], **given)

    first, second, _ = find(0), find(5), find(10)
    assert len(computed) == 2
    np.testing.assert_array_equal(computed, [starts[5:10], starts[10:]])
    assert (run / "0.npz").stat().st_mtime_ns == before["0.npz"]
    for field in ("latents", "reconstruction", "mse", "evaluations"):
        np.testing.assert_array_equal(getattr(find(0), field), getattr(first, field))
    np.testing.assert_array_equal(find(5).trace.mse, second.trace.mse)
    assert len(computed) == 2
    # The key depends on image, initial latents, method and generator.
    find(0, pixels=images[::-1] * 0.5)
    find(0, method=de.Descent(num_steps=1, batch_size=5))
    other = de.load_generator("fashion_mnist", folder / "weights", num_steps=1)
    find(0, generator=other)
    assert len(computed) == 5


@pytest.fixture
def found():
    """Numbers of a cloud of which most claims hold."""
    return {
        "spread": {"distance": 20.0, "rms": 0.93, "mean_square": 0.865},
        "mse": {"mean": 1e-4, "control": 0.1},
        "combinations": {
            "convex of all": {"mse": 1e-3, "largest": 2e-3, "same": 1.0, "latents_std": 1.0},
            "affine of 2": {"mse": 0.02, "largest": 0.1, "same": 0.3, "latents_std": 1.0},
            "gaussian": {"mse": 1e-3, "largest": 2e-3, "same": 1.0, "latents_std": 1.0},
        },
        "running_means": {"change": [None, 1e-4], "mse": [1e-4, 1e-3], "sharpness": [1.0, 0.8]},
        "border": {"euclidean": {"errors": [3e-4, 2e-4, 1e-4, 1e-5], "correlation": -0.4,
                                 "p_value": 1e-9}},
        "spectrum": {"eigenvalues": [3.4, 1.0, 1e-3], "gaussian": [3.5, 1.0, 0.02],
                     "marchenko_pastur": [0.015, 3.5], "dimensions": 3},
        "components": {"change_per_unit": [0.1, 1.0, 3.0]},
        "canonical": {"distance": 3.0, "members": 20.0, "error_of_mean": 0.1, "nearer": 0.0,
                      "correlation": 0.9, "correlation_of_members": 0.2},
        "jacobian": {"variances": [0.01, 0.5, 1.0], "angles": {}, "correlation": -1.0,
                     "at": "x"},
    }  # fmt: skip


YES, NO, UNKNOWN = Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.NOT_MEASURED


def test_claims_are_judged(found):
    def judged():
        return [(row["verdict"], row["why"]) for row in cloud_claims(found)]

    assert judged() == [
        (YES, "as root mean square of a coordinate and as mean square of a coordinate"),
        (NO, "only for convex of all"),
        (YES, "settles, blurred"),
        (YES, ""),
        (YES, "the largest are chance, the least are shape"),
        (YES, ""),
        (YES, ""),
        (YES, ""),
    ]
    found["combinations"]["affine of 2"]["same"] = 0.95
    assert judged()[1] == (YES, "")
    found["spectrum"]["eigenvalues"][-1] = 0.02
    assert judged()[4] == (NO, "the largest are chance, the least are chance")
    found["components"]["change_per_unit"] = [1.0, 1.0]
    assert judged()[5] == (NO, "")
    found["canonical"] |= {"distance": 19.0, "nearer": 0.1}
    assert judged()[6] == (NO, "nearer than 90% of members, but not close")
    found["canonical"]["nearer"] = 0.9
    assert judged()[6] == (NO, "")
    found["combinations"]["affine of 2"]["same"] = 0.3
    found["spread"] = {"distance": 45.0, "rms": 1.41, "mean_square": 2.0}
    found["combinations"]["convex of all"]["same"] = 0.0
    found["running_means"] |= {"change": [None, 0.1], "sharpness": [1.0, 1.1]}
    found["border"]["euclidean"]["correlation"] = 0.4
    found["spectrum"] |= {"eigenvalues": [9.0, 1.0], "dimensions": 3}
    found["canonical"] = None
    found["jacobian"]["variances"] = [1.0, 1.0, 1.0]
    assert judged() == [
        (NO, "far apart, by another number"),
        (NO, ""),
        (NO, "does not settle yet, not blurred"),
        (NO, "the reverse holds"),
        (UNKNOWN, "the largest are shape, too few members to know the least"),
        (UNKNOWN, "too few members to know the minor ones"),
        (NO, ""),
    ]
    found["border"]["euclidean"]["p_value"] = 0.5
    assert judged()[3] == (NO, "not seen")


def test_claims_of_the_ledger_are_decided_by_the_numbers(found):
    """Whatever words and verdicts the file holds."""
    found |= {"found": {"within_tolerance": 2000}, "verdicts": "holds"}
    claims = list(structure_claims("fashion_mnist", found))
    assert [claim.verdict for claim in claims] == [YES, NO, *[YES] * 6]
    assert claims[0].data == "fashion_mnist, 2,000 latents of one image"
    found["spectrum"]["dimensions"] = 4
    assert [claim.verdict for claim in structure_claims("x", found)][4:6] == [UNKNOWN] * 2
    assert [claim.verdict for claim in structure_claims("x", None)] == [UNKNOWN]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--members", "7"], "--members must be at least 8. Received: 7"),
        (["--image", "-1"], "--image must be at least 0"),
        (["--iterations", "0"], "--iterations must be at least 1"),
        (["--at-a-time", "0"], "--at-a-time must be at least 1"),
        (["--tolerance", "nan"], "--tolerance must be a finite number. Received: nan"),
        (["--method", "adam"], "descent"),
        (["--image", "1000"], "--image must be less than the 1000 images there are"),
        (["--image", "3", "--tolerance", "1e-9"], "which 0 of 10 reach"),
    ],
)
def test_usage_errors(option, words, flags, capsys):
    with pytest.raises(SystemExit) as stop:
        main(FASHION_MNIST, ["structure", *flags, *option])
    assert stop.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())
