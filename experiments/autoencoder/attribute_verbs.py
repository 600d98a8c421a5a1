"""The verbs of attributes, edits and codes. Each imports its implementation when it runs."""

import dataclasses
import math
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

from experiments.autoencoder import attribute_sections as sections
from experiments.autoencoder.verbs import OfAutoencoder
from experiments.configuration import IMAGES, REPORTED, WEIGHTS
from experiments.toolkit.chunked import Chunked
from experiments.toolkit.command_line import (
    UsageError,
    require,
    require_at_least,
    require_positive,
)

_RESUMES = "The same command goes on from what is in the folder --runs."
# Where test images come from, and who shares in finding their codes.
_OF_TEST_IMAGES = "data", "source", "report_source", "images", "shown", "workers", "cluster"
# What trains, or reads images to train on.
_TRAINS = {"runs", "checkpoint_seconds", "padding", "mirror"}
# Images that codes are found of unless --images is given.
_IMAGES = 200

_dataclass = dataclasses.dataclass(frozen=True, kw_only=True)


class OfClassifier(OfAutoencoder):
    """A verb of the recorded classifier of attributes; a smoke run fits one."""

    def train_for_smoke(self, recorded):
        super().train_for_smoke(recorded)
        if f"{self.config.name}/classifier" not in recorded:
            from experiments.autoencoder import attributes

            attributes.fit(Attributes.defaults(self.config))


@_dataclass
class Attributes(OfAutoencoder):
    """Fits and records the classifier of attributes; measures what vectors tell of them (Table 8).

    Table 8 of Preechakul et al. (2022): AUROC, average precision and balanced accuracy of each
    attribute, beside classifiers on principal components of pixels, of latents x_T and of the
    U-Net's latents. Classes count as attributes. Where the data are mirrored in training, the
    classifiers see the mirror images, too, as published. StyleGAN's column is quoted. A killed run
    resumes.

    Attributes:
        penalty: of the classifiers' squared weights.
        train_images: training images at most; None for all.
        compared: training images at most of the classifiers on latents, and of others beside them;
            0 leaves latents out.
        least: positives, and negatives, in the test images that an attribute needs to count in a
            macro average.
    """

    uses: ClassVar = WEIGHTS | REPORTED | {"images", "runs", "mirror"}
    after_interrupt: ClassVar = _RESUMES
    tiny: ClassVar = {"train_images": 60, "compared": 40, "least": 1}
    sections: ClassVar = (sections.ATTRIBUTES,)

    # Of the least loss in cross-validation on the training vectors of CelebA; 10 and 100 are near.
    penalty: float = 30.0
    train_images: int | None = None
    compared: int = 2000
    least: int = 20

    def check(self):
        super().check()
        require_positive(self, "penalty")
        require_at_least(self, least=1)
        require(self, "compared", self.compared == 0 or self.compared >= 10, "0, or at least 10")
        require(self, "train_images", (self.train_images or 10) >= 10, "at least 10")

    def run(self):
        from experiments.autoencoder import attributes

        attributes.run(self)


@_dataclass
class Manipulate(Chunked, OfClassifier):
    """Changes attributes of test images, or of your own: strips, and what a judge says of them.

    Figures 1, 5 and 13, Equation 11 and Tables 9 and 10 of Preechakul et al. (2022); the judge is a
    convolutional network that is trained here, on pixels. D2C's and StyleGAN's pictures (Figure 17)
    are not available. Of your own images, each becomes a strip: the image, and its edits. The
    classifier is that of `attributes`. A killed run resumes.

    Attributes:
        files: images in any usual format; they are cropped to the central square and resized.
        attribute: names of attributes; those of the paper, or the first ones, by default.
        strength: steps along the attribute's direction, in units of the square root of the vector's
            length; negative ones take the attribute away. A figure of test images shows the median
            beside them.
        median: with files, whether each image is moved to the median of images that have the
            attribute (Equation 11), along the classifier's pattern, instead of by --strength.
        judge_steps: training steps of the judge.
        train_images: training images at most; None for all.
    """

    uses: ClassVar = WEIGHTS | REPORTED | _TRAINS | {"images", "shown"}
    after_interrupt: ClassVar = _RESUMES
    tiny: ClassVar = {
        "attribute": ("Trouser", "Bag"), "strength": (-0.3, 0.3), "judge_steps": 3,
        "train_images": 60,
    }  # fmt: skip
    sections: ClassVar = (sections.MANIPULATION, sections.MANIPULATION_OF_FILES)

    files: Positional[tuple[Path, ...]] = ()
    attribute: tuple[str, ...] = ()
    strength: tuple[float, ...] = (-0.6, -0.3, 0.3, 0.6)
    median: bool = False
    judge_steps: int = 2000
    train_images: int | None = None

    @classmethod
    def defaults(cls, config):
        return super().defaults(dataclasses.replace(config, images=min(config.images, _IMAGES)))

    @property
    def inputs(self):
        return self.files

    @property
    def idle(self):
        if not self.files:
            return {"median": "without files: it is always shown"}
        idle = dict.fromkeys([*_OF_TEST_IMAGES, "judge_steps", "train_images"], "with files")
        return idle | ({"strength": "with --median"} if self.median else {})

    @property
    def held(self):
        return 2 * self.config.images

    def check(self):
        super().check()
        require_at_least(self, judge_steps=1)
        finite = self.strength and all(map(math.isfinite, self.strength))
        require(self, "strength", finite, "finite numbers")
        require_at_least(self.config, images=2)
        require(self, "train_images", (self.train_images or 10) >= 10, "at least 10")

    def run(self):
        from experiments.autoencoder import manipulation

        manipulation.run(self)


@_dataclass
class Neighbours(OfAutoencoder):
    """Samples --images images, and finds their nearest training images (Figure 9).

    By the vector, by LPIPS and by pixels, of Preechakul et al. (2022), beside how near test images
    are. Without a trained prior, samples are of a Gaussian.

    Attributes:
        train_images: training images at most; None for all.
    """

    uses: ClassVar = WEIGHTS | REPORTED | {"images", "shown", "runs"}
    tiny: ClassVar = {"train_images": 16}
    sections: ClassVar = (sections.NEIGHBOURS,)

    train_images: int | None = None

    @classmethod
    def defaults(cls, config):
        return super().defaults(dataclasses.replace(config, images=min(config.images, _IMAGES)))

    @property
    def held(self):
        return 2 * self.config.images

    def check(self):
        super().check()
        require_at_least(self.config, images=2)
        require(self, "train_images", (self.train_images or 10) >= 10, "at least 10")

    def run(self):
        from experiments.autoencoder import neighbours

        neighbours.run(self)


@_dataclass
class InterpolateCodes(Chunked, OfAutoencoder):
    """Interpolates between codes of images, beside DDIM's latents and pixels: strips, path lengths.

    Figures 1, 4 and 14 and the path lengths (PPL) of Appendix F of Preechakul et al. (2022), here
    by AlexNet's LPIPS, of which the ratio compares. StyleGAN2's strips and those of LSUN (Figures
    15 and 16) are not available. A killed run resumes.

    Attributes:
        files: two images in any usual format; without them, pairs of test images.
        frames: images of the interpolation, including both ends.
        ways: pairs of test images.
    """

    uses: ClassVar = WEIGHTS | REPORTED | {"runs"}
    after_interrupt: ClassVar = _RESUMES
    tiny: ClassVar = {"ways": 2, "frames": 3}
    sections: ClassVar = (sections.CODE_INTERPOLATION,)

    files: Positional[tuple[Path, ...]] = ()
    frames: int = 9
    ways: int = 60

    @property
    def inputs(self):
        return self.files

    @property
    def idle(self):
        return dict.fromkeys([*_OF_TEST_IMAGES, "ways"], "with files") if self.files else {}

    @property
    def held(self):
        return 6 * self.frames + 16 * self.ways

    def check(self):
        super().check()
        if len(self.files) not in (0, 2):
            raise UsageError(
                f"`interpolate-codes` takes two images, or none. Received: {len(self.files)}"
            )
        require_at_least(self, frames=2, ways=2)

    def run(self):
        from experiments.autoencoder import code_interpolation

        code_interpolation.run(self)


@_dataclass
class Detect(OfClassifier):
    """Trains small networks to tell generated images from real ones (Appendix L).

    Preechakul et al. (2022), by the number of steps: images of DDIM, samples of prior and decoder,
    and images of which an attribute was changed. A killed run resumes.

    Attributes:
        steps: numbers of sampler steps.
        fakes: generated images of each kind, and as many real ones.
        detector_steps: training steps of each detector.
    """

    uses: ClassVar = WEIGHTS | IMAGES | _TRAINS | {"results"}
    after_interrupt: ClassVar = _RESUMES
    tiny: ClassVar = {"steps": (1, 2), "fakes": 10, "detector_steps": 2}
    sections: ClassVar = (sections.DETECTION,)

    steps: tuple[int, ...] = (10, 20, 50, 100)
    fakes: int = 500
    detector_steps: int = 500

    @property
    def held(self):
        return 4 * self.fakes

    def check(self):
        super().check()
        require_at_least(self, fakes=10, detector_steps=1)
        require(self, "steps", self.steps and min(self.steps) > 0, "positive numbers")

    def run(self):
        from experiments.autoencoder import detection

        detection.run(self)


VERBS = {
    "attributes": Attributes,
    "manipulate": Manipulate,
    "neighbours": Neighbours,
    "interpolate-codes": InterpolateCodes,
    "detect": Detect,
}
