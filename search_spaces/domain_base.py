"""What all domains have in common."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, TypeGuard

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
)

from search_spaces.suggesters import Suggester
from search_spaces.values import Value, plain

Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
PlainValue = Annotated[Value, BeforeValidator(plain)]
Points = Annotated[int, Strict(), Field(ge=2, le=10_000)]
TOLERANCE = 1e-9
"""Relative, for sums and bounds of drawn floats."""


def _allowed(value: Value) -> Value:
    """Read a list as the allowed values, which it always is in `when`, and anything else as the one."""
    if not isinstance(value, list | tuple):
        return (value,)
    if not value:
        raise ValueError("names no value. For the empty list as a value write [[]]")
    return value


When = dict[str, Annotated[tuple[PlainValue, ...], BeforeValidator(_allowed)]]


class DomainBase(BaseModel, ABC):
    """What every domain has: a form in YAML, conditions, draws and grid points."""

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)

    form: ClassVar[str]
    """The key that this domain is known by in YAML."""

    when: When = Field(default_factory=dict)
    """`{config key: value}` or `{config key: [values]}`: set only while each of these keys has one of its
    values. A list always lists allowed values: the single value [128] is written [[128]]."""

    def leaves(self, key: str) -> tuple[str, ...]:
        """Dotted config keys of the plain values and lists that some draw for `key` sets."""
        return (key,)

    def drawn_names(self, name: str) -> tuple[str, ...]:
        """All that `suggest` draws under, given `name`."""
        return (name,)

    @abstractmethod
    def suggest(self, name: str, suggester: Suggester) -> Value:
        """Draw a value under `name`."""

    @abstractmethod
    def grid(self) -> tuple[Value, ...]:
        """List the values of a grid search: without repetition, in order."""

    def every_value(self) -> Sequence[Value] | None:
        """All that can be drawn, without repetition; None: infinitely many."""
        return None

    @abstractmethod
    def contains(self, value: Value) -> bool:
        """Whether `value` can be drawn."""

    @abstractmethod
    def locate(self, name: str, value: Value) -> dict[str, float]:
        """Find the draws, by drawn name, that `suggest` makes `value` of."""


def is_number(value: Value) -> TypeGuard[float]:
    """Whether `value` is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
