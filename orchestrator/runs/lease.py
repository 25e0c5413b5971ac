"""Who conducts a run: its folder is one process's at a time, and the system ends that with the process.

An advisory lock, so that nothing has to be cleared after a kill or a power cut. On a shared file system it holds
between machines where that file system's locks do (NFS version 4 does).
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from orchestrator.errors import EquipoiseError

FILE_NAME = "driver.lock"
ATTEMPTS = 5


class Conducted(EquipoiseError):  # noqa: N818 - named for what is the case
    """Another process conducts the run."""

    exit_code = 5


@contextlib.contextmanager
def hold_lease(directory: Path) -> Iterator[None]:
    """Be the one process that conducts the run in `directory`.

    Raises:
        Conducted: another one is; it is named.
    """
    with (directory / FILE_NAME).open("a+") as file:
        if not _locked(file):
            file.seek(0)
            raise Conducted(
                f"{directory.name} is conducted by {_told(file.read())}",
                "Let it finish, or stop it with Ctrl-C (SIGINT) and resume then.",
            )
        file.truncate(0)
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            os.write(file.fileno(), json.dumps(holder).encode())
        yield


def is_held(directory: Path) -> bool:
    """Whether a process conducts the run at present."""
    try:
        with (directory / FILE_NAME).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _locked(file: TextIO) -> bool:
    """Take the lock; not at the first attempt where `is_held` is looking at this very moment."""
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _told(content: str) -> str:
    try:
        holder = json.loads(content)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        return f"process {holder['process']} on {holder['host']} since {since}"
    except (ValueError, KeyError, TypeError):
        return "another process, which could not say who it is"
