"""Kills before file operations, and many processes at once.

A program, `python records_under_attack.py FOLDER`, that imports no TensorFlow: forking it is a
hundred times as fast.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from ddim_embed.store import records
from ddim_embed.store.atomic import PREFIX
from ddim_embed.store.records import (
    MANIFEST,
    MissingWeightsError,
    find_weights,
    read_manifest,
    record_errors,
)

# File operations that Python reports before it makes them.
OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.scandir", "fcntl.flock")


def entry_of(contents, **changes):
    return {
        "sha256": hashlib.sha256(contents).hexdigest(), "size": len(contents), "parameters": 1,
        "config": {}, "data": "", "budget": {}, "errors": {}, "versions": {},
    } | changes  # fmt: skip


def replace(root, contents, name="net"):
    records.replace(records.weights_path(root, "x", name), entry_of(contents), contents)


def in_child(function):
    """Runs a function in a forked process; returns how that ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_before(operation, function):
    """Runs a function in a process that is killed before its n-th file operation, if it has one."""

    def run():
        count = 0

        def hook(event, arguments):
            nonlocal count
            if event in OPERATIONS:
                if count == operation:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

        sys.addaudithook(hook)
        function()

    code = in_child(run)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def whole(root):
    """The contents of the weights, which must be those of which their entry speaks."""
    path, entry = find_weights("x", "net", root)
    contents = path.read_bytes()
    assert entry == entry_of(contents)
    assert read_manifest(root) == {"x/net": entry}
    return contents


def names(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def kill_before_each_file_operation(tmp_path, before):
    """The old pair stays or the new one is there, and the next run goes on."""
    kills, outcomes = 0, set()
    while True:
        root = tmp_path / str(kills)
        if before in ("a pair", "an old manifest"):
            replace(root, b"old")
        if before == "an old manifest":
            (root / "x" / "net.json").unlink()
            (root / MANIFEST).write_text(json.dumps({"x/net": entry_of(b"old")}))
        if before == "weights alone":
            (root / "x").mkdir(parents=True)
            (root / "x" / "net.weights.h5").write_bytes(b"old")
        killed = killed_before(kills, lambda root=root: replace(root, b"new"))
        try:
            outcomes.add(whole(root))
        except MissingWeightsError:
            outcomes.add(None)
        replace(root, b"newer")
        assert whole(root) == b"newer"
        assert names(root) - {MANIFEST} == {"x/net.json", "x/net.weights.h5"}
        if not killed:
            break
        kills += 1
    assert kills > 15
    found_before = b"old" if before in ("a pair", "an old manifest") else None
    assert outcomes == {found_before, b"new"}


def kill_again_and_again(tmp_path):
    """Nothing is cleared away in between: each run begins with what the kills have left."""
    rng, seen = random.Random(0), b"0"
    replace(tmp_path, seen)
    for number in range(1, 60):
        new = str(number).encode()
        killed_before(rng.randrange(30), lambda new=new: replace(tmp_path, new))
        found = whole(tmp_path)
        assert found in (seen, new)
        seen = found
    replace(tmp_path, b"last")
    assert names(tmp_path) == {"x/net.json", "x/net.weights.h5"}


def kill_recording_the_errors(tmp_path):
    kills, replaced = 0, set()
    replace(tmp_path, b"old")
    while killed_before(kills, lambda: record_errors(tmp_path, "x", "net", {"mse": 1.0})):
        _, entry = find_weights("x", "net", tmp_path)
        replaced.add(entry == entry_of(b"old", errors={"mse": 1.0}))
        assert entry in (entry_of(b"old"), entry_of(b"old", errors={"mse": 1.0}))
        kills += 1
    assert replaced == {False, True}


def record_at_once(tmp_path):
    """Each process records its own names and one that all have, and errors of another."""
    replace(tmp_path, b"measured", "measured")

    def work(number):
        for i in range(8):
            contents = f"{number} {i}".encode()
            replace(tmp_path, contents, f"own-{number}-{i}")
            replace(tmp_path, contents)
            record_errors(tmp_path, "x", "measured", {"mse": number})

    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(number)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    seen = 0
    while children:
        child, status = os.waitpid(children[0], os.WNOHANG)
        if child:
            assert os.waitstatus_to_exitcode(status) == 0
            children.pop(0)
        # A reader sees an entry of each at any time.
        assert "x/measured" in read_manifest(tmp_path)
        seen += 1
        time.sleep(0.002)
    assert seen > 1
    manifest = read_manifest(tmp_path)
    assert len(manifest) == 4 * 8 + 2
    for name, entry in manifest.items():
        contents = (tmp_path / f"{name}.weights.h5").read_bytes()
        assert entry["sha256"] == hashlib.sha256(contents).hexdigest()
    assert not [name for name in names(tmp_path) if PREFIX in name or "lock" in name]


def main(folder):
    for before in ("nothing", "a pair", "weights alone", "an old manifest"):
        kill_before_each_file_operation(folder / before, before)
    kill_again_and_again(folder / "again")
    kill_recording_the_errors(folder / "errors")
    record_at_once(folder / "at once")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
