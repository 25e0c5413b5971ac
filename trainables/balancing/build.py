"""From the `balancing` section to its method."""

from collections.abc import Sequence

from trainables.balancing.balancer import Balancer
from trainables.balancing.static import Static
from trainables.config.balancing import BalancingConfig


def build_balancer(config: BalancingConfig, tasks: Sequence[str]) -> Balancer:
    """The method that `config` describes, for these tasks."""
    return Static(tasks, config.weights)
