"""The verbs of diffusion autoencoders. Each imports its implementation when it runs."""

import dataclasses
from typing import ClassVar, Literal

from experiments.configuration import DENOISER, Verb
from experiments.toolkit.command_line import require_at_least, require_positive

_RESUMES = "The same command goes on from what is in the folder --runs."

_dataclass = dataclasses.dataclass(frozen=True, kw_only=True)


@_dataclass
class TrainAutoencoder(Verb):
    """Trains a semantic encoder and a decoder jointly. A killed run resumes.

    Attributes:
        start: "generator" modulates the recorded generator, whose weights are the start of the
            decoder; "nothing" starts with random weights.
        trunk_rate: with a generator, the learning rate of its weights in proportion to that of the
            encoder and of the modulations.
        encoder_depth: blocks at each level of the encoder.
    """

    uses: ClassVar = DENOISER | {"semantic_dims"}
    after_interrupt: ClassVar = _RESUMES
    one_core_per_operation: ClassVar = False
    smoke_networks: ClassVar = ()

    start: Literal["generator", "nothing"] = "generator"
    trunk_rate: float = 0.2
    encoder_depth: int = 1

    @property
    def idle(self):
        if self.start == "nothing":
            return {"trunk_rate": "with --start nothing"}
        return dict.fromkeys(["prediction", "padding"], "with --start generator")

    def check(self):
        super().check()
        require_positive(self, "trunk_rate")
        require_at_least(self, encoder_depth=1)

    def run(self):
        from experiments.autoencoder import training

        training.train_autoencoder(self)


VERBS = {
    "train-autoencoder": TrainAutoencoder,
}
