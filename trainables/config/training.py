"""The `training` section: optimizer, schedule, precision and the epoch that counts."""

from typing import Annotated, Literal

from pydantic import Field

from trainables.config.section import Bool, Count, Fraction, NonNegative, Positive, Probability, Section, Text


class SAM(Section):
    """Sharpness-aware minimisation (Foret et al., ICLR 2021): every step costs two passes."""

    rho: Positive = 0.05
    """Distance to the worst point nearby. With `adaptive` ten times as much is usual."""
    adaptive: Bool = False
    """Distances relative to the size of each weight (ASAM, Kwon et al., ICML 2021)."""


class _Optimizer(Section):
    backbone_lr_factor: Fraction = 1.0
    """The backbone's learning rate as a factor of `lr`. 0 freezes it, as it is in evaluation: statistics of
    batch normalisation stand still, and nothing drops out."""
    sam: SAM | None = None
    """Step along the gradient at the worst point nearby, which finds flatter minima. null: off."""


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019)."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    """Learning rate; the schedule scales it."""
    weight_decay: NonNegative = 0.01
    """Decoupled from the gradient."""
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    """Decay of the averages of gradients and of their squares."""


class Adam(_Optimizer):
    """Adam (Kingma & Ba, ICLR 2015)."""

    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    """Learning rate; the schedule scales it."""
    weight_decay: NonNegative = 0.0
    """Added to the gradient (L2)."""
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    """Decay of the averages of gradients and of their squares."""


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    """Learning rate; the schedule scales it."""
    momentum: Probability = 0.9
    """Share of the last step that is kept."""
    weight_decay: NonNegative = 0.0
    """Added to the gradient (L2)."""
    nesterov: Bool = False
    """Nesterov's momentum."""


class Constant(Section):
    """The same learning rate throughout."""

    name: Literal["constant"] = "constant"
    warmup: Fraction = 0.0
    """Fraction of all steps over which the learning rate rises linearly."""


class Cosine(Section):
    """Half a cosine from lr to `floor`·lr over the whole training."""

    name: Literal["cosine"] = "cosine"
    warmup: Fraction = 0.0
    """Fraction of all steps over which the learning rate rises linearly."""
    floor: Fraction = 0.0
    """What remains of lr at the end, as a fraction."""


class Step(Section):
    """lr·gamma^(epochs done // every)."""

    name: Literal["step"] = "step"
    warmup: Fraction = 0.0
    """Fraction of all steps over which the learning rate rises linearly."""
    every: Count = 10
    """Epochs between two reductions."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor of each reduction."""


class EarlyStop(Section):
    """Ends a training whose selected metric has not improved for `patience` epochs."""

    patience: Count
    """Epochs without improvement."""


class Select(Section):
    """The one epoch whose metrics and weights count: shown, compared, optimised, kept and exported."""

    metric: Text = "score"
    """`score` (mean of the tasks' metrics), `<task>.<metric>` or `<task>.loss`."""
    mode: Literal["max", "min"] = "max"
    """max: more is better; min for losses and ece."""


OptimizerConfig = Annotated[AdamW | Adam | SGD, Field(discriminator="name")]
ScheduleConfig = Annotated[Constant | Cosine | Step, Field(discriminator="name")]


class TrainingConfig(Section):
    """How one trial is trained."""

    epochs: Count = 10
    """Passes over the training split."""
    batch_size: Count = 256
    """Examples per step over all workers."""
    optimizer: OptimizerConfig = AdamW()
    """What turns gradients into steps."""
    schedule: ScheduleConfig = Constant()
    """How the learning rate changes."""
    clip_norm: Positive | None = None
    """Largest global gradient norm."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, which is then what is evaluated and kept."""
    early_stop: EarlyStop | None = None
    """Ends a training that no longer improves; null: all epochs are run."""
    precision: Literal["auto", "fp32", "bf16", "fp64"] = "auto"
    """auto: bf16 where the hardware multiplies bf16 natively (GPUs since Ampere, CPUs with AMX), else fp32."""
    recompute: Bool = False
    """Compute the backbone's activations again in the backward pass instead of keeping them: the same numbers with less
    memory, in about a quarter more time (with methods of gradients by task, more). A trial that runs out of
    memory is tried again like this."""
    select: Select = Select()
    """Which epoch counts."""
