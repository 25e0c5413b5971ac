"""Weights of earlier runs: which file `runs:/…` means, and what is said where there is none."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.earlier_models import find_model, require_weights, with_earlier_models
from orchestrator.errors import ConfigError
from orchestrator.resuming.replay import History
from orchestrator.runs.journal import Event
from orchestrator.spec import parse_spec
from orchestrator.tracking.state import TrackingState, write_state
from tests.orchestrator.journals import search_events, write_journal

NOWHERE = "sqlite:////nowhere/mlflow.db"
TEXT = """\
name: later
data: {source: "builtin:digits-pair"}
tasks:
  left: {type: multiclass, label: left}
"""


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A search that kept the models of two trials, and a training."""
    folder = tmp_path / "runs"
    keep(write_journal(folder / "digits-001", list(search_events())), "t000", "t004")
    keep(write_journal(folder / "digits-train-001", list(search_events(kind="train", trials=1))), "t000")
    write_journal(folder / "digits-002", list(search_events()))
    return folder


def keep(search: Path, *trials: str) -> None:
    for trial in trials:
        file = model_of(search, trial)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")


def model_of(search: Path, trial: str) -> Path:
    return search / "trials" / trial / "best" / "state.safetensors"


def test_a_trial_is_found_by_its_names(storage: Path) -> None:
    assert find_model("runs:/digits-001/t004", storage, NOWHERE) == model_of(storage / "digits-001", "t004")


def test_a_training_needs_no_trial(storage: Path) -> None:
    found = find_model("runs:/digits-train-001", storage, NOWHERE)
    assert found == model_of(storage / "digits-train-001", "t000")


def test_a_run_of_this_storage_is_found_by_mlflows_id_without_mlflow(storage: Path) -> None:
    write_state(
        storage / "digits-001", TrackingState(runs={"": "5ea4c4", "t000": "0a" * 16, "t004": "0b" * 16})
    )
    found = find_model(f"runs:/{'0b' * 16}", storage, NOWHERE)
    assert found == model_of(storage / "digits-001", "t004")
    with pytest.raises(ConfigError, match="several trials"):
        find_model("runs:/5ea4c4", storage, NOWHERE)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("runs:/digits-003/t000", "no run 'digits-003'"),
        ("runs:/0123456789abcdef", "no run '0123456789abcdef'.*knows none"),
        ("runs:/digits-001", "several trials"),
        ("runs:/digits-001/t003", "t003 of digits-001 kept no model"),
        ("runs:/digits-002/t000", "no trial .* kept a model"),
    ],
)
def test_what_is_not_there_is_said(weights: str, said: str, storage: Path) -> None:
    with pytest.raises(ConfigError, match=f"(?s)model.weights: .*{said}"):
        find_model(weights, storage, NOWHERE)


def test_a_mistake_lists_what_there_is(storage: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_model("runs:/digits-001/t003", storage, NOWHERE)
    assert "Models are kept of: t000, t004" in caught.value.hint


def parse(storage: Path, model: str, **search: Any) -> Any:
    text = f"{TEXT}model: {model}\ntracking: {{storage: {storage}}}\n"
    return parse_spec(text + (f"search: {json.dumps(search)}\n" if search else ""))


def test_trials_get_files_and_the_record_keeps_the_name(storage: Path) -> None:
    spec = with_earlier_models(parse(storage, "{weights: runs:/digits-001/t004}"))
    assert spec.trial_config().model.weights == str(model_of(storage / "digits-001", "t004"))
    assert spec.resolved()["model"]["weights"] == "runs:/digits-001/t004"


def test_searched_weights_are_found_as_well(storage: Path) -> None:
    choice = [None, "runs:/digits-001/t000", "runs:/digits-train-001"]
    spec = with_earlier_models(parse(storage, "{}", space={"model.weights": {"choice": choice}}))
    found = [spec.trial_config_with({"model.weights": weights}).model.weights for weights in choice]
    expected = [model_of(storage / "digits-001", "t000"), model_of(storage / "digits-train-001", "t000")]
    assert found == [None, *map(str, expected)]


def test_a_file_without_earlier_runs_stays_as_it_is(storage: Path) -> None:
    spec = parse(storage, "{weights: default}")
    assert with_earlier_models(spec) is spec


def interrupted(
    directory: Path, *, with_state: tuple[str, ...] = (), weights: tuple[Any, ...] = (None,)
) -> History:
    """A search of which some trials run, each from one of `weights`."""
    history: list[Event] = [{"event": "search_started", "kind": "search", "search_id": "later-001"}]
    for number, own in enumerate(weights):
        values = {} if own is None else {"model.weights": own}
        history.append({"event": "trial_started", "trial": f"t{number:03d}", "config": values})
    for trial in with_state:
        (directory / "trials" / trial / "last").mkdir(parents=True)
    return History(directory, tuple(history))


def test_a_resume_keeps_the_name_of_what_is_gone(storage: Path) -> None:
    spec = parse(storage, "{weights: runs:/digits-003/t000}")
    with pytest.raises(ConfigError):
        with_earlier_models(spec)
    assert with_earlier_models(spec, resumed=True).trial_config().model.weights == "runs:/digits-003/t000"


@pytest.mark.parametrize(
    ("with_state", "weights", "trials", "refused"),
    [
        (("t000",), (None,), 1, False),
        ((), (None,), 1, True),
        ((), (None,), 2, True),
        (("t000",), (None,), 2, False),  # t000 goes on, t001 fails in a sentence
        ((), (None, "kept"), 2, False),
        ((), ("kept",), 1, False),
        ((), ("default",), 1, False),
    ],
)
def test_a_resume_of_which_all_needs_what_is_gone_is_refused(
    with_state: tuple[str, ...], weights: tuple[Any, ...], trials: int, refused: bool, storage: Path
) -> None:
    kept = {"kept": str(model_of(storage / "digits-001", "t000"))}
    spec = with_earlier_models(parse(storage, "{weights: runs:/digits-003/t000}"), resumed=True)
    own = tuple(kept.get(name, name) for name in weights)
    earlier = interrupted(storage / "later-001", with_state=with_state, weights=own)
    said = r"runs:/digits-003/t000 is not there any more, .* later-001 begins from it"
    with pytest.raises(ConfigError, match=said) if refused else contextlib.nullcontext():
        require_weights(spec, earlier, trials)


@pytest.mark.parametrize("weights", ["runs:/", "runs:digits-001", "runs:/a/b/c", "runs:/../secret"])
def test_names_that_are_none_are_refused(weights: str, storage: Path) -> None:
    with pytest.raises(ConfigError, match=r"runs:/<search>/<trial>"):
        parse(storage, f"{{weights: '{weights}'}}")
