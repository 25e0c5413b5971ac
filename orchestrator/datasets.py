"""The prepared data of a run's trials, decoded once each."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from orchestrator.spec import ExperimentSpec
from trainables.config.trial import TrialConfig
from trainables.data.prepare import prepare_data
from trainables.data.prepared import PreparedData


@dataclass
class Datasets:
    """Prepares the data that trials name, and remembers what is prepared.

    Trials differ in their data only where the search varies the image size; what is only applied while training
    (augmentation, mixing) shares one preparation.
    """

    spec: ExperimentSpec
    report: Callable[[int, int], None] = lambda done, total: None
    """Called while images are decoded, with how many are done and how many there are."""
    _prepared: dict[str, PreparedData] = field(default_factory=dict)
    _abandoned: threading.Event = field(default_factory=threading.Event)

    def prepare_all(self) -> PreparedData:
        """Prepare whatever trials may name; returns the first. Raises `DataError`."""
        first, *_ = [self.of(config) for config in self._configs()]
        return first

    def of(self, config: TrialConfig) -> PreparedData:
        """The data of a trial. Raises `DataError`."""
        data = config.data.model_copy(update={"augment": "none", "mixing": "proportional"})
        key = data.model_dump_json()
        if key not in self._prepared:
            self._prepared[key] = prepare_data(
                data, config.tasks, seed=config.seed, base=self.spec.folder, progress=self._progress
            )
        return self._prepared[key]

    def abandon(self) -> None:
        """Stop decoding in whatever thread it goes on."""
        self._abandoned.set()

    def _configs(self) -> Iterator[TrialConfig]:
        """One trial for every image size that is searched."""
        space = self.spec.search.space
        sizes = space.get("data.image_size") if isinstance(space, dict) else None
        if sizes is None:
            yield self.spec.trial_config()
            return
        for size in sizes.grid():
            yield self.spec.trial_config_with({"data.image_size": size})

    def _progress(self, done: int, total: int) -> None:
        if self._abandoned.is_set():
            raise InterruptedError("decoding was abandoned")
        self.report(done, total)
