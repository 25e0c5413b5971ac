"""Optimizers over torch's fused kernels.

`torch.optim.Optimizer` imports the compiler stack when it is constructed (1.4 s, more than a whole small
trial) and its per-step bookkeeping is noticeable with small networks. These three call the same kernels and
give the same numbers bit for bit; a test holds them to torch.optim.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trainables.config.training import SGD, Adam, AdamW, OptimizerConfig


class Optimizer(ABC):
    """Updates named parameters from their `.grad`; parameters without one are left out, state included."""

    quantities: frozenset[str]
    """What is kept of every parameter."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        self.state: dict[str, dict[str, Tensor]] = {}

    @abstractmethod
    def step(self, lr: float) -> None:
        """Move every parameter that has a gradient."""

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
            parameter = self.parameters[name]
            fits = quantity != "step" and value.shape == parameter.shape
            target = torch.empty_like(parameter) if fits else torch.empty_like(value, device=parameter.device)
            self.state.setdefault(name, {})[quantity] = target.detach().copy_(value)

    def _with_gradients(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.parameters.items() if p.grad is not None]


class FusedAdam(Optimizer):
    """Adam (Kingma & Ba, ICLR 2015), with `decoupled` weight decay AdamW (Loshchilov & Hutter, ICLR 2019)."""

    quantities = frozenset({"step", "exp_avg", "exp_avg_sq"})

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], config: Adam | AdamW, *, decoupled: bool
    ) -> None:
        super().__init__(parameters)
        self.betas = config.betas
        self.weight_decay = config.weight_decay
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_

    def step(self, lr: float) -> None:
        """One fused update."""
        chosen = self._with_gradients()
        if not chosen:
            return
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

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: SGD) -> None:
        super().__init__(parameters)
        self.momentum = config.momentum
        self.weight_decay = config.weight_decay
        self.nesterov = config.nesterov

    def step(self, lr: float) -> None:
        """One fused update for parameters seen before and one for those met the first time."""
        chosen = self._with_gradients()
        if self.momentum == 0:
            self._update([p for _, p in chosen], [], lr, first=False)
            return
        fresh = [(name, p) for name, p in chosen if name not in self.state]
        known = [(name, p) for name, p in chosen if name in self.state]
        for name, p in fresh:
            self.state[name] = {"momentum_buffer": torch.empty_like(p)}
        for group, first in ((known, False), (fresh, True)):
            buffers = [self.state[name]["momentum_buffer"] for name, _ in group]
            self._update([p for _, p in group], buffers, lr, first=first)

    def _update(
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


def build_optimizer(config: OptimizerConfig, parameters: Mapping[str, nn.Parameter]) -> Optimizer:
    """The optimizer that `config` describes over `parameters` that require gradients."""
    trained = {name: p for name, p in parameters.items() if p.requires_grad}
    match config:
        case AdamW():
            return FusedAdam(trained, config, decoupled=True)
        case Adam():
            return FusedAdam(trained, config, decoupled=False)
        case SGD():
            return FusedSGD(trained, config)
