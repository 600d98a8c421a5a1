"""A diffusion process and how it is sampled, as one value."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Self

from ddim_embed.process import sampling
from ddim_embed.process.predictions import check_prediction
from ddim_embed.process.schedules import (
    Rates,
    get_schedule,
    schedule_from_config,
    schedule_to_config,
)


@dataclasses.dataclass(frozen=True)
class Process:
    """The schedule of a trained denoiser, what it predicts, and the steps of its sampler.

    Attributes:
        schedule: name of a schedule, or a function like those of `schedules`.
        num_steps: N, network evaluations of a decode.
        last_step: "predicted_image" or "transfer", as for `sampling.sample`.
        prediction: what the network predicts, "noise" or "velocity".

    Raises:
        ValueError: for an unknown name, or `num_steps` below 1.

    Example:
        >>> process = de.Process(num_steps=4)
        >>> [round(rates.noise, 2) for rates in process.grid]
        [0.31, 0.59, 0.8, 0.95, 1.0]
    """

    schedule: str | Callable = "continuous_cosine"
    num_steps: int = 10
    last_step: str = "predicted_image"
    prediction: str = "noise"

    def __post_init__(self):
        check_prediction(self.prediction)
        self.levels(self.num_steps)

    @property
    def rates(self) -> Callable:
        """The schedule as a function of diffusion times."""
        return get_schedule(self.schedule)

    @functools.cached_property
    def grid(self) -> list[Rates]:
        """The noise levels of the N steps, from t=0 to t=1: `sampling.time_grid`."""
        return sampling.time_grid(self.rates, self.num_steps)

    def levels(self, num_steps) -> list[Rates]:
        """The levels between which the sampler steps: `sampling.sampler_levels`."""
        return sampling.sampler_levels(self.rates, num_steps, self.last_step)

    def to_config(self) -> dict:
        """JSON-compatible values, of which `from_config` makes the process again."""
        return dataclasses.asdict(self) | {"schedule": schedule_to_config(self.schedule)}

    @classmethod
    def from_config(cls, config, custom_objects=None) -> Self:
        """The process that `to_config` made a config of."""
        schedule = schedule_from_config(config["schedule"], custom_objects)
        return cls(**config | {"schedule": schedule})
