"""What a trial needs before a slot can run it: its whole config and its data, made of what was proposed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.datasets import Datasets
from orchestrator.slots.trial_run import explain_failure
from orchestrator.spec import ExperimentSpec
from orchestrator.spec.explain import explain
from search_spaces.values import Value
from trainables.config.trial import TrialConfig


def prepare_trial(
    spec: ExperimentSpec, datasets: Datasets, values: Mapping[str, Value], directory: Path
) -> dict[str, Any]:
    """The `config` and the folder of the `data` of the trial of `values`.

    Whatever goes wrong is the `problem` of this trial, a sentence, and the search goes on: its config then is as far
    as it could be put together, at least the file's own.

    Args:
        spec: the experiment.
        datasets: prepares the data.
        values: what was proposed.
        directory: the trial's folder, for the traceback of what nobody foresaw.
    """
    written: dict[str, Any] = spec.trial_values({})
    try:
        written = spec.trial_values(values)
        config = TrialConfig.model_validate(written)
    except ValidationError as error:
        return {"config": written, "problem": "; ".join(map(str, explain(TrialConfig, written, error)))}
    except ValueError as error:  # a key below something that has none
        return {"config": written, "problem": str(error)}
    resolved = config.model_dump(mode="json", by_alias=True)
    try:
        return {"config": resolved, "data": str(datasets.of(config).directory)}
    except Exception as error:
        return {"config": resolved, "problem": explain_failure(error, directory)}
