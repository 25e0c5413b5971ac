"""Commands before a run: init, check, probe, schema."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.application import app
from orchestrator.cli.options import AsJson, ConfigFile, Overrides
from orchestrator.cli.output import stdout_kept_for_results


@app.command()
def init(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Table, folder, NAME=FOLDER..., idx:DIR or builtin:NAME."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = Path("experiment.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented experiment file, with tasks guessed from your data."""
    from orchestrator.init.run import initialise

    typer.echo(initialise(sources, output, force=force))


@app.command()
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    config_only: Annotated[bool, typer.Option("--config-only", help="The file alone, in a blink.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say everything that can be known without training: file, data, labels, splits, images."""
    from orchestrator.check.run import check_experiment, print_report

    with stdout_kept_for_results() if as_json else contextlib.nullcontext():
        report = check_experiment(config, overrides or [], config_only=config_only)
    print_report(report, as_json=as_json)
    raise typer.Exit(report.exit_code)


@app.command()
def probe(
    config: ConfigFile,
    overrides: Overrides = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="To train; default 2, or all of the file if fewer.")
    ] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Steps from look to look.")] = 5,
    threshold: Annotated[
        float, typer.Option("--threshold", min=-1, max=1, help="Cosines below it are conflicts.")
    ] = -0.1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File for the space.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train briefly, see where in the backbone tasks conflict, and propose where to branch: a search space."""
    from rich.console import Console

    from orchestrator.new_file import require_new, write_new
    from orchestrator.probe.report import as_yaml
    from orchestrator.probe.run import probe as run
    from orchestrator.report.decoding import Decoding
    from orchestrator.runs.folder import decoding_to
    from orchestrator.spec import load_spec

    spec = load_spec(config, overrides or [])
    if output is not None:
        require_new(output, force=force)
    with stdout_kept_for_results():
        report = run(
            spec,
            epochs=epochs,
            every=every,
            threshold=threshold,
            tell=(lambda line: None) if as_json else (lambda line: typer.echo(line, err=True)),
            decoding=decoding_to(() if as_json else (Decoding(Console(stderr=True)).show,)),
        )
    if output is not None:
        write_new(as_yaml(report), output, force=force)
    if as_json:
        typer.echo(json.dumps(report.as_event()))
    elif output is not None:
        typer.echo(f"{report.verdict} Written to {output}.")
    else:
        typer.echo(as_yaml(report), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from orchestrator.spec.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
