"""Ctrl-C wherever it falls: what was done is kept, told truly, and nothing stays behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.report.search_log import read_search
from orchestrator.resuming.interrupts import SECONDS_TO_INSIST
from tests.end_to_end import commands
from tests.end_to_end.commands import (
    SCRIPT,
    a_mark,
    descendants,
    environment,
    last_line,
    overridden,
    rays,
    run,
)
from tests.end_to_end.driver import SLOT, driver
from tests.end_to_end.kills import epochs, wait_until
from tests.end_to_end.recorded import assert_the_same

NOTEBOOK = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
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
    own = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", NOTEBOOK, "experiment.yaml"],
        cwd=tmp_path,
        env=environment(own),
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


@pytest.mark.slow
def test_an_epoch_that_takes_long_is_not_waited_for(tmp_path: Path) -> None:
    long = EXPERIMENT.replace('pair"}', 'pair", image_size: 64}').replace(
        "{name: small_cnn, width: 16}", "resnet18"
    )
    (tmp_path / "experiment.yaml").write_text(
        long.replace("model.backbone.width: {choice: [16, 32]}", "training.optimizer.lr: {log: [1e-4, 1e-3]}")
    )
    search = [SCRIPT, "search", "experiment.yaml", "-s", "compute.slots=2"]
    process = subprocess.Popen(
        search, cwd=tmp_path, env=environment(a_mark()), stdout=subprocess.PIPE, text=True
    )
    journal = tmp_path / "equipoise_runs" / "pairs-001" / "journal.jsonl"
    deadline = time.monotonic() + 90
    while not (journal.exists() and journal.read_text().count('"event":"trial_started"') == 2):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    time.sleep(5)
    process.send_signal(signal.SIGTERM)
    interrupted = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - interrupted < 10
    assert process.returncode == 130
    assert "equipoise resume pairs-001" in output
    record = read_search(tmp_path / "equipoise_runs" / "pairs-001")
    assert [trial.status for trial in record.trials] == ["interrupted", "interrupted"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_second_interrupt_ends_it_now_and_it_goes_on_as_if_undisturbed(tmp_path: Path) -> None:
    """While the first one waits for a slot, which is stopped so that it cannot be too fast."""
    folders = [tmp_path / "stopped", tmp_path / "undisturbed"]
    for folder in folders:
        folder.mkdir()
        (folder / "experiment.yaml").write_text(commands.EXPERIMENT)
    settings = ["training.epochs=30", "search.trials=2", "compute.slots=1"]
    search = ["search", "experiment.yaml", *overridden(settings)]
    mark = a_mark()
    with driver(folders[0], "pairs-001", *search, extra=mark) as going:
        assert going.wait_for(lambda driver: epochs(driver.run) >= 2)
        (slot,) = going.processes(SLOT)
        slot.suspend()
        going.process.send_signal(signal.SIGINT)
        time.sleep(SECONDS_TO_INSIST + 0.2)
        assert going.process.poll() is None, "the first one was enough"
        going.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert going.finish() == 130
        assert time.monotonic() - began < 1
        wait_until(lambda: not rays(mark), seconds=2)
        wait_until(lambda: not descendants(mark), seconds=30)  # MLflow's writer says what was left
    assert "stopped; go on with: equipoise resume" in (folders[0] / "printed.txt").read_text()
    last_line(run(folders[0], "resume", "--json"))
    last_line(run(folders[1], *search, "--json"))
    assert_the_same(folders, "pairs-001")
