"""Peer: Ray's documented pattern, a function trainable that builds a TorchTrainer for each trial.

    python -m benchmarks.peers.ray_pattern FOLDER [TRIALS]

It needs the health-check interval set (2 s by default, which delays every report) and the trial's own resources made
nominal, because Train reserves the workers a second time.
"""

import os
import random
import sys
import time
from pathlib import Path
from typing import Any

os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.1"

import ray
from ray import train, tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from benchmarks.peers.workload import TRIALS
from benchmarks.peers.workload import train as train_model


def train_worker(config: dict[str, Any]) -> None:
    """Runs in Ray Train's worker."""
    import torch

    from benchmarks.peers.workload import load_arrays

    torch.set_num_threads(1)
    train_model(
        load_arrays(), **config, report=lambda epoch, metrics: train.report({**metrics, "epoch": epoch})
    )


def trial(config: dict[str, Any]) -> None:
    """The function trainable of the documentation."""
    name = f"train-{tune.get_context().get_trial_id()}"
    storage = config.pop("storage")
    TorchTrainer(
        train_worker,
        train_loop_config=config,
        scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=train.RunConfig(name=name, storage_path=storage, callbacks=[TuneReportCallback()]),
    ).fit()


def main() -> None:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    trials = int(sys.argv[2]) if len(sys.argv) > 2 else TRIALS
    began = time.perf_counter()
    # The dashboard is needed: without it the placement groups of ended trials are never released.
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=True)
    results = tune.Tuner(
        tune.with_resources(trial, {"memory": 1}),
        param_space={
            "width": tune.choice([16, 32, 64]),
            "lr": tune.loguniform(1e-3, 1e-2),
            "left_weight": tune.sample_from(lambda _: random.uniform(0.05, 0.95)),
            "storage": str(folder / "train"),
        },
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=2),
        run_config=tune.RunConfig(
            name="pattern",
            storage_path=str(folder / "tune"),
            verbose=0,
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
                    experiment_name="pattern",
                    save_artifact=False,
                )
            ],
        ),
    ).fit()
    print(f"{len(results)} trials ({results.num_errors} failed), {time.perf_counter() - began:.1f} s")
    ray.shutdown()


if __name__ == "__main__":
    main()
