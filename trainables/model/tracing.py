"""Any backbone as stages: its graph is traced (torch.fx) and cut where everything flows through one tensor."""

import re
from itertools import pairwise
from operator import attrgetter

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from trainables.errors import ModelError
from trainables.model.cuts import Cut, choose, find_cuts, path_of
from trainables.model.shapes import shapes_of
from trainables.model.stages import FeatureShape, Stages

HINT = "Use `model.sharing: {kind: hard}` and heads without `tap` and `kind: attention`, or another backbone."

CONSTANT = "_tensor_constant"
"""What the tracer calls tensors that a forward pass computes without its input."""


class Stage(fx.GraphModule):
    """A part of a backbone, whose modules and parameters have the names that they have in the backbone."""


class _Tracer(fx.Tracer):
    """Keeps as modules what is replaced when a model is built: normalisation, dropout, stochastic depth."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        replaced = isinstance(m, _BatchNorm | _DropoutNd)
        by_name = type(m).__module__ == "torchvision.ops.stochastic_depth"
        return replaced or by_name or super().is_leaf_module(m, module_qualified_name)


def split_backbone(net: nn.Module, *, name: str, channels: int, image_size: tuple[int, int]) -> Stages:
    """Stages of `net`, which share its modules; composed they compute what it computes, bit for bit.

    One stage for each resolution of its feature maps, then what makes features of the last one. Layers that
    worked in place no longer do: several readers see what a stage gives.

    Raises:
        ModelError: it cannot be traced, or has no place where everything flows through one tensor.
    """
    training = net.training
    try:
        graph = _trace(net, name)
        cuts = find_cuts(net, graph)
        try:
            shapes = shapes_of(net.eval(), graph, [cut.node for cut in cuts], channels, image_size)
        except Exception as error:  # whatever the user's code has made of its graph
            raise cannot_split(name, f"its graph does not run ({type(error).__name__})") from error
        cuts = [cut for cut in cuts if cut.node in shapes]
        output = _output(graph)
        chosen = [cut for cut in choose(cuts, shapes, _learned_before(net, graph)) if cut.node is not output]
        if not chosen or output not in shapes:
            raise cannot_split(name, "there is no layer through which everything flows")
        stages = _stages(net, graph, chosen, shapes, FeatureShape((channels, *image_size), 0))
        images = torch.rand(2, channels, *image_size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            if not torch.equal(stages.whole(images), net(images)):
                raise cannot_split(name, "its graph does not compute what it computes")
    finally:
        net.train(training)
    return stages


def cannot_split(name: str, why: str) -> ModelError:
    """The error of a backbone that is no chain of stages."""
    return ModelError(f"{name} cannot be divided into stages: {why}.", hint=HINT, key="model.sharing")


def _trace(net: nn.Module, name: str) -> fx.Graph:
    """The graph of `net` in training, in which nothing works in place."""
    texts = []
    constants = []
    try:
        for training in (False, True):
            net.train(training)
            graph = _Tracer().trace(net)
            for node in graph.nodes:
                _without_dropout_of_nothing(node)
            found = [node for node in graph.nodes if str(node.target).startswith(CONSTANT)]
            constants.append([getattr(net, str(node.target)) for node in found])
            texts.append(_without_numbers(graph.python_code("self").src))
    except Exception as error:  # the user's code may do anything with the tracer's proxies
        said = str(error).strip().partition("\n")[0]
        raise cannot_split(name, f"it cannot be traced ({type(error).__name__}: {said})") from error
    if texts[0] != texts[1]:
        raise cannot_split(name, "it does something else in training, beyond its dropout and normalisation")
    if sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise cannot_split(name, "its forward pass takes more than images")
    if not all(map(torch.equal, *constants)):
        raise cannot_split(name, "its forward pass draws random numbers")
    for node in graph.nodes:
        if node.kwargs.get("inplace"):
            node.kwargs = {**node.kwargs, "inplace": False}
        if node.op == "call_method" and re.search("[^_]_$", str(node.target)):
            raise cannot_split(name, f"it changes a tensor in place ({node.target})")
    for module in net.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return graph


def _without_numbers(code: str) -> str:
    """Constants are numbered through all traces of a network: here by when they are first used."""
    order: dict[str, int] = {}
    return re.sub(CONSTANT + r"\d+", lambda found: f"constant{order.setdefault(found[0], len(order))}", code)


def _without_dropout_of_nothing(node: fx.Node) -> None:
    """Functions that take `training` for a dropout whose probability is 0 do not depend on it."""
    numbers = [number for number in (*node.args, *node.kwargs.values()) if isinstance(number, float)]
    if "training" in node.kwargs and not any(numbers):
        node.kwargs = {**node.kwargs, "training": False}


def _learned_before(net: nn.Module, graph: fx.Graph) -> dict[fx.Node, int]:
    """How many calls of something with parameters come up to each node."""
    count = 0
    counts = {}
    for node in graph.nodes:
        count += _is_learned(net, node)
        counts[node] = count
    return counts


def _is_learned(net: nn.Module, node: fx.Node) -> bool:
    if node.op == "get_attr":
        return isinstance(attrgetter(str(node.target))(net), nn.Parameter)
    called = node.op == "call_module"
    return called and any(True for _ in net.get_submodule(str(node.target)).parameters())


def _output(graph: fx.Graph) -> object:
    """The node whose value a graph gives."""
    return next(node.args[0] for node in graph.nodes if node.op == "output")


def _stages(
    net: nn.Module,
    graph: fx.Graph,
    cuts: list[Cut],
    shapes: dict[fx.Node, FeatureShape],
    images: FeatureShape,
) -> Stages:
    nodes = list(graph.nodes)
    start = next(index for index, node in enumerate(nodes) if node.op == "placeholder")
    ends = [*(cut.node for cut in cuts), _output(graph)]
    bounds = list(pairwise([start, *map(nodes.index, ends)]))
    parts = tuple(_part(net, nodes[before], nodes[before + 1 : end + 1]) for before, end in bounds)
    names = _names(net, [nodes[before + 1 : end + 1] for before, end in bounds])
    return Stages(parts, names, tuple(shapes[nodes[end]] for _, end in bounds), images)


def _part(net: nn.Module, source: fx.Node, nodes: list[fx.Node]) -> Stage:
    graph = fx.Graph()
    copies = {source: graph.placeholder("x")}
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[nodes[-1]])
    return Stage(net, graph)


def _names(net: nn.Module, parts: list[list[fx.Node]]) -> tuple[str, ...]:
    """Of each part the first module with parameters, by the shortest path that says which part it is."""
    paths = [[path_of(node) for node in nodes if _is_learned(net, node)] for nodes in parts]
    names = []
    for number, own in enumerate(paths):
        others = [path for other, found in enumerate(paths) if other != number for path in found]
        first = own[0] if own else ("tail",)
        lengths = range(1, len(first) + 1)
        unique = (length for length in lengths if all(path[:length] != first[:length] for path in others))
        names.append(".".join(first[: next(unique, len(first))]))
    return tuple(names)
