"""Image files that are damaged, of every depth, or no images at all."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
from PIL import Image

import ddim_embed as de

from .harness import DONE, PLACES, REFUSED, Bystanders, Fault, damaged, place, put, refused, remove

_SIDE = 16
_SHAPE = (_SIDE, _SIDE, 3)
_FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "TGA", "ICO", "JPEG2000")
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")


class Pictures:
    """Files for `read_image_files`, and a folder of them for `load_images`.

    What is read must be what Pillow reads of the whole file; of pictures of one colour, that
    colour, whatever the depth.
    """

    name = "images"

    def __init__(self, folder):
        self.folder = folder / "pictures"
        self.folder.mkdir()
        self.user = folder / "user"
        self.user.mkdir()
        rows, columns = np.mgrid[:_SIDE, :_SIDE]
        self.picture = Image.fromarray(
            np.stack([16 * rows, 16 * columns, 8 * (rows + columns)], -1).astype(np.uint8)
        )
        self.picture.save(self.user / "good.png")
        self.good = self.user / "good.png"
        self.bystanders = Bystanders(self.user)

    def draw(self, rng):
        for old in os.scandir(os.fsencode(self.folder)):
            remove(os.fsdecode(old.path))
        kind = rng.choice(("bytes", "bytes", "place", "colour", "colour", "size", "name", "odd"))
        path, colour = self.folder / "picture.png", None
        if kind == "bytes":
            form = rng.choice(_FORMATS)
            words, contents = damaged(_saved(self.picture, form), rng)
            words = f"{form} {words}"
            put(path, contents)
        elif kind == "place":
            words = rng.choice(PLACES)
            place(path, words)
        elif kind == "colour":
            words, contents, colour = _one_colour(rng)
            put(path, contents)
        elif kind == "size":
            words, contents = _declared(rng)
            put(path, contents)
        elif kind == "name":
            name = rng.choice((
                b"a" * 246 + b".png", b"caf\xe9.png", b"\xff\xfe.png", b"new\nline.png", b"-.png",
                b"--out.png", b"\xe2\x80\xae.png", b" .png", b"%s.png", b"CON.png", b"a;b&c.png",
            ))  # fmt: skip
            words, path = repr(name), self.folder / os.fsdecode(name)
            put(path, self.good.read_bytes())
        else:
            words, contents = _odd(rng)
            put(path, contents())
        folder = rng.random() < 0.3

        def attempt():
            try:
                pixels = self._read(path, folder)
            finally:
                self.bystanders.check()
            if pixels is None:
                return REFUSED
            if pixels.shape != _SHAPE or pixels.dtype != np.float32:
                raise Fault(f"pixels of {pixels.shape} and {pixels.dtype}")
            if colour is not None and np.abs(pixels * 255 - colour).max() > 3:
                raise Fault(f"{pixels[0, 0] * 255} and not {colour}")
            if kind in ("bytes", "name", "size"):
                self._compare(path, pixels)
            return DONE

        return f"{'folder ' * folder}{kind} {words}", attempt

    def _read(self, path, folder):
        """The pixels, or None where the file is refused in words; of the others nothing changes."""
        if folder:
            put(self.folder / "aaa.png", self.good.read_bytes())
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                found = refused(lambda: de.load_images(self.folder, image_size=_SIDE, channels=3))
            if found is None:
                raise Fault("a good picture is refused, too")
            pixels = found[0][0]
            problems = [str(warning.message) for warning in said if "skipped" in str(warning)]
        else:
            found = refused(lambda: de.read_image_files([self.good, path], _SHAPE))
            if found is None:
                raise Fault("a good picture is refused, too")
            pixels, read, problems = found[0]
            if len(read) + len(problems) != 2 or len(pixels) != len(read):
                raise Fault(f"{len(read)} are read and {len(problems)} skipped, of 2")
            problems = [reason for _, reason in problems]
        if not np.allclose(pixels[0] * 255, np.asarray(self.picture), atol=1e-3):
            raise Fault("the good picture is another one")
        if len(pixels) == 2:
            return pixels[1]
        if folder and path.is_dir():
            return None  # a folder in a folder is no file of it
        if len(problems) != 1 or not problems[0] or len(problems[0]) > 1000:
            raise Fault(f"skipped without words: {problems}")
        return None

    def _compare(self, path, pixels):
        """With what Pillow makes of it; only of files of 8 bits, which need no rule."""
        with Image.open(path) as picture:
            picture.load()
            if picture.mode not in ("L", "RGB") or picture.size != (_SIDE, _SIDE):
                return
            expected = np.asarray(picture.convert("RGB"))
        plain = picture.getexif().get(0x0112, 1) == 1 and not picture.has_transparency_data
        if plain and np.abs(pixels * 255 - expected).max() > 1e-3:
            raise Fault("other pixels than Pillow's")


def _saved(picture, form, **options):
    contents = io.BytesIO()
    if form == "ICO":
        options["sizes"] = [(_SIDE, _SIDE)]
    picture.save(contents, form, **options)
    return contents.getvalue()


def _one_colour(rng):
    """A picture of one colour, and that colour in 0..255; None where no rule says which it is."""
    mode, form = rng.choice(_MODES), rng.choice(_FORMATS)
    share = rng.choice((0, 0.25, 0.5, 1))
    value, grey = round(255 * share), True
    if mode in ("I", "I;16"):
        highest = rng.choice((255, 4095, 65535)) if mode == "I" else rng.choice((4095, 65535))
        stored = round(highest * share)
        array = np.full((_SIDE, _SIDE), stored, np.int32 if mode == "I" else np.uint16)
        picture = Image.fromarray(array)
        # Of integers no file says how many bits are used; half of the range is given to 12 bits.
        colour = value if highest == 65535 and form in ("PNG", "TIFF") else None
        if mode == "I" and form == "TIFF" and stored <= 255:
            colour = None
    elif mode == "F":
        picture = Image.fromarray(np.full((_SIDE, _SIDE), share, np.float32))
        colour = value if form == "TIFF" else None  # the others store integers
    else:
        source = Image.new("RGB", (_SIDE, _SIDE), (value, value, value))
        if mode == "LAB":
            picture, grey = Image.new("LAB", (_SIDE, _SIDE), (value, 0, 0)), False
        else:
            picture = source.quantize() if mode == "P" else source.convert(mode)
        colour = value
        if mode == "1":
            # Dithered, unless it is black or white.
            colour = value if share in (0, 1) else None
        if mode in ("LA", "RGBA") and rng.random() < 0.5:
            picture.putalpha(0)
            colour = 255  # white shows through
        if mode in ("CMYK", "YCbCr", "LAB", "HSV", "P"):
            colour = None if form in ("JPEG", "JPEG2000") or not grey else colour
    try:
        contents = _saved(picture, form)
    except Exception:  # not every format has every mode
        picture = Image.new("RGB", (_SIDE, _SIDE), (value, value, value))
        contents, colour, mode = _saved(picture, form), value, "RGB"
    if form in ("GIF", "ICO") and mode not in ("L", "RGB"):
        colour = None
    if form not in ("PNG", "TIFF") and mode in ("LA", "RGBA"):
        colour = None  # others have no transparency, or lose the colours under it
    return f"{form} {mode} {share}", contents, colour


def _declared(rng):
    """A PNG whose header declares a size, before little or no data."""
    width, height = rng.choice((
        (0, 0), (0, 16), (16, 0), (1, 1), (2**31 - 1, 2**31 - 1), (80_000, 80_000), (2**31, 1),
        (1, 10**8), (10**5, 1), (9000, 9000), (16, 17), (1, 16),
    ))  # fmt: skip
    depth, kind = rng.choice(((8, 2), (8, 0), (16, 2), (1, 0), (8, 3), (8, 6), (3, 7), (16, 0)))
    rows = rng.choice((b"", bytes(100), bytes(_SIDE * (3 * _SIDE + 1))))

    def chunk(name, body):
        checksum = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    contents = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    return f"{width}x{height} {depth} {kind} {len(rows)}", contents + chunk(b"IEND", b"")


def _odd(rng):
    """Files of formats that are not only pixels."""
    exif = Image.Exif()
    exif[0x0112] = rng.choice((0, 3, 6, 9, 65535))
    picture = Image.new("RGB", (_SIDE, _SIDE), (200, 100, 50))
    frames = [picture.convert("P")] * 3
    return rng.choice((
        ("EXIF", lambda: _saved(picture, "JPEG", exif=exif)),
        ("broken EXIF", lambda: _saved(picture, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")),
        ("EPS", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(x) print\n"),
        ("PDF", lambda: b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n"),
        ("SVG", lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='16' height='16'/>"),
        ("animation", lambda: _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])),
        ("thumbnail", lambda: _saved(picture, "PNG", icc_profile=b"\xff" * 5000)),
        ("text chunk", lambda: _text_bomb()),
        ("MPO", lambda: _saved(picture, "MPO", save_all=True, append_images=[picture])),
        ("XPM", lambda: b'/* XPM */\nstatic char *a[] = {"16 16 1 1", "a c #000000"};'),
        ("HTML", lambda: b"<!DOCTYPE html><title>404</title>"),
    ))  # fmt: skip


def _text_bomb():
    """A PNG with a compressed text that expands to 60 MB."""
    body = b"Comment\0\0" + zlib.compress(bytes(60_000_000))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + body))
    contents = _saved(Image.new("RGB", (_SIDE, _SIDE)), "PNG")
    return contents[:33] + chunk + contents[33:]
