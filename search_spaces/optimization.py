"""Ready-made space `optimization`: the optimizer's scales."""

from collections.abc import Sequence

from search_spaces.domains import Domain, LogUniform, Uniform


def optimization(tasks: Sequence[str]) -> dict[str, Domain]:
    """Learning rate, weight decay, warm-up, and for sgd its momentum.

    The learning rates of Adam's family (best near 1e-3) and of SGD (near 1e-1) both lie inside.
    """
    return {
        "training.optimizer.lr": LogUniform(log=(1e-4, 0.3)),
        "training.optimizer.weight_decay": LogUniform(log=(1e-6, 0.1)),
        "training.optimizer.momentum": Uniform(float=(0.5, 0.98), when={"training.optimizer.name": ("sgd",)}),
        "training.schedule.warmup": Uniform(float=(0.0, 0.2)),
    }
