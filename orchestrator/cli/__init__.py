"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

import logging
import os
import sys
from pathlib import Path

from orchestrator.cli import preparing, running, looking  # noqa: F401 isort: skip - in the order of the help
from orchestrator.cli.application import app
from orchestrator.launch.commands import app as cluster
from orchestrator.resuming.interrupts import handle_interrupts

app.add_typer(cluster)

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line."""
    handle_interrupts()
    sys.path.insert(0, str(Path.cwd()))  # for `model.backbone: my_pkg.nets:build`, as `python -m` would
    try:
        app()
    except SystemExit as exit_:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        # Everything is closed. To take Ray's and torch's modules apart would take another 0.6 s.
        os._exit(exit_.code if isinstance(exit_.code, int) else 1)
