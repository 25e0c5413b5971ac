"""What the sections of an experiment file say against each other."""

from collections.abc import Collection, Iterator, Mapping

from orchestrator.spec.combinations import as_finding
from orchestrator.spec.finding import Finding, KeyPath, nearest, one_of, quoted
from orchestrator.spec.sections import ExperimentSpec
from orchestrator.spec.space_checks import SpaceChecks
from orchestrator.spec.task_names import (
    did_you_mean,
    names_of_tasks,
    tasks_of_sources,
    tasks_unsure,
    unknown_names,
)
from search_spaces.objectives import is_minimised
from trainables.config.fit import decides, misfit
from trainables.config.model import COSTS
from trainables.config.tasks import METRICS_OF_TYPE, RESERVED_NAMES


def cross_check(spec: ExperimentSpec, damaged: Collection[KeyPath] = ()) -> list[Finding]:
    """Everything that `spec` says against itself.

    Args:
        spec: the file, or what is left of it without its wrong values.
        damaged: where those were. Nothing is said of them, nor of what they may have meant.

    """
    space = SpaceChecks(spec, damaged)
    findings = [*_Checks(spec, damaged).all(), *space.keys()]
    if not findings and not damaged:
        findings = [*space.whole()]
    return [f for f in dict.fromkeys(findings) if not any(_related(f.path, path) for path in damaged)]


def _related(path: KeyPath, other: KeyPath) -> bool:
    return path[: len(other)] == other or (other[: len(path)] == path and len(path) > 1)


class _Checks:
    """The checks of one spec."""

    def __init__(self, spec: ExperimentSpec, damaged: Collection[KeyPath]) -> None:
        self.spec = spec
        self.tasks_unsure = tasks_unsure(spec, damaged)
        self.sources_unsure = any(path[:1] == ("data",) for path in damaged)
        self.unsure = {path[1] for path in damaged if path[:1] == ("tasks",) and len(path) > 1}

    def all(self) -> Iterator[Finding]:
        spec = self.spec
        yield from self._tasks()
        if not self.tasks_unsure:
            yield from names_of_tasks(spec)
            if not self.sources_unsure:
                yield from tasks_of_sources(spec)
        for index, name in enumerate(spec.search.objectives):
            yield from self._metric(name, ("search", "objectives", index), costs=True)
        yield from self._selection()
        yield from self._misfit()
        yield from self._early_stop()
        yield from self._compute()

    # Tasks and what names them

    def _tasks(self) -> Iterator[Finding]:
        if not self.spec.tasks:
            yield Finding(("tasks",), "no task. Add one, such as color: {type: multiclass, label: color}")
        for name, task in self.spec.tasks.items():
            if name in RESERVED_NAMES:
                yield Finding(
                    ("tasks", name),
                    f"{name} means something else in metrics and heads; give the task another name. "
                    f"Taken are {one_of(sorted(RESERVED_NAMES), 'and')}.",
                    at_key=True,
                )
            for index, metric in enumerate(task.metrics):
                yield from self._metric(f"{name}.{metric}", ("tasks", name, "metrics", index))
            yield from self._metric(f"{name}.{task.metric}", ("tasks", name, "metric"))
            classes = getattr(task, "classes", None) or ()
            for index, label in enumerate(classes):
                if str(label) in {str(earlier) for earlier in classes[:index]}:
                    yield Finding(("tasks", name, "classes", index), f"{quoted(label)} is written twice")
            weights = getattr(task, "class_weights", None)
            if classes and isinstance(weights, Mapping):
                known = [str(label) for label in classes]
                yield from unknown_names(weights, known, ("tasks", name, "class_weights"), "class")

    def _metric(self, name: str, path: KeyPath, *, costs: bool = False) -> Iterator[Finding]:
        """Whether `name` (`task.metric`, or `score`) is measured. `costs`: those of the model are allowed."""
        if name == "score":
            return
        task, _, metric = name.partition(".")
        tasks = self.spec.tasks
        if not metric:
            near = f"{task}.{tasks[task].metric}" if task in tasks else nearest(name, ["score", *tasks])
            need = "score, <task>.<metric> or <task>.loss is needed."
            yield Finding(path, f"{quoted(name)} is not measured; {need}{did_you_mean(near)}")
        elif task == "model" and task not in tasks:
            if metric not in COSTS:
                meant = did_you_mean((near := nearest(metric, COSTS)) and f"model.{near}")
                yield Finding(path, f"{quoted(name)}: {one_of(COSTS)} is needed of a model.{meant}")
            elif not costs:
                message = "is the same in every epoch; it can be one of search.objectives"
                yield Finding(path, f"{quoted(name)} {message}")
        elif task not in tasks:
            if not self.tasks_unsure:
                near = nearest(task, [*tasks, *(["model"] if costs else [])])
                meant = did_you_mean(near and f"{near}.{metric}")
                message = f"{quoted(name)}: there is no task {task}.{meant} Tasks: {', '.join(tasks)}."
                yield Finding(path, message)
        elif task not in self.unsure:
            kind = tasks[task].type
            suited = (*METRICS_OF_TYPE[kind], "loss")
            if metric not in suited:
                near = nearest(metric, suited)
                meant = did_you_mean(near and f"{task}.{near}")
                message = f"{metric} is no metric of a {kind} task; {one_of(suited)} is needed.{meant}"
                yield Finding(path, f"{quoted(name)}: {message}")

    def _selection(self) -> Iterator[Finding]:
        select = self.spec.training.select
        wrong = [*self._metric(select.metric, ("training", "select", "metric"))]
        yield from wrong
        best = "min" if is_minimised(select.metric) else "max"
        if not wrong and select.mode != best:
            less = "less" if best == "min" else "more"
            yield Finding(
                ("training", "select", "mode"), f"of {select.metric} {less} is better. Write mode: {best}"
            )

    def _misfit(self) -> Iterator[Finding]:
        """Whether the method finds what it balances, unless the search decides about it."""
        space = self.spec.search.space
        searched = not isinstance(space, Mapping) or any(map(decides, space))
        if not searched and not self.tasks_unsure and (found := misfit(self.spec)) is not None:
            yield as_finding(found)

    def _early_stop(self) -> Iterator[Finding]:
        stop = self.spec.search.stop_early
        if stop is None:
            return
        yield from self._metric(stop.on, ("search", "stop_early", "on"))
        epochs = self.spec.most_epochs
        if stop.min_epochs > epochs:
            most = "at most " if "training.epochs" in self.spec.search.space else ""
            yield Finding(
                ("search", "stop_early", "min_epochs"),
                f"{stop.min_epochs} epochs are never reached: training.epochs is {most}{epochs}",
            )

    def _compute(self) -> Iterator[Finding]:
        workers, batch = self.spec.compute.workers, self.spec.training.batch_size
        if isinstance(workers, int) and workers > batch:
            yield Finding(
                ("compute", "workers"),
                f"{workers} workers cannot share a batch of {batch} (training.batch_size counts all workers)",
            )
