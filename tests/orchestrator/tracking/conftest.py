"""A fresh SQLite store per test, copied from one that was created once."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tracking.follower import Follower
from orchestrator.tracking.runs import LEASE
from orchestrator.tracking.uri import sqlite_uri
from tests.orchestrator.journals import search_events, write_journal
from tests.orchestrator.tracking.trained import TrainedSearch

Content = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without a run: creating one takes 1.7 s."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own use of SQLAlchemy
        MlflowClient(tracking_uri=sqlite_uri(path)).search_experiments(max_results=1)
    return path


@pytest.fixture
def store(empty_database: Path, tmp_path: Path) -> str:
    """URI of an empty SQLite store of its own."""
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_database, database)
    return sqlite_uri(database)


@pytest.fixture(scope="session")
def told(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory, content: Callable[[str], Content]
) -> Content:
    """What MLflow knows once a whole search was told."""
    folder = tmp_path_factory.mktemp("told")
    uri = sqlite_uri(Path(shutil.copy(empty_database, folder / "mlflow.db")))
    assert Follower(write_journal(folder / "digits-pair-001", list(search_events(uri))), None).run() == 0
    return content(uri)


@pytest.fixture(scope="session")
def trained_search(tmp_path_factory: pytest.TempPathFactory) -> TrainedSearch:
    """A real model with its predictions, for journals of searches that never ran."""
    return TrainedSearch(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def content() -> Callable[[str], Content]:
    """Reads all that MLflow knows of all runs, by run name, without the ids it invents."""

    def read(uri: str, experiment: str = "digits-pair") -> Content:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        runs = list(client.search_runs([found.experiment_id], max_results=1000))
        names = {run.info.run_id: run.info.run_name for run in runs}
        assert len(set(names.values())) == len(runs), "a run exists twice"
        result: Content = {}
        for run in runs:
            tags = dict(run.data.tags)
            tags.pop(LEASE, None)  # until when somebody conducted it
            if "mlflow.parentRunId" in tags:
                tags["mlflow.parentRunId"] = names[tags["mlflow.parentRunId"]]
            for run_id, name in names.items():  # the note links to them
                if "mlflow.note.content" in tags:
                    tags["mlflow.note.content"] = tags["mlflow.note.content"].replace(run_id, name)
            history = {
                key: sorted(
                    (point.step, point.timestamp, point.value) for point in _history(client, run, key)
                )
                for key in run.data.metrics
            }
            result[run.info.run_name] = {
                "status": run.info.status,
                "start": run.info.start_time,
                "end": run.info.end_time,
                "tags": tags,
                "params": run.data.params,
                "metrics": run.data.metrics,
                "history": history,
                "datasets": _datasets(run),
                "files": sorted(file.path for file in client.list_artifacts(run.info.run_id, "config")),
            }
        return result

    return read


def _datasets(run: Any) -> list[tuple[str, str]]:
    return sorted((item.dataset.name, item.dataset.digest) for item in run.inputs.dataset_inputs)


def _history(client: Any, run: Any, key: str) -> list[Any]:
    return list(client.get_metric_history(run.info.run_id, key))
