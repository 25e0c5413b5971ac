"""Ctrl-C wherever it falls: what was done is kept, told truly, and nothing stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.report.records import read_search

NOTEBOOK = """
import sys, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
import orchestrator
spec = orchestrator.load_spec(sys.argv[1])
try:
    orchestrator.run_search(spec)
except KeyboardInterrupt:
    free = 0
    import time
    for _ in range(50):
        free = ray.available_resources().get("CPU", 0)
        if free == 2:
            break
        time.sleep(0.1)
    print("interrupted, cores free:", free)
"""

EXPERIMENT = """
name: pairs
data: {source: "builtin:digits-pair"}
tasks: {left: {type: multiclass, label: left}, right: {type: multiclass, label: right}}
model: {backbone: {name: small_cnn, width: 16}}
training: {epochs: 200, optimizer: {name: adam, lr: 3e-3}}
search: {trials: 4, sampler: random, space: {model.backbone.width: {choice: [16, 32]}}}
"""


def test_an_interrupt_where_ray_was_there_before(tmp_path: Path) -> None:
    """As in a notebook that is connected to Ray: Tune's own handler must not make it look finished."""
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))
    }
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", NOTEBOOK, "experiment.yaml"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = tmp_path / "equipoise_runs" / "pairs-001" / "journal.jsonl"
    deadline = time.monotonic() + 80
    while not (journal.exists() and '"event":"epoch"' in journal.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    printed, complaint = process.communicate(timeout=60)
    assert "interrupted, cores free: 2" in printed, complaint
    assert read_search(journal.parent).status == "interrupted"
