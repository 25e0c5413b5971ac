"""The installed command: its exit codes and messages, its help, the demo, and the user's own code."""

import json
import re
import sys
from pathlib import Path

import pytest

from tests.end_to_end.commands import EXPERIMENT, SCRIPT, last_line, run

DIVERGING = EXPERIMENT.replace("optimizer: {name: adam, lr: 3e-3}", "optimizer: {name: sgd, lr: 1e30}")
NO_TABLE = EXPERIMENT.replace('"builtin:digits-pair"', "nowhere.csv")
NETS = """
from torch import nn

def build(channels, image_size, width=8):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, width), nn.ReLU())
"""
OF_MY_OWN = EXPERIMENT.replace(
    "{name: small_cnn, width: 16}", "{name: 'my_nets:build', arguments: {width: 12}}"
).replace("model.backbone.width: {choice: [16, 32]}", "training.optimizer.lr: {log: [1e-3, 1e-2]}")
IMPORTED_BY_A_DRIVER = """
import json, sys
import orchestrator
spec = orchestrator.load_spec("experiment.yaml", ["search.trials=1", "training.epochs=1"])
record = orchestrator.run_search(spec)
imported = sorted({"torch", "torchvision", "mlflow", "ray", "optuna"} & sys.modules.keys())
print(json.dumps({"status": record.status, "trials": len(record.trials), "imported": imported}))
"""


def assert_one_message(stderr: str, *names: str) -> None:
    """One `error:`, at most one hint, each of `names`, and no traceback nor a library's own words."""
    assert "Traceback" not in stderr
    lines = stderr.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1, stderr
    assert lines[0].startswith("error: "), stderr
    assert len([line for line in lines if line.startswith("hint: ")]) <= 1, stderr
    for name in names:
        assert name in stderr


@pytest.mark.parametrize(
    ("code", "text", "arguments", "extra", "said"),
    [
        (3, NO_TABLE, ("search",), {}, ("nowhere.csv",)),
        (3, NO_TABLE, ("train",), {}, ("nowhere.csv",)),
        (5, EXPERIMENT, ("search",), {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, ("http://127.0.0.1:9",)),
        (5, EXPERIMENT, ("train",), {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, ("http://127.0.0.1:9",)),
        (5, EXPERIMENT, ("search",), {"RAY_ADDRESS": "127.0.0.1:1"}, ("127.0.0.1:1", "RAY_ADDRESS")),
    ],
    ids=["no table to search", "no table to train", "no MLflow to search", "no MLflow to train", "no Ray"],
)
def test_what_is_not_there_is_one_message_and_nothing_is_written(
    tmp_path: Path,
    code: int,
    text: str,
    arguments: tuple[str, ...],
    extra: dict[str, str],
    said: tuple[str, ...],
) -> None:
    (tmp_path / "experiment.yaml").write_text(text)
    done = run(tmp_path, *arguments, "experiment.yaml", extra=extra)
    assert done.returncode == code, done.stderr
    assert_one_message(done.stderr, *said)
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.yaml"]


def test_a_wrong_override_is_a_mistake_of_usage(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    done = run(tmp_path, "search", "experiment.yaml", "-s", "training.epocs=3")
    assert done.returncode == 2
    assert "training.epocs" in done.stderr
    assert "epochs" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.yaml"]


def test_a_training_that_diverges_has_failed(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(DIVERGING)
    done = run(tmp_path, "train", "experiment.yaml", "-s", "compute.workers=1")
    assert done.returncode == 1, done.stderr
    assert_one_message(done.stderr)
    assert "not a number" in done.stderr


@pytest.mark.slow
def test_a_search_in_which_every_trial_fails_has_failed(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(DIVERGING)
    done = run(tmp_path, "search", "experiment.yaml", "-n", "2", "-s", "compute.slots=1")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "2 trials failed" in done.stdout
    shown = run(tmp_path, "show", "--format", "json")
    assert [trial["status"] for trial in json.loads(shown.stdout)] == ["failed", "failed"]


def test_a_backbone_of_the_users_own_is_found_where_the_user_is(tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(NETS)
    (tmp_path / "experiment.yaml").write_text(OF_MY_OWN)
    checked = run(tmp_path, "check", "experiment.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    trained = last_line(run(tmp_path, "train", "experiment.yaml", "--json", "-s", "compute.workers=1"))
    assert trained["epochs"] == 2
    searched = last_line(run(tmp_path, "search", "experiment.yaml", "-n", "2", "--json"))
    assert searched["trials"] == 2
    assert searched["pareto"]


def test_the_demo_runs_in_an_empty_folder(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", "-n", "2", "-s", "training.epochs=1")
    assert done.returncode == 0, done.stderr
    assert "digits-pair-001 finished: 2 trials" in done.stdout
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"equipoise_runs", "mlflow.db", "mlartifacts"}


@pytest.mark.parametrize("command", [(SCRIPT,), (sys.executable, "-m", "orchestrator")], ids=["script", "-m"])
def test_help_names_every_command(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(tmp_path, "--help", command=command)
    assert done.returncode == 0
    assert done.stderr == ""
    for name in ("init", "check", "probe", "train", "search", "demo", "show", "ui", "schema"):
        assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE), name


def test_the_driver_of_a_search_imports_neither_torch_nor_mlflow(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT.replace("sampler: random", "sampler: tpe"))
    done = run(tmp_path, "-c", IMPORTED_BY_A_DRIVER, command=(sys.executable,))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said == {"status": "completed", "trials": 1, "imported": ["optuna", "ray"]}
