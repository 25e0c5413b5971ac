"""What a container leaves of its machine: the limits of control groups, versions 2 and 1."""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
"""In a container, its own group; elsewhere the whole machine's, which has no limits."""


def core_limit(root: Path = ROOT) -> float | None:
    """Cores that may be used at the same time, None without a limit."""
    quota, _, period = _read(root / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(root / "cpu" / "cpu.cfs_quota_us"), _read(root / "cpu" / "cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit():  # "max", or -1
        return None
    return int(quota) / int(period)


def memory_left(root: Path = ROOT) -> int | None:
    """Bytes that may still be taken, None without a limit. What only caches files counts as free."""
    for folder, most, taken, caches in (
        (root, "memory.max", "memory.current", "inactive_file"),
        (root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _read(folder / most), _read(folder / taken)
        if limit.isdigit() and used.isdigit():
            if int(limit) >= 2**60:  # version 1 has a number for "no limit"
                return None
            statistics = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines())
            return max(0, int(limit) - int(used) + int(statistics.get(caches, 0)))
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
