"""Peer: Optuna with a bare loop in two processes that share a study, logging to MLflow on SQLite.

python -m benchmarks.peers.optuna_loop FOLDER
"""

import multiprocessing
import sys
import time
from pathlib import Path

from benchmarks.peers.workload import TRIALS, load_arrays, train


def work(folder: Path, trials: int) -> None:
    """One process: asks the shared study for trials until its share is done."""
    import mlflow
    import optuna
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("optuna-loop")
    study = optuna.load_study(
        study_name="loop",
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(folder / "study.log"))
        ),
    )
    arrays = load_arrays()

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        parameters = {
            "width": trial.suggest_categorical("width", [16, 32, 64]),
            "lr": trial.suggest_float("lr", 1e-3, 1e-2, log=True),
            "left_weight": trial.suggest_float("left_weight", 0.05, 0.95),
        }
        last: dict[str, float] = {}
        with mlflow.start_run(run_name=f"trial-{trial.number}"):
            mlflow.log_params(parameters)

            def report(epoch: int, metrics: dict[str, float]) -> None:
                last.update(metrics)
                mlflow.log_metrics(metrics, step=epoch)

            seconds = train(arrays, **parameters, report=report)
        trial.set_user_attr("train_seconds", seconds)
        return last["left_accuracy"], last["right_accuracy"]

    study.optimize(objective, n_trials=trials)


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    import mlflow
    import optuna

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("optuna-loop")  # both processes creating the database at once would race
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "study.log"))
    )
    study = optuna.create_study(
        study_name="loop",
        storage=storage,
        directions=["maximize", "maximize"],
        sampler=optuna.samplers.RandomSampler(),
    )
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=work, args=(folder, TRIALS // 2)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    training = sum(trial.user_attrs["train_seconds"] for trial in study.trials)
    print(
        f"{len(study.trials)} trials, {time.perf_counter() - began:.1f} s, of which training {training / 2:.1f} s"
    )


if __name__ == "__main__":
    main()
