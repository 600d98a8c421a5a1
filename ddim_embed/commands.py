"""Image files embedded, interpolated, projected and edited; images sampled: what a user keeps."""

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

import ddim_embed as de
from ddim_embed import metrics
from ddim_embed.console import UsageError
from ddim_embed.data import crop_padding
from ddim_embed.data.files import walk
from ddim_embed.estimates import require_decodes
from ddim_embed.figures import to_bytes, to_picture
from ddim_embed.methods.embedding import concatenate
from ddim_embed.store.outputs import Outputs, require_folder
from ddim_embed.store.weights import WeightsError

COLUMNS = ("file", "reconstruction", "mse", "psnr", "ssim", "latents_std", "single_mse", "error")
# The ways of `de.interpolate`.
_KINDS = ("spherical", "linear", "pixels")
# Images in a row of a figure, at most.
_SHOWN = 64
# Milliseconds that an animation shows a frame and its first and last one, and the least size of a
# frame in pixels.
_FRAME, _PAUSE, _SIZE = 90, 700, 160


def configure(name):
    """Returns a method by its name in `de.METHODS`, with a progress bar."""
    method = de.METHODS[name]()
    if isinstance(method, de.Hybrid):
        return dataclasses.replace(method, finish=configure(method.finish))
    return dataclasses.replace(method, progress=True)


def read_images(generator, files, channels=None):
    """Reads a user's images in the shape that the generator takes, or with other `channels`.

    Each is cropped to its centre, resized, and padded as the data are. Raises a FileNotFoundError
    if one of them cannot be read; the message says which and why.
    """
    height, width, own = generator.image_shape
    shape = (height, width, channels or own)
    pixels, _, problems = de.read_image_files(files, shape, generator.padding)
    if problems:
        words = "; ".join(f"{path}: {reason}" for path, reason in problems)
        raise FileNotFoundError(f"Not all files can be read as images. {words}")
    return pixels


def _read_some(generator, files):
    """`de.read_image_files` in the generator's shape; reports on stderr what cannot be read."""
    found = de.read_image_files(files, generator.image_shape, generator.padding)
    for path, reason in found[2]:
        print(f"Skipped {path}: {reason}", file=sys.stderr)
    return found


def _files_of(folder, out):
    """The files of a folder and its subfolders but for those of `out`, in their order."""
    found = []
    folder, out = Path(folder), Path(out).resolve()
    for path, problem in walk(folder, folder.resolve()):
        if path.resolve().is_relative_to(out):
            continue
        if problem is None:
            found.append(path)
        else:
            print(f"Skipped {path}: {problem}", file=sys.stderr)
    return found


def read_mask(generator, file, image):
    """Reads a mask, cropped and resized like its image: bool `(1, height, width)`.

    It is True where the picture is white or transparent, False in the padding. Raises a UsageError
    if it does not have the proportions of the image, or is white or black all over.
    """
    mask = read_images(generator, [file], channels=1) > 0.5
    sizes = [_size(path) for path in (file, image)]
    if sizes[0][0] * sizes[1][1] != sizes[0][1] * sizes[1][0]:
        words = ["x".join(map(str, size)) for size in sizes]
        raise UsageError(f"--mask must be of the image's size, {words[1]}. Received: {words[0]}")
    share = crop_padding(mask, generator.padding).mean()
    if share in (0, 1):
        raise UsageError(
            "--mask must be white where the image was edited, and black elsewhere. "
            f"Received one that is {'white' if share else 'black'} all over"
        )
    return mask[..., 0]


def _size(path):
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).size


def embed_files(generator, files, method, folder, seed=0, mask=None, notes=None, encoder=None):
    """Embeds image files; writes `latents.npz`, a PNG per image, `errors.csv` and `embed.json`.

    With an `encoder`, a function from pixels to semantic vectors, the generator is that of an
    autoencoder; the latents are those under the vectors, `semantic` in the same file.

    The latents of a coupled method come with their `partner`: its reconstruction and error are of
    the pair, and `single_mse` is the error of the latents alone. A file that cannot be read, or
    whose reconstruction cannot be written, is reported on stderr and has a row with the reason in
    `errors.csv`; the others are embedded. What is embedded is kept if the work ends early.

    `mask` is None, or bool `(n, height, width)`, True where the images are free: errors are those
    of the other pixels. The dict `notes` goes into `embed.json`; `folder` is a path, or `Outputs`.
    Returns the pixels that were read and their `Embedding`. Raises a FileNotFoundError if none of
    the files can be read, or weights are missing; a FileExistsError, before it begins, if a file of
    the user's is in the way.
    """
    outputs = folder if isinstance(folder, Outputs) else Outputs(folder, inputs=files)
    padding = generator.padding
    names = outputs.names_for(files, ".png")
    outputs.claim("latents.npz", "errors.csv", "embed.json", *names)
    require_decodes(len(files), generator.image_shape, generator.num_steps)
    pixels, read, problems = _read_some(generator, files)
    if not read:
        raise FileNotFoundError(f"None of the {len(files)} files can be read as an image.")
    skipped = {path for path, _ in problems}
    names = [name for path, name in zip(files, names, strict=True) if path not in skipped]
    parts, errors = [], [""] * len(read)
    semantic = None if encoder is None else encoder(pixels)
    try:
        for embedding in _embed_in_batches(generator, pixels, method, seed, mask, semantic):
            start = sum(len(part.mse) for part in parts)
            parts.append(embedding)
            for i, image in enumerate(crop_padding(embedding.reconstruction, padding), start):
                try:
                    save_png(outputs, names[i], image)
                except OSError as error:
                    errors[i] = f"{names[i]} cannot be written: {error.strerror or error}"
                    print(f"Skipped {read[i]}: {errors[i]}", file=sys.stderr)
    finally:
        if parts:
            embedding = concatenate(parts)
            done = slice(len(embedding.mse))
            arrays = {"latents": embedding.latents, "files": np.array([*map(str, read[done])])}
            if embedding.partner is not None:
                arrays["partner"] = embedding.partner
            if semantic is not None:
                arrays["semantic"] = semantic[done]
            _save_npz(outputs, "latents.npz", **arrays)
            columns = map(str, read[done]), names[done], errors[done]
            rows = _rows(columns, pixels[done], embedding, padding, mask)
            rows += [{"file": str(path), "error": reason} for path, reason in problems]
            _save_csv(outputs, "errors.csv", rows)
            _save_json(outputs, "embed.json", notes or {})
    print(
        f"{outputs}: {len(read)} of {len(files)} images, "
        f"mean squared error {embedding.mse.mean():.5f}"
    )
    return pixels, embedding


def embed_collection(
    generator,
    source,
    method,
    folder,
    seed=0,
    *,
    chunk_size=256,
    workers=None,
    cluster=None,
    progress=True,
    notes=None,
):
    """Embeds a folder of images, or an .npz file, chunk by chunk; see `de.embed_many`.

    Files that cannot be read are reported on stderr. Raises a UsageError for a file that is no .npz
    file of images, a FileNotFoundError if no image can be read, a FileExistsError if the folder is
    a file, or has embeddings of something else.
    """
    require_folder(folder, "--out")

    def report(file, reason):
        tqdm.write(f"Skipped {file}: {reason}", file=sys.stderr)

    try:
        found = de.embed_many(
            generator,
            source,
            folder,
            method,
            seed,
            chunk_size=chunk_size,
            workers=workers,
            cluster=cluster,
            progress=progress,
            report=report,
            notes=json.loads(json.dumps(notes or {}, default=str)),
        )
    except de.FailedChunksError:
        print(f"{folder} has the chunks that are done. The same command tries the others again.")
        raise
    except ValueError as error:
        if isinstance(error, WeightsError):
            raise
        raise UsageError(str(error)) from error
    if not len(found):
        raise FileNotFoundError(
            f"None of the {found.about['images']} files of {source} is an image."
        )
    words = f"{len(found):,} of {found.about['images']:,} images"
    print(f"{folder}: {words}, mean squared error {np.mean(found.mse[:]):.5f}")
    return found


def _embed_in_batches(generator, pixels, method, seed, mask, semantic):
    """Yields an `Embedding` of each batch; together they are what `de.embed` returns of all."""
    latents = method.initial_latents(generator, len(pixels), seed) if method.refines else None
    for start in range(0, len(pixels), method.batch_size):
        batch = slice(start, start + method.batch_size)
        own, first, free = (
            None if values is None else values[batch] for values in (pixels, latents, mask)
        )
        bound = generator if semantic is None else generator.given(semantic[batch])
        yield de.embed(bound, own, method, seed=seed, latents=first, mask=free)


def encode_files(autoencoder, files, method, folder, seed=0, notes=None):
    """As `embed_files`, into codes of an autoencoder: semantic vectors, and latents under them.

    `files` may be one folder, whose images are taken with those of its subfolders; not what was
    written to `folder`, which may lie in it.
    """
    if len(files) == 1 and Path(files[0]).is_dir():
        files = _files_of(files[0], folder)

    def encoder(pixels):
        return autoencoder.encode(pixels).semantic

    return embed_files(
        autoencoder.generator, files, method, folder, seed, notes=notes, encoder=encoder
    )


def project_files(generator, files, method, folder, seed=0, mask=None, notes=None):
    """As `embed_files`, and `projection.png`: the images, the mask and their projections.

    `mask` is None, or the path of a picture of the size of the one image, white where it is free.
    Raises a UsageError for a mask beside several images, one that does not fit, or a method that
    takes none; a FileNotFoundError if none of the files, or not the mask, can be read.
    """
    free, outputs = None, Outputs(folder, inputs=[*files, *([] if mask is None else [mask])])
    if mask is not None:
        if len(files) != 1:
            raise UsageError(
                "--mask belongs to one image: project FILE --mask FILE. "
                f"Received images: {len(files)}"
            )
        if not method.takes_mask:
            raise UsageError(f"--method must be one that takes a mask. Received: {method}")
        read_images(generator, files)  # for the message
        free = read_mask(generator, mask, files[0])
    outputs.claim("projection.png")
    pixels, embedding = embed_files(generator, files, method, outputs, seed, free, notes)
    rows = {"image": pixels}
    if free is not None:
        rows["free"] = free[..., None].astype(np.float32)
    rows["projection"] = np.clip(embedding.reconstruction, 0, 1)
    _save_grid(outputs, "projection.png", rows)


def interpolate_files(generator, files, method, folder, frames=9, seed=0, notes=None):
    """Interpolates between two images: a strip, an animation, and the pixels as arrays.

    Writes `interpolation.png`, `interpolation.gif` (there and back: the cross-fade of pixels on the
    left, spherical interpolation of latents on the right), `interpolation.npz` and
    `interpolation.json`. `frames` counts both ends. Raises a UsageError for another number of
    files, fewer than 2 frames, or a coupled method; a FileNotFoundError as `read_images`.
    """
    if len(files) != 2:
        raise UsageError(f"`interpolate` takes two images. Received: {len(files)}")
    if frames < 2:
        raise UsageError(f"--frames must be at least 2. Received: {frames}")
    if isinstance(method, de.EDICT | de.BDIA):
        raise UsageError(f"--method must find single latents. Received: {type(method).__name__}")
    outputs = Outputs(folder, inputs=files)
    outputs.claim(*(f"interpolation.{suffix}" for suffix in ("png", "gif", "npz", "json")))
    # An enlarged animation is as large as three strips.
    copies = len(_KINDS) + 3
    require_decodes(frames, generator.image_shape, generator.num_steps, copies)
    embedding = de.embed(generator, read_images(generator, files), method, seed=seed)
    ends = embedding.latents[:1], embedding.latents[1:]
    strips = {kind: de.interpolate(generator, *ends, frames, kind)[0] for kind in _KINDS}
    _save_npz(outputs, "interpolation.npz", latents=embedding.latents, **strips)
    _save_json(outputs, "interpolation.json", (notes or {}) | {"mse": embedding.mse.tolist()})
    chosen = np.unique(np.linspace(0, frames - 1, min(frames, _SHOWN)).round().astype(int))
    shown = {kind: np.clip(strip[chosen], 0, 1) for kind, strip in strips.items()}
    _save_grid(outputs, "interpolation.png", shown)
    sides = [crop_padding(strips[kind], generator.padding) for kind in ("pixels", "spherical")]
    save_animation(outputs, "interpolation.gif", sides)
    print(f"{folder}: {frames} images on the way, mean squared errors {embedding.mse.round(6)}")


def edit_files(
    generator, files, directions, method, folder, strengths=(), frames=5, seed=0, notes=None
):
    """Edits image files along directions of h: a strip and an animation of each, a figure, arrays.

    Writes `<image>-<direction>.png`, a strip from the reconstruction to the edit, the same as an
    animation `.gif`, `edit.png` (images, reconstructions and edits), `edit.npz` (latents and edits)
    and `edit.json`. A file that cannot be read is reported on stderr, and the others are edited.

    Args:
        directions: list of `SemanticDirection`s, with names that differ.
        strengths: of each direction; empty for their own.
        frames: images of a strip, at least 2: both ends are counted.

    Raises:
        UsageError: for no files, fewer than 2 frames, or a coupled method.
        FileNotFoundError: if none of the files can be read.
        FileExistsError: before anything is edited, if a file of the user's is in the way.
    """
    if frames < 2:
        raise UsageError(f"--frames must be at least 2. Received: {frames}")
    if isinstance(method, de.EDICT | de.BDIA):
        raise UsageError(f"--method must find single latents. Received: {type(method).__name__}")
    outputs, padding = Outputs(folder, inputs=files), generator.padding
    stems = {
        direction.name: outputs.names_for(files, f"-{direction.name}.png")
        for direction in directions
    }
    names = [name for each in stems.values() for name in each]
    outputs.claim(
        "edit.png", "edit.npz", "edit.json", *names, *(_animation(name) for name in names)
    )
    count = len(files) * len(directions)
    require_decodes(count * frames, generator.image_shape, generator.num_steps, 4)
    pixels, read, problems = _read_some(generator, files)
    if not read:
        raise FileNotFoundError(f"None of the {len(files)} files can be read as an image.")
    skipped = {path for path, _ in problems}
    kept = [i for i, path in enumerate(files) if path not in skipped]
    embedding = de.embed(generator, pixels, method, seed=seed)
    editor = de.HSpaceEditor(generator)
    rows = {"image": pixels, "reconstruction": embedding.reconstruction}
    labels = [*rows]
    shares = np.linspace(0, 1, frames)
    strengths = strengths or [direction.strength for direction in directions]
    for direction, strength in zip(directions, strengths, strict=True):
        # All frames of all images at once: those of an image follow each other.
        each = np.tile(strength * shares, len(pixels))
        latents = embedding.latents.repeat(frames, axis=0)
        strips = editor.edit(latents, direction, each).clip(0, 1)
        strips = strips.reshape(len(pixels), frames, *pixels.shape[1:])
        rows[direction.name] = strips[:, -1]
        labels.append(f"{direction.name}\n{strength:g}")
        for i, strip in zip(kept, strips, strict=True):
            name, strip = stems[direction.name][i], crop_padding(strip, padding)
            save_png(outputs, name, np.concatenate([*strip], axis=1))
            save_animation(outputs, _animation(name), [strip])
    edited = [rows[direction.name] for direction in directions]
    _save_npz(
        outputs,
        "edit.npz",
        latents=embedding.latents,
        reconstruction=embedding.reconstruction,
        edited=np.stack(edited),
        directions=np.array([*stems]),
    )
    words = {"files": [*map(str, read)], "mse": embedding.mse.tolist()}
    _save_json(outputs, "edit.json", (notes or {}) | words)
    shown = zip(labels, rows.values(), strict=True)
    _save_grid(outputs, "edit.png", {label: np.clip(row, 0, 1) for label, row in shown})
    print(
        f"{folder}: {', '.join(stems)} of {len(read)} of {len(files)} images, "
        f"mean squared error before the edit {embedding.mse.mean():.5f}"
    )


def _animation(name):
    return f"{name.removesuffix('.png')}.gif"


def shipped_directions(generator, model, names, weights=None):
    """Loads directions by name, for the steps of the generator.

    Raises a FileNotFoundError for a name that there is not; the message lists what there is.
    """
    found = [de.load_direction(model, name, weights) for name in names]
    return [direction.at(generator.num_steps) for direction in found]


def own_direction(generator, positive, negative, seed=0):
    """The direction from the images of one folder to those of another; strength 1, named "own".

    Files that cannot be read are reported on stderr. Raises a UsageError for a path that is not a
    folder, or a folder without an image.
    """
    parts = []
    for flag, folder in (("--positive", positive), ("--negative", negative)):
        if not folder.is_dir():
            raise UsageError(f"{flag} must be a folder of images. Received: {folder}")
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        pixels, read, _ = _read_some(generator, paths)
        if not read:
            raise UsageError(
                f"{flag} must be a folder with images that can be read. Received: {folder}"
            )
        parts.append(pixels)
    labels = np.repeat([True, False], [*map(len, parts)])
    return de.HSpaceEditor(generator).fit(np.concatenate(parts), labels, "own", seed)


def sample_images(generator, count, folder, seed=0, notes=None):
    """Generates images; writes a PNG of each, `samples.npz` (latents and pixels), `samples.json`.

    Raises a UsageError for a `count` below 1.
    """
    if count < 1:
        raise UsageError(f"--count must be at least 1. Received: {count}")
    require_decodes(count, generator.image_shape, generator.num_steps)
    outputs = Outputs(folder)
    names = [f"sample-{i:0{len(str(count - 1))}}.png" for i in range(count)]
    outputs.claim("samples.npz", "samples.json", *names)
    latents = generator.latents(count, seed)
    pixels = np.clip(generator.decode(latents), 0, 1)
    _save_npz(outputs, "samples.npz", latents=latents, pixels=pixels)
    for name, image in zip(names, crop_padding(pixels, generator.padding), strict=True):
        save_png(outputs, name, image)
    _save_json(outputs, "samples.json", notes or {})
    print(f"{folder}: {count} images")


def save_animation(outputs, name, strips):
    """Writes a GIF that goes through strips of equal length, side by side, there and back.

    `strips` is a list of pixels `(frames, height, width, channels)`, clipped here.
    """
    frames = np.concatenate([to_bytes(strip) for strip in strips], axis=2)
    scale = -(-_SIZE // min(frames.shape[1:3]))
    frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    pictures = [to_picture(frame) for frame in frames]
    pictures += pictures[-2:0:-1]
    durations = [_PAUSE if i in (0, len(frames) - 1) else _FRAME for i in range(len(pictures))]
    with outputs.replacing(name) as temporary:
        pictures[0].save(
            temporary, save_all=True, append_images=pictures[1:], duration=durations, loop=0
        )


def save_png(outputs, name, pixels):
    """Writes pixels `(height, width, channels)`, clipped here, as a PNG."""
    with outputs.replacing(name) as temporary:
        to_picture(to_bytes(pixels)).save(temporary)


def _rows(words, pixels, embedding, padding, mask):
    """Returns rows of the table; `words` are its columns `file`, `reconstruction` and `error`."""
    files, names, errors = words
    blank = [""] * len(pixels)
    whole = (pixels, embedding.reconstruction.clip(0, 1), padding)
    columns = zip(
        files,
        names,
        embedding.mse.tolist(),
        metrics.psnr(*whole).tolist() if mask is None else blank,
        metrics.ssim(*whole).tolist() if mask is None else blank,
        embedding.latents_std.tolist(),
        blank if embedding.single_mse is None else embedding.single_mse.tolist(),
        errors,
        strict=True,
    )
    return [dict(zip(COLUMNS, values, strict=True)) for values in columns]


def _save_csv(outputs, name, rows):
    # A file name may hold bytes that are not text; they are written as they were.
    with (
        outputs.replacing(name) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _save_npz(outputs, name, **arrays):
    with outputs.replacing(name) as temporary:
        np.savez_compressed(temporary, **arrays)


def _save_json(outputs, name, contents):
    with outputs.replacing(name) as temporary:
        temporary.write_text(json.dumps(contents, indent=2, default=str) + "\n")


def _save_grid(outputs, name, rows):
    with outputs.replacing(name) as temporary:
        de.image_grid([row[:_SHOWN] for row in rows.values()], [*rows]).savefig(temporary, dpi=100)
