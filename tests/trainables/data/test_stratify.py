"""Laws of the stratified split."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.data.stratify import Group, stratify

FRACTIONS = (0.8, 0.1, 0.1)

groups = st.lists(
    st.tuples(st.integers(1, 4), st.dictionaries(st.integers(0, 5), st.integers(1, 4), max_size=4)),
    min_size=1,
    max_size=60,
).map(lambda found: [Group(f"g{n}", size, counts) for n, (size, counts) in enumerate(found)])


def singles(labels: list[list[int]]) -> list[Group]:
    return [Group(str(n), 1, dict.fromkeys(found, 1)) for n, found in enumerate(labels)]


@given(groups, st.integers(0, 2**63), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_every_group_gets_a_part_and_order_has_no_influence(
    found: list[Group], seed: int, shuffler: random.Random
) -> None:
    parts = stratify(found, FRACTIONS, seed)
    assert set(parts.tolist()) <= {0, 1, 2}
    shuffled = list(range(len(found)))
    shuffler.shuffle(shuffled)
    again = stratify([found[n] for n in shuffled], FRACTIONS, seed)
    assert again.tolist() == parts[shuffled].tolist()


def test_a_part_of_fraction_zero_gets_nothing() -> None:
    parts = stratify(singles([[n % 7] for n in range(100)] + [[]] * 5), (0.9, 0.1, 0.0), 0)
    assert set(parts.tolist()) == {0, 1}


def test_seeds_differ() -> None:
    labels = singles([[n % 3] for n in range(300)])
    assert stratify(labels, FRACTIONS, 1).tolist() != stratify(labels, FRACTIONS, 2).tolist()


@pytest.mark.parametrize("seed", [2**64, 2**64 + 7, -1])
def test_any_integer_is_a_seed(seed: int) -> None:
    labels = singles([[n % 3] for n in range(100)])
    assert stratify(labels, FRACTIONS, seed).tolist() == stratify(labels, FRACTIONS, seed % 2**64).tolist()


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_one_label_each_is_spread_to_within_one_example(classes: int) -> None:
    labels = np.random.default_rng(0).integers(0, classes, 3000)
    parts = stratify(singles([[int(label)] for label in labels]), FRACTIONS, 0)
    for label in range(classes):
        total = (labels == label).sum()
        for part, fraction in enumerate(FRACTIONS):
            assert abs(((labels == label) & (parts == part)).sum() - fraction * total) < 1
    assert [int((parts == part).sum()) for part in range(3)] == pytest.approx(
        [2400, 300, 300], abs=classes / 4 + 1
    )


def test_many_labels_at_once_are_spread() -> None:
    """40 attributes of very different frequency, a third of the labels missing."""
    rng = np.random.default_rng(0)
    has = rng.random((4000, 40)) < rng.uniform(0.01, 0.4, 40)
    known = rng.random((4000, 40)) > 1 / 3
    labels = [
        [2 * int(k) + int(has[n, k]) for k in np.flatnonzero(known[n])] for n in range(len(has))
    ]  # fmt: skip
    parts = stratify(singles(labels), FRACTIONS, 0)
    for part, fraction in enumerate(FRACTIONS):
        assert abs((parts == part).mean() - fraction) < 0.01
        positive = (has & known)[parts == part].sum(axis=0)
        wanted = fraction * (has & known).sum(axis=0)
        assert (abs(positive - wanted) <= np.maximum(2, 0.15 * wanted)).all()
        # A random split misses by this much on average.
        assert abs(positive - wanted).mean() < 0.35 * np.sqrt(wanted * (1 - fraction)).mean()


def test_rare_labels_are_trained_on() -> None:
    labels = [[0]] * 500 + [[1]] + [[2]] * 2 + [[3]] * 3
    parts = stratify(singles(labels), FRACTIONS, 0)
    assert all(
        (parts[[n for n, found in enumerate(labels) if found == [label]]] == 0).any() for label in (1, 2, 3)
    )


def test_groups_are_spread_by_their_labels() -> None:
    rng = np.random.default_rng(0)
    found = [
        Group(f"g{n}", int(size), {int(n % 4): int(size)}) for n, size in enumerate(rng.integers(1, 9, 400))
    ]
    parts = stratify(found, FRACTIONS, 0)
    rows = [sum(g.size for g, p in zip(found, parts.tolist(), strict=True) if p == part) for part in range(3)]
    assert [count / sum(rows) for count in rows] == pytest.approx(FRACTIONS, abs=0.01)
    for label in range(4):
        held = [
            sum(g.counts.get(label, 0) for g, p in zip(found, parts.tolist(), strict=True) if p == part)
            for part in range(3)
        ]
        assert [count / sum(held) for count in held] == pytest.approx(FRACTIONS, abs=0.03)
