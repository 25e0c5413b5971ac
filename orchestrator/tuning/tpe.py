"""The tree-structured Parzen estimator, through Optuna."""

import math
import random
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.tuning.distinct import draw_new
from orchestrator.tuning.outcomes import Completed, Failed, Outcome, Pruned
from search_spaces.objectives import is_minimised
from search_spaces.space import SearchSpace
from search_spaces.suggesters import RandomSuggester, random_suggesters
from search_spaces.values import Value, identity

REDRAWS = 5
"""A proposal that repeats a known trial is drawn again so many times, and then at random."""
PRUNED_PER_COMPLETE = 9
"""With several objectives: Optuna calls the best tenth of all trials good, and only completed ones may be."""


@dataclass(frozen=True)
class _Known:
    values: Mapping[str, Value]
    outcome: Outcome | None = None


class TpeSearcher:
    """Draws where good trials are dense and others are not.

    For one objective Bergstra et al. (NeurIPS 2011) with a joint model of the keys that are active together
    (Falkner et al., ICML 2018); for several Ozaki et al. (GECCO 2020). Trials that run count as bad, so that
    simultaneous ones spread (the constant liar).

    Optuna's sampler keeps a stream of random numbers, and its study remembers the order of events. Here every
    proposal gets a study and a sampler of its own, made of the known trials in the order of their numbers and
    of a seed from (seed, number): 10 ms for 24 known trials, 75 ms for 500.

    Outcomes become Optuna's states. Completed: COMPLETE. Pruned, with one objective: PRUNED with its value
    so far, which ranks it behind all completed trials, first those that came farthest. Pruned, with several:
    PRUNED without a value, which makes it one of the bad; it never counts as start-up. Failed, or an
    objective that is missing or not finite: left out, as Optuna leaves out FAIL.
    """

    def __init__(self, space: SearchSpace, objectives: Sequence[str], *, seed: int, trials: int):
        """Propose from `space` for `objectives`; a quarter of `trials` is start-up, but 4 to 10."""
        self._space = space
        self._objectives = tuple(objectives)
        self._seed = seed
        self._startup = min(10, max(4, trials // 4))
        self._known: dict[int, _Known] = {}
        self._preloading: threading.Thread | None = None

    def ask(self, number: int) -> dict[str, Value] | None:
        """Propose the values of trial `number`: drawn at random until enough trials have ended."""
        seen = {identity(known.values) for known in self._known.values()}
        values: dict[str, Value] | None = None
        for attempt in range(1 + REDRAWS):
            values = self._draw(number, attempt)
            if identity(values) not in seen:
                break
        else:
            suggesters = random_suggesters(self._seed, number)
            values = draw_new(self._space, seen, suggesters, seed=self._seed, number=number)
        if values is not None:
            self._known[number] = _Known(values)
        return values

    def add(self, number: int, values: Mapping[str, Value]) -> None:
        """Make a trial known that was proposed earlier."""
        self._known[number] = _Known(dict(values))

    def tell(self, number: int, outcome: Outcome) -> None:
        """Learn how a known trial ended."""
        self._known[number] = replace(self._known[number], outcome=outcome)
        if self._preloading is None:  # long before the start-up is over, and while the slots are busy anyway
            self._preloading = threading.Thread(target=_import_optuna, daemon=True)
            self._preloading.start()

    def study(self, *, seed: int) -> Any:
        """Build the Optuna study of the known trials, with a sampler seeded by `seed`."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=0, multivariate=True, group=True, constant_liar=True, seed=seed
            )
        directions = ["minimize" if is_minimised(objective) else "maximize" for objective in self._objectives]
        study = optuna.create_study(directions=directions, sampler=sampler)
        trials = [trial for number in sorted(self._known) if (trial := self._frozen(self._known[number]))]
        study.add_trials(self._without_excess(trials))
        return study

    def _draw(self, number: int, attempt: int) -> dict[str, Value]:
        if sum(self._is_informative(known) for known in self._known.values()) < self._startup:
            return self._space.suggest(RandomSuggester(self._seed, number, attempt))
        seed = random.Random(f"{self._seed}/{number}/{attempt}").getrandbits(32)  # noqa: S311 - nothing secret
        return self._space.suggest(_TrialSuggester(self.study(seed=seed).ask()))

    def _is_informative(self, known: _Known) -> bool:
        match known.outcome:
            case Completed(metrics):
                return self._goals(metrics) is not None
            case Pruned(_, metrics):
                return len(self._objectives) == 1 and self._goals(metrics) is not None
            case _:
                return False

    def _goals(self, metrics: Mapping[str, float]) -> list[float] | None:
        """Take the objectives' values out of `metrics`; None if one is missing or not finite."""
        goals = [metrics.get(objective, math.nan) for objective in self._objectives]
        return goals if all(math.isfinite(goal) for goal in goals) else None

    def _frozen(self, known: _Known) -> Any | None:
        """Turn a trial into Optuna's form; None: it says nothing about the space."""
        from optuna.trial import TrialState, create_trial

        if known.values not in self._space:
            return None  # proposed when the space was another one
        parts = _Parts(self._space.locate(known.values))
        self._space.suggest(parts)
        arguments: dict[str, Any] = {"params": parts.params, "distributions": parts.distributions}
        match known.outcome:
            case None:
                return create_trial(state=TrialState.RUNNING, **arguments)
            case Completed(metrics):
                goals = self._goals(metrics)
                return goals and create_trial(state=TrialState.COMPLETE, values=goals, **arguments)
            case Pruned(epochs, metrics):
                goals = self._goals(metrics)
                if goals is None:
                    return None
                reached = {epochs: goals[0]} if len(goals) == 1 else {}
                return create_trial(state=TrialState.PRUNED, intermediate_values=reached, **arguments)
            case Failed():
                return None

    def _without_excess(self, trials: list[Any]) -> list[Any]:
        """Leave out the first of the pruned trials where so many would have some of them called good."""
        if len(self._objectives) == 1:
            return trials
        pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
        complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
        excess = {id(trial) for trial in pruned[: max(len(pruned) - PRUNED_PER_COMPLETE * len(complete), 0)]}
        return [trial for trial in trials if id(trial) not in excess]


class _TrialSuggester:
    """Draws through an Optuna trial."""

    def __init__(self, trial: Any):
        self._trial = trial

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._trial.suggest_float(name, low, high, log=log))

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self._trial.suggest_int(name, low, high, log=log))

    def option(self, name: str, count: int) -> int:
        return int(self._trial.suggest_categorical(name, list(range(count))))


class _Parts:
    """Answers with known draws, and notes them with their distributions as Optuna wants them."""

    def __init__(self, draws: Mapping[str, float]):
        self._draws = draws
        self.params: dict[str, float] = {}
        self.distributions: dict[str, Any] = {}

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        from optuna.distributions import FloatDistribution

        return self._note(name, FloatDistribution(low, high, log=log))

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        from optuna.distributions import IntDistribution

        return int(self._note(name, IntDistribution(low, high, log=log)))

    def option(self, name: str, count: int) -> int:
        from optuna.distributions import CategoricalDistribution

        return int(self._note(name, CategoricalDistribution(list(range(count)))))

    def _note(self, name: str, distribution: Any) -> float:
        self.distributions[name] = distribution
        self.params[name] = self._draws[name]
        return self._draws[name]


def _import_optuna() -> None:
    import optuna

    optuna.samplers.TPESampler  # noqa: B018 - Optuna loads its parts when they are first named
