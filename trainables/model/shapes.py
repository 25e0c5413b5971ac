"""What the nodes of a traced network give, found by running it."""

import contextlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from trainables.model.stages import FeatureShape

LARGER = 64
"""Pixels by which images are enlarged to see which dimensions are places."""


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps the sizes of what its nodes give."""

    def __init__(self, net: nn.Module, graph: fx.Graph) -> None:
        super().__init__(net, garbage_collect_values=True, graph=graph)
        self.extra_traceback = False
        self.sizes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        result: object = super().run_node(n)
        if isinstance(result, Tensor):
            self.sizes[n] = tuple(result.shape)
        return result


def shapes_of(
    net: nn.Module, graph: fx.Graph, nodes: Sequence[fx.Node], channels: int, image_size: tuple[int, int]
) -> dict[fx.Node, FeatureShape]:
    """What `nodes` give for one example; those that do not give a row for each are left out.

    Channels are the dimension that does not grow with the images. Where that cannot be seen, because the
    network reads one size only, tokens are (N, C), with C the size that is most frequent, and maps are
    (C, H, W) with the images' proportions.
    """
    height, width = image_size
    recorder, larger = _Recorder(net, graph), _Recorder(net, graph)
    with torch.no_grad():
        recorder.run(torch.zeros(2, channels, height, width))
        with contextlib.suppress(Exception):  # made for one size: what was seen before is enough
            larger.run(torch.zeros(1, channels, height + LARGER, width + LARGER))
    sizes = {node: recorder.sizes.get(node, ()) for node in nodes}
    sizes = {node: own[1:] for node, own in sizes.items() if len(own) > 1 and own[0] == 2}
    counts = Counter(size for own in sizes.values() if len(own) == 2 for size in own)
    width_of_tokens = counts.most_common(1)[0][0] if counts else 0
    shapes = {}
    fewest = height * width
    for node, own in sizes.items():
        seen = larger.sizes.get(node, (1, *own))[1:]
        still = [dim for dim, (size, grown) in enumerate(zip(own, seen, strict=True)) if size == grown]
        wide = [dim for dim, size in enumerate(own) if size > 1]
        if len(still) == 1:
            channel_dim = still[0]
        elif len(wide) == 1:
            channel_dim = wide[0]
        elif len(own) == 2 and width_of_tokens in own:
            channel_dim = own.index(width_of_tokens)
        elif len(own) == 3 and node not in larger.sizes:
            _, rows, columns = own
            if abs(rows * width - columns * height) > max(height, width) or rows * columns > fewest:
                continue  # windows of a map, not a map
            channel_dim, fewest = 0, rows * columns
        else:
            channel_dim = 0
        shapes[node] = FeatureShape(own, channel_dim)
    return shapes
