"""Logs a trial's model to MLflow: safetensors, a signature, and the name of the module that loads them.

Nothing here imports torch: the model is a file that is passed on.
"""

import json
import re
import shutil
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlflow import pyfunc
from mlflow.models import ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, Schema, TensorSpec
from safetensors import safe_open

from orchestrator.machines.scratch import scratch_folder
from orchestrator.report.records import TrialRecord
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.scheme import metrics_of_best

STATE = "state.safetensors"
LOADER = "orchestrator.tracking.served_model"
REQUIRED = ("equipoise", "torch", "mlflow")
"""What a server of the model installs, in the versions that it was trained with."""
_FORBIDDEN = re.compile(r"""[/:.%"']""")


def log_model(
    store: MlflowStore, best: Path, trial: TrialRecord, run_id: str, name: str, params: Mapping[str, str]
) -> str:
    """Log the selected model of a trial as a LoggedModel that is ready to be loaded.

    Args:
        store: where.
        best: the folder of the model.
        trial: its trial.
        run_id: MLflow's id of the trial's run.
        name: of the model; what MLflow does not allow in it is replaced.
        params: of the trial, as its run has them.

    Returns:
        MLflow's id of the model: `models:/<id>` loads it.
    """
    with safe_open(best / STATE, framework="numpy") as file:
        meta = json.loads(file.metadata()["meta"])
    with scratch_folder() as temporary:
        data, model = temporary / "best", temporary / "model"
        data.mkdir()
        shutil.copy(best / STATE, data / STATE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow wants an input example, which it would run, with torch
            pyfunc.save_model(
                model,
                loader_module=LOADER,
                data_path=str(data),
                signature=signature(meta),
                pip_requirements=[_requirement(package) for package in REQUIRED],
                metadata={"trial": trial.trial, "epoch": meta["epoch"], "data_digest": meta["data_digest"]},
            )
        metrics = metrics_of_best(trial.metrics, trial.best_epoch)
        return store.log_model(run_id, _FORBIDDEN.sub("-", name), model, params, metrics)


def signature(meta: dict[str, Any]) -> ModelSignature:
    """What goes in and what comes out, from a saved model's `meta`."""
    outputs: list[ColSpec | TensorSpec] = []
    for task, config in meta["config"]["tasks"].items():
        label = Array(DataType.string) if config["type"] == "multilabel" else DataType.string
        outputs += [
            ColSpec(label, task),
            ColSpec(DataType.double, f"{task}.confidence"),
            ColSpec(Array(DataType.double), f"{task}.probs"),
        ]
    return ModelSignature(Schema([ColSpec(DataType.binary, "image")]), Schema(outputs))


def _requirement(package: str) -> str:
    try:
        return f"{package}=={version(package)}"
    except PackageNotFoundError:  # run from a clone that is not installed
        return package
