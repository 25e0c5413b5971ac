"""An exponential moving average of the weights, which is then what is evaluated and kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages parameters and floating-point buffers after every step; other buffers are copied.

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that the first weights are forgotten soon.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        # Tied parameters have several names and one tensor: averaging, or exchanging, it twice would be wrong.
        distinct: dict[tuple[object, ...], tuple[str, Tensor]] = {}
        for name, tensor in model.state_dict().items():
            distinct.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), (name, tensor))
        self._live = dict(distinct.values())
        self.tensors: dict[str, Tensor] = {
            name: torch.empty_like(tensor).copy_(tensor) for name, tensor in self._live.items()
        }
        floating = [name for name, tensor in self._live.items() if tensor.is_floating_point()]
        self._counters = [name for name in self._live if name not in floating]
        # state_dict's tensors share memory with the model's for as long as the model lives.
        self._averages = [self.tensors[name] for name in floating]
        self._sources = [self._live[name] for name in floating]

    @torch.no_grad()
    def update(self) -> None:
        """The optimizer has stepped."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(self._averages, self._sources, 1 - decay)
        for name in self._counters:
            self.tensors[name].copy_(self._live[name])

    @contextmanager
    def in_place_of_weights(self) -> Iterator[None]:
        """Within it the model computes with the averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, live in self._live.items():
            average = self.tensors[name]
            kept = live.clone()
            live.copy_(average)
            average.copy_(kept)

    def load_state_dict(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Continue with these averages, in tensors laid out like the model's."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
        self.updates = updates
