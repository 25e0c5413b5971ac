"""A disk that may lose its power at any moment: it keeps what was flushed, and of the rest as much as it likes.

What a file system promises is little: the content of a file as of its last fsync, the names in a folder as of that
folder's. Whatever else it has kept by then is chance, of which there are four kinds here.
"""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Names = dict[str, int]
CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir")


class Disk:
    """The folder `root` of this process, and at every moment of a change to it what would be left of it.

    `survives` is called at each of these moments with a folder that holds what is left: nothing but what was flushed
    (`least`), all names with the content that was flushed (`names`), the same but for folders that never were flushed,
    which are empty (`folders`), or besides all names half of what else was written (`torn`).
    """

    def __init__(self, root: Path, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.survives: Callable[[Path], None] = lambda _: None
        self.moments = 0
        self._left = left
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, Names] = {}
        self._folders: set[int] = set()
        self._held: list[int] = []  # open, so that no number of a file is given to another one
        self._looking = False
        self._one_at_a_time = (
            threading.RLock()
        )  # other threads, such as who renews the lease, change files as well
        self._open = os.open
        root.mkdir()
        self._flushed(self._open(root, os.O_RDONLY))
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._flushing)
        for name in CHANGES:
            monkeypatch.setattr(os, name, self._changing(getattr(os, name)))

    def close(self) -> None:
        """Give back what is held open."""
        for descriptor in self._held:
            os.close(descriptor)

    def leave(self, kind: str) -> Path:
        """A new folder with what a power cut leaves now."""
        self.moments += 1
        place = self._left / f"{self.moments}-{kind}"
        if kind == "least":
            self._leave_flushed(self.root.stat().st_ino, place)
        else:
            self._leave_names(self.root, place, kind)
        return place

    def _flushing(self, descriptor: int) -> None:
        with self._one_at_a_time:
            self._moment()
            if not self._looking:
                self._flushed(descriptor)
            self._moment()

    def _changing(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **named: Any) -> Any:
            with self._one_at_a_time:
                result = change(*arguments, **named)
                self._moment()
            return result

        return changed

    def look(self) -> None:
        """Fail now, too: between two changes."""
        with self._one_at_a_time:
            self._moment()

    def _moment(self) -> None:
        if self._looking:  # what is looked at is not on this disk
            return
        self._looking = True
        try:
            for kind in ("least", "names", "folders", "torn"):
                self.survives(self.leave(kind))
        finally:
            self._looking = False

    def _flushed(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._hold(path)
        number = os.fstat(descriptor).st_ino
        if path.is_dir():
            for own in path.iterdir():
                self._hold(own)
            self._names[number] = {own.name: own.stat().st_ino for own in path.iterdir()}
        else:
            self._contents[number] = path.read_bytes()

    def _hold(self, path: Path) -> None:
        self._held.append(self._open(path, os.O_PATH))
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            self._folders.add(found.st_ino)

    def _leave_flushed(self, number: int, place: Path) -> None:
        if number not in self._folders:
            place.write_bytes(self._contents.get(number, b""))
            return
        place.mkdir()
        for name, own in self._names.get(number, {}).items():
            self._leave_flushed(own, place / name)

    def _leave_names(self, path: Path, place: Path, kind: str) -> None:
        if path.is_dir():
            place.mkdir()
            if kind != "folders" or path.stat().st_ino in self._names:
                for own in path.iterdir():
                    self._leave_names(own, place / own.name, kind)
            return
        flushed, written = self._contents.get(path.stat().st_ino, b""), path.read_bytes()
        more = written[len(flushed) :] if kind == "torn" and written.startswith(flushed) else b""
        place.write_bytes(flushed + more[: len(more) // 2])
