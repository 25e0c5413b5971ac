"""Nodes that join a search: looked at before slots grow onto them, and left out if they are not alike."""

import contextlib
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from orchestrator.errors import ClusterError
from orchestrator.launch.node_checks import NODE_ID, SECONDS_TO_ANSWER, Expected, answer_of, ask, live_nodes
from orchestrator.runs.journal import Record
from orchestrator.slots.reservations import KEPT_FULL

KINDS = ("CPU", "GPU", "memory")
"""Resources that slots ask for."""


@dataclass(frozen=True)
class _Asked:
    """A node that has been asked what it is like."""

    address: str
    answer: Any
    until: float
    """When it counts as dumb, on the monotonic clock."""


class Newcomers:
    """Keeps the search to nodes that are alike, as a context.

    Ray places a trial wherever there is room. So a node that is left out is kept full: all that it has is reserved,
    until it goes or the context ends. Whoever puts it right starts Ray there again; it then is another node.
    """

    def __init__(self, expected: Expected, record: Record) -> None:
        """Those that are there now have been checked; `record` is told of nodes that are left out."""
        self._expected = expected
        self._record = record
        self._fit = set(live_nodes())
        self._asked: dict[str, _Asked] = {}
        self._kept_full: dict[str, PlacementGroup | None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in list(self._kept_full):
            self._let_go(node)

    def not_to_be_used(self) -> set[str]:
        """Ids of live nodes that are not known to be alike. Never waits: a newcomer is asked now, and heard later."""
        live = live_nodes()
        for node in [node for node in (*self._asked, *self._kept_full) if node not in live]:
            self._asked.pop(node, None)
            self._let_go(node)
        for node, address in live.items():
            if node in self._asked:
                self._hear(node, self._asked[node])
            elif node not in self._fit and node not in self._kept_full:
                until = time.monotonic() + SECONDS_TO_ANSWER
                self._asked[node] = _Asked(address, ask(node, self._expected.paths), until)
        return live.keys() - self._fit

    def _hear(self, node: str, asked: _Asked) -> None:
        has_answered, _ = ray.wait([asked.answer], timeout=0)
        if not has_answered and time.monotonic() < asked.until:
            return
        del self._asked[node]
        try:
            self._expected.require_of({asked.address: answer_of(asked.address, asked.answer, timeout=0)})
        except ClusterError as problem:
            if node in live_nodes():  # and has not died meanwhile
                self._leave_out(node, asked.address, problem)
        else:
            self._fit.add(node)

    def _leave_out(self, node: str, address: str, problem: ClusterError) -> None:
        self._kept_full[node] = _reserve_all(node)
        self._record("node_left_out", node=address, reason=problem.message, hint=problem.hint)

    def _let_go(self, node: str) -> None:
        if (group := self._kept_full.pop(node, None)) is not None:
            with contextlib.suppress(Exception):  # the cluster is gone
                remove_placement_group(group)


def _reserve_all(node: str) -> PlacementGroup | None:
    """Reserve what trials could take of the node, as soon as it is free; None if there is nothing."""
    (has,) = (each["Resources"] for each in ray.nodes() if each["NodeID"] == node)
    bundle = {kind: has[kind] for kind in KINDS if has.get(kind)}
    if not bundle:
        return None
    return placement_group([bundle], name=KEPT_FULL + node, bundle_label_selector=[{NODE_ID: node}])
