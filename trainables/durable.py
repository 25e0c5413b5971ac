"""What must outlive a power cut: files and names are only on disk once both they and their folder are flushed."""

import errno
import os
from pathlib import Path


def flush(path: Path) -> None:
    """Return when the content of a file, or the names in a folder, are on disk.

    Raises:
        OSError: the disk failed, or is full.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise  # else a network file system, some of which know no such thing for folders
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make `folder` and those above it that do not exist; those that were made are on disk.

    Raises:
        OSError: they cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        flush(path.parent)
