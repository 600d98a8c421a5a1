"""Cost and growth: the fitted laws, the page that is made of them, and one measurement."""

import copy
import json

import numpy as np
import pytest

from benchmarks import scale, scale_page, scale_work
from benchmarks.scale_fit import fit

RESULTS = json.loads((scale.ROOT / "benchmarks" / "scale.json").read_text(encoding="utf-8"))


def points(factor=lambda i: 1.0):
    """Points of a known law, as the benchmark has them: one factor is varied at a time."""
    base = {"pixels": 4096, "steps": 10, "batch": 4}
    found = [base | {"pixels": resolution**2} for resolution in (32, 64, 128)]
    found += [base | {"steps": steps} for steps in (5, 20, 40)]
    found += [base | {"batch": batch} for batch in (1, 16, 64)]
    for i, p in enumerate(found):
        p["seconds"] = 3e-6 * p["pixels"] ** 1.1 * p["steps"] ** 0.9 * p["batch"] ** -0.2
        p["seconds"] *= factor(i)
    return found


def test_the_fit_finds_a_known_law():
    law = fit(points())
    assert law.exponents == pytest.approx({"pixels": 1.1, "steps": 0.9, "batch": -0.2})
    assert max(law.half_widths.values()) < 1e-10 and law.residual == pytest.approx(1)
    expected = 3e-6 * 65536**1.1 * 7**0.9 * 9**-0.2
    assert law(pixels=65536, steps=7, batch=9) == pytest.approx(expected)


def test_intervals_hold_the_exponents_of_noisy_measurements():
    held, rng = [], np.random.default_rng(0)
    for _ in range(200):
        noise = np.exp(rng.normal(0, 0.1, 9))
        law = fit(points(lambda i, noise=noise: noise[i]))
        held.append(abs(law.exponents["pixels"] - 1.1) < law.half_widths["pixels"])
        assert 1.01 < law.residual < 1.2
    assert 0.9 < np.mean(held) < 0.99  # 95%


def test_a_factor_that_is_not_varied_has_no_exponent():
    law = fit([point for point in points() if point["steps"] == 10])
    assert {*law.exponents} == {"pixels", "batch"}
    assert law(pixels=4096, steps=10, batch=4) == law(pixels=4096, steps=99, batch=4)


def test_the_page_has_the_tables_of_the_results():
    text = scale_page.PAGE.read_text(encoding="utf-8")
    assert scale_page.render(text, RESULTS) == text
    assert ("reduced run" in text) == RESULTS["smoke"]


def test_the_rate_of_a_gpu_is_that_of_its_page():
    text = (scale.ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert f"| `unet`, through the sampler | 48 | {scale_page.GPU_TRAINING} |" in text
    assert f" {scale_page.GPU_TRAINING} images a second" in scale_page.PAGE.read_text("utf-8")


def test_the_page_s_words_fit_its_numbers():
    contents = copy.deepcopy(RESULTS)
    values = contents["measurements"]["training, embedder"]
    del contents["measurements"]["training, denoiser"]
    link = 2 * values["gradient_mib"] * 2**23 / 1e9
    for count, words in (
        (1, "with 1 worker and a"),
        (32.6, "with 33 workers and a"),
        (10_972.5, "with 11,000 workers and a"),
    ):
        values["seconds"] = dict(zip(scale.TRAINING, (count * link, 1.0, 1.0), strict=True))
        assert words in scale_page.limits(contents)
    for number, measured in enumerate(contents["measurements"].values()):
        measured["commit"] = "0123456" + "789-dirty"[: number % 2]
    assert "commit 0123456. The" in scale_page.about(contents)


def test_a_page_without_a_marker_is_refused():
    with pytest.raises(ValueError, match="markers of `about` once"):
        scale_page.render("", RESULTS)


def test_extrapolations_are_of_the_laws():
    found = scale_page.laws(RESULTS)
    one = scale_page.seconds_of(RESULTS, found, "lbfgs", 1, 64)
    assert scale_page.seconds_of(RESULTS, found, "lbfgs", 1000, 64) == pytest.approx(1000 * one)
    core, machines = scale_page.spread(RESULTS, 1e9, 1, 64)
    rates = RESULTS["measurements"]["embed_many"]["images_per_second"]
    one, both, two = (rates[name] for name in scale.PROCESSES)
    assert core * one == pytest.approx(1e9 * both)
    assert machines * 10 * two == pytest.approx(1e9 * both)
    resolution = RESULTS["setup"]["reading"]["resolutions"][0]
    reading = RESULTS["measurements"][f"reading {resolution}x{resolution}"]
    _, machines = scale_page.spread(RESULTS, 0.0, 10**6, resolution)
    assert machines == pytest.approx(10**6 / reading["images_per_second"])  # they wait for it


@pytest.mark.parametrize(
    ("method", "evaluations"), [("decode", 2), ("conv1", 1), ("correction", 14), ("lbfgs", 12)]
)
def test_the_cost_of_a_method(method, evaluations):
    found = scale_work.cost(scale.SMOKE, method, resolution=8, steps=2, batch=2)
    assert found["seconds"] > 0 and found["calls"] >= 1
    assert found["evaluations"] == evaluations


def test_points_differ_from_the_base_in_one_factor():
    named = scale.cost_points(scale.FULL, "conv5_128")
    assert len(named) == 5  # of resolutions and batches that it is measured at
    base = scale.FULL["base"]
    for method in scale_work.CASES:
        for point in scale.cost_points(scale.FULL, method).values():
            assert sum(point[key] != base[key] for key in base) <= 1


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    options = scale.Options(smoke=True, parts=("reading",), out=tmp_path / "scale.json")
    monkeypatch.setitem(scale.SMOKE, "reading", {"resolutions": [8], "images": 3})
    measured = scale.main(options)["measurements"]["reading 8x8"]
    assert measured["images"] == 3 and measured["images_per_second"] > 0
    monkeypatch.setattr(scale, "workers", None)  # nothing is measured again
    assert scale.main(options)["measurements"] == {"reading 8x8": measured}
