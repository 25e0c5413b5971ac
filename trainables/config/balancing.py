"""The `balancing` section: how task losses become one step.

`method` names what is used; every other key belongs to a method. Three families: weights from nothing but the
clock (`static`, `equal`, `random`), weights from loss values, and weights from the gradients of single tasks.
"""

from typing import Annotated, Literal

from pydantic import Field

from trainables.config.section import Count, NonNegative, Positive, Probability, Section
from trainables.config.tasks import TaskName

Share = Annotated[float, Field(ge=0, le=1)]


class StaticBalancing(Section):
    """Σ_t w_t L_t with fixed weights, used as written. Tasks not named weigh 1."""

    method: Literal["static"] = "static"
    weights: dict[TaskName, NonNegative] = Field(default_factory=dict)
    """By task name. They need not sum to 1: twice the weights are twice the loss."""


class EqualBalancing(Section):
    """Every task weighs 1."""

    method: Literal["equal"] = "equal"


class RandomBalancing(Section):
    """Random loss weighting (Lin et al., TMLR 2022): new weights at every step; they sum to 1."""

    method: Literal["random"] = "random"
    distribution: Literal["normal", "dirichlet"] = "normal"
    """normal: softmax of standard normal draws. dirichlet: uniform on the simplex."""


class UncertaintyBalancing(Section):
    """Homoscedastic uncertainty (Kendall et al., CVPR 2018, eq. 10): Σ_t e^(-s_t) L_t + s_t/2 with learned s_t."""

    method: Literal["uncertainty"] = "uncertainty"
    step_size: Positive = 0.01
    """Learning rate of s_t, which an Adam of its own learns."""


class DWABalancing(Section):
    """Dynamic weight average (Liu et al., CVPR 2019, eq. 7): softmax of how fast losses fell; sums to T."""

    method: Literal["dwa"] = "dwa"
    temperature: Positive = 2.0
    """The larger, the more equal the weights."""


class GeometricMeanBalancing(Section):
    """Geometric loss strategy (Chennupati et al., CVPR Workshops 2019): (Π_t L_t)^(1/T)."""

    method: Literal["geometric_mean"] = "geometric_mean"


class IMTLLBalancing(Section):
    """IMTL-L (Liu et al., ICLR 2021, eq. 6): Σ_t e^(s_t) L_t - s_t with learned s_t."""

    method: Literal["imtl_l"] = "imtl_l"
    step_size: Positive = 0.01
    """Learning rate of s_t, which an Adam of its own learns."""


class FAMOBalancing(Section):
    """FAMO (Liu et al., NeurIPS 2023, algorithm 1): all log-losses fall at one rate. A second forward pass."""

    method: Literal["famo"] = "famo"
    step_size: Positive = 0.025
    """Learning rate of the logits of the weights."""
    decay: NonNegative = 1e-3
    """Pulls the logits back to equal weights (γ of the paper)."""


class STCHBalancing(Section):
    """Smooth Tchebycheff (Lin et al., ICML 2024): μ log Σ_t exp(log(L_t/z_t)/μ), a smooth greatest loss."""

    method: Literal["stch"] = "stch"
    mu: Positive = 1.0
    """The smaller, the closer to the greatest alone."""
    warmup_epochs: Count = 4
    """Epochs of Σ_t log L_t first; z_t are the mean losses of the last of them."""


class GradNormBalancing(Section):
    """GradNorm (Chen et al., ICML 2018, algorithm 1): gradients of like size, larger for tasks that lag. Sums to T.

    Gradients are those of the last shared layer.
    """

    method: Literal["gradnorm"] = "gradnorm"
    alpha: NonNegative = 1.5
    """How strongly a task that lags is favoured."""
    step_size: Positive = 0.025
    """Learning rate of the weights."""


class _OfGradients(Section):
    gradients: Literal["features", "parameters"] = "parameters"
    """parameters: the gradients of all shared parameters, one trunk backward per task. features: of the tensors
    that all tasks read (MGDA-UB's idea), which takes one trunk backward however many tasks there are."""


class MGDABalancing(_OfGradients):
    """MGDA (Désidéri 2012; Sener & Koltun, NeurIPS 2018): the shortest convex combination of the gradients."""

    method: Literal["mgda"] = "mgda"
    normalize: Literal["none", "l2", "loss", "loss+"] = "none"
    """What each gradient is divided by before: nothing, its norm, its loss, or both (Sener's code)."""


class PCGradBalancing(_OfGradients):
    """PCGrad (Yu et al., NeurIPS 2020, algorithm 1): conflicting components are projected away."""

    method: Literal["pcgrad"] = "pcgrad"


class GradVacBalancing(_OfGradients):
    """Gradient Vaccine (Wang et al., ICLR 2021, algorithm 1): PCGrad towards the usual cosine of each pair."""

    method: Literal["gradvac"] = "gradvac"
    beta: Share = 0.5
    """How fast the usual cosine follows the present one."""


class CAGradBalancing(_OfGradients):
    """CAGrad (Liu et al., NeurIPS 2021, algorithm 1): near the mean gradient, best for the task worst off."""

    method: Literal["cagrad"] = "cagrad"
    c: NonNegative = 0.4
    """How far from the mean gradient, relative to its norm. 0 is the mean."""


class IMTLGBalancing(_OfGradients):
    """IMTL-G (Liu et al., ICLR 2021, eq. 5): equal projections on all gradients. Weights sum to 1."""

    method: Literal["imtl_g"] = "imtl_g"


class NashMTLBalancing(_OfGradients):
    """Nash-MTL (Navon et al., ICML 2022, claim 3.1): Gα = 1/α, a bargaining solution."""

    method: Literal["nash_mtl"] = "nash_mtl"
    max_norm: Positive | None = 1.0
    """Longest step; null: √T, the length of every Nash step."""


class AlignedMTLBalancing(_OfGradients):
    """Aligned-MTL (Senushkin et al., CVPR 2023, algorithm 1): all singular values of the gradients made equal."""

    method: Literal["aligned_mtl"] = "aligned_mtl"
    scale: Literal["min", "median", "rmse"] = "min"
    """Equal to which: the least singular value, the median one or their root mean square."""


class FairGradBalancing(_OfGradients):
    """FairGrad (Ban & Ji, ICML 2024, eq. 4): Gw = w^(-1/α), α-fair gains."""

    method: Literal["fairgrad"] = "fairgrad"
    alpha: Positive = 1.0
    """1: proportional fairness, which is Nash's solution; the larger, the closer to max-min fairness."""


class UPGradBalancing(_OfGradients):
    """UPGrad (Quinton & Rey 2024, arXiv:2406.16232): mean of the gradients projected onto their dual cone."""

    method: Literal["upgrad"] = "upgrad"


class DualProjBalancing(_OfGradients):
    """DualProj (Lopez-Paz & Ranzato, NeurIPS 2017, eq. 11): the mean gradient projected onto the dual cone."""

    method: Literal["dualproj"] = "dualproj"


class ConFIGBalancing(_OfGradients):
    """ConFIG (Liu et al., ICLR 2025, eq. 2): equal cosines with all gradients, length their summed projections."""

    method: Literal["con_fig"] = "con_fig"


class GradDropBalancing(_OfGradients):
    """GradDrop (Chen et al., NeurIPS 2020, algorithm 1): each component takes one sign, drawn by its purity."""

    method: Literal["graddrop"] = "graddrop"
    leak: Probability = 0.0
    """Share of the other sign's gradient that is let through."""


class ExcessMTLBalancing(Section):
    """ExcessMTL (He et al., ICML 2024, eq. 6-9): exponentiated weights of the excess risks.

    They sum to 1. Gradients are always those of the shared parameters.
    """

    method: Literal["excess_mtl"] = "excess_mtl"
    step_size: Positive = 0.01
    """Of the exponentiated gradient (η_α)."""


class SDMGradBalancing(Section):
    """SDMGrad (Xiao et al., NeurIPS 2023, algorithm 1): MGDA pulled towards the mean, on thirds of the batch.

    Gradients are always those of the shared parameters.
    """

    method: Literal["sdmgrad"] = "sdmgrad"
    regularization: NonNegative = 0.3
    """Pull towards the mean gradient (λ)."""
    iterations: Count = 20
    """Projected steps of the weights per training step."""
    step_size: Positive = 10.0
    """Of those, on the Gramian divided by the squared mean gradient norm."""
    momentum: Probability = 0.5
    """Of those."""


class MoDoBalancing(Section):
    """MoDo (Chen et al., NeurIPS 2023, algorithm 1): stochastic MGDA from independent halves of the batch.

    Gradients are always those of the shared parameters.
    """

    method: Literal["modo"] = "modo"
    gamma: Positive = 0.1
    """Step of the weights."""
    rho: NonNegative = 0.1
    """Pull towards equal weights."""


BalancingConfig = Annotated[
    StaticBalancing
    | EqualBalancing
    | RandomBalancing
    | UncertaintyBalancing
    | DWABalancing
    | GeometricMeanBalancing
    | IMTLLBalancing
    | FAMOBalancing
    | STCHBalancing
    | GradNormBalancing
    | MGDABalancing
    | PCGradBalancing
    | GradVacBalancing
    | CAGradBalancing
    | IMTLGBalancing
    | NashMTLBalancing
    | AlignedMTLBalancing
    | FairGradBalancing
    | UPGradBalancing
    | DualProjBalancing
    | ConFIGBalancing
    | GradDropBalancing
    | ExcessMTLBalancing
    | SDMGradBalancing
    | MoDoBalancing,
    Field(discriminator="method"),
]
LossBalancing = (
    StaticBalancing
    | EqualBalancing
    | RandomBalancing
    | UncertaintyBalancing
    | IMTLLBalancing
    | DWABalancing
    | GeometricMeanBalancing
    | STCHBalancing
    | FAMOBalancing
)
"""Methods that need no gradient of what tasks share."""
