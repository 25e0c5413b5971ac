"""Tells MLflow: the one place where its client is called to write runs."""

import json
import os
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Waiting and trying again is the writer's own business; MLflow's would block for minutes, deaf to signals.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from mlflow.version import VERSION

from orchestrator.errors import TrackingError
from orchestrator.machines.scratch import scratch_folder
from orchestrator.tracking.database import create_database
from orchestrator.tracking.note import model_note
from orchestrator.tracking.runs import SEARCH, RunUpdate
from orchestrator.tracking.scheme import TAG
from orchestrator.tracking.state import TrackingState
from orchestrator.tracking.uri import artifact_root, is_remote
from orchestrator.tracking.views import outdated

CONTEXT = "mlflow.data.context"
"""Tag of a run's dataset: training, validation or test."""
_PAGE = 1000
_REFUSALS = {ErrorCode.Name(code) for code in (INVALID_PARAMETER_VALUE, PERMISSION_DENIED)}


def tag_of_run(uri: str, run_id: str, tag: str) -> str | None:
    """What a tag of one run says; None if there is no such run, or it has no such tag."""
    try:
        run = MlflowClient(tracking_uri=uri).get_run(run_id)
    except MlflowException as error:
        if error.error_code in (
            ErrorCode.Name(RESOURCE_DOES_NOT_EXIST),
            ErrorCode.Name(INVALID_PARAMETER_VALUE),
        ):
            return None
        raise
    found: str | None = run.data.tags.get(tag)
    return found


class MlflowStore:
    """Applies updates to one MLflow store; opening it creates a SQLite database that is not there yet.

    Args:
        uri: absolute tracking URI.
        experiment: name of the experiment, created if need be.
        uid: the search's own tag, by which its runs are found again when their ids were lost.
        state: ids MLflow gave; new ones are added to it.
    """

    def __init__(self, uri: str, experiment: str, uid: str, state: TrackingState) -> None:
        self._uri, self._uid, self._state = uri, uid, state
        create_database(uri, uid)
        self._client = MlflowClient(tracking_uri=uri)
        self._experiment_id = state.experiment_id or self._open_experiment(experiment)
        state.experiment_id = self._experiment_id
        self._known = False
        self._artifacts: dict[str, str] = {}

    def _open_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            root = artifact_root(self._uri)
            location = None if root is None else f"{root}/{name}"
            return str(self._client.create_experiment(name, artifact_location=location))
        if found.lifecycle_stage == LifecycleStage.DELETED:
            raise TrackingError(
                f"The experiment {name!r} was deleted in MLflow.",
                "Restore it there, remove it for good (`mlflow gc`), or choose another `name`.",
            )
        return str(found.experiment_id)

    def tell(self, update: RunUpdate) -> str | None:
        """Bring one run up to date, creating it if need be.

        Returns:
            Why MLflow refused the update for good (a deleted run, say); None if all is well.

        Raises:
            Exception: MLflow cannot be reached; the whole update is to be told again.
        """
        try:
            self._tell(update)
        except MlflowException as error:
            if error.error_code == ErrorCode.Name(INVALID_PARAMETER_VALUE):
                return str(error.message)
            self._known = False  # the call may have had its effect all the same
            raise
        except Exception:
            self._known = False
            raise
        return None

    def version(self) -> str | None:
        """MLflow's version: of the server where there is one; None if it does not say."""
        if not is_remote(self._uri):
            return VERSION
        if urlsplit(self._uri).scheme not in ("http", "https"):
            return None
        answer: Any = http_request(get_default_host_creds(self._uri), "/version", "GET")  # type: ignore[no-untyped-call]
        return str(answer.text) if answer.status_code == HTTPStatus.OK else None

    def save_views(self, tags: Mapping[str, str]) -> str | None:
        """Set tags of the experiment that hold views, and remove old ones of ours; why MLflow refused, if it did."""
        try:
            for key, text in tags.items():
                self._client.set_experiment_tag(self._experiment_id, key, text)
            for key in outdated(self._client.get_experiment(self._experiment_id).tags):
                self._client.delete_experiment_tag(self._experiment_id, key)
        except MlflowException as error:
            if error.error_code in _REFUSALS:
                return str(error.message)
            raise
        return None

    def annotate(self, note: str, trials: str) -> None:
        """Set the note of the search's own run, and write all trials, as CSV, beside it."""
        run_id = self._state.runs[SEARCH]
        self._write_file(run_id, "trials.csv", trials)
        self._client.set_tag(run_id, "mlflow.note.content", note)

    def attach(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Log artifacts by path, `images/…` among them as MLflow's image grid expects them."""
        repository = self._repository(run_id)
        with scratch_folder() as temporary:
            for path, content in files.items():
                file = temporary / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            repository.log_artifacts(str(temporary))
        self._client.set_tag(run_id, "mlflow.loggedImages", "true")

    def log_model(
        self, run_id: str, name: str, folder: Path, params: Mapping[str, str], metrics: Mapping[str, float]
    ) -> str:
        """Log a saved MLflow model as the output of a run, with the run's params and metrics; its id."""
        model = self._client.create_logged_model(
            self._experiment_id, name, source_run_id=run_id, params=dict(params), model_type="equipoise"
        )
        model_id = str(model.model_id)
        self._client.log_model_artifacts(model_id, str(folder))
        self._client.set_logged_model_tags(model_id, {"mlflow.note.content": model_note(model_id)})
        self._client.finalize_logged_model(model_id, LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
        run = self._client.get_run(run_id)
        inputs = run.inputs.dataset_inputs if run.inputs else []
        on = next((own.dataset for own in inputs if _context(own) == "validation"), None)
        measured: Any = {"model_id": model_id, "run_id": run_id}
        if on is not None:
            measured |= {"dataset_name": on.name, "dataset_digest": on.digest}
        self._client.log_batch(
            run_id,
            [Metric(key, value, run.info.end_time, 0, **measured) for key, value in metrics.items()],
        )
        return model_id

    def _tell(self, update: RunUpdate) -> None:
        if not self._known:
            self._find_runs()
        tags, run_id = update.tags, self._state.runs.get(update.trial)
        if run_id is None:
            run_id = self._create(update)
            tags = {}
        self._client.log_batch(
            run_id,
            metrics=[
                Metric(metric.key, metric.value, metric.timestamp, metric.step) for metric in update.metrics
            ],
            params=[Param(key, value) for key, value in update.params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        if update.datasets:
            self._client.log_inputs(run_id, datasets=_dataset_inputs(update.datasets))
        for path, text in update.files.items():
            self._write_file(run_id, path, text)
        if update.status == "RUNNING":
            self._client.update_run(run_id, status="RUNNING")
        elif update.status is not None:
            self._client.set_terminated(run_id, status=update.status, end_time=update.ended)

    def _write_file(self, run_id: str, path: str, text: str) -> None:
        """Log a text artifact. To know where a run's artifacts are saves loading the whole run."""
        repository = self._repository(run_id)
        folder, _, name = path.rpartition("/")
        with scratch_folder() as temporary:
            file = temporary / name
            file.write_text(text)
            repository.log_artifact(str(file), folder or None)

    def _repository(self, run_id: str) -> Any:
        if run_id not in self._artifacts:
            self._artifacts[run_id] = self._client.get_run(run_id).info.artifact_uri
        return get_artifact_repository(self._artifacts[run_id], tracking_uri=self._uri)

    def _create(self, update: RunUpdate) -> str:
        tags = {**update.identity, **update.tags}
        if update.nested:
            tags["mlflow.parentRunId"] = self._state.runs[SEARCH]
        run = self._client.create_run(self._experiment_id, update.started, tags, update.name)
        run_id = str(run.info.run_id)
        self._state.runs[update.trial] = run_id
        self._artifacts[run_id] = run.info.artifact_uri
        return run_id

    def _find_runs(self) -> None:
        """Learn of runs that were created without our hearing of it (a lost answer, a lost state file)."""
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`{TAG}uid` = '{self._uid}'",
                run_view_type=ViewType.ALL,
                max_results=_PAGE,
                page_token=token,
            )
            for run in page:
                self._state.runs[run.data.tags.get(f"{TAG}trial", SEARCH)] = run.info.run_id
            token = page.token
            if not token:
                break
        self._known = True


def _context(own: DatasetInput) -> str | None:
    return next((tag.value for tag in own.tags if tag.key == CONTEXT), None)


def _dataset_inputs(datasets: dict[str, dict[str, Any]]) -> list[DatasetInput]:
    return [
        DatasetInput(
            Dataset(
                name=facts["name"],
                digest=facts["digest"],
                source_type="code" if ":" in facts["source"] else "local",
                source=json.dumps({"uri": facts["source"]}),
                profile=json.dumps(facts["profile"]),
            ),
            [InputTag(CONTEXT, context)],
        )
        for context, facts in datasets.items()
    ]
