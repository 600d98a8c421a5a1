"""Records of weights: changed together with them, whatever happens, and checked when read."""

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import set_random_weights
from records_under_attack import entry_of, replace

import ddim_embed as de
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.store import records
from ddim_embed.store.weights import (
    MANIFEST,
    MissingWeightsError,
    WeightsError,
    find_weights,
    read_manifest,
    record_errors,
)


def whole(root):
    """The contents of the weights, which must be those of which their entry speaks."""
    path, entry = find_weights("x", "net", root)
    contents = path.read_bytes()
    assert entry == entry_of(contents)
    assert read_manifest(root) == {"x/net": entry}
    return contents


class TestKills:
    def test_before_each_file_operation_and_many_processes_at_once(self, tmp_path):
        program = Path(__file__).with_name("records_under_attack.py")
        path = os.pathsep.join([str(program.parent.parent), *sys.path])
        result = subprocess.run(
            [sys.executable, program, tmp_path],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr

    def test_weights_of_a_model(self, tmp_path, monkeypatch):
        """`record_weights` goes this way: stopped before the weights, the earlier ones load."""
        models = [set_random_weights(de.build_embedder("conv1"), seed) for seed in (0, 1)]

        def record(model):
            about = {"config": {"channels": 1}, "data": "", "budget": {}, "errors": {}}
            de.record_weights(tmp_path, "x", "conv1", model, **about, half=False)

        record(models[0])
        replacing = records.replacing

        def stopped(path):
            if path.name.endswith(".h5"):
                raise KeyboardInterrupt
            return replacing(path)

        monkeypatch.setattr(records, "replacing", stopped)
        with pytest.raises(KeyboardInterrupt):
            record(models[1])
        monkeypatch.undo()
        assert json.loads((tmp_path / "x" / "conv1.json").read_text())["previous"]
        for model in models:
            found = de.load_embedder("x", "conv1", tmp_path)
            np.testing.assert_array_equal(found.get_weights()[0], model.get_weights()[0])
            record(models[1])


class TestReplacedMeanwhile:
    def test_errors_of_weights_that_were_replaced_are_refused(self, tmp_path):
        replace(tmp_path, b"old")
        _, old = find_weights("x", "net", tmp_path)
        record_errors(tmp_path, "x", "net", {"mse": 1.0}, old["sha256"])
        replace(tmp_path, b"new")
        with pytest.raises(WeightsError, match="replaced while it was measured"):
            record_errors(tmp_path, "x", "net", {"mse": 1.0}, old["sha256"])
        assert find_weights("x", "net", tmp_path)[1]["errors"] == {}
        with pytest.raises(MissingWeightsError):
            record_errors(tmp_path, "x", "other", {})

    def test_weights_that_are_replaced_while_they_are_loaded(self, tmp_path, monkeypatch):
        """The record was read before, the weights are another process's."""
        about = {"config": {"channels": 1}, "data": "", "budget": {}, "errors": {}}
        models = [set_random_weights(de.build_embedder("conv1"), seed) for seed in (0, 1)]
        de.record_weights(tmp_path, "x", "conv1", models[0], **about)
        check = records.check

        def late(values, kinds, where, only=False):
            check(values, kinds, where, only)
            if only:
                monkeypatch.setattr("ddim_embed.store.weights.check", check)
                de.record_weights(tmp_path, "x", "conv1", models[1], **about)

        monkeypatch.setattr("ddim_embed.store.weights.check", late)
        found = de.load_embedder("x", "conv1", tmp_path)
        kernel = models[1].get_weights()[0]
        np.testing.assert_allclose(found.get_weights()[0], kernel, rtol=2**-10)  # float16


class TestOldManifest:
    def test_entries_of_files_without_a_record(self, tmp_path):
        for name in ("net", "other"):
            replace(tmp_path, b"old", name)
            (tmp_path / "x" / f"{name}.json").unlink()
        entries = {f"x/{name}": entry_of(b"old", data=name) for name in ("net", "other", "gone")}
        (tmp_path / MANIFEST).write_text(json.dumps(entries))
        assert read_manifest(tmp_path) == {key: entries[key] for key in ("x/net", "x/other")}
        assert find_weights("x", "net", tmp_path)[1]["data"] == "net"
        with pytest.raises(MissingWeightsError):
            find_weights("x", "gone", tmp_path)
        replace(tmp_path, b"new")
        record_errors(tmp_path, "x", "other", {"mse": 2.0})
        manifest = read_manifest(tmp_path)
        assert manifest["x/net"] == entry_of(b"new")
        assert manifest["x/other"] == entries["x/other"] | {"errors": {"mse": 2.0}}

    @pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"x/net": 3}'])
    def test_damaged(self, tmp_path, text):
        replace(tmp_path, b"new")
        (tmp_path / MANIFEST).write_text(text)
        assert find_weights("x", "net", tmp_path)[1] == entry_of(b"new")  # it has a record
        (tmp_path / "x" / "net.json").unlink()
        with pytest.raises(WeightsError, match=MANIFEST):
            find_weights("x", "net", tmp_path)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, tiny_generator):
    """A folder with a generator's weights and two networks'."""
    root = tmp_path_factory.mktemp("recorded")
    notes = {"data": "", "budget": {}, "errors": {"mse": 1.0}}
    config = generator_config(tiny_generator)
    de.record_weights(root, "x", "generator", tiny_generator, config=config, **notes)
    sizes = {"channels": 1, "widths": [4, 8], "block_depth": 1}
    for name in ("conv1", "unet"):
        model = de.build_embedder(name, **sizes)
        de.record_weights(root, "x", name, model, config=sizes, **notes)
    return root


def without(key, *path):
    def change(entry):
        for step in path:
            entry = entry[step]
        del entry[key]

    return change


def having(value, *path):
    def change(entry):
        for step in path[:-1]:
            entry = entry[step]
        entry[path[-1]] = value

    return change


KEYS = ("sha256", "size", "parameters", "config", "data", "budget", "errors", "versions")
CONFIG = (
    "image_shape", "widths", "block_depth", "attention", "schedule", "last_step", "padding",
    "prediction",
)  # fmt: skip
CHANGES = [
    *[(without(key), key) for key in KEYS],
    *[(without(key, "config"), key) for key in CONFIG],
    *[(having(None, key), key) for key in KEYS if key != "data"],
    *[(having(None, "config", key), key) for key in CONFIG if key != "attention"],
    *[(having([[]], "config", key), key) for key in CONFIG],
    *[(having({}, "config", key), key) for key in CONFIG],
    *[(having(-1, "config", key), key) for key in CONFIG],
    *[(having(value, "sha256"), "sha256") for value in ("", "00", 64 * "g", [64 * "0"], 0, True)],
    *[(having(value, "errors"), "errors") for value in ([], {"mse": "1"}, {"mse": [1]}, {"a": {}})],
    (having(1, "config", "evil"), "evil"),
    (having(2000, "config", "block_depth"), "block_depth"),
    (having(60, "config", "block_depth"), "larger network"),
    (having(True, "config", "block_depth"), "block_depth"),
    (having(1.0, "config", "padding"), "padding"),
    (having(8, "config", "padding"), "padding"),
    (having([8, 30_000], "config", "widths"), "larger network"),
    (having([8, 10**9], "config", "widths"), "widths"),
    (having([], "config", "widths"), "widths"),
    (having([8] * 6, "config", "widths"), "16"),
    (having([16, 16], "config", "image_shape"), "image_shape"),
    (having([15, 15, 1], "config", "image_shape"), "15"),
    (having([16, 16, 3], "config", "image_shape"), "another model"),
    (having([8, 8], "config", "widths"), "another model"),
    (having("nearest", "config", "schedule"), "schedule"),
    (having(64 * "0", "sha256"), "checksum"),
    (having({}, "previous"), "previous"),
]


class TestDamagedRecords:
    @pytest.fixture
    def record(self, recorded):
        """The path of a record, which is as it was at the end."""
        path = recorded / "x" / "generator.json"
        text = path.read_bytes()
        yield path
        path.write_bytes(text)

    @pytest.mark.parametrize("change, words", CHANGES)
    def test_values_that_cannot_be(self, recorded, record, change, words):
        entry = json.loads(record.read_text())
        change(entry)
        record.write_text(json.dumps(entry))
        started = time.process_time()
        with pytest.raises(WeightsError) as error:
            de.load_generator("x", recorded)
        assert words in str(error.value)
        assert str(recorded / "x" / "generator.") in str(error.value)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600
        assert time.process_time() - started < 5
        # The networks beside it are as they were.
        assert find_weights("x", "conv1", recorded)[1]["size"] > 0

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b"NaN", b'{"sha256": 1e999}',
            b'{"data": "\\ud800"}', b"1" * 5000, b'"' + b"a" * 20_000_000,
        ],
        ids=lambda text: ascii(text[:12]),
    )  # fmt: skip
    def test_texts_that_are_none(self, recorded, record, text):
        record.write_bytes(text)
        with pytest.raises(WeightsError, match=f"{record}"):
            de.load_generator("x", recorded)
        with pytest.raises(WeightsError, match=f"{record}"):
            read_manifest(recorded)

    @pytest.mark.parametrize("text", ["", "null", '{"sha256": null}'])
    def test_a_damaged_one_is_replaced_with_its_weights(self, tmp_path, text):
        replace(tmp_path, b"old")
        (tmp_path / "x" / "net.json").write_text(text)
        replace(tmp_path, b"new")
        assert whole(tmp_path) == b"new"

    @pytest.mark.parametrize("name, key", [("conv1", "channels"), ("unet", "widths")])
    def test_of_networks(self, recorded, name, key):
        path = recorded / "x" / f"{name}.json"
        text = path.read_text()
        for change in (without(key, "config"), having(0, "config", key), having(1, "config", "z")):
            entry = json.loads(text)
            change(entry)
            path.write_text(json.dumps(entry))
            with pytest.raises(WeightsError, match=f"{name}.*, in `config`.*`({key}|z)`"):
                de.load_embedder("x", name, recorded)
        path.write_text(text)
        assert de.load_embedder("x", name, recorded).channels == 1

    def test_of_a_classifier(self, tmp_path):
        classifier = de.FeatureClassifier((8, 8, 1), 3, (4,), 5)
        config = {
            "image_shape": [8, 8, 1], "classes": 3, "widths": [4], "num_features": 5, "padding": 0,
        }  # fmt: skip
        notes = {"data": "", "budget": {}, "errors": {}}
        for key, value, words in (
            ("padding", None, "lacks `padding`"),
            ("padding", 4, "must leave a pixel"),
            ("num_features", 2**20, "larger network"),
            ("image_shape", [2**15, 2**15, 1], "larger network"),
        ):
            changed = copy.deepcopy(config) | {key: value}
            if value is None:
                del changed[key]
            de.record_weights(tmp_path, "x", "features", classifier, config=changed, **notes)
            with pytest.raises(WeightsError, match=words):
                de.load_feature_classifier("x", tmp_path)

    def test_the_user_s_own_options_are_not_the_record_s(self, recorded):
        for options in ({"num_steps": 0}, {"precision": "int8"}, {"last_step": "first"}):
            with pytest.raises(ValueError) as error:
                de.load_generator("x", recorded, **options)
            assert not isinstance(error.value, WeightsError)

    def test_what_readers_refuse_is_not_written(self, tmp_path):
        model = de.build_embedder("conv1")
        about = {"config": {"channels": 1}, "data": "", "budget": {}, "errors": {}}
        for change in ({"errors": {"mse": "small"}}, {"config": []}, {"budget": None}):
            with pytest.raises(ValueError, match=f"`{next(iter(change))}` must be"):
                de.record_weights(tmp_path, "x", "conv1", model, **about | change)
        assert not list(tmp_path.iterdir())


def test_a_file_without_a_record_is_not_listed(tmp_path):
    replace(tmp_path, b"old")
    with h5py.File(tmp_path / "x" / "other.weights.h5", "w"):
        pass
    assert [*read_manifest(tmp_path)] == ["x/net"]
    with pytest.raises(MissingWeightsError, match=r"has: x/net\.$"):
        find_weights("x", "other", tmp_path)
