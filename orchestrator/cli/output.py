"""What goes to stdout and stderr besides results."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def stdout_kept_for_results() -> Iterator[None]:
    """Send whatever libraries and the user's own modules print to stderr instead."""
    sys.stdout.flush()
    results = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(results, 1)
        os.close(results)


def silence_libraries() -> None:
    """Ray's and MLflow's own messages are for `--verbose`."""
    for name in ("ray", "mlflow", "optuna", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(
        logging.CRITICAL
    )  # failed trials are told by the display and the ending
