"""From the `balancing` section to its method. Methods are imported when they are asked for."""

from collections.abc import Sequence
from typing import assert_never

from trainables.balancing.balancer import Balancer
from trainables.balancing.gramian import GramianBalancer, Weighting
from trainables.balancing.static import Static
from trainables.config import balancing as config
from trainables.config.balancing import BalancingConfig, LossBalancing
from trainables.errors import TrainingError
from trainables.model.multitask import MultiTaskModel

GramianConfig = (
    config.MGDABalancing
    | config.PCGradBalancing
    | config.GradVacBalancing
    | config.CAGradBalancing
    | config.IMTLGBalancing
    | config.NashMTLBalancing
    | config.AlignedMTLBalancing
    | config.FairGradBalancing
    | config.UPGradBalancing
    | config.DualProjBalancing
    | config.ConFIGBalancing
)


def build_balancer(section: BalancingConfig, tasks: Sequence[str], model: MultiTaskModel) -> Balancer:
    """The method that `section` describes, for these tasks; `model` tells what they share.

    Raises:
        TrainingError: it needs gradients of what tasks share, and the model shares nothing of the kind.
    """
    if not isinstance(section, LossBalancing) and not model.shared_parameters():
        raise TrainingError(
            f"{section.method} balances the gradients of what tasks share, and nothing shared is trained.",
            hint="Use a method that balances losses, such as uncertainty, or share a stage (model.sharing) and train "
            "the backbone (training.optimizer.backbone_lr_factor above 0).",
            key="balancing.method",
        )
    if getattr(section, "gradients", "parameters") == "features" and not model.shares_features:
        raise TrainingError(
            "There are no features that all tasks read: this `model.sharing` has none, or heads tap different stages.",
            hint="Use `gradients: parameters`.",
            key="balancing.gradients",
        )
    match section:
        case config.StaticBalancing():
            return Static(tasks, section.weights)
        case config.EqualBalancing():
            return Static(tasks, {})
        case config.RandomBalancing():
            from trainables.balancing.random_weights import RandomWeights

            return RandomWeights(tasks, section.distribution)
        case config.UncertaintyBalancing():
            from trainables.balancing.learned_scales import Uncertainty

            return Uncertainty(tasks, section.step_size)
        case config.IMTLLBalancing():
            from trainables.balancing.learned_scales import IMTLL

            return IMTLL(tasks, section.step_size)
        case config.DWABalancing():
            from trainables.balancing.dwa import DWA

            return DWA(tasks, section.temperature)
        case config.GeometricMeanBalancing():
            from trainables.balancing.scalarized import GeometricMean

            return GeometricMean(tasks)
        case config.STCHBalancing():
            from trainables.balancing.scalarized import STCH

            return STCH(tasks, section.mu, section.warmup_epochs)
        case config.FAMOBalancing():
            from trainables.balancing.famo import FAMO

            return FAMO(tasks, section.step_size, section.decay)
        case config.GradNormBalancing():
            from trainables.balancing.gradients import last_shared_layer
            from trainables.balancing.gradnorm import GradNorm

            if not last_shared_layer(model):
                raise TrainingError(
                    "gradnorm compares gradients at the last layer that all tasks share, and there is none.",
                    hint="Share a stage in `model.sharing`, or use another method.",
                    key="balancing.method",
                )
            return GradNorm(tasks, section.alpha, section.step_size)
        case config.GradDropBalancing():
            from trainables.balancing.graddrop import GradDrop

            return GradDrop(tasks, section.leak, at_features=section.gradients == "features")
        case config.ExcessMTLBalancing():
            from trainables.balancing.excess_mtl import ExcessMTL

            return ExcessMTL(tasks, section.step_size)
        case config.SDMGradBalancing():
            from trainables.balancing.double_sampling import SDMGrad

            return SDMGrad(
                tasks, section.regularization, section.iterations, section.step_size, section.momentum
            )
        case config.MoDoBalancing():
            from trainables.balancing.double_sampling import MoDo

            return MoDo(tasks, section.gamma, section.rho)
        case _:
            weighting = build_weighting(section, len(tasks))
            return GramianBalancer(tasks, weighting, at_features=section.gradients == "features")


def build_weighting(section: GramianConfig, tasks: int) -> Weighting:
    """How `section` weighs gradients by their inner products."""
    match section:
        case config.MGDABalancing():
            from trainables.balancing.mgda import MGDA

            return MGDA(section.normalize)
        case config.PCGradBalancing():
            from trainables.balancing.surgery import PCGrad

            return PCGrad()
        case config.GradVacBalancing():
            from trainables.balancing.surgery import GradVac

            return GradVac(tasks, section.beta)
        case config.CAGradBalancing():
            from trainables.balancing.cagrad import CAGrad

            return CAGrad(section.c)
        case config.NashMTLBalancing():
            from trainables.balancing.bargaining import NashMTL

            return NashMTL(section.max_norm)
        case config.FairGradBalancing():
            from trainables.balancing.bargaining import FairGrad

            return FairGrad(section.alpha)
        case config.ConFIGBalancing():
            from trainables.balancing.con_fig import ConFIG

            return ConFIG()
        case (
            config.IMTLGBalancing()
            | config.AlignedMTLBalancing()
            | config.UPGradBalancing()
            | config.DualProjBalancing()
        ):
            from trainables.balancing.from_torchjd import build_torchjd

            return build_torchjd(section)
        case _:
            assert_never(section)
