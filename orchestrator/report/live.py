"""The live display of a run on a terminal: its status, what is running, and the best trade-offs so far."""

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.report import formats
from orchestrator.report.decoding import Decoding
from orchestrator.report.eta import remaining
from orchestrator.report.plan import news, plan, planned_epochs, planned_trials
from orchestrator.report.records import SearchRecord, TrialRecord
from orchestrator.report.search_log import SearchLog
from orchestrator.report.tables import is_unicode, trials_table
from orchestrator.runs.journal import Event

REFRESHES_PER_SECOND = 2
MOST_RUNNING, MOST_TRADE_OFFS = 8, 8
_BAR_WIDTH = 20


class LiveSearch:
    """A display that redraws itself below whatever else is printed, and vanishes at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()  # the terminal is redrawn by a thread of its own
        self._log = SearchLog(Path())
        self._record: SearchRecord | None = None
        self._clock = 0.0
        self._started_at: dict[str, float] = {}
        self._decoding = Decoding(console)
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Nothing is drawn before there is something to say."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the display."""
        self._live.stop()

    def on_event(self, event: Event) -> None:
        """Take in one event; what is worth keeping is printed above the display."""
        if event["event"] == "decoding":
            self._decoding.show(event)
            return
        with self._lock:
            self._log.feed(event)
            self._record = None
            self._clock = event["time"] - time.monotonic()
        if (said := news(event)) is not None:
            self._console.print(Text(said, style="yellow"))
        match event["event"]:
            case "search_started" | "search_resumed":
                self._console.print(plan(self._log.started))
                self._live.start()
            case "trial_started" | "trial_restarted":
                self._started_at[event["trial"]] = event["time"]
            case "trial_ended" if event["status"] == "failed":
                self._console.print(
                    Text(f"{event['trial']} failed: {event.get('reason') or ''}", style="red")
                )
            case "search_ended":
                self._live.stop()

    def recall(self, events: Iterable[Event]) -> None:
        """Take in what was shown before an interrupt."""
        for event in events:
            self._log.feed(event)

    def _render(self) -> RenderableType:
        with self._lock:
            if not self._log.started:
                return Text()
            now = self._clock + time.monotonic()
            self._record = record = self._record or self._log.record()
            running = [trial for trial in record.trials if trial.status == "running"]
            parts: list[RenderableType] = [self._status(record, running, now)]
            if running:
                parts += [Text(), self._running(running)]
            if record.kind != "train" and record.front:
                shown = record.front[:MOST_TRADE_OFFS]
                unicode = is_unicode(self._console)
                table, _ = trials_table(record, shown, width=self._console.width, unicode=unicode)
                more = (
                    f", the first {len(shown)} of {len(record.front)}"
                    if len(record.front) > len(shown)
                    else ""
                )
                parts += [Text(), Text(f"trade-offs so far{more}", style="dim"), table]
            return Group(*parts)

    def _status(self, record: SearchRecord, running: list[TrialRecord], now: float) -> RenderableType:
        total = max(planned_trials(self._log.started), len(record.trials))
        ended = [trial for trial in record.trials if trial.status != "running"]
        epochs = planned_epochs(self._log.started)
        done = len(ended) + sum(trial.epochs / epochs for trial in running if epochs)
        counts = [
            f"{number} {status}"
            for status in ("pruned", "failed")
            if (number := sum(trial.status == status for trial in record.trials))
        ]
        elapsed = formats.duration(now - self._log.counted_from)
        if record.kind == "train" and running:
            text = [f"epoch {running[0].epochs}/{epochs}", elapsed, *_train_left(running[0], epochs)]
        else:
            text = [f"{len(ended)}/{total}" + (f" ({', '.join(counts)})" if counts else "")]
            text.append(f"{len(running)} running" if record.trials else "starting")
            text.append(elapsed)
            taken = [now - self._started_at.get(trial.trial, now) for trial in running]
            seconds = [
                trial.seconds for trial in ended if trial.seconds is not None and trial.status != "failed"
            ]
            slots = int(record.slots.get("slots") or len(running) or 1)
            left = remaining(seconds, taken, total - len(record.trials), slots)
            if left is not None:
                range_ = formats.span(left.low, left.high)
                text.append(f"about {formats.rough(left.expected)} left ({range_})")
        row = Table.grid(padding=(0, 2, 0, 0))
        bar = (
            [ProgressBar(total=total, completed=done, width=_BAR_WIDTH)] if self._console.width >= 100 else []
        )
        row.add_row(*bar, Text("  ".join(text)))
        return row

    def _running(self, running: list[TrialRecord]) -> RenderableType:
        epochs = planned_epochs(self._log.started)
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(3):
            table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for trial in running[:MOST_RUNNING]:
            score = f"score {formats.metric(trial.metrics['score'])}" if "score" in trial.metrics else ""
            name = Text(trial.trial, style="cyan")
            table.add_row(
                name, f"epoch {trial.epochs}/{epochs}", score, Text(formats.brief(trial.config), style="dim")
            )
        if len(running) > MOST_RUNNING:
            table.add_row("", f"and {len(running) - MOST_RUNNING} more")
        return table


def _train_left(trial: TrialRecord, epochs: int) -> list[str]:
    """Time left of a single training, from its own epochs."""
    left = remaining([report["seconds"] for report in trial.reports], [], epochs - trial.epochs, 1)
    return [] if left is None else [f"about {formats.rough(left.expected)} left"]
