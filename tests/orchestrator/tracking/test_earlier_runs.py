"""Runs of another storage folder are found by what MLflow was told of them."""

from pathlib import Path

import pytest

from orchestrator.earlier_models import find_model
from orchestrator.errors import ConfigError, TrackingError
from orchestrator.tracking.earlier_runs import folder_of_run
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.state import read_state
from tests.orchestrator.journals import search_events, write_journal

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)  # MLflow's


def test_mlflow_is_asked_for_runs_of_another_storage(store: str, tmp_path: Path) -> None:
    search = tmp_path / "elsewhere" / "digits-009"
    start, *events = search_events(store, trials=1)
    write_journal(search, [start | {"directory": str(search)}, *events])
    assert Follower(search, None).run() == 0
    model = search / "trials" / "t000" / "best" / "state.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    run_id = read_state(search).runs["t000"]
    assert find_model(f"runs:/{run_id}", tmp_path / "here", store) == model
    with pytest.raises(ConfigError, match="knows none"):
        find_model(f"runs:/{'f' * 32}", tmp_path / "here", store)


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="could not be asked") as caught:
        find_model("runs:/0123456789abcdef", tmp_path, "http://127.0.0.1:9")
    assert "runs:/<search>/<trial>" in caught.value.hint


def test_no_database_is_made_to_look_into_it(tmp_path: Path) -> None:
    assert folder_of_run(f"sqlite:///{tmp_path}/mlflow.db", "f" * 32) is None
    assert not any(tmp_path.iterdir())
