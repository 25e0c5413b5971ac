"""`equipoise probe` in this process: what it says, and what cannot be probed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner

from orchestrator.cli import app
from tests.end_to_end.commands import EXPERIMENT

PLAIN = EXPERIMENT.partition("search:")[0] + "compute: {workers: 1}\n"  # with one thread
UNDIVIDED = PLAIN.replace("{name: small_cnn, width: 16}", "'tests.contracts.nets:undivided'")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_without_a_file_to_write_the_space_goes_to_standard_output_alone() -> None:
    Path("experiment.yaml").write_text(PLAIN)
    options = ("--epochs", "1", "--every", "50", "--threshold", "-1")
    done = CliRunner().invoke(app, ["probe", "experiment.yaml", *options])
    assert done.exit_code == 0, done.output
    assert YAML(typ="safe").load(done.stdout) is None, "comments: nothing is below -1"
    assert "# Little conflict: 0 % at most" in done.stdout
    assert "epoch 1/1: left.accuracy 0." in done.stderr


def test_two_probes_say_the_same() -> None:
    Path("experiment.yaml").write_text(PLAIN)

    def found() -> dict[str, Any]:
        options = ("--json", "--epochs", "1", "--every", "20")
        done = CliRunner().invoke(app, ["probe", "experiment.yaml", *options])
        assert (done.exit_code, done.stderr) == (0, "")
        said: dict[str, Any] = json.loads(done.stdout)
        return {name: value for name, value in said.items() if name != "seconds"}

    first = found()
    assert first == found()
    assert [part["name"] for part in first["parts"]] == ["conv1", "conv2", "shared"]
    assert all(part["cosines"].keys() == {"left:right"} for part in first["parts"])
    assert first["pairs"].keys() == {"left:right"}
    assert {"hard_parameters", "suggested", "control", "space"} == first["proposal"].keys()


@pytest.mark.parametrize(
    ("text", "options", "code", "said"),
    [
        (PLAIN, ("--epochs", "9"), 2, "this one has 2 epochs"),
        (PLAIN, ("-s", "tasks.right=null"), 2, "a single task has no other one"),
        (PLAIN, ("-s", "training.optimizer.backbone_lr_factor=0"), 1, "nothing shared is trained"),
        (PLAIN, ("-s", "training.optimizer.lr=1e30"), 1, "training.optimizer.lr: "),
        (PLAIN, ("-s", "data.source=nowhere.csv"), 3, "nowhere.csv"),
        (PLAIN, ("-o", "experiment.yaml"), 2, "exists already"),
        (PLAIN, ("-o", "no/where.yaml"), 2, "is no folder"),
        (UNDIVIDED, (), 2, "model.sharing: tests.contracts.nets:undivided cannot be divided into stages"),
    ],
)
def test_what_cannot_be_probed_is_said_in_one_message(
    text: str, options: tuple[str, ...], code: int, said: str
) -> None:
    Path("experiment.yaml").write_text(text)
    done = CliRunner().invoke(app, ["probe", "experiment.yaml", *options])
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert done.stderr.count("error: ") == 1
    assert done.stdout == ""
    assert Path("experiment.yaml").read_text() == text
