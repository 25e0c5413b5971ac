"""Folders for the time of one process, which the next start removes if that process could not.

A killed process removes nothing. So each folder has a file beside it, which its owner holds locked and the system
unlocks however that ends; who makes the next folder removes those whose lock nobody holds.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

PREFIX = "eqp-"
"""Short, because Unix sockets below a folder of Ray's may have at most 107 characters."""
LOCK = ".lock"


class ScratchFolder:
    """A new folder of this user's among the system's temporary ones, until `remove`."""

    def __init__(self) -> None:
        _remove_abandoned()
        self._file, lock = _new_lock()
        self.path = lock.with_suffix("")
        self.path.mkdir(mode=0o700)
        # So that what is removed later is this folder, and not another one of its name.
        self._file.write(_identity(self.path))
        self._file.flush()

    def remove(self) -> None:
        """Remove the folder and its lock. May be called twice."""
        if not self._file.closed:
            _remove(self._file, self.path.with_suffix(LOCK))


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A `ScratchFolder` for the time of the block."""
    folder = ScratchFolder()
    try:
        yield folder.path
    finally:
        folder.remove()


def _new_lock() -> tuple[TextIO, Path]:
    while True:
        descriptor, name = tempfile.mkstemp(suffix=LOCK, prefix=PREFIX)
        file = os.fdopen(descriptor, "w+")
        # Another start may have found it before it was locked: then it is gone.
        if _holds(file, Path(name)):
            return file, Path(name)
        file.close()


def _remove_abandoned() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*{LOCK}"):
        with contextlib.suppress(OSError):  # of another user, or gone meanwhile
            file = lock.open("r+")
            if _holds(file, lock):
                _remove(file, lock)
            file.close()


def _holds(file: TextIO, path: Path) -> bool:
    """Whether we could lock `file`, and it still is the one at `path`."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _remove(file: TextIO, lock: Path) -> None:
    folder = lock.with_suffix("")
    file.seek(0)
    if folder.is_dir() and not folder.is_symlink() and _identity(folder) == file.read():
        shutil.rmtree(folder, ignore_errors=True)
    lock.unlink(missing_ok=True)
    file.close()


def _identity(folder: Path) -> str:
    found = folder.stat()
    return f"{found.st_dev} {found.st_ino}"
