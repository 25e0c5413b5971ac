"""Which examples make which step: one permutation per epoch, cut into global batches."""

import torch
from torch import Tensor

from trainables.model.keyed import keyed_generator


def batch_bounds(count: int, batch_size: int) -> list[int]:
    """Boundaries of the batches over `count` examples. The last batch may be smaller.

    A single left-over example joins the batch before it: batch statistics of one example are undefined.
    """
    bounds = [*range(0, count, batch_size), count]
    if len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:
        del bounds[-2]
    return bounds


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order in which `epoch` visits `count` examples, equal on every worker."""
    return torch.randperm(count, generator=keyed_generator(seed, epoch, "order"))
