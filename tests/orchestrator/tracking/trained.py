"""Searches whose trials have models and predictions on disk, of one real training."""

import dataclasses
import shutil
from pathlib import Path

from tests.orchestrator.journals import search_events, write_journal
from trainables.config.trial import TrialConfig
from trainables.data.prepare import prepare_data
from trainables.data.prepared import PreparedData
from trainables.training.predictions import Predictions
from trainables.training.trainer import Trainer
from trainables.training.world import World


class TrainedSearch:
    """One epoch on the embedded digits, made once per folder and given to every trial of a journal."""

    def __init__(self, folder: Path) -> None:
        config = TrialConfig.model_validate(
            {
                "data": {"source": "builtin:digits-pair", "cache": str(folder / "cache")},
                "tasks": {
                    "left": {"type": "multiclass", "label": "left"},
                    "right": {"type": "multiclass", "label": "right"},
                },
                "model": {"backbone": {"name": "small_cnn", "width": 16}},
                "training": {"epochs": 1, "batch_size": 256},
            }
        )
        self.data: PreparedData = prepare_data(config.data, config.tasks, seed=0, base=folder)
        self.trainer = Trainer(config, self.data, World.single())
        self.trainer.run_epoch()
        self.best = folder / "best"
        self.trainer.save_best(self.best)

    def write(self, directory: Path, uri: str, *, trials: int = 12) -> Path:
        """The folder of a finished search; t003 was pruned and t007 failed."""
        events = list(search_events(uri, trials=trials))
        write_journal(directory, events)
        for event in events:
            if event["event"] == "trial_ended" and event["metrics"]:
                self.keep(directory / "trials" / event["trial"] / "best", event["best_epoch"])
        return directory

    def keep(self, best: Path, epoch: int) -> None:
        """The model and its predictions, as if this epoch had been selected."""
        shutil.copytree(self.best, best, dirs_exist_ok=True)
        dataclasses.replace(Predictions.load(best), epoch=epoch).save(best)
