"""Pictures and models are attached once, whatever is killed on the way, and models load anywhere."""

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image
from pyarrow import parquet

from orchestrator.tracking.follower import Follower
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.state import TrackingState, read_state, write_state
from tests.orchestrator.journals import search_events, write_journal
from tests.orchestrator.tracking.trained import TrainedSearch

pytestmark = [  # MLflow's
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture
def search(tmp_path: Path, store: str, trained_search: TrainedSearch) -> Path:
    return trained_search.write(tmp_path / "digits-pair-001", store)


def artifacts(store: str, state: TrackingState, trial: str, folder: str) -> list[str]:
    client = MlflowClient(tracking_uri=store)
    return sorted(file.path for file in client.list_artifacts(state.runs[trial], folder))


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_trials_have_pictures_and_the_pareto_set_has_models(search: Path, store: str) -> None:
    assert Follower(search, None).run() == 0
    state = read_state(search)
    assert "t007" not in state.pictured, "it has finished no epoch"
    assert len(state.pictured) == 11
    assert artifacts(store, state, "t000", "evaluation") == [
        f"evaluation/{name}"
        for name in ("classes.csv", "left.png", "predictions.parquet", "right.png", "worst_mistakes.png")
    ]
    assert len(artifacts(store, state, "t000", "images")) == 6
    client = MlflowClient(tracking_uri=store)
    runs = {trial: client.get_run(number) for trial, number in state.runs.items() if trial}
    front = {trial for trial, run in runs.items() if run.data.tags["equipoise.pareto"] == "true"}
    assert state.models.keys() == front
    for trial, model in state.models.items():
        logged = client.get_logged_model(model)
        assert logged.status == "READY"
        assert logged.name == f"digits-pair-001-{trial}"
        assert logged.params == runs[trial].data.params
        assert f'load_model("models:/{model}")' in logged.tags["mlflow.note.content"]
        digests = {metric.dataset_digest for metric in logged.metrics or []}
        assert digests == {"0123456789abcdef01234567-val"}, "what was measured, and on what"
        assert logged.source_run_id == state.runs[trial]
        assert {m.key: m.value for m in logged.metrics or []}["best/score"] == runs[trial].data.metrics[
            "best/score"
        ]


def test_attaching_goes_on_where_it_ended(search: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attach, attached = MlflowStore.attach, list[str]()

    def twice_then_away(self: MlflowStore, run_id: str, files: dict[str, bytes]) -> None:
        if len(attached) == 2:
            raise SystemExit
        attached.append(run_id)
        attach(self, run_id, files)

    monkeypatch.setattr(MlflowStore, "attach", twice_then_away)
    with pytest.raises(SystemExit):
        Follower(search, None).run()
    assert len(read_state(search).pictured) == 2
    monkeypatch.undo()
    assert Follower(search, None).run() == 0
    state = read_state(search)
    assert len(state.pictured) == 11
    write_state(search, TrackingState(**{**vars(state), "pictured": [], "models": {"t000": "kept"}}))
    assert Follower(search, None).run() == 0
    assert len(artifacts(store, state, "t000", "images")) == 6, "telling twice adds no picture"


def test_predictions_that_cannot_be_read_cost_the_pictures_only(search: Path, store: str) -> None:
    (search / "trials" / "t000" / "best" / "predictions.safetensors").write_bytes(b"torn")
    shutil.rmtree(search / "trials" / "t001")
    assert Follower(search, None).run() == 0
    state = read_state(search)
    assert artifacts(store, state, "t000", "evaluation") == []
    assert len(artifacts(store, state, "t002", "evaluation")) == 5


def test_the_table_of_predictions_has_every_validation_image(
    search: Path, store: str, trained_search: TrainedSearch, tmp_path: Path
) -> None:
    Follower(search, None).run()
    client = MlflowClient(tracking_uri=store)
    path = client.download_artifacts(
        read_state(search).runs["t000"], "evaluation/predictions.parquet", str(tmp_path)
    )
    table = parquet.read_table(path).to_pandas()
    metrics = trained_search.trainer.best_state().meta["metrics"]
    assert len(table) == 2_000
    assert (table["left.label"] == table["left.predicted"]).mean() == pytest.approx(metrics["left.accuracy"])


@pytest.mark.slow
def test_a_logged_model_answers_like_the_trainer_without_the_training_machine(
    search: Path, store: str, trained_search: TrainedSearch, tmp_path: Path
) -> None:
    Follower(search, None).run()
    model = next(iter(read_state(search).models.values()))
    shutil.rmtree(search)  # ours: what MLflow keeps must do
    data = trained_search.data
    rows = data.splits["val"][:20]
    files = [png(np.asarray(data.images)[row, 0]) for row in rows]
    inputs = tmp_path / "inputs.json"
    inputs.write_text(json.dumps([base64.b64encode(file).decode() for file in files]))
    program = f"""
import base64, json, pandas, mlflow
mlflow.set_tracking_uri({store!r})
model = mlflow.pyfunc.load_model("models:/{model}")
texts = json.load(open({str(inputs)!r}))
frame = model.predict(pandas.DataFrame({{"image": [base64.b64decode(text) for text in texts]}}))
as_text = model.predict(pandas.DataFrame({{"image": texts}}))
assert frame.equals(as_text)
try:
    model.predict(pandas.DataFrame({{"image": ["no base64!"]}}))
except Exception as error:
    assert "base64" in str(error), error
else:
    raise AssertionError
frame.to_json({str(tmp_path / "answers.json")!r}, double_precision=15)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=100)
    found = pandas.read_json(tmp_path / "answers.json", dtype=False)
    assert list(found) == [
        "left",
        "left.confidence",
        "left.probs",
        "right",
        "right.confidence",
        "right.probs",
    ]
    trainer = trained_search.trainer
    with torch.no_grad():
        trainer.model.eval()
        logits = trainer.model(trainer._images.batch(torch.from_numpy(rows)))
    for task, own in logits.items():
        wanted = own.double().softmax(1).numpy()
        np.testing.assert_allclose(np.array(found[f"{task}.probs"].tolist()), wanted, atol=1e-6)
        assert found[task].tolist() == [data.classes[task][k] for k in wanted.argmax(1).tolist()]


def test_a_search_without_folders_of_trials_is_told_all_the_same(tmp_path: Path, store: str) -> None:
    directory = write_journal(tmp_path / "digits-pair-001", list(search_events(store, trials=3)))
    assert Follower(directory, None).run() == 0
    assert set(read_state(directory).models.values()) == {""}


def test_pictures_of_another_epoch_than_the_selected_one_are_not_shown(
    search: Path, store: str, trained_search: TrainedSearch, caplog: pytest.LogCaptureFixture
) -> None:
    trained_search.keep(search / "trials" / "t000" / "best", 1)
    assert Follower(search, None).run() == 0
    assert artifacts(store, read_state(search), "t000", "evaluation") == []
    assert "no pictures of t000: there are predictions of epoch 1, and 4 was selected" in caplog.text


def test_a_trial_that_was_taken_up_again_gets_new_pictures(
    tmp_path: Path, store: str, trained_search: TrainedSearch
) -> None:
    *events, over = search_events(store, trials=1)
    early = {**events[-1], "status": "interrupted", "time": events[3]["time"] + 1}
    stopped = {**over, "status": "interrupted", "time": early["time"] + 1}
    directory = write_journal(tmp_path / "digits-pair-001", [*events[:4], early, stopped])
    best = directory / "trials" / "t000" / "best"
    trained_search.keep(best, early["best_epoch"])
    Follower(directory, None).run()
    assert read_state(directory).pictured == ["t000"]
    (best / "predictions.safetensors").write_bytes(b"torn")
    resumed = [
        {**events[0], "time": stopped["time"] + 1},
        {"event": "trial_restarted", "trial": "t000", "time": stopped["time"] + 2},
    ]
    running = write_journal(directory, [*events[:4], early, stopped, *resumed])
    Follower(running, None).run()
    assert read_state(directory).pictured == []
    trained_search.keep(best, events[-1]["best_epoch"])
    later = [{**event, "time": event["time"] + 60} for event in [*events[4:], over]]
    write_journal(directory, [*events[:4], early, stopped, *resumed, *later])
    Follower(directory, None).run()
    state = read_state(directory)
    assert state.pictured == ["t000"]
    assert state.models["t000"]
    assert len(artifacts(store, state, "t000", "images")) == 6
