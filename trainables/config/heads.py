"""The heads of the `model` section: from what a network has computed to the logits of one task."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from trainables.config.section import Bool, Count, Probability, Section, Text

Stage = Count | Text
"""A stage of the backbone: by number, the first is 1, or by name."""


class _Head(Section):
    dropout: Probability = 0.0
    """Before every linear layer of the head."""
    tap: Stage | Annotated[tuple[Stage, ...], Field(min_length=1)] | None = None
    """The stage of the backbone that the head reads, by number from 1 or by name; several are fused. null: what
    the backbone ends with; for attention its last feature map."""

    @property
    def taps(self) -> tuple[Stage, ...]:
        """The stages that are named; none: the default."""
        if self.tap is None:
            return ()
        return self.tap if isinstance(self.tap, tuple) else (self.tap,)


class _PooledHead(_Head):
    fuse: Literal["concat", "sum"] = "concat"
    """Of several stages: all their features, or the sum of linear maps of them to the widest one."""


class LinearHead(_PooledHead):
    """One linear layer."""

    kind: Literal["linear"] = "linear"


class MLPHead(_PooledHead):
    """Linear layers with ReLU between them."""

    kind: Literal["mlp"] = "mlp"
    hidden: tuple[Count, ...] = ()
    """Units per hidden layer; none makes it linear."""
    norm: Literal["none", "batch", "layer"] = "none"
    """Of every hidden layer, before its ReLU."""


class AttentionHead(_Head):
    """Attention pooling (Lee et al., ICML 2019, PMA): learned queries read a feature map; then a linear layer."""

    kind: Literal["attention"] = "attention"
    queries: Count = 1
    """Learned queries; the linear layer reads what all of them found."""
    heads: Count = 1
    """Of each query. They divide the channels of the (last) stage that is read."""
    positions: Bool = False
    """Whether each place of the map has a learned embedding."""


def _linear_unless_named(value: Any) -> Any:
    """`{dropout: 0.1}` is a linear head."""
    return {"kind": "linear", **value} if isinstance(value, dict) else value


HeadConfig = Annotated[
    Annotated[
        LinearHead | MLPHead | AttentionHead,
        Field(discriminator="kind", json_schema_extra={"default": {"kind": "linear"}}),
    ],
    BeforeValidator(_linear_unless_named),
]
