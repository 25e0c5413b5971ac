"""Laws of keyed random numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.keyed import uniforms


@given(st.integers(-(2**70), 2**70), st.integers(0, 2**40), st.lists(st.integers(0, 2**40), max_size=20))
def test_a_number_depends_on_its_key_alone(seed: int, epoch: int, ids: list[int]) -> None:
    together = uniforms(seed, epoch, ids, "crop", 3)
    assert together.shape == (len(ids), 3)
    for n, example in enumerate(ids):
        assert np.array_equal(uniforms(seed, epoch, [example], "crop", 3)[0], together[n])
        assert np.array_equal(uniforms(seed, epoch, [example], "crop", 1)[0], together[n, :1])


def test_numbers_are_uniform_and_keys_are_independent() -> None:
    ids = np.arange(20_000)
    draws = [
        uniforms(0, 0, ids, "crop", 2)[:, 0],
        uniforms(0, 0, ids, "crop", 2)[:, 1],
        uniforms(0, 0, ids, "flip", 1)[:, 0],
        uniforms(0, 1, ids, "crop", 1)[:, 0],
        uniforms(1, 0, ids, "crop", 1)[:, 0],
        uniforms(0, 0, ids + 1, "crop", 1)[:, 0],
    ]
    for found in draws:
        assert found.min() >= 0
        assert found.max() < 1
        counts = np.histogram(found, 20, (0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-squared, 19 degrees: p = 0.0007
    correlations = np.corrcoef(draws) - np.eye(len(draws))
    assert abs(correlations[:-1, :-1]).max() < 0.03


def test_known_values() -> None:
    """They must never change: a resumed training would see other pictures."""
    known = [0.42283101445113014, 0.5839313991974633, 0.5935668244038064, 0.024681404050677536]
    assert uniforms(7, 3, [0, 12345], "flip", 2).ravel().tolist() == known
