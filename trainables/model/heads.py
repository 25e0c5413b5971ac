"""Heads: from features to the logits of one task."""

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from trainables.config.heads import LinearHead, MLPHead

_NORMS: Mapping[str, type[nn.BatchNorm1d] | type[nn.LayerNorm]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
}


class Head(nn.Module):
    """Linear layers with ReLU between them, dropout before each: (B, F) -> (B, K) logits."""

    def __init__(self, config: LinearHead | MLPHead, in_features: int, out_features: int) -> None:
        super().__init__()
        hidden, norm = (config.hidden, config.norm) if isinstance(config, MLPHead) else ((), "none")
        widths = [in_features, *hidden]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            if config.dropout > 0:
                layers.append(nn.Dropout(config.dropout))
            layers.append(nn.Linear(width_in, width_out))
            if norm in _NORMS:
                layers.append(_NORMS[norm](width_out))
            layers.append(nn.ReLU())
        if config.dropout > 0:
            layers.append(nn.Dropout(config.dropout))
        layers.append(nn.Linear(widths[-1], out_features))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, K)."""
        logits: Tensor = self.layers(features)
        return logits
