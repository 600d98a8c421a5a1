"""CelebA's official layout with damaged lists, pictures, and other things in their places."""

import shutil
import warnings

import numpy as np
from PIL import Image

import ddim_embed as de
from ddim_embed.data import CELEBA_ATTRIBUTES

from .harness import DONE, PLACES, REFUSED, Bystanders, Fault, damaged, place, put, refused, remove

_PARTITION, _ATTRIBUTES, _FOLDER = (
    "list_eval_partition.txt",
    "list_attr_celeba.txt",
    "img_align_celeba",
)
_SPLITS = {"train": "0", "validation": "1", "test": "2"}
_SIDE = 64  # of the crop, at half size


class Faces:
    """Folders for `load_images`, whose pictures are of one colour each.

    What is loaded must be the pictures that the partition names, in its order, with the attributes
    of their own lines: read here again, one line at a time, and strictly.
    """

    name = "celeba"

    def __init__(self, folder):
        self.root = folder / "celeba"
        self.user = folder / "user"
        self.user.mkdir()
        self.good = self.user / "celeba"
        (self.good / _FOLDER).mkdir(parents=True)
        self.colours = {f"{i:06d}.png": 20 + 25 * i for i in range(1, 9)}
        values = np.where(np.arange(8 * 40).reshape(8, 40) * 7 % 11 < 5, 1, -1)
        for name, colour in self.colours.items():
            Image.new("RGB", (89, 109), (colour,) * 3).save(self.good / _FOLDER / name)
        lines = [f"{name} {p}" for name, p in zip(self.colours, "00001220", strict=True)]
        put(self.good / _PARTITION, _text(lines))
        rows = [
            f"{name} {' '.join(map(str, row))}"
            for name, row in zip(self.colours, values, strict=True)
        ]
        put(self.good / _ATTRIBUTES, _text(["8", " ".join(CELEBA_ATTRIBUTES), *rows]))
        self.bystanders = Bystanders(self.user)

    def draw(self, rng):
        remove(self.root)
        shutil.copytree(self.good, self.root)
        name = rng.choice((_PARTITION, _ATTRIBUTES, _ATTRIBUTES))
        path, good, odd = self.root / name, False, None
        kind = rng.choice(("bytes", "lines", "lines", "lines", "place", "picture", "link"))
        if kind == "bytes":
            words, contents = damaged(path.read_bytes(), rng)
            put(path, contents)
        elif kind == "lines":
            words, contents, good = _changed(path.read_text().splitlines(), rng)
            put(path, contents)
        else:
            odd = rng.choice([*self.colours])
            inside = rng.choice((self.root / _FOLDER / odd, path, self.root / _FOLDER))
            if kind == "picture":
                inside = self.root / _FOLDER / odd
                words, contents = damaged(inside.read_bytes(), rng)
                put(inside, contents)
            elif kind == "place":
                words = f"{rng.choice(PLACES)} in the place of {inside.name}"
                place(inside, words.split()[0])
            else:
                words = f"{inside.name} is a link"
                remove(inside)
                inside.symlink_to(self.good / inside.relative_to(self.root))
        split, limit = rng.choice([*_SPLITS]), rng.choice((None, None, 2))
        options = {"split": split, "limit": limit, "image_size": rng.choice((None, _SIDE, 16))}

        def attempt():
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                result = refused(lambda: de.load_images(self.root, source="celeba", **options))
            self.bystanders.check()
            if result is None:
                if good:
                    raise Fault("harmless lists are refused")
                return REFUSED
            skipped = sum("skipped" in str(warning.message) for warning in said)
            self._compare(*result[0], skipped, split, limit, odd)
            return DONE

        return f"{name * (odd is None)} {kind} {words} {options}", attempt

    def _compare(self, pixels, labels, skipped, split, limit, odd):
        names = [row[0] for row in _rows(self.root / _PARTITION) if row[1] == _SPLITS[split]]
        named = [name for name in names if name in self.colours]
        if not skipped and len(named) < len(names) and (limit is None or limit > len(named)):
            raise Fault("names without a picture are left out without a word")
        named = [name for name in named if not (skipped and name == odd)][:limit]
        if len(pixels) != len(named) or pixels.dtype != np.float32:
            raise Fault(f"{len(pixels)} images and not {len(named)}")
        for image, name in zip(pixels, named, strict=True):
            if name != odd and np.abs(image * 255 - self.colours[name]).max() > 1e-3:
                raise Fault(f"another picture than {name}")
        _, header, *rows = self.root.joinpath(_ATTRIBUTES).read_text().splitlines()
        columns = [header.split().index(name) for name in CELEBA_ATTRIBUTES]
        if labels.shape != (len(pixels), 40) or labels.dtype != np.int8:
            raise Fault(f"labels of {labels.shape} and {labels.dtype}")
        for row, name in zip(labels, named, strict=True):
            own = [line.split()[1:] for line in rows if line.split()[:1] == [name]]
            if not any(
                len(values) == len(header.split())
                and [int(float(values[i]) > 0) for i in columns] == row.tolist()
                for values in own
            ):
                raise Fault(f"other attributes of {name} than its line's")


def _rows(path):
    return [line.split() for line in path.read_text().splitlines() if line.strip()]


def _text(lines, end="\n"):
    return "".join(line + end for line in lines).encode("utf-8", "surrogateescape")


def _changed(lines, rng):
    """A list with one line changed, or all; words for it, its bytes, and whether it is harmless."""
    lines, end = [*lines], "\n"
    at = rng.randrange(len(lines))
    words = rng.choice([*_CHANGES, *_HARMLESS])
    if words in _CHANGES:
        lines[at : at + 1] = _CHANGES[words](lines[at].split(" "), rng)
    elif words == "columns in another order" and len(lines) > 8 and len(lines[1]) > 40:
        order = rng.sample(range(40), 40)
        header, *rows = (line.split() for line in lines[1:])
        lines[1] = " ".join(header[i] for i in order)
        lines[2:] = [" ".join([row[0], *(row[1 + i] for i in order)]) for row in rows]
    elif words == "lines in another order":
        top = 2 if len(lines) > 9 else 0
        lines[top:] = rng.sample(lines[top:], len(lines) - top)
    elif words == "CRLF":
        end = "\r\n"
    elif words == "more spaces":
        lines = [line.replace(" ", "  ") + " " for line in lines]
    elif words == "empty lines at the end":
        lines += ["", ""]
    return f"{words}, line {at}", _text(lines, end), words in _HARMLESS


# Of a line's words, the lines in its place.
_CHANGES = {
    "dropped": lambda words, rng: [],
    "empty": lambda words, rng: [""],
    "twice": lambda words, rng: [" ".join(words)] * 2,
    "only a name": lambda words, rng: words[:1],
    "no name": lambda words, rng: [" ".join(words[1:])],
    "a value less": lambda words, rng: [" ".join(words[:-1])],
    "a value more": lambda words, rng: [" ".join([*words, "1"])],
    "a comment": lambda words, rng: [" ".join([words[0], "#", *words[1:]])],
    "a comment at the end": lambda words, rng: [" ".join([*words, "# checked"])],
    "a comment in the middle": lambda words, rng: [" ".join([*words[:2], "#", *words[2:]])],
    "tabs": lambda words, rng: ["\t".join(words)],
    "commas": lambda words, rng: [",".join(words)],
    "quotes": lambda words, rng: [" ".join(f'"{word}"' for word in words)],
    "upper case": lambda words, rng: [" ".join(words).upper()],
    "another name": lambda words, rng: [" ".join([rng.choice(_NAMES), *words[1:]])],
    "another value": lambda words, rng: [" ".join(_replaced(words, rng))],
    "two in one": lambda words, rng: [" ".join(words + words)],
    "long": lambda words, rng: [" ".join(words * 20_000)],
    "NUL": lambda words, rng: ["\0".join(words)],
    "not UTF-8": lambda words, rng: [" ".join([*words[:-1], "\udcff"])],
    "another line end": lambda words, rng: [rng.choice("\x0b\x0c\x1c\x85\u2028").join(words)],
}
_HARMLESS = (
    "nothing",
    "columns in another order",
    "lines in another order",
    "CRLF",
    "more spaces",
    "empty lines at the end",
)
_NAMES = (
    "../../user/celeba/img_align_celeba/000001.png", "/dev/zero", "..", "", ".", "000001.PNG",
    "000009.png", "a" * 5000 + ".png", "000001.png/", "img_align_celeba/000001.png",
)  # fmt: skip
_NUMBERS = (
    "0", "1", "2", "3", "-1", "-0", "nan", "inf", "1.0", "0.5", "1e3", "300", "-300", "128", "x",
    "9" * 30, "+1", "1_0", "\u0661", "0x1", "True", "None", "--1", "1;2", "01",
)  # fmt: skip


def _replaced(words, rng):
    at = rng.randrange(len(words))
    return [*words[:at], rng.choice(_NUMBERS), *words[at + 1 :]]
