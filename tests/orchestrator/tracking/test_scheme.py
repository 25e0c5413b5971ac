"""What a trial's configuration becomes in MLflow."""

from orchestrator.tracking.scheme import params_of_trial
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
