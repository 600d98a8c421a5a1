"""The verbs of the h-space: the score of realism, measures with known answers, results, claims."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import assert_close, make_generator, make_pixels

import ddim_embed as de
from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import main
from experiments.semantics import bench, claims, figures, measures, realism, sections
from experiments.toolkit.claims import Verdict
from experiments.toolkit.command_line import with_command

# Measures with known answers


def test_consistency_is_of_directions_alone():
    shifts = np.zeros((3, 1, 1, 2))
    shifts[0, 0, 0, 0], shifts[1, 0, 0, 0], shifts[2, 0, 0, 1] = 1, 5, 2
    found = measures.consistency(de.SemanticDirection(shifts, "x"))
    assert found["adjacent"] == [pytest.approx(1), pytest.approx(0)]
    mean = np.array([2, 2 / 3])
    cosines = [mean[0], mean[0], mean[1]] / np.linalg.norm(mean)
    np.testing.assert_allclose(found["with_mean"], cosines, rtol=1e-6)
    np.testing.assert_allclose(found["lengths"], [3 / 8, 15 / 8, 6 / 8])
    assert measures.cosine([0.0, 0], [1, 2]) == 0


def test_deviation_from_a_sum():
    whole = np.array([[3.0, 4], [1, 0]])
    np.testing.assert_allclose(measures.deviation(whole, 0 * whole), 1)
    np.testing.assert_allclose(measures.deviation(whole, whole * [[1], [3]]), [0, 2])


def test_a_strength_of_a_given_effect():
    for effect in (lambda s: 2 * s, lambda s: s**2, lambda s: np.tanh(s) * 5):
        strength, found = measures.strength_for(effect, 3.0)
        assert found == effect(strength) == pytest.approx(3, rel=0.1)
    # What never reaches it is given up.
    strength, found = measures.strength_for(lambda s: min(s, 0.5), 3.0)
    assert (strength, found) == (16, 0.5)


@pytest.mark.parametrize("num_steps", [2, 7])
def test_measured_shares_are_those_of_the_formula(tiny_generator, num_steps):
    """For a network whose noises are anything: to float32's rounding of its input."""
    latents = tiny_generator.latents(2)
    shift = np.random.default_rng(0).normal(size=latents.shape)
    found = measures.measured_shares(tiny_generator, latents, shift, num_steps)
    schedule, last_step = tiny_generator.schedule, tiny_generator.last_step
    expected = measures.shares(schedule, last_step, num_steps)
    np.testing.assert_allclose(found, expected, rtol=1e-9)  # all but the network in float64
    assert expected[-1] == 1 and (expected > 0).all() and (expected[:-1] < 1).all()


def test_the_share_of_a_velocity_falls_with_the_number_of_steps():
    schedule = de.schedules.continuous_cosine
    found = [measures.kept_share(schedule, "predicted_image", n) for n in (10, 40, 100, 1000)]
    np.testing.assert_allclose(found, [0.356, 0.1011, 0.0415, 0.00422], rtol=3e-3)


def test_controls_keep_the_length_of_each_step():
    rng = np.random.default_rng(0)
    direction = de.SemanticDirection(
        rng.normal(size=(3, 2, 4, 5)) * np.array([1, 10, 0.1]).reshape(3, 1, 1, 1), "x"
    )
    lengths = np.linalg.norm(direction.shifts.reshape(3, -1), axis=1)
    for other in (bench.random_like(direction, 1), bench.permuted(direction, 0)):
        found = np.linalg.norm(other.shifts.reshape(3, -1), axis=1)
        np.testing.assert_allclose(found, lengths, rtol=1e-5)
        assert np.abs(other.shifts - direction.shifts).max() > 0.1
        assert other.fingerprint == "x"
    # Positions move, and each keeps its channels, the same way at all steps.
    moved = bench.permuted(direction, 0).shifts.reshape(3, 8, 5)
    own = direction.shifts.reshape(3, 8, 5)
    order = [np.flatnonzero((own[0] == row).all(axis=1)).item() for row in moved[0]]
    assert sorted(order) == [*range(8)]
    np.testing.assert_array_equal(moved, own[:, order])


# The score of realism


@pytest.mark.parametrize("kind", realism.DAMAGES)
def test_damages_change_images_and_are_drawn_from_the_seed(kind):
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, (6, 32, 32, 3))  # a blur shows on it
    pixels = np.float32(0.8 * make_pixels(6, (32, 32, 3)) + 0.1 + noise)
    found = realism.damage(pixels, kind, seed=1)
    assert found.shape == pixels.shape and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    changed = np.abs(found - pixels).max(axis=(1, 2, 3))
    assert (changed > 0.01).all(), changed
    np.testing.assert_array_equal(realism.damage(pixels, kind, seed=1), found)
    assert np.abs(realism.damage(pixels, kind, seed=2) - found).max() > 0.01
    if kind != "overlay":  # a part alone: the corners are as they were
        np.testing.assert_array_equal(found[:, 0, 0], pixels[:, 0, 0])


def test_the_score_ranks_damaged_images_below_others(tmp_path):
    """What it is trained on is found in images that it has not seen."""
    config = dataclasses.replace(FASHION_MNIST.shrink(), runs=tmp_path, precision="float32")
    pixels = make_pixels(240, (16, 16, 1))
    network = realism.train(config, pixels[:200], 60, tmp_path / "score", "waves")
    found = realism.measure(network, pixels[200:], 0)
    # A wave blurred, or warped, is a wave; one that is pasted in is out of place.
    assert found["auroc"]["paste"] > 0.75 and [*found["auroc"]] == [*realism.DAMAGES]
    sound = realism.score(network, pixels[200:])
    assert found["sound"]["mean"] == pytest.approx(sound.mean(), rel=1e-4)
    assert sound.shape == (40,) and sound.dtype == np.float64


def test_images_before_an_edit_are_judged_once(monkeypatch):
    one, judged = object.__new__(bench.Bench), []
    pixels, edited = make_pixels(6), make_pixels(3, seed=1)
    index = np.array([0, 2, 5])
    one.names, one.pixels, one.identity = ("Bag", "Coat"), pixels, None
    one.embedding, one.generator = SimpleNamespace(reconstruction=pixels), make_generator()
    one.judge = SimpleNamespace(features=lambda x: x.mean(axis=(1, 2)))
    one.realism = one._target = lambda name: np.ones(1)

    def logits(network, pixels):
        judged.append(pixels)
        return pixels[:, :2, 0, 0]

    monkeypatch.setattr(bench.judge, "logits", logits)
    found = [one.measure(index, "Coat", edited) for _ in range(2)]
    assert len(judged) == 6  # the edited ones by two networks each time, those before them once
    explicit = one.measure(index, "Coat", edited, pixels[index])
    others = one.measure(index, "Coat", edited, 1 - pixels[index])
    assert found == [explicit, explicit] and found[0] != others
    own = edited[:, 1, 0, 0] - pixels[index, 1, 0, 0]
    assert found[0]["own"]["mean"] == pytest.approx(own.mean(), rel=1e-5)
    assert "realism" not in one.measure(index, "Coat", edited, scored=False)
    assert len(judged) == 16


# The verbs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The results of smoke runs with weights that were not trained."""
    from ddim_embed.generator.pretrained import generator_config

    root = tmp_path_factory.mktemp("semantics")
    folder = root / "fashion_mnist-smoke"
    generator = make_generator(widths=(4, 8), num_steps=2)
    de.record_weights(
        folder / "weights", "fashion_mnist", "generator", generator,
        config=generator_config(generator), data="none", budget={}, errors={},
    )  # fmt: skip
    flags = ["--smoke", "--results", root]
    main(FASHION_MNIST, ["train-direction", "--strength", "0.5", "2", *flags])
    main(FASHION_MNIST, ["semantics", *flags])
    main(FASHION_MNIST, ["train-direction", "--kind", "network", *flags])
    return folder


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def made(folder):
    """The generator, its editor, and the images and labels of the smoke runs."""
    generator = de.load_generator("fashion_mnist", folder / "weights", num_steps=2)
    images = de.load_images("fashion_mnist", "test", 16, source="sample", limit=160)[0]
    names, labels = de.load_attributes("fashion_mnist", "test", 16, source="sample", limit=160)
    return SimpleNamespace(
        generator=generator, editor=de.HSpaceEditor(generator), images=images, labels=labels,
        names=names,
    )  # fmt: skip


def test_directions_are_recorded_with_their_strength(folder, made):
    column = made.names.index("Bag")
    expected = made.editor.fit(made.images[:30], made.labels[:30, column])
    found = de.load_direction("fashion_mnist", "Bag", folder / "weights")
    assert_close(found.shifts, expected.shifts, 1e-3)  # float16
    assert found.strength == 2
    trouser = de.load_direction("fashion_mnist", "Trouser", folder / "weights")
    assert trouser.strength == 0.5
    entry = json.loads((folder / "weights/fashion_mnist/direction_Bag.json").read_text())
    assert entry["errors"]["test_images"] == 8 and entry["errors"]["lpips"] > 0


def test_semantics_measures_the_recorded_directions(folder, made):
    contents = read(folder, "semantics")
    assert contents["strengths"] == {
        "Trouser": {"strength": 0.5, "recorded": True}, "Bag": {"strength": 2.0, "recorded": True},
    }  # fmt: skip
    without = np.flatnonzero(~made.labels[:, made.names.index("Bag")])[:8]
    latents = de.embed(made.generator, made.images[: without[-1] + 1], "ddim_inversion").latents
    direction = de.load_direction("fashion_mnist", "Bag", folder / "weights")
    edited = made.editor.edit(latents[without], direction).clip(0, 1)
    (row,) = [
        row
        for row in contents["edits"]
        if (row["attribute"], row["strength"]) == ("Bag", 2.0)
    ]  # fmt: skip
    expected = de.lpips(made.images[without], edited).mean()
    assert row["lpips"]["mean"] == pytest.approx(expected, rel=1e-3)
    nothing = contents["edits"][0]
    assert nothing["strength"] == 0 and nothing["own"]["mean"] == 0
    assert nothing["realism"]["mean"] == 0


def test_every_part_is_among_the_results(folder):
    contents = read(folder, "semantics")
    lengths = [row["way"] for row in contents["controls"]["rows"] if row["kind"] == "length"]
    assert {"random shift", "shuffled labels", "permuted positions", "symmetric"} <= {*lengths}
    effects = [row["way"] for row in contents["controls"]["rows"] if row["kind"] == "effect"]
    assert effects == [
        "h", "symmetric", "mean difference of latents", "mean difference of pixels"
    ]  # fmt: skip
    assert contents["controls"]["latents"]["images"] == 2
    assert [row["share"] for row in contents["line"]["rows"]] == [-1, -0.5, 0.5, 1, 1.5, 2]
    assert contents["line"]["rows"][3]["deviation"]["mean"] == 0
    assert [row["steps"] for row in contents["rho"]] == [2, 20]
    for row in contents["rho"]:
        np.testing.assert_allclose(row["measured"], row["predicted"], rtol=1e-6)
    ways = [row["way"] for row in contents["composition"]["rows"]]
    assert ways == ["Trouser", "Bag", "both", "Trouser without Bag", "Bag without Trouser"]
    assert len(contents["boost"]["rows"]) == 4 and contents["interval"]["rows"]
    for name in sections.SEMANTICS.figures:
        assert (folder / name).exists(), name
    page = (folder / "index.html").read_text()
    assert "permuted positions" in page and "f_t" in page


def test_symmetric_edits_divided_by_rho_are_asymmetric_ones(folder):
    """To first order: of untrained networks, whose edits are small."""
    rows = {row["way"]: row for row in read(folder, "semantics")["controls"]["rows"]}
    own, matched = rows["h"]["lpips"]["mean"], rows["symmetric, matched length"]["lpips"]["mean"]
    assert matched == pytest.approx(own, rel=0.02)


def test_f_t_is_measured_beside_the_direction(folder):
    contents = read(folder, "train_direction")
    ways = [(row["way"], row["strength"]) for row in contents["rows"]]
    assert ways == [("none", 0), ("mean difference", 0.5), ("f_t", 1.0)]
    assert contents["rows"][2]["lpips"] != contents["rows"][0]["lpips"]  # it has learnt something


def test_claims_follow_from_the_numbers(folder):
    contents = read(folder, "semantics")
    found = {
        claim.item + claim.statement: claim for claim in claims.semantics_claims("x", contents)
    }
    missing = [*claims.semantics_claims("x", None)]
    assert len(found) == len(missing) == len({claim.statement for claim in missing})
    assert all(claim.verdict is Verdict.NOT_MEASURED for claim in missing)

    def verdict(statement, **changes):
        for claim in claims.semantics_claims("x", contents | changes):
            if claim.statement.startswith(statement):
                return claim.verdict

    controls = contents["controls"]
    rows = [dict(row) for row in controls["rows"]]
    for row in rows:
        row["own"] = {"mean": 1.0 if row["way"] == "h" else 0.1, "interval": 0.01}
    works = {"rows": rows, "target": 1.0, "latents": None}
    assert verdict("robustness", controls=works) is Verdict.REPRODUCED
    assert verdict("a symmetric shift", controls=works) is Verdict.REPRODUCED
    assert verdict("robustness", controls=works | {"target": 0.3}) is Verdict.NOT_REPRODUCED
    assert verdict("robustness", controls=works | {"target": -1.0}) is Verdict.NOT_MEASURED
    edits = [row | {"positive": {"mean": 0.96, "interval": 0.0}} for row in contents["edits"]]
    assert verdict("a shift of h edits", edits=edits) is Verdict.REPRODUCED
    assert verdict("a shift of h edits") is Verdict.NOT_REPRODUCED

    def composed(trouser, bag):
        effects = {"Trouser": (3.0, -1.0), "Bag": (0.5, 1.0), "both": (trouser, bag)}
        rows = [
            {"way": way, "Trouser": {"own": {"mean": first}}, "Bag": {"own": {"mean": second}}}
            for way, (first, second) in effects.items()
        ]
        found = {"attributes": ["Trouser", "Bag"], "rows": rows}
        return found | {"deviation": {"mean": 0.1, "interval": 0.01}}

    assert verdict("composition", composition=composed(3.3, 0.4)) is Verdict.REPRODUCED
    assert verdict("composition", composition=composed(3.5, 1.0)) is Verdict.NOT_REPRODUCED
    assert verdict("composition", composition=None) is Verdict.NOT_MEASURED
    consistency = {"with_mean": [0.9, 0.79], "adjacent": [0.9]}
    assert verdict("consistency", consistency=consistency) is Verdict.NOT_REPRODUCED
    consistency |= {"lengths": [1.8, 0.2]}
    rows = [row | {"own": {"mean": 0.97, "interval": 0.01}} for row in rows]
    changes = {"consistency": consistency, "controls": works | {"rows": rows}}
    (why,) = (
        claim.why
        for claim in claims.semantics_claims("x", contents | changes)
        if claim.statement.startswith("consistency")
    )
    assert why == (
        "unlike the mean: step 2 of 2, of 0.20 of the mean length; the others' cosines are at "
        "least 0.90; with the mean for all steps the edit keeps 97%"
    )


def test_f_t_is_compared_where_faces_are_as_far():
    def row(way, effect, distance, strength=2.0):
        own, realism = ({"mean": mean, "interval": 0.1} for mean in (effect, -effect))
        measured = {"own": own, "realism": realism, "positive": {"mean": 0.9, "interval": 0.05}}
        return {"way": way, "strength": strength, "identity_median": distance} | measured

    def claim(*of_delta):
        rows = [row("none", 0.0, 0.2), row("mean difference", 4.0, 0.4)]
        rows += [row("mean difference", 6.0, 0.6), *(row("f_t", *each) for each in of_delta)]
        options = {"train_steps_delta": 7, "delta_batch": 2}
        contents = {"rows": rows, "options": options, "attribute": "Smiling", "images": 3}
        (found,) = claims.delta_claims("x", contents)
        return found

    # At 0.3 the mean difference has an effect of 2, at 0.5 of 5; beyond 0.6 it was not measured.
    better = claim((3.0, 0.3), (9.0, 0.7))
    assert better.verdict is Verdict.REPRODUCED
    assert "3.00 \u00b1 0.10, by 2.00 with the mean difference" in better.ours
    assert "realism changes by -3.00 \u00b1 0.10 and -2.00" in better.ours
    assert "at a distance of 0.30" in claim((3.0, 0.3, 1.0), (5.5, 0.5)).ours  # its own strength
    assert "7 steps of 2 images" in better.why
    assert claim((3.0, 0.3), (4.8, 0.5)).verdict is Verdict.NOT_REPRODUCED
    assert claim((4.95, 0.5)).verdict is Verdict.REPRODUCED  # within its interval
    assert claim((9.0, 0.7)).verdict is Verdict.NOT_MEASURED
    (missing,) = claims.delta_claims("x", None)
    assert missing.verdict is Verdict.NOT_MEASURED and "--kind network" in missing.why


def test_a_missing_direction_is_made_by_a_verb():
    with pytest.raises(FileNotFoundError) as error:
        de.load_direction("mnist", "Smiling")
    command = "`python -m experiments.mnist train-direction --attribute Smiling`"
    assert command in with_command(error.value)


def test_wrong_values_are_named(capsys):
    for arguments, words in (
        (["semantics", "--strength", "nan"], "--strength must be"),
        (["semantics", "--controls", "1"], "--controls must be at least 2"),
        (["semantics", "--optimised", "1"], "--optimised must be 0, or at least 2"),
        (["semantics", "--method", "edict"], "--method must be one of single latents"),
        (["train-direction", "--attribute", "a", "b", "--strength", "1", "2", "3"], "3"),
        (["train-direction", "--until", "0.5"], "--until does nothing with --kind mean"),
        (["train-direction", "--kind", "network", "--strength", "1"], "--strength does nothing"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(FASHION_MNIST, [*arguments, "--smoke"])
        assert stop.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize("faces", [False, True])
def test_identity_is_drawn_of_faces_alone(faces):
    row = {"attribute": "Bag", "strength": 0.0, "positive": {"mean": 0.5}, "realism": None}
    if faces:
        row["identity_median"] = 0.25
    drawn = figures.edits({"edits": [row], "strengths": {"Bag": {}}})
    labels = [axes.get_ylabel() for axes in drawn.axes]
    assert ("identity, median distance" in labels) is faces and len(labels) == 2 + faces
