"""What a search space says against the rest of the experiment file: all that it may propose must be a trial."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.spec.combinations import as_finding, impossible
from orchestrator.spec.explain import explain
from orchestrator.spec.finding import Finding, KeyPath, dotted, nearest, one_of, quoted
from orchestrator.spec.schema_reader import SchemaReader
from orchestrator.spec.sections import ExperimentSpec
from orchestrator.spec.task_names import did_you_mean, names_of_tasks, tasks_unsure
from search_spaces.domains import Choice, Domain
from search_spaces.simplex import Simplex
from search_spaces.space import SearchSpace, SpaceError
from search_spaces.suggesters import RandomSuggester
from search_spaces.values import Value, is_within, look_up
from trainables.config.fit import Misfit, decides, misfit
from trainables.config.trial import TrialConfig

FIXED_SECTIONS = {
    "name": "it names the whole search",
    "seed": "it determines the splits, which all trials of a search share",
    "search": "it is the search",
    "compute": "it says where trials run, not what they are",
    "tracking": "it says where results go",
}
"""Sections whose keys cannot be searched, and why."""
SEARCHABLE_DATA = ("data.image_size", "data.augment", "data.mixing")
"""The rest of `data` determines labels and splits, without which trials cannot be compared."""
SEARCHABLE_OF_TASK = ("label_smoothing", "class_weights", "positive_weight")
"""The rest of a task says what is asked and measured."""
SAMPLES = 16
"""Random proposals of the whole space that are tried at load."""


class SpaceChecks:
    """The checks of the search space of one spec."""

    def __init__(self, spec: ExperimentSpec, damaged: Collection[KeyPath]) -> None:
        self.spec = spec
        self.tasks_unsure = tasks_unsure(spec, damaged)

    def keys(self) -> Iterator[Finding]:
        """What is wrong with single searched keys and their domains."""
        space = self.spec.search.space
        reader = SchemaReader.of(TrialConfig)
        if isinstance(space, Mapping):
            for key, domain in space.items():
                wrong = [*self._searched_key(key, reader), *self._conditions(key, domain, space, reader)]
                yield from wrong or [*self._overlap(key, space), *self._values(key, domain, space)]

    def _searched_key(self, key: str, reader: SchemaReader) -> Iterator[Finding]:
        """Whether `key` is a config key that may differ between trials."""
        path = ("search", "space", key)
        section, _, _ = key.partition(".")
        if section in FIXED_SECTIONS:
            yield Finding(path, f"cannot be searched: {FIXED_SECTIONS[section]}", at_key=True)
            return
        if not reader.knows(key):
            yield Finding(path, _unknown_key(key, reader, list(self.spec.tasks)), at_key=True)
            return
        parts = key.split(".")
        if section == "data" and not any(is_within(key, allowed) for allowed in SEARCHABLE_DATA):
            yield Finding(
                path,
                f"cannot be searched: it would change labels, splits or images between trials. "
                f"Of data, {one_of(SEARCHABLE_DATA, 'and')} can be.",
                at_key=True,
            )
        elif section == "tasks" and (len(parts) < 3 or parts[2] not in SEARCHABLE_OF_TASK):
            yield Finding(
                path,
                f"cannot be searched: it would change what is asked or measured between trials. "
                f"Of a task, {one_of(SEARCHABLE_OF_TASK, 'and')} can be.",
                at_key=True,
            )
        elif section == "tasks" and parts[1] not in self.spec.tasks and not self.tasks_unsure:
            yield Finding(path, _no_task(parts[1], self.spec.tasks), at_key=True)
        elif is_within(key, "training.select") or key in ("data", "tasks", "training"):
            yield Finding(path, "cannot be searched: trials would be judged differently", at_key=True)

    def _conditions(
        self, key: str, domain: Domain, space: Mapping[str, Domain], reader: SchemaReader
    ) -> Iterator[Finding]:
        for condition in domain.when:
            if condition not in space and not reader.knows(condition):
                tasks = list(self.spec.tasks)
                path = ("search", "space", key, "when", condition)
                yield Finding(path, _unknown_key(condition, reader, tasks), at_key=True)

    def _overlap(self, key: str, space: Mapping[str, Domain]) -> Iterator[Finding]:
        """A key and a part of it may both be searched, unless the first one's values set the part too."""
        for part in space:
            if part == key or not is_within(part, key):
                continue
            outer = space[key]
            values = outer.values if isinstance(outer, Choice) else ()
            if not isinstance(outer, Choice) or any(
                _sets(value, part.removeprefix(key + ".")) for value in values
            ):
                yield Finding(
                    ("search", "space", part),
                    f"already set by {key}, of which it is a part. Search one of the two.",
                    at_key=True,
                )

    def _values(self, key: str, domain: Domain, space: Mapping[str, Domain]) -> Iterator[Finding]:
        """Whether each value that `domain` may propose is allowed at `key`."""
        around = activation(domain, space)
        if isinstance(domain, Simplex) and key != "balancing.weights":
            yield Finding(
                ("search", "space", key),
                "a simplex of task weights belongs to balancing.weights",
                at_key=True,
            )
            return
        seen: set[str] = set()
        parts = tuple(key.split("."))
        for value, part in _extremes(domain):
            path = ("search", "space", key, *part)
            for finding in self._trial_findings({**around, key: value}):
                if not on_one_line(finding.path, parts):
                    continue  # of what stands around it, reported elsewhere
                inside = dotted(finding.path[len(parts) :])
                message = f"{inside}: {finding.message}" if inside else finding.message
                if message not in seen:
                    seen.add(message)
                    yield Finding(path, message)

    def _trial_findings(self, values: Mapping[str, Value]) -> list[Finding]:
        """What is wrong with the trial of `values`."""
        try:
            trial = self.spec.trial_config_with(values)
        except ValidationError as error:
            return explain(TrialConfig, self.spec.trial_values(values), error)
        except ValueError as error:
            return [Finding(tuple(next(iter(values)).split(".")), str(error))]
        findings = [] if self.tasks_unsure else [*names_of_tasks(trial)]
        workers = self.spec.compute.workers
        if isinstance(workers, int) and workers > trial.training.batch_size:
            findings.append(Finding(("training", "batch_size"), f"smaller than compute.workers, {workers}"))
        return findings

    def whole(self) -> Iterator[Finding]:
        """Conditions that cannot be, and combinations that no trial allows."""
        search = self.spec.search
        try:
            fixed = self.spec.trial_config().model_dump(mode="json")
            space = SearchSpace.from_config(search.space, tasks=list(self.spec.tasks), fixed=fixed)
            if search.sampler == "grid":
                space.grid_points()
        except SpaceError as error:
            path = ("search", "space", error.key) if error.key in search.space else ("search", "space")
            yield Finding(path, error.message, at_key=True)
            return
        yield from (misfits := [*self._misfits(space)])
        if misfits:
            return
        for number in range(SAMPLES if space.domains else 0):
            values = space.suggest(RandomSuggester(self.spec.seed, number))
            for finding in self._trial_findings(values):
                near = {
                    k: v for k, v in values.items() if on_one_line(tuple(k.split(".")[:-1]), finding.path)
                }
                said = str(finding).rstrip(".")
                message = f"{quoted(near or values)} cannot come together: {said}. Use `when`."
                yield Finding(("search", "space"), message, at_key=True)
                return

    def _misfits(self, space: SearchSpace) -> Iterator[Finding]:
        """What the balancing methods of the space do not find in its models."""

        def judge(values: Mapping[str, Value]) -> Misfit | None:
            return misfit(self.spec.trial_config_with(values))

        deciding, search = space.restricted(decides), self.spec.search
        if not deciding.domains:
            if (found := judge({})) is not None:
                yield as_finding(found)
            return
        combination = impossible(deciding, judge, seed=self.spec.seed, grid=search.sampler == "grid")
        if combination is not None and isinstance(search.space, Mapping):
            yield combination
        elif combination is not None:
            message = f"{combination.message} A ready-made space is changed by writing out its keys."
            yield Finding(("search", "space"), message, at_key=True)


def on_one_line(path: KeyPath, other: KeyPath) -> bool:
    """Whether one path is, or is part of, the other."""
    shorter = min(len(path), len(other))
    return path[:shorter] == other[:shorter]


def _no_task(name: str, tasks: Iterable[str]) -> str:
    return f"there is no task {name}.{did_you_mean(nearest(name, tasks))}"


def _unknown_key(key: str, reader: SchemaReader, tasks: list[str]) -> str:
    """`no such config key. Did you mean training.optimizer.lr?`."""
    names = [*tasks, "default"]
    known = [
        path.replace("<name>", name)
        for path in reader.known_paths()
        for name in (names if "<name>" in path else [""])
    ]
    last = key.rpartition(".")[2]
    near = nearest(key, known) or next((path for path in known if path.rpartition(".")[2] == last), None)
    return f"no such config key.{did_you_mean(near)}"


def _sets(value: Value, part: str) -> bool:
    try:
        look_up(value if isinstance(value, Mapping) else {}, part)
    except KeyError:
        return False
    return True


def _extremes(domain: Domain) -> Iterator[tuple[Value, tuple[Any, ...]]]:
    """Values that show whether all of a domain is allowed, and where in it they are written."""
    if isinstance(domain, Choice):
        for index, value in enumerate(domain.values):
            yield value, (domain.form, index)
    elif isinstance(domain, Simplex):
        yield {name: 1 / len(domain.names) for name in domain.names}, (domain.form,)
    else:
        for index, bound in enumerate(domain.bounds):
            yield (float(bound) if domain.form in ("float", "log") else bound), (domain.form, index)


def activation(domain: Domain, space: Mapping[str, Domain]) -> dict[str, Value]:
    """Values of other searched keys with which `domain` is active."""
    values: dict[str, Value] = {}
    waiting = [domain]
    while waiting:
        for condition, allowed in waiting.pop().when.items():
            if condition in space and condition not in values:
                values[condition] = allowed[0]
                waiting.append(space[condition])
    return values
