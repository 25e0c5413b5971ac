"""What every section of an experiment file has in common: frozen, and strict about keys and types."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NoReturn

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A frozen part of an experiment file. Unknown keys are errors, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    default_kinds: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Of fields with several kinds and a default: the key that tells kinds apart, and the default's value."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.default_kinds = {
            name: (field.discriminator, getattr(field.default, field.discriminator))
            for name, field in cls.model_fields.items()
            if isinstance(field.discriminator, str) and isinstance(field.default, BaseModel)
        }

    @model_validator(mode="before")
    @classmethod
    def _kind_not_named(cls, values: Any) -> Any:
        """A part that does not name its kind is of the default's: `optimizer: {lr: 0.01}` is AdamW."""
        for name, (key, kind) in cls.default_kinds.items():
            part = values.get(name) if isinstance(values, dict) else None
            if isinstance(part, dict) and key not in part:
                values = {**values, name: {key: kind, **part}}
        return values


def refuse(message: str, *key: str | int) -> NoReturn:
    """End a section's validator with an error at `key`, a path below that section.

    A plain `ValueError` speaks of the section as a whole.
    """
    # As pydantic's own value errors: the message is in its context, where braces mean nothing.
    problem = PydanticCustomError("value_error", "{error}", {"error": message})
    raise ValidationError.from_exception_data("section", [{"type": problem, "loc": key, "input": None}])


# Scalars are strict: the text "20" is not a number and `true` is not 1.
Bool = Annotated[bool, Strict()]
Int = Annotated[int, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
NonNegativeInt = Annotated[int, Strict(), Field(ge=0)]
Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1)]
Probability = Annotated[float, Strict(), Field(ge=0, lt=1)]
Text = Annotated[str, StringConstraints(min_length=1)]
