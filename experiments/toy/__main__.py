"""Where latents land on a circle and on two moons, and how they get there (Figs 8 and 9)."""

import dataclasses
import math
from typing import ClassVar, Literal

from ddim_embed.console import flag
from ddim_embed.memory import require_memory
from experiments.toolkit.command_line import require, require_at_least, require_positive
from experiments.toolkit.study import Study, main

_POSITIVE = (
    "points", "max_signal_rate", "num_steps", "train_steps", "batch_size", "learning_rate", "width",
    "depth", "samples", "grid",
)  # fmt: skip


LOSSES = ("mean_absolute_error", "mean_squared_error")


@dataclasses.dataclass(frozen=True)
class Toy(Study):
    """The settings of the study.

    Attributes:
        points: number of data of each set.
        noise: deviation of the Gaussian noise added to the data, over their own deviation.
        max_signal_rate: signal rate at t=0; the paper's 0.95 for images is too noisy for points.
        num_steps: sampler steps.
        losses: losses of the networks, one network for each.
        train_steps: training steps (Adam, cosine decay).
        batch_size: points in each of these steps.
        learning_rate: the highest learning rate in these steps.
        width: units in each hidden layer of the network.
        depth: number of hidden layers.
        samples: number of Gaussian latents of the measurements.
        grid: number of latents along each side of the maps.
    """

    name: ClassVar[str] = "toy"
    writes: ClassVar = (
        "toy.json", "fig08_gravity.png", "fig09ab_maps.png", "fig09cd_embeddings.png",
        "trajectories.png", "distributions.png", "noises.png", "index.html",
    )  # fmt: skip

    points: int = 1000
    noise: float = 0.0
    max_signal_rate: float = 0.999
    num_steps: int = 50
    losses: tuple[Literal[LOSSES], ...] = LOSSES
    train_steps: int = 3000
    batch_size: int = 512
    learning_rate: float = 2e-3
    width: int = 128
    depth: int = 3
    samples: int = 2000
    grid: int = 101

    def shrink(self):
        return dataclasses.replace(
            self,
            points=64,
            num_steps=5,
            train_steps=20,
            batch_size=32,
            width=16,
            depth=2,
            samples=100,
            grid=31,
            smoke=True,
        )

    def check(self):
        super().check()
        require_positive(self, *_POSITIVE)
        require(self, "noise", 0 <= self.noise < math.inf, "at least 0")
        in_range = 0.02 < self.max_signal_rate < 1
        require(self, "max_signal_rate", in_range, "above 0.02 and below 1")
        require(self, "losses", len({*self.losses}) == len(self.losses), "different words")
        require_at_least(self, points=10, samples=10, grid=5)
        floats = {
            "points": 2 * self.points,
            "samples": 2 * self.samples * self.num_steps * (2 + len(self.losses)),
            "grid": 2 * self.grid**2 * (1 + len(self.losses)),
            "width": 4 * self.width**2 * self.depth,
            "batch_size": self.batch_size * self.width * self.depth,
        }
        for name, count in floats.items():
            require_memory(4 * count, f"{flag(name)} {getattr(self, name)}")

    def run(self):
        from experiments.toy import report

        report.report(self)


if __name__ == "__main__":
    main(Toy())
