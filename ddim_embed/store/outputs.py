"""Folders that a command writes to, in which it replaces only what was written this way before."""

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from ddim_embed.store.atomic import replacing, sha256_of

RECORD = ".written.jsonl"
# File systems take names of 255 bytes, some of 143; a temporary name, or a number, is longer.
_LONGEST = 120


class Outputs:
    """A folder to write to, beside a user's own files.

    `.written.jsonl` in the folder has a line, name and checksum, for each file that was written. A
    file that it does not list, or that was changed since, is a user's own and is never replaced,
    nor is one that the command reads. Lines are appended before a file takes its place, so that a
    kill, or another process that writes to the same folder, takes nothing from the record.

    Args:
        folder: the folder; made when the first file is written.
        flag: what names it on the command line, for messages.
        inputs: paths of the files that the command reads.

    Example:
        >>> from ddim_embed.store.outputs import Outputs
        >>> outputs = Outputs("embedded", inputs=["photos/cat.jpg"])
        >>> outputs.claim("cat.png", "errors.csv")
        >>> with outputs.replacing("errors.csv") as path:
        ...     path.write_text("file,mse")
        8
    """

    def __init__(self, folder: str | Path, flag: str = "--out", inputs: Iterable = ()):
        self.folder, self.flag = Path(folder), flag
        self._read = {identity for path in inputs if (identity := _identity(path))}
        self._written = None

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def __str__(self):
        return str(self.folder)

    def claim(self, *names: str):
        """Raises unless all these names can be written, so that work need not be thrown away.

        Raises:
            FileExistsError: if the folder is a file or a broken link, or a name is taken.
            PermissionError: if the folder cannot be written to.
        """
        require_folder(self.folder, self.flag)
        taken = [name for name in names if self._is_taken(name)]
        if taken:
            more = f" and {len(taken) - 5} more" if len(taken) > 5 else ""
            raise FileExistsError(
                f"{self.flag} {self.folder} has files of yours under names that would be written "
                f"({', '.join(taken[:5])}{more}): not written by this command, changed since, or "
                f"read by it. Move them, or choose another folder."
            )

    @contextlib.contextmanager
    def replacing(self, name: str):
        """As `atomic.replacing`, for a file of this folder; FileExistsError if it is taken."""
        with replacing(self / name) as temporary:
            yield temporary
            if self._is_taken(name):
                raise FileExistsError(f"{self / name} has appeared, and is not replaced.")
            self._note(name, sha256_of(temporary))

    def remove(self, name: str):
        """Deletes a file that was written before; one of the user's stays."""
        if not self._is_taken(name):
            (self / name).unlink(missing_ok=True)

    def names_for(self, paths: Iterable, suffix: str) -> list[str]:
        """A name for what is made of each file: its stem, shortened, numbered where stems collide.

        Never the name of a file that is read. Compared without case, as some file systems do.
        """
        names, used = [], set()
        for path in paths:
            stem = Path(path).stem
            while len(os.fsencode(stem)) > _LONGEST:
                stem = stem[:-1]
            number, name = 1, f"{stem}{suffix}"
            while name.casefold() in used or _identity(self / name) in self._read:
                number += 1
                name = f"{stem}-{number}{suffix}"
            used.add(name.casefold())
            names.append(name)
        return names

    def _is_taken(self, name):
        path = self / name
        if not os.path.lexists(path):
            return False
        if path.is_symlink() or not path.is_file() or _identity(path) in self._read:
            return True
        if self._written is None:
            self._written = self._recorded()
        line = name, sha256_of(path)
        return line not in self._written and line not in self._recorded()  # another process's

    def _recorded(self):
        try:
            lines = (self / RECORD).read_bytes().splitlines()
        except OSError:
            return set()
        found = set()
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):  # half a line, after a power cut
                name, checksum = json.loads(line)
                found.add((name, checksum))
        return found

    def _note(self, name, checksum):
        line = json.dumps([name, checksum]).encode() + b"\n"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        # Closing it writes all of the line, or raises an error where the disk is full.
        with open(os.open(self / RECORD, flags, 0o666), "rb+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # half a line, of a process that was killed
                    line = b"\n" + line
            file.write(line)
        if self._written is not None:
            self._written.add((name, checksum))


def require_folder(folder: str | Path, flag: str):
    """Raises unless a folder can be written to, or be made.

    Raises:
        FileExistsError: if it, or a folder above it, is a file or a broken link.
        PermissionError: if it, or the folder in which it would be made, cannot be written to.
    """
    folder = Path(folder)
    above = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not above.is_dir():
        kind = "a file" if above.exists() else "a broken link"
        raise FileExistsError(f"{flag} must be a folder. Received: {folder} ({above} is {kind})")
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"{flag} must be a folder that can be written to. Received: {folder}")


def _identity(path):
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
