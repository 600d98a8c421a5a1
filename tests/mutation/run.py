"""Mutation testing of the mathematics: `python -m tests.mutation.run --help`.

TensorFlow is imported once. Each mutant is then tested in a forked child, by the tests that execute
the changed line, the fastest first, until one fails. No operation is executed before the fork,
so that TensorFlow has no threads yet.
"""

import argparse
import ast
import collections
import contextlib
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

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_NUM_INTRAOP_THREADS": "1"}
sys.dont_write_bytecode = True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as process/exact; all by default")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "mutation")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants, chosen by hash")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="tests the survivors again")
    parser.add_argument("--whole", action="store_true", help="by all tests of the files")
    parser.add_argument("--report", action="store_true", help="tests nothing")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = tomllib.loads((HERE / "modules.toml").read_text())
    files = {
        f"{room}/{name}".strip("/"): tests
        for room, names in table.items()
        for name, tests in names.items()
    }
    chosen = {name: files[name] for name in options.modules or files}
    if not options.report:
        with tempfile.TemporaryDirectory() as folder:
            Session(options, Path(folder)).test(chosen)
    report(options.out, chosen)


class Session:
    """Copies of the tree, one for each worker, and what the tests execute in them."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        for worker in range(options.workers):
            listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
            for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
                if name and not name.startswith("weights/") and (ROOT / name).is_file():
                    target = folder / str(worker) / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, target)
            (folder / str(worker) / "weights").symlink_to(ROOT / "weights")
            subprocess.run(
                [sys.executable, "-m", "compileall", "-q", "ddim_embed", "tests"],
                cwd=folder / str(worker),
            )
        for name in ("tensorflow", "keras", "scipy.linalg", "sklearn.decomposition", "hypothesis"):
            importlib.import_module(name)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            pytest.main(["--version"])  # imports its plugins
        gc.collect()
        gc.freeze()  # else each child's collections walk through TensorFlow

    def test(self, chosen):
        known = read_results(self.options.out)
        equivalent = tomllib.loads((HERE / "equivalent.toml").read_text())
        for module, tests in chosen.items():
            path = Path("ddim_embed", f"{module}.py")
            queue = collections.deque(
                mutant
                for mutant in list_mutants(path)
                if fraction(mutant[0]) < self.options.share
                and mutant[0] not in equivalent.get(module, {})
                and known.get((module, mutant[0]), {}).get("outcome")
                in (None, "unknown", *["survived"] * self.options.again)
            )
            if queue:
                executed = [self.baseline(f"tests/{test}.py") for test in tests]
                self._test_module(module, path, queue, executed)

    def baseline(self, test):
        """Which tests of a file execute which lines, and their durations."""
        sources = sorted(ROOT.glob("ddim_embed/**/*.py"))
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        kept = self.options.out / f"{Path(test).stem}.json"
        if kept.exists() and (found := json.loads(kept.read_text()))["digest"] == digest:
            return found
        print(f"{test}: which lines its tests execute", flush=True)
        _, status, _ = os.wait4(self._fork(0, None, [test], Baseline(kept, digest), 600), 0)
        if status:
            sys.exit(f"{test} fails without a mutant: see {self.folder / '0.log'}")
        return json.loads(kept.read_text())

    def _test_module(self, module, path, queue, executed):
        running, free = {}, list(range(self.options.workers))
        every_test = {test for file in executed for test in file["seconds"]}
        statements, every = lines_of_statements((ROOT / path).read_text()), range(10**6)
        while queue or running:
            while queue and free:
                key, line, source = queue.popleft()
                lines = statements.get(line, every)
                seconds = {}
                for file in executed:
                    for where, names in file["lines"].get(str(path), {}).items():
                        if self.options.whole:
                            seconds |= file["seconds"]
                        elif int(where) in lines:
                            seconds |= {name: file["seconds"][name] for name in names}
                worker = free.pop()
                if not seconds:
                    self._record(module, key, "survived", "no test executes it", 0)
                    free.append(worker)
                    continue
                tests = sorted({test.split("::")[0] for test in seconds})
                limit = 10 + 2 * sum(seconds.values())
                pid = self._fork(
                    worker, (path, source), tests, Selected(seconds, every_test), limit
                )
                running[pid] = worker, key
            if not running:
                continue
            pid, status, usage = os.wait4(-1, 0)
            worker, key = running.pop(pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what a test has started
            free.append(worker)
            failed = self.folder / str(worker) / "failed"
            code = os.waitstatus_to_exitcode(status)
            if code == -signal.SIGALRM:  # waited: not judged
                outcome, by = "unknown", "time"
            elif code == 0:
                outcome, by = "survived", ""
            elif code < 0:
                outcome, by = "killed", f"signal {-code}"
            else:
                outcome, by = "killed", failed.read_text() if failed.exists() else f"code {code}"
            self._record(module, key, outcome, by, usage.ru_utime + usage.ru_stime)
            target = self.folder / str(worker) / path
            shutil.copy2(ROOT / path, target)

    def _record(self, module, key, outcome, by, cpu):
        row = {"module": module, "key": key, "outcome": outcome, "by": by, "cpu": round(cpu, 1)}
        with open(self.options.out / "mutants.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{outcome} {cpu:.1f} s  {module} {key}", flush=True)

    def _fork(self, worker, mutant, tests, plugin, limit):
        copy = self.folder / str(worker)
        (copy / "failed").unlink(missing_ok=True)
        if mutant:
            path, source = mutant
            (copy / path).write_text(source)
        pid = os.fork()
        if pid:
            return pid
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
        resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
        signal.alarm(60 * int(limit))  # a machine may be shared
        log = os.open(self.folder / f"{worker}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        import hypothesis

        hypothesis.settings.register_profile(
            "mutation", max_examples=10, derandomize=True, deadline=None, database=None
        )
        hypothesis.settings.load_profile("mutation")
        code = 3
        try:
            code = pytest.main(
                ["-x", "--assert=plain", "-p", "no:cacheprovider", *tests], plugins=[plugin]
            )
        finally:
            sys.stdout.flush()
            os._exit(int(code))


class Selected:
    """Runs the chosen tests and new ones alone, the fastest first, and notes which one fails."""

    def __init__(self, seconds, known):
        self.seconds, self.known = seconds, known

    def pytest_collection_modifyitems(self, items):
        skipped = self.known - {*self.seconds}
        chosen = (item for item in items if item.nodeid not in skipped)
        items[:] = sorted(chosen, key=lambda item: self.seconds.get(item.nodeid, 0))

    def pytest_runtest_logreport(self, report):
        if report.failed:
            Path("failed").write_text(report.nodeid)


class Baseline:
    """Records which lines each test executes, and how long it takes."""

    def __init__(self, target, digest):
        import coverage

        self.target, self.digest = target, digest
        self.coverage = coverage.Coverage(data_file=None, include="*/ddim_embed/*")
        self.seconds = {}

    def pytest_sessionstart(self):
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid):
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration

    def pytest_sessionfinish(self):
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {
            str(Path(file).relative_to(Path.cwd())): {
                line: [test for test in tests if test] or list(self.seconds)
                for line, tests in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        found = {"digest": self.digest, "seconds": self.seconds, "lines": lines}
        self.target.write_text(json.dumps(found))


def list_mutants(path):
    """The mutants of a file in an order by chance, always the same."""
    from tests.mutation.mutants import mutants

    return sorted(mutants((ROOT / path).read_text()), key=lambda mutant: fraction(mutant[0]))


def lines_of_statements(source):
    """The lines of the statement that a line belongs to; only of statements in functions."""
    found = {}
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef | ast.Lambda):
            for node in ast.walk(function):
                if isinstance(node, ast.stmt) and node is not function:
                    body = getattr(node, "body", None)
                    last = body[0].lineno - 1 if body else node.end_lineno
                    lines = range(node.lineno, max(last, node.lineno) + 1)
                    for line in lines:
                        if line not in found or len(lines) < len(found[line]):
                            found[line] = lines
    return found


def fraction(key):
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**32


def read_results(out):
    file = out / "mutants.jsonl"
    rows = map(json.loads, file.read_text().splitlines() if file.exists() else ())
    return {(row["module"], row["key"]): row for row in rows}


def report(out, chosen):
    """Prints the counts of each module, those that live, and the score."""
    equivalent = tomllib.loads((HERE / "equivalent.toml").read_text())
    results, totals = read_results(out), collections.Counter()
    for module in chosen:
        keys = [key for key, *_ in list_mutants(Path("ddim_embed", f"{module}.py"))]
        same = equivalent.get(module, {})
        counts = collections.Counter(mutants=len(keys))
        for key in keys:
            row = results.get((module, key))
            if row is None:
                continue
            counts["tested"] += 1
            outcome = "equivalent" if key in same else row["outcome"]
            counts[outcome] += 1
            if outcome == "survived":
                print(f"  lives: {module} {key}  {row['by']}")
        totals += counts
        print(module, dict(counts))
    judged = totals["killed"] + totals["survived"]
    print(dict(totals), f"score {totals['killed'] / max(judged, 1):.1%}")


if __name__ == "__main__":
    main()
