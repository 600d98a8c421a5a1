"""Weights files are checked whole before a variable changes, and found by their manifest."""

import errno
import hashlib
import itertools
import json
import os
import time
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddim_embed.networks.blocks import Normalizer
from ddim_embed.networks.unet import UNet
from ddim_embed.store import hdf5, records
from ddim_embed.store.legacy import load_legacy_weights
from ddim_embed.store.weights import (
    SUFFIX,
    MissingWeightsError,
    WeightsError,
    find_weights,
    load_weights,
    read_manifest,
    record_weights,
    save_weights,
    weights_root,
)
from ddim_embed.training.denoiser import DiffusionModel
from experiments.toolkit.command_line import with_command

LAYER = "input_conv"
KERNEL = f"{LAYER}/vars/0"


class Denoiser(keras.Model):
    """Small, with what the real ones have: nested lists, statistics, a normaliser and a metric."""

    def __init__(self, width=4):
        super().__init__()
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.normalizer = Normalizer(1)
        self.input_conv = keras.layers.Conv2D(width, 3)
        self.input_conv.build((None, None, None, 1))
        self.blocks = [[keras.layers.BatchNormalization() for _ in range(2)] for _ in range(2)]
        for block in itertools.chain(*self.blocks):
            block.build((None, None, None, width))
        self.built = True

    def call(self, images):
        return self.input_conv(self.normalizer(images))


def randomise(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def snapshot(model):
    return [variable.numpy().copy() for variable in model.weights]


def assert_refused(model, path, match, **kwargs):
    """The error names the file and what else `match` says, and the model stays as it was."""
    before = snapshot(model)
    with pytest.raises(ValueError, match=match) as error:
        load_weights(model, path, **kwargs)
    assert str(path) in str(error.value)
    np.testing.assert_equal(snapshot(model), before)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def model():
    return randomise(Denoiser())


@pytest.fixture
def path(tmp_path, model):
    path = tmp_path / "model.weights.h5"
    save_weights(model, path)
    return path


class TestFiles:
    @pytest.mark.parametrize("build", [Denoiser, lambda: UNet(1, (4, 6), 2)])
    def test_round_trip_is_exact_normalizer_included(self, tmp_path, build):
        model, other = randomise(build()), randomise(build(), seed=1)
        save_weights(model, tmp_path / "model.weights.h5")
        load_weights(other, tmp_path / "model.weights.h5", sha256(tmp_path / "model.weights.h5"))
        np.testing.assert_equal(snapshot(other), snapshot(model))

    @pytest.mark.parametrize("half", [False, True])
    def test_plain_keras_reads_the_file(self, path, model, half):
        save_weights(model, path, half=half)
        other = Denoiser()
        other.load_weights(path)
        for value, expected in zip(snapshot(other), snapshot(model), strict=True):
            np.testing.assert_allclose(value, expected, rtol=2**-11)  # float16's rounding

    def test_half_keeps_statistics_and_biases_exact(self, path, model):
        whole = path.stat().st_size
        save_weights(model, path, half=True)
        other = Denoiser()
        load_weights(other, path)
        for variable, expected in zip(other.weights, snapshot(model), strict=True):
            half = expected.astype(np.float16).astype(np.float32)
            np.testing.assert_array_equal(variable.numpy(), half if half.ndim > 1 else expected)
            assert variable.dtype == "float32"
        with h5py.File(path) as file:
            assert file[KERNEL].dtype == np.float16
        assert path.stat().st_size <= whole

    def test_half_halves_a_large_file(self, tmp_path):
        model = UNet(1, (32,), 1)
        save_weights(model, tmp_path / "whole.weights.h5")
        save_weights(model, tmp_path / "half.weights.h5", half=True)
        sizes = [(tmp_path / f"{n}.weights.h5").stat().st_size for n in ("half", "whole")]
        assert sizes[0] < 0.6 * sizes[1]

    @pytest.mark.parametrize("value, half", [(65520.0, True), (np.nan, True), (np.inf, False)])
    def test_values_that_would_not_come_back_are_not_saved(self, path, model, value, half):
        before = path.read_bytes()
        kernel = model.input_conv.kernel.numpy()
        kernel[0, 0, 0, 0] = value
        model.input_conv.kernel.assign(kernel)
        with pytest.raises(ValueError, match=LAYER):
            save_weights(model, path, half=half)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]

    def test_largest_float16_is_saved(self, path, model):
        model.input_conv.kernel.assign(np.full((3, 3, 1, 4), -65504.0))
        save_weights(model, path, half=True)
        load_weights(model, path)
        assert model.input_conv.kernel.numpy().max() == -65504.0

    def test_optimizer_is_neither_written_nor_read(self, tmp_path):
        model = randomise(DiffusionModel(UNet(1, (4,), 1)))
        model.compile(keras.optimizers.Adam())
        model.optimizer.iterations.assign(7)
        save_weights(model, tmp_path / "ours.weights.h5")
        model.save_weights(tmp_path / "keras.weights.h5")
        with h5py.File(tmp_path / "ours.weights.h5") as file:
            assert "optimizer" not in file
        with h5py.File(tmp_path / "keras.weights.h5") as file:
            assert "optimizer" in file
        for name in ("ours", "keras"):
            compiled = DiffusionModel(UNet(1, (4,), 1))
            compiled.compile(keras.optimizers.Adam())
            for other in (compiled, DiffusionModel(UNet(1, (4,), 1))):
                load_weights(other, tmp_path / f"{name}.weights.h5")
                np.testing.assert_equal(snapshot(other), snapshot(model))
            assert int(compiled.optimizer.iterations) == 0

    def test_wrong_checksum(self, path):
        assert_refused(Denoiser(), path, "checksum.*Expected sha256: 00.*Received", sha256="00")

    @settings(max_examples=15, deadline=None)
    @given(fraction=st.floats(0, 1, exclude_max=True))
    def test_truncated_anywhere(self, tmp_path_factory, fraction):
        path = tmp_path_factory.mktemp("cut") / "model.weights.h5"
        model = Denoiser()
        save_weights(model, path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(fraction * len(whole))])
        assert_refused(model, path, "truncated|not an HDF5 file")

    def test_foreign_file(self, path):
        path.write_text("version https://git-lfs.github.com/spec/v1")
        assert_refused(Denoiser(), path, "not an HDF5 file")

    def test_another_hdf5_file(self, path):
        with h5py.File(path, "w") as file:
            file["temperatures"] = np.ones(3)
        assert_refused(Denoiser(), path, "missing in the file")

    def test_another_shape_names_layer_and_both_shapes(self, path):
        with h5py.File(path, "a") as file:
            del file[KERNEL]
            file[KERNEL] = np.ones((3, 3, 4, 1), np.float32)
        match = (
            rf"array 0 of layer `{LAYER}`.*\(3, 3, 4, 1\) in the file, \(3, 3, 1, 4\) in the model"
        )
        assert_refused(Denoiser(), path, match)

    def test_another_width(self, path):
        assert_refused(
            Denoiser(5), path, r"18 arrays differ.*\(4,\) in the file, \(5,\) in the model"
        )

    def test_missing_layer(self, path):
        with h5py.File(path, "a") as file:
            del file[KERNEL]
        assert_refused(Denoiser(), path, rf"`{LAYER}`.*missing in the file, \(3, 3, 1, 4\) in")

    def test_surplus_layer(self, path):
        with h5py.File(path, "a") as file:
            file["extra/vars/0"] = np.ones(2)
        assert_refused(
            Denoiser(), path, r"1 array differs.*`extra`.*\(2,\) in the file, missing in the"
        )

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite(self, path, value):
        with h5py.File(path, "a") as file:
            file[KERNEL][0, 0, 0, 0] = value
        assert_refused(Denoiser(), path, f"`{LAYER}`.*not finite")

    def test_arrays_that_are_not_floats(self, path):
        with h5py.File(path, "a") as file:
            del file[KERNEL]
            file[KERNEL] = np.ones((3, 3, 1, 4), int)
        assert_refused(Denoiser(), path, f"`{LAYER}`.*int64")

    def test_arrays_kept_in_other_files(self, path, tmp_path):
        (tmp_path / "private").write_bytes(bytes(144))
        with h5py.File(path, "a") as file:
            del file[KERNEL]
            outside = [(str(tmp_path / "private"), 0, 144)]
            file.create_dataset(KERNEL, (3, 3, 1, 4), "float32", external=outside)
        assert_refused(Denoiser(), path, "other files")

    def test_links_are_not_followed(self, path, tmp_path):
        other = tmp_path / "other.weights.h5"
        other.write_bytes(path.read_bytes())
        with h5py.File(path, "a") as file:
            del file[LAYER]
            file[LAYER] = h5py.ExternalLink(str(other), LAYER)
        assert_refused(Denoiser(), path, f"`{LAYER}`.*missing in the file")

    def test_keras_own_hints_of_a_type_are_not_heeded(self, path, model):
        """Keras would read the bytes as bfloat16, after it has set other variables."""
        with h5py.File(path, "a") as file:
            file[KERNEL].attrs["dtype"] = "bfloat16"
        other = Denoiser()
        load_weights(other, path)
        np.testing.assert_equal(snapshot(other), snapshot(model))

    def test_names_that_are_no_text(self, path):
        with h5py.File(path, "a") as file:
            space = h5py.h5s.create_simple((3,))
            h5py.h5d.create(file.id, b"\xff\xfe", h5py.h5t.IEEE_F32LE, space)
        assert_refused(Denoiser(), path, "name is not UTF-8")

    def test_floats_that_numpy_has_not(self, path):
        wide = h5py.h5t.IEEE_F64LE.copy()
        wide.set_size(16)
        wide.set_precision(128)
        wide.set_fields(127, 96, 31, 0, 96)
        wide.set_ebias(2**30)
        with h5py.File(path, "a") as file:
            del file[KERNEL]
            h5py.h5d.create(file.id, KERNEL.encode(), wide, h5py.h5s.create_simple((3, 3, 1, 4)))
        assert_refused(Denoiser(), path, f"`{LAYER}` is of a type unknown here")

    def test_long_doubles(self, path):
        with h5py.File(path, "a") as file:
            del file[KERNEL]
            file[KERNEL] = np.ones((3, 3, 1, 4), np.longdouble)
        assert_refused(Denoiser(), path, f"`{LAYER}` is of type float128, not a float type")

    def test_chunks_that_expand_are_not_read(self, path):
        """One value, in a chunk of 64 MiB that a file of some KB holds."""
        with h5py.File(path, "a") as file:
            del file[KERNEL]
            options = {"maxshape": (None,) * 4, "chunks": (64, 64, 64, 64), "compression": "gzip"}
            file.create_dataset(KERNEL, (3, 3, 1, 4), "f4", **options)[0, 0, 0, 0] = 1
        assert path.stat().st_size < 200_000
        assert_refused(Denoiser(), path, f"`{LAYER}` has 144 bytes.*chunks that take 67,108,864")

    def test_groups_nested_by_thousands(self, path):
        with h5py.File(path, "a") as file:
            group = file
            for _ in range(3000):
                group = group.create_group("a")
        started = time.process_time()
        assert_refused(Denoiser(), path, "nested more than 64 deep")
        assert time.process_time() - started < 5

    def test_more_objects_than_a_model_has(self, path, monkeypatch):
        monkeypatch.setattr(hdf5, "_MAX_OBJECTS", 30)
        assert_refused(Denoiser(), path, "more than 30 arrays and groups")

    def test_groups_inside_themselves(self, path, model):
        with h5py.File(path, "a") as file:
            file[LAYER]["again"] = file[LAYER]
        other = Denoiser()
        load_weights(other, path)
        np.testing.assert_equal(snapshot(other), snapshot(model))

    @pytest.mark.parametrize("load", [load_weights, load_legacy_weights])
    def test_what_others_save_is_named(self, tmp_path, model, load):
        (tmp_path / "saved").mkdir()
        (tmp_path / "saved" / "saved_model.pb").touch()
        (tmp_path / "logs").mkdir()
        for name in ("logs/checkpoint", "logs/ckpt-1.index", "logs/ckpt-1.data-00000-of-00001"):
            (tmp_path / name).touch()
        (tmp_path / "empty").mkdir()
        (tmp_path / "model.keras").write_bytes(b"PK\3\4rest")
        before = snapshot(model)
        for name, words in (
            ("saved", "a TensorFlow SavedModel"),
            ("logs", "a folder of TensorFlow checkpoints"),
            ("logs/ckpt-1", "a TensorFlow checkpoint"),
            ("logs/ckpt-1.index", "a TensorFlow checkpoint"),
            ("logs/ckpt-1.data-00000-of-00001", "a TensorFlow checkpoint"),
            ("empty", "a folder"),
            ("model.keras", "a zip archive, as Keras 3 makes of whole models"),
        ):
            with pytest.raises(WeightsError, match=f"{tmp_path / name} is {words}.*not an HDF5"):
                load(model, tmp_path / name)
        np.testing.assert_equal(snapshot(model), before)

    def test_float64_is_saved_and_loaded_as_it_is(self, tmp_path):
        models = [keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="float64")])
                  for _ in range(2)]  # fmt: skip
        models[0].layers[0].kernel.assign(np.full((3, 2), 1 / 3))
        save_weights(models[0], tmp_path / "model.weights.h5")
        load_weights(models[1], tmp_path / "model.weights.h5")
        np.testing.assert_array_equal(models[1].get_weights()[0], np.full((3, 2), 1 / 3))

    def test_a_full_disk_is_one_error(self, path, model, monkeypatch):
        """Python writes the file, and not HDF5, which would print hundreds of lines."""
        before = path.read_bytes()

        def full(self, contents):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError) as error:
            save_weights(model, path)
        assert error.value.errno == errno.ENOSPC and error.value.filename == str(path)
        assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]

    def test_missing_file_and_other_endings(self, tmp_path, model):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load_weights(model, tmp_path / "nowhere.weights.h5")
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load_weights(model, tmp_path / "nowhere.weights.h5", sha256="00")
        assert_refused(model, tmp_path / "model.keras", "must end in `.weights.h5`")
        with pytest.raises(ValueError, match=r"must end in `.weights.h5`.*model\.h5"):
            save_weights(model, tmp_path / "model.h5")


DESCRIPTION = {
    "config": {"channels": 1, "widths": (4, 6)},
    "data": "60,000 images",
    "budget": {"steps": 10},
    "errors": {"mse": 0.25},
}


class TestManifest:
    def test_recorded_weights_are_found_and_load(self, tmp_path, model):
        recorded = record_weights(tmp_path, "mnist", "unet", model, **DESCRIPTION)
        path, entry = find_weights("mnist", "unet", tmp_path)
        assert recorded == (path, entry)
        assert path == tmp_path / "mnist" / "unet.weights.h5"
        assert entry["sha256"] == sha256(path)
        assert entry["size"] == path.stat().st_size
        assert entry["parameters"] == sum(value.size for value in snapshot(model))
        assert entry["versions"]["keras"] == keras.__version__
        assert {key: entry[key] for key in DESCRIPTION} == DESCRIPTION | {
            "config": {"channels": 1, "widths": [4, 6]}  # JSON has no tuples
        }
        other = Denoiser()
        load_weights(other, path, entry["sha256"])
        # Stored as float16 unless told otherwise.
        np.testing.assert_allclose(other.input_conv.kernel, model.input_conv.kernel, rtol=2**-11)

    def test_entries_are_replaced_and_others_kept(self, tmp_path, model):
        record_weights(tmp_path, "mnist", "unet", model, **DESCRIPTION)
        record_weights(tmp_path, "mnist", "conv1", model, **DESCRIPTION)
        kept = read_manifest(tmp_path)["mnist/conv1"]
        randomise(model, seed=1)
        errors = {"mse": 0.125}
        record_weights(tmp_path, "mnist", "unet", model, **DESCRIPTION | {"errors": errors})
        manifest = read_manifest(tmp_path)
        assert list(manifest) == ["mnist/conv1", "mnist/unet"]
        assert manifest["mnist/unet"]["errors"] == errors
        assert manifest["mnist/conv1"] == kept
        names = {item.relative_to(tmp_path).as_posix() for item in tmp_path.rglob("*")}
        pairs = {f"mnist/{name}{end}" for name in ("unet", "conv1") for end in (SUFFIX, ".json")}
        assert names == pairs | {"mnist"}

    def test_missing_weights_are_named_with_those_that_exist(self, tmp_path, model):
        with pytest.raises(MissingWeightsError, match=r"`mnist/generator` in .*: none\.$") as error:
            find_weights("mnist", "generator", tmp_path)
        assert isinstance(error.value, FileNotFoundError)
        path, _ = record_weights(tmp_path, "mnist", "conv1", model, **DESCRIPTION)
        with pytest.raises(
            MissingWeightsError, match=r"`mnist/unet` in .*: mnist/conv1\.$"
        ) as error:
            find_weights("mnist", "unet", tmp_path)
        assert (error.value.dataset, error.value.name) == ("mnist", "unet")
        path.unlink()
        with pytest.raises(MissingWeightsError, match="`mnist/conv1`"):
            find_weights("mnist", "conv1", tmp_path)

    @pytest.mark.parametrize(
        "name, words",
        [
            ("generator", "mnist train"),
            ("unet", "mnist train-embedders unet"),
            ("features", "features mnist"),
        ],
    )
    def test_the_experiments_name_the_command_that_makes_missing_weights(
        self, tmp_path, name, words
    ):
        with pytest.raises(MissingWeightsError) as error:
            find_weights("mnist", name, tmp_path)
        assert f"`python -m experiments.{words}`" in with_command(error.value)
        assert with_command(FileNotFoundError("gone")) == "gone"

    @pytest.mark.parametrize(
        "name", ["", "..", "../unet", "a/b", "a\\b", "unet.h5", "unet\n", 201 * "a"]
    )
    def test_names_cannot_leave_the_folder(self, tmp_path, model, name):
        for pair in ((name, "unet"), ("mnist", name)):
            with pytest.raises(ValueError, match="must consist of letters"):
                find_weights(*pair, tmp_path)
            with pytest.raises(ValueError, match="must consist of letters"):
                record_weights(tmp_path / "root", *pair, model, **DESCRIPTION)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("errors", [{"mse": float("nan")}, {"mse": {1, 2}}])
    def test_description_beyond_json_writes_nothing(self, tmp_path, model, errors):
        with pytest.raises((ValueError, TypeError)):
            record_weights(tmp_path, "a", "b", model, **DESCRIPTION | {"errors": errors})
        assert not list(tmp_path.iterdir())

    def test_is_readable_json(self, tmp_path, model):
        record_weights(tmp_path, "mnist", "unet", model, **DESCRIPTION)
        text = (tmp_path / "mnist" / "unet.json").read_text()
        assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"

    def test_root(self, tmp_path, monkeypatch):
        monkeypatch.delenv("DDIM_EMBED_WEIGHTS", raising=False)
        monkeypatch.setattr(records, "_PACKAGE", tmp_path / "package")
        assert weights_root() == tmp_path / "weights"
        (tmp_path / "package" / "pretrained_weights").mkdir(parents=True)
        assert weights_root() == tmp_path / "package" / "pretrained_weights"
        monkeypatch.setenv("DDIM_EMBED_WEIGHTS", str(tmp_path / "mine"))
        assert weights_root() == tmp_path / "mine"
        assert weights_root(tmp_path / "given") == tmp_path / "given"
