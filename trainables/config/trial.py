"""One training run, completely: what a trial is made of and nothing else."""

import hashlib
import json
from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from trainables.config.balancing import BalancingConfig, StaticBalancing
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.section import NonNegativeInt, Section
from trainables.config.tasks import TaskConfigs
from trainables.config.training import TrainingConfig


class TrialConfig(Section):
    """The sections that determine one training run."""

    seed: NonNegativeInt = 0
    """Of everything random: splits, weights, augmentation, proposals. Equal seeds give equal results."""
    data: DataConfig
    tasks: TaskConfigs
    model: ModelConfig = ModelConfig()
    balancing: BalancingConfig = StaticBalancing()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _features_are_shared(self) -> Self:
        wanted = getattr(self.balancing, "gradients", "parameters") == "features"
        if wanted and not self.model.shares_features(self.tasks):
            tapped = self.model.sharing.shares_features
            why = "heads read different stages" if tapped else f"model.sharing is {self.model.sharing.kind}"
            message = f"there are no features that all tasks read: {why}. Write parameters"
            raise PydanticCustomError(
                "value_error", "{error}", {"error": message, "at": ("balancing", "gradients")}
            )
        return self

    def recomputing(self) -> Self:
        """The same training, with less memory."""
        return self.model_copy(update={"training": self.training.model_copy(update={"recompute": True})})

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON: equal for equal configs."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
