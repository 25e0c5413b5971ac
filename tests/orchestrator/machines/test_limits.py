"""A container's limits are read from its control group."""

from pathlib import Path

import pytest

from orchestrator.machines.limits import core_limit, memory_left


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "250000 100000"}, 2.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_cores(files: dict[str, str], cores: float | None, tmp_path: Path) -> None:
    assert core_limit(write(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, None),
        ({"memory.max": "max", "memory.current": "5"}, None),
        ({"memory.max": "100", "memory.current": "60", "memory.stat": "anon 30\ninactive_file 20"}, 60),
        ({"memory.max": "100", "memory.current": "120"}, 0),
        ({"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.usage_in_bytes": "5"}, None),
        ({"memory/memory.limit_in_bytes": "100", "memory/memory.usage_in_bytes": "60"}, 40),
    ],
)
def test_memory(files: dict[str, str], left: int | None, tmp_path: Path) -> None:
    assert memory_left(write(tmp_path, files)) == left
