"""Whether names of tasks, in an experiment file or in a trial, are those of its tasks."""

from collections.abc import Collection, Iterable, Iterator

from orchestrator.spec.finding import Finding, KeyPath, nearest
from orchestrator.spec.sections import ExperimentSpec
from trainables.config.balancing import StaticBalancing
from trainables.config.sharing import BranchingSharing
from trainables.config.trial import TrialConfig


def tasks_unsure(spec: ExperimentSpec, damaged: Collection[KeyPath]) -> bool:
    """Whether it is not known which tasks there are: nothing is said of their names then."""
    return (
        not spec.tasks or ("tasks",) in damaged or any(p[:1] == ("tasks",) and len(p) == 2 for p in damaged)
    )


def names_of_tasks(trial: TrialConfig) -> Iterator[Finding]:
    """Heads, branches and weights of tasks that do not exist."""
    heads = [*trial.tasks, "default"]
    yield from unknown_names(trial.model.heads, heads, ("model", "heads"), "task")
    at = trial.model.sharing.at if isinstance(trial.model.sharing, BranchingSharing) else None
    yield from unknown_names(at if isinstance(at, dict) else (), heads, ("model", "sharing", "at"), "task")
    weights = trial.balancing.weights if isinstance(trial.balancing, StaticBalancing) else {}
    yield from unknown_names(weights, list(trial.tasks), ("balancing", "weights"), "task")
    if weights and trial.tasks and not any(weights.get(task, 1) for task in trial.tasks):
        yield Finding(("balancing", "weights"), "every task weighs 0, so nothing would be learned")


def tasks_of_sources(trial: TrialConfig) -> Iterator[Finding]:
    """Tasks of sources that do not exist, and tasks that none of several sources is labelled for."""
    if trial.data.sources is None:
        return
    tasks = list(trial.tasks)
    for index, source in enumerate(trial.data.sources):
        path = ("data", "sources", index, "tasks")
        if isinstance(source.tasks, dict):
            yield from unknown_names(source.tasks, tasks, path, "task")
            continue
        for place, name in enumerate(source.tasks):
            for finding in unknown_names([name], tasks, path, "task"):
                yield Finding((*path, place), finding.message)
    for name in tasks:
        if not any(name in source.tasks for source in trial.data.sources):
            message = "no source is labelled for it. Add it to the tasks of one of data.sources"
            yield Finding(("tasks", name), message, at_key=True)


def unknown_names(names: Iterable[str], known: list[str], path: KeyPath, what: str) -> Iterator[Finding]:
    """Which of `names` are not `known`."""
    for name in names:
        if name not in known:
            meant = did_you_mean(nearest(name, known))
            message = f"there is no {what} {name}.{meant} Known here: {', '.join(known)}."
            yield Finding((*path, name), message, at_key=True)


def did_you_mean(near: str | None) -> str:
    """` Did you mean near?`, or nothing."""
    return f" Did you mean {near}?" if near else ""
