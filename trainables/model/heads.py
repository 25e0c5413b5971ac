"""Heads: from shared features to the logits of one task."""

from itertools import pairwise

from torch import Tensor, nn

from trainables.config.model import HeadConfig


class Head(nn.Module):
    """Linear layers with ReLU between them, dropout before each: (B, F) -> (B, K) logits."""

    def __init__(self, config: HeadConfig, in_features: int, out_features: int) -> None:
        super().__init__()
        hidden = config.hidden if config.kind == "mlp" else ()
        widths = [in_features, *hidden]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            if config.dropout > 0:
                layers.append(nn.Dropout(config.dropout))
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        if config.dropout > 0:
            layers.append(nn.Dropout(config.dropout))
        layers.append(nn.Linear(widths[-1], out_features))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, K)."""
        logits: Tensor = self.layers(features)
        return logits
