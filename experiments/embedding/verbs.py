"""The verbs of an experiment: the flags that each takes, and the function that it calls.

That is named, and imported when it is called: `--help` and a wrong flag need not wait for
TensorFlow.
"""

import dataclasses
import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.configuration import METHODS, NETWORKS, Experiment, UsageError

# The number of images of `compare`, unless --images says another.
COMPARED_IMAGES = 200


@dataclasses.dataclass(frozen=True)
class Call:
    """A verb whose flags have been read.

    Attributes:
        config: an `Experiment`.
        function: what runs it, as "module.name" within `experiments`; it takes the configuration,
            the command, and the options.
        options: flags of this verb alone.
        smoke: networks that a smoke run trains, after a generator, unless it has one of them; None
            where it needs no weights.
        one_core_per_operation: how TensorFlow uses the cores, as for `import_tensorflow`.
    """

    config: Experiment
    function: str
    options: dict = dataclasses.field(default_factory=dict)
    smoke: Collection[str] | None = None
    one_core_per_operation: bool = True

    def run(self, command):
        """Runs it.

        Args:
            command: what a user would type to repeat it.
        """
        if self.config.smoke and self.smoke is not None:
            _make_smoke_weights(self.config, self.smoke)
        module, name = self.function.rsplit(".", 1)
        function = getattr(importlib.import_module(f"experiments.{module}"), name)
        function(self.config, command=command, **self.options)


def verbs(config):
    """Functions from flags to a `Call`, by the names of the verbs; the first is the default.

    Args:
        config: an `Experiment`, whose values are the flags' defaults.

    Returns:
        Dict from a name to a function, whose signature and docstring are the command line. Called
        with what cannot be, it raises `UsageError`.
    """
    flags = Annotated[Experiment, tyro.conf.arg(name="")]

    def report(config: flags = config):
        """Embeds test images with every network: tables, figures and a page (the default)."""
        return Call(config, "embedding.reporting.report", smoke=NETWORKS)

    def train(config: flags = config):
        """Trains the generator. A killed run goes on from its last checkpoint."""
        # Its step is no sequence of small parts: all cores share its operations.
        return Call(config, "embedding.training.train", one_core_per_operation=False)

    def train_embedders(
        networks: tyro.conf.Positional[tuple[str, ...]] = NETWORKS, config: flags = config
    ):
        """Trains embedding networks through the frozen generator. A killed run goes on.

        Args:
            networks: which of them.
        """
        for network in networks:
            if network not in NETWORKS:
                names = ", ".join(NETWORKS)
                raise UsageError(f"A network must be one of {names}. Received: {network}")
        options = {"networks": networks or NETWORKS}
        return Call(config, "embedding.training.train_embedders", options, ())

    def pack(folder: tyro.conf.Positional[Path], config: flags = config):
        """Writes images and weights for training with JAX: see `python -m experiments.jax_port -h`.

        Args:
            folder: where; `<folder>/<name>/` is written to.
        """
        return Call(config, "embedding.packing.pack", {"folder": folder}, ())

    def unpack(folder: tyro.conf.Positional[Path], config: flags = config):
        """Measures what was trained with JAX, and records its weights.

        Args:
            folder: that of `pack`.
        """
        return Call(config, "embedding.packing.unpack", {"folder": folder}, ())

    def sample(config: flags = config):
        """Generates images: the number is --images, the first ones are shown in a picture."""
        return Call(config, "embedding.reporting.sample", smoke=())

    def embed(
        files: tyro.conf.Positional[tuple[Path, ...]],
        method: Literal[METHODS] = "unet",
        out: Path | None = None,
        config: flags = config,
    ):
        """Embeds images of your own: latents, reconstructions and a table of errors.

        Args:
            files: images in any usual format; cropped to the central square and resized.
            method: an embedding network, or another of the library's methods.
            out: folder for what is found; None for `<results>/<name>/embed`.
        """
        if not files:
            raise UsageError("`embed` needs at least one image: embed FILES... --method unet")
        options = {"files": files, "method": method, "folder": out}
        return Call(config, "embedding.files.embed_files", options, {method} & {*NETWORKS})

    fewer = dataclasses.replace(config, images=min(config.images, COMPARED_IMAGES))

    def compare(
        methods: tyro.conf.Positional[tuple[str, ...]] = (),
        config: flags = fewer,
    ):
        """Embeds the same images with every method: error against what it costs, with a plot.

        A killed run goes on.

        Args:
            methods: which of them; all by default.
        """
        return Call(config, "inversion.comparison.compare", {"methods": methods}, NETWORKS)

    tiny = config.smoke

    def structure(
        image: int = 0,
        members: int = 10 if tiny else 2000,
        method: Literal["descent", "lbfgs"] = "descent",
        iterations: int = 2 if tiny else 1500,
        at_a_time: int = 5 if tiny else 25,
        tolerance: float | None = None,
        config: flags = config,
    ):
        """Finds many latents of one image: their spread, combinations, mean and components.

        A killed run goes on, and one for more members begins with those that there are.

        Args:
            image: which of the test images.
            members: descents from Gaussian latents.
            method: what descends: the paper's method, or a faster one.
            iterations: of each descent, at most.
            at_a_time: members that are worked on, and kept, at a time.
            tolerance: leaves out members of a larger mean squared error; None keeps all.
        """
        options = {
            "image": image,
            "members": members,
            "method": method,
            "iterations": iterations,
            "at_a_time": at_a_time,
            "tolerance": tolerance,
        }
        return Call(config, "embedding.structure.structure", options, NETWORKS)

    def interpolate(
        files: tyro.conf.Positional[tuple[Path, ...]] = (),
        method: Literal[METHODS] = "hybrid",
        frames: int = 9,
        ways: int = 2 if tiny else 16,
        config: flags = config,
    ):
        """Goes from one image to another, in latents and in pixels: a strip, an animation, numbers.

        Args:
            files: two images in any usual format; without them, two test images.
            method: how they are embedded, one of the library's methods.
            frames: images on the way, both ends included.
            ways: between other test images, that are measured as well; not with files.
        """
        options = {"files": files, "method": method, "frames": frames, "ways": ways}
        return Call(config, "embedding.interpolation.interpolate", options, ("unet",))

    def project(
        files: tyro.conf.Positional[tuple[Path, ...]] = (),
        mask: Path | None = None,
        method: Literal[METHODS] = "hybrid",
        config: flags = config,
    ):
        """Takes edited images, or paintings, to the nearest that the generator makes.

        Args:
            files: images in any usual format; without them, test images with lines drawn on them.
            mask: of one image, a picture of its size, white where it was edited; there it is free.
            method: one of the library's methods; with a mask one that takes it.
        """
        options = {"files": files, "mask": mask, "method": method}
        return Call(config, "embedding.projection.project", options, ("unet",))

    many = dataclasses.replace(config, images=60) if tiny else config

    def directions(length: float | None = None, config: flags = many):
        """Finds directions in latents along which images change: of classes, principal ones, ...

        Embeds --images training images with the U-Net, of the sample where a report uses it.

        Args:
            length: of the steps that are measured; None for 0.3 times that of Gaussian latents.
        """
        return Call(config, "embedding.directions.directions", {"length": length}, ("unet",))

    larger = dataclasses.replace(config, batch_size=8 if tiny else 64)

    def invariance(
        networks: tyro.conf.Positional[tuple[str, ...]] = (),
        latents: int = 8 if tiny else 500,
        few: int = 8 if tiny else 500,
        steps: int = 2 if tiny else 4000,
        config: flags = larger,
    ):
        """Trains small generators: do they make the same image of the same latents?

        A killed run goes on.

        Args:
            networks: which of them; all by default.
            latents: how many are decoded by all networks.
            few: training images whose exact denoiser the networks are compared with.
            steps: of the training of each network.
        """
        options = {"networks": networks, "latents": latents, "few": few, "steps": steps}
        return Call(
            config, "embedding.invariance.invariance", options, (), one_core_per_operation=False
        )

    return {
        "report": report,
        "train": train,
        "train-embedders": train_embedders,
        "pack": pack,
        "unpack": unpack,
        "sample": sample,
        "embed": embed,
        "compare": compare,
        "structure": structure,
        "interpolate": interpolate,
        "project": project,
        "directions": directions,
        "invariance": invariance,
    }


def _make_smoke_weights(config, networks):
    """Trains, for seconds, what a smoke run needs: a generator, and some of these networks."""
    from ddim_embed.store.weights import read_manifest
    from experiments.embedding import training

    made = read_manifest(config.weights)
    if f"{config.name}/generator" not in made:
        training.train(config)
    if networks and not any(f"{config.name}/{network}" in made for network in networks):
        training.train_embedders(config, networks)
