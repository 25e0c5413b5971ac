"""Every model structure and kind of head as contracts try them: `model` sections over three tasks.

A new structure or head joins by a line here.
"""

from typing import Any

CNN = {"name": "small_cnn", "width": 8}
RESNET = {"name": "small_resnet", "blocks": 1, "width": 4}
EVERYTHING = {"name": "tests.contracts.nets:residual", "arguments": {"batch_norm": True}}

SHARING: dict[str, dict[str, Any]] = {
    "branching": {"kind": "branching", "at": 1},
    "branching by task": {"kind": "branching", "at": {"default": "conv2", "shape": 0}},
    "cross_stitch": {"kind": "cross_stitch", "own": 0.8},
    "cross_stitch per channel": {"kind": "cross_stitch", "per_channel": True},
    "mtan": {"kind": "mtan", "reduction": 2},
    "mmoe": {"kind": "mmoe", "experts": 2},
    "cgc": {"kind": "ple", "shared_experts": 2},
    "ple": {"kind": "ple", "at": 0, "levels": 2},
    "film": {"kind": "film"},
    "adapters": {"kind": "adapters", "rank": 2},
}
"""By name, of a backbone with three stages that have parameters."""

HEADS: dict[str, dict[str, Any]] = {
    "mlp with batch_norm": {"default": {"kind": "mlp", "hidden": [6], "norm": "batch", "dropout": 0.2}},
    "mlp with layer_norm": {"default": {"kind": "mlp", "hidden": [6], "norm": "layer"}},
    "attention": {"default": {"kind": "attention", "queries": 2, "heads": 2, "dropout": 0.2}},
    "attention with positions over two stages": {
        "default": {"kind": "attention", "positions": True, "tap": [1, 2]}
    },
    "one stage": {"default": {"tap": 1}},
    "fused stages": {"default": {"tap": [1, 3]}},
    "summed stages": {"default": {"kind": "mlp", "hidden": [6], "tap": [1, 2, 3], "fuse": "sum"}},
    "different stages": {"shape": {"tap": 1}, "bright": {"kind": "attention"}, "marks": {"tap": [1, 3]}},
}
"""By name; the stages are there in every backbone."""

STRUCTURES: dict[str, dict[str, Any]] = (
    {name: {"backbone": CNN, "sharing": sharing} for name, sharing in SHARING.items()}
    | {name: {"backbone": CNN, "heads": heads} for name, heads in HEADS.items()}
    | {
        f"{name} over batch normalisation": {
            "backbone": RESNET,
            "sharing": SHARING[name],
            "heads": HEADS["different stages"],
        }
        for name in ("branching", "cross_stitch", "mtan", "mmoe", "ple", "film")
    }
    | {
        f"{name} with dropout and stochastic depth": {
            "backbone": EVERYTHING,
            "sharing": SHARING[name],
            "heads": HEADS["attention"],
        }
        for name in ("cross_stitch", "mtan", "mmoe", "cgc", "adapters")
    }
)
"""`model` sections by name."""
