"""Peer: plain Ray Tune function trainables, one process per trial, logging by Ray's own MLflow callback.

python -m benchmarks.peers.tune_functions FOLDER
"""

import random
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune

from benchmarks.peers.workload import TRIALS
from benchmarks.peers.workload import train as train_model


def trial(config: dict[str, Any]) -> None:
    """The function trainable."""
    import torch

    from benchmarks.peers.workload import load_arrays

    torch.set_num_threads(1)
    train_model(
        load_arrays(), **config, report=lambda epoch, metrics: tune.report({**metrics, "epoch": epoch})
    )


def main() -> None:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    results = tune.Tuner(
        trial,
        param_space={
            "width": tune.choice([16, 32, 64]),
            "lr": tune.loguniform(1e-3, 1e-2),
            "left_weight": tune.sample_from(lambda _: random.uniform(0.05, 0.95)),
        },
        tune_config=tune.TuneConfig(num_samples=TRIALS),
        run_config=tune.RunConfig(
            name="functions",
            storage_path=str(folder / "tune"),
            verbose=0,
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
                    experiment_name="functions",
                    save_artifact=False,
                )
            ],
        ),
    ).fit()
    print(f"{len(results)} trials ({results.num_errors} failed), {time.perf_counter() - began:.1f} s")
    ray.shutdown()


if __name__ == "__main__":
    main()
