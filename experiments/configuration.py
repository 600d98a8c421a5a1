"""What an experiment is: one frozen dataclass, whose fields are also the command line's flags.

No import of the library here: `--help` and a wrong flag need not wait for TensorFlow.
"""

import dataclasses
import math
import re
import sys
from pathlib import Path
from typing import Literal

from tyro.conf import Suppress

NETWORKS = ("conv1", "conv3_16", "conv3_64", "conv5_128", "unet")
# The library's, by name; here so that a wrong one is refused before TensorFlow is imported.
METHODS = (
    *NETWORKS, "descent", "lbfgs", "gauss_newton", "correction", "hybrid", "ddim_inversion",
    "implicit", "edict", "bdia",
)  # fmt: skip
DATA = ("mnist", "fashion_mnist", "cifar10", "oxford_flowers102", "celeba")


class UsageError(ValueError):
    """Something that was asked for cannot be: words for the user, not a fault of the program."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The configuration of one data set.

    Attributes:
        name: names the folders of weights, checkpoints and results; another one for data of one's
            own.
        data: what `load_images` takes: a catalogue name or a path.
        source: where data come from, as for `load_images`.
        report_source: where the images of a report come from; None for `source`.
        image_size: height and width in pixels, padding included.
        channels: image channels, 1 or 3.
        mirror: whether half of the images that a network is trained on are turned left to right.
        padding: rows and columns at each border that hold no data and count in no error.
        widths: of the denoiser, and of the `unet` embedding network, level by level.
        block_depth: residual blocks at each level of them.
        num_steps: sampler steps.
        further: whether training begins with the weights that are recorded, as a run of its own,
            rather than with random ones or a warm start. Another seed draws other images and noise.
        precision: of training; errors are always computed in float32.
        train_steps: steps of the denoiser's training (Adam, cosine decay).
        batch_size: images in each of them.
        learning_rate: its highest value there.
        loss: what that training minimises: the mean absolute error of the noise (the paper's), or
            the mean squared one, whose optimum is that of the probability flow.
        prediction: what the denoiser predicts: the noise (the paper's), or the velocity, which is
            more exact where there is much noise.
        pairs: generated images for the warm start of the embedding networks; 0 for none.
        warm_start_steps: steps of regression on them.
        warm_start_batch_size: pairs in each of them.
        warm_start_learning_rate: its highest value there.
        embedder_steps: steps of training through the sampler.
        embedder_batch_size: images in each of them.
        embedder_learning_rate: its highest value there.
        embedder_loss: what that training minimises: the mean absolute error (the paper's), the mean
            squared error, or the root mean square of each image.
        remat: whether that training recomputes activations to save memory.
        checkpoint_seconds: seconds of training between checkpoints.
        images: test images that errors are measured on; the number that `sample` generates.
        shown: images in each row of a figure.
        seed: of everything random.
        weights: folder of weights; None for the shipped one.
        results: folder of results; `<results>/<name>/` is written to.
        runs: folder of checkpoints; a killed run goes on from there.
        smoke: tiny sizes, to see in seconds that everything works.
        paper_mse: Table 1 of the paper, network -> mean squared error.
        paper_table2: Table 2 of the paper (data set, generated), or None.
    """

    name: str
    data: str
    source: Literal["auto", "sample", "tfds", "npz", "folder", "celeba"] = "auto"
    report_source: Literal["auto", "sample", "tfds", "npz", "folder", "celeba"] | None = None
    image_size: int = 32
    channels: int = 1
    mirror: bool = False
    padding: int = 0
    widths: tuple[int, ...] = (32, 64, 96, 128)
    block_depth: int = 2
    num_steps: int = 10
    further: bool = False
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    train_steps: int = 10_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    loss: Literal["absolute", "squared"] = "absolute"
    prediction: Literal["noise", "velocity"] = "noise"
    pairs: int = 20_000
    warm_start_steps: int = 4_000
    warm_start_batch_size: int = 32
    warm_start_learning_rate: float = 1e-3
    embedder_steps: int = 3_000
    embedder_batch_size: int = 16
    embedder_learning_rate: float = 2e-4
    embedder_loss: Literal["absolute", "squared", "root_mean_square"] = "absolute"
    remat: bool = False
    checkpoint_seconds: float = 120.0
    images: int = 400
    shown: int = 8
    seed: int = 0
    weights: Path | None = None
    results: Path = Path("results")
    runs: Path = Path("runs")
    smoke: bool = False
    paper_mse: Suppress[dict[str, float]] = dataclasses.field(default_factory=dict)
    paper_table2: Suppress[tuple[float, float] | None] = None

    @property
    def image_shape(self):
        """(height, width, channels) of pixels and of latents."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def run_folder(self):
        """Where checkpoints of this experiment lie."""
        return self.runs / self.name

    @property
    def progress(self):
        """Whether to show bars: a smoke run is over before one is read."""
        return sys.stderr.isatty() or not self.smoke

    @property
    def result_folder(self):
        """Where results of this experiment are written."""
        return self.results / (f"{self.name}-smoke" if self.smoke else self.name)


def shrink(config):
    """The `--smoke` version of a configuration: the bundled sample, tiny networks, few steps.

    Results, weights and checkpoints go to a folder of their own, so that nothing real is
    overwritten.
    """
    config = dataclasses.replace(
        config,
        data="fashion_mnist",
        source="sample",
        report_source=None,
        image_size=16,
        padding=0,
        widths=(8, 16),
        block_depth=1,
        num_steps=2,
        train_steps=4,
        batch_size=8,
        pairs=64,
        warm_start_steps=4,
        warm_start_batch_size=8,
        embedder_steps=2,
        embedder_batch_size=4,
        images=8,
        shown=4,
        smoke=True,
    )
    folder = config.result_folder
    return dataclasses.replace(config, weights=folder / "weights", runs=folder / "runs")


def apart(config, tiny):
    """A smoke run's configuration, in folders of its own within those that the user named.

    Args:
        config: an `Experiment`, as the flags have it.
        tiny: the same before the flags.
    """
    changed = {
        name: getattr(config, name) / "smoke"
        for name in ("weights", "runs")
        if getattr(config, name) != getattr(tiny, name)
    }
    return dataclasses.replace(config, **changed)


def adapt(config, asked):
    """The defaults for data of a user's own: nothing of the module's data set is said of them.

    Args:
        config: the `Experiment` of the module.
        asked: the same with the user's flags.
    """
    if asked.data != config.data:
        config = dataclasses.replace(config, report_source=None)
    if asked.name != config.name:
        config = dataclasses.replace(config, padding=0, paper_mse={}, paper_table2=None)
    return config


_POSITIVE = (
    "block_depth", "num_steps", "train_steps", "batch_size", "learning_rate", "warm_start_steps",
    "warm_start_batch_size", "warm_start_learning_rate", "embedder_steps", "embedder_batch_size",
    "embedder_learning_rate", "images", "shown",
)  # fmt: skip


def check(config):
    """Sees to it that values are in their ranges.

    Args:
        config: an `Experiment`.

    Raises:
        UsageError: names the flag, what was expected and what came.
    """
    for name in _POSITIVE:
        value = getattr(config, name)
        # Written so that NaN fails, too.
        require(0 < value < math.inf, name, "positive", value)
    for name in ("padding", "pairs", "seed"):
        require(getattr(config, name) >= 0, name, "at least 0", getattr(config, name))
    # NumPy's and Keras' seeds have 32 bits.
    require(config.seed < 2**32, "seed", f"less than {2**32}", config.seed)
    require(
        re.fullmatch(r"[A-Za-z0-9_-]+", config.name),
        "name",
        "of letters, digits, `_` and `-`",
        config.name,
    )
    require(config.checkpoint_seconds >= 0, "checkpoint_seconds", "at least 0 (seconds)",
            config.checkpoint_seconds)  # fmt: skip
    require(config.channels in (1, 3), "channels", "1 or 3", config.channels)
    require(config.widths and min(config.widths) > 0, "widths", "positive numbers", config.widths)
    # The data come in multiples of 8; the U-Net halves them once less than it has levels.
    multiple = max(8, 2 ** (len(config.widths) - 1))
    require(
        config.image_size > 0 and config.image_size % multiple == 0,
        "image_size",
        f"a positive multiple of {multiple}",
        config.image_size,
    )
    require(
        2 * config.padding < config.image_size,
        "padding",
        f"less than half of --image-size {config.image_size}",
        config.padding,
    )
    require(
        config.data in DATA or Path(config.data).expanduser().exists(),
        "data",
        f"one of {', '.join(DATA)}, or the path of an .npz file or of a folder of images",
        config.data,
    )
    if config.pairs:
        require(
            config.pairs >= config.warm_start_batch_size,
            "pairs",
            f"0, or at least --warm-start-batch-size {config.warm_start_batch_size}",
            config.pairs,
        )


def require(condition, name, expected, received):
    """Raises UsageError, with words on the flag `name`, unless `condition` holds."""
    if not condition:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} must be {expected}. Received: {received}")
