"""The process that turns a journal into MLflow runs: `python -m orchestrator.tracking.writer DIRECTORY --parent PID`.

It is a process of its own so that MLflow's imports and its database never hold up the search, and it is nice:
training comes first on shared cores. Started by a search, or by who finds something untold, it ends once the end of the
search is told, or once its parent is gone and everything is.
"""

import argparse
import contextlib
import gc
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from orchestrator.tracking.process import SHORT_SECONDS

NICENESS = 10
"""Training comes first. More than that, and on a machine with other work the end waits for the last batch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Follow the journal of one search; 0 if MLflow was told everything."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.tracking.writer", description="Journal to MLflow."
    )
    parser.add_argument("directory", type=Path, help="folder of the search")
    parser.add_argument("--parent", type=int, required=True, help="process id of who started it")
    options = parser.parse_args(arguments)
    os.nice(NICENESS)
    # A short search would wait a second longer at its end for what was not told in time.
    give_way = threading.Timer(SHORT_SECONDS, _give_way)
    give_way.daemon = True
    give_way.start()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    for noisy in ("alembic", "mlflow", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    gc.disable()  # looking for garbage among MLflow's modules is a tenth of the time their import takes
    from orchestrator.tracking.follower import Follower

    gc.freeze()
    gc.enable()
    return Follower(options.directory.resolve(), options.parent).run()


def _give_way() -> None:
    """Have training come first also where Linux shares cores between sessions first, and within them only then.

    There (`sched_autogroup_enabled`) a process's niceness counts within its session, and the writer's is its own: it
    could take as much of a core as a slot.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)  # to take MLflow's modules apart takes 0.3 s, for which the end of a search would wait
