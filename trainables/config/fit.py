"""Whether a balancing method finds what it balances: what can be known of it before a model is built.

`trainables.balancing.build` refuses the same trials when they are built, and the few of which only the model knows:
those with stages that have no parameters, or heads that read so early that nothing is left to share.
"""

from dataclasses import dataclass

from trainables.config.balancing import GradNormBalancing, LossBalancing
from trainables.config.trial import TrialConfig

DECIDING = (
    "balancing.method",
    "balancing.gradients",
    "model.sharing.kind",
    "model.sharing.at",
    "model.sharing.levels",
    "model.heads.*.kind",
    "model.heads.*.tap",
    "training.optimizer.backbone_lr_factor",
)
"""All that `misfit` looks at besides the tasks. A star stands for any name."""


@dataclass(frozen=True)
class Misfit:
    """Values of a trial that cannot come together."""

    key: str
    """The dotted key that it is said of."""
    message: str
    """What is wrong, and a way out, without a full stop."""


def decides(key: str) -> bool:
    """Whether a value for the dotted `key` may decide about a misfit."""
    parts = key.split(".")
    return any(
        all(own in (part, "*") for own, part in zip(deciding.split("."), parts, strict=False))
        for deciding in DECIDING
    )


def misfit(trial: TrialConfig) -> Misfit | None:
    """What of `trial` does not go together, if anything."""
    method, sharing = trial.balancing.method, trial.model.sharing
    if isinstance(trial.balancing, LossBalancing) or not trial.tasks:
        return None
    at_features = getattr(trial.balancing, "gradients", "parameters") == "features"
    if at_features and not trial.model.shares_features(trial.tasks):
        tapped = sharing.shares_features
        why = "heads read different stages" if tapped else f"model.sharing is {sharing.kind}"
        return Misfit(
            "balancing.gradients", f"there are no features that all tasks read: {why}. Write parameters"
        )
    way_out = "or use a method that balances losses, such as uncertainty"
    if trial.training.optimizer.backbone_lr_factor == 0 and not sharing.adds_shared:
        return Misfit(
            "training.optimizer.backbone_lr_factor",
            f"{method} balances the gradients of what tasks share, and with 0 nothing shared is trained. Train the "
            f"backbone, {way_out}",
        )
    apart = [task for task in trial.tasks if not sharing.shares_backbone(task)]
    together = len(trial.tasks) - len(apart)
    if not apart or len(trial.tasks) == 1:  # one task alone is balanced against nothing
        return None
    if together < 2:
        return Misfit(
            "model.sharing.at",
            f"{method} balances the gradients of what tasks share, and they share nothing. Share a stage, {way_out}",
        )
    if isinstance(trial.balancing, GradNormBalancing):
        return Misfit(
            "model.sharing.at",
            f"gradnorm compares gradients at the last layer that all tasks share, and {apart[0]} shares none. Let it "
            "share a stage, or use another method",
        )
    return None
