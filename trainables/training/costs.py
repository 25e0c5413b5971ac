"""What the model of a trial costs whoever uses it: parameters, operations and time for one image."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from trainables.config.model import COSTS, ModelConfig
from trainables.model.flops import count_flops
from trainables.model.multitask import MultiTaskModel
from trainables.training.precision import Precision
from trainables.training.world import World

BUDGET = 0.01
"""Seconds in which passes are timed; at least `FEWEST` of them, at most `MOST`."""
FEWEST, MOST = 5, 50

_known: dict[tuple[object, ...], list[float]] = {}
"""What this process has measured: the trials of a slot often share a model."""


def model_costs(
    model: MultiTaskModel,
    config: ModelConfig,
    image_size: tuple[int, int],
    precision: Precision,
    world: World,
) -> dict[str, float]:
    """The model's costs under the names of objectives, measured by the first worker and told to all.

    Returns:
        `model.parameters`: how many there are; `model.flops`: operations of one image's forward pass
        (`count_flops`); `model.latency_ms`: median milliseconds of one image's forward pass in evaluation, on
        the worker's device with its threads. Equal models of one process are measured once.
    """
    values = torch.zeros(len(COSTS), dtype=torch.float64, device=world.device)
    if world.rank == 0:
        built = config.model_copy(update={"weights": None}).model_dump_json()
        shapes = tuple(parameter.shape for parameter in model.parameters())
        key = (built, shapes, image_size, precision, world.device, torch.get_num_threads())
        if key not in _known:
            size = (1, model.channels, *image_size)
            images = torch.zeros(size, dtype=precision.parameters, device=world.device)
            _known[key] = _measured(model, images, precision)
        values = torch.tensor(_known[key], dtype=torch.float64, device=world.device)
    found = world.broadcast(values).tolist()
    return {f"model.{name}": value for name, value in zip(COSTS, found, strict=True)}


def _measured(model: MultiTaskModel, images: Tensor, precision: Precision) -> list[float]:
    training = model.training
    model.eval()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision.autocast):
        flops = count_flops(model, images)
        seconds = _median_seconds(lambda: model(images), images.device)
    model.train(training)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return [float(parameters), float(flops), 1000 * seconds]


@torch.no_grad()
def _median_seconds(run: Callable[[], object], device: torch.device) -> float:
    taken: list[float] = []
    while len(taken) < FEWEST or (len(taken) < MOST and sum(taken) < BUDGET):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return median(taken)
