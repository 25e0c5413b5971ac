"""What a config key may be drawn from. One class, one form in YAML."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Discriminator,
    Field,
    Strict,
    Tag,
    model_validator,
)
from typing_extensions import override

from search_spaces.domain_base import DomainBase, Finite, PlainValue, Points, is_number
from search_spaces.simplex import Simplex
from search_spaces.suggesters import Suggester, between
from search_spaces.values import Value, identity, leaf_keys, plain

FEW = 10
"""So many integers are all points of a grid; of more, as many spread evenly."""


class Choice(DomainBase):
    """`{choice: [a, b]}`: one of some values, which may be lists, mappings or null."""

    form = "choice"

    values: tuple[PlainValue, ...] = Field(alias="choice", min_length=1)
    """The values, each equally likely at first."""

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        seen = set()
        for value in self.values:
            if identity(value) in seen:
                raise ValueError(f"the choice {value!r} is given twice")
            seen.add(identity(value))
        return self

    @override
    def leaves(self, key: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(leaf for value in self.values for leaf in leaf_keys(key, value)))

    @override
    def suggest(self, name: str, suggester: Suggester) -> Value:
        return plain(self.values[suggester.option(name, len(self.values))])

    @override
    def grid(self) -> tuple[Value, ...]:
        return self.values

    @override
    def every_value(self) -> tuple[Value, ...]:
        return self.values

    @override
    def contains(self, value: Value) -> bool:
        return identity(value) in {identity(choice) for choice in self.values}

    @override
    def locate(self, name: str, value: Value) -> dict[str, float]:
        return {name: [identity(choice) for choice in self.values].index(identity(value))}


class _Interval(DomainBase):
    log: ClassVar[bool]

    points: Points = 3
    """Grid search only: so many values, evenly spread, the bounds included."""

    @property
    @abstractmethod
    def _bounds(self) -> tuple[float, float]: ...

    def suggest(self, name: str, suggester: Suggester) -> float:
        low, high = self._bounds
        return suggester.number(name, low, high, log=self.log)

    def grid(self) -> tuple[float, ...]:
        return _spread(*self._bounds, self.points, log=self.log)

    def contains(self, value: Value) -> bool:
        low, high = self._bounds
        return is_number(value) and low <= value <= high

    def locate(self, name: str, value: Value) -> dict[str, float]:
        return {name: value}


class Uniform(_Interval):
    """`{float: [low, high]}`: uniform between two numbers."""

    form = "float"
    log = False

    bounds: tuple[Finite, Finite] = Field(alias="float")

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        _require_order(*self.bounds)
        return self

    @property
    def _bounds(self) -> tuple[float, float]:
        return self.bounds


class LogUniform(_Interval):
    """`{log: [low, high]}`: uniform in the logarithm, for learning rates and other scales."""

    form = "log"
    log = True

    bounds: tuple[Finite, Finite] = Field(alias="log")

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        _require_order(*self.bounds)
        _require_positive(self.bounds[0])
        return self

    @property
    def _bounds(self) -> tuple[float, float]:
        return self.bounds


Bound = Annotated[int, Strict()]


class _Integers(DomainBase):
    log: ClassVar[bool]

    points: Points | None = None
    """Grid search only: so many integers, evenly spread. Default: all of them, ten where there are more."""

    @property
    @abstractmethod
    def _bounds(self) -> tuple[int, int]: ...

    def suggest(self, name: str, suggester: Suggester) -> int:
        low, high = self._bounds
        return suggester.integer(name, low, high, log=self.log)

    def grid(self) -> tuple[int, ...]:
        low, high = self._bounds
        points = self.points or FEW
        if high - low < points:
            return tuple(range(low, high + 1))
        return tuple(sorted({round(value) for value in _spread(low, high, points, log=self.log)}))

    @override
    def every_value(self) -> range:
        low, high = self._bounds
        return range(low, high + 1)

    def contains(self, value: Value) -> bool:
        low, high = self._bounds
        return isinstance(value, int) and is_number(value) and low <= value <= high

    def locate(self, name: str, value: Value) -> dict[str, float]:
        return {name: value}


class Integer(_Integers):
    """`{int: [low, high]}`: an integer, both bounds included."""

    form = "int"
    log = False

    bounds: tuple[Bound, Bound] = Field(alias="int")

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        _require_order(*self.bounds)
        return self

    @property
    def _bounds(self) -> tuple[int, int]:
        return self.bounds


class LogInteger(_Integers):
    """`{log_int: [low, high]}`: an integer, uniform in the logarithm, both bounds included."""

    form = "log_int"
    log = True

    bounds: tuple[Bound, Bound] = Field(alias="log_int")

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        _require_order(*self.bounds)
        _require_positive(self.bounds[0])
        return self

    @property
    def _bounds(self) -> tuple[int, int]:
        return self.bounds


def _require_order(low: float, high: float) -> None:
    if low >= high:
        raise ValueError(f"the first bound must be below the second, but {low:g} ≥ {high:g}")


def _require_positive(low: float) -> None:
    if low <= 0:
        raise ValueError(f"logarithms need bounds above 0, not {low:g}")


def _spread(low: float, high: float, points: int, *, log: bool) -> tuple[float, ...]:
    """Up to `points` different numbers from low to high, evenly spread; the bounds exactly."""
    inner = (between(low, high, step / (points - 1), log=log) for step in range(1, points - 1))
    return tuple(dict.fromkeys((low, *inner, high)))


FORMS: tuple[type[DomainBase], ...] = (Choice, Uniform, LogUniform, Integer, LogInteger, Simplex)


def _tag(value: Any) -> str | None:
    """Name the class whose form `value` has."""
    if isinstance(value, DomainBase):
        return type(value).__name__
    if isinstance(value, Mapping):
        for domain in FORMS:
            if domain.form in value:
                return domain.__name__
    return None


Domain = Annotated[
    Annotated[Choice, Tag("Choice")]
    | Annotated[Uniform, Tag("Uniform")]
    | Annotated[LogUniform, Tag("LogUniform")]
    | Annotated[Integer, Tag("Integer")]
    | Annotated[LogInteger, Tag("LogInteger")]
    | Annotated[Simplex, Tag("Simplex")],
    Discriminator(
        _tag,
        custom_error_type="unknown_domain",
        custom_error_message="expected one of {choice: [values]}, {float: [low, high]}, {log: [low, high]}, "
        "{int: [low, high]}, {log_int: [low, high]}, {simplex: [task names], min: 0.05}",
    ),
]
"""Any domain, told apart by its form key."""
