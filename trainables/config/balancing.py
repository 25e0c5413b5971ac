"""The `balancing` section: how task losses become one step."""

from typing import Literal

from pydantic import Field

from trainables.config.section import NonNegative, Section
from trainables.config.tasks import TaskName


class StaticBalancing(Section):
    """Σ_t w_t L_t with fixed weights, used as written. Tasks not named weigh 1."""

    method: Literal["static"] = "static"
    weights: dict[TaskName, NonNegative] = Field(default_factory=dict)
    """By task name. They need not sum to 1: twice the weights are twice the loss."""


BalancingConfig = StaticBalancing
