"""What a launcher does on the head of a cluster: start the search as a job there, and follow it."""

import os
import sys
from collections.abc import Sequence

from orchestrator.errors import EquipoiseError
from orchestrator.launch.remote import run_elsewhere
from orchestrator.launch.submission import Submission

DASHBOARD = "http://127.0.0.1:8265"
"""Where a head's dashboard listens unless `RAY_API_SERVER_ADDRESS` says otherwise."""


def launch(name: str, experiment: str, options: Sequence[str]) -> None:
    """Run a search on this cluster. Ends the process; the last line is the true exit code.

    `ray submit` itself can only return 0 or 1.
    """
    again = "--again" in options
    submission = Submission(name, experiment, tuple(option for option in options if option != "--again"))
    try:
        code = run_elsewhere(os.environ.get("RAY_API_SERVER_ADDRESS", DASHBOARD), submission, again=again)
    except EquipoiseError as error:
        sys.stdout.write(f"error: {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        code = error.exit_code
    sys.stdout.write(f"exit code: {code}\n")
    sys.exit(code)
