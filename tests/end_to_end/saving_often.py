"""`equipoise`, with a training state before every epoch: `python saving_often.py search experiment.yaml`.

The slots of a search are processes of their own. What Ray sends them is the class below, with its code, because it is
none of a module that they could import.
"""

from importlib import import_module
from typing import Any

from orchestrator import experiment
from orchestrator.cli import main


def save_often() -> None:
    """In this process."""
    from orchestrator.slots import trial_run

    trial_run.SECONDS_BETWEEN_CHECKPOINTS = 0.1
    trial_run.LARGEST_SHARE = 0.5


def importing(name: str) -> Any:
    """The module `name`; where Ray Tune is driven, with slots that save often, and tell every epoch by itself."""
    module: Any = import_module(name)
    if name == "orchestrator.tuning.run":
        module.SECONDS_AT_ONCE = 0.0
        module.TrialTrainable = _saving_often(module.TrialTrainable)
    return module


def _saving_often(base: Any) -> Any:
    class TrialTrainable(base):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            save_often()
            super().setup(config)

    return TrialTrainable


if __name__ == "__main__":
    save_often()
    vars(experiment)["import_module"] = importing
    main()
