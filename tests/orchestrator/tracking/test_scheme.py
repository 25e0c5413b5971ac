"""What a trial's configuration, and what it got over, becomes in MLflow."""

from pathlib import Path

from orchestrator.tracking.runs import SearchRuns
from orchestrator.tracking.scheme import params_of_trial
from tests.orchestrator.journals import search_events
from tests.trainables.synthetic import several, trial


def test_a_searched_mapping_is_a_value_of_its_key() -> None:
    optimizer = {"name": "adam", "sam": {"rho": 0.1}}
    searched = ["training.optimizer.sam", "training.optimizer.sam.rho", "data.mixing", "data.mixing.few"]
    with_steps = trial(
        data=several("none", {"few": 1, "many": 2}), training={"epochs": 1, "optimizer": optimizer}
    )
    without = trial(data=several("none", "uniform"), training={"epochs": 1})
    ours, theirs = (params_of_trial(c.model_dump(mode="json"), searched) for c in (with_steps, without))
    assert ours["training.optimizer.sam"] == '{"rho":0.1,"adaptive":false}'
    assert ours["training.optimizer.sam.rho"] == "0.1"
    assert ours["data.mixing"] == '{"few":1.0,"many":2.0}'
    assert theirs["training.optimizer.sam"] == theirs["training.optimizer.sam.rho"] == "none"
    assert theirs["data.mixing"] == "uniform"
    assert theirs["data.mixing.few"] == "none"
    assert ours.keys() == theirs.keys()


def test_the_structure_of_a_model_is_always_said() -> None:
    searched = trial(model={"sharing": {"kind": "mmoe"}}).model_dump(mode="json")
    assert params_of_trial(searched, [])["model.sharing.kind"] == "mmoe"


def test_a_trial_that_ran_out_of_memory_says_so() -> None:
    runs = SearchRuns(Path())
    for event in search_events(trials=2):
        runs.feed(event)
        if event["event"] == "trial_started" and event["trial"] == "t001":
            reason = "Out of memory on cuda:0."
            runs.feed({**event, "event": "short_of_memory", "reason": reason})
    tags = {update.trial: update.tags for update in runs.take()}
    assert tags["t001"]["equipoise.short_of_memory"] == "Out of memory on cuda:0."
    assert "equipoise.short_of_memory" not in tags["t000"]
