"""Figures 6 and 7: the four diffusion schedules, as curves and as one image that they noise."""

import dataclasses
from typing import ClassVar

from experiments.configuration import require
from experiments.toolkit.study import Study, main


@dataclasses.dataclass(frozen=True)
class Schedules(Study):
    """The settings of the study.

    Attributes:
        image: which image of the bundled sample is noised.
        times: diffusion times at which it is shown, evenly from 0 to 1.
    """

    name: ClassVar[str] = "schedules"

    image: int = 0
    times: int = 9

    def check(self):
        super().check()
        require(0 <= self.image < 1000, "image", "from 0 to 999", self.image)
        require(2 <= self.times <= 50, "times", "from 2 to 50", self.times)


def run(study, command):
    """Writes `schedules.json`, two figures and `index.html`; returns the path of the page."""
    from experiments.schedules import figures as schedule_figures

    return schedule_figures.report(study, command)


if __name__ == "__main__":
    main(Schedules(), run)
