"""A search on a cluster that is elsewhere, seen from who waits for it."""

import sys

from orchestrator.launch.follow import INTERRUPTED, follow
from orchestrator.launch.submission import Submission, job_client, start_or_find


def run_elsewhere(
    address: str, submission: Submission, *, again: bool = False, only_result: bool = False
) -> int:
    """Start a search at the dashboard `address`, or find it there, and follow it. Returns its exit code.

    Ctrl-C ends the following, not the search.

    Args:
        address: of the cluster's dashboard, http://host:8265.
        submission: the search.
        again: start another one if the last one has ended.
        only_result: show nothing but the last line, which is for programs (`--json`).

    Raises:
        ClusterError: no dashboard answers, it takes no job, or it stops answering.
    """
    client = job_client(address)
    job, started = start_or_find(client, submission, again=again)
    printed: list[str] = []

    def show(text: str) -> None:
        printed.append(text)
        if not only_result:
            sys.stdout.write(text)
            sys.stdout.flush()

    try:
        _tell(f"{'started' if started else 'following'} the job {job}; it goes on without this connection")
        code = follow(client, job, show)
    except KeyboardInterrupt:
        _tell(f"the search goes on: the same command follows it again, `ray job stop {job}` ends it")
        return INTERRUPTED
    if only_result:
        lines = "".join(printed).splitlines()
        sys.stdout.write(next((line + "\n" for line in reversed(lines) if line.startswith("{")), ""))
        if code not in (0, 4):
            sys.stderr.write("".join(printed))
    if not started:
        _tell("this was the search of before; --again starts another")
    return code


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
