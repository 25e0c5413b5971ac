"""What is said when a training needs more memory than there is."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainables.errors import OutOfMemory
from trainables.training.world import World


@contextmanager
def explaining_want_of_memory(batch_size: int, world: World) -> Iterator[None]:
    """Within it, a failed allocation is an `OutOfMemory` that says what needs less, exactly or not."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_want_of_memory(error):
            raise
        amount = re.search(r"(?i)(?:tried to|unable to) allocate ([\d.]+ \w+)", str(error))
        said = f": {amount[1]} more could not be had" if amount else ""
        share = math.ceil(batch_size / world.size)
        raise OutOfMemory(
            f"Out of memory on {world.device}{said}.",
            hint=f"A worker takes {share} of the {batch_size} images of a batch: with more workers (compute.workers) "
            "the numbers are the same and each needs less. Else lower training.batch_size or data.image_size.",
            key="training.batch_size",
        ) from error


def is_want_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed. The allocator of CPUs has no error type of its own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
