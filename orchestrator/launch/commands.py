"""`equipoise cluster`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="cluster", help="Searches on a Ray cluster.", no_args_is_help=True)


@app.callback()
def cluster() -> None:
    """Searches on a Ray cluster: ray up cluster.yaml, then ray submit cluster.yaml launch.py -- -n 40."""


@app.command()
def launcher(
    config: Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = Path("launch.py"),
    overrides: Annotated[
        list[str] | None, typer.Option("-s", "--set", metavar="KEY=VALUE", help="Override a key. Repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write the file that `ray submit` runs on a cluster, with the experiment in it."""
    from orchestrator.launch.launcher import write_launcher
    from orchestrator.spec import load_spec

    typer.echo(write_launcher(load_spec(config, overrides or []), output, force=force))
