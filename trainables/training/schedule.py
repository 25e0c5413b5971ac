"""Learning-rate schedules as pure functions of the step: nothing to save, nothing to restore."""

import math

from trainables.config.training import Constant, Cosine, ScheduleConfig, Step


def lr_factor(config: ScheduleConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """What the learning rate is multiplied by at `step` (0-based, over the whole training).

    Over the first `warmup` fraction of all steps it rises linearly and reaches 1 with the last of them.
    """
    total = steps_per_epoch * epochs
    warm = round(config.warmup * total)
    if step < warm:
        return (step + 1) / warm
    match config:
        case Constant():
            return 1.0
        case Cosine(floor=floor):
            progress = min((step - warm) / max(total - warm, 1), 1.0)
            return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
        case Step(every=every, gamma=gamma):
            return float(gamma ** (step // steps_per_epoch // every))
