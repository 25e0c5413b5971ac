"""Searchers: the laws that all obey, then what each is for."""

import math
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from orchestrator.tuning.outcomes import Completed, Failed, Outcome, Pruned, recorded_outcome
from orchestrator.tuning.searchers import GridSearcher, RandomSearcher, Searcher, make_searcher
from orchestrator.tuning.tpe import TpeSearcher
from search_spaces.quasi_random import sobol_points
from search_spaces.search import SearchConfig
from search_spaces.space import SearchSpace
from search_spaces.suggesters import RandomSuggester
from search_spaces.values import identity

SAMPLERS = ["random", "quasi_random", "grid", "tpe"]
FORMS = {
    "lr": {"log": [1e-5, 1e-1]},
    "weights": {"simplex": ["a", "b", "c"]},
    "hidden": {"choice": [[], [64], [256, 128]]},
    "dropout": {"float": [0, 0.5], "when": {"hidden": [[64], [256, 128]]}},
    "width": {"log_int": [8, 64]},
}
SPACE = SearchSpace.from_config(SearchConfig.model_validate({"space": FORMS}).space)


def searcher_of(sampler: str, objectives: tuple[str, ...] = ("score",), seed: int = 0) -> Searcher:
    config = SearchConfig.model_validate({"sampler": sampler, "trials": 24})
    return make_searcher(config, SPACE, objectives, seed=seed)


def goodness(values: Mapping[str, Any]) -> dict[str, float]:
    """A smooth landscape; best score 0.5 at lr 1e-3, weights (.2, .5, .3), two layers, dropout 0.1."""
    lr = (math.log10(values["lr"]) + 3) ** 2
    drop = (values.get("dropout", 0.3) - 0.1) ** 2
    weights = values["weights"]
    off = sum((weights[name] - best) ** 2 for name, best in zip("abc", (0.2, 0.5, 0.3), strict=True))
    quality = math.exp(-0.1 * lr - drop)
    return {
        "score": 0.25 * len(values["hidden"]) - 0.3 * lr - 4 * drop - 4 * off,
        "a.accuracy": quality * math.sqrt(weights["a"]),
        "b.accuracy": quality * math.sqrt(weights["b"]),
    }


def an_outcome(number: int, values: Mapping[str, Any]) -> Outcome:
    """Every fifth trial fails, every third of the others is pruned."""
    if number % 5 == 4:
        return Failed()
    return Pruned(number % 4 + 1, goodness(values)) if number % 3 == 2 else Completed(goodness(values))


def play(
    searcher: Searcher, trials: int, slots: int = 2, outcome: Callable[..., Outcome] = an_outcome
) -> list[Any]:
    """Ask and tell as a search on some slots does."""
    proposals: list[Any] = []
    for number in range(trials):
        proposals.append(searcher.ask(number))
        if number >= slots - 1:
            ended = number - slots + 1
            searcher.tell(ended, outcome(ended, proposals[ended]))
    return proposals


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_proposal_is_of_the_space(sampler: str) -> None:
    assert all(values in SPACE for values in play(searcher_of(sampler), 24))


@pytest.mark.parametrize("objectives", [("score",), ("a.accuracy", "b.accuracy")])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equal_seeds_and_outcomes_give_equal_proposals(sampler: str, objectives: tuple[str, ...]) -> None:
    first, second = (play(searcher_of(sampler, objectives), 24) for _ in range(2))
    other = play(searcher_of(sampler, objectives, seed=1), 24)
    assert first == second != other


@pytest.mark.parametrize("objectives", [("score",), ("a.accuracy", "b.accuracy")])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_searcher_rebuilt_from_its_record_goes_on_alike(sampler: str, objectives: tuple[str, ...]) -> None:
    original = searcher_of(sampler, objectives)
    proposals = play(original, 20)
    rebuilt = searcher_of(sampler, objectives)
    order = random.Random(3).sample(range(20), 20)  # how things came about does not count
    for number in order:
        rebuilt.add(number, proposals[number])
    for number in order:
        if number < 19:
            rebuilt.tell(number, an_outcome(number, proposals[number]))
    assert rebuilt.ask(20) == original.ask(20)
    assert rebuilt.ask(21) == original.ask(21)


def test_a_random_proposal_depends_on_seed_and_number_alone() -> None:
    proposals = play(searcher_of("random"), 10)
    assert searcher_of("random").ask(7) == proposals[7]
    fewer = SearchSpace({"lr": SPACE.domains["lr"]})
    alone = RandomSearcher(fewer, seed=0).ask(7)
    assert alone is not None
    assert alone["lr"] == proposals[7]["lr"]


def test_a_quasi_random_proposal_depends_on_the_keys_seed_and_number_alone() -> None:
    proposals = play(searcher_of("quasi_random"), 10)
    assert searcher_of("quasi_random").ask(7) == proposals[7]
    written_otherwise = SearchSpace.from_config(
        SearchConfig.model_validate({"space": dict(reversed(FORMS.items()))}).space
    )
    assert searcher_in(written_otherwise, "quasi_random").ask(7) == proposals[7]


def test_without_repetitions_the_proposals_are_the_sequence() -> None:
    points = sobol_points(SPACE.drawn_names(), seed=0)
    assert play(searcher_of("quasi_random"), 20) == [SPACE.suggest(next(points)) for _ in range(20)]


IMPORTS_SCIPY = """
import sys
from orchestrator.tuning.searchers import make_searcher
from search_spaces.search import SearchConfig
from search_spaces.space import SearchSpace
config = SearchConfig.model_validate({"sampler": sys.argv[1], "space": {"x": {"int": [1, 4]}}})
make_searcher(config, SearchSpace.from_config(config.space), ("score",), seed=0).ask(0)
print("scipy" in sys.modules)
"""


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_scipy_is_imported_for_quasi_random_draws_only(sampler: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_SCIPY, sampler], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(sampler == "quasi_random")


def test_a_grid_is_proposed_whole_and_once() -> None:
    searcher = GridSearcher(SPACE, seed=0)
    size = len(SPACE.grid_points())
    points = [searcher.ask(number) for number in range(size)]
    assert {identity(point) for point in points} == {identity(point) for point in SPACE.grid_points()}
    assert searcher.ask(size) is None


def test_a_cut_short_grid_varies_all_keys() -> None:
    searcher = GridSearcher(SPACE, seed=0)
    points = [searcher.ask(number) for number in range(12)]
    assert all(len({identity(point[key]) for point in points if point and key in point}) > 1 for key in FORMS)


def test_tpe_starts_as_random_search_does() -> None:
    assert play(searcher_of("tpe"), 6) == play(searcher_of("random"), 6)
    assert play(searcher_of("tpe"), 24) != play(searcher_of("random"), 24)


def always_completed(number: int, values: Mapping[str, Any]) -> Outcome:
    return Completed(goodness(values))


def best_score(searcher: Searcher) -> float:
    return max(goodness(values)["score"] for values in play(searcher, 30, outcome=always_completed))


def dominated_area(searcher: Searcher) -> float:
    """Hypervolume of the two accuracies over 0."""
    points = [goodness(values) for values in play(searcher, 30, outcome=always_completed)]
    area = height = 0.0
    for a, b in sorted(((p["a.accuracy"], p["b.accuracy"]) for p in points), reverse=True):
        area += a * max(b - height, 0)
        height = max(b, height)
    return area


def test_tpe_is_better_than_random() -> None:
    seeds = range(3)
    for objectives, quality in [(("score",), best_score), (("a.accuracy", "b.accuracy"), dominated_area)]:
        tpe = statistics.median(quality(searcher_of("tpe", objectives, seed)) for seed in seeds)
        rest = statistics.median(quality(searcher_of("random", objectives, seed)) for seed in seeds)
        assert tpe > rest


def test_a_loss_is_minimised() -> None:
    searcher = TpeSearcher(SPACE, ["a.loss"], seed=0, trials=40)

    def loss(number: int, values: Mapping[str, Any]) -> Outcome:
        return Completed({"a.loss": abs(math.log10(values["lr"]) + 3)})

    proposals = play(searcher, 40, outcome=loss)
    tail = statistics.mean(abs(math.log10(values["lr"]) + 3) for values in proposals[25:])
    assert tail < statistics.mean(abs(math.log10(values["lr"]) + 3) for values in proposals[:10])


def told(objectives: tuple[str, ...], outcomes: Sequence[Outcome]) -> list[Any]:
    """The study's trials after these outcomes and one more trial that runs."""
    searcher = TpeSearcher(SPACE, objectives, seed=0, trials=40)
    for number, outcome in enumerate(outcomes):
        searcher.add(number, SPACE.suggest(RandomSuggester(0, number)))
        searcher.tell(number, outcome)
    searcher.add(len(outcomes), SPACE.suggest(RandomSuggester(0, len(outcomes))))
    return list(searcher.study(seed=0).trials)


def test_with_one_objective_pruned_trials_keep_their_value() -> None:
    trials = told(
        ("score",), [Completed({"score": 0.5, "a.loss": math.nan}), Pruned(3, {"score": 0.2}), Failed()]
    )
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "RUNNING"]
    assert trials[0].value == 0.5
    assert trials[1].intermediate_values == {3: 0.2}


def test_with_several_objectives_pruned_trials_are_bad_and_valueless() -> None:
    both = {"a.accuracy": 0.9, "b.accuracy": 0.1}
    trials = told(("a.accuracy", "b.accuracy"), [Completed(both), Pruned(3, both), Failed()])
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "RUNNING"]
    assert trials[0].values == [0.9, 0.1]
    assert trials[1].intermediate_values == {}


@pytest.mark.parametrize("metrics", [{}, {"score": math.nan}, {"score": math.inf}])
def test_an_objective_that_is_missing_or_not_finite_is_left_out(metrics: dict[str, float]) -> None:
    assert [trial.state.name for trial in told(("score",), [Completed(metrics), Pruned(1, metrics)])] == [
        "RUNNING"
    ]


def test_so_many_pruned_trials_that_some_were_called_good_are_cut() -> None:
    both = {"a.accuracy": 0.9, "b.accuracy": 0.1}
    names = [
        trial.state.name
        for trial in told(("a.accuracy", "b.accuracy"), [Completed(both)] + [Pruned(1, both)] * 30)
    ]
    assert names.count("PRUNED") == 9
    assert names.count("COMPLETE") == 1


def test_with_several_objectives_only_completed_trials_end_the_start_up() -> None:
    searcher = searcher_of("tpe", ("a.accuracy", "b.accuracy"))

    def pruned(number: int, values: Mapping[str, Any]) -> Outcome:
        return Pruned(1, goodness(values))

    assert play(searcher, 24, outcome=pruned) == play(searcher_of("random"), 24)


def space_of(**domains: Any) -> SearchSpace:
    return SearchSpace.from_config(SearchConfig.model_validate({"space": domains}).space)


def searcher_in(space: SearchSpace, sampler: str) -> Searcher:
    config = SearchConfig.model_validate({"sampler": sampler, "trials": 12})
    return make_searcher(config, space, ("score",), seed=0)


def by_x_and_y(number: int, values: Mapping[str, Any]) -> Outcome:
    return Completed({"score": values["x"] - values["y"]})


@pytest.mark.parametrize("sampler", ["random", "quasi_random", "tpe"])
def test_a_finite_space_is_proposed_whole_and_once(sampler: str) -> None:
    searcher = searcher_in(space_of(x={"int": [1, 4]}, y={"choice": [1, 2, 3]}), sampler)
    proposals = play(searcher, 12, slots=1, outcome=by_x_and_y)
    assert len({identity(values) for values in proposals}) == 12
    assert searcher.ask(12) is None


@pytest.mark.parametrize("sampler", ["random", "quasi_random"])
def test_a_longer_search_of_a_finite_space_extends_a_shorter_one(sampler: str) -> None:
    space = space_of(x={"int": [1, 4]}, y={"choice": [1, 2, 3]})
    one_by_one = [searcher_in(space, sampler).ask(number) for number in range(12)]
    searcher = searcher_in(space, sampler)
    assert [searcher.ask(number) for number in range(12)] == one_by_one


@pytest.mark.parametrize("sampler", ["random", "quasi_random", "tpe"])
def test_a_part_without_anything_to_vary_is_tried_once(sampler: str) -> None:
    """Half of all draws are the one linear head, although the space has infinitely many points."""
    space = space_of(
        hidden={"choice": [[], [64]]}, x={"float": [0, 1], "when": {"hidden": [[64]]}}, y={"choice": [0]}
    )
    proposals = play(searcher_in(space, sampler), 12, outcome=lambda *trial: Completed({"score": 0.0}))
    assert [values["hidden"] for values in proposals].count([]) == 1


@pytest.mark.parametrize("sampler", ["random", "quasi_random"])
def test_what_is_almost_never_drawn_is_found_at_the_end(sampler: str) -> None:
    space = space_of(x={"log_int": [1, 10_000]})
    searcher = searcher_in(space, sampler)
    proposals = [searcher.ask(number) for number in range(600)]
    assert len({identity(values) for values in proposals}) == 600


def test_a_large_space_has_no_list_of_its_proposals() -> None:
    assert space_of(x={"int": [1, 10_000]}).every_proposal() is not None
    assert space_of(x={"int": [1, 10_001]}).every_proposal() is None
    assert space_of(x={"int": [1, 10**15]}, y={"int": [1, 10**15]}).every_proposal() is None
    assert space_of(x={"float": [0, 1]}).every_proposal() is None


def test_trials_of_another_space_are_passed_over() -> None:
    searcher = searcher_of("tpe")
    for number in range(30):
        searcher.add(number, {"gone": number})
        searcher.tell(number, Completed({"score": 1.0}))
    assert searcher.ask(30) in SPACE


def test_outcomes_are_read_from_the_journal() -> None:
    ended = {"event": "trial_ended", "trial": "t000", "epochs": 3, "metrics": {"score": 0.5}}
    assert recorded_outcome({**ended, "status": "completed"}) == Completed({"score": 0.5})
    assert recorded_outcome({**ended, "status": "pruned"}) == Pruned(3, {"score": 0.5})
    assert recorded_outcome({**ended, "status": "failed"}) == Failed()
