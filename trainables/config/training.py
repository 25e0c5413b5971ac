"""The `training` section: optimizer, schedule, precision and the epoch that counts."""

from typing import Annotated, Literal

from pydantic import Field

from trainables.config.section import Bool, Count, Fraction, NonNegative, Positive, Probability, Section, Text


class AdamW(Section):
    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.01
    betas: tuple[Probability, Probability] = (0.9, 0.999)


class Adam(Section):
    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    betas: tuple[Probability, Probability] = (0.9, 0.999)


class SGD(Section):
    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    momentum: Probability = 0.9
    weight_decay: NonNegative = 0.0
    nesterov: Bool = False


class Constant(Section):
    name: Literal["constant"] = "constant"
    warmup: Fraction = 0.0
    """Fraction of all steps over which the learning rate rises linearly."""


class Cosine(Section):
    """Half a cosine from lr to `floor`·lr over the whole training."""

    name: Literal["cosine"] = "cosine"
    warmup: Fraction = 0.0
    floor: Fraction = 0.0


class Step(Section):
    """lr·gamma^(epochs done // every)."""

    name: Literal["step"] = "step"
    warmup: Fraction = 0.0
    every: Count = 10
    """Epochs between two reductions."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1


class EarlyStop(Section):
    """Ends a training whose selected metric has not improved for `patience` epochs."""

    patience: Count


class Select(Section):
    """The one epoch whose metrics and weights count: shown, compared, optimised, kept and exported."""

    metric: Text = "score"
    """`score` (mean of the tasks' metrics), `<task>.<metric>` or `<task>.loss`."""
    mode: Literal["max", "min"] = "max"


OptimizerConfig = Annotated[AdamW | Adam | SGD, Field(discriminator="name")]
ScheduleConfig = Annotated[Constant | Cosine | Step, Field(discriminator="name")]


class TrainingConfig(Section):
    """How one trial is trained."""

    epochs: Count = 10
    batch_size: Count = 256
    """Examples per step over all workers."""
    optimizer: OptimizerConfig = AdamW()
    schedule: ScheduleConfig = Constant()
    clip_norm: Positive | None = None
    """Largest global gradient norm."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, which is then what is evaluated and kept."""
    early_stop: EarlyStop | None = None
    precision: Literal["auto", "fp32", "bf16", "fp64"] = "auto"
    """auto: bf16 with channels_last where the hardware multiplies bf16 natively, else fp32."""
    select: Select = Select()
