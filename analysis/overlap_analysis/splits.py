"""Seeded splits of examples by a hash of their ids, the same on every machine.

Dimensions: `N` examples.
"""

import numpy as np
from numpy.typing import NDArray

_STEP = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_MASK = 2**64 - 1
_SELECTION_STREAM = 0x53454C454354494F  # keeps a selection independent of a shuffle from the same seed


def hashed_uniform(ids: NDArray[np.int64], *, seed: int) -> NDArray[np.float64]:
    """A number for each example that looks uniform and depends on its id and the seed only.

    Integer arithmetic throughout: the same bits for any order of the ids, any block of them, any machine
    and any NumPy version.

    Args:
        ids: (N,) integers, negative ones included.
        seed: any integer; seeds that differ by a multiple of 2**64 are the same seed.

    Returns:
        (N,) float64, multiples of 2**-53 in [0, 1).

    Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (splitmix64):
        output `id` of the stream that starts at the mixed seed.

    >>> hashed_uniform(np.arange(3), seed=0).round(4).tolist()
    [0.6524, 0.7012, 0.3871]
    """
    start = _mix(np.array([(seed + _STEP) & _MASK], dtype=np.uint64))
    return (_hash(ids, start) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def selection_mask(ids: NDArray[np.int64], *, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which examples a selection may look at; the others are for its evaluation.

    Independent of `hash_order` from the same seed: a dataset's test split is the end of that order,
    and half of it must be half of it.

    Args:
        ids: (N,) example ids.
        fraction: expected share of selection examples, in [0, 1]. The share itself is binomial.
        seed: as in `hashed_uniform`. With the same seed, a larger fraction keeps every example of a
            smaller one.

    Returns:
        (N,) bool, true for selection.

    Raises:
        ValueError: the fraction is outside [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction: expected a number in [0, 1], got {fraction!r}")
    return hashed_uniform(ids, seed=seed ^ _SELECTION_STREAM) < fraction


def hash_order(ids: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Positions of the examples in the order of their hashes: a shuffle that depends on ids and seed only.

    Returns:
        (N,) int64, a permutation; equal hashes (equal ids) keep their order.
    """
    return np.argsort(hashed_uniform(ids, seed=seed), kind="stable").astype(np.int64)


def _hash(ids: NDArray[np.int64], start: NDArray[np.uint64]) -> NDArray[np.uint64]:
    counters = np.atleast_1d(np.asarray(ids, dtype=np.int64)).view(np.uint64) + np.uint64(1)
    return _mix(start + counters * np.uint64(_STEP))


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64. Arrays, never scalars: NumPy warns when a scalar wraps around."""
    for multiplier, shift in zip(_MULTIPLIERS, (30, 27), strict=True):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(multiplier)
    return state ^ (state >> np.uint64(31))
