"""Mutation testing of the mathematics: `python -m tests.mutation.run --help`.

TensorFlow is imported once. Each mutant is tested in a forked child, in a copy of the tree, by the
tests that execute the changed statement, the fastest first, until one fails. Nothing is computed
before the fork, so that TensorFlow has no threads yet. Results are kept in a file: a run goes on
where an earlier one was interrupted. The counts of each module are written to `scores.toml`.
"""

import argparse
import collections
import contextlib
import datetime
import gc
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import hypothesis
import pytest
from coverage import Coverage

from tests.mutation.mutants import mutants

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COPIED = ("ddim_embed", "tests")
EQUIVALENT = tomllib.loads((HERE / "equivalent.toml").read_text())
SCORES = HERE / "scores.toml"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as process/exact; all by default")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants, chosen by hash")
    parser.add_argument("--again", action="store_true", help="tests also those that lived before")
    parser.add_argument("--report", action="store_true", help="tests nothing, counts the results")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "mutation")
    options = parser.parse_args()
    rooms = tomllib.loads((HERE / "modules.toml").read_text())
    files = {
        f"{room}/{name}".strip("/"): rooms[room][name] for room in rooms for name in rooms[room]
    }
    chosen = {name: files[name] for name in options.modules or files}
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.report:
        with tempfile.TemporaryDirectory() as folder:
            prepare()
            Workers(options, Path(folder)).test(chosen)
    report(options.out, chosen, files)


def prepare():
    """Imports what all children need; nothing of TensorFlow is executed."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_NUM_INTRAOP_THREADS": "1"}
    sys.dont_write_bytecode = True  # a mutant must not outlive its test
    for name in ("tensorflow", "keras", "scipy.linalg", "sklearn.decomposition"):
        importlib.import_module(name)
    hypothesis.settings.register_profile(
        "mutation", max_examples=10, derandomize=True, deadline=None, database=None
    )
    hypothesis.settings.load_profile("mutation")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main(["--version"])  # imports pytest's plugins
    gc.collect()
    gc.freeze()  # else the collections of each child walk through TensorFlow


class Workers:
    """Children that run tests, each in a copy of the tree."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.running, self.free = {}, [str(number) for number in range(options.workers)]
        command = ["git", "rev-parse", "--short=7", "HEAD"]
        self.commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
        for name in (*self.free, "record"):
            (folder / name).mkdir()
            for path in ROOT.iterdir():
                if path.name in COPIED:
                    shutil.copytree(path, folder / name / path.name)
                else:
                    (folder / name / path.name).symlink_to(path)

    def test(self, chosen):
        known = read_results(self.options.out)
        done = {"killed"} if self.options.again else {"killed", "survived"}
        for module, files in chosen.items():
            path = f"ddim_embed/{module}.py"
            left = [
                mutant
                for mutant in mutants((ROOT / path).read_text())
                if share_of(mutant[0]) < self.options.share
                and mutant[0] not in EQUIVALENT.get(module, ())
                and known.get((module, mutant[0]), {}).get("outcome") not in done
            ]
            records = [self.record(f"tests/{file}.py") for file in files] if left else ()
            seconds = {test: own for record in records for test, own in record["seconds"].items()}
            lines = [record["lines"].get(path, {}) for record in records]
            for key, statement, source in left:
                executing = {
                    test for own in lines for line in statement for test in own.get(line, ())
                }
                if not self.free:
                    self.wait()
                copy = self.free.pop()
                (self.folder / copy / path).write_text(source)
                own = {test: seconds[test] for test in executing}
                plugin = Selection(own, seconds.keys() - executing)
                pid = self.fork(copy, plugin, files, 10 + 2 * sum(own.values()))
                self.running[pid] = copy, path, {"module": module, "key": key}
        while self.running:
            self.wait()

    def wait(self):
        """Waits for a child, restores its copy, and notes whether its mutant lives."""
        pid, status, usage = os.wait4(-1, 0)
        copy, path, row = self.running.pop(pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what a test has started
        shutil.copy2(ROOT / path, self.folder / copy / path)
        self.free.append(copy)
        code, failed = os.waitstatus_to_exitcode(status), self.folder / copy / "failed"
        # Time spent waiting says nothing; 5: no test executes it.
        outcomes = {0: "survived", 5: "survived", -signal.SIGALRM: "unknown"}
        row |= {"outcome": outcomes.get(code, "killed"), "code": code}
        row |= {
            "by": failed.read_text() if failed.exists() else "",
            "cpu": round(usage.ru_utime, 1),
            "date": datetime.date.today().isoformat(),
            "commit": self.commit.strip(),
        }
        with open(self.options.out / "mutants.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        print(row["outcome"], f"{row['cpu']} s", row["module"], row["key"], flush=True)

    def record(self, file):
        """Which tests of a file execute which lines, and how long they take; made once."""
        copy = self.folder / "record"
        sources = [copy / file, *sorted((copy / "ddim_embed").rglob("*.py"))]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        kept = self.options.out / f"{Path(file).stem}.json"
        if not kept.exists() or json.loads(kept.read_text())["digest"] != digest:
            print(f"{file}: which lines its tests execute", flush=True)
            pid = self.fork("record", Record(kept, digest), [Path(file).stem], 3600)
            if os.waitpid(pid, 0)[1]:
                said = (self.folder / "record.log").read_text(errors="replace")[-4000:]
                sys.exit(f"{said}\nThe tests of {file} fail without a mutant.")
        return json.loads(kept.read_text())

    def fork(self, copy, plugin, files, limit):
        pid = os.fork()
        if pid:
            return pid
        code = 3
        try:
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
            resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
            signal.alarm(60 * int(limit))
            log = os.open(self.folder / f"{copy}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(self.folder / copy)
            Path("failed").unlink(missing_ok=True)
            sys.path.insert(0, os.getcwd())
            flags = ["-x", "--assert=plain", "-p", "no:cacheprovider"]
            code = pytest.main([*flags, *(f"tests/{file}.py" for file in files)], [plugin])
        finally:
            sys.stdout.flush()
            os._exit(int(code))


class Selection:
    """Of the tests that a record knows only some, and all others; the fastest first."""

    def __init__(self, seconds, skipped):
        self.seconds, self.skipped = seconds, skipped

    def pytest_collection_modifyitems(self, items):
        chosen = (item for item in items if item.nodeid not in self.skipped)
        items[:] = sorted(chosen, key=lambda item: self.seconds.get(item.nodeid, 1))

    def pytest_runtest_logreport(self, report):
        if report.failed:
            Path("failed").write_text(report.nodeid)


class Record:
    """Writes which lines each test executes, and how long it takes."""

    def __init__(self, target, digest):
        self.target, self.digest, self.seconds = target, digest, {}
        self.tests, self.context = {}, ""
        self.coverage = Coverage(data_file=None, include="*/ddim_embed/*")

    def pytest_sessionstart(self):
        self.coverage.start()

    def pytest_collection_finish(self, session):
        # What is executed while tests are collected is executed for all of them.
        self.tests[""] = [item.nodeid for item in session.items]
        for item in session.items:
            self.tests[item.nodeid] = [item.nodeid]
            for name in item.fixturenames:
                self.tests.setdefault(f"fixture {name}", []).append(item.nodeid)

    def pytest_runtest_logstart(self, nodeid):
        self.switch(nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        if fixturedef.scope == "function":
            return (yield)
        # Made for the first test that uses it, and tested by the others, too.
        before = self.context
        self.switch(f"fixture {fixturedef.argname}")
        try:
            return (yield)
        finally:
            self.switch(before)

    def switch(self, context):
        self.context = context
        self.coverage.switch_context(context)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration

    def pytest_sessionfinish(self):
        self.coverage.stop()
        data, lines = self.coverage.get_data(), {}
        for file in data.measured_files():
            contexts = data.contexts_by_lineno(file)
            lines[str(Path(file).relative_to(Path.cwd()))] = {
                line: sorted(
                    {test for name in names for test in self.tests.get(name, self.tests[""])}
                )
                for line, names in ((line, {*own} - {""} or {""}) for line, own in contexts.items())
            }
        found = {"digest": self.digest, "seconds": self.seconds, "lines": lines}
        self.target.write_text(json.dumps(found))


def share_of(key):
    """A number in [0, 1) by chance, always the same."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**32


def read_results(out):
    file = out / "mutants.jsonl"
    rows = map(json.loads, file.read_text().splitlines() if file.exists() else ())
    return {(row["module"], row["key"]): row | {"line": i} for i, row in enumerate(rows)}


def report(out, chosen, files):
    """Prints what lives, the counts and the score; writes the counts to `scores.toml`.

    Of a module without a result the earlier counts stay.
    """
    results = read_results(out)
    scores = tomllib.loads(SCORES.read_text()) if SCORES.exists() else {}
    for module in chosen:
        keys = [key for key, *_ in mutants((ROOT / f"ddim_embed/{module}.py").read_text())]
        same = EQUIVALENT.get(module, {})
        print(*(f"{module}: not a mutant: {key}" for key in same if key not in keys), sep="\n")
        tested = {key: results[module, key] for key in keys if (module, key) in results}
        if tested:
            scores[module] = counts(keys, {*same} & {*keys}, tested)
        print(module, scores.get(module, "untested"))
    named = {module: scores[module] for module in files if module in scores}
    SCORES.write_text(
        "# The mutants of each module, by `python -m tests.mutation.run`. `date` and `commit` are\n"
        "# those of the module's last result: the commit that was checked out, before new tests.\n"
        + "".join(f"{json.dumps(module)} = {inline(row)}\n" for module, row in named.items())
    )
    total = sum(
        (collections.Counter(numbers(row)) for row in named.values()), collections.Counter()
    )
    print("all modules:", dict(total), f"score {score(total):.1%}")


def counts(keys, same, tested):
    """What is known of a module's mutants."""
    outcomes = {key: tested[key]["outcome"] for key in tested if key not in same}
    found = collections.Counter(outcomes.values())
    last = max(tested.values(), key=lambda row: row["line"])
    row = {"mutants": len(keys), "equivalent": len(same), "killed": found["killed"]}
    row |= {"lived": found["survived"]}
    row |= {"untested": len(keys) - sum(row[name] for name in ("equivalent", "killed", "lived"))}
    row |= {"date": last.get("date", ""), "commit": last.get("commit", "")}
    lives = [key for key in outcomes if outcomes[key] == "survived"]
    return row | ({"lives": lives} if lives else {})


def numbers(row):
    return {name: value for name, value in row.items() if isinstance(value, int)}


def score(row):
    """Killed, of those that are not equivalent; one that is not tested is not killed."""
    return row["killed"] / max(1, row["mutants"] - row["equivalent"])


def inline(row):
    """A table of TOML in one line."""
    return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in row.items()) + " }"


if __name__ == "__main__":
    main()
