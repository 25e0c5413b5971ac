"""What a slot holds of the cluster: processes, placement groups, CPUs."""

import time

import psutil
import ray

KINDS = ("Mailbox", "RayTrainWorker", "SynchronizationActor", "TrainController")


def pids(kind: str) -> list[int]:
    """Processes of this actor class in the Ray that this process started, oldest first."""
    found: list[tuple[float, int]] = []
    for process in psutil.Process().children(recursive=True):
        try:
            title = (process.cmdline() or [""])[0]
            if title.startswith(f"ray::{kind}") and process.status() != psutil.STATUS_ZOMBIE:
                found.append((process.create_time(), process.pid))
        except psutil.Error:
            continue
    return [pid for _, pid in sorted(found)]


def held() -> list[str]:
    """What of the cluster is in use, in words."""
    processes = [f"{kind} {pid}" for kind in KINDS for pid in pids(kind)]
    groups = [
        f"placement group {name} {row['state']}"
        for name, row in ray.util.placement_group_table().items()
        if row["state"] != "REMOVED"
    ]
    used = ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0)
    return processes + groups + ([f"{used:g} CPU"] if used else [])


def assert_all_given_back(*, within: float = 5.0) -> float:
    """Wait until nothing is held; seconds it took. Fails with what is left."""
    started = time.monotonic()
    while left := held():
        assert time.monotonic() - started < within, f"after {within} s: {left}"
        time.sleep(0.05)
    return time.monotonic() - started
