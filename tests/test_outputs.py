"""Folders of results: what a command replaces, and what it refuses to."""

import os
import resource
import signal

import pytest

from ddim_embed.store.outputs import RECORD, Outputs, require_folder


def write(outputs, name, text):
    with outputs.replacing(name) as path:
        path.write_text(text)


def test_only_what_was_written_is_replaced(tmp_path):
    write(Outputs(tmp_path), "a.txt", "first")
    (tmp_path / "own.txt").write_text("mine")
    again = Outputs(tmp_path)  # another run
    again.claim("a.txt", "new.txt")
    write(again, "a.txt", "second")
    assert (tmp_path / "a.txt").read_text() == "second"
    with pytest.raises(FileExistsError, match=r"--out .*\(own.txt\)"):
        again.claim("a.txt", "own.txt")
    with pytest.raises(FileExistsError, match=r"own.txt has appeared"):
        write(again, "own.txt", "theirs")
    again.remove("own.txt")
    assert (tmp_path / "own.txt").read_text() == "mine"
    again.remove("a.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, "own.txt"]


@pytest.mark.parametrize("make", ["folder", "link", "broken link", "changed", "copied", "forged"])
def test_what_stands_in_the_way(tmp_path, make):
    (tmp_path / "target").write_text("mine")
    path = tmp_path / "a.txt"
    outputs = Outputs(tmp_path)
    if make == "folder":
        path.mkdir()
    elif "link" in make:
        path.symlink_to(tmp_path / ("target" if make == "link" else "nothing"))
    elif make == "changed":
        write(outputs, "a.txt", "first")
        path.write_text("edited")
    elif make == "copied":  # what was written under another name
        write(outputs, "b.txt", "first")
        path.write_bytes((tmp_path / "b.txt").read_bytes())
    else:
        path.write_text("mine")
        (tmp_path / RECORD).write_bytes(b'\xff\n["a.txt"]\n["a.txt", {}]\n{"a.txt": 1}\nnull\n["a')
    with pytest.raises(FileExistsError, match=r"\(a.txt\)"):
        Outputs(tmp_path).claim("a.txt")
    assert (tmp_path / "target").read_text() == "mine"


def test_a_file_that_is_read_is_not_replaced_even_if_it_was_written(tmp_path):
    write(Outputs(tmp_path), "cat.png", "an earlier reconstruction")
    write(Outputs(tmp_path), "latents.npz", "an earlier result")
    reading = Outputs(tmp_path, inputs=[tmp_path / "cat.png", tmp_path / "latents.npz"])
    assert reading.names_for([tmp_path / "cat.png"], ".png") == ["cat-2.png"]
    with pytest.raises(FileExistsError, match=r"\(latents.npz\)"):
        reading.claim("latents.npz")


def test_a_kill_between_the_record_and_the_file_loses_nothing(tmp_path):
    """The record has both, so that either may be replaced."""
    outputs = Outputs(tmp_path)
    write(outputs, "a.txt", "first")
    outputs._note("a.txt", "0" * 64)  # killed here
    Outputs(tmp_path).claim("a.txt")


def test_two_runs_at_once_know_each_others_files(tmp_path):
    first, second = Outputs(tmp_path), Outputs(tmp_path)
    first.claim("a.txt", "b.txt")
    write(second, "a.txt", "second's")
    write(first, "a.txt", "first's")
    assert (tmp_path / "a.txt").read_text() == "first's"


def test_the_record_is_not_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / RECORD).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=RECORD):
        write(Outputs(tmp_path), "a.txt", "x")
    assert (tmp_path / "mine").read_text() == "mine" and not (tmp_path / "a.txt").exists()


def test_names_are_short_different_and_those_of_the_files(tmp_path):
    paths = ["x/cat.jpg", "y/Cat.png", "y/" + "ä" * 125 + ".png", "z/" + "ä" * 124 + ".gif"]
    paths += [os.fsdecode(b"\xff.png"), "two\nlines.png"]
    outputs = Outputs(tmp_path)
    names = outputs.names_for(paths, ".png")
    assert names[:2] == ["cat.png", "Cat-2.png"]
    assert names[2:4] == ["ä" * 60 + ".png", "ä" * 60 + "-2.png"]
    for name in names:
        write(outputs, name, name.encode("ascii", "replace").decode())
    Outputs(tmp_path).claim(*names)


def test_folders(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "file/below", "broken", "loop/below"):
        with pytest.raises(FileExistsError, match="--out must be a folder"):
            require_folder(tmp_path / name, "--out")
    require_folder(tmp_path / "new" / "below", "--out")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as on a disk that is read-only
    with pytest.raises(PermissionError, match="can be written to"):
        Outputs(tmp_path / "new").claim("a")


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path):
    write(Outputs(tmp_path), "a.txt", "a")
    with open(tmp_path / RECORD, "ab") as file:
        file.write(b'["half", "12')
    write(Outputs(tmp_path), "b.txt", "b")
    Outputs(tmp_path).claim("a.txt", "b.txt")


def test_a_line_that_the_disk_has_no_room_for_is_an_error(tmp_path):
    """Else the file would be taken for the user's by the next run."""
    write(Outputs(tmp_path), "a.txt", "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / RECORD).stat().st_size + 9, hard))
    try:
        with pytest.raises(OSError, match=r"b\.txt"):
            write(Outputs(tmp_path), "b.txt", "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "b.txt").exists()
    Outputs(tmp_path).claim("a.txt", "b.txt")
