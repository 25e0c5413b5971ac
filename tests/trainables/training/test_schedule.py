import pytest

from trainables.config.training import Constant, Cosine, Step
from trainables.training.schedule import lr_factor


def test_warm_up_rises_to_one_and_then_the_schedule_begins() -> None:
    factors = [lr_factor(Constant(warmup=0.2), step, 5, 4) for step in range(20)]
    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert factors[4:] == [1.0] * 16


def test_cosine_falls_to_its_floor() -> None:
    factors = [lr_factor(Cosine(floor=0.1), step, 10, 10) for step in range(100)]
    assert factors[0] == 1.0
    assert factors[50] == pytest.approx(0.55)
    assert factors == sorted(factors, reverse=True)
    assert 0.1 < factors[-1] < 0.101


def test_step_counts_epochs() -> None:
    factors = [lr_factor(Step(every=2, gamma=0.5), step, 3, 6) for step in range(18)]
    assert factors == [1.0] * 6 + [0.5] * 6 + [0.25] * 6
