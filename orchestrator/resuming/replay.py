"""What the journal of a run says of where it stands, to go on from there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.runs.journal import Event, read_journal
from orchestrator.spec import ExperimentSpec, parse_spec
from trainables.data.prepared import PreparedData
from trainables.errors import DataError


@dataclass(frozen=True)
class History:
    """The events of a run so far."""

    directory: Path
    events: tuple[Event, ...]

    @property
    def started(self) -> Event:
        """The first event."""
        return self.events[0]

    @property
    def is_over(self) -> bool:
        """Whether the run came to an end of its own: all its trials have ended, or its only one has failed."""
        last = self.events[-1]
        if last["event"] != "search_ended" or last["status"] == "interrupted":
            return False
        return last["status"] == "completed" or (
            self.started["kind"] == "train"
            and any(event["event"] == "trial_ended" and event["status"] == "failed" for event in self.events)
        )

    @property
    def trials(self) -> int:
        """How many trials have begun."""
        return sum(event["event"] == "trial_started" for event in self.events)

    @property
    def unfinished(self) -> dict[str, dict[str, Any]]:
        """By trial that will run on: the values that the search proposed."""
        found: dict[str, dict[str, Any]] = {}
        for event in self.events:
            match event["event"]:
                case "trial_started":
                    found[event["trial"]] = event["config"]
                case "trial_ended" if event["status"] != "interrupted":
                    found.pop(event["trial"], None)
                case "epoch" if event["report"]["finished"]:
                    found.pop(event["trial"], None)
        return found

    @property
    def seconds(self) -> float:
        """How long the run was at work, without the time between its lives."""
        total, began, last = 0.0, self.started.get("began", self.started["time"]), self.started["time"]
        for event in self.events:
            if event["event"] == "search_resumed":
                total += last - began
                began = event["began"]
            last = event["time"]
        return float(total + last - began)

    def spec(self) -> ExperimentSpec:
        """The experiment, from the text that was recorded and its overrides.

        Raises:
            ConfigError: it does not mean any more what it meant when the run was started.
        """
        start = self.started
        if not start.get("spec_text"):
            return ExperimentSpec.model_validate(start["spec"])
        spec = parse_spec(
            start["spec_text"],
            name=f"the experiment of {start['search_id']}",
            overrides=start["overrides"],
            folder=Path(start["folder"]),
        )
        if differing := _differing(start["spec"], spec.resolved()):
            raise ConfigError(
                f"the experiment of {start['search_id']} means something else to this version of Equipoise: "
                f"{', '.join(differing)}",
                f"Resume with the version it was started with: {start['versions'].get('equipoise', 'unknown')}.",
            )
        return spec

    def require_same(self, data: PreparedData) -> None:
        """Raise `DataError` unless `data` are those that the run began with."""
        if data.digest != self.started["data"]["digest"]:
            raise DataError(
                "the data have changed since the run was started: its trials so far saw other images, labels or "
                "splits",
                hint="Restore the data as they were, or start a new run.",
                key="data",
            )


def read_history(directory: Path) -> History:
    """The events of the run in `directory`.

    Raises:
        JournalDamaged: a record cannot be read.
        ConfigError: the run was killed before its first record was on disk.
    """
    events = tuple(read_journal(directory))
    if not events or events[0]["event"] != "search_started":
        raise ConfigError(f"{directory} holds no run that could go on", "Start it again.")
    return History(directory, events)


def _differing(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of `old` that have another value now. What is new keeps, by its default, to what was."""
    found: list[str] = []
    for key, one in old.items():
        other = new.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differing(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append(f"{prefix}{key}")
    return found
