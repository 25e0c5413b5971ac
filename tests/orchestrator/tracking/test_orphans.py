"""Runs of MLflow that nobody conducts are found and closed, and no others."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from orchestrator.runs.journal import Journal, read_journal
from orchestrator.tracking.follower import LEASE_SECONDS, Follower
from orchestrator.tracking.orphans import close_orphan, find_orphans
from orchestrator.tracking.process import start_writer
from orchestrator.tracking.runs import LEASE, uid_of
from orchestrator.tracking.state import read_state
from tests.orchestrator.journals import search_events, write_journal

Read = Callable[[str], dict[str, dict[str, Any]]]


def without_end(store: str, trials: int = 3) -> list[dict[str, Any]]:
    """Of a search that was killed together with its writer."""
    return [event for event in search_events(store, trials=trials) if event["event"] != "search_ended"][:-1]


def test_what_runs_without_a_conductor_is_closed_with_its_reason(
    tmp_path: Path, store: str, content: Read
) -> None:
    directory = write_journal(tmp_path / "digits-pair-001", without_end(store))
    Follower(directory, None).run()
    running = {name for name, run in content(store).items() if run["status"] == "RUNNING"}
    assert len(running) == 2  # the search, and its last trial
    alive = uid_of(next(read_journal(directory)))
    assert find_orphans(store, {alive}) == []
    orphans = find_orphans(store, set())
    assert {orphan.name for orphan in orphans} == running
    for orphan in orphans:
        close_orphan(store, orphan)
    assert find_orphans(store, set()) == []
    for name in running:
        run = content(store)[name]
        assert run["status"] == "KILLED"
        assert run["tags"]["equipoise.reason"] == "the process of the search is gone"


def test_a_search_on_another_machine_lives_while_its_lease_lasts(tmp_path: Path, store: str) -> None:
    directory = write_journal(tmp_path / "digits-pair-001", without_end(store))
    Follower(directory, None).run()
    client, search = MlflowClient(tracking_uri=store), read_state(directory).runs[""]
    client.set_tag(search, LEASE, f"{time.time() + 60:.0f}")
    assert find_orphans(store, set()) == []
    client.set_tag(search, LEASE, f"{time.time() - 1:.0f}")
    assert len(find_orphans(store, set())) == 2


def test_the_writer_of_a_live_search_renews_its_lease(tmp_path: Path, store: str) -> None:
    directory = tmp_path / "digits-pair-001"
    directory.mkdir()
    first, *_ = search_events(store)
    with Journal(directory) as journal:
        journal.append(**{key: value for key, value in first.items() if key != "time"})
        writer = start_writer(directory)
        try:
            assert writer.wait_until_drained(60)
        finally:
            writer.stop()
    run = MlflowClient(tracking_uri=store).get_run(read_state(directory).runs[""])
    assert 0 < float(run.data.tags[LEASE]) - time.time() <= LEASE_SECONDS


def test_a_second_run_of_one_trial_is_closed(tmp_path: Path, store: str) -> None:
    directory = write_journal(tmp_path / "digits-pair-001", list(search_events(store, trials=2)))
    Follower(directory, None).run()
    assert find_orphans(store, set()) == []
    client = MlflowClient(tracking_uri=store)
    first = client.get_run(read_state(directory).runs["t001"])
    tags = {key: value for key, value in first.data.tags.items() if key.startswith("equipoise.")}
    second = client.create_run(first.info.experiment_id, first.info.start_time + 1, tags, "twice")
    (orphan,) = find_orphans(store, set())
    assert orphan.run_id == second.info.run_id
    close_orphan(store, orphan)
    assert find_orphans(store, set()) == []
    assert client.get_run(second.info.run_id).info.status == "KILLED"
