"""The command `ddim-embed`: embeds, encodes, interpolates, projects, edits; a page to do so.

TensorFlow is imported when a command runs, not here: `--help` and a wrong flag answer at once.
"""

import contextlib
import dataclasses
import importlib.util
import math
import re
import threading
from pathlib import Path
from typing import Annotated, Literal, Union

import tyro

from ddim_embed.console import (
    UsageError,
    errors_in_a_line,
    flags,
    import_tensorflow,
    parse,
    require_flags,
    words_of,
)
from ddim_embed.estimates import require_decodes
from ddim_embed.version import __version__

# The names of `de.METHODS`, which imports TensorFlow.
METHODS = (
    "conv1", "conv3_16", "conv3_64", "conv5_128", "unet", "descent", "lbfgs", "gauss_newton",
    "correction", "hybrid", "ddim_inversion", "implicit", "edict", "bdia",
)  # fmt: skip
# What the names of recorded directions begin with.
_DIRECTION = "direction_"
# Those that need no network: the networks were trained on unconditional generators.
_WITHOUT_NETWORKS = (
    "implicit", "ddim_inversion", "descent", "lbfgs", "gauss_newton", "edict", "bdia",
)  # fmt: skip
_Files = tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILES")]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Flags of every command that runs a generator.

    Attributes:
        model: name of the generator; `ddim-embed list` shows all.
        weights: folder of weights; None for those of the package.
        num_steps: sampler steps.
        seed: of everything random.
    """

    model: str
    weights: Path | None = None
    num_steps: int = 10
    seed: int = 0

    def run(self):
        """Loads the generator and runs the command."""
        for flag, value, least in (("num-steps", self.num_steps, 1), ("seed", self.seed, 0)):
            if not least <= value < 2**32:
                raise UsageError(
                    f"--{flag} must be at least {least} and below 2**32. Received: {value}"
                )
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.model):
            raise UsageError(f"--model must be a name of `ddim-embed list`. Received: {self.model}")
        require_decodes(1, (1, 1, 1), self.num_steps)
        import ddim_embed as de
        from ddim_embed import commands

        generator = self.load(de)
        notes = {"command": type(self).__name__.lower(), "options": dataclasses.asdict(self)}
        notes["ddim_embed"] = __version__
        try:
            self.call(commands, generator, seed=self.seed, notes=notes)
        except KeyboardInterrupt as stop:
            goes_on = "goes on from there" if self.resumes else "begins anew"
            done = (
                f"What was done is in {self.out}." if self.out.exists() else "No file was written."
            )
            stop.args = (f"{done} The same command {goes_on}.",)
            raise

    @property
    def resumes(self):
        """Whether the same command goes on where it was stopped."""
        return False

    def load(self, de):
        """Loads the generator, or what else the command needs, from the library `de`."""
        return de.load_generator(self.model, self.weights, self.num_steps)

    def call(self, commands, generator, **options):
        """Runs a function of the module `commands` with what was loaded."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embed(Command):
    """Embeds images: latents, reconstructions and a table of errors.

    Of a folder of images, or an .npz file of any size: latents, errors and names, without pictures,
    in a file for each chunk (`open_embeddings`). Such a command goes on where it was stopped.

    Attributes:
        files: images in any usual format; cropped to the central square and resized. Or one folder
            of them, or one .npz file.
        method: how latents are found.
        out: folder to write to; a file in it that this command did not write is not replaced.
        workers: of a folder or an .npz file: processes that share the work.
        cluster: instead of them, the address of a Dask scheduler, such as tcp://host:8786.
        chunk: images in a chunk.
    """

    files: _Files
    method: Literal[METHODS] = "unet"
    out: Path = Path("embedded")
    workers: int = 1
    cluster: str | None = None
    chunk: int = 256

    @property
    def resumes(self):
        return is_collection(self.files)

    def call(self, commands, generator, **options):
        _require_files("embed", self.files)
        check_workers(self)
        check_collection(self)
        if is_collection(self.files):
            commands.embed_collection(
                generator, self.files[0], self.method, self.out, chunk_size=self.chunk,
                workers=self.workers, cluster=self.cluster, **options,
            )  # fmt: skip
            return
        method = commands.configure(self.method)
        commands.embed_files(generator, self.files, method, self.out, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encode(Command):
    """Encodes images by a diffusion autoencoder: semantic vectors, latents, reconstructions.

    Attributes:
        files: images in any usual format; cropped to the central square and resized. Or one folder
            of them, as many as fit in memory.
        method: how latents are found under the vectors; "ddim_inversion" is the published way.
        out: folder to write to; a file in it that this command did not write is not replaced.
    """

    files: _Files
    method: Literal[_WITHOUT_NETWORKS] = "implicit"
    out: Path = Path("encoded")

    def load(self, de):
        return de.load_autoencoder(self.model, self.weights, self.num_steps)

    def call(self, commands, generator, **options):
        _require_files("encode", self.files)
        method = commands.configure(self.method)
        commands.encode_files(generator, self.files, method, self.out, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Command):
    """Generates images.

    Attributes:
        count: how many.
        out: folder to write to; a file in it that this command did not write is not replaced.
    """

    count: int = 16
    out: Path = Path("samples")

    def call(self, commands, generator, **options):
        commands.sample_images(generator, self.count, self.out, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpolate(Command):
    """Goes from one image to another in latents and in pixels: a strip, an animation, arrays.

    Attributes:
        files: two images.
        method: how their latents are found.
        frames: images on the way, both ends included.
        out: folder to write to; a file in it that this command did not write is not replaced.
    """

    files: _Files
    method: Literal[METHODS] = "hybrid"
    frames: int = 9
    out: Path = Path("interpolated")

    def call(self, commands, generator, **options):
        method = commands.configure(self.method)
        commands.interpolate_files(
            generator, self.files, method, self.out, frames=self.frames, **options
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Project(Command):
    """Takes edited images, or paintings, to the nearest ones that the generator makes.

    Attributes:
        files: images in any usual format.
        mask: of one image, a picture of its size, white where it was edited; there it is free.
        method: how latents are found; with a mask one that takes it.
        out: folder to write to; a file in it that this command did not write is not replaced.
    """

    files: _Files
    mask: Path | None = None
    method: Literal[METHODS] = "hybrid"
    out: Path = Path("projected")

    def call(self, commands, generator, **options):
        _require_files("project", self.files)
        method = commands.configure(self.method)
        commands.project_files(generator, self.files, method, self.out, mask=self.mask, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edit(Command):
    """Changes what images show, such as a smile: strips, animations, arrays.

    Directions of h, the bottleneck of the U-Net (Kwon et al. 2023): shipped ones by --attribute, or
    one from your own images by --positive and --negative, which should differ in one thing.

    Attributes:
        files: images in any usual format; cropped to the central square and resized. A face should
            fill them as those of CelebA do.
        model: name of the generator.
        attribute: names of directions; `ddim-embed list` shows all.
        positive: folder of images that have what is to be added.
        negative: folder of images that lack it.
        strength: how much, of each attribute or of all; none for the strength of each direction,
            at which faces stay faces. A negative one takes the attribute away.
        method: how latents are found.
        frames: images from none of the edit to all of it.
        out: folder to write to; a file in it that this command did not write is not replaced.
    """

    files: _Files
    model: str = "celeba"
    attribute: tuple[str, ...] = ()
    positive: Path | None = None
    negative: Path | None = None
    strength: tuple[float, ...] = ()
    method: Literal[METHODS] = "unet"
    frames: int = 5
    out: Path = Path("edited")

    def call(self, commands, generator, **options):
        _require_files("edit", self.files, self.model)
        if (self.positive is None) != (self.negative is None):
            raise UsageError("--positive and --negative must be given together.")
        if bool(self.attribute) == (self.positive is not None):
            raise UsageError(
                "`edit` needs --attribute NAME, or --positive FOLDER and --negative FOLDER. "
                f"Received: {'both' if self.attribute else 'neither'}"
            )
        if not all(map(math.isfinite, self.strength)):
            raise UsageError(f"--strength must be finite numbers. Received: {self.strength}")
        count = max(1, len(self.attribute))
        if len(self.strength) not in (0, 1, count):
            raise UsageError(
                f"--strength must be one number, or one for each of {count} attributes. "
                f"Received: {len(self.strength)}"
            )
        method = commands.configure(self.method)
        if len({*self.attribute}) < len(self.attribute):
            raise UsageError(f"--attribute must be names that differ. Received: {self.attribute}")
        if self.attribute:
            directions = commands.shipped_directions(
                generator, self.model, self.attribute, self.weights
            )
        else:
            directions = [
                commands.own_direction(generator, self.positive, self.negative, options["seed"])
            ]
        commands.edit_files(
            generator, self.files, directions, method, self.out,
            self.strength * (count if len(self.strength) == 1 else 1), self.frames, **options,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class List:
    """Shows the models, their networks with errors on test images, directions, and the methods.

    Attributes:
        weights: folder of weights; None for those of the package.
    """

    weights: Path | None = None

    def run(self):
        """Prints the tables."""
        from ddim_embed.store.weights import read_manifest

        manifest = read_manifest(self.weights)
        row = "{:<16}{:<11}{:>12}{:>9}{:>11}".format
        print(row("model", "network", "parameters", "MB", "test mse"))
        for name, entry in manifest.items():
            model, network = name.split("/")
            shown = network != "features" and not network.startswith(_DIRECTION)
            if f"{model}/generator" in manifest and shown:
                error = entry["errors"].get("test_mse")
                count, size = f"{entry['parameters']:,}", f"{entry['size'] / 1e6:.1f}"
                print(row(model, network, count, size, "" if error is None else f"{error:.6f}"))
        print()
        for name, entry in manifest.items():
            if name.endswith("/generator"):
                sides = entry["config"].get("image_shape")
                shape = "x".join(map(str, sides)) if isinstance(sides, list) else "unknown"
                print(f"{name.removesuffix('/generator'):<16}{shape}")
        for model in dict.fromkeys(name.split("/")[0] for name in manifest):
            start = f"{model}/{_DIRECTION}"
            own = [name.removeprefix(start) for name in manifest if name.startswith(start)]
            if own:
                print(f"\ndirections of {model}: {', '.join(own)}")
        print(f"\nmethods: {', '.join(METHODS)}")


@dataclasses.dataclass(frozen=True)
class Explore:
    """Opens a page in the browser: embed, refine, interpolate, repair and edit images.

    Attributes:
        weights: folder of weights; None for those of the package.
        num_steps: sampler steps.
        host: address to listen on; the default is reached from this computer alone.
        port: to listen on; 0 for the first that is free from 7860 on.
        browser: whether to open the browser.
    """

    weights: Path | None = None
    num_steps: int = 10
    host: str = "127.0.0.1"
    port: int = 7860
    browser: bool = True

    def run(self):
        """Serves the page until Ctrl-C."""
        if not 0 <= self.port < 2**16:
            raise UsageError(f"--port must be from 0 to 65535. Received: {self.port}")
        if not 1 <= self.num_steps <= 1000:
            raise UsageError(f"--num-steps must be from 1 to 1000. Received: {self.num_steps}")
        if importlib.util.find_spec("gradio") is None:
            raise UsageError("`explore` needs gradio: pip install 'ddim-embed[explore]'")
        from ddim_embed.explorer.models import Models
        from ddim_embed.explorer.page import served

        models = Models(self.weights, self.num_steps)
        with served(models, self.host, self.port, self.browser) as address:
            print(f"The page is at {address} until Ctrl-C.", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()


COMMANDS = {
    kind.__name__.lower(): kind
    for kind in (Embed, Encode, Sample, Interpolate, Project, Edit, List, Explore)
}


def main(arguments=None):
    """Runs the command line.

    Args:
        arguments: list of strings; None for those of the process.

    Raises:
        SystemExit: as `console.errors_in_a_line`; stderr has the reason in one line.
    """
    with errors_in_a_line():
        arguments = words_of(arguments)
        if arguments == ["--version"]:
            print(__version__)
            return
        require_flags(arguments, {name: flags(kind) for name, kind in COMMANDS.items()})
        command = parse(
            Union[tuple(COMMANDS.values())],  # noqa: UP007 (a list of them)
            arguments,
            prog="ddim-embed",
            description="Finds the latents from which a DDIM generates an image. "
            "`COMMAND --help` shows the flags of a command, `--version` the version.",
        )
        import_tensorflow()
        command.run()


def is_collection(files):
    """Whether paths are one folder of images, or one .npz file: any number of images."""
    return len(files) == 1 and (files[0].is_dir() or files[0].suffix == ".npz")


def check_workers(command):
    """Raises a UsageError for `workers` and a `cluster` that cannot be."""
    _require_count(command, "workers")
    if command.cluster is not None:
        if command.workers != 1:
            raise UsageError("--workers are processes of this machine: not with --cluster.")
        if importlib.util.find_spec("distributed") is None:
            raise UsageError("--cluster needs Dask: pip install 'ddim-embed[dask]'")
        if "://" not in command.cluster:
            raise UsageError(
                "--cluster must be the address of a Dask scheduler, such as tcp://host:8786. "
                f"Received: {command.cluster}"
            )


def check_collection(command):
    """Raises a UsageError for flags of a collection's chunks that cannot be, or do nothing."""
    _require_count(command, "chunk")
    if is_collection(command.files):
        return
    folder = next((path for path in command.files if path.is_dir()), None)
    if folder is not None:
        raise UsageError(f"A folder must be given alone. Received {folder} and other files")
    for name in ("workers", "cluster", "chunk"):
        if getattr(command, name) != getattr(type(command), name):
            raise UsageError(
                f"--{name} does nothing for files: it is for a folder, or an .npz file."
            )


def _require_count(command, name):
    value = getattr(command, name)
    if not 1 <= value < 2**31:
        raise UsageError(f"--{name} must be at least 1. Received: {value}")


def _require_files(name, files, model="NAME"):
    if not files:
        raise UsageError(f"`{name}` needs at least one image: {name} FILES --model {model}")
