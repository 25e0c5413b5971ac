"""Random numbers that depend on what they are for, and on nothing else.

A number is a hash of (seed, epoch, example, purpose): batches, workers and the order of examples have no
influence, and there is no generator whose state would have to be saved.
"""

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GAMMA = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def uniforms(seed: int, epoch: int, ids: ArrayLike, purpose: str, count: int) -> NDArray[np.float64]:
    """(B, count) numbers in [0, 1), a row for each example.

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) as a hash: each part of the key in turn is mixed into the
    state.

    Args:
        seed: of the run; any integer.
        epoch: of the training.
        ids: (B,) numbers of the examples in the whole dataset.
        purpose: name of the draw; different names are independent.
        count: numbers per example.
    """
    named = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
    state = _mix_int(_mix_int(seed & _MASK) ^ (epoch & _MASK))
    state = _mix_int(state ^ named)
    examples = np.asarray(ids).astype(np.uint64)
    rows = _mix(examples ^ np.uint64(state))
    draws = _mix(rows[:, None] ^ _mix(np.arange(count, dtype=np.uint64))[None, :])
    return (draws >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = values + np.uint64(_GAMMA)  # array arithmetic wraps silently, as it should
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _mix_int(value: int) -> int:
    mixed = (value + _GAMMA) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
