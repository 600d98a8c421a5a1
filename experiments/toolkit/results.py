"""Result files, each written atomically and with its provenance."""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from pathlib import Path

import numpy as np

import ddim_embed

_ROOT = Path(__file__).resolve().parents[2]


def tidy(*panels, which="major"):
    """Gives axes of a figure a faint grid, and no lines at the top and the right."""
    for axes in panels:
        axes.grid(which=which, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)


def label_steps(axes, rows):
    """Labels a logarithmic axis with the numbers of steps of rows, not with powers of ten."""
    ticks = sorted({row["num_steps"] for row in rows})
    axes.set_xticks(ticks, ticks)
    axes.set_xticks([], minor=True)


def plain(values):
    """Returns JSON-compatible values: paths become strings, those in the home folder with `~`."""
    home = json.dumps(f"{Path.home()}{os.sep}").removesuffix('"')
    return json.loads(json.dumps(values, default=str).replace(home, '"~/'))


def finite(value):
    """Returns a float, or None if it is not finite, as the PSNR of a perfect reconstruction."""
    return float(value) if math.isfinite(value) else None


def interval(values):
    """Returns the half width of the 95% interval of the mean of values; None for a single one.

    Of booleans it is that of `share_bounds`: where all are the same their deviation is 0.
    """
    values = np.asarray(values)
    if len(values) < 2:
        return None
    if values.dtype == bool:
        low, high = share_bounds(values.mean(), len(values))
        return (high - low) / 2
    return float(1.96 * values.std(ddof=1, dtype=np.float64) / np.sqrt(len(values)))


def share_bounds(share, count):
    """Returns the 95% interval of a share of `count` images, (low, high): Wilson's (1927)."""
    from scipy.stats import binomtest  # a second to import

    found = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def estimate(values):
    """Returns the mean of one value per image and its `interval`: a dict."""
    return {"mean": float(np.mean(values, dtype=np.float64)), "interval": interval(values)}


def provenance(config, command, *packages):
    """Returns how results were made, for their JSON file: a dict.

    It has the versions of `packages` in addition to those that all numbers depend on.
    """
    settings = dataclasses.asdict(config)
    settings.pop("command", None)  # of a study
    packages = ("tensorflow", "keras", "numpy", *packages)
    versions = {"python": platform.python_version(), "ddim_embed": ddim_embed.__version__}
    versions |= {package: importlib.metadata.version(package) for package in packages}
    return {
        "command": command,
        "config": plain(settings),
        "versions": versions,
        "seed": config.seed,
        "commit": commit(),
    }


def commit():
    """Returns the commit of this checkout, with "-dirty" if tracked files differ from it.

    None if the experiments are not in a checkout of their own, or git is not installed.
    """
    top = _git("rev-parse", "--show-toplevel")
    head = _git("rev-parse", "HEAD")
    if not top or not head or Path(top).resolve() != _ROOT:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if changed else head


def _git(*arguments):
    # Without the optional lock, which would disturb a git command that runs at the same time.
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
