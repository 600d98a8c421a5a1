"""Runs the campaigns, and prints the table of docs/reliability.md.

`python -m tests.campaigns weights --seed 3 --only 17` repeats one case.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # conftest.py

from tests.campaigns import kills
from tests.campaigns.processes import CAMPAIGNS, attack


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join([*CAMPAIGNS, 'kills'])}; or all")
    parser.add_argument("--cases", type=int, default=2000, help="bad inputs, of all campaigns")
    parser.add_argument("--kills", type=int, default=60, help="of all runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of one case")
    options = parser.parse_args()
    names = options.names or [*CAMPAIGNS, "kills"]
    campaigns = [name for name in names if name in CAMPAIGNS]
    table, faults = {}, []
    for name in campaigns:
        share = -(-options.cases // len(campaigns))
        numbers = range(share) if options.only is None else [options.only]
        table |= tell(name, lambda: attack(name, options.seed, [*numbers]), faults)  # noqa: B023
    runs = [name for name in names if name in kills.RUNS] or [*kills.RUNS] * ("kills" in names)
    for name in runs:
        share = -(-options.kills // len(runs))
        table |= tell(name, lambda: kills.attack(name, share), faults)  # noqa: B023
    print("\n| campaign | cases |", end="")
    endings = sorted({ending for counts in table.values() for ending in counts})
    print(" | ".join(endings), "|")
    print("|---|" + "--:|" * (len(endings) + 1))
    for name, counts in table.items():
        cells = [str(counts[ending] or "") for ending in endings]
        print(f"| {name} | {sum(counts.values())} | {' | '.join(cells)} |")
    sys.exit(bool(faults))


def tell(name, run, faults):
    """Runs a campaign, prints what it found, and returns its row of the table."""
    began = time.monotonic()
    counts, found = run()
    faults += found
    print(*found, sep="\n", end="\n" * bool(found), flush=True)
    words = ", ".join(f"{count} {ending}" for ending, count in sorted(counts.items()))
    print(f"{name}: {words} ({time.monotonic() - began:.0f} s)", flush=True)
    return {name: counts}


if __name__ == "__main__":
    main()
