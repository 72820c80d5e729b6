"""The order of pairs, and counts that add up over blocks of examples.

Dimensions: `V` variants, `P` = V (V - 1) / 2 pairs a < b in row-major order: (0, 1), (0, 2), ..., (1, 2), ...
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairBlock:
    """Counts of P pairs of variants over one block of examples.

    Attributes:
        a: (P,) int32, index of the first variant.
        b: (P,) int32, index of the second variant.
        examples: size of the block.

    Every other field is a count that adds up over disjoint blocks: see `merge_blocks`.
    """

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    examples: int


Block = TypeVar("Block", bound=PairBlock)


def pair_count(variants: int) -> int:
    """How many pairs so many variants have."""
    return variants * (variants - 1) // 2


def pair_indices(variants: int, rows: range | None = None) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First and second variant of every pair, in pair order; of those whose first variant is one of some rows.

    >>> [index.tolist() for index in pair_indices(3)]
    [[0, 0, 1], [1, 2, 2]]
    >>> [index.tolist() for index in pair_indices(4, range(1, 3))]
    [[1, 1, 2], [2, 3, 3]]
    """
    chosen = np.arange(variants, dtype=np.int32) if rows is None else np.arange(rows.start, rows.stop, dtype=np.int32)
    a = np.repeat(chosen, variants - 1 - chosen)
    starts = np.cumsum(variants - 1 - chosen) - (variants - 1 - chosen)
    b = np.arange(len(a), dtype=np.int32) - np.repeat(starts, variants - 1 - chosen).astype(np.int32) + a + 1
    return a, b.astype(np.int32)


def merge_blocks(parts: Sequence[Block]) -> Block:
    """Counts of the same pairs over the union of disjoint blocks of examples.

    Raises:
        ValueError: there is no part, or the parts hold different pairs.
    """
    if not parts:
        raise ValueError("parts: expected at least one block of counts, got none")
    first = parts[0]
    for index, part in enumerate(parts):
        if not (np.array_equal(part.a, first.a) and np.array_equal(part.b, first.b)):
            raise ValueError(
                f"parts[{index}]: expected the {len(first.a)} pairs of parts[0], got {len(part.a)} others; "
                "merge blocks of the same variants"
            )
    names = [field.name for field in fields(first) if field.name not in ("a", "b")]
    return replace(first, **{name: sum(getattr(part, name) for part in parts) for name in names})
