"""What an experiment is: one frozen dataclass, whose fields are also the command line's flags."""

import dataclasses
from pathlib import Path

NETWORKS = ("conv1", "conv3_16", "conv3_64", "conv5_128", "unet")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The configuration of one data set.

    Attributes:
        name: data set; names the folders of weights and results.
        data: what `load_images` takes: a catalogue name or a path.
        source: where data come from, as for `load_images`.
        image_size: height and width in pixels, padding included.
        channels: image channels.
        padding: rows and columns at each border that hold no data and count in no error.
        widths, block_depth: sizes of the denoiser, and of the `unet` embedding network.
        num_steps: sampler steps.
        precision: "float32" or "bfloat16", in training; errors are always computed in float32.
        train_steps, batch_size, learning_rate: the denoiser's training (Adam, cosine decay).
        pairs: generated images for the warm start of the embedding networks; 0 for none.
        warm_start_steps, warm_start_batch_size, warm_start_learning_rate: regression on them.
        embedder_steps, embedder_batch_size, embedder_learning_rate: training through the sampler.
        remat: whether that training recomputes activations to save memory.
        images: test images that a report embeds.
        shown: images in each figure.
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
    source: str = "auto"
    image_size: int = 32
    channels: int = 1
    padding: int = 0
    widths: tuple[int, ...] = (32, 64, 96, 128)
    block_depth: int = 2
    num_steps: int = 10
    precision: str = "bfloat16"
    train_steps: int = 10_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    pairs: int = 20_000
    warm_start_steps: int = 4_000
    warm_start_batch_size: int = 32
    warm_start_learning_rate: float = 1e-3
    embedder_steps: int = 3_000
    embedder_batch_size: int = 16
    embedder_learning_rate: float = 2e-4
    remat: bool = False
    images: int = 1_000
    shown: int = 8
    seed: int = 0
    weights: Path | None = None
    results: Path = Path("results")
    runs: Path = Path("runs")
    smoke: bool = False
    paper_mse: dict[str, float] = dataclasses.field(default_factory=dict)
    paper_table2: tuple[float, float] | None = None

    @property
    def image_shape(self):
        """(height, width, channels) of pixels and of latents."""
        return (self.image_size, self.image_size, self.channels)

    @property
    def run_folder(self):
        """Where checkpoints of this experiment lie."""
        return self.runs / self.name

    @property
    def result_folder(self):
        """Where results of this experiment are written."""
        return self.results / self.name


def shrink(config):
    """The `--smoke` version of a configuration: the bundled sample, tiny networks, few steps.

    Weights and checkpoints go to a folder of their own, so that nothing real is overwritten.
    """
    folder = config.results / f"{config.name}-smoke"
    return dataclasses.replace(
        config,
        data="fashion_mnist",
        source="sample",
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
        weights=folder / "weights",
        results=folder,
        runs=folder / "runs",
        smoke=True,
    )
