"""Every balancing method as contracts try it: its section, and what it promises.

A new method joins by a line here. The table is complete, which `test_balancing.py` checks.
"""

from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["scales", "unchanged", "neither"]
Draws = Literal["nothing", "for tasks", "for numbers", "parts"]
Idle = Literal["nothing", "a share", "all", "fallback", "something"]


@dataclass(frozen=True)
class Method:
    """A `balancing` section and the class of its method."""

    section: dict[str, Any]
    scale: Scale = "scales"
    """What multiplying all losses by s does to the step: multiply it by s and change no weight, leave it as it is,
    or neither."""
    draws: Draws = "nothing"
    """What is drawn: something for each task by its place, so that the order of tasks decides who gets which draw; or
    signs for the numbers of gradients, or parts of the batch, which are the same in any order."""
    idle: Idle = "something"
    """What one of T tasks with a loss of zero changes about what is shared, in the first step: nothing; the step is
    (T - 1)/T as long; there is no step, for nothing is shorter than its gradient; there are no weights, and equal
    ones are used; or something else."""


METHODS: dict[str, Method] = {
    "static": Method({"method": "static", "weights": {"shape": 0.7, "bright": 2.0}}, idle="nothing"),
    "equal": Method({"method": "equal"}, idle="nothing"),
    "random": Method({"method": "random"}, draws="for tasks"),
    "random, dirichlet": Method({"method": "random", "distribution": "dirichlet"}, draws="for tasks"),
    "uncertainty": Method({"method": "uncertainty", "step_size": 0.05}, scale="neither", idle="nothing"),
    "dwa": Method({"method": "dwa"}, idle="nothing"),
    "geometric_mean": Method({"method": "geometric_mean"}, idle="fallback"),
    "imtl_l": Method({"method": "imtl_l", "step_size": 0.05}, scale="neither", idle="nothing"),
    "famo": Method({"method": "famo"}, idle="fallback"),
    "stch": Method({"method": "stch", "warmup_epochs": 1}, scale="unchanged", idle="fallback"),
    "gradnorm": Method({"method": "gradnorm"}, idle="nothing"),
    "mgda": Method({"method": "mgda"}, idle="all"),
    "mgda, losses and norms": Method({"method": "mgda", "normalize": "loss+"}, idle="all"),
    "pcgrad": Method({"method": "pcgrad"}, draws="for tasks", idle="nothing"),
    "gradvac": Method({"method": "gradvac"}, draws="for tasks", idle="nothing"),
    "cagrad": Method({"method": "cagrad"}),
    "imtl_g": Method({"method": "imtl_g"}, idle="nothing"),
    "nash_mtl": Method({"method": "nash_mtl"}, scale="unchanged", idle="nothing"),
    "aligned_mtl": Method({"method": "aligned_mtl"}, idle="a share"),
    "aligned_mtl, rmse": Method({"method": "aligned_mtl", "scale": "rmse"}),
    "fairgrad": Method({"method": "fairgrad"}, scale="unchanged", idle="nothing"),
    "upgrad": Method({"method": "upgrad"}, idle="a share"),
    "dualproj": Method({"method": "dualproj"}, idle="a share"),
    "con_fig": Method({"method": "con_fig"}, idle="nothing"),
    "graddrop": Method({"method": "graddrop", "leak": 0.2}, draws="for numbers", idle="nothing"),
    "excess_mtl": Method({"method": "excess_mtl", "step_size": 0.1}, idle="a share"),
    "sdmgrad": Method({"method": "sdmgrad"}, draws="parts"),
    "modo": Method({"method": "modo"}, scale="neither", draws="parts"),
}
ONLY_PARAMETERS = ("excess_mtl", "sdmgrad", "modo")
"""Methods that cannot do with the gradients of features."""
GRADIENT_METHODS = (
    "mgda",
    "pcgrad",
    "gradvac",
    "cagrad",
    "imtl_g",
    "nash_mtl",
    "aligned_mtl",
    "fairgrad",
    "upgrad",
    "dualproj",
    "con_fig",
    "graddrop",
    *ONLY_PARAMETERS,
)
SECTIONS: dict[str, dict[str, Any]] = {name: method.section for name, method in METHODS.items()} | {
    f"{name} at features": METHODS[name].section | {"gradients": "features"}
    for name in GRADIENT_METHODS
    if name not in ONLY_PARAMETERS
}
"""By name, both kinds of gradients."""
