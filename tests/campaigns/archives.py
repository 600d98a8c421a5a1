"""Images in .npz files that are damaged, or made to do harm."""

import io
import struct
import warnings
import zipfile

import numpy as np
from conftest import make_pixels
from numpy.lib import format as npy

import ddim_embed as de

from .harness import DONE, PLACES, REFUSED, Bystanders, Fault, damaged, place, put, refused

_SIDE = 16  # is not padded


class Archives:
    """Files for `load_images`; what is loaded must be what NumPy finds in them."""

    name = "npz"

    def __init__(self, folder):
        self.path = folder / "images.npz"
        self.user = folder / "user"
        self.user.mkdir()
        pixels = make_pixels(6, (_SIDE, _SIDE, 3))
        self.images = np.rint(255 * pixels).astype(np.uint8)
        self.labels = np.arange(6)
        put(self.user / "images.npz", archive({"images": self.images, "labels": self.labels}))
        self.bystanders = Bystanders(self.user)

    def draw(self, rng):
        kind = rng.choice(("bytes", "place", "array", "array", "labels", "header", "archive"))
        split = rng.choice(("train", "test"))
        if kind == "place":
            words = rng.choice(PLACES)
            place(self.path, words)
        else:
            words, contents = getattr(self, f"_{kind}")(rng, split)
            put(self.path, contents)
        options = {"split": split, "limit": rng.choice((None, None, 2, 100))}

        def attempt():
            result = refused(lambda: de.load_images(self.path, source="npz", **options))
            self.bystanders.check()
            if result is None:
                return REFUSED
            self._compare(*result[0], **options)
            return DONE

        return f"{kind} {words} {options}", attempt

    def _compare(self, pixels, labels, split, limit):
        with np.load(self.path, allow_pickle=False) as file:
            keys = (f"{split}_images", f"{split}_labels"), (f"x_{split}", f"y_{split}")
            image_key, label_key = next(
                (key for key in keys if key[0] in file), ("images", "labels")
            )
            images = file[image_key][:limit]
            expected = file[label_key][:limit] if label_key in file else np.full(len(images), -1)
        if images.dtype.kind == "b":
            images = images.astype(np.float32)
        elif images.dtype.kind in "iu":
            images = images / 255
        images = images[..., None] if images.ndim == 3 else images
        if pixels.dtype != np.float32 or not np.allclose(pixels, images, rtol=0, atol=1e-6):
            raise Fault("other pixels than those of the file")
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise Fault("pixels that are not in [0, 1]")
        if not np.array_equal(np.ravel(labels), np.ravel(expected)):
            raise Fault("other labels than those of the file")

    def _bytes(self, rng, split):
        compression = rng.choice(_COMPRESSIONS)
        contents = archive({"images": self.images, "labels": self.labels}, compression)
        words, contents = damaged(contents, rng)
        return f"compressed {compression}, {words}", contents

    def _array(self, rng, split):
        words, images = rng.choice(IMAGES)
        images = images(self.images)
        key = rng.choice(("images", f"{split}_images", f"x_{split}", "x_val", "Images", "data"))
        arrays = {key: images}
        if rng.random() < 0.5:
            count = len(images) if images.ndim else 1
            arrays[key.replace("images", "labels").replace("x_", "y_")] = np.arange(count)
        return f"{words} as {key}", archive(arrays, rng.choice(_COMPRESSIONS))

    def _labels(self, rng, split):
        words, labels = rng.choice(_LABELS)
        return words, archive({"images": self.images, "labels": labels})

    def _header(self, rng, split):
        """A header that says what does not follow."""
        words, text = rng.choice(_HEADERS)
        body = self.images.tobytes()
        text = text if isinstance(text, bytes) else text.encode("latin-1")
        version = rng.choice((1, 1, 1, 2, 3, 0, 255))
        length = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
        member = b"\x93NUMPY" + bytes([version, 0]) + length + text + b"\n" + body
        contents = archive({"labels": self.labels}, extra={"images.npy": member})
        return f"{words}, version {version}", contents

    def _archive(self, rng, split):
        words = rng.choice(("twice", "encrypted", "text", "path", "bomb", "many", "comment", "npy"))
        array = _member(self.images)
        if words == "npy":
            return words, array
        if words == "text":
            return words, archive({}, extra={"images.npy": b"hello", "images": b"hello"})
        if words == "path":
            return words, archive({}, extra={"../images.npy": array, "/etc/images.npy": array})
        if words == "many":
            return words, archive(
                {"images": self.images} | {f"a{i}": self.labels for i in range(300)}
            )
        if words == "bomb":  # half a gigabyte of zeros in a small file
            header = _header_of((2**29 // _SIDE**2, _SIDE, _SIDE))
            return words, archive(
                {}, zipfile.ZIP_DEFLATED, extra={"images.npy": header + bytes(2**26)}
            )
        contents = io.BytesIO()
        with zipfile.ZipFile(contents, "w") as file:
            file.writestr("images.npy", array)
            if words == "twice":
                with warnings.catch_warnings(action="ignore"):
                    file.writestr("images.npy", _member(self.images[::-1]))
            file.comment = b"c" * 60_000 if words == "comment" else b""
        contents = bytearray(contents.getvalue())
        if words == "encrypted":
            for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
                contents[contents.find(mark) + offset] |= 1
        return words, bytes(contents)


_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def archive(arrays, compression=zipfile.ZIP_STORED, extra=None):
    contents = io.BytesIO()
    with zipfile.ZipFile(contents, "w", compression) as file:
        for name, array in arrays.items():
            file.writestr(f"{name}.npy", _member(array))
        for name, member in (extra or {}).items():
            file.writestr(name, member)
    return contents.getvalue()


def _member(array):
    contents = io.BytesIO()
    npy.write_array(contents, np.asanyarray(array), allow_pickle=True)
    return contents.getvalue()


def _header_of(shape):
    contents = io.BytesIO()
    npy.write_array_header_1_0(contents, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return contents.getvalue()


def _with(value):
    def change(images):
        images = (images / 255).astype(np.float32)
        images[1, 2, 3] = value
        return images

    return change


# Some of them are as they should be.
IMAGES = (
    ("as they are", lambda images: images),
    ("float32", lambda images: (images / 255).astype(np.float32)),
    ("float64", lambda images: images / 255),
    ("float16", lambda images: (images / 255).astype(np.float16)),
    ("big-endian", lambda images: (images / 255).astype(">f4")),
    ("int64", lambda images: images.astype(np.int64)),
    ("bool", lambda images: images > 128),
    ("grey", lambda images: images[..., 0]),
    ("Fortran order", lambda images: np.asfortranarray(images)),
    ("reversed", lambda images: images[::-1]),
    ("NaN", _with(np.nan)),
    ("infinity", _with(np.inf)),
    ("minus a half", _with(-0.5)),
    ("slightly above 1", _with(1.001)),
    ("0 to 255 as float", lambda images: images.astype(np.float32)),
    ("minus 1 to 1", lambda images: (images / 127.5 - 1).astype(np.float32)),
    ("0 and 1", lambda images: (images > 128).astype(np.uint8)),
    ("int16 to 30000", lambda images: images.astype(np.int16) * 100),
    ("negative", lambda images: images.astype(np.int16) - 100),
    ("uint16", lambda images: images.astype(np.uint16) * 257),
    ("uint64", lambda images: images.astype(np.uint64) << 56),
    ("complex", lambda images: images.astype(np.complex64)),
    ("objects", lambda images: images.astype(object)),
    ("one object", lambda images: np.array(None)),
    ("strings", lambda images: images.astype("S3")),
    ("text", lambda images: np.full(images.shape, "a")),
    ("times", lambda images: images.astype("M8[s]")),
    ("record", lambda images: np.zeros(images.shape, [("a", "u1"), ("b", "u1")])),
    ("a scalar", lambda images: np.array(3)),
    ("one image", lambda images: images[0]),
    ("5 dimensions", lambda images: images[None]),
    ("32 dimensions", lambda images: images.reshape((1,) * 28 + images.shape)),
    ("none", lambda images: images[:0]),
    ("no pixels", lambda images: images[:, :0]),
    ("2 channels", lambda images: images[..., :2]),
    ("4 channels", lambda images: np.concatenate([images, images[..., :1]], -1)),
    ("channels first", lambda images: np.moveaxis(images, -1, 1)),
    ("not square", lambda images: images[:, :8]),
    ("not a multiple of 8", lambda images: images[:, :15, :15]),
)
_LABELS = (
    ("as they are", np.arange(6)),
    ("column", np.arange(6)[:, None]),
    ("float", np.arange(6.0)),
    ("NaN", np.full(6, np.nan)),
    ("too few", np.arange(5)),
    ("too many", np.arange(7)),
    ("text", np.full(6, "cat")),
    ("objects", np.full(6, None)),
    ("bool", np.arange(6) > 2),
    ("uint64", np.full(6, 2**64 - 1, np.uint64)),
    ("a scalar", np.array(3)),
    ("cube", np.zeros((6, 2, 2), int)),
    ("attributes", np.zeros((6, 40), np.int8)),
    ("none", np.zeros(0, int)),
    ("negative", -np.arange(6)),
)
_HEADERS = tuple(
    (text, text)
    for text in (
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 16, 16, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807, 16, 16, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-6, 16, 16, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 16, 16, -3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (7, 16, 16, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 16, 16, 1)}",
        "{'descr': '|u1', 'fortran_order': True, 'shape': (6, 16, 16, 3)}",
        "{'descr': '|u1', 'fortran_order': 1, 'shape': (6, 16, 16, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': 6}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': [6, 16, 16, 3]}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (6.0, 16, 16, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 16, 16, 3)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (6, 16, 16, 3)}",
        "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (6, 16, 16, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 16, 16, 3)}",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (6, 16, 16, 3)}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (6, 16, 16, 3)}",
        "{'descr': '|u1', 'shape': (6, 16, 16, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 16, 16, 3), 'more': 1}",
        "__import__('os').system('true')",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "6," * 5000 + ")}",
        "(" * 5000,
        "{" * 500,
        "",
        "\xff\xfe",
        " " * 60_000,
    )
)
