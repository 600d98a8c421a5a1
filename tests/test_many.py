"""Any number of images into a folder: the same bytes however computed, and nothing twice."""

import functools
import json
import os
import signal
import threading
import warnings

import joblib
import numpy as np
import pytest
import tensorflow as tf
from conftest import XLA_KERNELS, make_generator, make_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ddim_embed as de
from ddim_embed import cli, commands
from ddim_embed.data.chunks import count_images, read_chunks
from ddim_embed.generator.pretrained import generator_config
from ddim_embed.methods import many
from ddim_embed.methods.cache import embed_in_chunks
from ddim_embed.networks import kernels
from ddim_embed.store.locks import LockedError, locked
from ddim_embed.store.sealed import DamagedError, write_arrays
from ddim_embed.store.shards import shard_path, write_index
from ddim_embed.workers import pool
from experiments.fashion_mnist import FASHION_MNIST
from experiments.runner import VERBS
from experiments.toolkit import command_line

SHAPE = (8, 8, 1)
METHOD = de.DDIMInversion()
FEW = settings(max_examples=30, deadline=None)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder of weights; workers load them by name, and compile what is left out elsewhere."""
    root = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        for name, function in XLA_KERNELS.items():
            patch.setattr(kernels, name, function)
        generator = make_generator(image_shape=SHAPE, widths=(4, 8), num_steps=2)
        about = {"config": generator_config(generator), "data": "", "budget": {}, "errors": {}}
        de.record_weights(root, "tiny", "generator", generator, **about)
        yield root


@pytest.fixture(scope="module")
def generator(recorded):
    return de.load_generator("tiny", recorded, num_steps=2)


@pytest.fixture(scope="module")
def pixels():
    return make_pixels(22, SHAPE)


@pytest.fixture(scope="module")
def expected(generator, pixels, tmp_path_factory):
    """What this process makes of `pixels`, four at a time."""
    folder = tmp_path_factory.mktemp("expected")
    de.embed_many(generator, pixels, folder, METHOD, seed=3, chunk_size=4, workers=1)
    return contents(folder)


def contents(folder):
    """The bytes of the results in a folder."""
    return {path.name: path.read_bytes() for path in folder.glob("*.npz")}


def batches_of(pixels, sizes):
    ends = np.cumsum(sizes)
    return [part for part in np.split(pixels, ends) if len(part)]


class TestSources:
    @FEW
    @given(st.lists(st.integers(1, 9), max_size=8), st.integers(1, 12))
    def test_chunks_do_not_depend_on_batches(self, sizes, chunk_size):
        pixels = make_pixels(20, SHAPE)
        chunks = [*read_chunks(iter(batches_of(pixels, sizes)), SHAPE, 0, chunk_size)]
        assert [chunk.start for chunk in chunks] == [*range(0, 20, chunk_size)]
        assert [chunk.count for chunk in chunks[:-1]] == [chunk_size] * (len(chunks) - 1)
        np.testing.assert_array_equal(np.concatenate([chunk.pixels for chunk in chunks]), pixels)
        index = np.concatenate([chunk.index for chunk in chunks])
        assert index.tolist() == [*range(20)]

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda data: data,
            lambda data: data.batch(4),
            lambda data: data.map(lambda image: (image, 1)).batch(3),
            lambda data: data.map(lambda image: {"image": image, "label": 1}),
        ],
    )
    def test_data_sets_of_tensorflow(self, wrap):
        pixels = np.uint8(np.rint(255 * make_pixels(10, SHAPE)))
        data = wrap(tf.data.Dataset.from_tensor_slices(pixels))
        found = np.concatenate([chunk.pixels for chunk in read_chunks(data, SHAPE, 0, 4)])
        np.testing.assert_array_equal(found, pixels / np.float32(255))

    def test_arrays_in_files(self, tmp_path):
        """Of any size are mapped, or read in parts; images of another size are resized."""
        pixels = np.uint8(np.rint(255 * make_pixels(10, (28, 28, 1))))
        np.save(tmp_path / "x.npy", pixels)
        np.savez_compressed(tmp_path / "x.npz", x_test=pixels, y_test=np.arange(10))
        np.savez(tmp_path / "fortran.npz", images=np.asfortranarray(pixels))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        assert count_images(mapped) == 10 and count_images(tmp_path / "x.npz") is None
        for source in (mapped, tmp_path / "x.npz", str(tmp_path / "fortran.npz")):
            chunks = [*read_chunks(source, (32, 32, 3), 2, 4)]
            assert [len(chunk.pixels) for chunk in chunks] == [4, 4, 2]
            whole = np.concatenate([chunk.pixels for chunk in chunks])
            np.testing.assert_array_equal(whole[:, 2:-2, 2:-2, 1:2], pixels / np.float32(255))

    def test_a_folder(self, tmp_path):
        """In the order of the paths, of which those that are no images are named."""
        images = np.uint8(np.rint(255 * make_pixels(5, SHAPE)))
        names = ["b/1.png", "b/c/0.png", "b.png", "a.png", "z.png"]
        for name, image in zip(names, images, strict=True):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(tmp_path / name)
        (tmp_path / "b" / "2.png").write_bytes(b"no image")
        (tmp_path / ".hidden").mkdir()
        (tmp_path / ".hidden" / "x.png").touch()
        (tmp_path / "link").symlink_to(tmp_path / "b")
        chunks = [*read_chunks(tmp_path, SHAPE, 0, 3)]
        order = ["a.png", "b/1.png", "b/c/0.png", "b.png", "z.png"]
        assert [file for chunk in chunks for file in chunk.files] == order
        assert [chunk.start for chunk in chunks] == [0, 3, 6] and count_images(tmp_path) == 7
        assert [file for chunk in chunks for file, _ in chunk.problems] == ["b/2.png", "link"]
        assert np.concatenate([chunk.index for chunk in chunks]).tolist() == [0, 1, 3, 4, 6]
        found = np.concatenate([chunk.pixels for chunk in chunks])
        wanted = images[[names.index(name) for name in order]] / np.float32(255)
        np.testing.assert_array_equal(found, wanted)
        paths = (tmp_path / name for name in order)  # one by one
        (chunk,) = read_chunks(paths, SHAPE, 0, 9)
        np.testing.assert_array_equal(chunk.pixels, wanted)

    @pytest.mark.parametrize(
        ("source", "error", "words"),
        [
            (3, ValueError, "`source` must be a folder of images, .* Received: 3"),
            ({}, ValueError, "`source` must be a folder of images"),
            ("nowhere", FileNotFoundError, "There is none: nowhere"),
            ([np.zeros((2, 3, 4))], ValueError, r"must have the shape .*Received: \(1, 2, 3, 4\)"),
            ([{"pixels": 1}], ValueError, "must have its images under one of"),
            (np.full((2, 8, 8, 1), np.nan), ValueError, r"must be finite and lie in \[0, 1\]"),
        ],
    )
    def test_what_is_no_source(self, source, error, words, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(error, match=words):
            [*read_chunks(source, SHAPE, 0, 4)]

    def test_what_is_no_file_of_images(self, tmp_path):
        np.savez(tmp_path / "two.npz", x_train=np.zeros(3), x_test=np.zeros(3))
        (tmp_path / "text.npz").write_text("text")
        whole = tmp_path / "whole.npz"
        np.savez(whole, images=np.zeros((9, *SHAPE), np.uint8))
        (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:-300])
        for name, words in (
            ("two", "of one split"),
            ("text", "not an .npz"),
            ("cut", "not an .npz"),
        ):
            with pytest.raises(ValueError, match=words):
                [*read_chunks(tmp_path / f"{name}.npz", SHAPE, 0, 4)]


class TestStored:
    @FEW
    @given(st.data())
    def test_a_column_is_indexed_as_an_array(self, stored, data):
        found, whole = stored
        count = len(whole)
        item = data.draw(
            st.one_of(
                st.integers(-count, count - 1),
                st.slices(count),
                st.lists(st.integers(-count, count - 1)).map(lambda i: np.array(i, int)),
                st.lists(st.booleans(), min_size=count, max_size=count).map(np.array),
            )
        )
        np.testing.assert_array_equal(found.mse[item], whole[item])
        assert found.latents[item].shape == np.zeros((count, *SHAPE))[item].shape

    @pytest.fixture(scope="class")
    def stored(self, tmp_path_factory):
        """Files of 3, 0, 5 and 1 images, and all their errors."""
        folder, start, whole = tmp_path_factory.mktemp("stored"), 0, np.arange(9) / 9
        for count in (3, 0, 5, 1):
            own = slice(start, start + count)
            arrays = {"mse": whole[own], "latents": np.zeros((count, *SHAPE), np.float32)}
            names = np.array([f"{'x' * i}.png" for i in range(start, start + count)], np.str_)
            arrays |= {"files": names, "skipped": np.array(["no.png"]), "reasons": np.array(["?"])}
            write_arrays(shard_path(folder, start + 10 * (count == 0)), "key", **arrays)
            start += count
        write_index(folder, {"settings": {}})
        return de.open_embeddings(folder), whole

    def test_columns(self, stored):
        found, whole = stored
        assert len(found) == 9 and found.latents.shape == (9, *SHAPE) and len(found.mse) == 9
        np.testing.assert_array_equal([*found.mse], whole)
        np.testing.assert_array_equal(np.asarray(found.mse), whole)
        assert found.files[[8, 0]].tolist() == ["xxxxxxxx.png", ".png"]
        assert {"files", "latents", "mse"} <= {*dir(found)} and "(9,)" in repr(found.mse)
        with pytest.raises(AttributeError, match="There are no `partner`"):
            found.partner  # noqa: B018
        with pytest.raises(IndexError):
            found.mse[9]
        assert found.problems == [("no.png", "?")] * 4
        assert [len(part["mse"]) for part in found] == [3, 5, 1, 0]

    def test_what_is_damaged_is_named(self, generator, pixels, tmp_path):
        de.embed_many(generator, pixels, tmp_path, METHOD, chunk_size=8)
        path = shard_path(tmp_path, 8)
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        path.write_bytes(whole)
        found = de.open_embeddings(tmp_path)
        with pytest.raises(DamagedError, match=f"{path} is damaged"):
            list(found)
        with pytest.raises(DamagedError, match=f"{path} is damaged"):
            found.latents[:]
        path.write_bytes(whole[:100])
        with pytest.raises(DamagedError, match=f"{path} is damaged"):
            len(de.open_embeddings(tmp_path))

    def test_what_is_no_folder_of_embeddings(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(FileNotFoundError, match=f"index.json in it. Received: {folder}"):
                de.open_embeddings(folder)
        (tmp_path / "index.json").write_text("[]")
        with pytest.raises(ValueError, match="is not an index of embeddings"):
            de.open_embeddings(tmp_path)


class TestHere:
    def test_results_are_those_of_embed(self, generator, pixels, tmp_path):
        method = de.LBFGS(num_steps=1)  # from latents that depend on the seed
        found = de.embed_many(generator, pixels, tmp_path, method, seed=3, chunk_size=11)
        parts = [de.embed(generator, pixels[i : i + 11], method, seed=3 + i) for i in (0, 11)]
        for name in ("latents", "mse", "evaluations"):
            wanted = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(getattr(found, name)[:], wanted)
        assert found.index[:].tolist() == [*range(22)] and found.files[3] == ""
        about = json.loads((tmp_path / "index.json").read_text())
        assert about == found.about and about["complete"] and about["embedded"] == 22
        assert about["settings"]["seed"] == 3 and "keras" in about["versions"]

    def test_pairs_of_latents(self, generator, pixels, tmp_path):
        folder = tmp_path / "new" / "folder"
        found = de.embed_many(generator, pixels[:3], folder, "edict", chunk_size=2)
        assert found.partner.shape == (3, *SHAPE) and found.single_mse.shape == (3,)

    def test_a_run_goes_on_where_it_was(self, generator, pixels, expected, tmp_path, monkeypatch):
        """Without the whole files of the run before; a damaged one is made anew."""
        run = functools.partial(de.embed_many, generator, pixels, tmp_path, METHOD, 3, chunk_size=4)
        calls, original = [], many.embed

        def embed(generator, pixels, *args, seed):
            calls.append(seed)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return original(generator, pixels, *args, seed=seed)

        monkeypatch.setattr(many, "embed", embed)
        with pytest.raises(KeyboardInterrupt):
            run()
        assert sorted(contents(tmp_path)) == sorted(expected)[:3]
        assert not json.loads((tmp_path / "index.json").read_text())["complete"]
        cut = shard_path(tmp_path, 4)
        cut.write_bytes(cut.read_bytes()[:-9])
        times = {start: shard_path(tmp_path, start).stat().st_mtime_ns for start in (0, 8)}
        with pytest.warns(UserWarning, match=f"{cut} is damaged.* computed again"):
            run()
        assert calls == [3, 7, 11, 15, 7, 15, 19, 23]
        assert contents(tmp_path) == expected
        for start, time in times.items():
            assert shard_path(tmp_path, start).stat().st_mtime_ns == time
        run()
        assert len(calls) == 8

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"method": "implicit"}, "made otherwise: method .*DDIMInversion.*, not .*Implicit"),
            ({"seed": 1}, "made otherwise: seed 0, not 1. Choose another folder"),
            ({"chunk_size": 5}, "made otherwise: chunk_size 4, not 5"),
            ({"generator": make_generator(1, image_shape=SHAPE)}, "made otherwise: generator"),
            ({"source": make_pixels(9, SHAPE, 5)}, "000.npz has the embeddings of other images"),
        ],
    )
    def test_results_of_something_else_are_not_replaced(
        self, generator, pixels, tmp_path, changes, words
    ):
        options = {"generator": generator, "source": pixels[:9], "folder": tmp_path}
        options |= {"method": METHOD, "chunk_size": 4}
        de.embed_many(**options)
        before = contents(tmp_path)
        with pytest.raises(FileExistsError, match=words):
            de.embed_many(**options | changes)
        assert contents(tmp_path) == before
        words = "embeddings of more images than the 4 of `source`: from 000000000004.npz on"
        with pytest.warns(UserWarning, match=words):
            de.embed_many(**options | {"source": pixels[:4]})

    def test_numbered_files_of_the_user_are_not_replaced(self, generator, pixels, tmp_path):
        np.savez(shard_path(tmp_path, 0), mine=1)
        with pytest.raises(FileExistsError, match="none of `embed_many`"):
            de.embed_many(generator, pixels, tmp_path, METHOD)

    def test_chunks_that_fail_are_named_and_the_others_are_there(
        self, generator, pixels, expected, tmp_path, monkeypatch
    ):
        original, tries = many.embed, []

        def embed(generator, pixels, *args, seed):
            tries.append(seed)
            if seed in (7, 15):
                raise MemoryError(f"no room for {seed}")
            return original(generator, pixels, *args, seed=seed)

        monkeypatch.setattr(many, "embed", embed)
        run = functools.partial(de.embed_many, generator, pixels, tmp_path, METHOD, 3, chunk_size=4)
        words = r"2 chunks failed: images 4 to 7 \(MemoryError: no room for 7\); images 12 to 15"
        with pytest.raises(de.FailedChunksError, match=words), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(retries=1)
        assert sorted(tries) == [3, 7, 7, 11, 15, 15, 19, 23]
        assert {*expected} - {*contents(tmp_path)} == {f"{i:012}.npz" for i in (4, 12)}
        found = de.open_embeddings(tmp_path)
        assert len(found) == 14 and not found.about["complete"]
        first, second = found.about["failed"]
        assert (first["start"], first["stop"]) == (4, 8) and "no room" in second["reason"]
        monkeypatch.undo()
        assert run().about["failed"] == []
        assert contents(tmp_path) == expected

    def test_broken_files_are_left_out(self, generator, tmp_path):
        names = [f"{i}.png" for i in range(7)]
        (tmp_path / "in").mkdir()
        for name, image in zip(names, make_pixels(7, SHAPE), strict=True):
            Image.fromarray(np.uint8(255 * image[..., 0])).save(tmp_path / "in" / name)
        for i in (0, 1, 5):
            (tmp_path / "in" / names[i]).write_bytes(b"broken")
        told = []
        found = de.embed_many(
            generator, tmp_path / "in", tmp_path / "out", METHOD, chunk_size=2,
            report=lambda *problem: told.append(problem),
        )  # fmt: skip
        assert found.files[:].tolist() == ["2.png", "3.png", "4.png", "6.png"]
        assert found.index[:].tolist() == [2, 3, 4, 6] and found.latents.shape == (4, *SHAPE)
        assert found.problems == told and [file for file, _ in told] == ["0.png", "1.png", "5.png"]
        assert found.about["images"] == 7 and found.about["embedded"] == 4

    def test_few_images_are_read_ahead(self, generator, pixels, tmp_path):
        ahead = []

        def source():
            for number in range(0, 22, 2):
                ahead.append(number + 2 - 4 * len(contents(tmp_path)))
                yield pixels[number : number + 2]

        de.embed_many(generator, source(), tmp_path, METHOD, chunk_size=4)
        assert max(ahead) <= 8  # two chunks

    def test_what_is_refused(self, generator, pixels, tmp_path):
        for options, words in (
            ({"generator": generator.given(np.zeros((22, 2)))}, "without a condition"),
            ({"source": pixels[:0]}, "`source` must have at least one image"),
            ({"retries": -1}, "`retries` must be an integer"),
            ({"chunk_size": 0}, "`chunk_size` must be an integer"),
            ({"progress": 1}, "`progress` must be True or False"),
            ({"folder": ""}, "`folder` must be a path"),
            ({"generator": 3}, "`generator` must be a `Generator`"),
        ):
            arguments = {"generator": generator, "source": pixels, "folder": tmp_path}
            with pytest.raises(ValueError, match=words):
                de.embed_many(**arguments | {"method": METHOD} | options)

    def test_one_process_writes_to_a_folder(self, generator, pixels, tmp_path):
        with locked(tmp_path / ".lock"), pytest.raises(LockedError, match="is written to by"):
            de.embed_many(generator, pixels, tmp_path, METHOD)


def test_processes_write_the_same_bytes(generator, pixels, expected, tmp_path):
    """Of batches of other sizes, and by a generator that is sent by its weights, too."""
    ahead = []

    def source():
        for batch in batches_of(pixels, [1, 5, 3, 9]):
            ahead.append(4 * len(contents(tmp_path / "named")))
            yield batch

    options = {"method": METHOD, "seed": 3, "chunk_size": 4, "workers": 2}
    de.embed_many(generator, source(), tmp_path / "named", **options)
    assert contents(tmp_path / "named") == expected
    own = make_generator(image_shape=SHAPE, widths=(4, 8), num_steps=2)
    own.set_weights(generator.get_weights())
    assert own.files is None
    de.embed_many(own, pixels, tmp_path / "own", **options)
    assert contents(tmp_path / "own") == expected

    # `embed_in_chunks` reads what one process has cached, and the other way round.
    cached = {"seed": 3, "chunk_size": 8, "folder": tmp_path / "cache"}
    with joblib.parallel_config(n_jobs=2):
        far = embed_in_chunks(generator, pixels, METHOD, **cached)
    here = embed_in_chunks(generator, pixels, METHOD, **cached)
    for name in ("latents", "mse", "reconstruction"):
        np.testing.assert_array_equal(getattr(here, name), getattr(far, name))
    assert here.seconds == far.seconds


def test_conditions_and_latents_are_sent(tmp_path):
    """With each chunk, its own."""
    autoencoder = de.build_autoencoder(SHAPE, (4, 8), 1, semantic_dims=3, num_steps=2)
    given_ = autoencoder.generator.given(np.random.default_rng(0).normal(size=(5, 3)).astype("f4"))
    pixels, latents = make_pixels(5, SHAPE), given_.latents(5, seed=9)
    method = de.LBFGS(num_steps=2)
    assert given_.files is None
    with pytest.MonkeyPatch.context() as patch:
        for name, function in XLA_KERNELS.items():
            patch.setattr(kernels, name, function)
        here, far = (
            embed_in_chunks(given_, pixels, method, latents=latents, chunk_size=3, workers=count)
            for count in (1, 2)
        )
    np.testing.assert_allclose(far.latents, here.latents, atol=1e-5)  # float32
    np.testing.assert_allclose(far.mse, here.mse, rtol=1e-4)


def test_a_dask_cluster_of_which_a_worker_is_killed(generator, pixels, expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options, silence_logs=60) as cluster:
        with distributed.Client(cluster) as client:
            client.wait_for_workers(2)
            pids = {*client.run(os.getpid).values()}

        def source():
            for number, batch in enumerate(batches_of(pixels, [8, 4, 4])):
                if number == 2:
                    # Not before there are results, as the source is read ahead.
                    threading.Timer(0.5, os.kill, (min(pids), signal.SIGKILL)).start()
                yield batch

        address = cluster.scheduler_address
        de.embed_many(generator, source(), tmp_path, METHOD, seed=3, chunk_size=4, cluster=address)
    assert contents(tmp_path) == expected


class TestCommand:
    @pytest.fixture(scope="class", autouse=True)
    def load_once(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(de, "load_generator", functools.cache(de.load_generator))
            yield

    @pytest.fixture
    def folder(self, tmp_path):
        pixels, _ = de.load_images("fashion_mnist", "test", source="sample", limit=5)
        (tmp_path / "in").mkdir()
        for i, image in enumerate(pixels[:, 2:-2, 2:-2, 0]):
            Image.fromarray(np.uint8(np.rint(255 * image))).save(tmp_path / "in" / f"{i}.png")
        (tmp_path / "in" / "notes.txt").write_text("no image")
        return tmp_path / "in"

    def command(self, folder, *flags):
        out = folder.parent / "out"
        words = ["embed", folder, "--model", "fashion_mnist", "--num-steps", "2"]
        cli.main([*words, "--method", "conv1", "--chunk", "2", "--out", out, *flags])
        return out

    def test_a_folder(self, folder, capsys, monkeypatch):
        """Ctrl-C leaves whole files, and the same command goes on."""
        calls, original = [], many.embed

        def embed(*args, **options):
            calls.append(options["seed"])
            if len(calls) == 2:
                raise KeyboardInterrupt
            return original(*args, **options)

        monkeypatch.setattr(many, "embed", embed)
        with pytest.raises(SystemExit) as stop:
            self.command(folder)
        assert stop.value.code == 130
        assert "The same command goes on from there." in capsys.readouterr().err
        out = self.command(folder)
        assert calls == [0, 2, 2, 4]
        captured = capsys.readouterr()
        assert "5 of 6 images, mean squared error 0.0" in captured.out
        assert "Skipped notes.txt: not an image" in captured.err
        found = de.open_embeddings(out)
        assert found.files[:].tolist() == [f"{i}.png" for i in range(5)]
        assert found.about["options"]["method"] == "conv1"

    @pytest.mark.parametrize(
        ("flags", "code", "words"),
        [
            (["--workers", "0"], 2, "--workers must be at least 1. Received: 0"),
            (["--chunk", "0"], 2, "--chunk must be at least 1. Received: 0"),
            (["--cluster", "x"], 2, "--cluster must be the address of a Dask scheduler"),
            (["--workers", "2", "--cluster", "tcp://x:1"], 2, "not with --cluster"),
            (["--out", "setup.cfg"], 1, "--out must be a folder"),
        ],
    )
    def test_wrong_flags(self, folder, capsys, flags, code, words):
        with pytest.raises(SystemExit) as stop:
            self.command(folder, *flags)
        assert stop.value.code == code
        assert words in capsys.readouterr().err

    def test_wrong_files(self, folder, capsys):
        empty = folder / "empty"
        empty.mkdir()
        (folder / "text.npz").write_text("text")
        for words, message in (
            ([folder, folder / "0.png"], "A folder must be given alone"),
            ([folder / "0.png", "--workers", "2"], "--workers does nothing for files"),
            ([folder / "text.npz"], "is not an .npz file"),
            ([empty], "must have at least one image"),
        ):
            with pytest.raises(SystemExit) as stop:
                out = ["--out", folder / "out", "--model", "fashion_mnist", "--num-steps", "2"]
                cli.main(["embed", *words, "--method", "conv1", *out])
            assert stop.value.code == 2 and message in capsys.readouterr().err

    def test_a_chunk_that_fails(self, folder, capsys, monkeypatch):
        original = many.embed

        def embed(*args, seed):
            if seed == 0:
                raise RuntimeError("no luck")
            return original(*args, seed=seed)

        monkeypatch.setattr(many, "embed", embed)
        with pytest.raises(SystemExit) as stop, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.command(folder, "--chunk", "3")
        assert stop.value.code == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert "images 0 to 2, 0.png to 2.png (RuntimeError: no luck)" in error
        (failed,) = de.open_embeddings(folder.parent / "out").about["failed"]
        assert failed["files"] == ["0.png", "1.png", "2.png"]

    def test_no_image(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "x.png").touch()
        generator = make_generator(image_shape=SHAPE)
        with pytest.raises(FileNotFoundError, match="None of the 1 files"):
            commands.embed_collection(generator, tmp_path / "in", METHOD, tmp_path / "out")


class TestVerbs:
    """The verbs of experiments that work in chunks."""

    def parsed(self, *words):
        verb = command_line.parse_verb(FASHION_MNIST, VERBS, [*map(str, words)])
        verb.check()
        return verb

    @pytest.mark.parametrize(
        "name",
        [
            "report", "structure", "compare", "autoencode", "interpolate-codes", "manipulate",
            "semantics", "train-direction",
        ],
    )  # fmt: skip
    def test_workers_are_those_of_joblib(self, name):
        verb = self.parsed(name, "--workers", 2)
        with verb.surroundings(), pool() as place:
            assert place.workers == 2
        assert not {"workers", "cluster"} & {*verb.options}
        with self.parsed(name).surroundings(), pool() as place:
            assert not place.remote
        with pytest.raises(command_line.UsageError, match="--workers must be at least 1"):
            self.parsed(name, "--workers", 0)

    def test_embed_of_a_folder(self, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        for i, image in enumerate(make_pixels(3, (28, 28, 1))):
            Image.fromarray(np.uint8(255 * image[..., 0])).save(folder / f"{i}.png")
        flags = ["--method", "conv1", "--num-steps", 2, "--chunk", 2, "--out", tmp_path / "out"]
        verb = self.parsed("embed", folder, *flags)
        verb.run()
        found = de.open_embeddings(tmp_path / "out")
        assert found.files[:].tolist() == ["0.png", "1.png", "2.png"] and "commit" in found.about
        assert verb.after_interrupt.endswith("goes on from there.")
        with pytest.raises(command_line.UsageError, match="--chunk does nothing for files"):
            self.parsed("embed", folder / "0.png", "--chunk", 2)
