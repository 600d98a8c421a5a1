"""A few cases of each campaign of bad inputs; a few kills are in test_resume.py."""

import pytest

from . import harness
from .archives import Archives
from .calls import Calls
from .command_lines import CommandLines
from .faces import Faces
from .packs import Packs
from .pictures import Pictures
from .records import Records
from .state import State
from .weights_files import WeightsFiles

CASES = {WeightsFiles: 20, Records: 20, Archives: 40, Pictures: 40, State: 12, Calls: 60}
CASES |= {Faces: 20, Packs: 12}


@pytest.mark.parametrize("campaign", CASES, ids=lambda campaign: campaign.name)
def test_bad_inputs(campaign, tmp_path):
    counts, faults = harness.run(campaign(tmp_path), "short", range(CASES[campaign]))
    assert not faults
    assert counts[harness.REFUSED] > 0


def test_command_lines(tmp_path):
    counts, faults = harness.run(CommandLines(tmp_path), "short", range(12))
    assert not faults
    assert counts[harness.REFUSED] > 0


class Silent:
    """A campaign whose cases end as none may."""

    name = "silent"

    def draw(self, rng):
        cases = {
            "a depth's error": lambda: harness.refused(lambda: int("x")),
            "a traceback": lambda: harness.command(
                lambda words: print("Traceback", file=_err()), []
            ),
            "a code": lambda: harness.command(lambda words: exit(3), []),
            "two lines": lambda: harness.command(_two_lines, []),
        }
        return rng.choice([*cases.items()])


def _err():
    import sys

    return sys.stderr


def _two_lines(words):
    print("error: one\nerror: two", file=_err())
    raise SystemExit(1)


def test_faults_are_found():
    counts, faults = harness.run(Silent(), 0, range(20))
    assert counts == {"fault": 20} and len({fault.split(": ")[1] for fault in faults}) == 4
