"""`equipoise check`: everything about an experiment that can be known without training."""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.check.report import CheckReport, Problem, SourceCounts, TaskCounts, print_report
from orchestrator.earlier_models import with_earlier_models
from orchestrator.errors import EquipoiseError
from orchestrator.spec import ExperimentSpec, load_spec
from orchestrator.spec.document import read_document
from orchestrator.spec.finding import Finding
from orchestrator.spec.overrides import apply_override
from orchestrator.spec.space_checks import activation
from search_spaces.domains import Choice
from search_spaces.simplex import Simplex
from search_spaces.space import SearchSpace
from trainables.config.fit import decides
from trainables.config.model import ModelConfig

if TYPE_CHECKING:
    from trainables.model.multitask import MultiTaskModel

__all__ = [
    "CheckReport",
    "Problem",
    "SourceCounts",
    "TaskCounts",
    "check_experiment",
    "check_spec",
    "print_report",
]

MOST_MODELS = 12
"""Models of a search that are tried; one with a large backbone takes a second."""


def check_experiment(
    config: Path | str, overrides: Sequence[str] = (), *, config_only: bool = False
) -> CheckReport:
    """Load an experiment file and check it, its data and its model.

    Raises `ConfigError` for a file that contradicts itself; whatever is found later is in the report.
    """
    return check_spec(load_spec(config, overrides), config_only=config_only, name=str(config))


def check_spec(spec: ExperimentSpec, *, config_only: bool = False, name: str = "") -> CheckReport:
    """Check a spec that is already loaded. `name`: the file's, for messages."""
    began = time.monotonic()
    space = SearchSpace.from_config(
        spec.search.space, tasks=list(spec.tasks), fixed=spec.trial_config().model_dump(mode="json")
    )
    problems = [*_remarks(spec, space)]
    report = CheckReport(spec.name, config_only, searched=tuple(space.domains))
    if not config_only:
        report, found = _with_data(report, spec)
        problems += found
    order = {"error": 0, "warning": 1, "note": 2}
    placed = [_placed(problem, spec, name) for problem in problems]
    return dataclasses.replace(
        report,
        problems=tuple(sorted(placed, key=lambda problem: order[problem.severity])),
        seconds=time.monotonic() - began,
    )


def _remarks(spec: ExperimentSpec, space: SearchSpace) -> Iterable[Problem]:
    """What is allowed but probably not meant."""
    for key, domain in space.domains.items():
        if isinstance(domain, Simplex):
            left_out = [task for task in spec.tasks if task not in domain.names]
            if left_out:
                yield Problem(
                    "warning",
                    "config",
                    f"the simplex leaves out {', '.join(left_out)}, whose weight is not searched.",
                    "Name all tasks, or none of them.",
                    f"search.space.{key}",
                )
    if spec.search.sampler == "grid" and space.domains:
        points = len(space.grid_points())
        if points > spec.search.trials:
            yield Problem(
                "warning",
                "config",
                f"the grid has {points} points, of which only the first {spec.search.trials} are run.",
                f"Write trials: {points}.",
                "search.trials",
            )
    stop = spec.search.stop_early
    if stop is not None and stop.min_epochs == spec.most_epochs:
        yield Problem(
            "warning",
            "config",
            "no trial can be stopped early: the first decision comes at the last epoch.",
            "",
            "search.stop_early.min_epochs",
        )
    if not space.domains:
        yield Problem(
            "note", "config", "nothing is searched: `equipoise train` suits this file", "", "search"
        )


def _with_data(report: CheckReport, spec: ExperimentSpec) -> tuple[CheckReport, list[Problem]]:
    """`report` with what the data holds, and the problems of data and model."""
    from trainables.data.inspect import inspect_data

    earlier: list[Problem] = []
    try:
        spec = with_earlier_models(spec)
    except EquipoiseError as error:
        earlier = [Problem("error", "model", error.message, error.hint, "model.weights")]
    data = inspect_data(spec.data, spec.tasks, seed=spec.seed, base=spec.folder)
    problems = [
        Problem(found.severity, "data", found.message, found.hint, found.key) for found in data.problems
    ]
    tasks = {
        name: TaskCounts(spec.tasks[name].type, task.classes, task.labelled, task.missing, task.counts)
        for name, task in data.tasks.items()
    }
    parameters: int | None = None
    problems += earlier
    if data.image_shape is not None and tasks.keys() == spec.tasks.keys() and not earlier:
        classes = {name: task.classes for name, task in tasks.items()}
        parameters, found = _build_model(spec, spec.trial_config().model, data.image_shape, classes)
        problems += found or _searched_models(spec, data.image_shape, classes) + _balancing(
            spec, data.image_shape, classes
        )
    examples = data.splits if any(data.splits.values()) else {}
    report = dataclasses.replace(
        report,
        examples=examples,
        tasks=tasks,
        sources={name: SourceCounts(own.splits, own.labelled) for name, own in data.sources.items()},
        image_shape=data.image_shape,
        parameters=parameters,
        unreadable=data.unreadable,
        duplicates=tuple(found.places for found in data.duplicates),
    )
    return report, problems


def _searched_models(
    spec: ExperimentSpec, shape: tuple[int, int, int], classes: Mapping[str, tuple[str, ...]]
) -> list[Problem]:
    """Problems of the backbones, structures, initial weights and taps that the search may choose."""
    space = spec.search.space
    if not isinstance(space, Mapping) or any(key.startswith("data.image_size") for key in space):
        return []
    tried = {spec.model.model_dump_json()}
    problems: list[Problem] = []
    for key, domain in space.items():
        builds = key.startswith(("model.backbone", "model.sharing", "model.weights")) or key.endswith(".tap")
        if not (isinstance(domain, Choice) and builds):
            continue
        for index, value in enumerate(domain.values):
            model = spec.trial_config_with({**activation(domain, space), key: value}).model
            described = model.model_dump_json()
            if described not in tried and len(tried) < MOST_MODELS:
                tried.add(described)
                _, found = _build_model(spec, model, shape, classes)
                at = f"search.space.{key}.choice.{index}"
                problems += [dataclasses.replace(problem, key=at) for problem in found]
    return problems


def _balancing(
    spec: ExperimentSpec, shape: tuple[int, int, int], classes: Mapping[str, tuple[str, ...]]
) -> list[Problem]:
    """Whether the file's method fits what its model shares, unless a search decides about either."""
    from trainables.balancing.build import build_balancer
    from trainables.errors import TrainingError

    searched = spec.search.space
    trial = spec.trial_config()
    if not isinstance(searched, Mapping) or any(map(decides, searched)):
        return []
    if trial.balancing.method in ("static", "equal"):  # which fit everything
        return []
    model = _model(spec, trial.model, shape, classes)
    if trial.training.optimizer.backbone_lr_factor == 0:
        model.freeze_backbone()
    try:
        build_balancer(trial.balancing, tuple(trial.tasks), model)
    except TrainingError as error:
        return [Problem("error", "model", error.message, error.hint, error.key)]
    return []


def _build_model(
    spec: ExperimentSpec,
    config: ModelConfig,
    shape: tuple[int, int, int],
    classes: Mapping[str, tuple[str, ...]],
) -> tuple[int | None, list[Problem]]:
    """Build a model and run two blank images through it: parameters and problems."""
    import torch

    from trainables.errors import ModelError
    from trainables.model.keyed import unkeyed_randomness

    channels, height, width = shape
    try:
        model = _model(spec, config, shape, classes)
        images = torch.zeros(2, model.channels, height, width)
        drawing = unkeyed_randomness(model, model.context, images)
        model.eval()
        with torch.inference_mode():
            logits = model(images)
    except ModelError as error:
        return None, [Problem("error", "model", error.message, error.hint or "", error.key or "model")]
    except (RuntimeError, ValueError, TypeError) as error:  # whatever a network does with what it cannot read
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        message = f"Images of {channels}×{height}×{width} do not pass through the model: {first}."
        return None, [Problem("error", "model", message, "Try a larger data.image_size.", "model.backbone")]
    problems = [
        Problem("error", "model", f"The head of {task} gives {tuple(logits[task].shape)}, not (2, {count}).")
        for task, count in _outputs(spec, classes).items()
        if tuple(logits[task].shape) != (2, count)
    ]
    if drawing:
        problems.append(
            Problem(
                "warning",
                "model",
                f"{', '.join(drawing[:5])} of the model draws random numbers that cannot be repeated.",
                "A resumed run will differ from an uninterrupted one, and N workers from one.",
                "model.backbone",
            )
        )
    return sum(parameter.numel() for parameter in model.parameters()), problems


def _model(
    spec: ExperimentSpec,
    config: ModelConfig,
    shape: tuple[int, int, int],
    classes: Mapping[str, tuple[str, ...]],
) -> "MultiTaskModel":
    from trainables.model.multitask import build_model

    channels, height, width = shape
    return build_model(
        config,
        channels=channels,
        image_size=(height, width),
        outputs=_outputs(spec, classes),
        seed=spec.seed,
        base=spec.folder,
    )


def _outputs(spec: ExperimentSpec, classes: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Logits by task."""
    return {name: 1 if spec.tasks[name].type == "binary" else len(names) for name, names in classes.items()}


def _placed(problem: Problem, spec: ExperimentSpec, name: str) -> Problem:
    """`problem` with the place in the file where its key is written."""
    if problem.key is None or not spec.text:
        return problem
    document = read_document(spec.text, name or "experiment")
    for override in spec.overrides:
        apply_override(document, override)
    path: list[Any] = []
    inner: Any = document.data
    rest = problem.key.replace("[]", "").replace("[", ".").replace("]", "")
    while rest and isinstance(inner, dict | list):
        if isinstance(inner, list):
            inner = {str(n): item for n, item in enumerate(inner)}
        step = next(
            (k for k in sorted(map(str, inner), key=len, reverse=True) if f"{rest}.".startswith(f"{k}.")),
            None,
        )
        if step is None:
            break
        path.append(int(step) if step.isdecimal() else step)
        inner, rest = inner[step], rest[len(step) + 1 :]
    if not path:
        return problem
    return dataclasses.replace(problem, place=document.where(document.place(Finding(tuple(path), ""))))
