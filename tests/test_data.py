"""Every source of images, with good and with broken input."""

import ast
import io
import os
import struct
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddim_embed import data, limits
from ddim_embed.data import arrays, catalogue, loading, pictures

RNG = np.random.default_rng(0)


def noise_images(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(path, size=(16, 16), mode="RGB", color=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color if color is not None else 128).save(path, **options)
    return path


def png_chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def bomb(path, width=60_000, height=60_000):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
        + png_chunk(b"IEND", b"")
    )
    return path


def batches(stream, count):
    return [batch.numpy() for batch in stream.take(count)]


@pytest.fixture
def no_prepared(tmp_path, monkeypatch):
    folder = tmp_path / "tfds"
    folder.mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Tiny data sets in the on-disk format of TensorFlow Datasets, under their catalogue names."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")

    def store(name, version, image, label, splits):
        features = {"image": image, **label}
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version=version,
            features=tfds.features.FeaturesDict(features),
            split_datasets=splits,
            data_dir=str(folder),
        )

    def labelled(count, make):
        return [(i, {"image": make(i), "label": i % 5}) for i in range(count)]

    image, label = tfds.features.Image, {"label": tfds.features.ClassLabel(num_classes=5)}
    grey = labelled(7, lambda i: np.full((28, 28, 1), 10 * i + 5, np.uint8))
    store("mnist", "3.0.1", image(shape=(28, 28, 1)), label, {"train": grey, "test": grey[:3]})
    mixed = labelled(23, lambda i: np.full((40 + i, 50, 3), 10 * i + 5, np.uint8))
    store("oxford_flowers102", "2.1.1", image(), label, {"train": mixed, "validation": mixed[:4]})
    attributes = {name: tfds.features.Scalar(np.bool_) for name in data.CELEBA_ATTRIBUTES}
    faces = [
        (
            i,
            {
                "image": noise_images(218, 178, 3),
                "attributes": {n: n == "Young" for n in attributes},
            },
        )
        for i in range(3)
    ]
    store(
        "celeba", "2.1.0", image(shape=(218, 178, 3)), {"attributes": attributes}, {"train": faces}
    )
    (folder / "mnist" / "9.0.0.incompleteABC").mkdir()
    return folder


@pytest.fixture
def use_prepared(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))


@pytest.fixture
def celeba(tmp_path):
    """CelebA's official layout at half size, seven images; the last one is not there."""
    root = tmp_path / "celeba"
    folder = root / "img_align_celeba"
    folder.mkdir(parents=True)
    names = [f"{i:06d}.png" for i in range(1, 8)]
    images = noise_images(6, 109, 89, 3)
    for name, image in zip(names[:6], images, strict=True):
        Image.fromarray(image).save(folder / name)
    (root / "list_eval_partition.txt").write_text(
        "".join(f"{name} {p}\n" for name, p in zip(names, [0, 0, 0, 1, 2, 2, 0], strict=True))
    )
    rows = [" ".join(["1" if (i + j) % 3 == 0 else "-1" for j in range(40)]) for i in range(7)]
    (root / "list_attr_celeba.txt").write_text(
        "\n".join(["7", " ".join(data.CELEBA_ATTRIBUTES)])
        + "".join(f"\n{name} {row}" for name, row in zip(names, rows, strict=True))
        + "\n"
    )
    return root, images


# The bundled sample ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
def test_sample_is_padded_and_labelled(name):
    pixels, labels = data.load_images(name, "test", source="sample")
    assert pixels.shape == (1000, 32, 32, 1) and pixels.dtype == np.float32
    assert labels.shape == (1000,) and set(labels) == set(range(10))
    assert pixels.min() == 0 and pixels.max() == 1
    inner = data.crop_padding(pixels)
    assert inner.shape == (1000, 28, 28, 1)
    assert inner.sum() == pytest.approx(pixels.sum())  # the border is black
    np.testing.assert_array_equal(data.pad_images(inner), pixels)


@pytest.mark.parametrize(
    "name, first, last", [("fashion_mnist", "T-shirt/top", "Ankle boot"), ("mnist", "0", "9")]
)
def test_classes_of_the_sample_as_attributes(name, first, last):
    names, labels = data.load_attributes(name, "test", source="sample", limit=50)
    assert (names[0], names[-1], len(names)) == (first, last, 10)
    classes = data.load_images(name, "test", source="sample", limit=50)[1]
    np.testing.assert_array_equal(labels, np.eye(10, dtype=bool)[classes])


def test_auto_falls_back_to_the_sample_and_says_so(no_prepared):
    with pytest.warns(UserWarning, match="1,000") as record:
        pixels, labels = data.load_images("fashion_mnist", "test", limit=3)
    assert len(pixels) == len(labels) == 3
    assert record[0].filename == __file__


def test_sample_has_the_test_split_only():
    with pytest.raises(ValueError, match="`split` must be 'test'"):
        data.load_images("fashion_mnist", "train", source="sample")
    with pytest.raises(ValueError, match=r"must be one of \('fashion_mnist', 'mnist'\)"):
        data.load_images("cifar10", "test", source="sample")


def test_portraits_are_those_of_the_golden_distances():
    """What `project` can be tried on, as pictures."""
    folder = Path(data.__file__).parent.parent / "samples" / "portraits"
    with np.load(Path(__file__).parent / "golden" / "lpips_portraits.npz") as golden:
        files = [folder / f"{name}.png" for name in golden["names"]]
        images = golden["images"]
    assert sorted(folder.iterdir()) == sorted(files)
    pixels, _, problems = data.read_image_files(files, (64, 64, 3))
    assert not problems
    np.testing.assert_allclose(pixels, images / 255, atol=1e-6)


# Arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name_or_path": "imagenet"}, "`name_or_path` must be one of .*'mnist'.* 'imagenet'"),
        ({"name_or_path": ""}, "`name_or_path` must be one of"),
        ({"name_or_path": "imagenet", "source": "tfds"}, "`name_or_path` must be one of"),
        ({"name_or_path": "nowhere.npz", "source": "npz"}, "must be an .npz file"),
        ({"name_or_path": "nowhere", "source": "folder"}, "must be a folder"),
        ({"name_or_path": "nowhere", "source": "celeba"}, "must be a folder"),
        ({"source": "web"}, "`source` must be one of .* Received: 'web'"),
        ({"split": "dev"}, "`split` must be one of .* Received: 'dev'"),
        ({"limit": 0}, "`limit` must be an integer of at least 1. Received: 0"),
        ({"limit": 2.5}, "`limit` must be"),
        ({"limit": True}, "`limit` must be"),
        ({"image_size": -8}, "`image_size` must be"),
        ({"image_size": 30}, "`image_size` must be a multiple of 8. Received: 30"),
        ({"channels": 4}, "`channels` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"name_or_path": "fashion_mnist", "split": "test", "source": "sample"} | arguments
    if arguments["name_or_path"] != "fashion_mnist" and arguments["source"] == "sample":
        arguments["source"] = "auto"
    with pytest.raises(ValueError, match=message):
        data.load_images(**arguments)


@pytest.mark.parametrize(
    "path", sorted(Path(data.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_heavy_libraries_are_imported_only_when_used(path):
    statements = ast.parse(path.read_text()).body
    top_level = [s for s in statements if isinstance(s, (ast.Import, ast.ImportFrom))]
    imported = {
        name.partition(".")[0]
        for statement in top_level
        for name in ([statement.module] if isinstance(statement, ast.ImportFrom) else [])
        + [alias.name for alias in statement.names]
    }
    assert not imported & {"tensorflow", "tensorflow_datasets", "PIL"}


# Arrays ------------------------------------------------------------------------------------------


@given(height=st.integers(1, 9), width=st.integers(1, 9), channels=st.sampled_from([1, 3]))
def test_crop_undoes_pad(height, width, channels):
    images = np.ones((2, height, width, channels), np.uint8)
    padded = data.pad_images(images)
    assert padded.shape == (2, height + 4, width + 4, channels)
    np.testing.assert_array_equal(data.crop_padding(padded, data.PADDING), images)


def test_crop_padding_refuses_to_leave_nothing():
    images = np.zeros((1, 4, 4, 1))
    assert data.crop_padding(images, 0).shape == images.shape
    with pytest.raises(ValueError, match="`padding` must be"):
        data.crop_padding(images, 2)
    with pytest.raises(ValueError, match="must have the shape"):
        data.pad_images(images[0])


def npz(tmp_path, **content):
    path = tmp_path / "images.npz"
    np.savez(path, **content)
    return path


@pytest.mark.parametrize(
    "keys", ["train_images test_images train_labels", "x_train x_test y_train"]
)
def test_npz_with_splits(tmp_path, keys):
    train_key, test_key, labels_key = keys.split()
    train, test = noise_images(5, 16, 16, 3), noise_images(2, 16, 16, 3)
    labels = np.arange(5, dtype=np.uint8)[:, None]  # Keras stores CIFAR-10's labels as a column
    path = npz(tmp_path, **{train_key: train, test_key: test, labels_key: labels})
    pixels, read_labels = data.load_images(path, "train", limit=4)
    np.testing.assert_array_equal(pixels, train[:4].astype(np.float32) / 255)
    np.testing.assert_array_equal(read_labels, [0, 1, 2, 3])
    pixels, read_labels = data.load_images(str(path), "test")
    assert len(pixels) == 2 and set(read_labels) == {-1}
    with pytest.raises(ValueError, match=r"must be one of \('train', 'test'\)"):
        data.load_images(path, "validation")


def test_npz_of_grey_floats(tmp_path):
    images = RNG.random((3, 28, 28))
    path = npz(tmp_path, images=images, labels=np.array([4, 5, 6]))
    pixels, labels = data.load_images(path, "test")
    assert pixels.shape == (3, 32, 32, 1) and pixels.dtype == np.float32
    np.testing.assert_array_equal(data.crop_padding(pixels)[..., 0], images.astype(np.float32))
    np.testing.assert_array_equal(labels, [4, 5, 6])
    resized, _ = data.load_images(path, "test", image_size=64, channels=3)
    assert resized.shape == (3, 64, 64, 3) and resized.min() >= 0 and resized.max() <= 1


def test_colour_to_grey_keeps_white(tmp_path):
    path = npz(tmp_path, images=np.full((2, 16, 16, 3), 255, np.uint8))
    pixels, _ = data.load_images(path, channels=1)
    assert pixels.shape == (2, 16, 16, 1) and (pixels == 1).all()


def test_resizing_crops_the_centre_and_keeps_the_mean(tmp_path):
    images = np.zeros((1, 16, 64, 3), np.uint8)
    images[:, :, 18:46] = 200  # the central 24:40, and the reach of the Lanczos kernel
    path = npz(tmp_path, images=images)
    pixels, _ = data.load_images(path, image_size=8)
    np.testing.assert_allclose(pixels, 200 / 255, rtol=1e-6)  # float32
    with pytest.raises(ValueError, match="`image_size` is needed"):
        data.load_images(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"pictures": np.zeros((1, 8, 8, 3))}, "must hold `images`"),
        ({"images": np.full((1, 8, 8, 3), 1.5)}, r"must be finite and lie in \[0, 1\]"),
        ({"images": np.full((1, 8, 8, 3), np.nan)}, "must be finite"),
        ({"images": np.full((1, 8, 8, 3), 256)}, r"must lie in \[0, 255\]"),
        ({"images": np.zeros((1, 3, 8, 8))}, "1 or 3 channels last"),
        ({"images": np.zeros((0, 8, 8, 3))}, "at least one pixel"),
        ({"images": np.zeros((1, 8, 8, 3), complex)}, "integers, floats or bool"),
        ({"images": np.zeros((2, 8, 8)), "labels": np.zeros(3, int)}, "one label for each"),
        ({"images": np.zeros((2, 8, 8)), "labels": np.zeros(2)}, "must be integers"),
        ({"images": np.array([{}])}, "not an .npz file of plain arrays"),
    ],
)
def test_bad_npz(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        data.load_images(npz(tmp_path, **content))


def test_attributes_of_an_npz_file_are_called_by_their_numbers(tmp_path):
    images, columns = noise_images(3, 8, 8), np.array([[0, 1], [1, 1], [0, 0]])
    for labels in (columns, columns.astype(bool)):
        path = npz(tmp_path, images=images, labels=labels)
        names, found = data.load_attributes(path)
        assert names == ("0", "1") and found.dtype == bool
        np.testing.assert_array_equal(found, columns)
    names, found = data.load_attributes(npz(tmp_path, images=images, labels=np.array([2, 0, 2])))
    assert names == ("0", "1", "2")
    np.testing.assert_array_equal(found, [[0, 0, 1], [1, 0, 0], [0, 0, 1]])


def test_images_without_attributes(tmp_path):
    images = noise_images(2, 8, 8)
    with pytest.raises(ValueError, match=r"images.npz, of 2 attributes, must be 0 and 1.*: 2$"):
        data.load_attributes(npz(tmp_path, images=images, labels=np.array([[0, 1], [2, 0]])))
    with pytest.raises(ValueError, match=r"images.npz have no labels.*CelebA"):
        data.load_attributes(npz(tmp_path, images=images))
    save(tmp_path / "folder" / "a.png")
    with pytest.raises(ValueError, match="folder have no labels"):
        data.load_attributes(tmp_path / "folder")
    with pytest.raises(ValueError, match=r"Did you mean 'celeba'\?"):
        data.load_attributes("celebs")


def test_an_npz_file_that_is_damaged_or_encrypted(tmp_path):
    path = tmp_path / "images.npz"
    np.savez_compressed(path, images=noise_images(4, 8, 8, 3))
    whole = path.read_bytes()
    middle = len(whole) // 2
    encrypted = bytearray(whole)
    for flags in (6, whole.index(b"PK\x01\x02") + 8):  # of the file and of the directory
        encrypted[flags] |= 1
    damaged = whole[:middle] + bytes(64) + whole[middle + 64 :]
    for content in (damaged, bytes(encrypted)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"not an \.npz file of plain arrays"):
            data.load_images(path)


def test_files_that_are_no_npz(tmp_path):
    truncated = npz(tmp_path, images=noise_images(4, 8, 8, 3))
    truncated.write_bytes(truncated.read_bytes()[:300])
    text = tmp_path / "text.npz"
    text.write_text("hello")
    empty = tmp_path / "empty.npz"
    empty.touch()
    np.save(tmp_path / "bare.npy", np.zeros((1, 8, 8)))
    for path in (truncated, text, empty, tmp_path / "bare.npy"):
        with pytest.raises(ValueError, match=r"not an \.npz file of plain arrays"):
            data.load_images(path)


def archive(path, content, compression=zipfile.ZIP_STORED, name="images.npy"):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(name, content)
    return path


def npy(images, shape=None):
    """An .npy file, whose header can tell of another shape."""
    buffer = io.BytesIO()
    header = {"descr": images.dtype.str, "fortran_order": False, "shape": shape or images.shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + images.tobytes()


class TestNpzOfAnyone:
    """What a file declares is checked before it is read."""

    def refused(self, path, match=r"is not an \.npz file of plain arrays", **options):
        with pytest.raises(ValueError, match=match) as error:
            data.load_images(path, "test", **options)
        assert str(path) in str(error.value)

    def test_members_that_are_no_arrays(self, tmp_path):
        images = npy(noise_images(2, 8, 8))
        for content in (b"", b"hello", images[:8], images[:60], b"\x93NUMPY\x03\x00" + images[8:]):
            self.refused(archive(tmp_path / "a.npz", content))
        nested = images.replace(b"(2, 8, 8)", b"(" * 9)
        self.refused(archive(tmp_path / "a.npz", nested))

    def test_damage_behind_the_limit_is_found(self, tmp_path):
        path = archive(tmp_path / "a.npz", npy(noise_images(9, 8, 8)))
        assert len(data.load_images(path, limit=1)[0]) == 1
        contents = bytearray(path.read_bytes())
        contents[-300] ^= 1  # in the last images
        path.write_bytes(contents)
        self.refused(path, limit=1)

    def test_labels_beyond_64_bits(self, tmp_path):
        path = tmp_path / "a.npz"
        np.savez(path, images=noise_images(2, 8, 8), labels=np.uint64([1, 2**63]))
        self.refused(path, match="must be below 2\\*\\*63. Received: 9223372036854775808")

    def test_every_compression_whole_and_damaged(self, tmp_path):
        images = noise_images(4, 8, 8)
        for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            path = archive(tmp_path / "a.npz", npy(images), compression)
            pixels, _ = data.load_images(path)
            np.testing.assert_array_equal(pixels[..., 0], images.astype(np.float32) / 255)
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 255
            path.write_bytes(content)
            self.refused(path)

    @pytest.mark.parametrize("shape", [(3 * 10**10,), (10**9, 8, 8), (-2, -8, 8), (3, 8, 8)])
    def test_shapes_of_more_than_there_is(self, tmp_path, shape):
        path = archive(tmp_path / "a.npz", npy(noise_images(2, 8, 8), shape))
        self.refused(path, "has fewer bytes than its shape|not an .npz file")

    def test_what_expands(self, tmp_path, monkeypatch):
        """48 MB of zeros in 48 KB: only what is wanted is read, and not more than the limit."""
        path = archive(tmp_path / "a.npz", npy(np.zeros((3000, 128, 128), np.uint8)), 8)
        assert path.stat().st_size < 60_000
        monkeypatch.setenv("DDIM_EMBED_MAX_GIB", "0.01")
        pixels, labels = data.load_images(path, limit=2)
        assert pixels.shape == (2, 128, 128, 1) and len(labels) == 2
        words = r"`images` of .* takes 0\.0 GiB.*limit of 0\.01 GiB.*set DDIM_EMBED_MAX_GIB"
        self.refused(path, words)
        monkeypatch.setenv("DDIM_EMBED_MAX_GIB", "1")
        assert len(data.load_images(path)[0]) == 3000
        monkeypatch.setenv("DDIM_EMBED_MAX_GIB", "many")
        with pytest.raises(ValueError, match="DDIM_EMBED_MAX_GIB must be a number"):
            data.load_images(path)
        # What does not expand is as long as its file: no limit.
        monkeypatch.setenv("DDIM_EMBED_MAX_GIB", "0")
        images = noise_images(3, 8, 8)
        assert len(data.load_images(npz(tmp_path, images=images))[0]) == 3

    def test_the_default_limit(self, tmp_path, monkeypatch):
        monkeypatch.delenv("DDIM_EMBED_MAX_GIB", raising=False)
        limits.check_expansion("It", 4 * 2**30)
        limits.check_expansion("It", 5 * 2**30, stored=5 * 2**30)
        with pytest.raises(ValueError, match=r"^It takes 5\.0 GiB in memory.*limit of 4 GiB"):
            limits.check_expansion("It", 5 * 2**30, stored=10**6)

    def test_labels_of_another_number_than_the_images(self, tmp_path):
        path = npz(tmp_path, images=noise_images(4, 8, 8), labels=np.arange(3))
        self.refused(path, "one label for each of its 4 images. Received: 3", limit=2)

    def test_arrays_in_the_order_of_fortran(self, tmp_path):
        images = noise_images(4, 8, 8)
        path = npz(tmp_path, images=np.asfortranarray(images), labels=np.arange(4))
        pixels, labels = data.load_images(path, limit=3)
        np.testing.assert_array_equal(pixels[..., 0], images[:3].astype(np.float32) / 255)
        np.testing.assert_array_equal(labels, range(3))

    def test_bytes_changed_at_random(self, tmp_path):
        """Read, or refused in words; nothing else."""
        rng, path = np.random.default_rng(0), tmp_path / "a.npz"
        np.savez_compressed(path, images=noise_images(3, 8, 8), labels=np.arange(3))
        whole, refused = np.frombuffer(path.read_bytes(), np.uint8), 0
        for _ in range(60):
            changed = whole.copy()
            changed[rng.integers(len(whole), size=2)] = rng.integers(0, 256, 2)
            path.write_bytes(changed[: rng.integers(100, 2 * len(whole))].tobytes())
            try:
                assert data.load_images(path)[0].shape[1:] == (8, 8, 1)
            except ValueError as error:
                assert str(path) in str(error)
                refused += 1
        assert refused > 20


# Folders -----------------------------------------------------------------------------------------


def test_folder_of_many_formats(tmp_path):
    red = (255, 0, 0)
    save(tmp_path / "a.png", color=red)
    save(tmp_path / "b.jpg", color=red, quality=95)
    save(tmp_path / "c.gif", mode="P", color=0).unlink()
    Image.new("RGB", (20, 16), red).quantize(4).save(tmp_path / "c.gif")
    save(tmp_path / "d.bmp", color=red)
    save(tmp_path / "sub" / "e.webp", color=red, lossless=True)
    save(tmp_path / "f.tiff", mode="CMYK", color=(0, 255, 255, 0))
    save(tmp_path / "g", color=red, format="PNG")  # no extension
    (tmp_path / ".DS_Store").write_text("hidden")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, labels = data.load_images(tmp_path, "test", image_size=16)
    assert pixels.shape == (7, 16, 16, 3)
    assert set(labels) == {-1}
    np.testing.assert_allclose(
        pixels, np.broadcast_to([1.0, 0, 0], pixels.shape), atol=0.02
    )  # JPEG


def test_transparency_is_laid_on_white(tmp_path):
    save(tmp_path / "a.png", mode="RGBA", color=(0, 0, 0, 0))
    save(tmp_path / "b.png", mode="LA", color=(0, 0))
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "c.png", transparency=0)
    pixels, _ = data.load_images(tmp_path)
    assert pixels.shape == (3, 16, 16, 3) and (pixels == 1).all()


def test_grey_folder_keeps_one_channel(tmp_path):
    save(tmp_path / "a.png", mode="L", color=51)
    sixteen = np.full((16, 16), 51 * 257, np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "b.png")
    Image.fromarray(np.full((16, 16), 0.2, np.float32)).save(tmp_path / "c.tiff")
    pixels, _ = data.load_images(tmp_path)
    assert pixels.shape == (3, 16, 16, 1)
    np.testing.assert_allclose(pixels, 0.2, rtol=1e-6)  # float32
    assert data.load_images(tmp_path, channels=3)[0].shape == (3, 16, 16, 3)
    save(tmp_path / "d.png")
    assert data.load_images(tmp_path)[0].shape == (4, 16, 16, 3)


def test_exif_rotation_is_applied(tmp_path):
    image = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 16, 1).repeat(8, 0))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "a.png", exif=exif)
    pixels, _ = data.load_images(tmp_path)
    assert pixels[0, 0, 0, 0] == 1 and pixels[0, -1, 0, 0] == 0


def test_small_greys_are_padded(tmp_path):
    save(tmp_path / "a.png", (28, 28), "L", 255)
    pixels, _ = data.load_images(tmp_path)
    assert pixels.shape == (1, 32, 32, 1)
    assert pixels.sum() == 28 * 28
    same, _, _ = data.read_image_files([tmp_path / "a.png"], (28, 28, 1))
    assert (same == 1).all()


def picture(path, values):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(values).save(path)
    return path


RAMP = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
DEPTHS = {
    "bool.png": RAMP > 127,
    "8.png": RAMP,
    "16.png": RAMP.astype(np.uint16) * 257,
    "16.tif": RAMP.astype(np.uint16) * 257,
    "32_of_8.tif": RAMP.astype(np.int32),
    "32_of_16.tif": RAMP.astype(np.int32) * 257,
    "float.tif": RAMP.astype(np.float32) / 255,
    "black.tif": RAMP.astype(np.uint16) * 0,
    "dark.png": RAMP // 128 + 1,
}


@pytest.mark.parametrize("name", DEPTHS)
def test_depths_are_scaled_by_their_range(tmp_path, name):
    values = DEPTHS[name]
    path = picture(tmp_path / name, values)
    pixels, _, problems = data.read_image_files([path], (8, 8, 1))
    assert not problems
    highest = {"32_of_8.tif": 255, "32_of_16.tif": 65535, "16.tif": 65535, "16.png": 65535}
    highest |= {"8.png": 255, "dark.png": 255}
    np.testing.assert_allclose(pixels[0, ..., 0], values / highest.get(name, 1), atol=0.5 / 255)


UNSCALED = {
    "mask.png": ((RAMP > 127).astype(np.uint8), "values of 0 and 1 only, a mask"),
    "mask.tif": ((RAMP > 127).astype(np.int32), "values of 0 and 1 only, a mask"),
    "mask16.png": ((RAMP > 127).astype(np.uint16), "nearly black: 16 bits"),
    "8_in_16.png": (RAMP.astype(np.uint16), "nearly black: 16 bits"),
    "12_in_16.tif": (RAMP.astype(np.uint16) * 16, "nearly black: 16 bits"),
    "large.tif": (RAMP.astype(np.int32) * 2**20, "integers from 0 to 267386880, not from 0 to 655"),
    "negative.tif": (RAMP.astype(np.int32) - 1, "integers from -1 to 254, not from 0 to 255"),
    "float.tif": (RAMP.astype(np.float32), "values from 0 to 255, not in"),
    "nan.tif": (np.where(RAMP > 9, np.nan, 0).astype(np.float32), "values from nan to nan"),
}


@pytest.mark.parametrize("name", UNSCALED)
def test_no_picture_loads_nearly_black_for_want_of_scaling(tmp_path, name):
    values, words = UNSCALED[name]
    path = picture(tmp_path / name, values)
    pixels, _, ((_, reason),) = data.read_image_files([path], (8, 8, 3))
    assert len(pixels) == 0 and words in reason


def test_colours_of_16_bits_are_scaled_or_refused(tmp_path):
    """Pillow cannot write such a PNG, and reads its upper 8 bits."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    for factor in (257, 1):
        rows = np.repeat(RAMP[..., None].astype(">u2") * factor, 3, -1).astype(">u2")
        header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
        raw = b"".join(b"\0" + row.tobytes() for row in rows)
        path = tmp_path / f"{factor}.png"
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
        )  # fmt: skip
        pixels, _, problems = data.read_image_files([path], (8, 8, 3))
        if factor == 257:
            np.testing.assert_allclose(pixels[0, ..., 0], RAMP / 255, atol=1e-6)
        else:
            assert "nearly black: 16 bits" in problems[0][1]


def test_arrays_of_bool_are_black_and_white_and_those_of_0_and_1_are_refused(tmp_path):
    mask = np.broadcast_to(RAMP > 127, (3, 8, 8))
    np.savez(tmp_path / "bool.npz", images=mask)
    pixels, _ = data.load_images(tmp_path / "bool.npz")
    np.testing.assert_array_equal(pixels[..., 0], mask)
    for dtype in (np.uint8, np.int64):
        np.savez(tmp_path / "mask.npz", images=mask.astype(dtype))
        with pytest.raises(ValueError, match="are all 0 and 1, of 255: nearly black"):
            data.load_images(tmp_path / "mask.npz")


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"name_or_path": None}, "`name_or_path` must be a name or a path. Received: None"),
            ({"name_or_path": 7}, "`name_or_path` must be a name or a path"),
            ({"name_or_path": b"mnist"}, "`name_or_path` must be a name or a path"),
            ({"name_or_path": ""}, "`name_or_path` must be one of"),
            ({"name_or_path": "a" * 5000}, "`name_or_path` must be one of"),
            (
                {"name_or_path": "mnits", "source": "auto"},
                "Did you mean .mnist.",
            ),
            ({"name_or_path": "Fashion-MNIST"}, r"Did you mean 'fashion_mnist'\?"),
            ({"split": "tset"}, r"`split` must be .* Received: 'tset'. Did you mean 'test'\?"),
            ({"split": None}, "`split` must be one of"),
            ({"split": ["test"]}, "`split` must be one of"),
            ({"source": "smaple"}, r"`source` must be .*Did you mean 'sample'\?"),
            ({"channels": 2}, "`channels` must be one of"),
            ({"channels": True}, "`channels` must be an integer"),
            ({"limit": 0}, "`limit` must be an integer of at least 1"),
            ({"limit": 1.5}, "`limit` must be an integer of at least 1"),
            ({"limit": 2**63}, "`limit` must be an integer from 1 to"),
            ({"image_size": 12}, "`image_size` must be a multiple of 8"),
            ({"image_size": float("nan")}, "`image_size` must be an integer"),
            ({"image_size": 8_000_000}, "not enough memory for 1000 images of 8000000x8000000"),
        ],
    )
    def test_load(self, options, words):
        options = {"name_or_path": "mnist", "split": "test", "source": "sample"} | options
        with pytest.raises(ValueError, match=words):
            data.load_images(**options)

    def test_a_limit_may_exceed_what_there_is(self):
        assert len(data.load_images("mnist", "test", source="sample", limit=10**6)[0]) == 1000

    @pytest.mark.parametrize("name", ["batch_size", "seed", "start_step", "mirror"])
    @pytest.mark.parametrize("value", [None, 1.5, -1, float("nan"), 2**63, "1"])
    def test_stream(self, name, value):
        options = {"batch_size": 2, "source": "sample"} | {name: value}
        with pytest.raises(ValueError, match=f"`{name}` must be .* Received: "):
            data.stream_images("mnist", "test", **options)

    def test_files(self, tmp_path):
        with pytest.raises(ValueError, match=r"`paths` must be a sequence of paths. Received"):
            data.read_image_files("a.png", (8, 8, 1))
        with pytest.raises(
            ValueError, match=r"`paths` must be a sequence of paths. Received: None"
        ):
            data.read_image_files(None, (8, 8, 1))
        for shape in (None, 8, (8, 8), (8, 8, 1.5), "881", (8, 0, 1)):
            with pytest.raises(ValueError, match="`image_shape` must be 3 integers of at least 1"):
                data.read_image_files([], shape)
        path = picture(tmp_path / "a.png", RAMP)
        with pytest.raises(ValueError, match="not enough memory for 1 images of 80000000x80000000"):
            data.read_image_files([path], (80_000_000, 80_000_000, 1))


def test_bad_files_are_named_and_nothing_else_is_lost(tmp_path):
    folder = tmp_path / "folder"
    outside = save(tmp_path / "private.png")
    for i in range(4):
        save(folder / f"good{i}.png", color=(i, i, i))
    (folder / "empty.png").touch()
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    truncated = folder / "good00_truncated.png"
    Image.fromarray(noise_images(16, 16, 3)).save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:400])
    bomb(folder / "bomb.png")
    bomb(folder / "large.png", 10_000, 10_000)  # Pillow by itself would only warn
    (folder / "notes.txt").write_text("not an image")
    (folder / "link.png").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path)
    (folder / "inner_link.png").symlink_to(folder / "good0.png")
    os.mkfifo(folder / "pipe.png")
    with pytest.warns(UserWarning) as record:
        pixels, labels = data.load_images(folder)
    assert len(record) == 1
    message = str(record[0].message)
    for name in (
        "empty.png: empty file",
        "broken.jpg: ",
        "good00_truncated.png: ",
        "bomb.png: ",
        "large.png: ",
        "notes.txt: not an image",
        "link.png: a link out",
        "linked: a link to a folder",
        "pipe.png: not a regular file",
    ):
        assert name in message
    assert "9 file(s)" in message
    np.testing.assert_allclose(pixels[:, 0, 0, 0] * 255, [0, 1, 2, 3, 0])
    assert len(labels) == 5
    with pytest.warns(UserWarning):
        limited, _ = data.load_images(folder, limit=3)
    np.testing.assert_array_equal(limited, pixels[:3])


def test_folder_without_a_good_image(tmp_path):
    with pytest.raises(ValueError, match="contains no readable image"):
        data.load_images(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"contains no readable image[^$]*empty.png"):
        data.load_images(tmp_path)


def test_folder_of_mixed_sizes_needs_image_size(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", (24, 24))
    with pytest.raises(ValueError, match="`image_size` is needed"):
        data.load_images(tmp_path)
    assert data.load_images(tmp_path, image_size=16)[0].shape == (2, 16, 16, 3)


def test_folder_with_splits(tmp_path):
    save(tmp_path / "root" / "train" / "a.png", color=(10, 10, 10))
    save(tmp_path / "root" / "val" / "b.png", color=(20, 20, 20))
    root = tmp_path / "root"
    assert data.load_images(root, "validation")[0][0, 0, 0, 0] * 255 == pytest.approx(20)
    assert len(data.load_images(root, "train")[0]) == 1
    with pytest.raises(ValueError, match=r"must be one of \('train', 'validation'\)"):
        data.load_images(root, "test")
    (root / "test").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="link out of"):
        data.load_images(root, "test")


def test_large_jpegs_are_reduced_well(tmp_path):
    gradient = np.linspace(0, 255, 512).astype(np.uint8)
    image = np.broadcast_to(gradient[:, None, None], (512, 512, 3))
    Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / "a.jpg", quality=95)
    pixels, _ = data.load_images(tmp_path, image_size=16)
    expected = image.reshape(16, 32, 16, 32, 3).mean((1, 3)) / 255
    # JPEG, and at the two borders Lanczos against a box
    np.testing.assert_allclose(pixels[0, 1:-1], expected[1:-1], atol=0.01)


def test_read_image_files(tmp_path):
    good = save(tmp_path / "good.png", (40, 20), color=(255, 255, 255))
    missing = tmp_path / "missing.png"
    pixels, kept, problems = data.read_image_files(
        [missing, good, bomb(tmp_path / "bomb.png"), tmp_path], (32, 24, 1)
    )
    assert pixels.shape == (1, 32, 24, 1) and (pixels == 1).all()
    assert kept == [good]
    assert [path for path, _ in problems] == [missing, tmp_path / "bomb.png", tmp_path]
    assert problems[0][1] == "no such file"
    none, kept, problems = data.read_image_files([], (8, 8, 3))
    assert none.shape == (0, 8, 8, 3) and not kept and not problems
    with pytest.raises(ValueError, match="`image_shape` must be"):
        data.read_image_files([good], (32, 32, 2))
    framed, _, _ = data.read_image_files([good], (32, 24, 1), padding=2)
    assert framed.shape == (1, 32, 24, 1) and (framed[:, 2:-2, 2:-2] == 1).all()
    assert framed.sum() == 28 * 20
    for padding in (-1, 12):
        with pytest.raises(ValueError, match=r"`padding` must be an integer from 0 to 11"):
            data.read_image_files([good], (32, 24, 1), padding)


def test_postscript_is_not_run(tmp_path):
    """Pillow would hand it to Ghostscript: it is a program."""
    path = tmp_path / "drawing.png"
    Image.new("RGB", (40, 20)).save(path, "EPS")
    _, kept, problems = data.read_image_files([path], (8, 8, 3))
    assert not kept and "PostScript" in problems[0][1]


# CelebA ------------------------------------------------------------------------------------------


def test_celeba_layout(celeba):
    root, images = celeba
    with pytest.warns(UserWarning, match=r"000007.png: no such file"):
        pixels, attributes = data.load_images(root, "train")
    np.testing.assert_array_equal(pixels, images[:3, 29:93, 12:76].astype(np.float32) / 255)
    assert attributes.shape == (3, 40) and attributes.dtype == np.int8
    np.testing.assert_array_equal(attributes[1, :6], [0, 0, 1, 0, 0, 1])
    assert len(data.load_images(root, "validation")[0]) == 1
    pixels, attributes = data.load_images(root, "test", image_size=32, limit=1)
    assert pixels.shape == (1, 32, 32, 3) and attributes.shape == (1, 40)


def test_celeba_skips_broken_images(celeba):
    root, images = celeba
    (root / "img_align_celeba" / "000001.png").write_bytes(b"")
    save(root / "img_align_celeba" / "000003.png", (64, 64))
    with pytest.warns(UserWarning, match="000003.png: 64x64 is not in CelebA's proportions"):
        pixels, attributes = data.load_images(root, "train")
    np.testing.assert_array_equal(pixels, images[1:2, 29:93, 12:76].astype(np.float32) / 255)
    np.testing.assert_array_equal(attributes[0, :6], [0, 0, 1, 0, 0, 1])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("list_eval_partition.txt", None, "list_eval_partition.txt cannot be read"),
        ("list_eval_partition.txt", "000001.png\n", "a file name and a partition"),
        ("list_eval_partition.txt", "000001.png 2\n", "no image into the split 'train'"),
        ("list_eval_partition.txt", "../../x.png 0\n", "contains no readable image"),
        ("list_attr_celeba.txt", None, "list_attr_celeba.txt cannot be read"),
        ("list_eval_partition.txt", "pipe", "cannot be read: not a regular file"),
        ("list_attr_celeba.txt", "7\nYoung\n000001.png 1\n", "must name the attributes"),
        ("list_attr_celeba.txt", lambda row: "", "40 numbers on each line: 000002.png has 0"),
        ("list_attr_celeba.txt", lambda row: f"{row} 1", "000002.png has 41"),
        ("list_attr_celeba.txt", lambda row: f"#{row}", "40 numbers on each line: .*#"),
    ],
)
def test_celeba_with_a_broken_list(celeba, file, content, message):
    root, _ = celeba
    if content in (None, "pipe"):
        (root / file).unlink()
        if content:
            os.mkfifo(root / file)
    elif callable(content):  # changes the numbers of the second image
        lines = (root / file).read_text().splitlines()
        name, row = lines[3].split(" ", 1)
        lines[3] = f"{name} {content(row)}"
        (root / file).write_text("\n".join(lines))
    else:
        (root / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        data.load_images(root, "train")


def test_celeba_attributes_are_those_of_the_images_that_load(celeba):
    root, _ = celeba
    (root / "img_align_celeba" / "000002.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="000002.png") as record:
        names, labels = data.load_attributes(root, "train")
    assert record[0].filename == __file__
    with pytest.warns(UserWarning):
        pixels, expected = data.load_images(root, "train")
    assert names == data.CELEBA_ATTRIBUTES and len(labels) == len(pixels) == 2
    assert labels.dtype == bool
    np.testing.assert_array_equal(labels, expected)
    assert labels[:, names.index("Bags_Under_Eyes")].tolist() == [True, False]
    limited = data.load_attributes(root, "test", 32, "celeba", 1)[1]
    np.testing.assert_array_equal(limited, data.load_images(root, "test", limit=1)[1])


@given(scale=st.integers(1, 12))
def test_celeba_crop_scales(scale):
    left, top, right, bottom = pictures.celeba_crop_box(178 * scale, 218 * scale)
    assert (left, top, right, bottom) == (25 * scale, 57 * scale, 153 * scale, 185 * scale)


# TensorFlow Datasets -----------------------------------------------------------------------------


def test_prepared_mnist(use_prepared):
    pixels, labels = data.load_images("mnist", "train")
    assert pixels.shape == (7, 32, 32, 1) and labels.dtype == np.int64
    values = np.rint(pixels[:, 16, 16, 0] * 255).astype(int)
    assert sorted(values) == [5, 15, 25, 35, 45, 55, 65]
    np.testing.assert_array_equal(labels, (values // 10) % 5)
    limited, _ = data.load_images("mnist", "train", limit=2)
    np.testing.assert_array_equal(limited, pixels[:2])
    with pytest.raises(ValueError, match=r"`split` must be one of .*'train'.* 'validation'"):
        data.load_images("mnist", "validation")


def test_prepared_flowers_need_a_size(use_prepared):
    with pytest.raises(ValueError, match="`image_size` is needed"):
        data.load_images("oxford_flowers102", "train")
    pixels, labels = data.load_images("oxford_flowers102", "validation", image_size=32)
    assert pixels.shape == (4, 32, 32, 3) and labels.shape == (4,)


def test_prepared_celeba(use_prepared):
    pixels, attributes = data.load_images("celeba", "train")
    assert pixels.shape == (3, 128, 128, 3)
    np.testing.assert_array_equal(attributes, np.eye(40, dtype=np.int8)[[39] * 3])


def test_attributes_of_prepared_data(use_prepared):
    names, labels = data.load_attributes("celeba", "train")
    assert names == data.CELEBA_ATTRIBUTES
    np.testing.assert_array_equal(labels, np.eye(40, dtype=bool)[[39] * 3])
    names, labels = data.load_attributes("mnist", "train", limit=6)
    assert names == tuple("0123456789")
    classes = data.load_images("mnist", "train", limit=6)[1]
    np.testing.assert_array_equal(labels, np.eye(10, dtype=bool)[classes])
    with pytest.raises(ValueError, match="`image_size` is needed"):
        data.load_attributes("oxford_flowers102", "validation")
    names, labels = data.load_attributes("oxford_flowers102", "validation", image_size=32)
    classes = data.load_images("oxford_flowers102", "validation", image_size=32)[1]
    assert names == tuple(map(str, range(classes.max() + 1)))
    assert labels.shape == (4, len(names)) and labels.argmax(axis=1).tolist() == classes.tolist()


def test_without_a_network_it_fails_at_once_with_advice(no_prepared, monkeypatch):
    monkeypatch.setattr(catalogue, "probe", lambda url: "unplugged")
    for name in ("cifar10", "mnist"):
        with pytest.raises(ConnectionError, match=rf"'{name}'.*unplugged.*TFDS_DATA_DIR"):
            data.load_images(name, "train")


def test_probe_gives_up_in_time(monkeypatch):
    monkeypatch.setattr(catalogue, "_PROBE_SECONDS", 0.2)

    def never_in_time(*_, **__):
        time.sleep(5)
        raise OSError("too late")

    monkeypatch.setattr(catalogue.urllib.request, "urlopen", never_in_time)
    start = time.monotonic()
    assert "no answer" in catalogue.probe("http://localhost/")
    assert time.monotonic() - start < 2


def test_unreachable_server_is_reported_within_ten_seconds(no_prepared, monkeypatch):
    unroutable = dict.fromkeys(data.CATALOGUE, "http://192.0.2.1/")  # reserved by RFC 5737
    monkeypatch.setattr(catalogue, "CATALOGUE", unroutable)
    start = time.monotonic()
    with pytest.raises(ConnectionError):
        data.load_images("oxford_flowers102", "train", source="tfds")
    assert time.monotonic() - start < 10


# Streams -----------------------------------------------------------------------------------------


@pytest.fixture
def numbered(tmp_path):
    """A folder of eleven images, each of one grey that tells its number."""
    for i in range(11):
        save(tmp_path / "numbered" / f"{i:02d}.png", (8, 8), "L", i)
    return tmp_path / "numbered"


def numbers(batch):
    return np.rint(batch[:, 0, 0, 0] * 255).astype(int).tolist()


@pytest.fixture(params=["cached", "streamed"])
def threshold(request, monkeypatch):
    if request.param == "streamed":
        monkeypatch.setattr(loading, "CACHE_BYTES", 0)
    return request.param


def test_stream_covers_each_epoch_in_a_new_order(numbered, threshold):
    stream = data.stream_images(numbered, "train", 3, seed=1)
    assert stream.element_spec.shape == (3, 8, 8, 1)
    epochs = np.array([numbers(batch) for batch in batches(stream, 12)]).reshape(4, 9)
    assert all(len(set(epoch)) == 9 for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    expected = np.random.default_rng([1, 0]).permutation(11)[:9]
    np.testing.assert_array_equal(epochs[0], expected)


@pytest.mark.parametrize("start_step", [1, 3, 8])
def test_stream_resumes_exactly(numbered, threshold, start_step):
    whole = batches(data.stream_images(numbered, "train", 3, seed=2), 12)
    rest = batches(
        data.stream_images(numbered, "train", 3, seed=2, start_step=start_step), 12 - start_step
    )
    np.testing.assert_array_equal(rest, whole[start_step:])


def test_stream_of_prepared_data_resumes_exactly(use_prepared, threshold):
    def stream(**options):
        return data.stream_images(
            "oxford_flowers102", "train", 4, image_size=16, limit=22, **({"seed": 3} | options)
        )

    whole = batches(stream(), 13)
    first_two = [numbers(np.concatenate(whole[i : i + 5])) for i in (0, 5)]
    assert all(len(set(epoch)) == 20 for epoch in first_two) and first_two[0] != first_two[1]
    for start_step in (2, 5, 11):
        tf.random.set_seed(start_step)  # the program's own seed must not matter
        rest = batches(stream(start_step=start_step), 13 - start_step)
        np.testing.assert_array_equal(rest, whole[start_step:])
    assert numbers(np.concatenate(batches(stream(seed=4), 5))) != first_two[0]


@pytest.mark.parametrize("workers", [2, 3])
def test_shares_of_workers_are_the_stream_of_one(numbered, use_prepared, threshold, workers):
    for source in (
        {"name_or_path": numbered, "batch_size": 5},
        {"name_or_path": "oxford_flowers102", "batch_size": 4, "image_size": 16, "limit": 22},
    ):
        options = source | {"split": "train", "seed": 3, "mirror": True, "start_step": 2}
        whole = batches(data.stream_images(**options), 6)
        shares = [
            batches(data.stream_images(**options, shard=(worker, workers)), 6)
            for worker in range(workers)
        ]
        for batch, *parts in zip(whole, *shares, strict=True):
            assert all(1 <= len(part) < len(batch) for part in parts)
            np.testing.assert_array_equal(np.concatenate(parts), batch)


def test_a_worker_reads_no_file_of_another(numbered, monkeypatch):
    monkeypatch.setattr(loading, "CACHE_BYTES", 0)
    first, second = np.random.default_rng([1, 0]).permutation(11)[:10].reshape(5, 2).T.tolist()
    for number in set(second) - set(first):
        path = numbered / f"{number:02d}.png"
        Image.fromarray(noise_images(8, 8)).save(path)
        path.write_bytes(path.read_bytes()[:60])  # as an image until it is decoded
    stream = data.stream_images(numbered, "train", 2, seed=1, shard=(0, 2)).take(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numbers(batches(stream, 1)[0]) == first[:1]


def test_streams_hold_the_pixels_of_load_images(celeba, threshold):
    root, _ = celeba
    pixels, _ = data.load_images(root, "test")
    (batch,) = batches(data.stream_images(root, "test", 2), 1)
    np.testing.assert_array_equal(np.sort(batch, axis=0), np.sort(pixels, axis=0))


def test_stream_replaces_a_broken_file(numbered, monkeypatch):
    monkeypatch.setattr(loading, "CACHE_BYTES", 0)
    broken = numbered / "04.png"
    Image.fromarray(noise_images(8, 8)).save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.warns(UserWarning, match="04.png") as record:
        seen = [numbers(batch) for batch in batches(data.stream_images(numbered, "train", 11), 3)]
    assert len(record) == 1
    assert all(set(epoch) == set(range(11)) - {4} for epoch in seen)


def test_half_of_a_stream_is_mirrored_and_resumes_exactly(numbered, threshold):
    for path in numbered.iterdir():  # darker on the left
        number = int(path.stem)
        row = np.full((8, 8), number, np.uint8)
        row[:, 4:] += 100
        Image.fromarray(row).save(path)

    def stream(mirror, start_step=0, count=60):
        options = {"seed": 3, "start_step": start_step, "mirror": mirror}
        return np.array(batches(data.stream_images(numbered, "train", 3, **options), count))

    plain, mirrored = stream(False), stream(True)
    turned = mirrored[..., 0, 0, 0] > mirrored[..., 0, 7, 0]
    expected = np.where(turned[..., None, None, None], plain[:, :, :, ::-1], plain)
    np.testing.assert_array_equal(mirrored, expected)
    # 180 fair coins: further from a half by chance once in ten thousand.
    assert abs(turned.mean() - 0.5) < 0.15
    assert (turned.any(axis=1) & ~turned.all(axis=1)).any()
    np.testing.assert_array_equal(stream(True, 7, 53), mirrored[7:])


def test_stream_of_float_arrays(tmp_path):
    images = RNG.random((4, 8, 8, 1)).astype(np.float32)
    path = npz(tmp_path, images=images)
    (batch,) = batches(data.stream_images(path, "train", 4, seed=5), 1)
    np.testing.assert_array_equal(batch, images[np.random.default_rng([5, 0]).permutation(4)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 12}, "`batch_size` must be at most the number of images, 11"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
        ({"batch_size": 2, "seed": -1}, "`seed` must be"),
        ({"batch_size": 2, "start_step": -1}, "`start_step` must be"),
        ({"batch_size": 5, "limit": 4}, "the number of images, 4"),
        ({"batch_size": 2, "shard": (2, 2)}, "of which the first is number 0"),
        ({"batch_size": 2, "shard": (0, 3)}, "at least the number of workers, 3"),
        ({"batch_size": 2, "shard": 1}, "`shard` must be 2 integers"),
    ],
)
def test_bad_stream_arguments(numbered, threshold, options, message):
    with pytest.raises(ValueError, match=message):
        data.stream_images(numbered, "train", **options)


@given(
    num_images=st.integers(1, 40),
    batch_size=st.integers(1, 40),
    step=st.integers(0, 10**6),
    seed=st.integers(0, 5),
)
def test_epoch_order(num_images, batch_size, step, seed):
    batch_size = min(batch_size, num_images)
    order = arrays.EpochOrder(num_images, batch_size, seed)
    batch = order.batch(step)
    assert len(set(batch)) == batch_size
    for place in (0, batch_size - 1):
        candidates = list(order.candidates(step * batch_size + place))
        assert candidates[0] == batch[place]
        assert sorted(candidates) == list(range(num_images))
