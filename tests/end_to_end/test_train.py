"""One training from the command line: what it says, what it leaves, and that Python says the same."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.search_log import read_search
from tests.end_to_end.commands import EXPERIMENT, a_mark, last_line, nothing_stays, repeatable, run

IN_PYTHON = """
import json, orchestrator
record = orchestrator.train(orchestrator.load_spec("experiment.yaml", ["compute.workers=1"]))
print(json.dumps(record.trials[0].metrics))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder in which one training has been run by one worker, and the training's one line."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    return folder, last_line(run(folder, "train", "experiment.yaml", "--json", "-s", "compute.workers=1"))


def test_the_last_line_is_what_the_readme_says(trained: tuple[Path, dict[str, Any]]) -> None:
    _, ending = trained
    assert list(ending) == ["event", "run_id", "seconds", "workers", "slot", "epochs", "metrics"]
    assert ending["event"] == "train_finished"
    assert len(ending["run_id"]) == 32
    assert ending["seconds"] > 0
    assert (ending["workers"], ending["slot"], ending["epochs"]) == (1, "in_process", 2)
    assert set(ending["metrics"]) == {
        "left.accuracy",
        "left.loss",
        "right.accuracy",
        "right.loss",
        "score",
        *("model.parameters", "model.flops", "model.latency_ms"),
    }
    assert ending["metrics"]["left.accuracy"] > 0.2


def test_the_best_checkpoint_is_kept(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = trained
    best = folder / "equipoise_runs" / "pairs-train-001" / "trials" / "t000" / "best"
    assert {path.name for path in best.iterdir()} == {"state.safetensors", "predictions.safetensors"}


def test_python_gives_the_same_numbers(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, ending = trained
    done = run(folder, "-c", IN_PYTHON, command=(sys.executable,))
    assert done.returncode == 0, done.stderr
    numbers = repeatable(json.loads(done.stdout))
    assert numbers == pytest.approx(repeatable(ending["metrics"]), abs=1e-6)


@pytest.mark.slow
def test_two_workers_learn_the_same_and_leave_no_process(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT.replace("fp32", "fp64"))
    one = last_line(run(tmp_path, "train", "experiment.yaml", "--json", "-s", "compute.workers=1"))
    mark = a_mark()
    two = last_line(
        run(tmp_path, "train", "experiment.yaml", "--json", "-s", "compute.workers=2", extra=mark)
    )
    assert nothing_stays(mark)
    assert (two["workers"], two["slot"], two["epochs"]) == (2, "train_workers", 2)
    assert repeatable(two["metrics"]) == pytest.approx(repeatable(one["metrics"]), abs=1e-4)
    assert read_search(tmp_path / "equipoise_runs" / "pairs-train-002").status == "completed"
