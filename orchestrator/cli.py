"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from orchestrator.errors import ConfigError, EquipoiseError
from orchestrator.interrupts import INTERRUPTED, handle_interrupts
from orchestrator.launch.commands import app as cluster
from orchestrator.redaction import redacted
from trainables.errors import DataError

if TYPE_CHECKING:
    from orchestrator.replay import History
    from orchestrator.report.records import SearchRecord
    from orchestrator.run_folder import Listener

RUN_FAILED = 1
DATA = 3


class Commands(TyperGroup):
    """Ends every failure that a user can mend with one message and its exit code, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except EquipoiseError as error:
            _fail(error.message, error.hint)
            raise typer.Exit(error.exit_code) from None
        except DataError as error:
            _fail(f"{error.key}: {error.message}" if error.key else error.message, error.hint)
            raise typer.Exit(DATA) from None
        except KeyboardInterrupt:
            _fail("interrupted", "")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="equipoise",
    cls=Commands,
    help="Search multi-task image models from one YAML file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cluster)

ConfigFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-s", "--set", metavar="KEY=VALUE", help="Override a key (dotted); null removes it. Repeatable."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Machine-readable lines on stdout, and nothing else there.")
]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="Also show what Ray prints (MLflow: tracking.log)."),
]
Trials = Annotated[
    int | None, typer.Option("-n", "--trials", min=1, metavar="N", help="Same as -s search.trials=N.")
]
Storage = Annotated[
    Path,
    typer.Option("--storage", metavar="DIR", help="Folder of journals and checkpoints (tracking.storage)."),
]


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
    from orchestrator.initialise import initialise

    typer.echo(initialise(sources, output, force=force))


@app.command()
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    config_only: Annotated[bool, typer.Option("--config-only", help="The file alone, in a blink.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say everything that can be known without training: file, data, labels, splits, images."""
    from orchestrator.check import check_experiment, print_report

    with _stdout_kept_for_results() if as_json else contextlib.nullcontext():
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
    from orchestrator.run_folder import decoding_to
    from orchestrator.spec import load_spec

    spec = load_spec(config, overrides or [])
    if output is not None:
        require_new(output, force=force)
    with _stdout_kept_for_results():
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
def train(
    config: ConfigFile, overrides: Overrides = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """Train once, as the file says."""
    from orchestrator.training_run import train as run

    _run(run, config, overrides, as_json=as_json, verbose=verbose)


@app.command()
def search(
    config: ConfigFile,
    overrides: Overrides = None,
    trials: Trials = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
    address: Annotated[
        str | None,
        typer.Option(
            "--address", help="Ray to run on: http://host:8265 (as a job there), host:6379 or auto."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="With http://: not the search of before, but another one.")
    ] = False,
) -> None:
    """Run the search."""
    if (address or "").startswith(("http://", "https://")):
        raise typer.Exit(_search_elsewhere(str(address), config, overrides, trials, as_json, again))
    if again:
        raise ConfigError("--again is for jobs", "Give --address http://host:8265 with it, or leave it out.")
    if address is not None:
        os.environ["RAY_ADDRESS"] = address
    from orchestrator.experiment import run_search

    _run(run_search, config, _with_trials(overrides, trials), as_json=as_json, verbose=verbose)


@app.command()
def demo(
    overrides: Overrides = None, trials: Trials = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """Run a real search on the embedded digits: two tasks that compete for a narrow model."""
    from orchestrator.experiment import run_search

    config = Path(__file__).with_name("demo.yaml")
    _run(run_search, config, _with_trials(overrides, trials), as_json=as_json, verbose=verbose)


@app.command()
def resume(
    search_id: Annotated[str | None, typer.Argument(metavar="SEARCH", help="Default: the latest.")] = None,
    storage: Storage = Path("equipoise_runs"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Go on with a search or training that was interrupted; of a finished one, print the ending."""
    from orchestrator.replay import read_history
    from orchestrator.report.records import find_search
    from orchestrator.resumption import resume as run

    directory = find_search(storage, search_id).resolve()
    earlier = read_history(directory)

    def conduct(listeners: tuple["Listener", ...]) -> "SearchRecord":
        return run(directory, listeners=listeners, verbose=verbose)

    _enter(earlier.started.get("working_directory"))
    _conduct(conduct, as_json=as_json, verbose=verbose, earlier=earlier)


@app.command()
def rerun(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="As `show` names it: t003.")],
    search_id: Annotated[str | None, typer.Option("--search", help="Default: the latest.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if anything came out differently.")
    ] = False,
    storage: Storage = Path("equipoise_runs"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Run a trial again, and compare every epoch with what was recorded, bit by bit."""
    from orchestrator.replay import read_history
    from orchestrator.report.comparison import print_comparison
    from orchestrator.report.records import find_search
    from orchestrator.rerun import rerun as run

    directory = find_search(storage, search_id).resolve()
    if not verbose:
        _silence_libraries()
    _enter(read_history(directory).started.get("working_directory"))
    with _stdout_kept_for_results() if as_json else contextlib.nullcontext():
        found = run(directory, trial, verbose=verbose)
    print_comparison(found, as_json=as_json)
    raise typer.Exit(RUN_FAILED if check and not found.is_equal else 0)


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
    fix: Annotated[bool, typer.Option("--fix", help="Close runs whose process was killed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what would break a run here: packages, memory, disks, sockets, GPUs, Ray, MLflow, killed runs."""
    from orchestrator.doctor.examine import examine
    from orchestrator.doctor.finding import exit_code, print_findings
    from orchestrator.spec import load_spec

    _silence_libraries()
    with _stdout_kept_for_results() if as_json else contextlib.nullcontext():
        findings = examine(load_spec(config, overrides or []) if config is not None else None, fix=fix)
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


@app.command()
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors."""
    from orchestrator.spec.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def _fail(message: str, hint: str) -> None:
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(redacted(message), err=True)
    if hint:
        typer.secho("hint: ", fg="cyan", nl=False, err=True)
        typer.echo(hint, err=True)


def _with_trials(overrides: list[str] | None, trials: int | None) -> list[str]:
    return [*(overrides or []), *([] if trials is None else [f"search.trials={trials}"])]


def _search_elsewhere(
    address: str, config: Path, overrides: list[str] | None, trials: int | None, as_json: bool, again: bool
) -> int:
    """Have a cluster run the search as a job, and follow it."""
    from orchestrator.launch.remote import run_elsewhere
    from orchestrator.launch.submission import Submission
    from orchestrator.spec import load_spec

    changes = _with_trials(overrides, trials)
    spec = load_spec(config, changes)
    options = [part for change in changes for part in ("-s", change)] + ["--json"] * as_json
    submission = Submission(spec.name, spec.text, tuple(options))
    return run_elsewhere(address, submission, again=again, only_result=as_json)


def _run(
    conduct: Callable[..., "SearchRecord"],
    config: Path,
    overrides: list[str] | None,
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    """Load the file, conduct the run under a display, print its ending, and exit with its code."""
    from orchestrator.spec import load_spec

    spec = load_spec(config, overrides or [])
    _conduct(
        lambda listeners: conduct(spec, listeners=listeners, verbose=verbose),
        as_json=as_json,
        verbose=verbose,
    )


def _conduct(
    conduct: Callable[[tuple["Listener", ...]], "SearchRecord"],
    *,
    as_json: bool,
    verbose: bool,
    earlier: "History | None" = None,
) -> None:
    """Conduct a run under a display, print its ending, and exit with its code. `earlier`: of one that goes on."""
    from orchestrator.report.display import open_display
    from orchestrator.report.ending import exit_code, print_ending
    from orchestrator.report.records import read_search

    if not verbose:
        _silence_libraries()
    begun: list[Path] = []

    def follow(event: dict[str, Any]) -> None:
        if event["event"] in ("search_started", "search_resumed"):
            begun.append(Path(event["directory"]))

    with _stdout_kept_for_results() if as_json else contextlib.nullcontext():
        try:
            with open_display(as_json=as_json) as display:
                if earlier is not None:
                    display.recall(earlier.events)
                record = conduct((follow, display.on_event))
        except KeyboardInterrupt:
            if not begun:
                raise
            record = read_search(begun[0])
    print_ending(record, as_json=as_json)
    raise typer.Exit(exit_code(record))


def _enter(folder: str | None) -> None:
    """Work in the folder where a run was started: its own modules are found from there."""
    if folder is not None and Path(folder).is_dir():
        os.chdir(folder)
        sys.path.insert(0, folder)


@contextlib.contextmanager
def _stdout_kept_for_results() -> Iterator[None]:
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


def _silence_libraries() -> None:
    """Ray's and MLflow's own messages are for `--verbose`."""
    for name in ("ray", "mlflow", "optuna", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(
        logging.CRITICAL
    )  # failed trials are told by the display and the ending


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
