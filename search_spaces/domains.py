"""What a config key may be drawn from. One class, one form in YAML."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

Value = Any
"""A value as it stands in a config: a scalar, a list or a mapping."""
Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
When = dict[str, tuple[Value, ...] | Value]
"""`{config key: value or values}`: the domain is active only while every key has one of its values."""


class Suggester(Protocol):
    """Draws one number or one of several options by name (a sampler's trial, a seeded generator, a grid point)."""

    def number(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def option(self, name: str, count: int) -> int:
        """An index below `count`."""
        ...


class _DomainBase(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    when: When = Field(default_factory=dict)
    """Active only while these config keys have one of these values."""
