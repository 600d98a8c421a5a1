"""Images on their way into the page and out of it."""

import dataclasses
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import ddim_embed as de
from ddim_embed import arguments
from ddim_embed.data import crop_padding
from ddim_embed.data.files import read_many
from ddim_embed.data.loading import SAMPLES
from ddim_embed.data.pictures import open_picture, read_picture
from ddim_embed.explorer.models import Models
from ddim_embed.figures import displayable, to_bytes, to_picture

# Samples to choose from where there is no end of them.
_SAMPLES = 100
# A pixel is drawn over if strokes cover this share of it.
_COVERED = 0.25
# Pixels of a drawing's side, about.
_CANVAS = 400
# Of the images of the bundled samples.
_PADDED_SIZE = 32
# The bundled paintings show faces.
_PORTRAITS = "celeba"


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """One image as the generator takes it, and the Python that reads it.

    Attributes:
        pixels: float32 `(1, height, width, channels)` in [0, 1].
        lines: Python that reads it into `{0}`, the name of a variable.
        name: of the files that are made of it, without a suffix.
    """

    pixels: np.ndarray
    lines: str
    name: str

    def code(self, variable: str = "pixels") -> str:
        """The Python that reads it into a variable, from `generator`."""
        return self.lines.replace("{0}", variable)


def count_samples(model: str) -> int:
    """How many samples there are to choose from."""
    return len(_portraits()) if model == _PORTRAITS else _SAMPLES


def sample(models: Models, model: str, number: int) -> Picture:
    """A sample: a test image that is bundled, a painting, or what the generator makes.

    Args:
        models: the `Models`.
        model: name of the data set.
        number: from 1 to `count_samples(model)`.

    Raises:
        ValueError: for another number.
    """
    index = arguments.integer("number", number, 1, count_samples(model)) - 1
    generator = models.generator(model)
    if model in SAMPLES:
        size = generator.image_shape[0]
        options = {"source": "sample", "limit": number}
        if size != _PADDED_SIZE:
            options["image_size"] = size
        pixels, _ = de.load_images(model, "test", **options)
        words = ", ".join(f"{key}={value!r}" for key, value in options.items())
        lines = f"{{0}} = de.load_images({model!r}, 'test', {words})[0][-1:]".replace("'", '"')
        return Picture(pixels[-1:], lines, f"{model}-{number}")
    if model == _PORTRAITS:
        path = _portraits()[index]
        found = read_file(generator, path)
        folder = 'resources.files("ddim_embed") / "samples" / "portraits"'
        lines = f'from importlib import resources\n\nfile = {folder} / "{path.name}"\n'
        return dataclasses.replace(found, lines=lines + _reading("str(file)"))
    with models.lock:
        pixels = generator.sample(number, seed=0)[-1:].clip(0, 1)
    lines = f"{{0}} = generator.sample({number}, seed=0)[-1:].clip(0, 1)"
    return Picture(pixels, lines, f"{model}-{number}")


def read_file(generator: de.Generator, path: str | Path) -> Picture:
    """A user's file, cropped and resized for the generator.

    Raises:
        ValueError: if it is not an image, broken, empty, or too large; in one sentence.
    """
    path = Path(path)
    pixels, _, problems = de.read_image_files([path], generator.image_shape, generator.padding)
    if problems:
        raise ValueError(f"{path.name} cannot be used: {problems[0][1]}.")
    return Picture(pixels, _reading(repr(path.name)), path.stem)


def _reading(file):
    return f"{{0}}, _, _ = de.read_image_files([{file}], generator.image_shape, generator.padding)"


def read_drawing(
    generator: de.Generator, file, name: str = "drawing", negative: bool = False
) -> Picture:
    """A drawing: what an editor of images sends, a path or a binary file.

    Args:
        generator: of the image.
        file: the drawing.
        name: what it is called.
        negative: whether black becomes white, and white black.

    Raises:
        ValueError: as `read_file`.
    """
    padding = generator.padding
    height, width, channels = generator.image_shape
    content = (height - 2 * padding, width - 2 * padding, channels)
    images, _, problems = read_many([file], lambda each: read_picture(each, content), content, 1)
    if problems:
        raise ValueError(f"The drawing cannot be used: {problems[0][1]}.")
    images = 255 - images if negative else images
    pixels = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    pixels = pixels.astype(np.float32) / np.float32(255)
    return Picture(pixels, _reading(repr(f"{name}.png")), name)


def read_strokes(generator: de.Generator, files: Sequence) -> np.ndarray:
    """Where an image was drawn over: bool `(1, height, width)`, True under the strokes.

    Args:
        generator: of the image.
        files: the layers that were drawn, transparent elsewhere: paths, or binary files.

    Raises:
        ValueError: if nothing, or all of the image, was drawn over; or as `read_file`.
    """
    padding = generator.padding
    height, width, _ = generator.image_shape
    size = (width - 2 * padding, height - 2 * padding)
    covered = np.zeros((size[1], size[0]), bool)
    for file in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with open_picture(file) as picture:
                    alpha = picture.convert("RGBA").getchannel("A")
        except Exception as error:  # Pillow's decoders raise many types
            raise ValueError(f"The strokes cannot be used: {error}.") from error
        share = np.asarray(ImageOps.fit(alpha, size, Image.Resampling.BOX)) / 255
        covered |= share > _COVERED
    if not covered.any() or covered.all():
        raise ValueError(
            "Draw over a part of the image. Received strokes over "
            f"{'all of it' if covered.any() else 'nothing'}."
        )
    return np.pad(covered, padding)[None]


def shown(images: np.ndarray, padding: int = 0) -> np.ndarray:
    """One image, or several side by side, as the browser shows them: uint8, without padding.

    Args:
        images: pixels or latents `(n, height, width, channels)`; latents are scaled.
        padding: rows and columns at each border to leave out.
    """
    images = np.concatenate([*crop_padding(displayable(images), padding)], axis=1)
    images = to_bytes(images)
    return images.squeeze(-1) if images.shape[-1] == 1 else images


def enlarged(pixels: np.ndarray, padding: int = 0) -> np.ndarray:
    """An image `(1, height, width, channels)` for an editor, about 400 pixels wide: uint8 RGB."""
    image = shown(pixels, padding)
    image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
    factor = max(1, _CANVAS // image.shape[1])
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def png(folder: Path, name: str, pixels: np.ndarray, padding: int = 0) -> str:
    """Writes an image `(1, height, width, channels)` as it is, for a download; returns the path."""
    image = to_bytes(crop_padding(pixels, padding)[0])
    return _write(folder, name, lambda path: to_picture(image).save(path))


def npz(folder: Path, name: str, **arrays: np.ndarray) -> str:
    """Writes arrays for a download; returns the path."""
    return _write(folder, name, lambda path: np.savez_compressed(path, **arrays))


def _write(folder: Path, name: str, write: Callable[[Path], None]) -> str:
    # Each in a folder of its own, whose name nobody can guess.
    path = Path(tempfile.mkdtemp(dir=folder)) / name
    write(path)
    return str(path)


def _portraits():
    folder = resources.files("ddim_embed") / "samples" / "portraits"
    return sorted(Path(str(path)) for path in folder.iterdir() if path.name.endswith(".png"))
