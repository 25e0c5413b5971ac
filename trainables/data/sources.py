"""Which reader reads `data.source`."""

from collections.abc import Mapping
from pathlib import Path

from trainables.config.data import SourceKeys
from trainables.data.rows import Rows
from trainables.errors import DataError


def read_source(source: str | Mapping[str, str], data: SourceKeys, base: Path) -> Rows:
    """The examples that `source` names, as `data` describes it; relative paths start from `base`.

    Readers are imported when they are needed: a table costs no Arrow where it is CSV, a builtin costs
    nothing.

    Raises:
        DataError: there is no such source, or it cannot be read.
    """
    root = None if data.root is None else base / Path(data.root).expanduser()
    if not isinstance(source, str):
        from trainables.data.folder import read_trees

        return read_trees({column: base / Path(tree).expanduser() for column, tree in source.items()}, root)
    kind, _, name = source.partition(":")
    match kind:
        case "builtin":
            from trainables.data.builtin import read_builtin

            return read_builtin(name)
        case "idx":
            from trainables.data.idx import read_idx_folder

            return read_idx_folder(base / Path(name).expanduser(), source)
        case "torchvision":
            from trainables.data.torchvision_sets import read_torchvision

            return read_torchvision(name, root or base)
    from trainables.data.table import SUFFIXES, read_table

    if source.lower().endswith(SUFFIXES):
        return read_table(data, source, base)
    tree = base / Path(source).expanduser()
    if tree.is_dir():
        from trainables.data.folder import read_tree

        return read_tree(tree, root)
    raise DataError(
        f"There is no data source {source!r} (looked in {base}).",
        "Allowed: a .csv, .tsv or .parquet table, a folder with one folder per class, {column: folder},"
        " builtin:digits-pair, idx:DIR, torchvision:NAME.",
        "data.source",
    )
