"""The gravitational study: measurements against closed forms, and a smoke run."""

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf

import ddim_embed as de
from ddim_embed.process import sampling
from ddim_embed.process.schedules import Rates, continuous_cosine
from experiments.toolkit.study import main
from experiments.toy import claims, denoisers, geometry, measures, report
from experiments.toy.__main__ import Toy
from experiments.toy.manifolds import MANIFOLDS

CIRCLE, MOONS = MANIFOLDS
TINY = Toy().shrink()


def turning(start, stop, steps=2000):
    """A path along the unit circle, `(steps, 1, 2)`."""
    angles = np.linspace(start, stop, steps)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, None]


# Geometry


def test_straightness_of_a_line_an_arc_and_a_point():
    line = np.linspace(0, 1, 5)[:, None, None] ** 2 * [3.0, -4.0]
    np.testing.assert_allclose(geometry.straightness(line), 1, rtol=1e-14)
    half = geometry.straightness(turning(0, np.pi))
    np.testing.assert_allclose(half, 2 / np.pi, rtol=1e-6)  # a polygon of 2000 corners
    there_and_back = np.concatenate([line, line[::-1]])
    np.testing.assert_allclose(geometry.straightness(there_and_back), 0, atol=1e-14)
    assert geometry.straightness(np.ones((4, 1, 2))) == [1]


def test_the_share_of_a_path_on_a_line():
    line = np.array([0.0, 2.0, 1.0])[:, None, None] * [3.0, -4.0]
    np.testing.assert_allclose(geometry.line_share(line), 1, rtol=1e-14)  # it may turn round
    whole = turning(0, 2 * np.pi)[:-1]
    np.testing.assert_allclose(geometry.line_share(whole), 0.5, rtol=1e-10)
    assert geometry.line_share(np.ones((4, 1, 2))) == [1]


@pytest.mark.parametrize("degrees", [0, 1e-6, 30, 90])
def test_angles_are_those_of_lines(degrees):
    angle = np.radians([17.0, -80.0, 200.0])
    normals = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    turned = np.stack([np.cos(angle + np.radians(degrees)), np.sin(angle + np.radians(degrees))], 1)
    for directions in (3 * turned, -0.1 * turned):  # neither length nor sense matters
        found = geometry.angles(directions, normals)
        np.testing.assert_allclose(found, degrees, rtol=1e-6, atol=1e-12)


def test_the_main_axis_of_weighted_points():
    points = np.array([[x, y] for x in (-3.0, 3.0) for y in (-1.0, 1.0)] * 3)
    groups = np.array([0] * 12)
    axes, ratios = geometry.main_axes(points, np.ones(12), groups, 2)
    np.testing.assert_allclose(np.abs(axes[0]), [1, 0], atol=1e-12)
    np.testing.assert_allclose(ratios[0], 3)
    assert np.isnan(ratios[1]) and np.isnan(axes[1]).all()
    # Almost all of the weight on two corners: the axis is their diagonal.
    weights = np.where(points[:, 0] * points[:, 1] > 0, 1, 1e-9)
    axes, _ = geometry.main_axes(points, weights, groups, 1)
    np.testing.assert_allclose(np.abs(axes[0]), np.array([3, 1]) / np.sqrt(10), atol=1e-6)


def test_the_two_laws_of_attraction():
    distances = np.linspace(0, 4, 4001)
    weighted = geometry.weighted_attraction(distances, 0.5)
    assert distances[weighted.argmax()] == pytest.approx(0.5)
    np.testing.assert_allclose(weighted.max(), np.exp(-0.5) / np.sqrt(2 * np.pi))
    np.testing.assert_allclose(geometry.gravity([0, 1, 2, -4, 6], 2), [0, 0.5, 1, 0.25, 1 / 9])


# Curves


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=lambda m: m.name)
def test_data_lie_on_their_curve_and_in_model_space(manifold):
    points = manifold.data(2000, seed=3)
    assert points.shape == (2000, 2)
    np.testing.assert_allclose(manifold.nearest(points).points, points, atol=1e-12)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-3)
    # scikit-learn's points lie evenly, both ends included: the sums are integrals to 1/n.
    np.testing.assert_allclose(np.mean(points**2), 1, rtol=2e-3)
    noisy = manifold.data(2000, noise=0.1, seed=3)
    assert np.std(noisy - points) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=lambda m: m.name)
def test_feet_are_the_nearest_points(manifold):
    places = np.random.default_rng(0).normal(scale=2, size=(100, 2))
    positions = np.arange(10_000) / 10_000
    curve = manifold.at(positions)
    feet = manifold.nearest(places)
    distances = np.linalg.norm(places - feet.points, axis=-1)
    to_curve = np.linalg.norm(places[:, None] - curve, axis=-1)
    np.testing.assert_allclose(distances, to_curve.min(axis=1), atol=2e-3)  # the curve's spacing
    np.testing.assert_allclose(manifold.at(feet.positions), feet.points, atol=1e-9)

    offsets = (places - feet.points)[feet.inner]
    normals = feet.normals[feet.inner]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1)
    assert geometry.angles(offsets, normals).max() < 1e-6
    assert feet.inner.all() == (manifold is CIRCLE)


def test_ends_of_arcs_have_no_normal():
    radius = MOONS.arcs[0].radius
    ends = [np.add(arc.center, (side * radius, 0)) for arc in MOONS.arcs for side in (-1, 1)]
    feet = MOONS.nearest(np.array(ends) * [1.1, 1])
    assert not feet.inner.any()
    np.testing.assert_allclose(feet.points, ends, atol=1e-12)
    # Angles grow counter-clockwise: the upper arc ends on its left, the lower one on its right.
    np.testing.assert_allclose(feet.positions, [0.5, 0, 0.5, 1], atol=1e-12)
    assert (feet.positions < 1).all() and feet.positions[0] < 0.5  # each on its own arc


# Denoisers


def test_the_median_denoiser_is_a_weighted_median():
    rng = np.random.default_rng(0)
    points, noisy, rates = rng.normal(size=(21, 2)), rng.normal(size=(5, 2)), Rates(0.8, 0.6)
    found = denoisers.MedianDenoiser(points)(tf.constant(noisy.reshape(-1, 1, 1, 2)), rates)
    medians = sampling.predict_images(noisy, np.reshape(found, (-1, 2)), rates)
    squares = ((noisy[:, None] - 0.8 * points) ** 2).sum(axis=-1)
    weights = np.exp(-squares / 0.72)
    for row, weight in zip(medians, weights, strict=True):
        # No datum has a smaller mean absolute error.
        errors = (weight[:, None, None] * np.abs(points[:, None] - points)).sum(axis=0)
        np.testing.assert_allclose(row, points[errors.argmin(axis=0), [0, 1]], atol=1e-12)


def test_the_mlp_has_its_configuration():
    network = denoisers.MLP(channels=3, width=5, depth=2)
    rng = np.random.default_rng(0)
    network.set_weights([rng.normal(size=w.shape) for w in network.get_weights()])
    inputs = [rng.normal(size=(4, 1, 1, 3)), np.full((4, 1, 1, 1), 0.3)]
    inputs = [values.astype(np.float32) for values in inputs]
    copy = denoisers.MLP.from_config(json.loads(json.dumps(network.get_config())))
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy(inputs), network(inputs))
    alone = network([inputs[0][1:2], inputs[1][1:2]])
    np.testing.assert_allclose(network(inputs)[1:2], alone, rtol=1e-5)  # float32
    denoise = denoisers.network_denoiser(network)
    rates = Rates(np.sqrt(0.7), np.sqrt(0.3))
    np.testing.assert_allclose(
        denoise(tf.constant(inputs[0]), rates), network(inputs), rtol=1e-5, atol=2e-6
    )


def test_trajectories_begin_with_latents_and_end_where_the_sampler_does():
    latents = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    denoise = de.EmpiricalDenoiser(CIRCLE.data(20).reshape(-1, 1, 1, 2))
    paths = denoisers.trajectories(denoise, continuous_cosine, latents, 4)
    assert paths.shape == (5, 6, 2)
    np.testing.assert_array_equal(paths[0], latents)
    images = latents.reshape(-1, 1, 1, 2)
    expected = sampling.sample(denoise, continuous_cosine, images, 4)
    np.testing.assert_array_equal(paths[-1], np.reshape(expected, (-1, 2)))


def test_training_is_a_function_of_the_seed():
    points, study = MOONS.data(50), dataclasses.replace(TINY, train_steps=3, width=4)
    schedule, rates = report.cosine_to(0.99), Rates(0.6, 0.8)

    def trained(loss, seed):
        denoise, seconds = denoisers.train(study, points, schedule, loss, seed, "")
        assert seconds > 0
        return denoise(tf.constant(points[:4].reshape(-1, 1, 1, 2), tf.float32), rates).numpy()

    first = trained("mean_squared_error", 1)
    np.testing.assert_array_equal(trained("mean_squared_error", 1), first)
    assert np.abs(trained("mean_squared_error", 2) - first).max() > 1e-6
    assert np.abs(trained("mean_absolute_error", 1) - first).max() > 1e-6


def test_the_schedule_starts_at_the_given_signal_rate():
    rates = report.cosine_to(0.99)(np.array([0.0, 1.0]))
    np.testing.assert_allclose(rates.signal, [0.99, 0.02])
    np.testing.assert_allclose(rates.signal**2 + rates.noise**2, 1)
    times = np.linspace(0, 1, 7)
    for ours, papers in zip(report.cosine_to(0.95)(times), continuous_cosine(times), strict=True):
        np.testing.assert_allclose(ours, papers, rtol=1e-12)


# Measures


def test_exact_paths_to_a_circle_are_radial():
    denoise = de.EmpiricalDenoiser(CIRCLE.data(300).reshape(-1, 1, 1, 2))
    latents = np.random.default_rng(0).normal(size=(50, 2)) + 0.1
    schedule = report.cosine_to(0.999)
    paths = denoisers.trajectories(denoise, schedule, latents, 20)
    found = measures.of_paths(paths, schedule, CIRCLE)
    assert np.min(found["line_share"]) > 1 - 1e-6
    assert np.max(found["chord_angle"]) < 1  # degrees; 300 data are nearly a circle
    assert np.max(found["distance"]) < 0.02
    assert found["inner"].all()
    numbers = measures.summary(found)
    assert numbers["ends"] == 0
    assert numbers["distance_rms"] <= 0.02
    assert numbers["chord_angle"]["low"] <= numbers["chord_angle"]["mean"]


def test_tangential_paths_are_at_right_angles_to_the_normal():
    ends = CIRCLE.at(np.array([0.1, 0.4]))
    along = np.stack([-ends[:, 1], ends[:, 0]], axis=-1)
    paths = ends + np.linspace(1, 0, 6)[:, None, None] * along
    found = measures.of_paths(paths, continuous_cosine, CIRCLE)
    np.testing.assert_allclose(found["chord_angle"], 90)
    np.testing.assert_allclose(found["arrival_angle"], 90)
    np.testing.assert_allclose(found["landing_angle"], 90)
    np.testing.assert_allclose(found["straightness"], 1)


def test_paths_by_chance_connect_latents_and_data():
    points = MOONS.data(30)
    latents = np.random.default_rng(0).normal(size=(40, 2))
    found = measures.of_chance(latents, continuous_cosine, MOONS, points, 5, seed=0)
    assert found["distance"].max() < 1e-12
    # Divided by the signal rate such a path is a straight line.
    np.testing.assert_allclose(found["straightness_rescaled"], 1, rtol=1e-3)


def test_embeddings_of_the_radial_map_lie_along_normals():
    side = np.linspace(-4, 4, 161)
    latents = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    landings = CIRCLE.nearest(latents).points
    found = measures.of_embeddings(latents, landings, CIRCLE)
    assert found["axis_angle"]["mean"] < 1
    # Radii of Gaussian latents have variance 2 - pi/2 and mean square 2; a stretch is an angle.
    across = np.sqrt(2 / 12) * 2 * np.pi / measures.STRETCHES
    expected = np.sqrt(2 - np.pi / 2) / across
    assert found["elongation"]["mean"] == pytest.approx(expected, rel=0.05)
    none = measures.of_embeddings(latents[:5], landings[:5], CIRCLE)
    assert none == {"axis_angle": None, "axis_angle_inside": None, "elongation": None}
    assert found["axis_angle_inside"] == found["axis_angle"]  # a circle has no ends


def test_axes_inside_leave_out_the_ends_of_arcs():
    # Latents around each stretch of the moons, longer along the normal but for the ends of arcs.
    positions = (np.arange(measures.STRETCHES) + 0.5) / measures.STRETCHES
    feet = MOONS.nearest(MOONS.at(positions))
    at_ends = np.abs(positions * 2 % 1 - 0.5) > 0.3
    along = np.stack([-feet.normals[:, 1], feet.normals[:, 0]], axis=-1)
    axes = np.where(at_ends[:, None], along, feet.normals)
    latents = feet.points + np.linspace(-1e-3, 1e-3, 20)[:, None, None] * axes
    landings = np.broadcast_to(feet.points, latents.shape)
    found = measures.of_embeddings(latents.reshape(-1, 2), landings.reshape(-1, 2), MOONS)
    assert at_ends.mean() == 0.4
    assert found["axis_angle_inside"]["high"] < 0.1
    assert found["axis_angle"]["mean"] == pytest.approx(90 * 0.4, abs=0.1)


def test_maps_are_compared_with_random_pairs():
    landings = np.random.default_rng(0).normal(size=(1000, 2))
    assert measures.of_maps(landings, landings, CIRCLE)["relative_rms"] == 0
    shifted = measures.of_maps(landings, landings + np.array([0.3, 0.4]), CIRCLE)
    # The squared distance of two independent points of N(0, I) is 4 on average.
    np.testing.assert_allclose(shifted["relative_rms"], 0.5 / 2, rtol=0.05)
    np.testing.assert_allclose(shifted["relative_median"], 0.5 / 2, rtol=0.05)
    assert shifted["mean_square_ratio"] == pytest.approx(shifted["relative_rms"] ** 2)


def test_maps_are_compared_without_the_latents_that_change_arcs():
    landings = MOONS.at((np.arange(400) + 0.5) / 400)
    others = landings.copy()
    others[:40] = MOONS.at([0.75])  # the middle of the other arc
    others[40:] += 0.01
    found = measures.of_maps(landings, others, MOONS)
    changed = MOONS.arc_of(landings) != MOONS.arc_of(others)
    assert changed[:40].all() and found["other_arc"] == pytest.approx(changed.mean())
    spread = 2 * landings.var(axis=0).sum()
    assert found["mean_square_ratio_same_arc"] == pytest.approx(2e-4 / spread)
    assert found["mean_square_ratio"] > 100 * found["mean_square_ratio_same_arc"]
    nowhere = measures.of_maps(landings[:40], others[:40], MOONS)
    assert nowhere["mean_square_ratio_same_arc"] is None


def test_noises_are_compared_at_each_level():
    datum = np.array([[0.5, -1.0]])
    exact = de.EmpiricalDenoiser(datum.reshape(-1, 1, 1, 2))
    others = {"off": lambda images, rates: exact(images, rates) + 0.1}
    found = measures.of_noises({"exact": exact, **others}, continuous_cosine, datum, 50, 0)
    assert found["times"] == pytest.approx(np.linspace(0, 1, 11))
    # What is not signal is noise: one datum leaves nothing unexplained.
    np.testing.assert_allclose(found["unexplained"], 0, atol=1e-5)  # float32
    np.testing.assert_allclose(found["off"], 0.1, rtol=1e-5)


# The smoke run


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of a smoke run."""
    root = tmp_path_factory.mktemp("toy")
    main(Toy(), ["--smoke", "--results", root, "--seed", "3"])
    return root / "toy-smoke"


def test_the_report_has_the_documented_schema(smoke):
    contents = json.loads((smoke / "toy.json").read_text())
    made = {"command", "config", "versions", "seed", "commit"}
    assert set(contents) == {"datasets", "verdicts"} | made
    assert contents["command"].startswith("python -m experiments.toy")
    assert contents["seed"] == 3 and contents["config"]["train_steps"] == TINY.train_steps
    assert contents["versions"]["scikit-learn"]
    assert list(contents["datasets"]) == ["circle", "moons"]
    for numbers in contents["datasets"].values():
        assert set(numbers) == {
            "paths", "embeddings", "maps", "noises", "nearest_ends", "training_seconds",
        }  # fmt: skip
        assert list(numbers["embeddings"]) == ["exact", "mean_absolute_error", "mean_squared_error"]
        assert set(numbers["paths"]) == {
            "exact", "mean_absolute_error", "mean_squared_error", "exact median",
            "exact, the paper's rates", "exact, four times the steps", "chance",
        }  # fmt: skip
        assert set(numbers["maps"]) == {
            "mean_absolute_error / exact", "mean_absolute_error / exact median",
            "mean_squared_error / exact", "mean_squared_error / exact median",
            "mean_absolute_error / mean_squared_error",
            "exact median / exact",
            "exact, 10 steps / exact",
        }  # fmt: skip
        assert min(numbers["training_seconds"].values()) > 0
        assert len(numbers["noises"]["mean_absolute_error"]) == len(numbers["noises"]["times"])
        # After 20 steps of training, the networks are far from the exact denoiser.
        assert numbers["maps"]["mean_squared_error / exact"]["relative_rms"] > 0.05


def test_the_page_shows_every_figure_and_verdict(smoke):
    text = (smoke / "index.html").read_text()
    shown = re.findall(r'src="([^"]+)"', text)
    assert shown == [
        "fig08_gravity.png", "fig09ab_maps.png", "fig09cd_embeddings.png", "trajectories.png",
        "distributions.png", "noises.png",
    ]  # fmt: skip
    assert {path.name for path in smoke.glob("*.png")} == set(shown)
    assert "://" not in text and 'href="toy.json"' in text
    assert "python -m experiments.toy --smoke" in text
    contents = json.loads((smoke / "toy.json").read_text())
    assert {row["dataset"] for row in contents["verdicts"]} == {"circle", "moons"}
    assert text.count("<td>circle</td>") == text.count("<td>moons</td>") >= 9


def test_verdicts_follow_the_numbers(smoke):
    numbers = json.loads((smoke / "toy.json").read_text())["datasets"]["moons"]

    def judged(mean):
        exact = numbers["paths"]["exact"] | {"chord_angle": {"mean": mean, "low": 0, "high": 90}}
        chance = numbers["paths"]["chance"] | {"chord_angle": {"mean": 40, "low": 0, "high": 90}}
        changed = numbers | {"paths": numbers["paths"] | {"exact": exact, "chance": chance}}
        rows = {row["claim"]: row for row in claims.verdicts({"moons": changed})}
        return rows["they are orthogonal to the data manifold"]

    assert (judged(9.0)["verdict"], judged(9.0)["why"]) == ("reproduced", "")
    assert judged(19.0)["verdict"] == "not reproduced" and judged(19.0)["why"].startswith("partly")
    assert judged(21.0)["verdict"] == "not reproduced" and "partly" not in judged(21.0)["why"]
    assert judged(21.0)["measured"].endswith("21 (0 to 90) degrees from the normal, by chance 40")


def test_reasons_are_those_that_the_numbers_show():
    def angle(mean):
        return {"mean": mean, "low": 0.0, "high": 90.0}

    def numbers(rescaled, fine, landing, ends, inside, rest):
        exact = {
            "straightness": angle(0.82), "straightness_rescaled": angle(rescaled),
            "line_share": angle(0.94), "chord_angle": angle(34.0), "arrival_angle": angle(16.0),
            "landing_angle": angle(landing), "ends": ends,
        }  # fmt: skip
        finely = exact | {"straightness": angle(fine), "line_share": angle(fine + 0.12)}
        paths = {"exact": exact, "exact, four times the steps": finely, "chance": exact}
        axes = {"axis_angle": angle(11.0), "axis_angle_inside": angle(inside)}
        maps = {"mean_square_ratio": 0.02, "other_arc": 0.05, "mean_square_ratio_same_arc": rest}
        return {
            "paths": paths, "embeddings": {"exact": axes}, "nearest_ends": 0.13,
            "maps": {"exact median / exact": maps},
        }  # fmt: skip

    def reasons(*values):
        rows = claims.verdicts({"moons": numbers(*values)})
        return [row["why"].removeprefix("partly").strip("; ") for row in rows if row["why"]]

    shown = reasons(0.99, 0.821, 5.3, 0.008, 7.0, 2e-3)
    assert len(shown) == 6
    assert "with four times the steps 0.82" in shown[0] and "steps 0.941" in shown[1]
    assert "0.8% end at the end of an arc, the nearest point of 13%" in shown[2]
    assert shown[3].endswith("in the last step 5.3 degrees")
    assert "three fifths of the arcs 7 degrees" in shown[4]
    # 1 - 0.95 * 2e-3 / 0.02
    assert "5.0% of the latents land on another arc, which is 90% of" in shown[5]
    # Bent in x / signal, too, or by few steps; never at the normal; at the ends as much as
    # elsewhere: nothing of that is a reason.
    assert not any(reasons(0.9, 0.821, 15.0, 0.1, 11.0, 0.015))
    assert not any(reasons(0.99, 0.87, 15.0, 0.1, 11.0, None))


def test_claims_of_the_ledger_are_decided_by_the_numbers(smoke):
    contents = json.loads((smoke / "toy.json").read_text())
    verdicts = contents.pop("verdicts")
    rows = list(claims.toy_claims(contents))
    assert [row.verdict for row in rows] == [verdict["verdict"] for verdict in verdicts]
    assert {row.data for row in rows} == {"circle", "moons"}
    (missing,) = claims.toy_claims(None)
    assert missing.verdict == "not measured"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--point", "9"], "--points"),
        (["--points", "9"], "--points must be at least 10. Received: 9"),
        (["--noise", "nan"], "--noise must be a finite number"),
        (["--noise", "inf"], "--noise must be a finite number"),
        (["--noise", "-1"], "--noise must be at least 0"),
        (["--max-signal-rate", "1"], "--max-signal-rate must be above 0.02 and below 1"),
        (
            ["--losses", "mean_absolute_error", "mean_absolute_error"],
            "--losses must be different words",
        ),
        (["--losses", "cubed"], "mean_squared_error"),
        (["--learning-rate", "-1"], "--learning-rate must be positive"),
    ],
)
def test_usage_errors_exit_with_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(Toy(), arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--points", "--samples", "--grid", "--width", "--batch-size"])
def test_what_does_not_fit_into_memory_is_refused(flag, capsys):
    with pytest.raises(SystemExit) as stop:
        main(Toy(), [flag, "10000000000"])
    assert stop.value.code == 1
    assert f"not enough memory for {flag} 10000000000" in capsys.readouterr().err
