"""Temporary folders: nobody's is taken away, and nobody's stays for good."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.machines.scratch import ScratchFolder, scratch_folder

OWNER = """
import sys, time
from orchestrator.machines.scratch import ScratchFolder
folder = ScratchFolder()
(folder.path / "session").mkdir()
print(folder.path, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for temporary files, for this process and those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def started_owner() -> tuple[subprocess.Popen[str], Path]:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    return owner, Path(owner.stdout.readline().strip())


def test_a_folder_is_gone_after_its_block(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "file").write_text("")
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_a_folder_is_removed_twice_without_harm(temporary: Path) -> None:
    folder = ScratchFolder()
    folder.remove()
    folder.remove()
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_with_the_next_start(temporary: Path) -> None:
    owner, abandoned = started_owner()
    owner.kill()
    owner.communicate()
    assert (abandoned / "session").is_dir()
    with scratch_folder() as folder:
        assert {path.name for path in temporary.iterdir()} == {folder.name, f"{folder.name}.lock"}


def test_the_folder_of_a_process_that_runs_stays() -> None:
    owner, used = started_owner()
    try:
        with scratch_folder(), scratch_folder():
            assert (used / "session").is_dir()
    finally:
        owner.kill()
        owner.communicate()


def test_what_others_have_put_there_stays(temporary: Path) -> None:
    """A folder of a name like ours, one that took the place of ours, and a link."""
    (temporary / "home").mkdir()
    (temporary / "home/file").write_text("")
    (temporary / "eqp-theirs").mkdir()
    (temporary / "eqp-other").mkdir()
    (temporary / "eqp-other.lock").write_text("1 1")
    (temporary / "eqp-link").symlink_to(temporary / "home")
    found = (temporary / "home").stat()
    (temporary / "eqp-link.lock").write_text(f"{found.st_dev} {found.st_ino}")
    with scratch_folder():
        pass
    assert {path.name for path in temporary.iterdir()} == {"home", "eqp-theirs", "eqp-other", "eqp-link"}
    assert (temporary / "home/file").exists()
