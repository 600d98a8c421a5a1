"""The verbs of the prior and of samples. Each imports its implementation when it runs."""

import dataclasses
from typing import ClassVar, Literal

from experiments.autoencoder import sampling_sections as sections
from experiments.autoencoder.verbs import OfAutoencoder
from experiments.configuration import IMAGES, WEIGHTS
from experiments.toolkit.command_line import require, require_at_least

_RESUMES = "The same command goes on from what is in the folder --runs."

# Test images at least, unless --images is given: of fewer vectors the distance says less.
_TEST_IMAGES = 1000

_dataclass = dataclasses.dataclass(frozen=True, kw_only=True)


def _require_unless_none(verb, **least):
    given = {name: value for name, value in least.items() if getattr(verb, name) is not None}
    require_at_least(verb, **given)


@_dataclass
class TrainPrior(OfAutoencoder):
    """Trains the distribution of an autoencoder's semantic vectors, from which it samples.

    The latent DDIM of Preechakul et al. (2022), Sec. 4. Training ends when the loss of held-out
    images no longer falls; the learning rate is constant, and --train-steps the most. The verb
    `priors` says how good it is. A killed run resumes.

    Attributes:
        hidden: width of the network's layers.
        depth: number of its layers.
        dropout: share of its units that are left out in training.
        schedule: how much noise there is at each diffusion time.
        validation_steps: steps from one validation to the next.
        patience: validations without a better one after which training ends.
        train_images: training images at most; None for all.
    """

    uses: ClassVar = WEIGHTS - {"num_steps"} | IMAGES | {
        "images", "mirror", "train_steps", "batch_size", "learning_rate", "loss", "prediction",
        "runs", "results", "strategy",
    }  # fmt: skip
    after_interrupt: ClassVar = _RESUMES
    one_core_per_operation: ClassVar = False
    tiny: ClassVar = {"hidden": 8, "depth": 2, "validation_steps": 2, "train_images": 64}
    sections: ClassVar = (sections.TRAINING,)

    hidden: int = 512
    depth: int = 10
    dropout: float = 0.0
    schedule: Literal["constant", "linear", "cosine", "continuous_cosine"] = "constant"
    validation_steps: int = 250
    patience: int = 8
    train_images: int | None = None

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
                images=max(config.images, _TEST_IMAGES),
            )
        return super().defaults(config)

    def check(self):
        super().check()
        require_at_least(self, hidden=1, depth=2, validation_steps=1, patience=1)
        require_at_least(self.config, images=2)
        require(self, "dropout", 0 <= self.dropout < 1, "from 0 to below 1")
        _require_unless_none(self, train_images=2)

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
class Priors(OfPrior):
    """Compares the recorded prior with a fitted Gaussian, and with priors of other settings.

    Preechakul et al. (2022), Sec. 4: how far samples are from vectors of --images test images, by
    Frechet distance, and from the nearest training vector; with --ablation the table of Appendix
    A.1. A killed run resumes.

    Attributes:
        train_images: training images at most, as many as the prior was trained on; None for all.
        samples: sampled vectors that are compared with those of test images.
        ablation: whether to train priors of other losses, schedules and sizes.
        ablation_steps: training steps of each of these at most.
    """

    uses: ClassVar = WEIGHTS - {"num_steps"} | IMAGES | {"images", "mirror", "runs", "results"}
    after_interrupt: ClassVar = _RESUMES
    one_core_per_operation: ClassVar = False
    tiny: ClassVar = {"train_images": 64, "samples": 64, "ablation_steps": 2}
    sections: ClassVar = (sections.PRIORS,)

    train_images: int | None = None
    samples: int = 10_000
    ablation: bool = False
    ablation_steps: int = 1000

    @property
    def idle(self):
        return {} if self.ablation else {"ablation_steps": "without --ablation"}

    @classmethod
    def defaults(cls, config):
        if not config.smoke:
            config = dataclasses.replace(config, images=max(config.images, _TEST_IMAGES))
        return super().defaults(config)

    def check(self):
        super().check()
        require_at_least(self, samples=2, ablation_steps=1)
        require_at_least(self.config, images=2)
        _require_unless_none(self, train_images=2)

    def run(self):
        from experiments.autoencoder import priors

        priors.compare(self)


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
    sections: ClassVar = (sections.SAMPLES,)

    steps: tuple[int, ...] = (10, 20, 50, 100)
    prior_steps: int | None = None
    references: int = 5000

    @property
    def held(self):
        return self.config.images

    def check(self):
        super().check()
        require(self, "steps", self.steps and min(self.steps) > 0, "positive numbers")
        _require_unless_none(self, prior_steps=1)
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
    sections: ClassVar = (sections.CLASSES,)

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
        _require_unless_none(self, prior_steps=1)
        _require_unless_none(self, train_images=2)

    def run(self):
        from experiments.autoencoder import sampling

        sampling.sample_classes(self)


VERBS = {
    "train-prior": TrainPrior,
    "priors": Priors,
    "sample-semantic": SampleSemantic,
    "sample-classes": SampleClasses,
}
