"""Directions in the h-space: a shift of h, the bottleneck of the U-Net, for every step."""

import dataclasses
import io
import os
from typing import Self

import numpy as np

from ddim_embed import arguments
from ddim_embed.data.npz import read_arrays
from ddim_embed.limits import check_expansion
from ddim_embed.store.atomic import replacing

_SUFFIX = ".npz"


@dataclasses.dataclass(frozen=True, eq=False)
class SemanticDirection:
    """A shift of h for every step of the sampler, which changes what images show.

    Directions of one generator and one number of steps are vectors: `2 * smiling`, `-smiling`,
    `smiling + glasses`, `smiling - glasses`.

    Args:
        shifts: `(num_steps, height, width, channels)`, added to h; the first row is that of the
            first step, at t=1.
        fingerprint: of the generator, its `denoiser_fingerprint()`.
        strength: by how much an edit multiplies the shifts if it is not told otherwise.
        name: what it is called.

    Raises:
        ValueError: for shifts of another number of axes, or values that are not finite.

    Example:
        >>> smiling = de.SemanticDirection(np.ones((10, 4, 4, 8)), "of my generator")
        >>> half = 0.5 * smiling
        >>> half.num_steps, float(half.shifts.max())
        (10, 0.5)
        >>> bool(smiling.without(half).shifts.max() < 1e-6)  # the same direction: nothing is left
        True
    """

    shifts: np.ndarray = dataclasses.field(repr=False)
    fingerprint: str
    strength: float = 1.0
    name: str = ""

    def __post_init__(self):
        shifts = arguments.finite_array("shifts", self.shifts)
        if shifts.ndim != 4 or not shifts.size:
            raise ValueError(
                "`shifts` must have shape (num_steps, height, width, channels). "
                f"Received shape: {shifts.shape}"
            )
        for name in ("fingerprint", "name"):
            arguments.instance(name, getattr(self, name), str)
        object.__setattr__(self, "shifts", shifts)
        object.__setattr__(self, "strength", arguments.number("strength", self.strength))

    @property
    def num_steps(self) -> int:
        """The number of steps of the sampler that it was found for."""
        return len(self.shifts)

    @property
    def distinct(self) -> np.ndarray:
        """The shifts, or the first of them alone if all are the same."""
        first = self.shifts[:1]
        return first if (self.shifts == first).all() else self.shifts

    def __mul__(self, factor: float) -> Self:
        return self._with(self.shifts * arguments.number("factor", factor))

    __rmul__ = __mul__

    def __neg__(self) -> Self:
        return self._with(-self.shifts)

    def __add__(self, other: "SemanticDirection") -> Self:
        """Both shifts at once; the default strength is the smaller one."""
        self._check(other)
        strength = min(self.strength, other.strength)
        return dataclasses.replace(
            self, shifts=self.shifts + other.shifts, strength=strength, name=""
        )

    def __sub__(self, other: "SemanticDirection") -> Self:
        self._check(other)
        return self + -other

    def without(self, *others: "SemanticDirection") -> Self:
        """The direction without its part along others: at each step orthogonal to all of them.

        An attribute that goes along with others in the data, as glasses do with age, loses what it
        shares with them.
        """
        for other in others:
            self._check(other)
        rows, *bases = (
            each.shifts.reshape(self.num_steps, -1).astype(np.float64) for each in (self, *others)
        )
        for step, row in enumerate(rows if bases else ()):
            basis = np.stack([each[step] for each in bases], axis=1)
            row -= basis @ np.linalg.lstsq(basis, row, rcond=None)[0]
        return self._with(rows.reshape(self.shifts.shape))

    def mean(self) -> Self:
        """The direction with one shift for all steps, their mean; its file is as much smaller."""
        return self._with(np.broadcast_to(self.shifts.mean(axis=0), self.shifts.shape))

    def at(self, num_steps: int) -> Self:
        """The direction for another number of steps.

        Shifts are interpolated over time. As every step is shifted, more steps shift more: they are
        multiplied by the ratio of the numbers of steps, as in the published code.
        """
        count = arguments.integer("num_steps", num_steps)
        if count == self.num_steps:
            return self
        # Step i of N starts at t = 1 - i/N.
        times, own = (1 - np.arange(each) / each for each in (count, self.num_steps))
        positions = np.interp(times, own[::-1], np.arange(self.num_steps)[::-1])
        before = np.floor(positions).astype(int)
        after = np.minimum(before + 1, self.num_steps - 1)
        share = np.float32(positions - before)[:, None, None, None]
        shifts = (1 - share) * self.shifts[before] + share * self.shifts[after]
        return self._with(shifts * (self.num_steps / count))

    def save(self, path: str | os.PathLike):
        """Writes the direction to an .npz file, replacing `path` in one rename."""
        path = _check_path(path)
        memory = io.BytesIO()
        np.savez_compressed(
            memory,
            shifts=self.distinct,
            num_steps=self.num_steps,
            **{name: getattr(self, name) for name in ("fingerprint", "strength", "name")},
        )
        with replacing(path) as temporary:
            temporary.write_bytes(memory.getbuffer())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a file of `save`; nothing is unpickled.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a file of `save`.
        """
        path = _check_path(path)
        found = read_arrays(path, ["shifts", "num_steps", "fingerprint", "strength", "name"])
        try:
            words = {name: found[name].item() for name in ("fingerprint", "strength", "name")}
            count, shifts = found["num_steps"].item(), found["shifts"]
            arguments.integer("num_steps", count)
            check_expansion(f"The direction in {path}", count * shifts[:1].nbytes)
            return cls(np.broadcast_to(shifts, (count, *shifts.shape[1:])), **words)
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{path} is not a file of a direction: {error}") from error

    def _with(self, shifts):
        return dataclasses.replace(self, shifts=shifts)

    def _check(self, other):
        arguments.instance("other", other, SemanticDirection)
        if other.shifts.shape != self.shifts.shape:
            raise ValueError(
                "Both directions must have the same steps and sizes; `at(num_steps)` changes the "
                f"steps. Received shapes: {self.shifts.shape} and {other.shifts.shape}"
            )
        if other.fingerprint != self.fingerprint:
            raise ValueError(
                "Both directions must be of the same generator. Received those of "
                f"{self.fingerprint!r} and {other.fingerprint!r}"
            )


def _check_path(path):
    path = arguments.path("path", path)
    if path.suffix != _SUFFIX:
        raise ValueError(
            f"The name of a direction's file must end in `{_SUFFIX}`. Received: {path}"
        )
    return path
