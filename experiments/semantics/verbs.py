"""The verbs of the h-space. Each imports its implementation when it runs."""

import dataclasses
import math
from typing import ClassVar, Literal

from experiments.configuration import METHODS, REPORTED, WEIGHTS, Verb
from experiments.semantics import sections
from experiments.toolkit.chunked import Chunked
from experiments.toolkit.command_line import (
    UsageError,
    require,
    require_at_least,
    require_positive,
)

_RESUMES = "The same command goes on from what is in the folder --runs."
# Test images of each attribute unless --images is given.
_IMAGES = 100
# What trains classifiers.
_TRAINS = {"runs", "checkpoint_seconds", "padding", "mirror"}
_TINY = {
    "method": "ddim_inversion", "fitted": 30, "train_images": 60, "judge_steps": 3,
    "score_steps": 3,
}  # fmt: skip

_dataclass = dataclasses.dataclass(frozen=True, kw_only=True)


@_dataclass
class OfDirections(Chunked, Verb):
    """A verb of directions of h, and of what judges edits along them.

    Attributes:
        attribute: names of attributes, or of classes.
        method: how latents of test images are found.
        fitted: training images, the first ones, that directions are of; the judge and the score of
            realism see the others alone.
        train_images: training images at most; None for all.
        judge_steps: training steps of the judge, and of the classifier that guides.
        score_steps: training steps of the score of realism.
    """

    uses: ClassVar = WEIGHTS | REPORTED | _TRAINS | {"images"}
    after_interrupt: ClassVar = _RESUMES
    smoke_networks: ClassVar = ()

    attribute: tuple[str, ...] = ()
    method: Literal[METHODS] = "unet"
    fitted: int = 2400
    train_images: int | None = None
    judge_steps: int = 1500
    score_steps: int = 1500

    @classmethod
    def defaults(cls, config):
        return super().defaults(dataclasses.replace(config, images=min(config.images, _IMAGES)))

    def chosen_of(self, names):
        """The attributes that are wanted, of those that there are."""
        from experiments.semantics.bench import SHOWN
        from experiments.toolkit import labelled

        return labelled.chosen(names, self.attribute, 5, SHOWN)

    @property
    def held(self):
        return 8 * self.config.images

    def check(self):
        super().check()
        require_at_least(self, fitted=2, judge_steps=1, score_steps=1)
        require_at_least(self.config, images=2)
        require(self, "train_images", (self.train_images or 10) >= 10, "at least 10")
        require(self, "method", self.method not in ("edict", "bdia"), "one of single latents")


@_dataclass
class Semantics(OfDirections):
    """Edits test images through h, and measures it beside what must fail (Asyrp, Kwon et al. 2023).

    Effect by a judge that did not guide the edits, side effects, identity, LPIPS and a score of
    realism; homogeneity, linearity, composition, robustness, consistency over steps, the editing
    interval and the quality boost; the asymmetric process beside the symmetric one, and what of it
    depends on the number of steps. Directions are the recorded ones, or fitted here. A killed run
    resumes.

    Attributes:
        strength: strengths of each attribute, beside that of its direction.
        controls: images of the controls, which are of the first attribute.
        controls_fit: training images of the directions of shuffled labels and of latents.
        optimised: images whose latents are optimised; 0 for none.
        optimised_steps: their steps of Adam.
        boosted_steps: sampler steps of the quality boost.
        rho_steps: numbers of steps at which the share of a symmetric edit is computed and measured.
    """

    uses: ClassVar = OfDirections.uses | {"shown"}
    tiny: ClassVar = _TINY | {
        "attribute": ("Trouser", "Bag"), "strength": (0.5,), "controls": 3, "controls_fit": 20,
        "optimised": 2, "optimised_steps": 2, "boosted_steps": 3, "rho_steps": (2, 20),
    }  # fmt: skip
    sections: ClassVar = (sections.SEMANTICS,)

    strength: tuple[float, ...] = (0.4, 0.7, 1.0, 1.4)
    controls: int = 50
    controls_fit: int = 400
    optimised: int = 8
    optimised_steps: int = 15
    boosted_steps: int = 40
    rho_steps: tuple[int, ...] = (10, 40, 100, 1000)

    def check(self):
        super().check()
        finite = self.strength and all(map(math.isfinite, self.strength))
        require(self, "strength", finite, "finite numbers")
        require_at_least(self, controls=2, controls_fit=2, optimised_steps=1, boosted_steps=1)
        require(self, "optimised", self.optimised != 1 and self.optimised >= 0, "0, or at least 2")
        require(self, "rho_steps", self.rho_steps and min(self.rho_steps) > 0, "positive numbers")

    def run(self):
        from experiments.semantics import semantics

        semantics.run(self)


@_dataclass
class TrainDirection(OfDirections):
    """Finds directions of attributes and records them; or trains f_t, a network that predicts one.

    "mean" takes the mean difference of h between images with an attribute and images without, and
    records it among the weights with its strength and with what the judge says of --images test
    images. "network" trains f_t of the first attribute by the directional loss (Eq. 3), guided by a
    classifier of the images that directions are of, and compares it with the recorded or fitted
    direction, by a judge that is trained on others; f_t is kept in the folder --runs alone. A
    killed run resumes.

    Attributes:
        kind: "mean" or "network".
        strength: of each attribute, or of all: at which it works and breaks no face.
        without: names of attributes that go along with these, whose directions are projected out.
        measured: whether the judge is asked of edits; it is trained for that.
        train_steps_delta: training steps of f_t.
        delta_batch: images in each of them.
        delta_rate: the learning rate (SGD).
        l1: weight of the difference of pixels.
        until: t_edit: steps that start at times before it are neither trained nor edited by f_t.
        delta_strength: strengths at which f_t is compared.
    """

    uses: ClassVar = OfDirections.uses | {"strategy"}
    tiny: ClassVar = _TINY | {
        "attribute": ("Trouser", "Bag"), "train_steps_delta": 2, "delta_batch": 2,
        "delta_strength": (1.0,),
    }  # fmt: skip
    sections: ClassVar = (sections.DELTA,)

    kind: Literal["mean", "network"] = "mean"
    strength: tuple[float, ...] = (1.0,)
    without: tuple[str, ...] = ()
    measured: bool = True
    train_steps_delta: int = 120
    delta_batch: int = 4
    delta_rate: float = 5.0
    l1: float = 10.0
    until: float = 0.5
    delta_strength: tuple[float, ...] = (0.5, 1.0, 1.5)

    @property
    def idle(self):
        networks = (
            "train_steps_delta", "delta_batch", "delta_rate", "l1", "until",
            "delta_strength",
        )  # fmt: skip
        if self.kind == "mean":
            return dict.fromkeys((*networks, "strategy"), "with --kind mean")
        return dict.fromkeys(("strength", "without", "measured"), "with --kind network")

    def check(self):
        super().check()
        finite = self.strength and all(map(math.isfinite, self.strength))
        require(self, "strength", finite, "finite numbers")
        if self.attribute and len(self.strength) not in (1, len(self.attribute)):
            raise UsageError(
                f"--strength must be one number, or one for each of {len(self.attribute)} "
                f"attributes. Received: {len(self.strength)}"
            )
        require_at_least(self, train_steps_delta=1, delta_batch=1)
        require_positive(self, "delta_rate")
        require(self, "l1", 0 <= self.l1 < math.inf, "at least 0")
        require(self, "until", 0 <= self.until <= 1, "from 0 to 1")
        finite = self.delta_strength and all(map(math.isfinite, self.delta_strength))
        require(self, "delta_strength", finite, "finite numbers")

    def run(self):
        from experiments.semantics import directions

        directions.run(self)


VERBS = {"semantics": Semantics, "train-direction": TrainDirection}
