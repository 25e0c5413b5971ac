"""What MLflow's page of runs shows in a saved view, as the page itself would write it down.

The layout is not documented: it is read from the bundled JavaScript of MLflow 3.17 (the classes of chart cards and
the keys that a shared state may have), and a test opens it in a browser. Charts that the page makes by itself for
every metric go into sections that are closed here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

State = dict[str, Any]
MOST_SCATTERS = 6
"""Pairs of objectives that are shown: all, with up to four objectives."""
MOST_AXES = 12
MOST_CURVES = 24
MOST_IMAGES = 8


@dataclass(frozen=True)
class Shown:
    """What the views of one search are made of."""

    uid: str
    """The search's own tag."""
    tasks: Mapping[str, str]
    """Task to its metric."""
    objectives: Sequence[str]
    """What is traded off."""
    axes: Sequence[str]
    """Params that every compared trial has and that differ."""
    searched: Sequence[str]
    """Params that may differ: columns of the table."""
    images: Sequence[str]
    """Keys of logged images."""
    over: bool
    """Whether the Pareto set is known."""


def trade_offs(shown: Shown) -> State:
    """Objectives against each other, and searched params with the objectives as parallel coordinates."""
    best = [f"best/{name}" for name in shown.objectives]
    pairs = list(combinations(best, 2))[:MOST_SCATTERS]
    cards = [
        _card("SCATTER", f"pair-{n}", xaxis=_axis(x), yaxis=_axis(y), runsCountToCompare=100)
        for n, (x, y) in enumerate(pairs)
    ]
    if not pairs:
        cards = [_card("BAR", "best", metricKey=best[0], selectedMetricKeys=best)]
    sections = [Section("Trade-offs", cards, columns=min(len(cards), 2), height=400)]
    if shown.axes:
        axes = list(shown.axes)[:MOST_AXES]
        card = _card("PARALLEL", "axes", selectedParams=axes, selectedMetrics=best, showAllRuns=False)
        sections.append(Section("Settings and results", [card], columns=1, height=400))
    return _state(shown, sections)


def curves(shown: Shown) -> State:
    """Of every task: its metric and its loss, in training and validation, epoch by epoch."""
    keys: list[tuple[str, ...]] = []
    for task, metric in shown.tasks.items():
        keys += [(f"{task}/val_{metric}",), (f"{task}/val_loss", f"{task}/train_loss")]
    keys.append(("overall/score",))
    cards = [
        _card(
            "LINE",
            f"line-{n}",
            metricKey=own[0],
            selectedMetricKeys=list(own),
            lineSmoothness=0,
            xAxisKey="step",
            xAxisScaleType="linear",
            scaleType="linear",
            yAxisKey="metric",
            yAxisExpressions=[],
            useGlobalXaxisKey=True,
            useGlobalLineSmoothing=True,
        )
        for n, own in enumerate(keys[:MOST_CURVES])
    ]
    section = Section("Learning curves", cards, columns=2, height=360)
    return _state(shown, [section], hidden="FIRST_20_RUNS", only="!= '0 search'")


def mistakes(shown: Shown) -> State:
    """Images that trials are most wrong about, and per task what is taken for what; of the Pareto set, once known."""
    cards = [
        _card("IMAGE", f"image-{n}", imageKeys=[key], step=0, showRunParams=False)
        for n, key in enumerate(shown.images[:MOST_IMAGES])
    ]
    section = Section("Mistakes", cards, columns=1, height=640)
    only = "= '1 Pareto set'" if shown.over else "!= '0 search'"
    return _state(shown, [section], hidden="FIRST_20_RUNS", only=only)


@dataclass(frozen=True)
class Section:
    """Charts under an open heading; `height` in pixels."""

    title: str
    cards: Sequence[State]
    columns: int
    height: int


def _state(
    shown: Shown, sections: Sequence[Section], *, hidden: str = "SHOW_ALL", only: str | None = None
) -> State:
    """`hidden`: MLflow's name of which runs charts show at first; `only`: condition on a run's place."""
    place = "tags.`equipoise.place`"
    return {
        # The tag sorts: the search's own run, the Pareto set, then all others. With a sort runs are not nested.
        "searchFilter": f"tags.`equipoise.uid` = '{shown.uid}'" + (f" AND {place} {only}" if only else ""),
        "orderByKey": place,
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "runsHiddenMode": hidden,
        "selectedColumns": [
            *(f"metrics.`best/{name}`" for name in shown.objectives),
            *(f"params.`{key}`" for key in shown.searched),
            "attributes.`Models`",
        ],
        "compareRunCharts": [
            {**card, "metricSectionId": section.title} for section in sections for card in section.cards
        ],
        "compareRunSections": [
            *(
                _section(own.title, display=True, columns=own.columns, cardHeight=own.height)
                for own in sections
            ),
            *(
                _section(name, display=False)
                for name in ("best", *shown.tasks, "conflict", "overall", "mistakes")
            ),
        ],
        "isAccordionReordered": True,
        "viewMaximized": False,
        "runListHidden": False,
        "hideEmptyCharts": True,
        "groupBy": None,
        "chartsSearchFilter": "",
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _section(name: str, *, display: bool, **layout: int) -> State:
    return {
        "uuid": name,
        "name": name,
        "display": display,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        **layout,
    }


def _card(kind: str, uuid: str, **own: Any) -> State:
    return {
        "type": kind,
        "uuid": f"equipoise-{uuid}",
        "runsCountToCompare": 10,
        "deleted": False,
        "isGenerated": False,
        **own,
    }


def _axis(metric: str) -> State:
    return {"key": metric, "type": "METRIC"}
