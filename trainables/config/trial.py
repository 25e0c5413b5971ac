"""One training run, completely: what a trial is made of and nothing else."""

import hashlib
import json
from typing import Self

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

    def recomputing(self) -> Self:
        """The same training, with less memory."""
        return self.model_copy(update={"training": self.training.model_copy(update={"recompute": True})})

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON: equal for equal configs."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
