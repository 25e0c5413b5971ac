"""Where a traced network can be cut, and which cuts make a handful of stages."""

from dataclasses import dataclass
from itertools import groupby, pairwise

from torch import fx, nn

from trainables.model.stages import FeatureShape

FEWEST = 3
"""Networks with fewer resolutions are cut within the longest one."""
SPLIT = 4
"""Into so many."""


@dataclass(frozen=True)
class Cut:
    """A node through which everything flows: nothing else of what was computed before it is used after it."""

    node: fx.Node
    path: tuple[str, ...]
    """Where it is in the tree of modules."""
    depth: int
    """How many modules contain it and go on after it: 0 at the end of a module that the network itself calls."""


def path_of(node: fx.Node) -> tuple[str, ...]:
    """The modules around a node, outermost first, then its own name."""
    if node.op == "call_module":
        return tuple(str(node.target).split("."))
    stack = list(node.meta.get("nn_module_stack", ()))
    around = stack[-1].partition("@")[0].split(".") if stack and stack[-1] else []
    return (*around, node.name)


def find_cuts(net: nn.Module, graph: fx.Graph) -> list[Cut]:
    """All cuts of a graph, in order. What has parameters or buffers is on one side of each."""
    nodes = list(graph.nodes)
    position = {node: index for index, node in enumerate(nodes)}
    last_call: dict[str, int] = {}  # of what has state
    for index, node in enumerate(nodes):
        if _has_state(net, node):
            last_call[str(node.target)] = index
    cuts = []
    furthest = -1  # use of what was computed before this node, and of what has state in it
    for index, (node, following) in enumerate(pairwise(nodes)):
        if _has_state(net, node):
            furthest = max(furthest, last_call[str(node.target)])
        if furthest <= index and node.op not in ("placeholder", "get_attr"):
            path = path_of(node)
            same = [
                d
                for d, (own, other) in enumerate(zip(path, path_of(following), strict=False))
                if own == other
            ]
            cuts.append(Cut(node, path, 0 if following.op == "output" else len(same)))
        furthest = max([furthest, *(position[user] for user in node.users)])
    return cuts


def _has_state(net: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(net.get_submodule(str(node.target)).state_dict())
    return node.op == "get_attr"


def choose(cuts: list[Cut], shapes: dict[fx.Node, FeatureShape], learned: dict[fx.Node, int]) -> list[Cut]:
    """One cut for each resolution (number of places): the last one of those that close the outermost module.

    Args:
        cuts: all, in order.
        shapes: what their nodes give.
        learned: how many modules with parameters come before each node, itself included.
    """
    runs = [list(run) for _, run in groupby(cuts, lambda cut: shapes[cut.node].count)]
    chosen = _with_something_learned([_outermost(run) for run in runs], learned)
    if cuts and len(chosen) < FEWEST:
        longest = max(runs, key=len)
        deepest = max(cut.depth for cut in longest)
        closing = [cut for cut in longest if cut.depth < deepest] or longest
        spread = {closing[len(closing) * part // SPLIT] for part in range(1, SPLIT)}
        chosen = _with_something_learned([cut for cut in cuts if cut in spread or cut in chosen], learned)
    return chosen


def _outermost(run: list[Cut]) -> Cut:
    least = min(cut.depth for cut in run)
    return [cut for cut in run if cut.depth == least][-1]


def _with_something_learned(cuts: list[Cut], learned: dict[fx.Node, int]) -> list[Cut]:
    """The cuts with a parameter since the one before: pooling alone is part of the next stage."""
    result: list[Cut] = []
    for cut in cuts:
        if learned[cut.node] > (learned[result[-1].node] if result else 0):
            result.append(cut)
    return result
