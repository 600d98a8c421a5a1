"""Claims of a paper, each beside what was measured, with a verdict."""

import dataclasses
import enum


class Verdict(enum.StrEnum):
    """What a measurement says of a claim; decided from numbers."""

    REPRODUCED = "reproduced"
    BETTER = "better"
    NOT_REPRODUCED = "not reproduced"
    NOT_MEASURED = "not measured"

    @classmethod
    def of(cls, holds):
        """Returns REPRODUCED if the claim holds, else NOT_REPRODUCED."""
        return cls.REPRODUCED if holds else cls.NOT_REPRODUCED


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim of a paper and what was measured of it.

    Attributes:
        item: table, figure or section of the paper.
        statement: the claim in a few words.
        paper: the paper's number, or words.
        ours: the same as measured here, with a 95% interval if it is a mean.
        data: the data that it was measured on.
        verdict: a `Verdict`.
        why: what explains the verdict; the command that would measure it.
        figure: path of a figure, relative to the folder of results, or "".
        source: the result that it is derived from, "<experiment or study>/<name>", or "".
    """

    item: str
    statement: str
    paper: str
    ours: str
    data: str
    verdict: Verdict
    why: str = ""
    figure: str = ""
    source: str = ""


def not_measured(item, statement, paper, data, why):
    """Returns a claim without a measurement."""
    return Claim(item, statement, paper, "-", data, Verdict.NOT_MEASURED, why)


def falls(before, after):
    """Returns whether `after` is less than `before` beyond their 95% intervals."""
    return after["mean"] + (after["interval"] or 0) < before["mean"] - (before["interval"] or 0)
