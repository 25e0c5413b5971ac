"""How often a trial goes on after its slot died: by what killed it, because causes differ in what a retry is worth."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError
from ray.tune.experiment import Trial

from orchestrator.launch.node_checks import UnfitNode

Cause = Literal["crash", "out of memory", "loss of the machine", "unfit machine"]

BUDGETS: Mapping[Cause, int] = {
    "crash": 2,
    "out of memory": 1,  # with `training.recompute`; what is too much even so stays too much
    "loss of the machine": 20,  # spot machines go and come; the trial has no part in it
    "unfit machine": 20,  # it is left out within seconds (`Newcomers`); the trial has no part in it
}
"""How often a trial is started again without getting further. It goes on from its last checkpoint."""


def cause_of(error: BaseException) -> Cause:
    """What killed a slot, from Ray's error.

    A process that the kernel kills for want of memory cannot be told from a crash; Ray's own memory monitor, which
    is there to be faster, says so.
    """
    text = str(error)
    if isinstance(error, OutOfMemoryError) or "OUT_OF_MEMORY" in text or "running low on memory" in text:
        return "out of memory"
    if UnfitNode.__name__ in text:
        return "unfit machine"
    # Of a process that dies its machine tells at once. Where nobody does, the machine is silent as well.
    if isinstance(error, NodeDiedError | ActorUnavailableError):
        return "loss of the machine"
    if getattr(error, "preempted", False) or "node has died" in text:
        return "loss of the machine"
    return "crash"


class RetriedTrial(Trial):  # type: ignore[misc] # Ray is untyped
    """A trial with a budget of restarts per cause, in place of Tune's one number for all."""

    config: dict[str, Any]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.deaths: Counter[Cause] = Counter()
        self.last_cause: Cause | None = None

    def handle_error(self, exc: Any = None) -> None:
        """Count what has happened; a trial that ran out of memory does with less from now on."""
        super().handle_error(exc)
        if exc is not None:
            self.last_cause = cause_of(exc)
            self.deaths[self.last_cause] += 1
            if self.last_cause == "out of memory":
                self.config = with_less_memory(self.config)

    def should_recover(self) -> bool:
        """Whether every cause is within its budget."""
        return all(count <= BUDGETS[cause] for cause, count in self.deaths.items())


def with_less_memory(config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's config as Tune has it, with activations that are computed again."""
    resolved = config.get("config", {})
    training = {**resolved.get("training", {}), "recompute": True}
    return {**config, "config": {**resolved, "training": training}}
