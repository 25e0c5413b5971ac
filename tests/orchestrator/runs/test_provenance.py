"""Which code made a run is on record, uncommitted changes included."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.runs.provenance import provenance, provenance_now


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with one committed file."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "nets.py").write_text("width = 1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *identity, *command], check=True)
    return folder


def test_a_clean_repository_has_a_commit_and_no_changes(repository: Path, tmp_path: Path) -> None:
    facts = provenance(tmp_path)
    assert len(facts["git"]) == 40
    assert facts["git_diff"] is None
    assert facts["processor"]
    assert {"torch", "ray"} <= facts["versions"].keys()
    assert list(tmp_path.glob("*.diff")) == []


def test_changes_are_kept_and_told_apart(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "tell-nobody")
    (repository / "nets.py").write_text('width = 2\nkey = "tell-nobody"\n')
    facts = provenance(tmp_path)
    assert facts["git"].endswith("+")
    kept = (tmp_path / f"changes-{facts['git_diff'][:12]}.diff").read_text()
    assert "+width = 2" in kept
    assert "tell-nobody" not in kept
    assert provenance_now() == facts
    (repository / "nets.py").write_text("width = 3\n")
    assert provenance_now()["git_diff"] != facts["git_diff"]


def test_who_started_it_is_told_where_users_have_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert provenance(tmp_path)["user"] == "ada"
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 5)  # nobody's
    assert provenance(tmp_path)["user"] is None


def test_there_need_not_be_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    facts = provenance(tmp_path)
    assert (facts["git"], facts["git_diff"]) == (None, None)
