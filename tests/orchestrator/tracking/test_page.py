"""What a person sees who opens the link: the answer, in a real browser, with no click."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.report.search_log import read_search
from orchestrator.tracking.follower import Follower
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
    assert measured == 11
    page.wait_until(lambda: page.points() == measured, 60, f"{measured} points")
    text = page.text()
    assert "Trade-offs digits-pair-001" in text
    assert "best/left.accuracy vs. best/right.accuracy" in text
    assert "Parallel Coordinates" in text
    assert "13 matching runs" in text
    rows = page.script("[...document.querySelectorAll('[row-id] a')].map(a => a.textContent)")
    assert rows[0] == "digits-pair-001", "the search's own run stands first"
    assert {row.split()[0] for row in rows[1 : 1 + len(record.front)]} == {t.trial for t in record.front}

    page.open(
        experiment_link(server, record.experiment_id, str(record.view).replace("trade-offs", "mistakes"))
    )
    page.wait_for("[...document.images].some(i => i.src.includes('get-artifact') && i.naturalWidth > 200)")

    page.open(experiment_link(server, record.experiment_id, str(record.view).replace("trade-offs", "curves")))
    page.wait_for("document.body.innerText.includes('left/val_accuracy')")
    page.wait_for("document.querySelectorAll('.scatterlayer .trace').length > 10")

    note = f"{server}/#/experiments/{record.experiment_id}/runs/{record.run_id}?workflowType=machine_learning"
    page.open(note)
    page.wait_for("document.body.innerText.includes('Balanced choice')")
    page.script("document.querySelector('a[href*=viewStateShareKey]').removeAttribute('target')")
    page.script("document.querySelector('a[href*=viewStateShareKey]').click()")
    page.wait_until(lambda: page.points() == measured, 60, "the note's link opens the trade-offs")


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
