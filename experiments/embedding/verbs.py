"""The verbs of image embedding. Each imports its implementation, and TensorFlow, when it runs."""

import dataclasses
import math
from pathlib import Path
from typing import ClassVar, Literal

import tyro
from tyro.conf import Positional

from ddim_embed.cli import check_collection, is_collection
from ddim_embed.estimates import require_disk
from ddim_embed.memory import require_memory
from ddim_embed.store.outputs import Outputs
from experiments.configuration import (
    ALWAYS,
    DENOISER,
    EMBEDDER,
    IMAGES,
    METHODS,
    NETWORKS,
    REPORTED,
    WARM_START,
    WEIGHTS,
    Verb,
)
from experiments.embedding import sections
from experiments.toolkit.chunked import Chunked
from experiments.toolkit.command_line import UsageError, require, require_at_least

# What a user does after Ctrl-C, where work is kept.
_RESUMES = "The same command goes on from what is in the folder --runs."

# Where test images come from; their size is that of the generator's images.
_OF_TEST_IMAGES = "data", "source", "report_source"

_dataclass = dataclasses.dataclass(frozen=True, kw_only=True)


@_dataclass
class Report(Chunked, Verb):
    """Embeds test images with every network: tables, figures and a page (the default)."""

    uses: ClassVar = WEIGHTS | REPORTED | {"images", "shown"}
    smoke_networks: ClassVar = NETWORKS
    sections: ClassVar = (sections.REPORT,)

    def run(self):
        from experiments.embedding import reporting

        reporting.report(self)


@_dataclass
class Train(Verb):
    """Trains the generator. A killed run resumes from its last checkpoint."""

    uses: ClassVar = DENOISER
    after_interrupt: ClassVar = _RESUMES
    # A training step is no sequence of small operations: all cores share each of them.
    one_core_per_operation: ClassVar = False

    def run(self):
        from experiments.embedding import training

        training.train(self.config, self.command)


@_dataclass
class TrainEmbedders(Verb):
    """Trains embedding networks through the frozen generator. A killed run resumes.

    Attributes:
        networks: names of networks.
    """

    uses: ClassVar = EMBEDDER
    after_interrupt: ClassVar = _RESUMES
    smoke_networks: ClassVar = ()

    networks: Positional[tuple[Literal[NETWORKS], ...]] = NETWORKS

    @property
    def idle(self):
        if self.config.further:
            names = WARM_START if self.config.generated else WARM_START | {"pairs"}
            return dict.fromkeys(names, "with --further")
        return {} if self.config.pairs else dict.fromkeys(WARM_START, "with --pairs 0")

    def check(self):
        super().check()
        config = self.config
        paired = not config.further or config.generated
        size = math.prod(config.image_shape) * (config.pairs if paired else 0)
        require_memory(6 * size, f"--pairs {config.pairs}")  # float16 pixels, float32 latents
        require_disk(config.runs, 2 * size, f"--pairs {config.pairs}")

    def run(self):
        from experiments.embedding import training

        training.train_embedders(self.config, self.networks or NETWORKS, self.command)


@_dataclass
class Pack(Verb):
    """Writes the images as an .npz file: data for training on a machine without TensorFlow.

    Attributes:
        folder: folder to write to; the file is `<folder>/<name>.npz`.
        train_images: training images at most; None for all.
    """

    uses: ClassVar = ALWAYS | IMAGES | {"padding", "images"}
    smoke_networks: ClassVar = None

    folder: Positional[Path]
    train_images: int | None = None

    @classmethod
    def defaults(cls, config):
        return cls(config=config, folder=tyro.MISSING)

    @property
    def outputs(self):
        return Outputs(self.folder, "FOLDER", [Path(self.config.data).expanduser()])

    def claim(self):
        self.outputs.claim(f"{self.config.name}.npz")

    def check(self):
        super().check()
        require(self, "train_images", (self.train_images or 1) > 0, "positive")

    def run(self):
        from experiments.embedding import packing

        packing.pack(self.config, self.outputs, self.train_images)


@_dataclass
class Sample(Verb):
    """Generates images: their number is --images, a figure shows the first ones."""

    uses: ClassVar = WEIGHTS | {"results", "images", "shown"}
    smoke_networks: ClassVar = ()
    writes: ClassVar = ("samples.npz", "samples.png", "samples.json")

    @property
    def held(self):
        return self.config.images

    def run(self):
        from experiments.embedding import reporting

        reporting.sample(self)


@_dataclass
class Embed(Chunked, Verb):
    """Embeds your own images: latents, reconstructions and a table of errors.

    Of a folder of images, or an .npz file of any size: latents, errors and names, without pictures,
    in a file for each chunk (`open_embeddings`). Such a run goes on where it was stopped.

    Attributes:
        files: images in any usual format; they are cropped to the central square and resized. Or
            one folder of them, or one .npz file.
        method: an embedding network, or another method of the library.
        out: folder of the results; None for `<results>/<name>/embed`.
        chunk: of a folder or an .npz file: images in a chunk.
    """

    uses: ClassVar = WEIGHTS | {"results"}

    files: Positional[tuple[Path, ...]] = ()
    method: Literal[METHODS] = "unet"
    out: Path | None = None
    chunk: int = 256

    @property
    def after_interrupt(self):
        goes_on = "goes on from there" if is_collection(self.files) else "begins anew"
        return f"What was done is written. The same command {goes_on}."

    @property
    def smoke_networks(self):
        return {self.method} & {*NETWORKS}

    @property
    def outputs(self):
        flag = "--results" if self.out is None else "--out"
        return Outputs(self.out or self.config.result_folder / "embed", flag, self.files)

    def check(self):
        super().check()
        if not self.files:
            raise UsageError("`embed` needs at least one image: embed FILES... --method unet")
        check_collection(self)

    def run(self):
        import ddim_embed as de
        from ddim_embed import commands
        from experiments.embedding import inputs

        config = self.config
        generator = de.load_generator(config.name, config.weights, config.num_steps)
        method = inputs.configured(config, self.method)
        notes = {"method": self.method} | inputs.provenance(self)
        if is_collection(self.files):
            commands.embed_collection(
                generator,
                self.files[0],
                inputs.without_progress(method),
                self.outputs.folder,
                config.seed,
                chunk_size=self.chunk,
                progress=config.progress,
                notes=notes,
            )
            return
        commands.embed_files(generator, self.files, method, self.outputs, config.seed, notes=notes)


@_dataclass
class Structure(Chunked, Verb):
    """Finds many latents of one image: their spread, combinations, mean and components.

    A killed run resumes, and a run for more members starts with the existing ones.

    Attributes:
        image: index of the test image.
        members: number of descents, each from its own Gaussian latents.
        method: method of the descents: the paper's, or a faster one.
        iterations: maximum number of iterations of each descent.
        at_a_time: members that are computed, and cached, at a time.
        tolerance: maximum mean squared error of a member; None for no limit.
    """

    uses: ClassVar = WEIGHTS | REPORTED | {"runs", "shown"}
    after_interrupt: ClassVar = _RESUMES
    smoke_networks: ClassVar = NETWORKS
    tiny: ClassVar = {"members": 10, "iterations": 2, "at_a_time": 5}
    sections: ClassVar = (sections.STRUCTURE,)

    image: int = 0
    members: int = 2000
    method: Literal["descent", "lbfgs"] = "descent"
    iterations: int = 1500
    at_a_time: int = 25
    tolerance: float | None = None

    @property
    def held(self):
        return self.members

    def check(self):
        super().check()
        require_at_least(self, image=0, members=8, iterations=1, at_a_time=1)
        require(self, "tolerance", self.tolerance is None or self.tolerance > 0, "positive")

    def run(self):
        from experiments.embedding import structure

        structure.run(self)


@_dataclass
class Interpolate(Verb):
    """Interpolates between two images, in latents and in pixels: a strip, an animation, numbers.

    Attributes:
        files: two images in any usual format; without them, two test images.
        method: method of the library that embeds them.
        frames: images of the interpolation, including both ends.
        ways: interpolations between other test images that are measured, too; not with files.
    """

    uses: ClassVar = WEIGHTS | REPORTED
    writes: ClassVar = ("interpolation.gif",)
    smoke_networks: ClassVar = ("unet",)
    tiny: ClassVar = {"ways": 2}
    sections: ClassVar = (sections.INTERPOLATION,)

    files: Positional[tuple[Path, ...]] = ()
    method: Literal[METHODS] = "hybrid"
    frames: int = 9
    ways: int = 16

    @property
    def inputs(self):
        return self.files

    @property
    def idle(self):
        return dict.fromkeys([*_OF_TEST_IMAGES, "ways"], "with files") if self.files else {}

    @property
    def held(self):
        return 6 * self.frames + 2 * self.ways  # three strips, and an enlarged animation

    def check(self):
        super().check()
        if len(self.files) not in (0, 2):
            raise UsageError(
                f"`interpolate` takes two images, or none. Received: {len(self.files)}"
            )
        require_at_least(self, frames=2, ways=0)
        if self.method in ("edict", "bdia"):
            raise UsageError(
                f"--method must find single latents; those of {self.method} are pairs."
            )

    def run(self):
        from experiments.embedding import interpolation

        interpolation.run(self)


@_dataclass
class Project(Verb):
    """Projects edited images, or paintings, to the nearest images of the generator.

    Attributes:
        files: images in any usual format; without them, test images with lines drawn on them.
        mask: mask of one image, of its size, white where it was edited; there any value is allowed.
        method: method of the library; with a mask, one that takes masks.
    """

    uses: ClassVar = WEIGHTS | REPORTED | {"shown"}
    smoke_networks: ClassVar = ("unet",)
    sections: ClassVar = (sections.PROJECTION, sections.PROJECTION_OF_FILES)

    files: Positional[tuple[Path, ...]] = ()
    mask: Path | None = None
    method: Literal[METHODS] = "hybrid"

    @property
    def inputs(self):
        return self.files if self.mask is None else (*self.files, self.mask)

    @property
    def idle(self):
        return dict.fromkeys([*_OF_TEST_IMAGES, "shown"], "with files") if self.files else {}

    def check(self):
        super().check()
        if self.mask is not None and len(self.files) != 1:
            raise UsageError(
                "--mask belongs to one image: project FILE --mask FILE. "
                f"Received images: {len(self.files)}"
            )

    def run(self):
        from experiments.embedding import projection

        projection.run(self)


@_dataclass
class Directions(Verb):
    """Finds directions in latents along which images change: of classes, principal ones, ...

    Embeds --images training images with the U-Net; images of the sample if a report uses it.

    Attributes:
        length: length of the steps that are measured; None for 0.3 times that of Gaussian latents.
    """

    uses: ClassVar = WEIGHTS | REPORTED | {"images", "shown"}
    smoke_networks: ClassVar = ("unet",)
    sections: ClassVar = (sections.DIRECTIONS,)

    length: float | None = None

    @classmethod
    def defaults(cls, config):
        return cls(config=dataclasses.replace(config, images=60) if config.smoke else config)

    def check(self):
        super().check()
        require(self, "length", self.length is None or self.length > 0, "positive")
        least = self.config.shown
        require(self.config, "images", self.config.images > least, f"more than {least}")

    def run(self):
        from experiments.embedding import directions

        directions.run(self)


@_dataclass
class Invariance(Verb):
    """Trains small generators: do they make the same image of the same latents?

    A killed run resumes.

    Attributes:
        networks: names of networks; all by default.
        latents: number of latents that all networks decode.
        few: training images of the exact denoiser that the networks are compared with.
        steps: training steps of each network.
    """

    uses: ClassVar = WEIGHTS | IMAGES | {
        "results", "runs", "mirror", "padding", "precision", "batch_size", "learning_rate", "loss",
        "prediction", "checkpoint_seconds", "shown",
    }  # fmt: skip
    after_interrupt: ClassVar = _RESUMES
    one_core_per_operation: ClassVar = False
    smoke_networks: ClassVar = ()
    tiny: ClassVar = {"latents": 8, "few": 8, "steps": 2}
    sections: ClassVar = (sections.INVARIANCE,)

    networks: Positional[tuple[str, ...]] = ()
    latents: int = 500
    few: int = 500
    steps: int = 4000

    @classmethod
    def defaults(cls, config):
        batch_size = 8 if config.smoke else 64
        return super().defaults(dataclasses.replace(config, batch_size=batch_size))

    @property
    def held(self):
        return 7 * self.latents  # by each network

    def check(self):
        super().check()
        require_at_least(self, latents=2, few=1, steps=1)

    def run(self):
        from experiments.embedding import invariance

        invariance.run(self)


VERBS = {
    "report": Report,
    "train": Train,
    "train-embedders": TrainEmbedders,
    "pack": Pack,
    "sample": Sample,
    "embed": Embed,
    "structure": Structure,
    "interpolate": Interpolate,
    "project": Project,
    "directions": Directions,
    "invariance": Invariance,
}
