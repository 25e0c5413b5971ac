"""Which training examples an epoch draws, and in which order: all of them once, or sources mixed by ratios.

Legend: n training rows of all sources, n_s of source s, p_s its share of the draws.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from trainables.config.data import Mixing, Temperature
from trainables.model.keyed import keyed_generator
from trainables.training.batches import epoch_order


@dataclass(frozen=True)
class Draws:
    """The examples of one epoch, equal on every worker.

    Attributes:
        order: (n,) int64 positions among the training rows.
        turns: (n,) int64 how often the example has been drawn before in this epoch; None: each comes once.
    """

    order: Tensor
    turns: Tensor | None = None


Draw = Callable[[int], Draws]
"""The draws of an epoch (0-based)."""


def drawing(mixing: Mixing, sources: Mapping[str, range], rows: Tensor, seed: int, bounds: list[int]) -> Draw:
    """What draws the examples of every epoch.

    Args:
        mixing: `data.mixing`.
        sources: which row numbers belong to which source; empty: there is one only.
        rows: (n,) sorted row numbers of the training images.
        seed: of the training.
        bounds: boundaries of the batches of n examples, from 0 to n.
    """
    if mixing == "proportional":
        return lambda epoch: Draws(epoch_order(len(rows), seed, epoch))
    found = {
        name: torch.nonzero((rows >= own.start) & (rows < own.stop)).flatten()
        for name, own in sources.items()
    }
    members = {name: own for name, own in found.items() if len(own)}  # all of its images may be unreadable
    shares = shares_of(mixing, {name: len(own) for name, own in members.items()})
    return Mixture(members, apportion(list(shares.values()), bounds), seed).draws


def shares_of(mixing: Mixing, counts: Mapping[str, int]) -> dict[str, Fraction]:
    """Each source's part of all draws, which sum to 1, from the number of its training rows."""
    match mixing:
        case "proportional":
            parts: dict[str, float] = dict(counts)
        case "uniform":
            parts = dict.fromkeys(counts, 1)
        case Temperature():
            parts = {name: count ** (1 / mixing.temperature) for name, count in counts.items()}
        case _:
            parts = {name: mixing[name] for name in counts}
    total = sum(map(Fraction, parts.values()))
    return {name: Fraction(part) / total for name, part in parts.items()}


def apportion(shares: Sequence[Fraction], bounds: Sequence[int]) -> list[list[int]]:
    """How many of the first b draws are of each source, for every boundary b.

    They differ from p_s·b by less than one, never decrease, and sum to b. This is just-in-time scheduling: the
    i-th draw of s is due by i / p_s, and not before (i - 1) / p_s; whatever is due first comes first, which
    meets every due date if anything does, and something does (Steiner and Yeomans, "Level schedules for mixed-model,
    just-in-time processes", Management Science 1993).
    """
    drawn = [0] * len(shares)
    result = []
    for bound in bounds:
        quotas = [share * bound for share in shares]
        drawn = [max(count, math.floor(quota)) for count, quota in zip(drawn, quotas, strict=True)]
        open_ = [s for s, quota in enumerate(quotas) if drawn[s] < math.ceil(quota)]
        for s in sorted(open_, key=lambda s: (drawn[s] + 1) / shares[s])[: bound - sum(drawn)]:
            drawn[s] += 1
        result.append(drawn)
    return result


class Mixture:
    """Draws from several sources so that every batch is mixed by their shares."""

    def __init__(self, members: Mapping[str, Tensor], drawn: Sequence[Sequence[int]], seed: int) -> None:
        """`members`: (n_s,) positions of each source; `drawn`: what `apportion` says of the batches' boundaries."""
        self._members = dict(members)
        self._wanted = drawn[-1]
        self._seed = seed
        per_batch = torch.tensor(drawn).diff(dim=0)  # (batches, sources)
        batches = torch.arange(len(per_batch))
        self._batch = torch.cat([torch.repeat_interleave(batches, own) for own in per_batch.T]).double()

    def draws(self, epoch: int) -> Draws:
        """The draws of `epoch` (0-based)."""
        every = [
            self._of_source(name, wanted, epoch)
            for name, wanted in zip(self._members, self._wanted, strict=True)
        ]
        # Sorted by batch, and within it at random: no worker's part of a batch shall be of one source.
        noise = torch.rand(len(self._batch), generator=keyed_generator(self._seed, epoch, "mixing"))
        places = torch.argsort(self._batch + noise, stable=True)
        return Draws(*(torch.cat(parts)[places] for parts in zip(*every, strict=True)))

    def _of_source(self, name: str, wanted: int, epoch: int) -> tuple[Tensor, Tensor]:
        """`wanted` draws of one source, and their turns: whole passes, and for the rest a part of its rows.

        The rest goes round a circle of all rows from epoch to epoch, so that after any number of epochs no row
        has been drawn more than once more often than another.
        """
        own = self._members[name]
        whole, rest = divmod(wanted, len(own))
        passes = [self._shuffled(own, name, epoch, turn) for turn in range(whole)]
        circle = self._shuffled(own, name)
        chosen = circle[(epoch * rest + torch.arange(rest)) % len(own)]
        passes.append(self._shuffled(chosen, name, epoch, whole))
        return torch.cat(passes), torch.arange(wanted) // len(own)

    def _shuffled(self, values: Tensor, *key: int | str) -> Tensor:
        return values[torch.randperm(len(values), generator=keyed_generator(self._seed, "mixing", *key))]
