"""What the doctor says of this machine."""

import shutil
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.doctor import machine


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_this_machine_is_well(tmp_path: Path) -> None:
    findings = [
        *machine.packages(),
        machine.sockets(),
        machine.gpus(),
        *machine.disks({"x": tmp_path / "a" / "b"}),
    ]
    assert {finding.status for finding in findings} == {"ok"}
    assert not (tmp_path / "a").exists(), "looking writes nothing"


def test_a_torch_that_torchvision_was_not_built_for_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    true = metadata.version
    monkeypatch.setattr(machine, "version", lambda name: "2.1.0" if name == "torch" else true(name))
    found = list(machine.packages())
    assert [finding.status for finding in found] == ["problem"]
    assert "torchvision needs torch>=" in found[0].message
    assert "2.1.0 is installed" in found[0].message


def test_a_folder_that_cannot_be_written_names_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (found,) = machine.disks({"tracking.storage": tmp_path / "file" / "runs"})
    assert (found.code, found.status) == ("disk:tracking.storage", "problem")
    assert "tracking.storage" in found.cure


@pytest.mark.parametrize(
    ("total", "free", "status"),
    [(1000, 4, "problem"), (1000, 600, "ok"), (4, 1, "warning")],
)
def test_a_disk_may_be_too_full(
    total: int, free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = Usage(total * machine.GIB, (total - free) * machine.GIB, free * machine.GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    (found,) = machine.disks({"x": tmp_path})
    assert found.status == status


def test_little_shared_memory_is_told_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**26, 0, 2**26))
    found = machine.shared_memory(tmp_path)
    assert (found.status, found.message) == ("warning", f"64 MiB are free in {tmp_path}")
    assert "--shm-size" in found.cure
    assert machine.shared_memory(tmp_path / "none").status == "warning"


def test_a_long_temporary_folder_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(long))
    found = machine.sockets()
    assert found.status == "problem"
    assert "TMPDIR" in found.cure


def test_a_driver_whose_gpus_torch_does_not_see_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    true = Path.glob

    def one_gpu(self: Path, pattern: str) -> Any:
        return iter([Path("0000:01:00.0")]) if "nvidia" in str(self) else true(self, pattern)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(Path, "glob", one_gpu)
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = machine.gpus()
    assert found.status == "problem"
    assert "1 GPUs" in found.message
