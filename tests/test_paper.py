"""The ledger: verdicts on results, and the command that computes and collects them."""

import dataclasses
import json
from pathlib import Path

import pytest
from conftest import make_generator
from random_weights import set_random_weights

import ddim_embed as de
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.store.weights import find_weights
from experiments.celeba import CELEBA
from experiments.embedding import claims
from experiments.fashion_mnist import FASHION_MNIST
from experiments.inversion.claims import refinement_claims
from experiments.paper import ledger
from experiments.paper import report as paper_report
from experiments.paper.__main__ import EXPERIMENTS, Paper
from experiments.toolkit.claims import Claim
from experiments.toolkit.study import main


def make_report(mse=0.001, interval=0.0001):
    return {
        "images": 100,
        "table1": [{"network": "unet", "mse": mse, "mse_interval": interval}],
        "table2": {
            "dataset": 0.002,
            "generated": 0.001,
            "dataset_interval": 0.0003,
            "generated_interval": 0.0002,
        },
        "no_embeddings": {"x": 0.2, "faint": 0.1, "noisy": 0.005},
    }


def make_edit():
    estimate = {"mean": 0.3, "interval": 0.05}
    return {
        "images": 8,
        "edit": {"free_mse": estimate},
        "projections": [{"name": "masked", "free_mse": estimate}],
    }


def one(rows, **words):
    """The only claim with these values."""
    found = [row for row in rows if all(getattr(row, k) == v for k, v in words.items())]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("ours", "interval", "verdict"),
    [
        (0.0005, 0.0001, "better"),
        (0.00085, 0.0001, "reproduced"),  # its interval reaches the paper's number
        (0.00095, 0.0, "reproduced"),
        (0.00109, 0.0, "reproduced"),
        (0.0013, 0.0003, "reproduced"),
        (0.0013, 0.0001, "not reproduced"),
    ],
)
def test_verdicts_on_errors(ours, interval, verdict):
    assert claims.compare_errors(ours, interval, 0.001) == verdict


def test_table_1_has_a_row_for_each_network_with_or_without_weights():
    rows = list(claims.table1_claims(FASHION_MNIST, make_report(mse=0.00196)))
    assert [row.item for row in rows] == [f"Table 1, {name}" for name in FASHION_MNIST.paper_mse]
    unet = one(rows, item="Table 1, unet")
    assert (unet.paper, unet.ours) == ("0.000890", "0.001960 \u00b1 0.000100")
    assert unet.verdict == "not reproduced" and unet.why == "2.2 times the paper's"
    conv1 = one(rows, item="Table 1, conv1")
    assert conv1.verdict == "not measured" and conv1.ours == "-"
    assert conv1.why.endswith("python -m experiments.fashion_mnist train-embedders conv1")
    nothing = list(claims.table1_claims(CELEBA, None))
    assert {row.verdict for row in nothing} == {"not measured"} and len(nothing) == 5


def test_table_2_needs_a_difference_beyond_the_intervals():
    found = make_report()
    assert one(claims.table2_claims(FASHION_MNIST, found)).verdict == "reproduced"
    found["table2"]["generated"] = 0.0018
    failed = one(claims.table2_claims(FASHION_MNIST, found))
    assert failed.verdict == "not reproduced" and failed.why == "the ratio is 0.90"
    found["table2"]["bands"] = {"dataset": [1e-3, 2e-4, 8e-4], "generated": [1.5e-3, 1e-4, 2e-4]}
    (failed,) = claims.table2_claims(FASHION_MNIST, found)
    assert failed.why == ("the ratio is 0.90: 1.50 of coarse structure, 0.25 of the finest texture")
    assert one(claims.table2_claims(CELEBA, None)).verdict == "not measured"
    assert not list(claims.table2_claims(FASHION_MNIST, None))  # the paper has no number of it


def test_images_are_no_embeddings_if_their_error_is_far_above_the_networks():
    rows = list(claims.no_embedding_claims("fashion_mnist", make_report()))
    assert [row.verdict for row in rows] == ["reproduced", "reproduced", "not reproduced"]
    assert "200 times" in rows[0].ours


def test_refinement_is_compared_by_its_factor():
    def compare(after):
        methods = [
            {"name": name, "mse": mse, "mse_interval": 1e-5}
            for name, mse in (("unet", 0.002), ("unet, descent", after))
        ]
        return {"images": 200, "methods": methods}

    def verdict(after):
        return one(refinement_claims("fashion_mnist", compare(after))).verdict

    assert [verdict(after) for after in (0.0003, 0.0008, 0.0015)] == [
        "better", "reproduced", "not reproduced",
    ]  # fmt: skip
    assert one(refinement_claims("fashion_mnist", None)).verdict == "not measured"


def test_an_edit_is_blended_in_if_the_error_under_it_falls():
    def verdict(after):
        contents = {
            "images": 8,
            "edit": {"free_mse": {"mean": 0.3, "interval": 0.05}},
            "projections": [
                {"name": "network", "free_mse": {"mean": 0.4, "interval": 0.05}},
                {"name": "masked", "free_mse": {"mean": after, "interval": 0.01}},
            ],
        }
        return one(claims.edit_claims("fashion_mnist", contents)).verdict

    assert verdict(0.02) == "reproduced" and verdict(0.29) == "not reproduced"
    assert one(claims.edit_claims("fashion_mnist", None)).verdict == "not measured"


def test_edits_of_faces_take_precedence():
    contents = make_edit()
    named = {f"{name}/project": contents for name in ("mnist", "fashion_mnist", "celeba")}
    row = one(ledger.collect(EXPERIMENTS, named, {}), item="Fig. 5")
    assert (row.data.partition(",")[0], row.source) == ("celeba", "celeba/project")
    del named["celeba/project"]
    row = one(ledger.collect(EXPERIMENTS, named, {}), item="Fig. 5")
    assert (row.data.partition(",")[0], row.source) == ("mnist", "mnist/project")


def test_edits_of_faces_of_an_earlier_ledger_stay():
    contents = make_edit()
    earlier = ledger.collect(EXPERIMENTS, {"celeba/project": contents}, {})
    now = {"fashion_mnist/project": contents}
    row = one(ledger.collect(EXPERIMENTS, now, {}, earlier), item="Fig. 5")
    assert (row.data.partition(",")[0], row.source) == ("celeba", "celeba/project")


def test_a_painting_becomes_a_photograph_if_the_network_embeds_it_better():
    def verdict(after):
        errors = {"edited": {"mean": 0.01, "interval": 0.002}, "network": after}
        contents = {"images": 7, "network_mse": errors}
        return one(claims.portrait_claims(contents))

    row = verdict({"mean": 0.002, "interval": 0.001})
    assert row.verdict == "reproduced" and "0.00200" in row.ours
    assert verdict({"mean": 0.009, "interval": 0.001}).verdict == "not reproduced"


def test_commands_of_the_results_that_are_read():
    quick, full = (paper_report.commands(FASHION_MNIST, full) for full in (False, True))
    assert quick.items() < full.items() and "compare" not in quick
    assert all(words == [name] for name, words in full.items())
    (name,) = paper_report.commands(CELEBA, True).keys() - full.keys()
    verb, *files = paper_report.commands(CELEBA, False)[name]
    assert (name, verb) == ("project_files", "project")
    assert len(files) == 7 and all(Path(file).is_file() for file in files)


def test_interpolations_differ_beyond_their_intervals():
    def verdict(linear):
        several = {
            kind: {"middle_network_mse": {"mean": mean, "interval": 0.002}}
            for kind, mean in (("linear", linear), ("pixels", 0.03))
        }
        contents = {"several": several, "ways": 16}
        return one(claims.interpolation_claims("fashion_mnist", contents)).verdict

    assert verdict(0.001) == "reproduced" and verdict(0.027) == "not reproduced"


def test_numbers_of_parameters_are_the_papers_except_its_misprint():
    rows = list(claims.parameter_claims(paper_report.parameters()))
    assert [row.verdict for row in rows] == ["not reproduced", *["reproduced"] * 4]
    assert "228" in rows[0].ours and "misprint" in rows[0].why


def test_without_any_result_nothing_is_claimed():
    rows = ledger.collect(EXPERIMENTS, {}, {})
    assert {row.verdict for row in rows} == {"not measured"}
    assert all(row.why and row.ours == "-" for row in rows)
    words = " ".join(row.item for row in rows)
    for number in (1, 2, 4, 5, 10, 19):
        assert f"Fig. {number}" in words


def record_networks(folder):
    """Records a tiny generator and its network, so that smoke runs do not train all five first."""
    generator, about = make_generator(num_steps=2), {"data": "none", "errors": {}}
    sizes = {"channels": 1, "widths": [8, 16], "block_depth": 1}
    embedder = set_random_weights(de.build_embedder("unet", **sizes))
    config = generator_config(generator)
    de.record_weights(
        folder, "fashion_mnist", "generator", generator, config=config, budget={}, **about
    )
    budget = {"generator": find_weights("fashion_mnist", "generator", folder)[1]["sha256"]}
    de.record_weights(
        folder, "fashion_mnist", "unet", embedder, config=sizes, budget=budget, **about
    )


def test_one_command_computes_missing_results(tmp_path, capsys):
    arguments = ["--smoke", "--results", tmp_path]
    record_networks(tmp_path / "fashion_mnist-smoke" / "weights")
    main(Paper(), arguments)
    folder = tmp_path / "paper-smoke"
    contents = json.loads((folder / "ledger.json").read_text())
    assert {row["verdict"] for row in contents["rows"]} >= {"not measured", "not reproduced"}
    assert sum(contents["verdicts"].values()) == len(contents["rows"])
    assert set(contents["rows"][0]) == {field.name for field in dataclasses.fields(Claim)}
    lines = (folder / "ledger.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("|")]) == len(contents["rows"]) + 2
    for row in contents["rows"]:
        assert "| " + " | ".join(row[key] for key in list(row)[:-2]) + " |" in lines
    assert [source["command"].split()[2] for source in contents["sources"]] == [
        "experiments.schedules", "experiments.toy", *["experiments.fashion_mnist"] * 3,
    ]  # fmt: skip
    assert all(f"`{source['command']}`" in "".join(lines) for source in contents["sources"])
    page = (folder / "index.html").read_text()
    assert 'src="../fashion_mnist-smoke/fig17_generated.png"' in page
    found = next(row for row in contents["rows"] if row["item"] == "Fig. 1")
    assert f"found here: {found['statement']} ({found['verdict']})" in page  # a caption
    assert "Table 1, conv5_128" in capsys.readouterr().out
    made = tmp_path / "fashion_mnist-smoke" / "report.json"
    before = made.stat().st_mtime_ns
    main(Paper(), arguments)
    assert made.stat().st_mtime_ns == before


@pytest.fixture
def ledgers(tmp_path):
    """Writes results and their ledger, and returns its path and contents."""

    def make(results, *flags):
        for path, contents in results.items():
            file = tmp_path / f"{path}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"command": path, "commit": None} | contents))
        folder = next(iter(results)).split("/")[0]
        main(Paper(), ["--no-make", "--results", tmp_path / folder, *flags])
        path = tmp_path / folder / "paper" / "ledger.json"
        return path, json.loads(path.read_text())

    return make


def test_an_earlier_ledger_replaces_missing_results(ledgers):
    shares = {"cosine": {"share_in_between": 0.9}, "linear": {"share_in_between": 0.6}}
    schedules = {"schedules": shares}
    results = {
        "before/schedules/schedules": schedules,
        "before/mnist/report": make_report(mse=0.0007),
    }
    path, before = ledgers(results | {"before/fashion_mnist/report": make_report()})
    _, after = ledgers({"now/mnist/report": make_report(mse=0.0003)}, "--earlier", path)

    # New results replace earlier claims, in the same order.
    changed = {row["source"] for row in after["rows"] if row not in before["rows"]}
    assert changed == {"mnist/report"} and len(after["rows"]) == len(before["rows"])
    for old, new in zip(before["rows"], after["rows"], strict=True):
        assert (old["item"], old["statement"]) == (new["item"], new["statement"])
    assert [source["command"] for source in after["sources"]] == [
        "now/mnist/report", "before/schedules/schedules", "before/fashion_mnist/report",
    ]  # fmt: skip


def test_damaged_results_are_left_out(ledgers, tmp_path, capsys):
    (tmp_path / "it" / "celeba").mkdir(parents=True)
    (tmp_path / "it" / "celeba" / "report.json").write_text("{")
    damaged = {"it/mnist/report": make_report(), "it/fashion_mnist/report": {"table1": 3}}
    _, contents = ledgers(damaged)
    error = capsys.readouterr().err
    assert "celeba/report.json (JSONDecodeError" in error
    assert "Left out: fashion_mnist/report (TypeError" in error
    measured = {row["source"] for row in contents["rows"] if row["ours"] != "-"}
    assert "mnist/report" in measured and not {"fashion_mnist/report", "celeba/report"} & measured


ROW = {"item": "", "statement": "", "paper": "", "ours": "", "data": "", "verdict": "holds"}
NO_LEDGERS = [None, "[]", "{}", "{", '{"rows": [{"item": 1}], "sources": []}',
              json.dumps({"rows": [ROW], "sources": []})]  # fmt: skip


@pytest.mark.parametrize("text", NO_LEDGERS)
def test_other_files_are_no_earlier_ledger(tmp_path, capsys, text):
    if text is not None:
        (tmp_path / "it.json").write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(Paper(), ["--no-make", "--results", tmp_path, "--earlier", tmp_path / "it.json"])
    assert stop.value.code == 2 and "--earlier must be a ledger.json" in capsys.readouterr().err
    assert not (tmp_path / "paper").exists()


def test_markdown_escapes_column_separators():
    row = dataclasses.asdict(Claim("a", "b|c", "1", "2", "d", "better"))
    contents = {"rows": [row], "verdicts": {"better": 1}, "sources": [], "command": "x"}
    assert "| a | b\\|c | 1 | 2 | d | better |  |" in paper_report.markdown(contents).splitlines()


@pytest.mark.parametrize(
    ("commit", "words"),
    [
        ("0123456789abcdef", "0123456"),
        ("0123456789abcdef-dirty", "0123456, with changes"),
        (None, "not a checkout"),
    ],
)
def test_markdown_names_the_commit_of_each_result(commit, words):
    source = {"source": "a/b", "command": "c", "commit": commit}
    contents = {"rows": [], "verdicts": {}, "sources": [source], "command": "x"}
    assert f"- `c` ({words})" in paper_report.markdown(contents).splitlines()


def test_no_make_only_reads(tmp_path):
    main(Paper(), ["--no-make", "--results", tmp_path])
    assert [path.name for path in tmp_path.iterdir()] == ["paper"]
