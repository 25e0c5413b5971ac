"""What structures are built of: a backbone's stages, copies of them, and initial values."""

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from torch import Tensor

from trainables.model.keyed import drawing
from trainables.model.stages import Stages


class Blueprint:
    """Gives a structure its material. Everything random is drawn by what it is for, never in order."""

    def __init__(self, stages: Stages, seed: int, again: Callable[[], Mapping[str, Tensor]] | None) -> None:
        """`again` initialises the backbone once more, from torch's default generator; None: all copies are equal."""
        self.stages = stages
        self._seed = seed
        self._again = again

    def copy(self, *owner: int | str) -> Stages:
        """The same stages with parameters of their own: drawn for `owner`, or as they were loaded."""
        copied = copy.deepcopy(self.stages)
        if self._again is None:
            return copied
        with drawing(self._seed, "init", "backbone", *owner):
            return copied.with_tensors(self._again())

    def drawing(self, *owner: int | str) -> AbstractContextManager[None]:
        """Within it, torch's default generator is keyed by `owner`, and comes back unmoved."""
        return drawing(self._seed, "init", "sharing", *owner)
