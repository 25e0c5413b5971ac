"""The cache: decoded images by content, prepared data by digest, and what was asked for when.

```
images/<key>/     images.npy (N, C, H, W) uint8, checks.npy, sums.npy, squares.npy, meta.json
sources/<key>     names the folder in images/ that belongs to files of these sizes and times
prepared/<digest>/    see prepared.py
requests/<key>.json   which prepared data answers a request, and the files it depends on
locks/
```
Everything is written beside its place and renamed into it, so that nothing is ever seen half-written; folders are on
disk before, so that no power cut leaves a half of them.
Locks spare work; without them (some network file systems have none) the result is the same.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.durable import flush
from trainables.errors import DataError

CLOCK_STEP_NS = 50_000_000
"""A file changed this shortly before it was looked at could change again without its time showing it."""

LEFT_SECONDS = 86_400
"""Folders that nobody looks for, and into which nothing was written for so long, are removed."""


def cache_root(configured: str | None, base: Path) -> Path:
    """The folder of the cache: data.cache, else $EQUIPOISE_CACHE, else ~/.cache/equipoise."""
    if configured is not None:
        return (base / Path(configured).expanduser()).absolute()
    named = os.environ.get("EQUIPOISE_CACHE")
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "equipoise"


def digest_of(*parts: bytes | str) -> str:
    """32 hex digits that determine the parts and where one ends and the next begins."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()[:32]


def stamp(paths: Iterable[Path | str], before: int | None = None) -> tuple[str, bool]:
    """Digest of sizes and times of files and folders, and whether it can be trusted.

    It can if nothing changed after the time `before` (ns, default now), when reading them began, nor so
    shortly earlier that a further change might have left the same time.
    """
    before = time.time_ns() if before is None else before
    total = hashlib.blake2b(digest_size=16)
    newest = 0
    for path in paths:
        try:
            found = os.stat(path)  # noqa: PTH116 (half the time of Path.stat, for every image)
        except OSError:
            total.update(b"-")
            continue
        newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
        total.update(b"%d %d %d;" % (found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return total.hexdigest(), newest < before - CLOCK_STEP_NS


@contextlib.contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turn failures to write below `root` into a message that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            problem, cure = "there is no space for the decoded images", "Free some, or name"
        else:
            problem, cure = (error.strerror or str(error)), "Name"
        raise DataError(
            f"The cache {root} cannot be written: {problem}.",
            f"{cure} another folder with data.cache or $EQUIPOISE_CACHE.",
            "data.cache",
        ) from error


def save_array(path: Path, values: NDArray[Any]) -> None:
    """As `numpy.save`, which does not say why it failed: it writes past Python."""
    content = io.BytesIO()
    np.save(content, values)
    path.write_bytes(content.getbuffer())


class Cache:
    """A cache folder. Reading needs no lock; whoever adds something holds the lock of its key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def answer(self, request: str) -> Path | None:
        """The prepared data that answered this request, if no file it depends on has changed."""
        try:
            record = json.loads((self.root / "requests" / f"{request}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        prepared = self.root / "prepared" / record["prepared"]
        return prepared if stamp(record["watched"])[0] == record["stamp"] and prepared.is_dir() else None

    def remember(self, request: str, prepared: Path, watched: Iterable[Path], stamped: str) -> None:
        """Let `answer` find the prepared data next time."""
        record = {"prepared": prepared.name, "stamp": stamped, "watched": [str(path) for path in watched]}
        self.write_text(f"requests/{request}.json", json.dumps(record))

    def read_text(self, name: str) -> str | None:
        """The content of a small file of the cache, if it is there."""
        try:
            return (self.root / name).read_text("utf-8")
        except OSError:
            return None

    def write_text(self, name: str, text: str) -> None:
        """Write a small file at once."""
        final = self.root / name
        beside = final.with_name(f".{final.name}.{os.getpid()}")
        with writing(self.root):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                beside.write_text(text, "utf-8")
                beside.replace(final)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Hold the lock `key`, which other processes on this cache wait for."""
        from filelock import FileLock  # 20 ms that finding something does not need

        with contextlib.ExitStack() as stack:
            with writing(self.root):
                folder = self.root / "locks"
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(folder / f"{key}.lock"))
            yield

    def add_folder(
        self, name: str, fill: Callable[[Path], str | None], whole: Callable[[Path], bool]
    ) -> Path:
        """Make the folder `name` of what `fill` writes, all or nothing. The caller holds its lock.

        What `fill` returns is appended to the name. A folder that is there by then and is `whole` stays. Failures to
        write are turned by `fill` itself into messages: it may read as well.
        """
        final = self.root / name
        beside = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}")
        with writing(self.root):
            final.parent.mkdir(parents=True, exist_ok=True)
            _remove_left(final.parent.glob(".*"))  # by processes that were killed
            beside.mkdir()
        try:
            final = final.with_name(final.name + (fill(beside) or ""))
            with writing(self.root):
                for path in (*beside.rglob("*"), beside):
                    flush(path)  # else a power cut could leave the name without all of its content
                if final.is_dir() and not whole(final):
                    shutil.rmtree(final)
                try:
                    beside.rename(final)
                except OSError as error:
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
                    final.touch()
                    shutil.rmtree(beside)
                _remove_left(path for path in final.parent.glob(f"{Path(name).name}-*") if path != final)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return final


def _remove_left(folders: Iterable[Path]) -> None:
    """Remove folders that have not been written to for `LEFT_SECONDS`."""
    for folder in folders:
        with contextlib.suppress(OSError):  # another process is at it
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if newest < time.time() - LEFT_SECONDS:
                shutil.rmtree(folder)
