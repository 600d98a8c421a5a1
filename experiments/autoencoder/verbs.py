"""The verbs of diffusion autoencoders. Each imports its implementation when it runs."""

import dataclasses
from typing import ClassVar, Literal

from experiments.autoencoder import sampling_sections, sections
from experiments.configuration import DENOISER, IMAGES, REPORTED, WEIGHTS, Verb
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


class OfAutoencoder(Verb):
    """A verb of a recorded autoencoder; a smoke run trains a tiny one."""

    smoke_networks: ClassVar = ()

    @classmethod
    def uses_in_smoke(cls):
        return super().uses_in_smoke() | {"semantic_dims"}

    def train_for_smoke(self, recorded):
        if f"{self.config.name}/autoencoder" not in recorded:
            from experiments.autoencoder import training

            training.train_autoencoder(TrainAutoencoder(config=self.config))


# The number of images unless --images is given.
_IMAGES = 200


@_dataclass
class Autoencode(OfAutoencoder):
    """Encodes test images and decodes them: errors, costs, and what the vector knows.

    Tables 1 and 2 and Figures 3, 6, 10, 11 and 12 of Preechakul et al. (2022), beside a plain
    convolutional autoencoder with a code of the same length and the unconditional generator. Rows
    of StyleGAN2, VQ-GAN, VQ-VAE2 and NVAE are quoted. Table 2 b to e needs autoencoders of other
    `--semantic-dims`, each trained and run under a `--name` of its own. A killed run resumes.

    Attributes:
        steps: numbers of sampler steps of Table 2.
        lbfgs: iterations of L-BFGS after the corrections; 0 for none.
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
    members: int = 16
    baseline_steps: int = 1500

    @classmethod
    def defaults(cls, config):
        return super().defaults(dataclasses.replace(config, images=min(config.images, _IMAGES)))

    @property
    def held(self):
        return max(self.config.images, self.config.shown * self.members)

    def check(self):
        super().check()
        require_at_least(self, lbfgs=0, members=2, baseline_steps=0)
        require_at_least(self.config, images=2)
        require(self, "steps", self.steps and min(self.steps) > 0, "positive numbers")

    def run(self):
        from experiments.autoencoder import autoencode

        autoencode.run(self)


@_dataclass
class TrainPrior(OfAutoencoder):
    """Trains the distribution of an autoencoder's semantic vectors, from which it samples.

    The latent DDIM of Preechakul et al. (2022), Sec. 4, beside a fitted Gaussian; with --ablation
    the table of Appendix A.1. Training ends when the loss of held-out images no longer falls; the
    learning rate is constant, and --train-steps the most. A killed run resumes.

    Attributes:
        hidden: width of the network's layers.
        depth: number of its layers.
        dropout: share of its units that are left out in training.
        schedule: how much noise there is at each diffusion time.
        validation_steps: steps from one validation to the next.
        patience: validations without a better one after which training ends.
        train_images: training images at most; None for all.
        samples: sampled vectors that are compared with those of --images test images.
        ablation: whether to train priors of other losses, schedules and sizes, too.
        ablation_steps: training steps of each of these at most.
    """

    uses: ClassVar = WEIGHTS - {"num_steps"} | IMAGES | {
        "images", "mirror", "train_steps", "batch_size", "learning_rate", "loss", "prediction",
        "runs", "results",
    }  # fmt: skip
    after_interrupt: ClassVar = _RESUMES
    one_core_per_operation: ClassVar = False
    tiny: ClassVar = {
        "hidden": 8, "depth": 2, "validation_steps": 2, "train_images": 64, "samples": 64,
        "ablation_steps": 2,
    }  # fmt: skip
    sections: ClassVar = (sampling_sections.PRIOR,)

    hidden: int = 512
    depth: int = 10
    dropout: float = 0.0
    schedule: Literal["constant", "linear", "cosine", "continuous_cosine"] = "constant"
    validation_steps: int = 250
    patience: int = 8
    train_images: int | None = None
    samples: int = 10_000
    ablation: bool = False
    ablation_steps: int = 1000

    @classmethod
    def defaults(cls, config):
        if not config.smoke:
            config = dataclasses.replace(
                config,
                train_steps=20_000,
                batch_size=256,
                learning_rate=5e-4,
                loss="mean_absolute_error",
                prediction="noise",
                images=max(config.images, 1000),
            )
        return super().defaults(config)

    def check(self):
        super().check()
        require_at_least(self, hidden=1, depth=2, validation_steps=1, patience=1, samples=2)
        require_at_least(self, ablation_steps=1)
        require_at_least(self.config, images=2)
        require(self, "dropout", 0 <= self.dropout < 1, "from 0 to below 1")
        require(self, "train_images", (self.train_images or 2) > 1, "at least 2")

    def run(self):
        from experiments.autoencoder import priors

        priors.train_prior(self)


class OfPrior(OfAutoencoder):
    """A verb of a recorded autoencoder and its prior; a smoke run trains tiny ones."""

    def train_for_smoke(self, recorded):
        super().train_for_smoke(recorded)
        if f"{self.config.name}/prior" not in recorded:
            TrainPrior.defaults(self.config).run()


@_dataclass
class SampleSemantic(OfPrior):
    """Samples images from the prior, and compares their distribution with DDIM's.

    Table 4 and Figure 20 of Preechakul et al. (2022), by Frechet distance on the data set's own
    classifier or on AlexNet: of DDIM, of the prior's vectors, and of vectors of held-out images
    ("+ autoencoding"), --images of each. LSUN's pictures (Figures 21, 22) are not available. A
    killed run resumes.

    Attributes:
        steps: numbers of sampler steps.
        prior_steps: sampler steps of the prior; None for as many as the decoder's, as published.
        references: training images that samples are compared with.
    """

    uses: ClassVar = WEIGHTS | IMAGES | {"images", "shown", "runs", "results"}
    after_interrupt: ClassVar = _RESUMES
    tiny: ClassVar = {"steps": (1, 2), "references": 32}
    sections: ClassVar = (sampling_sections.SAMPLES,)

    steps: tuple[int, ...] = (10, 20, 50, 100)
    prior_steps: int | None = None
    references: int = 5000

    @property
    def held(self):
        return self.config.images

    def check(self):
        super().check()
        require(self, "steps", self.steps and min(self.steps) > 0, "positive numbers")
        require(self, "prior_steps", (self.prior_steps or 1) > 0, "positive")
        require_at_least(self, references=2)
        require_at_least(self.config, images=2)

    def run(self):
        from experiments.autoencoder import sampling

        sampling.sample_semantic(self)


@_dataclass
class SampleClasses(OfPrior):
    """Samples images of a class from the prior, with few labels.

    Table 3 and Figures 18 and 19 of Preechakul et al. (2022): binary labels, and positive and
    unlabelled images; --images samples of each class, compared with its test images by Frechet
    distance. The paper's pictures of D2C (Figure 17) are not available. A killed run resumes.

    Attributes:
        classes: names of attributes or classes, or these with "not " before them; by default those
            of the paper, or the first two classes.
        labels: binary: images of the class that are labelled, and as many others.
        positives: positive-unlabelled: images of the class that are labelled.
        unlabelled: images without labels beside these, at most.
        threshold: probability below which a vector is rejected in any case.
        repeats: choices of the labelled images, and sets of samples.
        prior_steps: sampler steps of the prior; None for its own.
        train_images: training images at most; None for all.
    """

    uses: ClassVar = WEIGHTS | IMAGES | {"images", "shown", "runs", "results"}
    after_interrupt: ClassVar = _RESUMES
    tiny: ClassVar = {
        "labels": 3, "positives": 4, "unlabelled": 20, "threshold": 0.0, "repeats": 2,
        "prior_steps": 2, "train_images": 100,
    }  # fmt: skip
    sections: ClassVar = (sampling_sections.CLASSES,)

    classes: tuple[str, ...] = ()
    labels: int = 50
    positives: int = 100
    unlabelled: int = 10_000
    threshold: float = 0.5
    repeats: int = 3
    prior_steps: int | None = None
    train_images: int | None = None

    @property
    def held(self):
        return self.config.images

    def check(self):
        super().check()
        require_at_least(self, labels=1, positives=1, unlabelled=1, repeats=1)
        require_at_least(self.config, images=2)
        require(self, "threshold", 0 <= self.threshold < 1, "from 0 to below 1")
        require(self, "prior_steps", (self.prior_steps or 1) > 0, "positive")
        require(self, "train_images", (self.train_images or 2) > 1, "at least 2")

    def run(self):
        from experiments.autoencoder import sampling

        sampling.sample_classes(self)


VERBS = {
    "train-autoencoder": TrainAutoencoder,
    "autoencode": Autoencode,
    "train-prior": TrainPrior,
    "sample-semantic": SampleSemantic,
    "sample-classes": SampleClasses,
}
