"""Result files: written whole or not at all, and with a note of what made them."""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from pathlib import Path

import numpy as np

from ddim_embed.store.atomic import replacing

_ROOT = Path(__file__).resolve().parents[2]


def save_figure(path, figure):
    """Writes a matplotlib figure as PNG."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def save_json(path, contents):
    """Writes a dict as JSON; ValueError for NaN and infinity, for which JSON has no words."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(contents, indent=2, allow_nan=False) + "\n")


def plain(values):
    """Values as JSON has them: paths become words, those in the home folder from `~` on."""
    home = json.dumps(f"{Path.home()}{os.sep}").removesuffix('"')
    return json.loads(json.dumps(values, default=str).replace(home, '"~/'))


def finite(value):
    """A number, or None where JSON has none, as for the PSNR of a perfect reconstruction."""
    return float(value) if math.isfinite(value) else None


def interval(values):
    """Half of the 95% interval of a mean of independent values; None for a single one."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return None
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def estimate(values):
    """The mean of one value per image and its `interval`: a dict."""
    return {"mean": float(np.mean(values, dtype=np.float64)), "interval": interval(values)}


def provenance(config, command, *packages):
    """How results were made, for their JSON file: a dict.

    Args:
        config: the configuration, a dataclass with a `seed`.
        command: what a user would type to repeat it.
        *packages: those that the numbers depend on, besides what `versions` names.
    """
    return {
        "command": command,
        "config": plain(dataclasses.asdict(config)),
        "versions": versions(*packages),
        "seed": config.seed,
        "commit": commit(),
    }


def versions(*others):
    """Versions of what numbers depend on: a dict from package to version.

    Args:
        others: packages besides those that all numbers depend on.
    """
    import ddim_embed

    packages = ("tensorflow", "keras", "numpy", *others)
    return (
        {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages}
        | {"ddim_embed": ddim_embed.__version__}
    )


def commit():
    """The commit of this checkout, with "-dirty" if tracked files differ from it.

    None where the experiments are not in a checkout of their own, or git is missing.
    """
    top = _git("rev-parse", "--show-toplevel")
    head = _git("rev-parse", "HEAD")
    if not top or not head or Path(top).resolve() != _ROOT:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if changed else head


def _git(*arguments):
    # Without the optional lock: a report must not disturb a git command that runs beside it.
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
