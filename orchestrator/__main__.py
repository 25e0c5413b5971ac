"""`python -m orchestrator` is the `equipoise` command."""

from orchestrator.cli import main

main()
