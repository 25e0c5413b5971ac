"""A search for the cluster that this file is submitted to; written by `equipoise cluster launcher`.

    ray submit cluster.yaml launch.py -- -n 40

What follows `--` are options of `equipoise search`. The search runs as a job of the cluster: it goes on when the
connection is lost, and the same command follows it again. `--again` starts another one.
"""

import sys

NAME = ""
EXPERIMENT = ""
OPTIONS: tuple[str, ...] = ()

if __name__ == "__main__":
    try:
        from orchestrator.launch.head import launch
    except ModuleNotFoundError as error:
        missing = f"error: {error.name} is not installed on the head"
        sys.exit(f"{missing}\nhint: see setup_commands in cluster.yaml\nexit code: 5")
    launch(NAME, EXPERIMENT, (*OPTIONS, *sys.argv[1:]))
