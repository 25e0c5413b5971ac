"""The ready-made spaces by name: from the names of the tasks to domains by config key."""

from collections.abc import Callable, Sequence
from typing import Literal

from search_spaces.domains import Domain
from search_spaces.head_architecture import head_architecture, head_architecture_per_task
from search_spaces.optimization import optimization
from search_spaces.sharing import sharing
from search_spaces.task_weights import task_weights

SpaceName = Literal[
    "task_weights", "head_architecture", "head_architecture_per_task", "optimization", "sharing"
]

NAMED_SPACES: dict[str, Callable[[Sequence[str]], dict[str, Domain]]] = {
    "task_weights": task_weights,
    "head_architecture": head_architecture,
    "head_architecture_per_task": head_architecture_per_task,
    "optimization": optimization,
    "sharing": sharing,
}
