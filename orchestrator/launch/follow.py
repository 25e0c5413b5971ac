"""Follows a job of a Ray cluster to its end: what it prints, and its exit code."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from orchestrator.errors import ClusterError

SECONDS_WITHOUT_AN_ANSWER = 60.0
"""After which a cluster that does not answer is given up. The search, if it lives, goes on."""
FAILED, INTERRUPTED = 1, 130


def follow(client: Any, job: str, show: Callable[[str], None]) -> int:
    """Show what the job prints, from its beginning, until it ends. Returns its exit code.

    A connection that breaks is made again, and what was shown is not shown twice.

    Raises:
        ClusterError: the cluster has not answered for `SECONDS_WITHOUT_AN_ANSWER`.
    """
    shown = 0
    last_answer = time.monotonic()

    async def tail() -> None:
        nonlocal shown, last_answer
        passed = 0
        async for text in client.tail_job_logs(job):
            last_answer = time.monotonic()
            new = text[max(0, shown - passed) :]
            passed += len(text)
            if new:
                show(new)
            shown = max(shown, passed)

    while True:
        try:
            asyncio.run(tail())
            info = client.get_job_info(job)
        except Exception as error:  # whatever the network makes of it
            if time.monotonic() - last_answer > SECONDS_WITHOUT_AN_ANSWER:
                raise ClusterError(
                    f"the cluster does not answer any more: {str(error).strip().splitlines()[0]}",
                    "If the head lives, the search goes on: the same command follows it again.",
                ) from error
        else:
            last_answer = time.monotonic()
            if info.status.is_terminal():
                return exit_code_of(info)
        time.sleep(0.5)


def exit_code_of(info: Any) -> int:
    """The exit code of a job that has ended: its command's, 130 if it was stopped, 1 if it never ran."""
    if info.status == "STOPPED":
        return INTERRUPTED
    if info.status == "SUCCEEDED":
        return 0
    code = info.driver_exit_code
    return int(code) if code is not None and code > 0 else FAILED
