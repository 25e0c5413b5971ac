"""Programs that some tests need and not every machine has."""

import os
import shutil

import pytest

NO_SKIPS = "EQUIPOISE_NO_SKIPS"
"""Where this is 1, as in continuous integration, a missing program is a failure."""


def require(*names: str) -> None:
    """Skip the test, with the reason, where one of these programs is missing."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    missing = [name for name in names if shutil.which(name, path=path) is None]
    if missing:
        skip(f"needs {', '.join(missing)}: see .ci/run for the packages")


def skip(reason: str) -> None:
    """Skip the test; fail it where nothing is to be skipped."""
    if os.environ.get(NO_SKIPS) == "1":
        pytest.fail(reason)
    pytest.skip(reason)
