"""Heads that read stages of a backbone: one or several, pooled or attended to."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.config.heads import AttentionHead, LinearHead, MLPHead
from trainables.errors import ModelError
from trainables.model.heads import Head
from trainables.model.stages import FeatureShape


def build_tapped_head(
    task: str, config: LinearHead | MLPHead | AttentionHead, shapes: Sequence[FeatureShape], outputs: int
) -> nn.Module:
    """The head of `task`, which reads tensors of these `shapes`: (B, *sizes), ... -> (B, outputs).

    Raises:
        ModelError: an attention's heads do not divide its channels.
    """
    if not isinstance(config, AttentionHead):
        return TappedHead(config, shapes, outputs)
    channels = shapes[-1].channels
    if channels % config.heads:
        few = [number for number in range(1, 17) if channels % number == 0]
        raise ModelError(
            f"model.heads.{task}.heads: {config.heads} heads cannot divide the {channels} channels that are read.",
            hint=f"Possible are {', '.join(map(str, few))}.",
            key=f"model.heads.{task}.heads",
        )
    return AttentionPooling(config, shapes, outputs)


class Fusion(nn.Module):
    """Stages, each pooled over its places, as one vector: concatenated, or mapped to the widest and summed."""

    def __init__(self, shapes: Sequence[FeatureShape], fuse: Literal["concat", "sum"]) -> None:
        super().__init__()
        self.shapes = tuple(shapes)
        widths = [shape.channels for shape in shapes]
        maps = fuse == "sum" and len(shapes) > 1
        self.maps = nn.ModuleList(nn.Linear(width, max(widths)) for width in widths if maps)
        self.out_features = max(widths) if maps else sum(widths)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """(B, *sizes), ... -> (B, F)."""
        vectors = [shape.pooled(x) for shape, x in zip(self.shapes, stages, strict=True)]
        if self.maps:
            mapped = [own(vector) for own, vector in zip(self.maps, vectors, strict=True)]
            return torch.stack(mapped).sum(0)
        return torch.cat(vectors, 1) if len(vectors) > 1 else vectors[0]


class TappedHead(Head):
    """A linear or mlp head on fused stages."""

    def __init__(
        self, config: LinearHead | MLPHead, shapes: Sequence[FeatureShape], out_features: int
    ) -> None:
        fusion = Fusion(shapes, config.fuse)
        super().__init__(config, fusion.out_features, out_features)
        self.fusion = fusion

    def forward(self, *stages: Tensor) -> Tensor:
        """(B, *sizes), ... -> (B, K)."""
        return super().forward(self.fusion(stages))


class AttentionPooling(nn.Module):
    """Learned queries attend to all places of the stages (Lee et al., ICML 2019, eq. 9); then a linear layer.

    softmax(q_i k_jᵀ / √d) v_j with keys and values linear in the normalised features of each place. Departure:
    no feed-forward layer. Other stages than the last are first mapped to its channels.
    """

    def __init__(self, config: AttentionHead, shapes: Sequence[FeatureShape], out_features: int) -> None:
        super().__init__()
        self.shapes = tuple(shapes)
        self.heads = config.heads
        width = shapes[-1].channels
        self.maps = nn.ModuleList(nn.Linear(shape.channels, width) for shape in shapes[:-1])
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(config.queries, width))
        self.keys_and_values = nn.Linear(width, 2 * width)
        places = sum(shape.count for shape in shapes)
        self.positions = nn.Parameter(0.02 * torch.randn(places, width)) if config.positions else None
        self.dropout = nn.Dropout(config.dropout) if config.dropout > 0 else nn.Identity()
        self.linear = nn.Linear(config.queries * width, out_features)

    def forward(self, *stages: Tensor) -> Tensor:
        """(B, *sizes), ... -> (B, K)."""
        tokens = [shape.tokens(x) for shape, x in zip(self.shapes, stages, strict=True)]
        mapped = [own(x) for own, x in zip(self.maps, tokens[:-1], strict=True)]
        x = self.norm(torch.cat([*mapped, tokens[-1]], 1))
        if self.positions is not None:
            x = x + self.positions
        batch = len(x)
        keys, values = (self._by_head(part) for part in self.keys_and_values(x).chunk(2, -1))
        queries = self._by_head(self.queries.to(keys.dtype).expand(batch, -1, -1))
        found = functional.scaled_dot_product_attention(queries, keys, values)
        logits: Tensor = self.linear(self.dropout(found.transpose(1, 2).reshape(batch, -1)))
        return logits

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)
