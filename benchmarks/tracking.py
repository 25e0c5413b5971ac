"""What tracking costs a search, and how soon MLflow shows it.

    python -m benchmarks.tracking [--trials 200] [--epochs 50] [--server] [--browser]

Journals a made-up search (14 numbers an epoch) as fast as it can be written, with the writer following into a fresh
SQLite database or, with `--server`, through a real `mlflow server`. What a search itself spends on tracking is the
journal's entries: they are timed one by one. With `--browser` Chromium opens the printed link afterwards.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from orchestrator.report.search_log import read_search
from orchestrator.runs.journal import Journal
from orchestrator.tracking.process import start_writer
from orchestrator.tracking.uri import experiment_link, sqlite_uri
from tests.orchestrator.journals import search_events
from tests.orchestrator.tracking.browser import browser, mlflow_server

ALLOWED_SHARE = 0.02
"""Of epochs of one second, that journaling them may take."""
ALLOWED_BLOCK = 0.05
"""Seconds that one entry may keep the scheduler waiting."""
PAGE = 100
"""Runs that MLflow's page loads at first."""


def journal_search(directory: Path, uri: str, trials: int, epochs: int) -> list[float]:
    """Write the journal with a writer behind it; seconds of each entry. Waits until MLflow was told all."""
    seconds = []
    directory.mkdir()
    with Journal(directory) as journal:
        writer = start_writer(directory)
        began = time.monotonic()
        for event in search_events(uri, trials=trials, epochs=epochs):
            fields = {key: value for key, value in event.items() if key not in ("event", "time")}
            started = time.perf_counter()
            journal.append(event["event"], **fields)
            seconds.append(time.perf_counter() - started)
        written = time.monotonic()
        if not writer.wait_until_drained(3600):
            raise SystemExit(f"not drained: {writer.status().error}")
        told = time.monotonic()
        writer.stop()
    print(f"journal {written - began:.1f} s, MLflow told {told - began:.1f} s after its begin")
    return seconds


def main() -> int:
    """Run it; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--server", action="store_true", help="through a server instead of into the database")
    parser.add_argument("--browser", action="store_true", help="open the view in Chromium")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="equipoise-tracking-") as temporary:
        folder = Path(temporary)
        store = sqlite_uri(folder / "mlflow.db")
        directory = folder / "digits-pair-001"
        with mlflow_server(folder, store) if chosen.server else nullcontext(store) as uri:
            seconds = journal_search(directory, uri, chosen.trials, chosen.epochs)
        print(f"database {(folder / 'mlflow.db').stat().st_size / 1e6:.0f} MB")
        if chosen.browser:
            with mlflow_server(folder, store) as server:
                _look(folder, server, directory, min(chosen.trials - 1, PAGE - 1))
    mean, ordered = statistics.fmean(seconds), sorted(seconds)
    print(
        f"{len(seconds)} entries: mean {1000 * mean:.2f} ms ({mean:.2%} of an epoch of a second), "
        f"99.9 % within {1000 * ordered[int(0.999 * len(ordered))]:.1f} ms, longest {1000 * ordered[-1]:.1f} ms"
    )
    return 0 if mean <= ALLOWED_SHARE and ordered[-1] <= ALLOWED_BLOCK else 1


def _look(folder: Path, server: str, directory: Path, points: int) -> None:
    record = read_search(directory)
    assert record.experiment_id is not None
    link = experiment_link(server, record.experiment_id, record.view)
    with browser(folder / "profile") as page:
        for visit in ("first", "second"):
            began = time.monotonic()
            page.open(link)
            page.wait_until(lambda: page.points() >= points - 2, 300, "the view's points")
            print(f"{visit} visit: {page.points()} points after {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    raise SystemExit(main())
