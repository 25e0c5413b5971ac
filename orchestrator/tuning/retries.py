"""How often a trial goes on after its slot died: by what killed it, because causes differ in what a retry is worth."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from ray.air.execution._internal import actor_manager
from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.experiment import Trial

from orchestrator.launch.node_checks import UnfitNode
from orchestrator.redaction import redacted
from orchestrator.slots.want_of_memory import ended_for_want_of_memory, reason_of

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
    if isinstance(error, OutOfMemoryError) or ended_for_want_of_memory(error):
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
        self.why_dead = "the trial's process died"
        """In a sentence, where Ray has one to tell."""

    def handle_error(self, exc: Any = None) -> None:
        """Count what has happened; a trial that ran out of memory does with less from now on."""
        super().handle_error(exc)
        if exc is not None:
            self.last_cause = cause_of(exc)
            self.why_dead = _in_a_sentence(exc)
            self.deaths[self.last_cause] += 1
            if self.last_cause == "out of memory":
                self.config = with_less_memory(self.config)

    def should_recover(self) -> bool:
        """Whether every cause is within its budget."""
        return all(count <= BUDGETS[cause] for cause, count in self.deaths.items())


def _in_a_sentence(error: BaseException) -> str:
    """What Ray says of an exception comes last; of processes that vanish it guesses at length."""
    raised = isinstance(error, RayTaskError) or getattr(error, "actor_init_failed", False)
    if raised or ended_for_want_of_memory(error):
        return redacted(str(error).strip().splitlines()[-1])
    return "the trial's process died"


class ActorManager(actor_manager.RayActorManager):  # type: ignore[misc] # Ray is untyped
    """Tune's, to which the death of an actor is no unexpected error where Ray's memory monitor has ended it."""

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            cure = "Lower training.batch_size, data.image_size or compute.slots"
            exception = RayActorError(
                error_msg=f"{reason_of(exception)}. {cure}, or use a machine with more memory."
            )
        super()._actor_task_failed(tracked_actor_task, exception)


def with_less_memory(config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's config as Tune has it, with activations that are computed again."""
    resolved = config.get("config", {})
    training = {**resolved.get("training", {}), "recompute": True}
    return {**config, "config": {**resolved, "training": training}}
