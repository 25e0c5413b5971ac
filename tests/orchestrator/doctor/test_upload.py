"""Whether Ray would take the working directory."""

from pathlib import Path

import pytest

from orchestrator.doctor.upload import submits_jobs, working_directory

LIMIT = 2**20


def folder(tmp_path: Path, size: int, *, name: str = "images/big", ignored: str = "") -> Path:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(size))
    if ignored:
        (tmp_path / ".rayignore").write_text(ignored)
    return tmp_path


def test_a_folder_that_ray_would_refuse_is_a_problem_where_jobs_are_sent(tmp_path: Path) -> None:
    large = folder(tmp_path, LIMIT)
    found = working_directory(large, LIMIT, submitted=True)
    assert (found.code, found.status) == ("working-directory", "problem")
    assert ".rayignore" in found.cure
    assert working_directory(large, LIMIT, submitted=False).status == "warning"
    assert working_directory(large, LIMIT + 1, submitted=True).status == "ok"


def test_what_ray_leaves_out_does_not_count(tmp_path: Path) -> None:
    assert working_directory(folder(tmp_path, LIMIT, name=".git/pack"), LIMIT, submitted=True).status == "ok"
    large = folder(tmp_path, LIMIT, ignored="images\n")
    assert working_directory(large, LIMIT, submitted=True).status == "ok"


@pytest.mark.parametrize(
    ("name", "address", "sent"),
    [
        ("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265", True),
        ("RAY_ADDRESS", "http://127.0.0.1:8265", True),
        ("RAY_ADDRESS", "10.0.0.1:6379", False),
    ],
)
def test_jobs_are_sent_to_a_dashboards_address(name: str, address: str, sent: bool) -> None:
    assert submits_jobs({name: address}) is sent
    assert submits_jobs({}) is False
