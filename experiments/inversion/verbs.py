"""The verb of the project on inversion. It imports its implementation when it runs."""

import dataclasses
from typing import ClassVar

from tyro.conf import Positional

from experiments.configuration import NETWORKS, REPORTED, WEIGHTS, Verb
from experiments.inversion import sections
from experiments.toolkit.chunked import Chunked

# The number of images unless --images is given.
_IMAGES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare(Chunked, Verb):
    """Embeds the same images with every method: error against cost, with a plot.

    A killed run resumes.

    Attributes:
        methods: names of methods; all by default.
    """

    uses: ClassVar = WEIGHTS | REPORTED | {"images", "shown", "runs"}
    after_interrupt: ClassVar = "The same command goes on from what is in the folder --runs."
    smoke_networks: ClassVar = NETWORKS
    sections: ClassVar = (sections.COMPARISON,)

    methods: Positional[tuple[str, ...]] = ()

    @classmethod
    def defaults(cls, config):
        return cls(config=dataclasses.replace(config, images=min(config.images, _IMAGES)))

    def run(self):
        from experiments.inversion import comparison

        comparison.run(self)


VERBS = {"compare": Compare}
