"""All four systems on bundled test images of Fashion-MNIST, with the shipped weights."""

import dataclasses
from typing import ClassVar

from experiments.toolkit.command_line import require
from experiments.toolkit.study import Study, main

BUNDLED = 1000


@dataclasses.dataclass(frozen=True)
class Demo(Study):
    """The settings of the tour.

    Attributes:
        images: test images, of the 1,000 that are bundled; more take longer, and give narrower
            intervals.
    """

    name: ClassVar[str] = "demo"
    writes: ClassVar = (
        "demo.json", "embedding.png", "inversion.png", "autoencoder.png", "h_space.png",
        "index.html",
    )  # fmt: skip

    images: int = 16

    def shrink(self):
        return dataclasses.replace(self, images=2, smoke=True)

    def check(self):
        super().check()
        require(self, "images", 2 <= self.images <= BUNDLED, f"from 2 to {BUNDLED}")

    def run(self):
        from experiments.demo import tour

        tour.report(self)


if __name__ == "__main__":
    main(Demo())
