"""The sections of an experiment file that no single trial needs, and the whole file as one frozen value."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, PrivateAttr, StringConstraints, field_validator

from orchestrator.redaction import has_login
from orchestrator.spec.kinds import without_other_kinds
from search_spaces.search import SearchConfig
from search_spaces.values import Value, nest
from trainables.config.section import Count, NonNegative, Section, Text
from trainables.config.tasks import METRICS_OF_TYPE
from trainables.config.trial import TrialConfig

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class PerWorker(Section):
    """What one data-parallel worker gets."""

    cpu: Count = 1
    """Cores, which are also its torch threads. `train` with `workers: auto` on a machine without GPU uses all
    its cores instead."""
    gpu: Literal["auto"] | NonNegative = "auto"
    """GPUs, fractions allowed. auto: 1 where the cluster has GPUs, else 0."""


class ComputeConfig(Section):
    """Where trials run."""

    workers: Literal["auto"] | Count = "auto"
    """Data-parallel workers per trial. auto: 1 in a search; in `train` one per GPU of the cluster, or without
    GPUs one with all cores of the machine."""
    slots: Literal["auto"] | Count | tuple[Count, Count] = "auto"
    """Trials at the same time. auto: as many as fit. [min, max]: as many as fit, at most max; fewer than min are an
    error."""
    per_worker: PerWorker = PerWorker()
    """What each worker takes."""

    @field_validator("slots")
    @classmethod
    def _slots_are_ordered(cls, slots: str | int | tuple[int, int]) -> str | int | tuple[int, int]:
        if isinstance(slots, tuple) and slots[0] > slots[1]:
            raise ValueError(f"the first number must not be above the second, but {slots[0]} > {slots[1]}")
        return slots


_UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]I?B)?", re.IGNORECASE)


class CheckpointsConfig(Section):
    """What stays on disk of trials that have ended. Of live ones everything does."""

    keep: Literal["best", "best+last"] = "best+last"
    """best: the model of the selected epoch; last: also the training state at its last checkpoint."""
    quota: Text | Count | None = None
    """Of all checkpoints of a search: `20GB`, `500 MiB` or a number of bytes. It is enforced at the end of each trial,
    and may be exceeded until then. Above it the training states of ended trials go, then models that are not in the
    Pareto set, the worst first. What live trials and the Pareto set need is never deleted."""

    @field_validator("quota")
    @classmethod
    def _is_size(cls, quota: str | int | None) -> str | int | None:
        if isinstance(quota, str) and not _SIZE.fullmatch(quota.strip()):
            raise ValueError(f"{quota!r} is no size; write it like 20GB, 500 MiB or as a number of bytes")
        return quota

    @property
    def quota_bytes(self) -> int | None:
        """The quota as a number."""
        if not isinstance(self.quota, str):
            return self.quota
        amount, unit = _SIZE.fullmatch(self.quota.strip()).groups("")  # type: ignore[union-attr] # validated
        return int(float(amount) * _UNITS[unit.upper()])


class TrackingConfig(Section):
    """Where results are kept."""

    mlflow: Text = "auto"
    """Tracking URI. auto: $MLFLOW_TRACKING_URI, else SQLite in mlflow.db in the working directory."""
    storage: Text = "equipoise_runs"
    """Folder of journals and checkpoints."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()

    @field_validator("mlflow")
    @classmethod
    def _no_login(cls, uri: str) -> str:
        if has_login(uri):
            raise ValueError(
                "a login does not belong here: this file is kept with every run; leave mlflow: auto and put the whole "
                "address into $MLFLOW_TRACKING_URI, or the login into $MLFLOW_TRACKING_USERNAME and _PASSWORD"
            )
        return uri


class ExperimentSpec(TrialConfig):
    """One experiment file: a complete trial, what is searched around it, and where it runs."""

    name: Name
    """Of the MLflow experiment, and the beginning of search ids."""
    search: SearchConfig = SearchConfig()
    compute: ComputeConfig = ComputeConfig()
    tracking: TrackingConfig = TrackingConfig()

    _text: str = PrivateAttr("")
    _overrides: tuple[str, ...] = PrivateAttr(())
    _folder: Path | None = PrivateAttr(None)
    _written: dict[str, Any] | None = PrivateAttr(None)
    _earlier_models: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def read_from(self, text: str, folder: Path, overrides: tuple[str, ...]) -> Self:
        """Remember what this spec was read from; returns itself."""
        self._text, self._folder, self._overrides = text, folder, overrides
        return self

    def with_earlier_models(self, files: Mapping[str, str]) -> Self:
        """The same, with the files that `runs:/…` of `model.weights` means in trials."""
        copy = self.model_copy()
        copy._earlier_models = files
        return copy

    @property
    def text(self) -> str:
        """The experiment file as it was written; empty if the spec was built in Python."""
        return self._text

    @property
    def overrides(self) -> tuple[str, ...]:
        """The `key=value` that changed the file, in order."""
        return self._overrides

    @property
    def folder(self) -> Path:
        """Where relative paths of the file start: its folder, or the working directory."""
        return self._folder or Path.cwd()

    @property
    def objectives(self) -> tuple[str, ...]:
        """What is traded off: `search.objectives`, else every task's metric."""
        return self.search.objectives or tuple(f"{name}.{task.metric}" for name, task in self.tasks.items())

    @property
    def most_epochs(self) -> int:
        """The largest number of epochs that a trial can have."""
        domain = self.search.space.get("training.epochs") if isinstance(self.search.space, Mapping) else None
        if domain is None:
            return self.training.epochs
        values: Any = getattr(domain, "values", getattr(domain, "bounds", ()))
        possible = [int(value) for value in values if isinstance(value, int | float)]
        if domain.when or not possible:  # where it is not active, the file's value holds
            possible.append(self.training.epochs)
        return max(possible)

    def trial_config(self) -> TrialConfig:
        """The trial that the file describes, before anything is searched."""
        return self.trial_config_with({})

    def trial_config_with(self, values: Mapping[str, Value]) -> TrialConfig:
        """The trial of the file with `values` (by dotted key) in place of its own, validated again.

        A mapping given for a key replaces all that stands there; another kind of section keeps only what it
        knows. Metrics that the search needs are measured.
        Raises pydantic's `ValidationError`, or `ValueError` for a key below something that has no keys.
        """
        return TrialConfig.model_validate(self.trial_values(values))

    def trial_values(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """What `trial_config_with` validates, as nested plain values."""
        if self._written is None:
            self._written = self._measuring_what_is_compared(_as_written(self, TrialConfig))
        trial = nest(values, onto=without_other_kinds(TrialConfig, self._written, values))
        self._weights_from_folder(trial)
        return trial

    def resolved(self) -> dict[str, Any]:
        """Every key with its effective value, as JSON has it."""
        return self.model_dump(mode="json", by_alias=True)

    def _weights_from_folder(self, trial: dict[str, Any]) -> None:
        """Make `model.weights` of `trial` absolute: who trains it may work in another folder."""
        model = trial.get("model")
        if isinstance(model, dict):
            weights = model.get("weights")
            if isinstance(weights, str) and weights.startswith("runs:"):
                model["weights"] = self._earlier_models.get(weights, weights)
            elif isinstance(weights, str) and weights and weights != "default":
                model["weights"] = str(self.folder.absolute() / weights)

    def _measuring_what_is_compared(self, written: dict[str, Any]) -> dict[str, Any]:
        """`written`, with what objectives, early stopping and selection name among the tasks' metrics."""
        named = [*self.search.objectives, self.training.select.metric]
        if self.search.stop_early is not None:
            named.append(self.search.stop_early.on)
        for name in named:
            task, _, metric = name.partition(".")
            if task not in self.tasks or metric == self.tasks[task].metric:
                continue
            if metric not in METRICS_OF_TYPE[self.tasks[task].type]:  # loss, which is always there
                continue
            metrics = written["tasks"][task].setdefault("metrics", [])
            if metric not in metrics:
                metrics.append(metric)
        return written


def _as_written(section: BaseModel, model: type[BaseModel]) -> dict[str, Any]:
    """What was given to `section` without defaults, but always with what tells its kinds apart.

    So that `{"training.optimizer.lr": 0.1}` merges into a file that does not mention the optimizer.
    """
    result: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            inner = _as_written(value, type(value))
            if inner or name in section.model_fields_set:
                result[name] = inner
        elif name in section.model_fields_set or _is_tag(field.annotation):
            result[name] = _plain(value)
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _as_written(value, type(value))
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _is_tag(annotation: Any) -> bool:
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1
