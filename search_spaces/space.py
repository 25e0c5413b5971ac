"""A search space: config keys and the domains they are drawn from, some only under conditions."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from search_spaces.domains import Domain
from search_spaces.named import NAMED_SPACES
from search_spaces.suggesters import Suggester
from search_spaces.values import Value, identity, is_within, look_up, plain

GRID_LIMIT = 100_000
"""No grid may have more points."""


FEW_PROPOSALS = 10_000
"""Of a space that has so many or fewer, all are known; of a larger one, a search hardly meets the end."""


class SpaceError(ValueError):
    """A search space that cannot be meant. `key`: the searched key at fault, None for the whole space."""

    def __init__(self, message: str, key: str | None = None):
        super().__init__(f"{key}: {message}" if key else message)
        self.message = message
        self.key = key


@dataclass(frozen=True)
class SearchSpace:
    """Domains by dotted config key, every key after the keys that its conditions name.

    A key is *active* in a proposal while all its conditions hold; inactive keys are absent from it, and a
    condition on an inactive key does not hold. Conditions may also name a part of a searched key
    (`training.optimizer.name` where `training.optimizer` is chosen among mappings).
    """

    domains: Mapping[str, Domain]

    @classmethod
    def from_config(
        cls,
        space: Mapping[str, Domain] | Sequence[str],
        *,
        tasks: Sequence[str] = (),
        fixed: Mapping[str, Value] | None = None,
    ) -> Self:
        """Build the space of a `search` section.

        Args:
            space: Domains by config key, or names of ready-made spaces.
            tasks: Names of the tasks, for ready-made spaces.
            fixed: The nested config around the search. Conditions on keys that are not searched are decided
                by it at once; what can then never be active is left out.

        Raises:
            SpaceError: a condition names a key that is neither searched nor in `fixed`, or a value that the
                key never takes; conditions wait for each other; an unknown or unfitting ready-made space.

        """
        domains = dict(space) if isinstance(space, Mapping) else _ready_made(space, tasks)
        active = {
            key: domain
            for key, domain in domains.items()
            if _fixed_conditions_hold(key, domain, domains, fixed or {})
        }
        for key, domain in active.items():
            _require_possible(key, domain, active)
        return cls(_in_order(active, domains))

    def leaves(self) -> tuple[str, ...]:
        """Dotted config keys of the plain values and lists that some proposal sets."""
        return tuple(dict.fromkeys(leaf for key, own in self.domains.items() for leaf in own.leaves(key)))

    def restricted(self, wanted: Callable[[str], bool]) -> Self:
        """The same space of the `wanted` keys alone, and of those that their conditions depend on."""
        kept = {key for key in self.domains if wanted(key)}
        for key in reversed(tuple(self.domains)):  # every key comes after those it depends on
            if key in kept:
                kept |= {
                    source
                    for condition in self.domains[key].when
                    if (source := _source(condition, self.domains)) is not None
                }
        return type(self)({key: domain for key, domain in self.domains.items() if key in kept})

    def drawn_names(self) -> tuple[str, ...]:
        """All that some proposal draws under."""
        return tuple(name for key, domain in self.domains.items() for name in domain.drawn_names(key))

    def suggest(self, suggester: Suggester) -> dict[str, Value]:
        """One proposal: the active keys and their values."""
        values: dict[str, Value] = {}
        for key, domain in self.domains.items():
            if self._is_active(domain, values):
                values[key] = domain.suggest(key, suggester)
        return values

    def locate(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Find the draws, by drawn name, that `suggest` makes the proposal `values` of.

        Raises:
            ValueError: it is none of this space.
        """
        if values not in self:
            raise ValueError(f"{dict(values)} is no proposal of this search space")
        located = (self.domains[key].locate(key, value) for key, value in values.items())
        return {name: number for draws in located for name, number in draws.items()}

    def grid(self) -> Iterator[dict[str, Value]]:
        """Every combination of the domains' grid values, once; the last key varies fastest."""
        return self.combinations(lambda key: self.domains[key].grid())

    def every_proposal(self) -> list[dict[str, Value]] | None:
        """All that `suggest` can make, once; None: infinitely many, or more than `FEW_PROPOSALS`."""
        try:
            found = self.combinations(lambda key: _every_value(self.domains[key]))
            points = list(itertools.islice(found, FEW_PROPOSALS + 1))
        except _Endless:
            return None
        return points if len(points) <= FEW_PROPOSALS else None

    def grid_points(self) -> list[dict[str, Value]]:
        """List the grid.

        Raises:
            SpaceError: there are more than `GRID_LIMIT` points.

        """
        points = list(itertools.islice(self.grid(), GRID_LIMIT + 1))
        if len(points) > GRID_LIMIT:
            raise SpaceError(
                f"the grid has more than {GRID_LIMIT:,} points. Give `points: 2` to the ranges that "
                "matter least, search fewer keys, or use the sampler random, quasi_random or tpe"
            )
        return points

    def __contains__(self, values: object) -> bool:
        """Whether `values` could be proposed: exactly the active keys, each with a value of its domain."""
        if not isinstance(values, Mapping):
            return False
        seen: dict[str, Value] = {}
        for key, domain in self.domains.items():
            if self._is_active(domain, seen):
                if key not in values or not domain.contains(values[key]):
                    return False
                seen[key] = values[key]
        return seen.keys() == values.keys()

    def combinations(self, values_of: Callable[[str], Sequence[Value]]) -> Iterator[dict[str, Value]]:
        """Every proposal whose values are among those of `values_of` its keys, once."""
        return self._combinations(tuple(self.domains), {}, values_of)

    def _combinations(
        self,
        keys: tuple[str, ...],
        values: dict[str, Value],
        values_of: Callable[[str], Sequence[Value]],
    ) -> Iterator[dict[str, Value]]:
        if not keys:
            yield dict(values)
            return
        key, *rest = keys
        if not self._is_active(self.domains[key], values):
            yield from self._combinations(tuple(rest), values, values_of)
            return
        for value in values_of(key):
            yield from self._combinations(tuple(rest), {**values, key: plain(value)}, values_of)

    def _is_active(self, domain: Domain, values: Mapping[str, Value]) -> bool:
        return all(
            (source := _source(condition, self.domains)) is None  # decided by the fixed config
            or (source in values and _holds(condition, allowed, source, values[source]))
            for condition, allowed in domain.when.items()
        )


class _Endless(Exception):  # noqa: N818 - named for what it says
    """Infinitely many values."""


def _every_value(domain: Domain) -> Sequence[Value]:
    values = domain.every_value()
    if values is None:
        raise _Endless
    return values


def _source(condition: str, domains: Mapping[str, Domain]) -> str | None:
    """Find the searched key that the key of a condition is, or is a part of."""
    around = [key for key in domains if is_within(condition, key)]
    return max(around, key=len, default=None)


def _holds(condition: str, allowed: Sequence[Value], source: str, value: Value) -> bool:
    try:
        found = value if condition == source else look_up(value, condition.removeprefix(source + "."))
    except KeyError:
        return False
    return identity(found) in {identity(choice) for choice in allowed}


def _fixed_conditions_hold(
    key: str, domain: Domain, domains: Mapping[str, Domain], fixed: Mapping[str, Value]
) -> bool:
    holds = True
    for condition, allowed in domain.when.items():
        if _source(condition, domains) is not None:
            continue
        parts = [other for other in domains if is_within(other, condition)]
        if parts:
            raise SpaceError(
                f"its condition names {condition}, of which only {', '.join(parts)} is searched", key
            )
        try:
            found = look_up(fixed, condition)
        except KeyError:
            raise SpaceError(
                f"its condition names {condition}, which is neither searched nor set in the experiment file",
                key,
            ) from None
        holds &= identity(found) in {identity(choice) for choice in allowed}
    return holds


def _require_possible(key: str, domain: Domain, domains: Mapping[str, Domain]) -> None:
    for condition, allowed in domain.when.items():
        if condition not in domains:
            continue
        for value in allowed:
            if not domains[condition].contains(value):
                hint = ""
                if domains[condition].contains(list(allowed)):
                    hint = f"; for the one value {list(allowed)} write [{list(allowed)}]"
                raise SpaceError(
                    f"its condition wants {condition} to be {value!r}, which it never is{hint}", key
                )


def _in_order(active: Mapping[str, Domain], domains: Mapping[str, Domain]) -> dict[str, Domain]:
    """`active` with every key after those it depends on, otherwise as given."""
    ordered: dict[str, Domain] = {}
    waiting = {
        key: {source for condition in domain.when if (source := _source(condition, domains)) is not None}
        for key, domain in active.items()
    }
    # What depends on a key that is never active is never active itself.
    while dead := [key for key, sources in waiting.items() if not sources <= waiting.keys()]:
        for key in dead:
            del waiting[key]
    while waiting:
        ready = [key for key, sources in waiting.items() if sources <= ordered.keys()]
        if not ready:
            raise SpaceError(
                f"the conditions of {', '.join(waiting)} wait for each other", next(iter(waiting))
            )
        ordered[ready[0]] = active[ready[0]]
        del waiting[ready[0]]
    return ordered


def _ready_made(names: Sequence[str], tasks: Sequence[str]) -> dict[str, Domain]:
    domains: dict[str, Domain] = {}
    for name in names:
        if name not in NAMED_SPACES:
            raise SpaceError(f"no ready-made space is called {name}; there are {', '.join(NAMED_SPACES)}")
        try:
            searched = NAMED_SPACES[name](tasks)
        except ValueError as error:
            raise SpaceError(str(error)) from None
        for key, domain in searched.items():
            if key in domains:
                raise SpaceError(
                    f"{name} searches {key}, which an earlier ready-made space searches too", key
                )
            domains[key] = domain
    return domains
