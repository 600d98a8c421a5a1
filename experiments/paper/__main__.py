"""Every table, figure and claim of the paper beside what was measured here (the ledger)."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from experiments.celeba import CELEBA
from experiments.cifar10 import CIFAR10
from experiments.fashion_mnist import FASHION_MNIST
from experiments.mnist import MNIST
from experiments.oxford_flowers import OXFORD_FLOWERS
from experiments.toolkit.study import Study, main

# In the order of the paper's Table 1.
EXPERIMENTS = (MNIST, FASHION_MNIST, CIFAR10, OXFORD_FLOWERS, CELEBA)


@dataclasses.dataclass(frozen=True)
class Paper(Study):
    """The settings of the ledger.

    Results that lie in the folder of results are read. What is missing is made, if it takes
    minutes; delete a result to have it made again.

    Attributes:
        full: whether to make what takes hours, too.
        make: whether to make anything; without it only what there is gets a verdict.
        earlier: a `ledger.json` of before, whose rows stand for results that are not here now.
    """

    name: ClassVar[str] = "paper"

    full: bool = False
    make: bool = True
    earlier: Path | None = None


def run(study, command):
    """Writes `ledger.json` and `index.html`; returns what `ledger.json` holds."""
    from experiments.paper import report

    return report.report(study, EXPERIMENTS, command)


if __name__ == "__main__":
    main(Paper(), run)
