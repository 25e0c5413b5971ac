"""Stratification over many labels at once, with whole groups and missing labels."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-6
"""Sums of fractions that differ by less are equal."""


@dataclass(frozen=True)
class Group:
    """Examples that stay together.

    Attributes:
        name: what its place in the draw depends on.
        size: number of examples.
        counts: how many of them have each label, by label number.
    """

    name: str
    size: int
    counts: Mapping[int, int]


def stratify(groups: Sequence[Group], fractions: Sequence[float], seed: int) -> NDArray[np.int8]:
    """The part of each group, such that every label is spread over the parts as the fractions say.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011, algorithm 1): the rarest label
    is handed out first, each example to the part that still lacks this label most. Four things differ:

    - An example may be a group of several; larger ones go first.
    - Examples that are equal in labels and alone in their group are dealt out beforehand as far as the
      fractions give whole numbers: faster, and more even.
    - Where only fractions of an example are left to each part, the part that lacks most examples altogether
      gets it, or many rare labels would all add to the largest part. The first of a label goes there.
    - Ties are broken by a keyed hash of the name, so that neither the order of rows nor chance has influence.

    Args:
        groups: with distinct names; label numbers start at 0, and of equally rare ones the lower goes first.
        fractions: of each part; sum 1.
        seed: of the hash; any integer, of which the lower 64 bits count.

    Returns:
        (G,) part of each group.
    """
    deal = _Deal(groups, fractions)
    order = sorted(
        range(len(groups)), key=lambda group: (-groups[group].size, _rank(groups[group].name, seed))
    )
    alike: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for group in order:
        if groups[group].size == 1:
            alike.setdefault(tuple(sorted(groups[group].counts.items())), []).append(group)
    for equal in alike.values():
        start = 0
        for part, fraction in enumerate(fractions):
            count = int(len(equal) * fraction + 1e-9)
            for group in equal[start : start + count]:
                deal.give(group, part)
            start += count
    holders: dict[int, list[int]] = {}
    for group in order:
        if deal.parts[group] < 0:
            for label in groups[group].counts:
                holders.setdefault(label, []).append(group)
    while (rarest := deal.rarest()) is not None:
        for group in holders[rarest]:
            if deal.parts[group] < 0:
                deal.give(group, deal.neediest(rarest))
    for group in order:
        if deal.parts[group] < 0:  # without any label
            deal.give(group, deal.neediest(None))
    return deal.parts


class _Deal:
    """What has been given to whom and what each part still lacks."""

    def __init__(self, groups: Sequence[Group], fractions: Sequence[float]) -> None:
        self.groups = groups
        self.parts = np.full(len(groups), -1, dtype=np.int8)
        self.left = [0] * (1 + max((max(group.counts, default=-1) for group in groups), default=-1))
        for group in groups:
            for label, count in group.counts.items():
                self.left[label] += count
        self.totals = list(self.left)
        rows = sum(group.size for group in groups)
        self.lacking = [[fraction * count for count in self.left] for fraction in fractions]
        self.lacking_rows = [fraction * rows for fraction in fractions]
        self.open = [part for part, fraction in enumerate(fractions) if fraction > 0]

    def give(self, group: int, part: int) -> None:
        self.parts[group] = part
        self.lacking_rows[part] -= self.groups[group].size
        lacking, left = self.lacking[part], self.left
        for label, count in self.groups[group].counts.items():
            lacking[label] -= count
            left[label] -= count

    def rarest(self) -> int | None:
        """The label with the fewest examples left, if any is left."""
        left = np.array(self.left, dtype=np.int64)
        candidates = np.flatnonzero(left)
        return int(candidates[np.argmin(left[candidates])]) if len(candidates) else None

    def neediest(self, label: int | None) -> int:
        """The part that an example of this label (of none) goes to."""
        if label is None:
            return self._largest(self.open, self.lacking_rows)
        needs = [lacking[label] for lacking in self.lacking]
        if self.left[label] < self.totals[label] and max(needs) < 1 + ROUNDING:
            # Only a fraction is left to each part: whoever lacks one at all may have it.
            return self._largest([part for part in self.open if needs[part] > ROUNDING], self.lacking_rows)
        most = max(needs[part] for part in self.open)
        return self._largest([part for part in self.open if needs[part] > most - ROUNDING], self.lacking_rows)

    def _largest(self, parts: Sequence[int], lacking: Sequence[float]) -> int:
        most = max(lacking[part] for part in parts)
        return next(part for part in parts if lacking[part] > most - ROUNDING)


def _rank(name: str, seed: int) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16, salt=(seed % 2**64).to_bytes(8, "little")).digest()
