"""Who and which code made a run: versions of packages, the commit of the working directory and the changes since."""

import contextlib
import getpass
import hashlib
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.redaction import redacted

PACKAGES = ("equipoise", "torch", "torchvision", "ray", "mlflow", "numpy")
"""Versions of these are part of a run's record."""
LARGEST_DIFF = 1_000_000
"""Bytes of uncommitted changes that are kept; of more, only the digest is."""


def provenance(directory: Path) -> dict[str, Any]:
    """What is recorded of a run's code; uncommitted changes are kept in `directory`.

    Returns:
        `versions` by package; `git`, the commit, with `+` appended if there are uncommitted changes, None outside a
        repository; `git_diff`, the SHA-256 of those changes, None if there are none; `processor`, this machine's;
        `user`, the name of who started it, None where users have none, as in some containers.
    """
    facts, diff = _look()
    if diff is not None and len(diff) <= LARGEST_DIFF:
        path = directory / f"changes-{facts['git_diff'][:12]}.diff"
        try:
            path.write_text(redacted(diff) + "\n")
        except OSError:  # a full disk: better nothing than half of it
            path.unlink(missing_ok=True)
    return facts


def provenance_now() -> dict[str, Any]:
    """As `provenance`, but nothing is kept."""
    return _look()[0]


def _look() -> tuple[dict[str, Any], str | None]:
    """What is recorded, and the uncommitted changes."""
    commit = _git("describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*")
    diff = _git("diff", "HEAD") if commit is not None and commit.endswith("+") else None
    digest = hashlib.sha256(diff.encode()).hexdigest() if diff is not None else None
    facts = {"versions": installed_versions(), "git": commit, "git_diff": digest, "processor": _processor()}
    facts["user"] = _user()
    return facts, diff


def installed_versions() -> dict[str, str]:
    """The versions of `PACKAGES`."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):  # run from a clone that is not installed
            versions[package] = version(package)
    return versions


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _processor() -> str:
    """The processor's name: the last bits of a training depend on its kind."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    """What git prints about the working directory; None where there is no git or no repository."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run([git, *arguments], capture_output=True, text=True, errors="replace", timeout=5)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout.strip() or None) if done.returncode == 0 else None
