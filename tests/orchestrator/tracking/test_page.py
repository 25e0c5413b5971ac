"""What a person sees who opens the link: the answer, in a real browser, with no click."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.report.records import SearchRecord
from orchestrator.report.search_log import read_search
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.state import read_state
from orchestrator.tracking.ui import run_ui
from orchestrator.tracking.uri import experiment_link, sqlite_uri
from tests.orchestrator.tracking.browser import Page, browser, mlflow_server
from tests.orchestrator.tracking.trained import TrainedSearch

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow's
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
PASSWORD = "a-long-password-1"
ORANGE, GREY = "rgb(255, 127, 14)", "rgb(169, 176, 184)"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path / "profile") as own:
        yield own


@pytest.fixture
def served(tmp_path: Path, empty_database: Path, trained_search: TrainedSearch) -> Iterator[tuple[str, Path]]:
    """A server behind a path prefix, and the folder of a search that was told to it."""
    database = Path(shutil.copy(empty_database, tmp_path / "mlflow.db"))
    with mlflow_server(
        tmp_path, sqlite_uri(database), "--static-prefix", "/team/ml", prefix="/team/ml"
    ) as server:
        search = trained_search.write(tmp_path / "digits-pair-001", server)
        assert Follower(search, None).run() == 0
        yield server, search


def test_the_link_opens_on_the_trade_offs(page: Page, served: tuple[str, Path]) -> None:
    server, search = served
    record = read_search(search)
    assert record.experiment_id is not None
    page.open(experiment_link(server, record.experiment_id, record.view))
    measured = sum("left.accuracy" in trial.metrics for trial in record.trials)
    front = {trial.trial for trial in record.front}
    assert (measured, len(front) in range(2, measured)) == (11, True)
    page.wait_until(lambda: page.points() == measured, 60, f"{measured} points")
    text = page.text()
    assert "Trade-offs digits-pair-001" in text
    assert "best/left.accuracy vs. best/right.accuracy" in text
    assert "Parallel Coordinates" in text
    assert "13 matching runs" in text
    assert Counter(page.colors()) == {ORANGE: len(front), GREY: measured - len(front)}
    rows = page.run_colors()
    assert next(iter(rows)) == "digits-pair-001", "the search's own run stands first"
    assert set(list(rows)[1 : 1 + len(front)]) == front
    assert {trial for trial, color in rows.items() if color == ORANGE} == front
    assert {color for trial, color in rows.items() if trial not in {"digits-pair-001", *front}} == {GREY}

    page.open(
        experiment_link(server, record.experiment_id, str(record.view).replace("trade-offs", "mistakes"))
    )
    page.shows_image()
    assert f"{len(front)} matching runs" in page.text()

    page.open(experiment_link(server, record.experiment_id, str(record.view).replace("trade-offs", "curves")))
    page.wait_for("document.body.innerText.includes('left/val_accuracy')")
    page.wait_for("document.querySelectorAll('.scatterlayer .trace').length > 10")
    assert "12 matching runs" in page.text(), "the search's own run has no curve"

    note = address(server, record, f"runs/{record.run_id}")
    page.open(note)
    page.wait_for("document.body.innerText.includes('Balanced choice')")
    page.script("document.querySelector('a[href*=viewStateShareKey]').removeAttribute('target')")
    page.script("document.querySelector('a[href*=viewStateShareKey]').click()")
    page.wait_until(lambda: page.points() == measured, 60, "the note's link opens the trade-offs")


def test_files_and_models_are_shown(page: Page, served: tuple[str, Path]) -> None:
    server, search = served
    record, state = read_search(search), read_state(search)
    trial = record.front[0]
    page.open(address(server, record, f"runs/{record.run_id}/artifacts/trials.csv"))
    page.wait_for("document.body.innerText.includes('Previewing the first 12 rows')")
    shown = page.text()
    assert "t011" in shown
    assert shown.index("left.accuracy") < shown.index("balancing.weights.left") < shown.index("train_seconds")

    page.open(address(server, record, f"runs/{trial.run_id}/artifacts/evaluation/classes.csv"))
    page.wait_for("document.body.innerText.includes('Previewing the first 20 rows')")
    page.open(address(server, record, f"runs/{trial.run_id}/artifacts/evaluation/worst_mistakes.png"))
    page.wait_for("[...document.images].some(i => i.naturalWidth > 600 && i.naturalHeight > 600)")

    page.open(address(server, record, f"models/{state.models[trial.trial]}"))
    page.wait_for(f"document.body.innerText.includes('load_model(\"models:/{state.models[trial.trial]}\")')")
    shown = page.text()
    assert f"digits-pair-001-{trial.trial}" in shown
    assert "0123456789abcdef01234567-val" in shown
    assert "training.optimizer.lr" in shown


def address(server: str, record: SearchRecord, page: str) -> str:
    """Of a page of the search's experiment, as links of MLflow's own pages name it."""
    return f"{server}/#/experiments/{record.experiment_id}/{page}?workflowType=machine_learning"


def test_a_team_server_with_passwords(
    page: Page,
    tmp_path: Path,
    empty_database: Path,
    trained_search: TrainedSearch,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("flask_wtf", reason="needs the package Flask-WTF, as mlflow[auth] does")
    database = Path(shutil.copy(empty_database, tmp_path / "mlflow.db"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    with mlflow_server(
        tmp_path,
        sqlite_uri(database),
        "--app-name",
        "basic-auth",
        MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD,
        MLFLOW_FLASK_SERVER_SECRET_KEY="any",
    ) as server:
        search = trained_search.write(tmp_path / "digits-pair-001", server, trials=5)
        assert Follower(search, None).run() == 0
        run_ui(server)
        link = capsys.readouterr().out.split()[-1]
        record = read_search(search)
        assert record.experiment_id is not None
        assert link == experiment_link(server, record.experiment_id, record.view)
        page.open(server.replace("//", f"//admin:{PASSWORD}@"))  # what a person types into the dialogue
        page.open(link)
        page.wait_until(lambda: page.points() == 5, 60, "5 points")
        page.open(link.replace("trade-offs", "mistakes"))
        page.shows_image()
