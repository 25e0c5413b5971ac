"""Programs that some tests need and not every machine has."""

import os
import shutil

import pytest


def require(*names: str) -> None:
    """Skip the test, with the reason, where one of these programs is missing."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    missing = [name for name in names if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: see .ci/run for the packages")
