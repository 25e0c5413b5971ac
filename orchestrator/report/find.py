"""Which search a person means."""

from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.runs.journal import FILE_NAME, read_journal


def find_search(storage: Path, reference: str | None = None) -> Path:
    """The folder of a search.

    Args:
        storage: folder of all searches (`tracking.storage`).
        reference: its id, the beginning of only one id, or its folder. None: the one started last.

    Raises:
        ConfigError: there is none, or several; lists what exists.
    """
    if reference is not None and (Path(reference) / FILE_NAME).is_file():
        return Path(reference)
    found = {
        path.parent.name: path.parent
        for path in sorted(storage.glob(f"*/{FILE_NAME}"))
        if path.stat().st_size
    }
    if not found:
        raise ConfigError(
            f"There is no search in {storage}.",
            "Start one with `equipoise search experiment.yaml`, or name the folder with --storage.",
        )
    if reference is None:
        return max(found.values(), key=_start_time)
    if reference in found:
        return found[reference]
    matching = [name for name in found if name.startswith(reference)]
    if len(matching) == 1:
        return found[matching[0]]
    names = matching or sorted(found, key=lambda name: _start_time(found[name]), reverse=True)
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    problem = (
        f"Several searches begin with {reference!r}"
        if matching
        else f"There is no search {reference!r} in {storage}"
    )
    raise ConfigError(f"{problem}.", f"There are: {listed}.")


def _start_time(directory: Path) -> float:
    first = next(read_journal(directory), None)
    return float(first["time"]) if first else 0.0
