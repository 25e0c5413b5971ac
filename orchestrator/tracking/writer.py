"""The process that turns a journal into MLflow runs: `python -m orchestrator.tracking.writer DIRECTORY --parent PID`.

It is a process of its own so that MLflow's imports and its database never hold up the search, and it is nice:
training comes first on shared cores. Started by a search, or by who finds something untold, it ends once the end of the
search is told, or once its parent is gone and everything is.
"""

import argparse
import gc
import logging
import os
from collections.abc import Sequence
from pathlib import Path

NICENESS = 10
"""At 10 the last batch, for which the search waits, took 2 s longer on a machine with other work to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Follow the journal of one search; 0 if MLflow was told everything."""
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.tracking.writer", description="Journal to MLflow."
    )
    parser.add_argument("directory", type=Path, help="folder of the search")
    parser.add_argument("--parent", type=int, required=True, help="process id of who started it")
    options = parser.parse_args(arguments)
    os.nice(NICENESS)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    for noisy in ("alembic", "mlflow", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    gc.disable()  # looking for garbage among MLflow's modules is a tenth of the time their import takes
    from orchestrator.tracking.follower import Follower

    gc.freeze()
    gc.enable()
    return Follower(options.directory.resolve(), options.parent).run()


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    os._exit(code)  # to take MLflow's modules apart takes 0.3 s, for which the end of a search would wait
