"""The prepared data of a search's trials, decoded once each."""

from dataclasses import dataclass, field

from orchestrator.spec import ExperimentSpec
from trainables.config.trial import TrialConfig
from trainables.data.prepare import prepare_data
from trainables.data.prepared import PreparedData


@dataclass
class Datasets:
    """Prepares the data that trials name, and remembers what is prepared.

    Trials differ in their data only where the search varies the image size or the like; what is only applied
    while training (augmentation) shares one preparation.
    """

    spec: ExperimentSpec
    _prepared: dict[str, PreparedData] = field(default_factory=dict)

    def of(self, config: TrialConfig) -> PreparedData:
        """The data of a trial. Raises `DataError`."""
        data = config.data.model_copy(update={"augment": "none"})
        key = data.model_dump_json()
        if key not in self._prepared:
            self._prepared[key] = prepare_data(data, config.tasks, seed=config.seed, base=self.spec.folder)
        return self._prepared[key]
