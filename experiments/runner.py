"""The command line that all experiments share: `main(CONFIG)`.

TensorFlow is imported by the verbs, not here: `--help` and a wrong flag answer at once.
"""

import contextlib
import dataclasses
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.configuration import NETWORKS, Experiment, UsageError, check, shrink

# The number of images of `compare`, unless --images says another.
COMPARED_IMAGES = 200
VERBS = (
    "report", "train", "train-embedders", "sample", "embed", "compare", "structure", "interpolate",
    "project", "directions", "invariance",
)  # fmt: skip


def main(config, arguments=None):
    """Runs one verb of an experiment.

    Args:
        config: an `Experiment`, whose values are the flags' defaults.
        arguments: list of words; by default those of the command line.

    Raises:
        SystemExit: with code 2 for a wrong verb, flag or value; with code 1 where weights, data or
            readable images are missing. The reason is printed to stderr.
    """
    arguments = [str(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    command = shlex.join(["python", "-m", f"experiments.{config.name}", *arguments])
    verb, config, options = _parse(config, arguments)
    with errors_in_a_line():
        check(config)
        # A denoiser's training step is no sequence of small parts: all cores share its operations.
        import_tensorflow(one_core_per_operation=verb != "train")
        _VERBS[verb](config, command=command, **options)


@contextlib.contextmanager
def errors_in_a_line():
    """Ends the program with a line on stderr for errors that are not faults of the program.

    Raises:
        SystemExit: with code 2 for what cannot be (`UsageError`), 1 for weights or data that are
            missing.
    """
    try:
        yield
    except UsageError as error:
        sys.exit(_say(error, code=2))
    except (FileNotFoundError, ConnectionError) as error:
        # `errno` is set on the system's own errors, which are faults of the program here. Those
        # without are the library's words on weights or data that are not there yet.
        if error.errno is not None:
            raise
        sys.exit(_say(error, code=1))


def import_tensorflow(one_core_per_operation=True):
    """Imports TensorFlow and finds its devices without the messages of both; sets its threads.

    They come before TensorFlow has its logging up and heeds `TF_CPP_MIN_LOG_LEVEL`; setting that
    to 0 or 1 shows them.
    """
    quiet = os.environ["TF_CPP_MIN_LOG_LEVEL"] >= "2" and "tensorflow" not in sys.modules
    with _no_stderr() if quiet else contextlib.nullcontext():
        import tensorflow as tf

        from ddim_embed.parallel import use_one_core_per_operation

        tf.config.list_physical_devices()
    if one_core_per_operation:
        # In a process that has computed already, a notebook's for example, they stay: slower.
        with contextlib.suppress(RuntimeError):
            use_one_core_per_operation()
    # Each training run traces its own step, of which TensorFlow warns after the fifth.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextlib.contextmanager
def _no_stderr():
    """Discards what C++ writes to the file descriptor; exceptions pass."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _say(error, code):
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parse(config, arguments):
    """Words -> (verb, configuration, other options)."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["report", *arguments]
    verb, parsed, options = _read(config, arguments)
    if parsed.smoke:
        # Once more, so that tiny sizes are defaults, and flags still come before defaults.
        tiny = shrink(dataclasses.replace(config, results=parsed.results))
        verb, parsed, options = _read(tiny, arguments)
    return verb, parsed, options


def _read(config, arguments):
    flags = Annotated[Experiment, tyro.conf.arg(name="")]

    def report(config: flags = config):
        """Embeds test images with every network: tables, figures and a page (the default)."""
        return "report", config, {}

    def train(config: flags = config):
        """Trains the generator. A killed run goes on from its last checkpoint."""
        return "train", config, {}

    def train_embedders(
        networks: tyro.conf.Positional[tuple[str, ...]] = NETWORKS, config: flags = config
    ):
        """Trains embedding networks through the frozen generator. A killed run goes on.

        Args:
            networks: which of them.
        """
        return "train-embedders", config, {"networks": networks or NETWORKS}

    def sample(config: flags = config):
        """Generates images: the number is --images, the first ones are shown in a picture."""
        return "sample", config, {}

    def embed(
        files: tyro.conf.Positional[tuple[Path, ...]],
        method: str = "unet",
        out: Path | None = None,
        config: flags = config,
    ):
        """Embeds images of your own: latents, reconstructions and a table of errors.

        Args:
            files: images in any usual format; cropped to the central square and resized.
            method: an embedding network, or another of the library's methods.
            out: folder for what is found; None for `<results>/<name>/embed`.
        """
        return "embed", config, {"files": files, "method": method, "out": out}

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
        return "compare", config, {"methods": methods}

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
        return "structure", config, options

    def interpolate(
        files: tyro.conf.Positional[tuple[Path, ...]] = (),
        method: str = "hybrid",
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
        return "interpolate", config, options

    def project(
        files: tyro.conf.Positional[tuple[Path, ...]] = (),
        mask: Path | None = None,
        method: str = "hybrid",
        config: flags = config,
    ):
        """Takes an edited image, or a painting, to the nearest that the generator makes.

        Args:
            files: one image in any usual format; without it, test images with lines drawn on them.
            mask: a picture of the same size, white where the image was edited; there it is free.
            method: one of the library's methods; with a mask one that takes it.
        """
        return "project", config, {"files": files, "mask": mask, "method": method}

    many = dataclasses.replace(config, images=60) if tiny else config

    def directions(length: float | None = None, config: flags = many):
        """Finds directions in latents along which images change: of classes, principal ones, ...

        Embeds --images training images with the U-Net, of the sample where a report uses it.

        Args:
            length: of the steps that are measured; None for 0.3 times that of Gaussian latents.
        """
        return "directions", config, {"length": length}

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
        return "invariance", config, options

    functions = (
        report, train, train_embedders, sample, embed, compare, structure, interpolate, project,
        directions, invariance,
    )  # fmt: skip
    verbs = dict(zip(VERBS, functions, strict=True))
    try:
        return tyro.extras.subcommand_cli_from_dict(
            verbs,
            prog=f"python -m experiments.{config.name}",
            description=f"The experiment {config.name}. `VERB --help` lists the flags of a verb.",
            args=arguments,
        )
    except SystemExit as stop:
        if stop.code == 2:  # tyro names the flags that look alike; here are all
            fields = [f.name for f in dataclasses.fields(Experiment)]
            hidden = ("name", "paper_mse", "paper_table2")
            names = ["--" + f.replace("_", "-") for f in fields if f not in hidden]
            print(f"Verbs: {', '.join(VERBS)}\nFlags: {', '.join(names)}", file=sys.stderr)
        raise


def _report(config, command):
    from experiments import reporting

    if config.smoke:
        _make_smoke_weights(config)
    reporting.report(config, command)


def _train(config, command):
    from experiments import training

    training.train(config, command)


def _train_embedders(config, command, networks):
    for network in networks:
        if network not in NETWORKS:
            raise UsageError(f"A network must be one of {', '.join(NETWORKS)}. Received: {network}")
    from experiments import training

    if config.smoke:
        _make_smoke_weights(config, networks=())
    training.train_embedders(config, networks, command)


def _sample(config, command):
    from experiments import reporting

    if config.smoke:
        _make_smoke_weights(config, networks=())
    reporting.sample(config)


def _embed(config, command, files, method, out):
    if not files:
        raise UsageError("`embed` needs at least one image: embed FILES... --method unet")
    import ddim_embed as de

    if method not in de.METHODS:
        raise UsageError(f"--method must be one of {', '.join(de.METHODS)}. Received: {method}")
    from experiments import embedding

    if config.smoke:
        _make_smoke_weights(config, [method] if method in NETWORKS else [])
    embedding.embed_files(config, files, method, out or config.result_folder / "embed")


def _compare(config, command, methods):
    from experiments import comparison

    if config.smoke:
        _make_smoke_weights(config)
    comparison.compare(config, command, methods)


def _structure(config, command, **options):
    from experiments import structure

    if config.smoke:
        _make_smoke_weights(config)
    structure.structure(config, command, **options)


def _interpolate(config, command, **options):
    from experiments import interpolation

    _make_smoke_unet(config)
    interpolation.interpolate(config, command, **options)


def _project(config, command, **options):
    from experiments import projection

    _make_smoke_unet(config)
    projection.project(config, command, **options)


def _directions(config, command, **options):
    from experiments import directions

    _make_smoke_unet(config)
    directions.directions(config, command, **options)


def _invariance(config, command, **options):
    from experiments import invariance

    if config.smoke:
        _make_smoke_weights(config, networks=())
    invariance.invariance(config, command, **options)


def _make_smoke_unet(config):
    if config.smoke:
        _make_smoke_weights(config, ["unet"])


def _make_smoke_weights(config, networks=NETWORKS):
    """Trains, for seconds, what a smoke run needs: a generator, and some of these networks."""
    from ddim_embed.weights import read_manifest
    from experiments import training

    made = read_manifest(config.weights)
    if f"{config.name}/generator" not in made:
        training.train(config)
    if networks and not any(f"{config.name}/{network}" in made for network in networks):
        training.train_embedders(config, networks)


_FUNCTIONS = (
    _report, _train, _train_embedders, _sample, _embed, _compare, _structure, _interpolate,
    _project, _directions, _invariance,
)  # fmt: skip
_VERBS = dict(zip(VERBS, _FUNCTIONS, strict=True))
