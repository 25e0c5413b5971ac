"""From the `balancing` section to its method."""

from collections.abc import Sequence

from trainables.balancing.balancer import Balancer
from trainables.balancing.static import Static
from trainables.config.balancing import BalancingConfig
from trainables.model.multitask import MultiTaskModel


def build_balancer(config: BalancingConfig, tasks: Sequence[str], model: MultiTaskModel) -> Balancer:
    """The method that `config` describes, for these tasks; `model` tells what they share."""
    return Static(tasks, config.weights)
