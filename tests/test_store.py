"""What keeps files whole: temporary files, locks, checksums."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ddim_embed.store.atomic import PREFIX, replacing
from ddim_embed.store.locks import LockedError, locked
from ddim_embed.store.sealed import (
    DamagedError,
    read_arrays,
    read_sealed,
    write_arrays,
    write_sealed,
)


def write(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text)


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def elsewhere(tmp_path):
    """Runs Python in another process, in `tmp_path`, until it prints a line; stops it at the end.

    The library's modules for files import little: such a process starts at once.
    """
    processes = []

    def start(code):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


WRITING = """
import time
from ddim_embed.store.atomic import replacing
with replacing("target.png") as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(100)
"""
LOCKING = """
import time
from ddim_embed.store.locks import locked
with locked("lock"):
    print("ready", flush=True)
    time.sleep({seconds})
"""


class TestReplacing:
    def test_the_old_file_stays_until_the_new_one_is_whole(self, tmp_path):
        path = tmp_path / "new folder" / "text.tar.txt"
        write(path, "old")
        with replacing(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old"
            assert temporary.suffix == path.suffix and temporary.parent == path.parent
        assert path.read_text() == "new"
        with pytest.raises(KeyError), replacing(path) as temporary:
            temporary.write_text("newer")
            raise KeyError
        assert path.read_text() == "new"
        assert names(path.parent) == {path.name}

    def test_a_name_of_the_greatest_length(self, tmp_path):
        path = tmp_path / f"{251 * 'a'}.txt"
        write(path, "text")
        assert path.read_text() == "text"

    def test_a_link_is_replaced_and_what_it_leads_to_stays(self, tmp_path):
        other, path = tmp_path / "other", tmp_path / "link"
        other.write_text("precious")
        path.symlink_to(other)
        write(path, "new")
        assert other.read_text() == "precious"
        assert path.read_text() == "new" and not path.is_symlink()

    def test_a_planted_link_is_not_followed(self, tmp_path, monkeypatch):
        """Even one of the temporary file's name, which no one can know."""
        other = tmp_path / "other"
        other.write_text("precious")
        monkeypatch.setattr("secrets.token_hex", lambda n: "known")
        planted = tmp_path / f"{PREFIX}{os.getpid()}-known.txt"
        planted.symlink_to(other)
        with pytest.raises(FileExistsError):
            write(tmp_path / "new.txt", "new")
        assert other.read_text() == "precious"

    def test_what_a_kill_left_is_removed_by_the_next_run(self, tmp_path, elsewhere):
        process = elsewhere(WRITING)
        (left,) = names(tmp_path)
        assert left.startswith(PREFIX)
        # Not while that process lives, and nothing else that is called so.
        (tmp_path / f"{PREFIX}folder").mkdir()
        (tmp_path / f"{PREFIX}link").symlink_to("nowhere")
        os.mkfifo(tmp_path / f"{PREFIX}pipe")
        others = names(tmp_path) - {left}
        write(tmp_path / "other.png", "other")
        assert names(tmp_path) == others | {left, "other.png"}
        process.send_signal(signal.SIGKILL)
        process.wait()
        write(tmp_path / "other.png", "other")
        assert names(tmp_path) == others | {"other.png"}

    def test_a_full_disk_is_an_error_with_the_name(self, tmp_path):
        """The limit on the size of a file acts like a disk that is full in the middle of it."""
        path = tmp_path / "file.bin"
        write_sealed(path, b"old")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with pytest.raises(OSError) as error:
                write_sealed(path, bytes(100_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert error.value.errno == errno.EFBIG and error.value.filename == str(path)
        assert read_sealed(path) == b"old"
        assert names(tmp_path) == {"file.bin"}

    def test_errors_about_other_files_stay_as_they_are(self, tmp_path):
        with pytest.raises(FileNotFoundError) as error, replacing(tmp_path / "a") as temporary:
            temporary.write_text((tmp_path / "missing").read_text())
        assert error.value.filename == str(tmp_path / "missing")
        own = FileNotFoundError("no such weights")
        with pytest.raises(FileNotFoundError) as error, replacing(tmp_path / "a"):
            raise own
        assert error.value is own


class TestLocked:
    def test_the_second_is_told_who_is_the_first(self, tmp_path, elsewhere):
        process = elsewhere(LOCKING.format(seconds=100))
        with (
            pytest.raises(LockedError, match=rf"^process {process.pid} on .*, since \d{{4}}-"),
            locked(tmp_path / "lock", wait=False),
        ):
            pass
        process.kill()
        process.wait()
        with locked(tmp_path / "lock", wait=False):
            assert names(tmp_path) == {"lock"}
        assert not names(tmp_path)

    def test_waiting(self, tmp_path, elsewhere):
        started = time.monotonic()
        elsewhere(LOCKING.format(seconds=0.5))
        with locked(tmp_path / "lock"):
            assert time.monotonic() - started > 0.5
            with pytest.raises(LockedError), locked(tmp_path / "lock", wait=False):
                pass
        assert not names(tmp_path)

    def test_one_at_a_time(self, tmp_path):
        """Each of four processes adds 50 to a number in a file, one by one."""
        number = tmp_path / "number"
        number.write_text("0")
        children = []
        for _ in range(4):
            if child := os.fork():
                children.append(child)
                continue
            try:
                for _ in range(50):
                    with locked(tmp_path / "lock"):
                        number.write_text(str(int(number.read_text()) + 1))
            finally:
                os._exit(0)
        for child in children:
            os.waitpid(child, 0)
        assert number.read_text() == "200"

    def test_a_link_is_not_written_to(self, tmp_path):
        other = tmp_path / "other"
        other.write_text("precious")
        (tmp_path / "lock").symlink_to(other)
        with pytest.raises(OSError), locked(tmp_path / "lock"):
            pass
        assert other.read_text() == "precious"


class TestSealed:
    def test_what_is_read_is_what_was_written(self, tmp_path):
        write_sealed(tmp_path / "a", b"one, ", np.arange(3, dtype=np.uint8), b"")
        assert read_sealed(tmp_path / "a") == b"one, \0\1\2"
        with pytest.raises(FileNotFoundError):
            read_sealed(tmp_path / "b")

    def test_every_changed_bit_and_every_cut_is_found(self, tmp_path):
        path = tmp_path / "a"
        write_sealed(path, bytes(range(16)))
        whole = path.read_bytes()
        for bit in range(0, 8 * len(whole), 3):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            with pytest.raises(DamagedError, match=f"{path} is damaged"):
                read_sealed(path)
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(DamagedError):
                read_sealed(path)

    def test_arrays(self, tmp_path, recwarn):
        path, arrays = tmp_path / "a.npz", {"x": np.arange(3.0), "y": np.array("word")}
        assert read_arrays(path, "key") is None
        write_arrays(path, "key", **arrays)
        found = read_arrays(path, "key")
        assert found.keys() == arrays.keys()
        np.testing.assert_equal(found, arrays)
        assert read_arrays(path, "another key") is None
        assert not recwarn
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.warns(UserWarning, match=f"{path} is damaged.*computed again"):
            assert read_arrays(path, "key") is None

    def test_another_kind_of_file_is_found(self, tmp_path):
        write_sealed(tmp_path / "a.h5", b"contents")
        (tmp_path / "a.h5").rename(tmp_path / "a.npz")
        with pytest.raises(DamagedError, match="checksum"):
            read_sealed(tmp_path / "a.npz")

    def test_what_does_not_end_is_not_read(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "device").symlink_to("/dev/zero")
        for name in ("pipe", "device"):
            with pytest.raises(DamagedError, match="not a regular file"):
                read_sealed(tmp_path / name)
