"""Each campaign in a process of its own, so that a crash is a fault of one case."""

import collections
import importlib
import tempfile
from pathlib import Path

from . import harness
from .kills import PROCESSES

CAMPAIGNS = {
    "weights": "weights_files.WeightsFiles",
    "records": "records.Records",
    "npz": "archives.Archives",
    "images": "pictures.Pictures",
    "celeba": "faces.Faces",
    "pack": "packs.Packs",
    "state": "state.State",
    "calls": "calls.Calls",
    "commands": "command_lines.CommandLines",
}


def attack(name, seed, numbers):
    """Runs the cases of a campaign; returns counts and faults, crashes among them."""
    counts, faults = collections.Counter(), []
    while numbers:
        at = PROCESSES.Value("q", -1)
        queue = PROCESSES.SimpleQueue()
        with tempfile.TemporaryDirectory() as folder:
            process = PROCESSES.Process(target=work, args=(name, folder, seed, numbers, at, queue))
            process.start()
            while process.is_alive() or not queue.empty():
                if queue.empty():
                    process.join(0.1)
                    continue
                found, words = queue.get()
                counts.update(found)
                faults += words
            if process.exitcode == 0:
                break
        words = f"{name} --seed {seed} --only {at.value}: the process ends with {process.exitcode}"
        counts["fault"] += 1
        faults.append(words)
        if at.value < 0:
            break
        numbers = numbers[numbers.index(at.value) + 1 :]
    return counts, faults


def work(name, folder, seed, numbers, at, queue):
    """In a child: makes the workbench and tries the cases."""
    module, _, kind = CAMPAIGNS[name].partition(".")
    campaign = getattr(importlib.import_module(f".{module}", __package__), kind)(Path(folder))
    for number in numbers:
        at.value = number
        queue.put(harness.run(campaign, seed, [number]))
