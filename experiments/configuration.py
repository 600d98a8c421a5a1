"""The configuration of an experiment, a frozen dataclass whose fields are flags, and its verbs.

Nothing here imports TensorFlow: `--help` and the errors of the command line do not wait for it.
"""

import dataclasses
import math
import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro
from tyro.conf import Suppress

from ddim_embed.cli import METHODS as METHODS
from ddim_embed.estimates import require_decodes, require_training
from ddim_embed.memory import require_memory
from ddim_embed.store.outputs import Outputs, require_folder
from experiments.toolkit.command_line import (
    Command,
    Settings,
    require,
    require_at_least,
    require_positive,
)
from experiments.toolkit.results import plain

NETWORKS = ("conv1", "conv3_16", "conv3_64", "conv5_128", "unet")
DATA = ("mnist", "fashion_mnist", "cifar10", "oxford_flowers102", "celeba")

# Fields of the configuration by what uses them: every verb, weights, images, those of a report.
ALWAYS = frozenset({"name", "smoke"})
WEIGHTS = ALWAYS | {"weights", "num_steps", "seed"}
IMAGES = frozenset({"data", "source", "image_size", "channels"})
REPORTED = IMAGES | {"report_source", "results"}
_BOTH = ALWAYS | IMAGES | {"seed", "further", "precision", "checkpoint_seconds", "images"}
_BOTH |= {"mirror", "widths", "block_depth", "weights", "runs", "strategy"}
DENOISER = _BOTH | {"padding", "train_steps", "batch_size", "learning_rate", "loss", "prediction"}
WARM_START = frozenset({"warm_start_steps", "warm_start_batch_size", "warm_start_learning_rate"})
EMBEDDER = _BOTH | WARM_START | {"num_steps", "pairs", "remat"}
EMBEDDER |= {"embedder_steps", "embedder_batch_size", "embedder_learning_rate", "embedder_loss"}
EMBEDDER |= {"generated"}
TRAINING = DENOISER | EMBEDDER

# Sizes for a user's own data: with 64x64 images in colour, two cores train the generator in an hour
# and the U-Net in another one (docs/your_data.md).
_OWN = {
    "widths": (32, 64, 96, 128),
    "batch_size": 16,
    "pairs": 8_000,
    "warm_start_steps": 3_000,
    "warm_start_batch_size": 16,
    "embedder_steps": 2_000,
    "embedder_batch_size": 8,
}
# Images in a row of a figure.
_MOST_SHOWN = 100

_POSITIVE = (
    "block_depth", "num_steps", "train_steps", "batch_size", "learning_rate", "warm_start_steps",
    "warm_start_batch_size", "warm_start_learning_rate", "embedder_steps", "embedder_batch_size",
    "embedder_learning_rate", "semantic_dims", "images", "shown",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Experiment(Settings):
    """The configuration of one data set.

    Attributes:
        name: name of the folders of weights, checkpoints and results; choose another for your own
            data.
        data: a catalogue name or a path, as for `load_images`.
        source: where the data come from, as for `load_images`.
        report_source: where the images of a report come from; None for `source`.
        image_size: height and width in pixels, including padding.
        channels: image channels, 1 or 3.
        mirror: whether training images are mirrored at random.
        padding: rows and columns at each border that hold no data; errors exclude them.
        widths: channels at each level of the denoiser and of the `unet` embedding network.
        block_depth: residual blocks at each of their levels.
        num_steps: sampler steps.
        further: whether training starts from the recorded weights, as a separate run, rather than
            from random ones or a warm start. Use another seed to draw other images and noise.
        precision: precision of training: "auto" is bfloat16 where the processor or the GPU is made
            for it, and float32 elsewhere. Errors are always computed in float32.
        strategy: devices that train together: one, all GPUs of this machine ("mirrored"), or those
            of several processes that run the same command ("multi-worker").
        train_steps: training steps of the denoiser (Adam, cosine decay).
        batch_size: images in each of these steps.
        learning_rate: the highest learning rate in these steps.
        loss: loss of the denoiser: the mean absolute error of the noise (the paper's), or the mean
            squared error, whose optimum is that of the probability flow.
        prediction: what the denoiser predicts: the noise (the paper's), or the velocity, which is
            more accurate at high noise levels.
        pairs: generated images for the warm start of the embedding networks, and for `generated`; 0
            for no warm start.
        warm_start_steps: regression steps on these pairs.
        warm_start_batch_size: pairs in each of these steps.
        warm_start_learning_rate: the highest learning rate in these steps.
        embedder_steps: training steps through the sampler.
        embedder_batch_size: images in each of these steps.
        embedder_learning_rate: the highest learning rate in these steps.
        embedder_loss: loss of the embedding networks: the mean absolute error (the paper's), the
            mean squared error, or the root mean square of each image.
        generated: share of generated images, those of the pairs, in each of these batches: what a
            generator makes may be unlike all that it was trained on.
        remat: whether training through the sampler recomputes activations to save memory.
        semantic_dims: length of an autoencoder's semantic vectors.
        checkpoint_seconds: seconds of training between checkpoints.
        images: test images that errors are measured on; the number that `sample` generates.
        shown: images in each row of a figure.
        seed: random seed.
        weights: folder of weights; None for the shipped one.
        results: folder of results; files are written to `<results>/<name>/`.
        runs: folder of checkpoints; a killed run resumes from them.
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
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    strategy: Literal["one", "mirrored", "multi-worker"] = "one"
    train_steps: int = 10_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    loss: Literal["mean_absolute_error", "mean_squared_error"] = "mean_absolute_error"
    prediction: Literal["noise", "velocity"] = "noise"
    pairs: int = 20_000
    warm_start_steps: int = 4_000
    warm_start_batch_size: int = 32
    warm_start_learning_rate: float = 1e-3
    embedder_steps: int = 3_000
    embedder_batch_size: int = 16
    embedder_learning_rate: float = 2e-4
    embedder_loss: Literal["mean_absolute_error", "mean_squared_error", "root_mean_square"] = (
        "mean_absolute_error"
    )
    generated: float = 0.0
    remat: bool = False
    semantic_dims: int = 32
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
    def num_generated(self):
        """Generated images in each batch of training through the sampler."""
        return round(self.generated * self.embedder_batch_size)

    @property
    def run_folder(self):
        """Folder of the checkpoints and caches of this experiment."""
        return self.runs / self.name

    def shrink(self):
        """Returns the `--smoke` version: the bundled sample, tiny networks, few steps.

        Results, weights and checkpoints have their own folder, so that no real one is overwritten.
        """
        config = dataclasses.replace(
            self,
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
            semantic_dims=4,
            images=8,
            shown=4,
            smoke=True,
        )
        folder = config.result_folder
        return dataclasses.replace(config, weights=folder / "weights", runs=folder / "runs")

    def adapt(self, parsed):
        """Returns the defaults of all flags that are not given, for those in `parsed`.

        With other data or another name, no statement about the module's data set remains; with
        both, sizes are those for a user's own data; with `--smoke`, they are tiny.
        """
        config = self
        if parsed.data != self.data:
            config = dataclasses.replace(config, report_source=None)
        if parsed.name != self.name:
            config = dataclasses.replace(config, padding=0, paper_mse={}, paper_table2=None)
            if parsed.data != self.data:
                config = dataclasses.replace(config, **_OWN)
        if parsed.smoke:
            config = dataclasses.replace(config, name=parsed.name, results=parsed.results).shrink()
        return config

    def override(self, parsed, given):
        """Returns the configuration with the values in `parsed` of the flags that are `given`.

        A smoke run uses subfolders of the folders of weights and checkpoints that the user names.
        """
        changes = {name: getattr(parsed, name) for name in given}
        if "source" in given and "report_source" not in given:
            changes["report_source"] = None
        if self.smoke:
            changes |= {name: changes[name] / "smoke" for name in {"weights", "runs"} & given}
        return dataclasses.replace(self, **changes)

    def check(self):
        """Raises `UsageError` for a value out of its range; names the flag and the value."""
        require_positive(self, *_POSITIVE)
        require_at_least(self, padding=0, pairs=0, seed=0)
        # The seeds of NumPy and Keras have 32 bits.
        require(self, "seed", self.seed < 2**32, f"less than {2**32}")
        plain_name = re.fullmatch(r"[A-Za-z0-9_-]+", self.name)
        require(self, "name", plain_name, "of letters, digits, `_` and `-`")
        require(self, "checkpoint_seconds", self.checkpoint_seconds >= 0, "at least 0 (seconds)")
        require(self, "shown", self.shown <= _MOST_SHOWN, f"at most {_MOST_SHOWN}")
        require(self, "channels", self.channels in (1, 3), "1 or 3")
        require(self, "widths", self.widths and min(self.widths) > 0, "positive numbers")
        # Data sets have multiples of 8; the U-Net halves images between its levels.
        multiple = max(8, 2 ** (len(self.widths) - 1))
        fits = self.image_size > 0 and self.image_size % multiple == 0
        require(self, "image_size", fits, f"a positive multiple of {multiple}")
        words = f"less than half of --image-size {self.image_size}"
        require(self, "padding", 2 * self.padding < self.image_size, words)
        words = f"one of {', '.join(DATA)}, or the path of an .npz file or of a folder of images"
        require(self, "data", self.data in DATA or Path(self.data).expanduser().exists(), words)
        words = f"0, or at least --warm-start-batch-size {self.warm_start_batch_size}"
        require(self, "pairs", not self.pairs or self.pairs >= self.warm_start_batch_size, words)
        real = 0 <= self.generated < 1 and self.num_generated < self.embedder_batch_size
        words = f"at least 0, and less than a whole batch of {self.embedder_batch_size}"
        require(self, "generated", real, words)
        require(self, "generated", self.pairs or not self.generated, "0 with --pairs 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verb(Command):
    """A verb of an experiment: its fields are its flags, its docstring is its help.

    Attributes:
        config: the experiment.
    """

    # Networks that a smoke run trains first, after a generator, unless one of them exists; None
    # if the verb needs no weights.
    smoke_networks: ClassVar[tuple[str, ...] | None] = None
    # Defaults of the flags in a smoke run.
    tiny: ClassVar[dict] = {}
    # The fields of the configuration that it uses: only their flags are taken.
    uses: ClassVar[frozenset[str]]

    config: Annotated[Experiment, tyro.conf.arg(name="")]

    @classmethod
    def defaults(cls, config):
        """Returns the verb with the default values of its flags for this configuration."""
        return cls(config=config, **(cls.tiny if config.smoke else {}))

    @property
    def held(self):
        """Images that it holds at once, at the least."""
        return 1

    def check(self):
        """Raises `UsageError`, or `NotEnoughMemoryError`, before TensorFlow is imported."""
        config = self.config
        config.check()
        if "num_steps" in self.uses:
            require_decodes(self.held, config.image_shape, config.num_steps)
        if "image_size" in self.uses:
            require_memory(16 * math.prod(config.image_shape), f"--image-size {config.image_size}")
        if "widths" in self.uses:
            batch = config.batch_size if "batch_size" in self.uses else config.embedder_batch_size
            require_training(config.widths, config.block_depth, config.image_shape, batch)

    @classmethod
    def uses_in_smoke(cls):
        """The fields that a smoke run uses: in the folder of results, it may train first."""
        return cls.uses | {"results"} | (frozenset() if cls.smoke_networks is None else TRAINING)

    def train_for_smoke(self, recorded):
        """Trains, in a smoke run, what the verb needs beyond `smoke_networks`.

        Args:
            recorded: the weights that there are, "<name>/<weights>".
        """

    @property
    def idle(self):
        """Flags that do nothing beside others: a dict from their names to "with ..."."""
        return {}

    @property
    def inputs(self):
        """Paths of the user's files that it reads."""
        return ()

    @property
    def outputs(self):
        if not self.sections and not self.writes:
            return None
        return Outputs(self.config.result_folder, "--results", self.inputs)

    def claim(self):
        super().claim()
        if "runs" in self.uses:
            require_folder(self.config.runs, "--runs")

    @property
    def options(self):
        """The flags that only this verb has, as JSON-compatible values: a dict."""
        names = {field.name for field in dataclasses.fields(self)} - {"config", "command"}
        return plain({name: getattr(self, name) for name in names})
