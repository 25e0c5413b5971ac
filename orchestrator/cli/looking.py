"""Commands that look at results and at the machine: show, ui, doctor, clean."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.application import app
from orchestrator.cli.options import AsJson, Overrides, Storage
from orchestrator.cli.output import silence_libraries, stdout_kept_for_results


@app.command()
def show(
    search_id: Annotated[str | None, typer.Argument(metavar="SEARCH", help="Default: the latest.")] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Only trials that no other one beats in everything.")
    ] = False,
    output_format: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    storage: Storage = Path("equipoise_runs"),
) -> None:
    """Show the trials of a search."""
    from orchestrator.report.tables import show_search

    show_search(storage, search_id, pareto=pareto, output_format=output_format)


@app.command()
def ui(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 5000,
    tracking_uri: Annotated[
        str, typer.Option("--tracking-uri", help="Default: as in experiment files.")
    ] = "auto",
) -> None:
    """Open MLflow's UI on this project's results."""
    from orchestrator.tracking.ui import run_ui
    from orchestrator.tracking.uri import resolve_tracking_uri

    run_ui(resolve_tracking_uri(tracking_uri, Path.cwd()), host=host, port=port)


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(metavar="EXPERIMENT.yaml", help="Whose places and store are looked at.")
    ] = None,
    overrides: Overrides = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Close runs whose process was killed; tell MLflow what it missed.")
    ] = False,
    storage: Annotated[
        Path | None, typer.Option(help="Folder of the runs that are looked at. Default: the experiment's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what would break a run here: packages, memory, disks, sockets, ports, GPUs, Ray, MLflow, killed runs."""
    from orchestrator.doctor.examine import examine
    from orchestrator.doctor.finding import exit_code, print_findings
    from orchestrator.spec import load_spec

    silence_libraries()
    with stdout_kept_for_results() if as_json else contextlib.nullcontext():
        findings = examine(
            load_spec(config, overrides or []) if config is not None else None, fix=fix, storage=storage
        )
    print_findings(findings, as_json=as_json)
    raise typer.Exit(exit_code(findings))


@app.command()
def clean(
    search_id: Annotated[str | None, typer.Argument(metavar="SEARCH", help="Default: all.")] = None,
    storage: Storage = Path("equipoise_runs"),
    with_cache: Annotated[bool, typer.Option("--cache", help="Decoded images too.")] = False,
    really: Annotated[bool, typer.Option("--yes", help="Free it; without, only show.")] = False,
) -> None:
    """Show what results take on disk, and free what neither a resume nor the Pareto set needs."""
    from orchestrator.checkpoints.clean import clean as run
    from trainables.data.cache import cache_root

    run(storage, search_id, cache_root(None, Path.cwd()) if with_cache else None, really=really)
