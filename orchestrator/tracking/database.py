"""MLflow's SQLite database: made whole or not at all."""

import contextlib
import os
import shutil
from typing import Any

from orchestrator.tracking.uri import artifact_root, database_path, sqlite_uri
from trainables.durable import flush, make_folders


def create_database(uri: str, uid: str) -> None:
    """Create the SQLite database behind `uri` if there is none; every other store is left alone.

    MLflow needs 1.7 s of migrations for it, and a kill in between would leave a database that can neither
    be used nor repaired. So it is made in a folder named by `uid`, which no one else uses, and appears whole.
    """
    database = database_path(uri)
    if database is None or database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = database.parent / f".{database.name}.{uid}"
    shutil.rmtree(folder, ignore_errors=True)
    make_folders(database.parent)
    folder.mkdir()
    try:
        unfinished = folder / database.name
        store: Any = SqlAlchemyStore(sqlite_uri(unfinished), artifact_root(uri))  # type: ignore[no-untyped-call]
        store.engine.dispose()
        with contextlib.suppress(FileExistsError):  # another search was faster
            os.link(unfinished, database)
        flush(database.parent)
    finally:
        shutil.rmtree(folder)
