"""Disks of a test's own, which are full when it says so."""

import contextlib
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS_BETWEEN_LOOKS = 0.002


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of this size at `place`, a folder that is made; the test is skipped where none may be mounted."""
    place.mkdir()
    size = f"size={kilobytes}k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def full(disk: Path, leave: int = 0) -> Iterator[None]:
    """Within the block, no more than `leave` bytes are free on the disk, whoever gives some back meanwhile."""
    over = threading.Event()
    filler = disk / ".filler"
    with filler.open("wb") as file:

        def keep_full() -> None:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                _fill(file.fileno(), disk, leave)

        _fill(file.fileno(), disk, leave)
        keeper = threading.Thread(target=keep_full, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            filler.unlink()


def used(disk: Path) -> int:
    """Bytes of the disk that are in use."""
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def free(disk: Path) -> int:
    """Bytes of the disk that are free."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def _fill(descriptor: int, disk: Path, leave: int) -> None:
    while (surplus := free(disk) - leave) > 0:
        try:
            os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, surplus)
        except OSError as error:  # somebody else was faster
            if error.errno != errno.ENOSPC:
                raise
