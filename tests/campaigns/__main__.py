"""Runs the campaigns: `python -m tests.campaigns --help`."""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # conftest.py

from tests.campaigns.processes import CAMPAIGNS, attack


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaigns", nargs="*", help=f"of {', '.join(CAMPAIGNS)}; all by default")
    parser.add_argument("--cases", type=int, default=2000, help="of all campaigns together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of one case")
    options = parser.parse_args()
    names = options.campaigns or [*CAMPAIGNS]
    share = -(-options.cases // len(names))
    numbers = range(share) if options.only is None else [options.only]
    table, faults = {}, []
    for name in names:
        began = time.monotonic()
        table[name], found = attack(name, options.seed, [*numbers])
        faults += found
        print(*found, sep="\n", end="\n" * bool(found), flush=True)
        counts = ", ".join(f"{count} {word}" for word, count in sorted(table[name].items()))
        print(f"{name}: {counts} ({time.monotonic() - began:.0f} s)", flush=True)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
