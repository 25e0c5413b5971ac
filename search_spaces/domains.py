"""What a config key may be drawn from. One class, one form in YAML."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self, TypeGuard

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    model_validator,
)
from typing_extensions import override

from search_spaces.suggesters import Suggester, between
from search_spaces.values import Value, identity, plain

Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
PlainValue = Annotated[Value, BeforeValidator(plain)]
Points = Annotated[int, Strict(), Field(ge=2, le=10_000)]
TOLERANCE = 1e-9
"""Relative, for sums and bounds of drawn floats."""
FEW = 10
"""So many integers are all points of a grid; of more, as many spread evenly."""


def _allowed(value: Value) -> Value:
    """Read a list as the allowed values, which it always is in `when`, and anything else as the one."""
    if not isinstance(value, list | tuple):
        return (value,)
    if not value:
        raise ValueError("names no value. For the empty list as a value write [[]]")
    return value


When = dict[str, Annotated[tuple[PlainValue, ...], BeforeValidator(_allowed)]]


class _DomainBase(BaseModel, ABC):
    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)

    form: ClassVar[str]
    """The key that this domain is known by in YAML."""

    when: When = Field(default_factory=dict)
    """`{config key: value}` or `{config key: [values]}`: set only while each of these keys has one of its
    values. A list always lists allowed values: the single value [128] is written [[128]]."""

    @abstractmethod
    def suggest(self, name: str, suggester: Suggester) -> Value:
        """Draw a value under `name`."""

    @abstractmethod
    def grid(self) -> tuple[Value, ...]:
        """List the values of a grid search: without repetition, in order."""

    @abstractmethod
    def contains(self, value: Value) -> bool:
        """Whether `value` can be drawn."""

    @abstractmethod
    def locate(self, name: str, value: Value) -> dict[str, float]:
        """Find the draws, by drawn name, that `suggest` makes `value` of."""


class Choice(_DomainBase):
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
    def suggest(self, name: str, suggester: Suggester) -> Value:
        return plain(self.values[suggester.option(name, len(self.values))])

    @override
    def grid(self) -> tuple[Value, ...]:
        return self.values

    @override
    def contains(self, value: Value) -> bool:
        return identity(value) in {identity(choice) for choice in self.values}

    @override
    def locate(self, name: str, value: Value) -> dict[str, float]:
        return {name: [identity(choice) for choice in self.values].index(identity(value))}


class _Interval(_DomainBase):
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
        return _is_number(value) and low <= value <= high

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


class _Integers(_DomainBase):
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

    def contains(self, value: Value) -> bool:
        low, high = self._bounds
        return isinstance(value, int) and _is_number(value) and low <= value <= high

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


class Simplex(_DomainBase):
    """`{simplex: [a, b, c], min: 0.05}`: one weight per name, summing to 1, none below `min`.

    T names take T-1 numbers u_k, uniform in [0, 1], by breaking a stick: the k-th piece is the fraction
    1 - (1 - u_k)^(1 / (T - k)) of what is left (k = 1 … T-1), a Beta(1, T-k) variable. The pieces are then
    Dirichlet(1, …, 1), uniform on the simplex (Devroye 1986, Non-Uniform Random Variate Generation, XI.4;
    Betancourt 2010, Cruising the Simplex, arXiv:1010.3436), and min + (1 - T·min) · piece is uniform on the
    part of it with no weight below `min`.

    One map serves every sampler. It is one to one and keeps volume ratios, so TPE, whose prior is uniform on
    the cube, starts from the distribution that random search draws from and models every point once.
    Log-ratios need invented bounds and crowd the corners; sorted uniforms hit each point (T-1)! times over.
    """

    form = "simplex"

    names: tuple[str, ...] = Field(alias="simplex", min_length=2)
    """Names of tasks."""
    floor: Annotated[Finite, Field(ge=0)] = Field(default=0.05, alias="min")
    """The least weight of each."""
    points: Points = 5
    """Grid search only: so many values along each edge: 5 for two names, 15 for three."""

    @model_validator(mode="after")
    def _is_a_simplex(self) -> Self:
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise ValueError(f"named twice: {', '.join(sorted(twice))}")
        if self.floor * len(self.names) >= 1:
            limit = 1 / len(self.names)
            raise ValueError(
                f"min must be below 1 / {len(self.names)} names = {limit:.4g}, not {self.floor:g}"
            )
        return self

    @override
    def suggest(self, name: str, suggester: Suggester) -> dict[str, float]:
        left = 1.0
        pieces = []
        for position, member in enumerate(self.names[:-1], start=1):
            u = suggester.number(f"{name}/{member}", 0.0, 1.0)
            kept = left * (1 - u) ** (1 / (len(self.names) - position))
            pieces.append(left - kept)
            left = kept
        return self._weights([*pieces, left])

    def grid(self) -> tuple[dict[str, float], ...]:
        """List the lattice of weights that divide the edge evenly, the corners included."""
        divisions = self.points - 1
        parts = len(self.names)
        bars = itertools.combinations(range(divisions + parts - 1), parts - 1)  # stars and bars
        edges = ((-1, *bar, divisions + parts - 1) for bar in bars)
        counts = ([high - low - 1 for low, high in itertools.pairwise(edge)] for edge in edges)
        return tuple(self._weights([count / divisions for count in pieces]) for pieces in counts)

    @override
    def contains(self, value: Value) -> bool:
        if not isinstance(value, Mapping) or set(value) != set(self.names):
            return False
        weights: list[float] = list(value.values())
        if not all(_is_number(weight) for weight in weights):
            return False
        return min(weights) >= self.floor - TOLERANCE and abs(sum(weights) - 1) <= TOLERANCE

    @override
    def locate(self, name: str, value: Value) -> dict[str, float]:
        left = 1.0
        draws = {}
        for position, member in enumerate(self.names[:-1], start=1):
            kept = max(left - (value[member] - self.floor) / self._scale, 0.0)
            u = 1 - (kept / left) ** (len(self.names) - position) if left > 0 else 0.0
            draws[f"{name}/{member}"] = min(max(u, 0.0), 1.0)
            left = min(kept, left)
        return draws

    def _weights(self, pieces: list[float]) -> dict[str, float]:
        return {
            name: self.floor + self._scale * piece for name, piece in zip(self.names, pieces, strict=True)
        }

    @property
    def _scale(self) -> float:
        return 1 - len(self.names) * self.floor


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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


FORMS: tuple[type[_DomainBase], ...] = (Choice, Uniform, LogUniform, Integer, LogInteger, Simplex)


def _tag(value: Any) -> str | None:
    """Name the class whose form `value` has."""
    if isinstance(value, _DomainBase):
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
