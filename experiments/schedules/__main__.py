"""Figures 6 and 7: the four diffusion schedules, as curves and applied to one image."""

import dataclasses
from typing import ClassVar

from experiments.toolkit.command_line import require
from experiments.toolkit.study import Study, main


@dataclasses.dataclass(frozen=True)
class Schedules(Study):
    """The settings of the study.

    Attributes:
        image: index of an image of the bundled sample.
        times: number of diffusion times, evenly from 0 to 1, at which it is shown.
    """

    name: ClassVar[str] = "schedules"
    writes: ClassVar = (
        "schedules.json", "fig06_schedules.png", "fig07_noised.png", "index.html",
    )  # fmt: skip

    image: int = 0
    times: int = 9

    def check(self):
        super().check()
        require(self, "image", 0 <= self.image < 1000, "from 0 to 999")
        require(self, "times", 2 <= self.times <= 50, "from 2 to 50")

    def run(self):
        from experiments.schedules import figures

        figures.report(self)


if __name__ == "__main__":
    main(Schedules())
