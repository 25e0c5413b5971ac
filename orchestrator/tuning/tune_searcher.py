"""Hands the proposals of a searcher to Ray Tune as trials with names of our own."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from ray.tune.experiment import Experiment, Trial
from ray.tune.search import SearchAlgorithm

from orchestrator.tuning.outcomes import recorded_outcome
from orchestrator.tuning.retries import RetriedTrial
from orchestrator.tuning.searchers import Searcher
from search_spaces.values import Value

Assign = Callable[[int, dict[str, Value]], dict[str, Any]]
"""From a trial's number and proposed values to the config that its trainable gets."""


def trial_name(number: int) -> str:
    """Name trial `number`: t000, t001 and so on."""
    return f"t{number:03d}"


class TuneSearcher(SearchAlgorithm):  # type: ignore[misc]
    """Tune's side of a `Searcher`.

    It implements Tune's `SearchAlgorithm`, not `ray.tune.search.Searcher`, because the generator around those
    makes up the trials' names.

    `hear` takes the events of the journal. During a search it is one more listener, and is how the searcher
    learns how trials ended; before one, it is given the whole journal of an interrupted search. Trials that
    then have started and not ended run first, again with their recorded values and names.
    """

    def __init__(self, searcher: Searcher, assign: Assign, *, trials: int, slots: int):
        """Propose up to `trials` trials, of which `slots` may run at the same time."""
        self.slots = slots
        """May be changed while the search runs."""
        self._searcher = searcher
        self._assign = assign
        self._trials = trials
        self._experiment: Any = None
        self._running: dict[str, RetriedTrial] = {}
        self._known: dict[int, str] = {}
        self._waiting: dict[int, dict[str, Value]] = {}
        self._heard = 0
        """Beginnings and ends of trials, as the journal has them: all that a proposal can depend on."""

    def hear(self, event: Mapping[str, Any]) -> None:
        """Learn from an event of the journal; those of other kinds are passed over."""
        if event["event"] in ("trial_started", "trial_ended"):
            self._heard += 1
        if event["event"] == "trial_started":
            number = event["number"]
            if number not in self._known:
                self._known[number] = event["trial"]
                self._waiting[number] = event["config"]
                self._searcher.add(number, event["config"])
        elif event["event"] == "trial_ended" and event["status"] != "interrupted":
            number = next(number for number, name in self._known.items() if name == event["trial"])
            self._waiting.pop(number, None)
            self._searcher.tell(number, recorded_outcome(event))

    @property
    def running(self) -> int:
        """How many trials have been handed to Tune and have not ended."""
        return len(self._running)

    @property
    def total_samples(self) -> int:
        """How many trials there may be at most."""
        return self._trials

    def set_search_properties(self, *arguments: Any, **more: Any) -> bool:
        """Accept that Tune has nothing to say about the search."""
        return True

    def add_configurations(self, experiments: list[Experiment]) -> None:
        """Take the experiment that says how trials run."""
        (self._experiment,) = experiments

    def next_trial(self) -> Trial | None:
        """Make the next trial, None if no slot is free or none is left.

        None as well while a trial waits for its second slot: Tune would give a free one to the new trial, and leave the
        old one waiting for as long as there are new ones.
        """
        if self.is_finished() or len(self._running) >= self.slots or self._one_waits_again():
            return None
        proposal = self._next_proposal()
        if proposal is None:
            self.set_finished()
            return None
        number, values = proposal
        self._known[number] = trial_name(number)
        if not self._waiting and len(self._known) >= self._trials:
            self.set_finished()  # at once, so that Tune lets go of slots that will not be needed again
        spec = self._experiment.spec
        trial = self._running[trial_name(number)] = RetriedTrial(
            self._experiment.run_identifier,
            trial_id=trial_name(number),
            config=self._assign(number, values) | {"heard": self._heard},
            storage=self._experiment.storage,
            placement_group_factory=spec.get("resources_per_trial"),
            checkpoint_config=self._experiment.checkpoint_config,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        )
        return trial

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Free the slot of a trial. How it ended is heard from the journal."""
        self._running.pop(trial_id, None)

    def has_more(self) -> bool:
        """Whether a trial is left to run: after a whole journal was heard, there may be none."""
        return bool(self._waiting) or len(self._known) < self._trials

    def _one_waits_again(self) -> bool:
        return any(trial.deaths and trial.status == Trial.PENDING for trial in self._running.values())

    def _next_proposal(self) -> tuple[int, dict[str, Value]] | None:
        if self._waiting:
            number = min(self._waiting)
            return number, self._waiting.pop(number)
        if len(self._known) >= self._trials:
            return None
        number = next(number for number in count() if number not in self._known)
        values = self._searcher.ask(number)
        return None if values is None else (number, values)


def _name(trial: Trial) -> str:
    return str(trial.trial_id)
