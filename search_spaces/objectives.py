"""Which way an objective is better; imports nothing, since reports and MLflow's writer ask it too."""


def is_minimised(objective: str) -> bool:
    """Whether less of it is better: losses, calibration errors and costs of the model; all else is maximised.

    `objective`: `score`, `<task>.<metric>`, `<task>.loss` or `model.<cost>`.
    """
    owner, _, metric = objective.rpartition(".")
    return owner == "model" or metric in {"loss", "ece"}
