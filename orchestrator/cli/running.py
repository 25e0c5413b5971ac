"""Commands that train: train, search, demo, resume, rerun."""

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.application import app
from orchestrator.cli.conduct import conduct_run, run_from_file
from orchestrator.cli.options import AsJson, ConfigFile, Overrides, Storage, Trials, Verbose
from orchestrator.cli.output import silence_libraries, stdout_kept_for_results
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.report.records import SearchRecord
    from orchestrator.runs.folder import Listener

RUN_FAILED = 1


@app.command()
def train(
    config: ConfigFile, overrides: Overrides = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """Train once, as the file says."""
    from orchestrator.training_run import train as run

    run_from_file(run, config, overrides, as_json=as_json, verbose=verbose)


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

    run_from_file(run_search, config, _with_trials(overrides, trials), as_json=as_json, verbose=verbose)


@app.command()
def demo(
    overrides: Overrides = None, trials: Trials = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """Run a real search on the embedded digits: two tasks that compete for a narrow model."""
    from orchestrator.experiment import run_search

    config = Path(__file__).parents[1] / "demo.yaml"
    run_from_file(run_search, config, _with_trials(overrides, trials), as_json=as_json, verbose=verbose)


@app.command()
def resume(
    search_id: Annotated[str | None, typer.Argument(metavar="SEARCH", help="Default: the latest.")] = None,
    storage: Storage = Path("equipoise_runs"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Go on with what was interrupted; of a finished run, tell MLflow what it missed and print the ending."""
    from orchestrator.report.find import find_search
    from orchestrator.resuming.replay import read_history
    from orchestrator.resuming.resumption import resume as run

    directory = find_search(storage, search_id).resolve()
    earlier = read_history(directory)

    def conduct(listeners: tuple["Listener", ...]) -> "SearchRecord":
        return run(directory, listeners=listeners, verbose=verbose)

    _enter(earlier.started.get("working_directory"))
    conduct_run(conduct, as_json=as_json, verbose=verbose, earlier=earlier)


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
    from orchestrator.report.comparison import print_comparison
    from orchestrator.report.find import find_search
    from orchestrator.resuming.replay import read_history
    from orchestrator.resuming.rerun import rerun as run

    directory = find_search(storage, search_id).resolve()
    if not verbose:
        silence_libraries()
    _enter(read_history(directory).started.get("working_directory"))
    with stdout_kept_for_results() if as_json else contextlib.nullcontext():
        found = run(directory, trial, verbose=verbose)
    print_comparison(found, as_json=as_json)
    raise typer.Exit(RUN_FAILED if check and not found.is_equal else 0)


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


def _enter(folder: str | None) -> None:
    """Work in the folder where a run was started: its own modules are found from there."""
    if folder is not None and Path(folder).is_dir():
        os.chdir(folder)
        sys.path.insert(0, folder)
