"""What a job printed is shown once, whatever becomes of the connection, and its exit code comes back."""

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

import pytest
from ray.job_submission import JobStatus

from orchestrator.errors import ClusterError
from orchestrator.launch import follow as module
from orchestrator.launch.follow import exit_code_of, follow

TEXT = "one\ntwo\nthree\n"


class Cluster:
    """Breaks the connection after so many characters, once for each number; then lets the job end."""

    def __init__(self, breaks: list[int]) -> None:
        self._breaks: Iterator[int] = iter(breaks)

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        end = next(self._breaks, None)
        for character in TEXT[:end]:
            yield character
        if end is not None:
            raise RuntimeError("connection closed")

    def get_job_info(self, job: str) -> SimpleNamespace:
        return SimpleNamespace(status=JobStatus.FAILED, driver_exit_code=4)


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.mark.parametrize("breaks", [[], [5], [5, 2, 9], [0, len(TEXT)]])
def test_a_connection_that_breaks_is_made_again_and_nothing_is_shown_twice(
    breaks: list[int], shown: list[str]
) -> None:
    assert follow(Cluster(breaks), "pairs-1", shown.append) == 4
    assert "".join(shown) == TEXT


def test_a_cluster_that_does_not_come_back_is_given_up(
    shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_WITHOUT_AN_ANSWER", 1.0)
    with pytest.raises(ClusterError) as error:
        follow(Cluster([0] * 100), "pairs-1", shown.append)
    assert "the same command follows it again" in error.value.hint


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 4, 4),
        (JobStatus.FAILED, None, 1),
        (JobStatus.FAILED, -9, 1),
        (JobStatus.STOPPED, -15, 130),
    ],
)
def test_the_exit_code_of_a_job(status: JobStatus, code: int | None, expected: int) -> None:
    assert exit_code_of(SimpleNamespace(status=status, driver_exit_code=code)) == expected
