"""The data-parallel workers as the trainer sees them: who am I, and how are numbers reduced."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, distributed

FEW_BYTES, MOST_BYTES = 1 << 14, 1 << 24
"""On CPUs, so small a tensor is gathered and added: half as many messages, each of which may cost a time slice. Two
workers send no more bytes that way, so theirs may be larger, as long as memory is no matter. Measured with two."""


class World:
    """Rank, size and device of this worker, and the few collectives that training needs.

    Everything that is reduced is reduced by sum: means are formed by the caller with denominators that
    are global as well, so that N workers compute what one worker computes.
    """

    def __init__(
        self, rank: int, size: int, device: torch.device, shares: Sequence[float] | None = None
    ) -> None:
        """`shares`: relative number of examples each worker takes of every batch; equal by default."""
        if shares is not None and (len(shares) != size or min(shares) < 0 or sum(shares) <= 0):
            raise ValueError(f"shares must be {size} numbers that are not negative, but is {list(shares)}")
        self.rank = rank
        self.size = size
        self.device = device
        parts = list(shares) if shares is not None else [1.0] * size
        self._ends = [0.0, *(sum(parts[: r + 1]) / sum(parts) for r in range(size))]

    @classmethod
    def single(cls, device: torch.device | str = "cpu") -> "World":
        """One worker, no communication."""
        return cls(0, 1, torch.device(device))

    @classmethod
    def distributed(cls, device: torch.device | str, shares: Sequence[float] | None = None) -> "World":
        """The workers of the initialised default process group."""
        return cls(distributed.get_rank(), distributed.get_world_size(), torch.device(device), shares)

    def bounds(self, count: int) -> list[int]:
        """`size + 1` boundaries of the contiguous parts of `count` rows: worker r has [b[r], b[r+1])."""
        return [round(end * count) for end in self._ends]

    def part(self, count: int) -> tuple[int, int]:
        """This worker's contiguous part of `count` rows. May be empty."""
        bounds = self.bounds(count)
        return bounds[self.rank], bounds[self.rank + 1]

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Sum over workers, in place, and bit-equal on all of them."""
        if self.size == 1 or not tensor.numel():
            return tensor
        if tensor.device.type == "cpu" and tensor.nbytes <= (MOST_BYTES if self.size == 2 else FEW_BYTES):
            parts = [torch.empty_like(tensor) for _ in range(self.size)]
            distributed.all_gather(parts, tensor)
            torch.add(parts[0], parts[1], out=tensor)
            for part in parts[2:]:
                tensor.add_(part)
        else:
            distributed.all_reduce(tensor)
        return tensor

    def all_reduce_sum_many(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over workers, in place, by one collective per dtype."""
        self._together(self.all_reduce_sum, tensors)

    def broadcast_many(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite each tensor by the one of the first worker, by one collective per dtype."""
        self._together(self.broadcast, tensors)

    def _together(self, collective: Callable[[Tensor], Tensor], tensors: Sequence[Tensor]) -> None:
        if self.size == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for group in by_dtype.values():
            views = [_in_memory_order(tensor) for tensor in group]
            flat = collective(torch.cat([view.reshape(-1) for view in views]))
            parts = torch.split(flat, [view.numel() for view in views])
            torch._foreach_copy_(
                views, [part.view(view.shape) for part, view in zip(parts, views, strict=True)]
            )

    def all_gather_rows(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Concatenate every worker's rows in rank order; worker r brings `counts[r]` of them."""
        if self.size == 1:
            return rows
        longest = max(counts)
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: rows.shape[0]] = rows
        gathered = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(gathered, padded)
        return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """Overwrite `tensor` by the one of worker `source`."""
        if self.size > 1:
            distributed.broadcast(tensor, source)
        return tensor

    def barrier(self) -> None:
        """Wait for every worker."""
        if self.size > 1:
            distributed.barrier()


def _in_memory_order(tensor: Tensor) -> Tensor:
    """A view whose numbers lie one after another, also of a channels_last tensor: these are copied straight.

    Layouts are alike on every worker: weights are made alike, and a gradient has the layout of its parameter.
    """
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1)
    return tensor
