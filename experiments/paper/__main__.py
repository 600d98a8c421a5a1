"""Every table, figure and claim of the paper beside what was measured here (the ledger)."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from experiments.celeba import CELEBA
from experiments.cifar10 import CIFAR10
from experiments.fashion_mnist import FASHION_MNIST
from experiments.mnist import MNIST
from experiments.oxford_flowers import OXFORD_FLOWERS
from experiments.toolkit.command_line import UsageError
from experiments.toolkit.study import Study, main

# In the order of the paper's Table 1.
EXPERIMENTS = (MNIST, FASHION_MNIST, CIFAR10, OXFORD_FLOWERS, CELEBA)


@dataclasses.dataclass(frozen=True)
class Paper(Study):
    """The settings of the ledger.

    Existing results are read. Missing ones are computed if that takes minutes; delete a result to
    compute it again.

    Attributes:
        full: whether to compute results that take hours, too.
        make: whether to compute missing results at all.
        earlier: an earlier `ledger.json`, whose rows replace those of missing results.
    """

    name: ClassVar[str] = "paper"
    writes: ClassVar = ("ledger.json", "ledger.md", "index.html")

    full: bool = False
    make: bool = True
    earlier: Path | None = None

    def check(self):
        super().check()
        if self.full and not self.make:
            raise UsageError("--full does nothing with --no-make.")

    def run(self):
        from experiments.paper import report

        report.report(self, EXPERIMENTS)


if __name__ == "__main__":
    main(Paper())
