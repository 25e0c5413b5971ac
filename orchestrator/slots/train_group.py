"""One life of a warm Ray Train worker group: from its launch to the return of all it held.

Everything that leans on the inside of Ray Train is in this module: the controller's handle, its `abort`,
and the callbacks that a slot does better without. It is written for the Ray version that the package pins.
"""

import contextlib
import os
import threading
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback, WorkingDirectorySetupCallback
from ray.train.v2._internal.callbacks.metrics import ControllerMetricsCallback, WorkerMetricsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

from orchestrator.launch.node_checks import NODE_ID, Expected
from orchestrator.machines.scratch import ScratchFolder
from orchestrator.slots.mailbox import Answers, Command, Mailbox
from orchestrator.slots.reaper import remove_groups_of
from orchestrator.slots.want_of_memory import ended_for_want_of_memory, reason_of

SECONDS_TO_ABORT = 3.0
"""After which a controller that does not abort is killed."""
COLLECTIVE_TIMEOUT = 600
"""Seconds after which a rank stops waiting for the others in a collective."""
SECONDS_FOR_MACHINES = 365 * 24 * 3600
"""How long workers wait for room. Spot machines may be away for hours, for which no trial is to fail."""

_SETTINGS = {
    # Seconds between two looks of the controller at its workers: how late the death of a worker is noticed.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}


class TrainGroup:
    """A worker group that serves commands until it is lost or closed. Launching returns at once."""

    def __init__(self, *, workers: int, cpus: int, gpus: float, expected: Expected | None = None) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        # Ray Train's own: ten times a minute, and then the trial would have failed.
        os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(SECONDS_FOR_MACHINES)
        # Where the slot is: what asks for nothing Ray would put on any node, and with that one it would die.
        here = {NODE_ID: ray.get_runtime_context().get_node_id()}
        self._mailbox = ray.remote(num_cpus=0, label_selector=here)(Mailbox).remote(workers)
        self._controller: Any = None
        self._folder = ScratchFolder()
        self._trainer = _WarmTrainer(
            _serve,
            train_loop_config={
                "mailbox": self._mailbox,
                "cpus": cpus,
                "timeout": COLLECTIVE_TIMEOUT,
                "expected": expected,
            },
            # nccl refuses two ranks on one device; gloo copies over the host.
            torch_config=TorchConfig(backend="nccl" if gpus >= 1 else "gloo", timeout_s=COLLECTIVE_TIMEOUT),
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": cpus} | ({"GPU": gpus} if gpus else {}),
            ),
            run_config=RunConfig(
                name="slot",
                storage_path=str(self._folder.path),
                # A group lives once: whatever ends it, the slot launches another and goes on from a
                # checkpoint.
                failure_config=FailureConfig(
                    max_failures=0, max_preemption_failures=0, controller_failure_limit=9
                ),
                logging_config=LoggingConfig(log_level="ERROR"),
                callbacks=[_Watch(self._mailbox)],
            ),
        )
        self._thread = threading.Thread(target=self._run, name="ray-train", daemon=True)
        self._thread.start()

    def call(self, command: Command) -> Answers:
        """Have every rank carry out `command`."""
        try:
            answers: Answers = ray.get(self._mailbox.call.remote(command))
            # Kept here as well: a mailbox may die, too.
            self._controller = self._controller or ray.get(self._mailbox.controller.remote())
        except RayError as error:
            return Answers({}, f"the mailbox is gone: {_reason(error)}")
        return answers

    @property
    def lost(self) -> str | None:
        """Why the group can serve no further command, or None."""
        try:
            reason: str | None = ray.get(self._mailbox.lost.remote())
        except RayError as error:
            return f"the mailbox is gone: {_reason(error)}"
        return reason

    def close(self) -> None:
        """End all processes of the group and give back what it reserved."""
        controller = self._controller
        with contextlib.suppress(RayError):
            controller = ray.get(self._mailbox.close.remote())
        if controller is not None:
            controller.abort.remote()
            self._thread.join(SECONDS_TO_ABORT)
            # Busy reserving or hung: then its placement group is removed for it, by whoever made it.
            ray.kill(controller)
            remove_groups_of(controller._actor_id.hex())
            self._thread.join(SECONDS_TO_ABORT)
        ray.kill(self._mailbox)
        self._folder.remove()

    def _run(self) -> None:
        try:
            self._trainer.fit()
            reason = "the worker group ended"
        except (Exception, SystemExit) as error:  # SystemExit: what Ray's shutdown raises in its threads
            reason = _reason(error)
        # Once Ray has been shut down, a call would start it anew.
        if ray.is_initialized():
            with contextlib.suppress(RayError):  # closed
                ray.get(self._mailbox.lose.remote(reason))


class _WarmTrainer(TorchTrainer):  # type: ignore[misc]
    """Without what costs processes or seconds and gives a slot nothing.

    The placement-group cleaner is a detached process which cannot do its work without a dashboard (`reaper`
    does); data sets, the working directory and Ray Train's metrics are not used.
    """

    def _create_default_callbacks(self) -> list[Any]:
        superfluous = (
            PlacementGroupCleanerCallback,
            DatasetsCallback,
            WorkingDirectorySetupCallback,
            ControllerMetricsCallback,
            WorkerMetricsCallback,
        )
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, superfluous)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        arguments["scaling_policy"] = _FixedSize(self.scaling_config)
        return super()._initialize_and_run_controller(**arguments)


class _FixedSize(FixedScalingPolicy):  # type: ignore[misc]
    """Without Ray Train's autoscaling coordinator, a detached process that outlives the driver.

    An autoscaler sees the placement group that waits all the same.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass


class _Watch(ControllerCallback, WorkerGroupCallback):  # type: ignore[misc]
    """Runs in the controller: tells the mailbox who the controller is, and when a worker is found dead."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def after_controller_start(self, train_run_context: Any) -> None:
        ray.get(self._mailbox.set_controller.remote(ray.get_runtime_context().current_actor))

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        if worker_group_status.errors:
            rank, error = next(iter(worker_group_status.errors.items()))
            self._mailbox.lose.remote(f"rank {rank}: {_reason(error)}")


def _serve(settings: dict[str, Any]) -> None:
    # Imported on the ranks only: the slot's own process needs neither the trainer nor the model.
    from orchestrator.slots.worker_loop import serve

    serve(settings)


def _reason(error: BaseException) -> str:
    """The first line of what Ray says; of a process that its memory monitor ended, that."""
    if ended_for_want_of_memory(error):
        return reason_of(error)
    return (str(error).strip() or type(error).__name__).splitlines()[0]
