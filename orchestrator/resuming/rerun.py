"""Run one trial of a search again, and compare it with what was recorded, bit by bit."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.datasets import Datasets
from orchestrator.errors import ClusterError, ConfigError
from orchestrator.machines.connection import RayAddress, connected, this_machine
from orchestrator.machines.scratch import scratch_folder
from orchestrator.report.comparison import Rerun
from orchestrator.report.records import SearchRecord, TrialRecord
from orchestrator.report.search_log import read_search
from orchestrator.resuming.repeats import differing
from orchestrator.resuming.replay import read_history
from orchestrator.runs.provenance import provenance_now
from orchestrator.slots.base import Assignment, TrialSlot
from orchestrator.slots.choose import SlotRequest, open_slot
from orchestrator.slots.trial_run import explain_failure
from trainables.config.trial import TrialConfig


def rerun(directory: Path, trial: str, *, verbose: bool = False) -> Rerun:
    """Run a trial again from its stored config, for as many epochs as are recorded.

    Bit-equal metrics are promised for the same data, versions, number of workers and threads, and kind of processor;
    whatever of it has changed is part of the answer.

    Args:
        directory: the search's folder.
        trial: its name there.
        verbose: show what Ray and its workers print.

    Raises:
        ConfigError: there is no such trial, it was none that could run, or the experiment means something else to
            this version.
        ClusterError: this machine has not the workers that the trial had.
        DataError: the data are gone.
    """
    record, history = read_search(directory), read_history(directory)
    known = _find(record, trial)
    spec = history.spec()
    try:
        config = TrialConfig.model_validate(known.resolved)
    except ValidationError:
        raise ConfigError(f"{trial} could not be run then either: {known.reason}") from None
    if any(event["event"] == "short_of_memory" and event["trial"] == trial for event in history.events):
        config = config.recomputing()  # the same numbers; as before, it would run out of memory
    datasets = Datasets(spec)
    digests = {"data": (record.data["digest"], datasets.of(spec.trial_config()).digest)}
    now = provenance_now()
    recorded = {name: history.started.get(name) for name in now}
    places = {name: (recorded[name], now[name]) for name in ("git", "git_diff", "processor")}
    versions = {
        name: (recorded["versions"].get(name), version)
        for name, version in now["versions"].items()
        if recorded["versions"]
    }
    changed = {name: pair for name, pair in (digests | places | versions).items() if pair[0] != pair[1]}
    request = SlotRequest(**{name: record.slots[name] for name in ("workers", "cpus", "gpus")})
    with scratch_folder() as scratch, _slot(request, verbose) as slot:
        assignment = Assignment(trial, config, datasets.of(config).directory, scratch)
        epoch, difference = _compare(slot, assignment, known)
    return Rerun(record.search_id, trial, len(known.reports), epoch, difference, changed)


def _compare(
    slot: TrialSlot, assignment: Assignment, known: TrialRecord
) -> tuple[int | None, dict[str, tuple[Any, Any]]]:
    """The first epoch that differs, and how."""
    reason, epoch = "", 0
    try:
        slot.start(assignment)
        for recorded in known.reports:
            epoch = recorded["epoch"]
            if difference := differing(recorded, asdict(slot.run_epoch())):
                return epoch, difference
        if known.status == "failed":
            slot.run_epoch()
    except Exception as error:
        reason = explain_failure(error, assignment.directory)
    expected = known.reason if known.status == "failed" else ""
    if reason != expected:
        return epoch, {"failure": (expected or None, reason or None)}
    return None, {}


def _find(record: SearchRecord, trial: str) -> TrialRecord:
    for known in record.trials:
        if known.trial == trial:
            return known
    names = ", ".join(known.trial for known in record.trials[:10]) or "none"
    raise ConfigError(f"There is no trial {trial!r} in {record.search_id}.", f"There are: {names}.")


@contextlib.contextmanager
def _slot(request: SlotRequest, verbose: bool) -> Iterator[TrialSlot]:
    """A slot like that of the search; in this process for one worker."""
    with contextlib.ExitStack() as stack:
        if request.workers > 1:
            where, machine = RayAddress.from_environment(), this_machine()
            if where.is_private and request.workers * request.cpus > machine.cpus:
                raise ClusterError(
                    f"the trial had {request.workers} workers × {request.cpus} CPU, this machine has "
                    f"{machine.cpus:g} CPU",
                    "Run it where the search ran: another number of workers gives other last bits.",
                )
            stack.enter_context(connected(where, machine, verbose=verbose))
        yield stack.enter_context(contextlib.closing(open_slot(request)))
