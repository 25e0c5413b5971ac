"""The nodes of a cluster that a run would use: how many, of one version, with one storage and one time."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.doctor.finding import Finding
from orchestrator.errors import ClusterError
from orchestrator.launch.node_checks import (
    Sight,
    UnfitNode,
    answer_of,
    ask,
    live_nodes,
    marked,
    own_versions,
    require_alike,
    require_seen,
)
from orchestrator.machines.connection import RayAddress, connected, this_machine

LARGEST_SKEW = 30.0
"""Seconds between clocks of nodes: above, times in MLflow and in logs mislead."""
CODES = {"tracking.storage": "storage-node-local", "data.cache": "cache-node-local"}


@dataclass(frozen=True)
class Nodes:
    """What a look at a cluster gave."""

    count: int | None
    """None: they could not be counted."""
    dashboard: str | None
    """`host:port` that Ray has registered; None: there is none, or it is not known."""
    findings: tuple[Finding, ...]


def look_at_nodes(where: RayAddress, places: Mapping[str, Path]) -> Nodes:
    """Connect as a run would, and ask every node; `places` are the folders that all must see, by key."""
    try:
        with connected(where, this_machine()):
            return _looked(places)
    except ClusterError as error:
        found = Finding("nodes", "problem", f"nodes could not be counted: {error.message}", error.hint)
        return Nodes(None, None, (found,))


def _looked(places: Mapping[str, Path]) -> Nodes:
    others = live_nodes(besides_this=True)
    count = len(others) + 1
    findings = [Finding("nodes", "ok", f"the cluster has {count} node{'s' * (count > 1)}")]
    with contextlib.ExitStack() as stack:
        marks = _marks(places, stack) if others else {}
        sent = time.time()
        asked = {
            address: ask(node, [str(mark) for mark in marks.values()]) for node, address in others.items()
        }
        sights: dict[str, Sight] = {}
        for address, answer in asked.items():
            try:
                sights[address] = answer_of(address, answer)
            except UnfitNode as error:
                findings.append(Finding("node-unfit", "problem", error.message, error.hint))
        skews = {address: _beyond(sight.clock, sent, time.time()) for address, sight in sights.items()}
    findings += _refusal("node-versions", lambda: require_alike(own_versions(), sights))
    for key, mark in marks.items():
        findings += _refusal(CODES[key], lambda k=key, m=mark: require_seen(k, places[k], m, sights))  # type: ignore[misc]
    findings += clocks(skews)
    return Nodes(count, _registered_dashboard(), tuple(findings))


def clocks(skews: Mapping[str, float]) -> Iterator[Finding]:
    """Whether the nodes have one time; `skews` are seconds that each is ahead at least, by address."""
    for address, skew in skews.items():
        if abs(skew) > LARGEST_SKEW:
            cure = "Set the clocks of all nodes by NTP."
            yield Finding("node-clock", "warning", f"the clock of node {address} is {skew:+.0f} s off", cure)


def _beyond(clock: float, sent: float, heard: float) -> float:
    """How far a clock was outside the time in which it was asked: starting a process there takes seconds."""
    return min(clock - sent, 0.0) + max(clock - heard, 0.0)


def _marks(places: Mapping[str, Path], stack: contextlib.ExitStack) -> dict[str, Path]:
    """A file for each place, for as long as `stack`: in the folder itself, or where it would be made."""
    marks = {}
    for key, place in places.items():
        folder = place.absolute()
        while not folder.exists():
            folder = folder.parent
        with contextlib.suppress(OSError):  # cannot be written: another finding
            marks[key] = stack.enter_context(marked(folder))
    return marks


def _refusal(code: str, check: Callable[[], None]) -> list[Finding]:
    """What `check` refuses."""
    try:
        check()
    except UnfitNode as error:
        return [Finding(code, "problem", error.message, error.hint)]
    return []


def _registered_dashboard() -> str | None:
    from ray._private import ray_constants
    from ray.experimental.internal_kv import _internal_kv_get

    address = _internal_kv_get(
        ray_constants.DASHBOARD_ADDRESS, namespace=ray_constants.KV_NAMESPACE_DASHBOARD
    )
    return address.decode() if address else None
