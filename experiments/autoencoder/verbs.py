"""The verbs of diffusion autoencoders. Each imports its implementation when it runs."""

import dataclasses
import math
from typing import ClassVar, Literal

from experiments.autoencoder import sections
from experiments.configuration import DENOISER, REPORTED, WEIGHTS, Verb
from experiments.toolkit.chunked import Chunked
from experiments.toolkit.command_line import require, require_at_least, require_positive

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
        encoder_widths: channels at each level of the encoder; None for --widths and the last of
            them once more. The last must not be below --semantic-dims: all that the vector tells
            are means of so many features.
        encoder_steps: steps in which the encoder alone learns the principal components of the
            images, before it is trained with the decoder; see `EncoderModel`. 0 for none.
        encoder_rate: the highest learning rate in these steps.
        emphasis: how much oftener than others the noisiest images are seen; see `AutoencoderModel`.
    """

    uses: ClassVar = DENOISER | {"semantic_dims"}
    after_interrupt: ClassVar = _RESUMES
    one_core_per_operation: ClassVar = False
    smoke_networks: ClassVar = ()
    tiny: ClassVar = {"encoder_steps": 2}

    start: Literal["generator", "nothing"] = "generator"
    trunk_rate: float = 0.2
    encoder_depth: int = 1
    encoder_widths: tuple[int, ...] | None = None
    encoder_steps: int = 2_000
    encoder_rate: float = 2e-3
    emphasis: float = 3.0

    @property
    def idle(self):
        if self.start == "nothing":
            return {"trunk_rate": "with --start nothing"}
        return dict.fromkeys(["prediction", "padding"], "with --start generator")

    def check(self):
        super().check()
        require_positive(self, "trunk_rate", "emphasis", "encoder_rate")
        require_at_least(self, encoder_depth=1, encoder_steps=0)
        if self.encoder_widths is not None:
            require(self, "encoder_widths", min(self.encoder_widths, default=0) > 0, "positive")

    def run(self):
        from experiments.autoencoder import training

        training.train_autoencoder(self)


class OfAutoencoder(Verb):
    """A verb of a recorded autoencoder; a smoke run trains a tiny one."""

    smoke_networks: ClassVar = ()

    @classmethod
    def uses_in_smoke(cls):
        return super().uses_in_smoke() | {"semantic_dims"}

    def train_for_smoke(self, recorded):
        if f"{self.config.name}/autoencoder" not in recorded:
            from experiments.autoencoder import training

            training.train_autoencoder(TrainAutoencoder.defaults(self.config))


# The number of images unless --images is given.
_IMAGES = 200


@_dataclass
class Autoencode(Chunked, OfAutoencoder):
    """Encodes test images and decodes them: errors, costs, and what the vector knows.

    Tables 1 and 2 and Figures 3, 6, 10, 11 and 12 of Preechakul et al. (2022), beside a plain
    convolutional autoencoder with a code of the same length and the unconditional generator. Rows
    of StyleGAN2, VQ-GAN, VQ-VAE2 and NVAE are quoted. Table 2 b to e is of `compare-autoencoders`.
    A killed run resumes.

    Attributes:
        steps: numbers of sampler steps of Table 2.
        lbfgs: iterations of L-BFGS after the corrections; 0 for none.
        penalty: weight of the latents' squares in these, which then follow the implicit inversion;
            see `LBFGS`.
        members: random latents for each vector of Figure 3.
        baseline_steps: training steps of the convolutional autoencoder; 0 leaves it out.
    """

    uses: ClassVar = WEIGHTS | REPORTED | {
        "images", "shown", "runs", "mirror", "precision", "batch_size", "learning_rate",
        "checkpoint_seconds",
    }  # fmt: skip
    after_interrupt: ClassVar = _RESUMES
    tiny: ClassVar = {"steps": (1, 2), "members": 3, "baseline_steps": 2}
    sections: ClassVar = (sections.AUTOENCODE,)

    steps: tuple[int, ...] = (10, 20, 50, 100)
    lbfgs: int = 0
    penalty: float = 0.0
    members: int = 16
    baseline_steps: int = 1500

    @classmethod
    def defaults(cls, config):
        return super().defaults(dataclasses.replace(config, images=min(config.images, _IMAGES)))

    @property
    def held(self):
        return max(self.config.images, self.config.shown * self.members)

    @property
    def idle(self):
        return {} if self.lbfgs else {"penalty": "with --lbfgs 0"}

    def check(self):
        super().check()
        require_at_least(self, lbfgs=0, members=2, baseline_steps=0)
        require(self, "penalty", 0 <= self.penalty < math.inf, "at least 0")
        require_at_least(self.config, images=2)
        require(self, "steps", self.steps and min(self.steps) > 0, "positive numbers")

    def run(self):
        from experiments.autoencoder import autoencode

        autoencode.run(self)


@_dataclass
class CompareAutoencoders(Verb):
    """Trains autoencoders that differ in one thing, and compares what their vectors hold.

    Table 2 b to e of Preechakul et al. (2022): vectors of several lengths, each with a decoder that
    starts as the recorded generator. With --adaptive-steps the published network is trained, too,
    from random weights: choose as many as take the same seconds. None is recorded; all else is as
    `train-autoencoder` has it. A killed run resumes.

    Attributes:
        dims: lengths of the semantic vectors.
        adaptive_steps: training steps of an `AdaptiveUNet` from random weights, with vectors of
            --semantic-dims; 0 for none.
        steps: numbers of sampler steps that random latents are decoded with.
        encoder_steps: steps in which each encoder alone learns the principal components of the
            images, before it is trained with the decoder.
    """

    uses: ClassVar = DENOISER - {"further", "prediction", "padding"} | REPORTED | {
        "semantic_dims", "num_steps",
    }  # fmt: skip
    after_interrupt: ClassVar = _RESUMES
    one_core_per_operation: ClassVar = False
    smoke_networks: ClassVar = ()
    tiny: ClassVar = {"dims": (2, 4), "adaptive_steps": 2, "steps": (1, 2), "encoder_steps": 2}
    sections: ClassVar = (sections.COMPARISON,)

    dims: tuple[int, ...] = ()
    adaptive_steps: int = 0
    steps: tuple[int, ...] = (10,)
    encoder_steps: int = TrainAutoencoder.encoder_steps

    @classmethod
    def defaults(cls, config):
        # As the paper's 64 to 512, from an eighth up to the size that it calls for.
        dims = tuple(max(1, config.semantic_dims * 2 // part) for part in (8, 4, 2, 1))
        return dataclasses.replace(
            super().defaults(config), **({} if config.smoke else {"dims": dims})
        )

    @property
    def idle(self):
        return {} if self.adaptive_steps else {"semantic_dims": "with --adaptive-steps 0"}

    def check(self):
        super().check()
        require_at_least(self, adaptive_steps=0, encoder_steps=0)
        require_at_least(self.config, images=2)
        require(self, "steps", self.steps and min(self.steps) > 0, "positive numbers")
        require(self, "dims", self.dims and min(self.dims) > 0, "positive numbers")
        require(self, "dims", len({*self.dims}) == len(self.dims), "different numbers")

    def run(self):
        from experiments.autoencoder import comparison

        comparison.run(self)


@_dataclass
class Throughput(OfAutoencoder):
    """Sizes, budget and speed of an autoencoder, its prior and its generator, side by side.

    Tables 5, 6 and 7 of Preechakul et al. (2022), and the multiplications of an evaluation. Needs
    no images.

    Attributes:
        rounds: turns that training steps and decodes of both get.
    """

    uses: ClassVar = WEIGHTS | {"results", "precision", "batch_size", "image_size", "channels"}
    tiny: ClassVar = {"rounds": 2}
    sections: ClassVar = (sections.THROUGHPUT,)

    rounds: int = 9

    @property
    def held(self):
        return self.config.batch_size

    def check(self):
        super().check()
        require_at_least(self, rounds=2)

    def run(self):
        from experiments.autoencoder import cost

        cost.run(self)


VERBS = {
    "train-autoencoder": TrainAutoencoder,
    "autoencode": Autoencode,
    "compare-autoencoders": CompareAutoencoders,
    "throughput": Throughput,
}
