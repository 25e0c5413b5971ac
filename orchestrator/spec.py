"""The experiment file: its sections composed, loaded with positions, overridden, and judged as a whole."""

from typing import Annotated, Literal

from pydantic import StringConstraints

from search_spaces.search import SearchConfig
from trainables.config.section import Count, NonNegative, Section, Text
from trainables.config.trial import TrialConfig

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class PerWorker(Section):
    """What one data-parallel worker gets."""

    cpu: Count = 1
    """Cores, which are also its torch threads."""
    gpu: Literal["auto"] | NonNegative = "auto"
    """GPUs, fractions allowed. auto: 1 where the cluster has GPUs, else 0."""


class ComputeConfig(Section):
    """Where trials run."""

    workers: Literal["auto"] | Count = "auto"
    """Data-parallel workers per trial. auto: 1 in a search."""
    slots: Literal["auto"] | Count = "auto"
    """Trials at the same time. auto: as many as fit."""
    per_worker: PerWorker = PerWorker()


class TrackingConfig(Section):
    """Where results are kept."""

    mlflow: Text = "auto"
    """Tracking URI. auto: $MLFLOW_TRACKING_URI, else the SQLite database mlflow.db in the working directory."""
    storage: Text = "equipoise_runs"
    """Folder of journals and checkpoints."""


class ExperimentSpec(TrialConfig):
    """One experiment file: a complete trial, what is searched around it, and where it runs."""

    name: Name
    search: SearchConfig = SearchConfig()
    compute: ComputeConfig = ComputeConfig()
    tracking: TrackingConfig = TrackingConfig()
