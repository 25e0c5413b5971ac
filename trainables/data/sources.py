"""Which reader reads `data.source`."""

from pathlib import Path

from trainables.config.data import DataConfig
from trainables.data.errors import DataError
from trainables.data.rows import Rows


def read_source(data: DataConfig, base: Path) -> Rows:
    """The examples that `data.source` names; relative paths start from `base`.

    Raises:
        DataError: there is no such source, or it cannot be read.
    """
    source = data.source
    if isinstance(source, str) and source.startswith("builtin:"):
        from trainables.data.builtin import read_builtin

        return read_builtin(source.removeprefix("builtin:"))
    raise DataError(f"data.source {source!r} cannot be read.", "", "data.source")
