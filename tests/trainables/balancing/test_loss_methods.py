"""Weights that follow losses and norms, against a second route: TorchJD, autograd with torch's Adam, a formula."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchjd import aggregation, scalarization

from tests.trainables.synthetic import TASKS, prepared, trial
from trainables.balancing.balancer import LossBalancer
from trainables.balancing.dwa import DWA
from trainables.balancing.famo import FAMO
from trainables.balancing.graddrop import GradDrop
from trainables.balancing.gradients import reduced_rows, shared_rows
from trainables.balancing.learned_scales import IMTLL, Uncertainty
from trainables.balancing.random_weights import RandomWeights
from trainables.balancing.scalarized import STCH, GeometricMean, derivatives
from trainables.training.trainer import Trainer
from trainables.training.world import World

Array = NDArray[np.float64]
NAMES = ("a", "b", "c")
EPOCHS, STEPS = 4, 25


@dataclass
class Losses:
    """What these methods ask of a step: the losses before it and after it, and which step it is."""

    before: Tensor
    after: Tensor
    epoch: int = 0
    index: int = 0
    seed: int = 3
    tasks: tuple[str, ...] = NAMES

    def mean_losses(self) -> Tensor:
        return self.before

    def mean_losses_now(self) -> Tensor:
        return self.after


def falling(seed: int) -> list[list[Losses]]:
    """Steps by epoch, whose losses fall at different rates and not evenly."""
    random = np.random.default_rng(seed)
    level = 10 ** random.uniform(-1, 1, len(NAMES))
    rates = random.uniform(0.0, 0.05, len(NAMES))
    epochs = []
    for epoch in range(EPOCHS):
        steps = []
        for index in range(STEPS):
            after = level * np.exp(-rates + 0.1 * random.normal(size=len(NAMES)))
            steps.append(Losses(torch.from_numpy(level.copy()), torch.from_numpy(after), epoch, index))
            level = after
        epochs.append(steps)
    return epochs


def weights_of(balancer: LossBalancer, epochs: list[list[Losses]]) -> list[Array]:
    """The weights of every step."""
    found = []
    for epoch, steps in enumerate(epochs):
        balancer.start_epoch(epoch)
        for step in steps:
            found.append(np.array(balancer.task_weights(step)))  # type: ignore[arg-type]
            balancer.after_step(step)  # type: ignore[arg-type]
        means = torch.stack([step.before for step in steps]).mean(0)
        balancer.end_epoch(dict(zip(NAMES, means.tolist(), strict=True)))
    return found


def famo(epochs: list[list[Losses]]) -> list[Tensor]:
    theirs = scalarization.FAMO(len(NAMES), lr=0.1, weight_decay=1e-3).double()
    found = []
    for step in (step for steps in epochs for step in steps):
        found.append(derivatives(theirs, step.before))
        theirs.update(step.after)
    return found


def dwa(epochs: list[list[Losses]]) -> list[Tensor]:
    theirs = scalarization.DWA(temperature=0.7)
    found = []
    for steps in epochs:
        found += [derivatives(theirs, step.before) for step in steps]
        theirs.step()
    return found


def learned(objective: Callable[[Tensor, Tensor], Tensor]) -> Callable[[list[list[Losses]]], list[Tensor]]:
    """Weights e^(±s), with s learned by torch's Adam on what autograd makes of an objective of (s, losses)."""

    def reference(epochs: list[list[Losses]]) -> list[Tensor]:
        s = torch.zeros(len(NAMES), dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([s], lr=0.05)
        found = []
        for step in (step for steps in epochs for step in steps):
            losses = step.before.clone().requires_grad_()
            s.grad, weights = torch.autograd.grad(objective(s, losses), (s, losses))
            found.append(weights)
            adam.step()
        return found

    return reference


def stch(epochs: list[list[Losses]]) -> list[Tensor]:
    """softmax(log(L/z)/μ)/L, by hand; 1/L in the first epoch, at whose end the means become z."""
    nadir = torch.stack([step.before for step in epochs[0]]).mean(0)
    found = [1 / step.before for step in epochs[0]]
    for step in (step for steps in epochs[1:] for step in steps):
        powers = (step.before / nadir) ** (1 / 0.3)
        found.append(powers / powers.sum() / step.before)
    return found


def geometric(epochs: list[list[Losses]]) -> list[Tensor]:
    every = [step.before for steps in epochs for step in steps]
    return [losses.prod() ** (1 / 3) / (3 * losses) for losses in every]


ROUTES: dict[str, tuple[Callable[[], LossBalancer], Callable[[list[list[Losses]]], list[Tensor]]]] = {
    "famo": (lambda: FAMO(NAMES, step_size=0.1, decay=1e-3), famo),
    "dwa": (lambda: DWA(NAMES, temperature=0.7), dwa),
    "uncertainty": (
        lambda: Uncertainty(NAMES, step_size=0.05),
        learned(lambda s, losses: ((-s).exp() * losses + s / 2).sum()),
    ),
    "imtl_l": (
        lambda: IMTLL(NAMES, step_size=0.05),
        learned(lambda s, losses: (s.exp() * losses - s).sum()),
    ),
    "stch": (lambda: STCH(NAMES, mu=0.3, warmup_epochs=1), stch),
    "geometric_mean": (lambda: GeometricMean(NAMES), geometric),
}


@pytest.mark.parametrize("method", ROUTES)
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_those_of_a_second_route(method: str, seed: int) -> None:
    ours, reference = ROUTES[method]
    epochs = falling(seed)
    found, expected = weights_of(ours(), epochs), torch.stack(reference(epochs)).numpy()
    np.testing.assert_allclose(np.stack(found), expected, rtol=1e-5)
    assert np.ptp(np.stack(found), axis=0).max() > 0.01  # they do move


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_random_weights_are_distributed_as_published(distribution: Any) -> None:
    balancer = RandomWeights(NAMES, distribution)
    ones = torch.ones(len(NAMES), dtype=torch.float64)
    drawn = np.stack(
        [balancer.task_weights(Losses(ones, ones, index=index)) for index in range(4000)]  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(drawn.sum(1), 1)
    np.testing.assert_allclose(drawn.mean(0), 1 / 3, atol=0.02)
    if distribution == "dirichlet":  # Dirichlet(1, 1, 1): each weight has variance 2/9 / 4
        np.testing.assert_allclose(drawn.var(0), 1 / 18, rtol=0.1)
    else:  # log-ratios of a softmax of independent normals
        ratios = np.log(drawn[:, 0] / drawn[:, 1])
        np.testing.assert_allclose((ratios.mean(), ratios.var()), (0, 2), atol=0.15)


def trained(balancing: dict[str, Any]) -> Trainer:
    """Three epochs of three tasks, five steps each."""
    training = {"epochs": 3, "batch_size": 18, "precision": "fp64"}
    trainer = Trainer(trial(balancing=balancing, training=training), prepared(), World.single())
    for _ in range(3):
        trainer.run_epoch()
    return trainer


def test_gradnorm_follows_the_paper_by_autograd_and_torchs_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Array, Array]] = []

    def recorded(step: Any, rows: Any) -> Tensor:
        matrix = reduced_rows(step, rows)
        seen.append((matrix.norm(dim=1).numpy(), step.mean_losses().numpy()))
        return matrix

    monkeypatch.setattr("trainables.balancing.gradnorm.reduced_rows", recorded)
    trainer = trained({"method": "gradnorm", "alpha": 1.5, "step_size": 0.05})
    weights = torch.ones(len(TASKS), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([weights], lr=0.05)
    for norms, losses in seen:
        ratios = losses / seen[0][1]
        scaled = torch.from_numpy(norms / norms.mean())
        wanted = ((weights * scaled).mean() * torch.from_numpy(ratios / ratios.mean()) ** 1.5).detach()
        (weights.grad,) = torch.autograd.grad((weights * scaled - wanted).abs().sum(), weights)
        adam.step()
        with torch.no_grad():
            weights.mul_(len(TASKS) / weights.sum())
    assert len(seen) == 15
    found = trainer.balancer.state_dict()["values"]
    torch.testing.assert_close(found, weights.detach(), rtol=1e-6, atol=0)
    assert found.std() > 0.05


def test_excess_risks_weigh_as_torchjds_after_a_step_of_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = aggregation.ExcessMTLWeighting(robust_step_size=0.1, n_warmup_steps=1)
    expected: list[Tensor] = []

    def recorded(step: Any) -> Any:
        shared, matrix = shared_rows(step)
        expected.append(theirs(1e4 * matrix))  # which changes no ratio, but what their ε is worth
        return shared, matrix

    monkeypatch.setattr("trainables.balancing.excess_mtl.shared_rows", recorded)
    trainer = trained({"method": "excess_mtl", "step_size": 0.1})
    logits = trainer.balancer.state_dict()["logits"]
    torch.testing.assert_close(torch.softmax(logits, 0), expected[-1], rtol=1e-5, atol=0)
    assert torch.softmax(logits, 0).std() > 0.005


def test_sign_dropout_keeps_one_sign_where_tasks_disagree() -> None:
    rows = torch.tensor([[1.0, -1.0, 2.0, 0.0], [3.0, -2.0, -1.0, 0.0]])
    balancer = GradDrop(NAMES[:2], leak=0.25, at_features=False)
    # The third number is positive with probability ½(1 + 1/3): of draws below it, plus is kept.
    for draw, third in [(0.6, [2.0, -0.25]), (0.7, [0.5, -1.0])]:
        kept = balancer._kept(rows, torch.full((4,), draw))
        assert kept.T.tolist() == [[1.0, 3.0], [-1.0, -2.0], third, [0.0, 0.0]]
