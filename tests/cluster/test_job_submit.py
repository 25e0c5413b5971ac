"""`ray job submit --working-dir .`, as documented: a folder with a table and modules of one's own goes along."""

import contextlib
import sqlite3
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from orchestrator.report.find import find_search
from orchestrator.report.search_log import read_search
from tests.cluster.heads import TOKEN, ray_head
from tests.end_to_end.commands import run
from tests.end_to_end.test_ray_address import RAY, free_ports
from tests.end_to_end.test_secrets import holding
from tests.end_to_end.test_table import write_table

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

EXPERIMENT = """
name: shapes
data: {source: labels.csv, split: {column: part}}
tasks: {hue: {type: multiclass, label: hue}, bright: {type: binary, label: bright, positive: "yes"}}
model: {backbone: "my_pkg.nets:build"}
training: {epochs: 1, batch_size: 32}
search: {trials: 2, sampler: grid, space: {model.backbone: {choice: ["my_pkg.nets:build", "my_pkg.nets:broken"]}}}
"""
NETS = """
import os
from torch import nn

def build(channels, image_size):
    network = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.num_features = 8
    return network

def broken(channels, image_size):
    raise RuntimeError("cannot log in with " + os.environ["MLFLOW_TRACKING_PASSWORD"])
"""
SECRET = "planted-on-the-cluster"


def test_a_folder_with_a_table_and_modules_goes_along_and_secrets_do_not(tmp_path: Path) -> None:
    """One of the two backbones fails with a secret in its message."""
    project, shared = tmp_path / "project", tmp_path / "shared"
    (project / "my_pkg").mkdir(parents=True)
    (project / "my_pkg" / "nets.py").write_text(NETS)
    (project / "experiment.yaml").write_text(EXPERIMENT)
    write_table(project)
    shared.mkdir()
    (port,) = free_ports(1)
    database = shared / "mlflow.db"
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{database}", "MLFLOW_TRACKING_PASSWORD": SECRET}
    search = ["equipoise", "search", "experiment.yaml", "-s", f"tracking.storage={shared / 'runs'}"]
    search += ["-s", f"data.cache={shared / 'cache'}"]
    with ray_head(tmp_path, port, "--num-cpus=1", variables=variables) as head:
        submit = ["job", "submit", "--address", head.dashboard, "--working-dir", ".", "--", *search]
        done = run(project, *submit, command=(RAY,), extra=head.login, seconds=200)
        request = Request(f"{head.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
        with urlopen(request, timeout=30) as answer:
            jobs = answer.read().decode()
        printed = done.stdout + done.stderr
        assert "exit code 4" in printed, printed
        assert "1 completed, 1 failed" in printed
        assert "cannot log in with ***" in printed
        found = read_search(find_search(shared / "runs"))
        assert sorted(trial.status for trial in found.trials) == ["completed", "failed"]
        assert list(found.directory.glob("trials/*/best*")), (
            "the uploaded folder goes, what was learned stays"
        )
        assert search[-1] in jobs
        assert holding(head.logs, "raysubmit") != [], "there are logs to be searched"
        with contextlib.closing(sqlite3.connect(database)) as connection:
            told = "\n".join(connection.iterdump())
        for secret in (SECRET, TOKEN):
            assert [text for text in (printed, jobs, told) if secret in text] == []
            assert holding(head.logs, secret) == holding(shared, secret) == []
