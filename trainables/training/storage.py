"""What is said when a training cannot write to its disk. Without torch."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from trainables.errors import StorageError


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn failures to write `directory` into a `StorageError` that names it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        reason = reason.rpartition("I/O error: ")[2].partition(" (os error")[0]  # as safetensors puts it
        raise StorageError(f"{directory} cannot be written: {reason}") from error
