"""Which values of a search space cannot come together: known before a trial is paid for, with what to do about it."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.spec.finding import Finding, one_of, quoted
from search_spaces.domains import Choice
from search_spaces.space import SearchSpace
from search_spaces.suggesters import RandomSuggester
from search_spaces.values import Value, identity, leaf_keys, look_up
from trainables.config.fit import Misfit

Judge = Callable[[Mapping[str, Value]], Misfit | None]
"""What does not go together in the trial of a proposal; raises `ValueError` where values are wrong by themselves."""
MOST = 3_000
"""Combinations that are tried, 0.1 ms each; of more, as many random ones."""


@dataclass(frozen=True)
class _Tried:
    """A combination, and what is wrong with it."""

    values: Mapping[str, Value]
    misfit: Misfit | None

    def agrees(self, part: Mapping[str, Value]) -> bool:
        """Whether it has these values."""
        return all(
            key in self.values and identity(self.values[key]) == identity(value)
            for key, value in part.items()
        )


def as_finding(misfit: Misfit) -> Finding:
    """What is said of a file that makes this misfit."""
    return Finding(tuple(misfit.key.split(".")), misfit.message)


def impossible(space: SearchSpace, judge: Judge, *, seed: int, grid: bool) -> Finding | None:
    """The smallest part of the first combination of `space` that makes a misfit, in a sentence with a cure.

    Args:
        space: the keys that decide; they must be few.
        judge: judges a proposal of it.
        seed: of random combinations, where there are too many.
        grid: whether intervals are searched at their grid points; else their values are as good as random.
    """
    tried = []
    for values in _combinations(space, seed=seed, grid=grid):
        with contextlib.suppress(ValueError):  # said elsewhere
            tried.append(_Tried(values, judge(values)))
    first = next((own for own in tried if own.misfit is not None), None)
    if first is None or first.misfit is None:
        return None
    part = _smallest(first, tried)
    said = str(as_finding(first.misfit))
    if not part:
        return Finding(("search", "space"), f"no trial of it can be: {said}", at_key=True)
    *others, last = part
    alike = [value for value in _values_of(last, tried) if not _fits({**part, last: value}, tried)]
    named = [f"{key} {_said(part[key])}" for key in others]
    named.append(f"{last} {one_of(map(_said, alike), limit=8)}")
    key, cure = _cure(space, first.misfit.key, part, tried, judge) or (
        last,
        f"Or take {one_of(map(_said, alike), 'and', limit=8)} out of {last}",
    )
    verb = "cannot come together" if others else "cannot be tried"
    return Finding(("search", "space", key), f"{' and '.join(named)} {verb}: {said}. {cure}.", at_key=True)


def _combinations(space: SearchSpace, *, seed: int, grid: bool) -> list[dict[str, Value]]:
    """All combinations of the values that `space` may propose, or many of them."""

    def values_of(key: str) -> Sequence[Value]:
        domain = space.domains[key]
        every = domain.grid() if grid else domain.every_value()
        return [domain.suggest(key, RandomSuggester(seed, 0))] if every is None else every

    found = list(itertools.islice(space.combinations(values_of), MOST + 1))
    if len(found) <= MOST:
        return found
    return [space.suggest(RandomSuggester(seed, number)) for number in range(MOST)]


def _smallest(impossible: _Tried, tried: Sequence[_Tried]) -> dict[str, Value]:
    """The fewest values of an impossible combination with which no other one is possible either."""
    values = impossible.values
    for size in range(len(values)):
        for keys in itertools.combinations(values, size):
            part = {key: values[key] for key in keys}
            if not _fits(part, tried):
                return part
    return dict(values)


def _fits(part: Mapping[str, Value], tried: Sequence[_Tried]) -> bool:
    """Whether some possible combination has these values."""
    return any(own.misfit is None and own.agrees(part) for own in tried)


def _values_of(key: str, tried: Sequence[_Tried]) -> list[Value]:
    """The values of `key` that were tried, once."""
    found = {identity(own.values[key]): own.values[key] for own in tried if key in own.values}
    return list(found.values())


def _cure(
    space: SearchSpace, first: str, part: Mapping[str, Value], tried: Sequence[_Tried], judge: Judge
) -> tuple[str, str] | None:
    """A condition under which one key of `part`, preferably `first`, is only searched where all its values can be."""
    keys = [*reversed(tuple(part))]
    for key in sorted(keys, key=lambda own: own != first):
        without = {own: value for own, value in part.items() if own != key}
        try:
            if judge(without) is not None:  # what the file says in place of it is no better
                continue
        except ValueError:
            continue
        both = [own for own in tried if key in own.values]
        for other in reversed(tuple(without)):
            if not isinstance(space.domains[other], Choice):
                continue
            refused = [own for own in both if own.misfit is not None]
            allowed = [
                value
                for value in _values_of(other, both)
                if not any(own.agrees({other: value}) for own in refused)
            ]
            if allowed:
                return key, f"Or give {key} `when: {_condition(other, _values_of(other, tried), allowed)}`"
    return None


def _condition(key: str, values: Sequence[Value], allowed: Sequence[Value]) -> str:
    """`{model.sharing.kind: [hard, mtan]}`: the shortest condition that holds for `allowed` alone of `values`."""
    refused = [value for value in values if value not in allowed]
    for leaf in dict.fromkeys(leaf for value in values for leaf in leaf_keys(key, value)):
        if leaf == key:
            continue
        inner = leaf.removeprefix(key + ".")
        yes, no = (list(_parts(group, inner)) for group in (allowed, refused))
        if len(yes) == len(allowed) and not any(value in no for value in yes):
            return f"{{{leaf}: [{', '.join(dict.fromkeys(map(_said, yes)))}]}}"
    return f"{{{key}: [{', '.join(map(_said, allowed))}]}}"


def _parts(values: Sequence[Value], inner: str) -> Iterator[Any]:
    for value in values:
        try:
            yield look_up(value if isinstance(value, Mapping) else {}, inner)
        except KeyError:
            continue


def _said(value: Value) -> str:
    """As it would stand in a file: words without quotes."""
    return value if isinstance(value, str) else quoted(value)
