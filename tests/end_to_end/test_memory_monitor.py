"""Ray's own memory monitor ends a slot whose training takes too much: a want of memory, and no crash."""

import os
from pathlib import Path

import psutil
import pytest

from orchestrator.machines.connection import this_machine
from orchestrator.runs.journal import Event, read_journal
from tests.end_to_end.commands import EXPERIMENT, overridden, run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

ROOM = 3_000_000_000
"""Bytes that may be taken beyond what is in use when the search starts, also by others."""
HUNGER = ("once", "always", "never")
SEARCH = [
    "model.backbone={name: 'tests.end_to_end.hungry:backbone'}",
    "training.epochs=4",
    "training.batch_size=1000",
    "compute.slots=1",
    "search={sampler: grid, space: {model.backbone.arguments.hunger: {choice: [once, always, never]}}}",
]


@pytest.fixture
def monitored(tmp_path: Path) -> dict[str, str]:
    """An environment in which Ray ends what takes `ROOM`."""
    free = this_machine().memory
    if free < 2 * ROOM:
        pytest.skip("takes 6 GB of free memory")
    return {
        "RAY_memory_usage_threshold": str(1 - (free - ROOM) / memory()),
        "RAY_memory_monitor_refresh_ms": "100",
        "EATEN": str(tmp_path / "eaten"),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
    }


def memory() -> int:
    """All that this machine has, or this container, as Ray counts it."""
    limit = Path("/sys/fs/cgroup/memory.max")
    most = limit.read_text().strip() if limit.exists() else ""
    total = psutil.virtual_memory().total
    return min(int(most), total) if most.isdigit() else total


def test_a_trial_that_ray_ends_for_want_of_memory_goes_on_with_less_and_costs_no_other_trial(
    tmp_path: Path, monitored: dict[str, str]
) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    done = run(tmp_path, "search", "experiment.yaml", *overridden(SEARCH), extra=monitored, seconds=280)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    events = list(read_journal(tmp_path / "equipoise_runs" / "pairs-001"))
    by_hunger = {
        own["config"]["model.backbone.arguments.hunger"]: own["trial"]
        for own in events
        if own["event"] == "trial_started"
    }
    once, always, never = ([own for own in events if own.get("trial") == by_hunger[kind]] for kind in HUNGER)

    assert kinds(once) == ["trial_started", "trial_restarted", "short_of_memory", "epoch", "trial_ended"]
    assert once[-1]["status"] == "completed"
    assert [own["cause"] for own in once if own["event"] == "trial_restarted"] == ["out of memory"]
    assert metrics(once) == metrics(never)

    assert kinds(always) == ["trial_started", "trial_restarted", "short_of_memory", "trial_ended"]
    assert always[-1]["status"] == "failed"
    assert always[-1]["reason"].startswith("Ray ended its process, for want of memory on its machine: ")
    assert "Lower training.batch_size, data.image_size or compute.slots" in always[-1]["reason"]
    assert len(always[-1]["reason"]) < 300


def kinds(events: list[Event]) -> list[str]:
    """Without repetitions: an epoch that was told before the death comes before the restart, and others after it."""
    found = dict.fromkeys(event["event"] for event in events)
    order = ("trial_started", "trial_restarted", "short_of_memory", "epoch", "trial_ended")
    return sorted(found, key=order.index)


def metrics(events: list[Event]) -> list[dict[str, float]]:
    return [event["report"]["metrics"] for event in events if event["event"] == "epoch"]
