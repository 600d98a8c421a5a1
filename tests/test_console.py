"""What command lines share: errors in a line, signals, pipes, words; without TensorFlow."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest

from ddim_embed import console
from ddim_embed.console import UsageError
from ddim_embed.memory import NotEnoughMemoryError

ROOT = Path(__file__).parent.parent


def ended(capsys, error):
    """Raises an error; returns the exit code and what stderr says."""
    with pytest.raises(SystemExit) as stop, console.errors_in_a_line():
        raise error
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "can be written to"),
        (errno.EACCES, "permissions"),
        (errno.EPERM, "permissions"),
        (errno.ELOOP, "circle of links"),
        (errno.ENAMETOOLONG, "shorter names"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "damaged"),
        (errno.EFBIG, "ulimit -f"),
        (errno.ENOENT, "No such file"),
        (errno.ENOTDIR, "Not a directory"),
        (errno.EISDIR, "Is a directory"),
        (errno.ESTALE, "Stale"),
    ],
)
def test_errors_of_the_file_system_take_one_line(capsys, number, words):
    code, line = ended(capsys, OSError(number, os.strerror(number), "some/file"))
    assert code == 1 and line.startswith(f"error: some/file: {os.strerror(number)}.")
    assert words in line and line.count("\n") == 1


class ResourceExhaustedError(Exception):
    """As TensorFlow names its error."""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("--x must be\n1"), 2, "error: --x must be 1"),
        (MemoryError(), 1, "error: There is not enough memory. Ask for less."),
        (MemoryError("Unable to allocate 1 TiB"), 1, "error: Unable to allocate 1 TiB"),
        (NotEnoughMemoryError("for 9 images"), 1, "error: for 9 images"),
        (ResourceExhaustedError("OOM"), 1, "error: OOM"),
        (RuntimeError("RESOURCE_EXHAUSTED: out"), 1, "error: RESOURCE_EXHAUSTED: out"),
        (FileNotFoundError("No weights"), 1, "error: No weights"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (KeyboardInterrupt("Go on so."), 130, "Interrupted. Go on so."),
        (console.Terminated(signal.SIGTERM), 143, "Interrupted."),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_ends(capsys, monkeypatch, error, code, words):
    monkeypatch.setattr(console, "_discard", lambda *streams: None)  # pytest's own
    assert ended(capsys, error) == (code, words + "\n" * bool(words))


def test_faults_of_the_program_have_a_traceback():
    with pytest.raises(KeyError), console.errors_in_a_line():
        raise KeyError("x")


def run(code, **options):
    return subprocess.Popen(
        [sys.executable, "-c", "from ddim_embed import console\n" + code], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_end_with_a_line(name):
    number = getattr(signal, name)
    process = run(
        # As a shell starts a command; in the background, or under nohup, signals are ignored.
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"if {number} != signal.SIGINT: signal.signal({number}, signal.SIG_DFL)\n"
        "with console.errors_in_a_line():\n"
        "    try:\n        print('ready', flush=True); time.sleep(60)\n"
        "    finally:\n        print('closed')"
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    output, error = process.communicate(timeout=20)
    assert (output, error) == ("closed\n", "Interrupted.\n")
    assert process.returncode == 128 + number


def test_a_closed_pipe_is_quiet():
    for lines in (1, 10_000):
        process = run(f"with console.errors_in_a_line(): print('line\\n' * {lines})")
        process.stdout.close()
        time.sleep(0.01)
        error = process.stderr.read()
        assert (process.wait(timeout=20), error) == (141, "")
        process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_output_on_a_full_disk_takes_one_line():
    code = "with console.errors_in_a_line(): print('x')"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from ddim_embed import console\n" + code],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 1 and done.stderr.startswith("error: No space left on device. Free")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["embed", ""], "An argument must not be empty"),
        (["embed", "--out", ""], "--out must not be empty"),
        (["embed", "--out="], "--out must not be empty"),
    ],
)
def test_empty_words_are_refused(words, expected):
    with pytest.raises(UsageError, match=expected):
        console.words_of(words)
    assert console.words_of(["embed", Path("a b"), "--out=x"]) == ["embed", "a b", "--out=x"]


def test_flags_that_are_wrong():
    commands = {"embed": ["out", "num_steps", "mirror"], "sample": ["count"]}
    for words in (["embed", "--num_steps", "3", "--no-mirror", "a"], ["sample", "-h"], ["--help"]):
        console.require_flags(words, commands)
    for words, expected in (
        (["emebd"], "There is no command emebd. Did you mean embed? There are: embed, sample."),
        (["embed", "--count=3"], "--count does nothing for `embed`."),
        (["embed", "--num-step", "3"], "`embed` has no flag --num-step. Did you mean --num-steps?"),
        (["sample", "--zzz"], "`sample` has no flag --zzz. --help lists all."),
    ):
        with pytest.raises(UsageError) as error:
            console.require_flags(words, commands)
        assert str(error.value).startswith(expected)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--count", "many"], "Error parsing --count: expected a whole number, not 'many'."),
        (["--share", "x"], "Error parsing --share: expected a number, not 'x'."),
        (["--kind", "linera"], "('linear', 'cosine'). Did you mean linear?"),
        (["--count"], "Missing value for argument '--count'. Expected 1 values."),
        (["x y"], "Unrecognized options: x y."),
    ],
)
def test_wrong_values_take_a_line(words, expected, encoding, monkeypatch):
    def command(count: int = 1, share: float = 1.0, kind: Literal["linear", "cosine"] = "linear"):
        return count, share, kind

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    with pytest.raises(UsageError) as error:
        console.parse(command, words)
    assert str(error.value).endswith(expected) and "\n" not in str(error.value)
    assert console.parse(command, ["--count", "3"]) == (3, 1.0, "linear")


class TestCtrlC:
    @pytest.fixture(autouse=True)
    def heard(self):
        """A process that a shell starts in the background ignores Ctrl-C."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    def ended(self, capsys, work):
        with pytest.raises(SystemExit) as stop, console.errors_in_a_line():
            work()
        assert stop.value.code == 130
        assert capsys.readouterr().err == "Interrupted.\n"

    def test_an_error_that_a_library_makes_of_it(self, capsys):
        def work():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise RuntimeError("a library's own") from None

        self.ended(capsys, work)

    def test_where_an_object_is_freed_and_exceptions_are_lost(self, capsys):
        class Freed:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)

        def work():
            Freed()
            time.sleep(5)

        began = time.monotonic()
        self.ended(capsys, work)
        assert time.monotonic() - began < 4


def test_messages_are_one_line_that_is_not_too_long(capsys):
    for words in (["a\nb"] * 3, ["x" * 10_000]):
        with pytest.raises(SystemExit), console.errors_in_a_line():
            raise UsageError(words)
        with pytest.raises(SystemExit), console.errors_in_a_line():
            raise KeyboardInterrupt(words)
        error, interrupted = capsys.readouterr().err.splitlines()
        assert error.startswith("error: ") and interrupted.startswith("Interrupted. ")
        assert max(len(error), len(interrupted)) < 2010
