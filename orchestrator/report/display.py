"""What a run shows: a live table on a terminal, one line per event elsewhere, nothing to programs.

A display is told of every event as it is journaled. It is used as a context, so that the terminal is left in
order whatever ends the run.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console

from orchestrator.report import formats
from orchestrator.report.decoding import Decoding
from orchestrator.report.live import LiveSearch
from orchestrator.report.plan import news, plan, planned_epochs, planned_trials
from orchestrator.report.search_log import SearchLog, results_of
from orchestrator.runs.journal import Event

EPOCH_LINE_SECONDS = 10.0
"""An epoch of a search gets a line only if its trial had none for so long: a log is to be read."""


class Display(Protocol):
    """Follows a run as a context."""

    def on_event(self, event: Event) -> None:
        """Show one journal event."""

    def recall(self, events: Iterable[Event]) -> None:
        """Take in what was shown before an interrupt."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_display(*, as_json: bool = False, console: Console | None = None) -> Display:
    """The display that fits where output goes."""
    if as_json:
        return Silence()
    console = console or Console()
    return LiveSearch(console) if console.is_terminal else EventLines(console)


class Silence(AbstractContextManager["Silence", None]):
    """Shows nothing."""

    def on_event(self, event: Event) -> None:
        """Pass over an event."""

    def recall(self, events: Iterable[Event]) -> None:
        """Pass over them."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is to be put in order."""


class EventLines(AbstractContextManager["EventLines", None]):
    """The plan, then one plain line per event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._log = SearchLog(Path())
        self._ended = 0
        self._epoch_shown: dict[str, float] = {}
        self._decoding = Decoding(console)

    def on_event(self, event: Event) -> None:
        """Print one event."""
        if event["event"] == "decoding":
            self._decoding.show(event)
            return
        self._log.feed(event)
        if (said := news(event)) is not None:
            self._line(event, said)
        match event["event"]:
            case "search_started":
                self._console.print(plan(event))
            case "search_resumed":
                self._console.print(plan(self._log.started))
                self._line(event, "goes on")
            case "trial_started":
                trial = self._log.trial(event["trial"])
                searched = formats.brief(trial.config)
                self._line(event, f"{trial.trial} started{': ' if searched else ''}{searched}")
                self._epoch_shown[trial.trial] = event["time"]
            case "trial_restarted":
                cause = f" ({event['cause']})" if event.get("cause") else ""
                self._line(event, f"{event['trial']} started again{cause}")
            case "epoch":
                self._epoch(event)
            case "trial_ended":
                self._trial_ended(event)

    def recall(self, events: Iterable[Event]) -> None:
        """Take in what was shown before an interrupt."""
        for event in events:
            self._log.feed(event)
        self._ended = sum(
            trial.status != "interrupted" for trial in self._log.record().trials if trial.seconds
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is to be put in order."""

    def _epoch(self, event: Event) -> None:
        name, report, start = event["trial"], event["report"], self._log.started
        quiet = event["time"] - self._epoch_shown.get(name, 0.0) < EPOCH_LINE_SECONDS
        if quiet and start.get("kind") != "train":
            return
        self._epoch_shown[name] = event["time"]
        of = f"/{epochs}" if (epochs := planned_epochs(start)) else ""
        self._line(event, f"{name} epoch {report['epoch']}{of}: {self._values(results_of(report))}")

    def _trial_ended(self, event: Event) -> None:
        self._ended += 1
        trial = self._log.trial(event["trial"])
        text = f"{trial.trial} {trial.status} after {formats.count(trial.epochs, 'epoch')}"
        if trial.reason:
            text += f" ({trial.reason})"
        if trial.metrics:
            text += f": {self._values(trial.metrics)}"
        if self._log.started.get("kind") != "train":
            text += f"  [{self._ended}/{planned_trials(self._log.started)}]"
        self._line(event, text)

    def _values(self, metrics: dict[str, float]) -> str:
        names = self._log.objectives or ("score",)
        return "  ".join(f"{name} {formats.metric(metrics.get(name), name)}" for name in names)

    def _line(self, event: Event, text: str) -> None:
        seconds = event["time"] - self._log.counted_from
        self._console.print(
            f"{formats.duration(seconds):>8}  {text}", markup=False, highlight=False, soft_wrap=True
        )
