"""The verb `pack`, on data that are damaged or odd, into folders that are a user's."""

import contextlib

import numpy as np
from conftest import make_pixels
from PIL import Image

import ddim_embed as de
from experiments import runner
from experiments.fashion_mnist import FASHION_MNIST

from .archives import IMAGES, archive
from .harness import (
    DONE,
    PLACES,
    Bystanders,
    Fault,
    command,
    damaged,
    place,
    put,
    remove,
)


class Packs:
    """Archives and folders to pack; what is packed loads as what was there before.

    Pixels and labels of both splits are compared with those of the source, to half a grey, and the
    first ones with what was put there. Nothing that is a user's is replaced.
    """

    name = "pack"

    def __init__(self, folder):
        self.folder, self.user = folder, folder / "user"
        self.user.mkdir()
        self.packed = folder / "packed"
        put(self.user / "notes.npz", b"a user's")
        self.bystanders = Bystanders(self.user)

    def draw(self, rng):
        for name in ("packed", "images", "images.npz"):
            remove(self.folder / name)
        side, channels = rng.choice(((16, 3), (28, 1), (32, 1), (32, 3)))
        images = np.rint(255 * make_pixels(6, (side, side, channels))).astype(np.uint8)
        size = 32 if side == 28 else side
        padding = rng.choice((0, 0, 2))
        kind = rng.choice(("good", "array", "bytes", "folder", "place", "place"))
        data, words, contents = "images.npz", "", {"images": images, "labels": np.arange(6)}
        if kind == "array":
            words, change = rng.choice(IMAGES)
            contents["images"] = change(images)
        if kind == "folder":
            data, words = "images", self._folder(images, rng)
        else:
            contents = archive(contents)
            if kind == "bytes":
                words, contents = damaged(contents, rng)
            put(self.folder / data, contents)
        taken = kind == "place"
        if taken:
            words = self._place(rng)
        options = {
            "data": data, "name": "own", "image-size": size, "channels": channels,
            "padding": padding, "images": rng.choice((2, 400)),
            "train-images": rng.choice((None, 3)),
        }  # fmt: skip
        arguments = ["pack", "packed"]
        for name, value in options.items():
            arguments += [f"--{name}", str(value)] if value is not None else []

        def attempt():
            with contextlib.chdir(self.folder):
                ended = command(lambda words: runner.main(FASHION_MNIST, words), arguments)
            self.bystanders.check()
            if ended == DONE:
                if taken:
                    raise Fault("written over what is there")
                self._compare(self.folder / data, size, channels, padding, options)
                if kind == "good":
                    self._compare_images(images, padding)
            elif kind == "good":
                raise Fault("good images are refused")
            return ended

        return f"{kind} {words} {options}", attempt

    def _folder(self, images, rng):
        """A folder of pictures, one of which is damaged, with or without its splits."""
        parts = rng.choice((("",), ("train", "test")))
        for part in parts:
            folder = self.folder / "images" / part
            folder.mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                Image.fromarray(image.squeeze()).save(folder / f"{number}.png")
            words, contents = damaged((folder / "2.png").read_bytes(), rng)
            put(folder / "2.png", contents)
        return f"{' '.join(parts)} {words}"

    def _place(self, rng):
        """Something in the place of the folder, or of the file in it."""
        words = rng.choice((*PLACES, "link"))
        path = self.packed
        if rng.random() < 0.7 or words in ("folder", "zip"):
            path.mkdir()
            path = path / "own.npz"
        if words == "link":
            path.symlink_to(self.user / "notes.npz")
        else:
            place(path, words)
        return f"{words} in the place of {path.name}"

    def _compare(self, source, size, channels, padding, options):
        for split, limit in (("train", options["train-images"]), ("test", options["images"])):
            shape = {"split": split, "image_size": size, "channels": channels}
            expected, labels = de.load_images(source, limit=limit, **shape)
            found, found_labels = de.load_images(self.packed / "own.npz", source="npz", **shape)
            inside = slice(padding, size - padding)
            difference = (found - expected)[:, inside, inside]
            if len(found) != len(expected) or np.abs(difference).max() > 0.501 / 255:
                raise Fault(f"other {split} images than those of the source")
            if not np.array_equal(np.ravel(found_labels), np.ravel(labels)):
                raise Fault(f"other {split} labels than those of the source")

    def _compare_images(self, images, padding):
        with np.load(self.packed / "own.npz", allow_pickle=False) as file:
            packed = file["train_images"]
        border = (packed.shape[1] - images.shape[1]) // 2
        inside = slice(max(border, 0), packed.shape[1] - max(border, 0))
        cut = slice(max(-border, 0), images.shape[1] - max(-border, 0))
        if not np.array_equal(packed[:, inside, inside], images[: len(packed), cut, cut]):
            raise Fault("other images than were packed")
