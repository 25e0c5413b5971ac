"""What is about to happen, said before it does. Input: the journal's `search_started` event."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.report import formats
from orchestrator.report.search_log import objectives_of
from orchestrator.runs.journal import Event
from orchestrator.tracking.uri import without_login

_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def planned_trials(started: Event) -> int:
    """How many trials a run will have at most."""
    if started.get("kind") == "train":
        return 1
    return int(started.get("trials") or (started["spec"].get("search") or {}).get("trials", 0))


def planned_epochs(started: Event) -> int:
    """Epochs of one trial at most; 0 if unknown."""
    return int((started["spec"].get("training") or {}).get("epochs", 0))


def plan(started: Event) -> RenderableType:
    """Tasks with their labels, what is searched and how, on what, and where results go."""
    spec = started["spec"]
    search = spec.get("search") or {}
    epochs = formats.count(planned_epochs(started), "epoch")
    if started.get("kind") == "train":
        title = f"{started['search_id']}: one training of {epochs}"
        facts = {"seed": str(spec.get("seed", 0))}
    else:
        trials = formats.count(planned_trials(started), "trial")
        if search.get("space") and planned_trials(started) < int(search.get("trials") or 0):
            trials += f" (of {search['trials']} asked for: the space has no more)"
        title = f"{started['search_id']}: {trials} of at most {epochs}"
        facts = {
            "searched": ", ".join(search.get("space") or {}) or "nothing",
            "sampler": str(search.get("sampler", "")),
            "objectives": ", ".join(objectives_of(started)),
            "stops early": _stopping(search.get("stop_early")),
        }
    facts |= {
        "sources": _sources(spec, started.get("data") or {}),
        "runs on": _resources(started.get("slots") or {}),
        "results": str(started.get("directory") or (spec.get("tracking") or {}).get("storage", "")),
        "MLflow": without_login(str(started.get("tracking_uri") or "")),
    }
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in facts.items():
        if text:
            grid.add_row(name, text)
    return Group(Text(title, style="bold"), _tasks(spec, started.get("data") or {}), grid, Text())


def news(event: Event) -> str | None:
    """What people are told of an event that a run got over, or could do nothing about; None: it is of another kind."""
    match event["event"]:
        case "epoch_differed":
            name, (before, now) = next(iter(event["values"].items()))
            return (
                f"{event['trial']} epoch {event['epoch']} was repeated and came out differently ({name} {before} "
                f"before, {now} now): another kind of processor, other versions or another number of threads"
            )
        case "unsaved":
            return (
                f"{event['trial']} goes on, but what it learns cannot be kept at present: {event['reason']}"
            )
        case "short_of_memory":
            return (
                f"{event['trial']} ran out of memory and goes on with training.recompute, which gives the same numbers "
                f"with less memory: {event['reason']}"
            )
        case "node_left_out":
            return f"a node that has joined is left out: {event['reason']}. {event['hint']}"
        case "waiting_for_room":
            return _waiting(event)
    return None


def _waiting(event: Event) -> str:
    room, trials = event["room"], event["trials"]
    short = trials - room
    who = "the run waits" if room == 0 else f"{short} of {trials} trials wait{'s' * (short == 1)}"
    return (
        f"{who} for machines: there is room for {_trials(room)} at present, and each takes {_each(event)}. "
        "It goes on when there is room. To end it until then: Ctrl-C (of a job, `ray job stop`), later "
        "`equipoise resume`"
    )


def _trials(number: int) -> str:
    return f"{number or 'no'} trial{'s' * (number > 1)}"


def _tasks(spec: Mapping[str, Any], data: Mapping[str, Any]) -> Table:
    splits = data.get("splits") or {}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("task", "type"):
        table.add_column(name, no_wrap=True)
    table.add_column("classes", justify="right")
    table.add_column("metric", no_wrap=True)
    for split in splits:
        table.add_column(_SPLITS.get(split, split), justify="right", no_wrap=True)
    for task, config in (spec.get("tasks") or {}).items():
        classes = (data.get("classes") or {}).get(task) or config.get("classes") or ()
        labels = (data.get("labels") or {}).get(task) or {}
        counts = (f"{labels[split]:,}" if split in labels else "" for split in splits)
        table.add_row(task, config["type"], str(len(classes) or ""), config["metric"], *counts)
    images = [Text(f"{count:,}", style="dim") for count in splits.values()]
    table.add_row(Text("images", style="dim"), Text(_image(data.get("image")), style="dim"), "", "", *images)
    return table


def _sources(spec: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """`digits 12,000, clothes 60,000 training images, mixed uniform`; nothing of a single source."""
    sources = data.get("sources") or {}
    if not sources:
        return ""
    counts = ", ".join(f"{name} {splits['train']:,}" for name, splits in sources.items())
    mixing = (spec.get("data") or {}).get("mixing", "")
    if isinstance(mixing, Mapping):
        mixing = ", ".join(f"{name} {value:g}" for name, value in mixing.items())
    return f"{counts} training images, mixed {mixing}"


def _image(shape: Any) -> str:
    if not shape:
        return ""
    channels, height, width = shape
    return f"{height}×{width} {'grey' if channels == 1 else 'color'}"


def _stopping(stop: Any) -> str:
    if not stop:
        return "no"
    after = formats.count(int(stop.get("min_epochs", 1)), "epoch")
    return f"{stop.get('kind')} on {stop.get('on')} after {after}, 1 of {stop.get('reduction')} goes on"


def _resources(slots: Mapping[str, Any]) -> str:
    if not slots:
        return ""
    each = _each(slots)
    number = int(slots.get("slots") or 1)
    limit = f" (limited by {slots['limited_by']})" if slots.get("limited_by") else ""
    return (each if number == 1 else f"{number} trials at a time, each {each}") + limit


def _each(slots: Mapping[str, Any]) -> str:
    """`2 workers of 1 core and 1 GPU`."""
    per_worker = formats.count(int(slots.get("cpus") or 1), "core")
    if slots.get("gpus"):
        per_worker += f" and {slots['gpus']:g} GPU"
    workers = int(slots.get("workers") or 1)
    return per_worker if workers == 1 else f"{workers} workers of {per_worker}"
