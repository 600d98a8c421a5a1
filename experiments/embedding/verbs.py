"""The verbs of image embedding. Each imports its implementation, and TensorFlow, when it runs."""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

import tyro
from tyro.conf import Positional

from experiments.configuration import METHODS, NETWORKS, Verb
from experiments.embedding import sections
from experiments.toolkit.command_line import UsageError

_dataclass = dataclasses.dataclass(frozen=True, kw_only=True)


@_dataclass
class Report(Verb):
    """Embeds test images with every network: tables, figures and a page (the default)."""

    smoke_networks: ClassVar = NETWORKS
    sections: ClassVar = (sections.REPORT,)

    def run(self):
        from experiments.embedding import reporting

        reporting.report(self)


@_dataclass
class Train(Verb):
    """Trains the generator. A killed run resumes from its last checkpoint."""

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

    smoke_networks: ClassVar = ()

    networks: Positional[tuple[Literal[NETWORKS], ...]] = NETWORKS

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

    smoke_networks: ClassVar = None

    folder: Positional[Path]
    train_images: int | None = None

    @classmethod
    def defaults(cls, config):
        return cls(config=config, folder=tyro.MISSING)

    def run(self):
        from experiments.embedding import packing

        packing.pack(self.config, self.folder, self.train_images)


@_dataclass
class Measure(Verb):
    """Measures recorded weights that were trained where they could not be: with JAX."""

    smoke_networks: ClassVar = None

    def run(self):
        from experiments.embedding import packing

        packing.measure(self.config)


@_dataclass
class Sample(Verb):
    """Generates images: their number is --images, a figure shows the first ones."""

    smoke_networks: ClassVar = ()

    def run(self):
        from experiments.embedding import reporting

        reporting.sample(self)


@_dataclass
class Embed(Verb):
    """Embeds your own images: latents, reconstructions and a table of errors.

    Attributes:
        files: images in any usual format; they are cropped to the central square and resized.
        method: an embedding network, or another method of the library.
        out: folder of the results; None for `<results>/<name>/embed`.
    """

    files: Positional[tuple[Path, ...]] = ()
    method: Literal[METHODS] = "unet"
    out: Path | None = None

    @property
    def smoke_networks(self):
        return {self.method} & {*NETWORKS}

    def check(self):
        super().check()
        if not self.files:
            raise UsageError("`embed` needs at least one image: embed FILES... --method unet")

    def run(self):
        import ddim_embed as de
        from ddim_embed import commands
        from experiments.embedding import inputs

        config = self.config
        commands.embed_files(
            de.load_generator(config.name, config.weights, config.num_steps),
            self.files,
            inputs.configured(config, self.method),
            self.out or config.result_folder / "embed",
            config.seed,
            notes={"method": self.method} | inputs.provenance(self),
        )


@_dataclass
class Structure(Verb):
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

    smoke_networks: ClassVar = NETWORKS
    tiny: ClassVar = {"members": 10, "iterations": 2, "at_a_time": 5}
    sections: ClassVar = (sections.STRUCTURE,)

    image: int = 0
    members: int = 2000
    method: Literal["descent", "lbfgs"] = "descent"
    iterations: int = 1500
    at_a_time: int = 25
    tolerance: float | None = None

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

    smoke_networks: ClassVar = ("unet",)
    tiny: ClassVar = {"ways": 2}
    sections: ClassVar = (sections.INTERPOLATION,)

    files: Positional[tuple[Path, ...]] = ()
    method: Literal[METHODS] = "hybrid"
    frames: int = 9
    ways: int = 16

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

    smoke_networks: ClassVar = ("unet",)
    sections: ClassVar = (sections.PROJECTION, sections.PROJECTION_OF_FILES)

    files: Positional[tuple[Path, ...]] = ()
    mask: Path | None = None
    method: Literal[METHODS] = "hybrid"

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

    smoke_networks: ClassVar = ("unet",)
    sections: ClassVar = (sections.DIRECTIONS,)

    length: float | None = None

    @classmethod
    def defaults(cls, config):
        return cls(config=dataclasses.replace(config, images=60) if config.smoke else config)

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

    def run(self):
        from experiments.embedding import invariance

        invariance.run(self)


VERBS = {
    "report": Report,
    "train": Train,
    "train-embedders": TrainEmbedders,
    "pack": Pack,
    "measure": Measure,
    "sample": Sample,
    "embed": Embed,
    "structure": Structure,
    "interpolate": Interpolate,
    "project": Project,
    "directions": Directions,
    "invariance": Invariance,
}
