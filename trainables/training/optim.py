"""Optimizers over torch's fused kernels.

`torch.optim.Optimizer` imports the compiler stack when it is constructed (1.4 s, more than a whole small
trial) and its per-step bookkeeping is noticeable with small networks. These three call the same kernels and
give the same numbers bit for bit; a test holds them to torch.optim.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.config.training import SGD, Adam, AdamW, OptimizerConfig


@dataclass(frozen=True)
class Group:
    """Parameters by name that learn at `factor` times the learning rate."""

    parameters: Mapping[str, nn.Parameter]
    factor: float = 1.0


class Optimizer(ABC):
    """Updates named parameters from their `.grad`; parameters without one are left out, state included."""

    quantities: frozenset[str]
    """What is kept of every parameter."""

    def __init__(self, *groups: Group) -> None:
        """`groups` share no parameter."""
        self.groups = groups
        self.parameters = {name: p for group in groups for name, p in group.parameters.items()}
        self.state: dict[str, dict[str, Tensor]] = {}

    def step(self, lr: float) -> None:
        """Move every parameter that has a gradient: one fused update per group."""
        for group in self.groups:
            chosen = [(name, p) for name, p in group.parameters.items() if p.grad is not None]
            if chosen:
                self._update(chosen, lr * group.factor)

    @abstractmethod
    def _update(self, chosen: Sequence[tuple[str, nn.Parameter]], lr: float) -> None:
        """Move parameters, which all have a gradient."""

    def state_dict(self) -> dict[str, Tensor]:
        """`{parameter}/{quantity}`: live tensors, not copies."""
        return {f"{name}/{key}": value for name, state in self.state.items() for key, value in state.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from `state_dict`.

        Moments are restored into tensors laid out like their parameter: files hold contiguous tensors only,
        and a fused kernel silently pairs up the wrong numbers of a channels_last parameter and a contiguous
        moment. The state of another kind of optimizer says nothing to this one, which then starts afresh.
        """
        self.state = {}
        if {key.rpartition("/")[2] for key in tensors} != self.quantities:
            return
        for key, value in tensors.items():
            name, _, quantity = key.rpartition("/")
            if (parameter := self.parameters.get(name)) is None:  # frozen now, and trained before
                continue
            fits = quantity != "step" and value.shape == parameter.shape
            target = torch.empty_like(parameter) if fits else torch.empty_like(value, device=parameter.device)
            self.state.setdefault(name, {})[quantity] = target.detach().copy_(value)


class FusedAdam(Optimizer):
    """Adam (Kingma & Ba, ICLR 2015), with `decoupled` weight decay AdamW (Loshchilov & Hutter, ICLR 2019)."""

    quantities = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(self, *groups: Group, config: Adam | AdamW, decoupled: bool) -> None:
        super().__init__(*groups)
        self.betas = config.betas
        self.weight_decay = config.weight_decay
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_

    def _update(self, chosen: Sequence[tuple[str, nn.Parameter]], lr: float) -> None:
        for name, p in chosen:
            if name not in self.state:
                self.state[name] = {
                    "step": torch.zeros((), dtype=torch.float32, device=p.device),
                    "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                    "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
                }
        states = [self.state[name] for name, _ in chosen]
        steps = [state["step"] for state in states]
        with torch.no_grad():
            torch._foreach_add_(steps, 1)
            self.kernel(
                [p for _, p in chosen],
                [p.grad for _, p in chosen if p.grad is not None],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=lr,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=self.weight_decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )


class FusedSGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al., ICML 2013), as torch defines it."""

    quantities = frozenset({"momentum_buffer"})

    def __init__(self, *groups: Group, config: SGD) -> None:
        super().__init__(*groups)
        self.momentum = config.momentum
        self.weight_decay = config.weight_decay
        self.nesterov = config.nesterov

    def _update(self, chosen: Sequence[tuple[str, nn.Parameter]], lr: float) -> None:
        """One fused update for parameters seen before and one for those met the first time."""
        if self.momentum == 0:
            self._call_kernel([p for _, p in chosen], [], lr, first=False)
            return
        fresh = [(name, p) for name, p in chosen if name not in self.state]
        known = [(name, p) for name, p in chosen if name in self.state]
        for name, p in fresh:
            self.state[name] = {"momentum_buffer": torch.empty_like(p)}
        for group, first in ((known, False), (fresh, True)):
            buffers = [self.state[name]["momentum_buffer"] for name, _ in group]
            self._call_kernel([p for _, p in group], buffers, lr, first=first)

    def _call_kernel(
        self, parameters: Sequence[nn.Parameter], buffers: list[Tensor], lr: float, *, first: bool
    ) -> None:
        if not parameters:
            return
        with torch.no_grad():
            torch._fused_sgd_(
                list(parameters),
                [p.grad for p in parameters if p.grad is not None],
                buffers,
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=lr,
                dampening=0.0,
                nesterov=self.nesterov,
                maximize=False,
                is_first_step=first,
            )


def build_optimizer(
    config: OptimizerConfig, parameters: Mapping[str, nn.Parameter], slower: Collection[nn.Parameter] = ()
) -> Optimizer:
    """The optimizer that `config` describes over `parameters` that require gradients.

    Those of them that are in `slower` learn at `backbone_lr_factor` times its learning rate.
    """
    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    groups = [Group(trained)]
    if config.backbone_lr_factor != 1:
        apart = {id(p) for p in slower}
        groups = [
            Group({name: p for name, p in trained.items() if id(p) in apart}, config.backbone_lr_factor),
            Group({name: p for name, p in trained.items() if id(p) not in apart}),
        ]
    match config:
        case AdamW():
            return FusedAdam(*groups, config=config, decoupled=True)
        case Adam():
            return FusedAdam(*groups, config=config, decoupled=False)
        case SGD():
            return FusedSGD(*groups, config=config)
