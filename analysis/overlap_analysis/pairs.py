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


def pair_indices(variants: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First and second variant of every pair, in pair order.

    >>> [index.tolist() for index in pair_indices(3)]
    [[0, 0, 1], [1, 2, 2]]
    """
    a, b = np.triu_indices(variants, k=1)
    return a.astype(np.int32), b.astype(np.int32)


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
