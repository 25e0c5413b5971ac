"""Views, params and links: each experiment opens on the answer, or on the plain list, never on an error."""

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.report.search_log import read_search
from orchestrator.runs.journal import Event
from orchestrator.spec import load_spec
from orchestrator.tracking import views
from orchestrator.tracking.follower import Follower
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.runs import SearchRuns
from orchestrator.tracking.state import read_state
from orchestrator.tracking.uri import experiment_link
from orchestrator.tracking.view_state import Shown, State
from search_spaces.space import SearchSpace
from search_spaces.suggesters import RandomSuggester
from tests.orchestrator.journals import search_events, write_journal

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:DeprecationWarning"
)  # MLflow's

CONDITIONAL = """
name: conditional
data: {source: "builtin:digits-pair"}
tasks:
  left: {type: multiclass, label: left}
  right: {type: multiclass, label: right}
search:
  space:
    balancing.method: {choice: [static, uncertainty, cagrad]}
    balancing.weights: {simplex: [left, right], when: {balancing.method: static}}
    balancing.c: {float: [0.1, 0.9], when: {balancing.method: cagrad}}
    model.heads.default.kind: {choice: [linear, mlp]}
    model.heads.default.hidden: {choice: [[128], [256, 128]], when: {model.heads.default.kind: mlp}}
    training.optimizer: {choice: [{name: sgd, lr: 0.1, momentum: 0.9}, {name: adam, lr: 0.001}]}
"""


def state_of(envelope: str) -> State:
    text = json.loads(envelope)["state"].removeprefix("deflate;")
    state: State = json.loads(zlib.decompress(base64.b64decode(text)))
    return state


def views_of(uri: str, experiment: str = "digits-pair") -> dict[str, Any]:
    found = MlflowClient(tracking_uri=uri).get_experiment_by_name(experiment)
    assert found is not None
    return {key: text for key, text in found.tags.items() if key.startswith(views.PREFIX)}


def test_every_trial_of_a_conditional_space_has_the_same_params(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(CONDITIONAL)
    spec = load_spec(path)
    space = SearchSpace.from_config(spec.search.space, tasks=list(spec.tasks), fixed=spec.resolved())
    runs = SearchRuns(tmp_path)
    start: Event = next(search_events()) | {"spec": spec.resolved(), "searched": list(space.leaves())}
    runs.feed(start)
    methods = set()
    for number in range(40):
        values = space.suggest(RandomSuggester(0, number))
        config = spec.trial_config_with(values)
        methods.add(config.balancing.method)
        resolved = config.model_dump(mode="json", by_alias=True)
        runs.feed({"event": "trial_started", "time": start["time"] + 1, "trial": f"t{number:03d}",
                   "number": number, "config": values, "resolved": resolved})  # fmt: skip
    assert methods == {"static", "uncertainty", "cagrad"}
    assert len({frozenset(own) for own in runs.params.values()}) == 1
    assert set(space.leaves()) <= set(runs.params["t000"])
    assert all(value not in ("", "None", "null") for own in runs.params.values() for value in own.values())
    shown = views.shown_of(runs.record(None, {}), "uid", runs.params, runs.searched)
    assert "balancing.method" in shown.axes
    assert "balancing.c" in shown.searched
    assert "balancing.c" not in shown.axes, "parallel coordinates would drop every run without it"


def test_a_search_leaves_three_views_and_a_note_that_links_to_them(
    tmp_path: Path, store: str, content: Callable[[str], dict[str, dict[str, Any]]]
) -> None:
    directory = write_journal(tmp_path / "digits-pair-001", list(search_events(store)))
    assert Follower(directory, None).run() == 0
    tags, state = views_of(store), read_state(directory)
    assert sorted(json.loads(text)["name"] for text in tags.values()) == [
        "Curves digits-pair-001",
        "Mistakes digits-pair-001",
        "Trade-offs digits-pair-001",
    ]
    assert f"{views.PREFIX}{state.view}" in tags
    trade_offs = state_of(tags[f"{views.PREFIX}{state.view}"])
    scatter, parallel = trade_offs["compareRunCharts"]
    assert (scatter["xaxis"]["key"], scatter["yaxis"]["key"]) == (
        "best/left.accuracy",
        "best/right.accuracy",
    )
    runs = content(store)
    compared = [
        run
        for run in runs.values()
        if run["tags"]["equipoise.kind"] == "trial" and run["status"] == "FINISHED"
    ]
    assert compared
    for run in compared:
        assert all(run["params"][key] != "none" for key in parallel["selectedParams"])
        assert all(key in run["metrics"] for key in parallel["selectedMetrics"])
    note = runs["digits-pair-001"]["tags"]["mlflow.note.content"]
    assert f"viewStateShareKey={state.view}" in note
    assert "equipoise show digits-pair-001 --pareto" in note


@pytest.mark.parametrize("version", ["3.16.9", "3.18.0", "4.0.1", "dev", None])
def test_another_mlflow_gets_the_plain_list(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    monkeypatch.setattr(MlflowStore, "version", lambda self: version)
    directory = write_journal(tmp_path / "digits-pair-001", list(search_events(store, trials=4)))
    assert Follower(directory, None).run() == 0
    assert views_of(store) == {}
    assert read_search(directory).view is None


def test_an_experiment_keeps_the_views_of_its_latest_searches(store: str, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=store)
    number = client.create_experiment("digits-pair")
    client.set_experiment_tag(number, f"{views.PREFIX}my-own", '{"name": "mine", "createdAt": 1}')
    shown = Shown("x", {"left": "accuracy"}, ["left.accuracy"], [], [], [], over=True)
    for search in range(9):
        for key, text in views.view_tags(shown, f"s-{search}", search).items():
            client.set_experiment_tag(number, key.replace("-x-", f"-{search}-"), text)
    directory = write_journal(tmp_path / "digits-pair-001", list(search_events(store, trials=4)))
    Follower(directory, None).run()
    kept = views_of(store)
    assert len(kept) == views.MOST_VIEWS + 1
    assert f"{views.PREFIX}my-own" in kept
    assert f"{views.PREFIX}{read_state(directory).view}" in kept


def test_forty_tasks_fit_into_a_tag() -> None:
    tasks = {f"a_rather_long_name_of_a_task_{n}": "average_precision" for n in range(40)}
    keys = [f"balancing.weights.{task}" for task in tasks]
    objectives = [f"{task}.average_precision" for task in tasks]
    shown = Shown("0" * 16, tasks, objectives, keys, keys, [f"mistakes/{task}" for task in tasks], over=True)
    tags = views.view_tags(shown, "s-001", 1)
    assert len(tags) == 3
    assert all(len(text) <= views.LARGEST_TAG for text in tags.values())


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"createdAt": "yesterday"}'])
def test_a_view_that_nobody_can_read_is_the_oldest(broken: str) -> None:
    good = json.dumps({"name": "n", "createdAt": 5.0, "state": "{}"})
    tags = {f"{views.OURS}a-trade-offs": broken, f"{views.OURS}b-trade-offs": good, "other": "x"}
    assert views.latest_trade_offs(tags) == "equipoise-b-trade-offs"
    assert views.latest_trade_offs({"other": "x"}) is None


def test_links_keep_a_path_prefix_and_no_password() -> None:
    link = experiment_link("https://ann:secret@host:8/ml/flow/", "7", "v")
    assert link.startswith("https://host:8/ml/flow/?workflowType=machine_learning#/experiments/7/runs?")
    assert "viewStateShareKey=v&compareRunsMode=CHART" in link
    assert "secret" not in link
