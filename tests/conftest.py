"""Ray's environment, set before any test module imports Ray, and one local cluster for all tests."""

import os
import signal
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from orchestrator.machines.connection import RayAddress, connected, set_environment
from orchestrator.machines.resources import NodeResources
from tests.power import Disk

set_environment(RayAddress())
# A shell's background commands ignore SIGINT, and so would all that a test starts there.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("seeded", derandomize=True, database=None, deadline=None)  # the same everywhere
settings.load_profile("seeded")


@pytest.fixture
def failing_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A folder of this process from which a power cut takes what was not flushed."""
    (tmp_path / "left").mkdir()
    with monkeypatch.context() as patched:
        found = Disk(tmp_path / "disk", tmp_path / "left", patched)
        yield found
    found.close()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A private Ray with four cores, for all tests that need nothing special of theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        with connected(RayAddress(), NodeResources(cpus=4, gpus=0, memory=2**30)):
            yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With EQUIPOISE_NO_SKIPS set, as in continuous integration, what a test lacks is a failure.

    For tests that need something of the machine: a browser, other nodes, file systems of their own.
    """
    report = yield
    installable = any(item.get_closest_marker(name) for name in ("browser", "cluster", "chaos"))
    if report.skipped and installable and os.environ.get("EQUIPOISE_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which EQUIPOISE_NO_SKIPS forbids: {report.longrepr}"
    return report
