"""Ready-made spaces of heads: what lies between the shared features and the logits."""

from collections.abc import Sequence

from search_spaces.domains import Choice, Domain, Uniform

HIDDEN = ([64], [128], [256], [256, 128])
"""Hidden layers of an mlp head, in units."""


def head_architecture(tasks: Sequence[str]) -> dict[str, Domain]:
    """One shape, linear or an mlp, for every head without an entry of its own in `model.heads`."""
    return _head("default")


def head_architecture_per_task(tasks: Sequence[str]) -> dict[str, Domain]:
    """As `head_architecture`, for each task by itself: three keys per task."""
    return {key: domain for task in tasks for key, domain in _head(task).items()}


def _head(name: str) -> dict[str, Domain]:
    key = f"model.heads.{name}"
    only_mlp = {f"{key}.kind": ("mlp",)}
    return {
        f"{key}.kind": Choice(choice=("linear", "mlp")),
        f"{key}.hidden": Choice(choice=HIDDEN, when=only_mlp),
        f"{key}.dropout": Uniform(float=(0.0, 0.5), when=only_mlp),
    }
