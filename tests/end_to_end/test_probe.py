"""`equipoise probe` as it is typed, and what can be done with what it writes."""

import resource
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.end_to_end.commands import EXPERIMENT, last_line, run


def experiment(folder: Path) -> None:
    (folder / "experiment.yaml").write_text(EXPERIMENT.partition("search:")[0])


def test_a_probe_takes_seconds(tmp_path: Path) -> None:
    experiment(tmp_path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = last_line(run(tmp_path, "probe", "experiment.yaml", "--json"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 20, "of a core: this machine may be busy"
    assert (found["event"], found["epochs"]) == ("probe_finished", 2)
    assert found["steps"] == 2 * 10, "every fifth of 47"


def test_what_a_probe_writes_is_checked_and_trained(tmp_path: Path) -> None:
    experiment(tmp_path)
    options = ("--epochs", "1", "--threshold", "0.9")  # below which almost all are
    done = run(tmp_path, "probe", "experiment.yaml", "-o", "space.yaml", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Try model.sharing.at: ")
    assert "epoch 1/1: left.accuracy 0." in done.stderr
    document: dict[str, Any] = YAML(typ="safe").load((tmp_path / "space.yaml").read_text())
    with (tmp_path / "experiment.yaml").open("a") as stream:
        stream.write((tmp_path / "space.yaml").read_text())
    checked = run(tmp_path, "check", "experiment.yaml", "--config-only")
    assert checked.returncode == 0, checked.stdout
    (depth, *_) = document["search"]["space"]["model.sharing.at"]["choice"]
    given = ("-s", "model.sharing.kind=branching", "-s", f"model.sharing.at={depth}")
    done = run(tmp_path, "train", "experiment.yaml", "--json", "-s", "training.epochs=1", *given)
    assert last_line(done)["epochs"] == 1
