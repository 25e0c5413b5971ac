"""Equipoise in Python.

`load_spec` reads an experiment file, `run_search` runs its search and `train` one training; both return a
`SearchRecord`, as does `resume`, which goes on with either. Its `to_frame()` gives the trials as a pandas DataFrame,
and its `front` is the Pareto set.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.experiment import run_search
    from orchestrator.resuming.resumption import resume
    from orchestrator.spec import load_spec
    from orchestrator.training_run import train

__all__ = ["load_spec", "resume", "run_search", "train"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is, so that the command line answers at once."""
    match name:
        case "load_spec":
            from orchestrator.spec import load_spec

            return load_spec
        case "resume":
            from orchestrator.resuming.resumption import resume

            return resume
        case "run_search":
            from orchestrator.experiment import run_search

            return run_search
        case "train":
            from orchestrator.training_run import train

            return train
        case _:
            raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
