"""Weights to start from: which file `model.weights: runs:/…` means, and whether a resume needs one that is gone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.runs.journal import FILE_NAME
from orchestrator.spec import ExperimentSpec
from orchestrator.tracking.earlier_runs import folder_of_run
from orchestrator.tracking.state import read_state
from orchestrator.tracking.uri import resolve_tracking_uri, without_login
from search_spaces.values import Value
from trainables.config.model import EARLIER_RUN

if TYPE_CHECKING:
    from orchestrator.resuming.replay import History  # imports NumPy, without which a file can be checked

MODEL = Path("best") / "state.safetensors"
"""The model of the selected epoch, in a trial's folder."""
KEY = "model.weights"


def with_earlier_models(spec: ExperimentSpec, *, resumed: bool = False) -> ExperimentSpec:
    """`spec`, in whose trials every `runs:/…` of `model.weights`, searched or not, is a file.

    Of a run that is `resumed`, what is not there any more keeps its name: trials that have a state do not need it.

    Raises:
        ConfigError: there is no such run, or it kept no model.
        TrackingError: MLflow has to be asked and does not answer.
    """
    named = {
        weights for weights in _weights(spec) if isinstance(weights, str) and EARLIER_RUN.fullmatch(weights)
    }
    if not named:
        return spec
    storage, uri = Path(spec.tracking.storage).absolute(), resolve_tracking_uri(spec.tracking)
    files = {}
    for weights in named:
        try:
            files[weights] = str(find_model(weights, storage, uri))
        except ConfigError:
            if not resumed:
                raise
    return spec.with_earlier_models(files)


def require_weights(spec: ExperimentSpec, earlier: "History", trials: int) -> None:
    """Make sure that of what is left of a run, not all begins from weights that are gone.

    Trials would fail for good; so they can be resumed when the weights are back. One trial of many fails alone.

    Args:
        spec: the experiment, `with_earlier_models`.
        earlier: what there is of the run.
        trials: how many there will be.

    Raises:
        ConfigError: all of it does.
    """
    needed = [
        None if (earlier.directory / "trials" / trial / "last").exists() else _file(spec, values)
        for trial, values in earlier.unfinished.items()
    ]
    if earlier.trials < trials:
        needed += [_file(spec, {KEY: weights}) for weights in _weights(spec)]
    gone = [file for file in needed if file is not None and not file.exists()]
    if gone and len(gone) == len(needed):
        raise ConfigError(
            f"{KEY}: {gone[0]} is not there any more, and all that is left of {earlier.started['search_id']} begins "
            "from it.",
            "Bring it back, and resume then.",
        )


def find_model(weights: str, storage: Path, tracking_uri: str) -> Path:
    """The file that `runs:/<search>/<trial>`, `runs:/<training>` or `runs:/<MLflow run id>` means.

    A run of `storage` is found there; MLflow is asked for the folder of any other one.

    Raises:
        ConfigError: there is none.
        TrackingError: MLflow has to be asked and does not answer.
    """
    parts = EARLIER_RUN.fullmatch(weights)
    if parts is None:
        raise ConfigError(f"{KEY}: {weights!r} names no run.", "Write runs:/<search>/<trial>.")
    run, trial = parts["run"], parts["trial"]
    if (storage / run / FILE_NAME).is_file():
        return _model_of(storage / run, trial, weights)
    if trial is None and (known := _known_by_mlflow_as(run, storage)) is not None:
        return _model_of(*known, weights)
    folder = folder_of_run(tracking_uri, run) if trial is None else None
    if folder is None:
        raise ConfigError(
            f"{KEY}: there is no run {run!r} in {storage}"
            + (f", and MLflow at {without_login(tracking_uri)} knows none." if trial is None else "."),
            "Write runs:/<search>/<trial>, or runs:/ and MLflow's run id; `equipoise show` lists both.",
        )
    return _model_of(folder.parent.parent, folder.name, weights)


def _model_of(search: Path, trial: str | None, weights: str) -> Path:
    """The model of a trial of `search`; of its only one where none is named."""
    kept = sorted(path.parent.parent.name for path in search.glob(f"trials/*/{MODEL}"))
    if not trial and len(kept) == 1:
        (trial,) = kept
    if trial in kept:
        return search / "trials" / str(trial) / MODEL
    listed = ", ".join(kept[:10]) + (f" and {len(kept) - 10} more" if len(kept) > 10 else "")
    problem = (
        f"trial {trial} of {search.name} kept no model" if trial else f"{search.name} has several trials"
    )
    if not kept:
        raise ConfigError(f"{KEY}: {weights}: no trial of {search} kept a model.")
    raise ConfigError(
        f"{KEY}: {weights}: {problem}.", f"Write runs:/{search.name}/{kept[0]}. Models are kept of: {listed}."
    )


def _known_by_mlflow_as(run_id: str, storage: Path) -> tuple[Path, str] | None:
    """Search and trial of `storage` that MLflow calls `run_id`, by what its writer remembers."""
    for journal in storage.glob(f"*/{FILE_NAME}"):
        for trial, known in read_state(journal.parent).runs.items():
            if known == run_id:
                return journal.parent, trial
    return None


def _file(spec: ExperimentSpec, values: Mapping[str, Value]) -> Path | None:
    """The file that the trial of `values` begins from, if any."""
    try:
        weights = spec.trial_config_with(values).model.weights
    except ValueError:  # it makes no trial, whatever the weights
        return None
    return None if weights in (None, "default") else Path(weights)


def _weights(spec: ExperimentSpec) -> Iterator[Any]:
    """Every `model.weights` that a trial may have."""
    yield spec.model.weights
    space = spec.search.space if isinstance(spec.search.space, Mapping) else {}
    for key in ("model", KEY):
        for value in getattr(space.get(key), "values", ()):
            yield value.get("weights") if isinstance(value, Mapping) else value
