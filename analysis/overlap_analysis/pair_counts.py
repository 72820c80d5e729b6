"""Joint outcomes of every pair of variants, from bit planes of their predictions.

Dimensions: `V` variants, `N` examples, `P` pairs in the order of `pairs.pair_indices`, `R` rows: variants that are
compared with `C` columns, all variants from a first one on.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import numpy as np
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.packed import WORD_EXAMPLES, PackedPredictions, pack_predictions
from overlap_analysis.pairs import PairBlock, merge_blocks

_TILE = 128  # rows and columns: the blocks of so many variants stay in the second-level cache


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairCounts(PairBlock):
    """How often the two variants of each pair are right and wrong together.

    Attributes:
        both_correct: (P,) int64; it and the next three add up to `examples`.
        only_a_correct: (P,) int64.
        only_b_correct: (P,) int64.
        both_wrong: (P,) int64.
        both_wrong_same_class: (P,) int64, both wrong with one and the same class.
        same_prediction: (P,) int64, `both_correct` + `both_wrong_same_class`.
    """

    both_correct: NDArray[np.int64]
    only_a_correct: NDArray[np.int64]
    only_b_correct: NDArray[np.int64]
    both_wrong: NDArray[np.int64]
    both_wrong_same_class: NDArray[np.int64]
    same_prediction: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointCounts:
    """What R variants share with each of the variants `first`, `first` + 1, ..., V - 1.

    Attributes:
        both_correct_RC: (R, V - first) int32, examples that both get right.
        same_prediction_RC: (R, V - first) int32, examples on which both predict the same class, right or wrong.
        first: the variant of column 0.
    """

    both_correct_RC: NDArray[np.int32]
    same_prediction_RC: NDArray[np.int32]
    first: int


def joint_counts(packed: PackedPredictions, rows_R: ArrayLike, *, first: int = 0, threads: int = 1) -> JointCounts:
    """Count what some variants share with all from `first` on: new variants with all, or a block of rows.

    Args:
        packed: predictions of all variants.
        rows_R: indices of variants, in any order; a variant may be its own column.
        first: first column.
        threads: how many tiles are counted at a time; the result does not depend on it.

    Returns:
        Exact counts. Those of disjoint blocks of examples add up.

    Raises:
        IndexError: a row or `first` is no index of a variant; `first` may be their number.
    """
    rows_R = np.atleast_1d(np.asarray(rows_R, dtype=np.int64))
    if not 0 <= first <= packed.variants:
        raise IndexError(f"first: expected 0 to {packed.variants}, got {first}")
    if len(rows_R) and not 0 <= rows_R.min() <= rows_R.max() < packed.variants:
        raise IndexError(f"rows: expected variants 0 to {packed.variants - 1}, got {rows_R.min()} to {rows_R.max()}")
    distinct_R, place_R = np.unique(rows_R, return_inverse=True)
    both_RC, same_RC = _count(packed, distinct_R, first, threads, diagonal=-packed.variants)
    if not np.array_equal(distinct_R, rows_R):
        both_RC, same_RC = both_RC[place_R], same_RC[place_R]
    return JointCounts(both_correct_RC=both_RC, same_prediction_RC=same_RC, first=first)


def counts_of_rows(packed: PackedPredictions, start: int, stop: int, *, threads: int = 1) -> PairCounts:
    """Joint outcomes of the pairs a < b with start <= a < stop, in pair order.

    Args:
        packed: predictions of all variants.
        start: first a.
        stop: one past the last a; the last variant is an a without pairs.
        threads: as in `joint_counts`.

    Raises:
        IndexError: `start` or `stop` is no index of a variant, or past the last one.
    """
    if not 0 <= start <= stop <= packed.variants:
        raise IndexError(f"expected 0 <= start <= stop <= {packed.variants}, got {start} and {stop}")
    both_RC, same_RC = _count(packed, np.arange(start, stop), start, threads, diagonal=0)
    shared_4P = np.empty((4, both_RC.size - (stop - start) * (stop - start + 1) // 2), np.int32)
    _write_pairs(both_RC, same_RC, start, shared_4P)
    a, b, both_correct, same_prediction = shared_4P
    return shared_counts(packed, a, b, both_correct=both_correct, same_prediction=same_prediction)


def shared_counts(
    packed: PackedPredictions,
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    *,
    both_correct: NDArray[np.integer],
    same_prediction: NDArray[np.integer],
) -> PairCounts:
    """Joint outcomes of any pairs, from what the two of each share; see `JointCounts`."""
    both, same = both_correct.astype(np.int64), same_prediction.astype(np.int64)
    only_a, only_b = packed.correct_V[a] - both, packed.correct_V[b] - both
    return PairCounts(
        a=a,
        b=b,
        examples=packed.examples,
        both_correct=both,
        only_a_correct=only_a,
        only_b_correct=only_b,
        both_wrong=packed.examples - both - only_a - only_b,
        both_wrong_same_class=same - both,
        same_prediction=same,
    )


def count_pairs(predictions_VN: ArrayLike, labels_N: ArrayLike, *, threads: int = 1) -> PairCounts:
    """Count the joint outcomes of every pair of variants over the same examples.

    Args:
        predictions_VN: predicted classes; a negative class is an unknown prediction, which is wrong and the
            same as no other prediction, another unknown one included.
        labels_N: true classes, never negative.
        threads: as in `pack_predictions` and `joint_counts`.

    Returns:
        Exact counts; those of disjoint blocks of examples add up with `merge_counts`.

    Raises:
        ValueError: the shapes or the types do not fit, a label is negative, or a class is too large.
    """
    packed = pack_predictions(predictions_VN, labels_N, threads=threads)
    return counts_of_rows(packed, 0, packed.variants, threads=threads)


def merge_counts(parts: Sequence[PairCounts]) -> PairCounts:
    """Counts over the union of disjoint blocks of examples of the same variants.

    Raises:
        ValueError: there is no part, or the parts hold different pairs.
    """
    return merge_blocks(parts)


def row_blocks(variants: int, *, pairs: int) -> list[range]:
    """Consecutive ranges of the a of all pairs a < b, of at most `pairs` pairs each or of a single row.

    >>> row_blocks(5, pairs=5)
    [range(0, 1), range(1, 3), range(3, 5)]
    """
    blocks, start, held = [], 0, 0
    for row in range(variants):
        size = variants - 1 - row
        if row > start and held + size > pairs:
            blocks.append(range(start, row))
            start, held = row, 0
        held += size
    return [*blocks, range(start, variants)] if variants else []


def _ranges(size: int, step: int) -> list[range]:
    return [range(start, min(start + step, size)) for start in range(0, size, step)]


def _count(
    packed: PackedPredictions, rows_R: NDArray[np.int64], first: int, threads: int, *, diagonal: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The two counts of `JointCounts` for ascending rows; those of columns below row + diagonal may be missing."""
    shape = (len(rows_R), packed.variants - first)
    both_RC, same_RC = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    row_of_V = np.full(packed.variants, -1, np.int32)
    row_of_V[rows_R] = np.arange(len(rows_R))

    def count_tile(tile: tuple[range, range]) -> None:
        rows, columns = ((part.start, part.stop) for part in tile)
        if columns[1] > rows[0] + diagonal:
            _count_tile(packed.planes_BV4W, rows_R, rows, first, columns, both_RC, same_RC)

    def add_rare(rows: range) -> None:
        _add_rare(packed.members_M, packed.group_starts_G, row_of_V, (rows.start, rows.stop), first, same_RC)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(count_tile, product(_ranges(shape[0], _TILE), _ranges(shape[1], _TILE))))
        list(pool.map(add_rare, _ranges(shape[0], max(_TILE, -(-shape[0] // threads)))))
    own = rows_R >= first
    same_RC[own, rows_R[own] - first] = packed.known_V[rows_R[own]]
    return both_RC, same_RC


def _emit_popcount(_: Any, word: Any) -> tuple[Any, Any]:  # noqa: ANN401 - types of the compiler
    return word(word), lambda _context, builder, _signature, arguments: builder.ctpop(arguments[0])


# Number of ones of a uint64, as one instruction, which the loop around it turns into a vector's.
_popcount = cast("Callable[[np.uint64], np.uint64]", intrinsic(_emit_popcount))


@compiled
def _count_tile(
    planes_BV4W: NDArray[np.uint64],
    rows_R: NDArray[np.int64],
    rows: tuple[int, int],
    first: int,
    columns: tuple[int, int],
    both_RC: NDArray[np.int32],
    same_RC: NDArray[np.int32],
) -> None:
    """Add the counts of a tile but for rare classes. Rows a and b meet columns c and d at once: half the reading."""
    blocks, _, _, words = planes_BV4W.shape
    for block in range(blocks):
        planes_V4W = planes_BV4W[block]
        for column in range(columns[0], columns[1], 2):
            next_column = min(column + 1, columns[1] - 1)
            c, d = first + column, first + next_column
            for row in range(rows[0], rows[1], 2):
                next_row = min(row + 1, rows[1] - 1)
                a, b = rows_R[row], rows_R[next_row]
                wrong_ac, wrong_ad, wrong_bc, wrong_bd = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
                other_ac, other_ad, other_bc, other_bd = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
                for w in range(words):
                    a0, a1, a2, a3 = planes_V4W[a, 0, w], planes_V4W[a, 1, w], planes_V4W[a, 2, w], planes_V4W[a, 3, w]
                    b0, b1, b2, b3 = planes_V4W[b, 0, w], planes_V4W[b, 1, w], planes_V4W[b, 2, w], planes_V4W[b, 3, w]
                    c0, c1, c2, c3 = planes_V4W[c, 0, w], planes_V4W[c, 1, w], planes_V4W[c, 2, w], planes_V4W[c, 3, w]
                    d0, d1, d2, d3 = planes_V4W[d, 0, w], planes_V4W[d, 1, w], planes_V4W[d, 2, w], planes_V4W[d, 3, w]
                    wrong_ac += _popcount(a2 | a3 | c2 | c3)
                    wrong_ad += _popcount(a2 | a3 | d2 | d3)
                    wrong_bc += _popcount(b2 | b3 | c2 | c3)
                    wrong_bd += _popcount(b2 | b3 | d2 | d3)
                    # Masking bit 0 of the column makes 15 of the row differ from every code.
                    coded_a, coded_b = ~(a0 & a1 & a2 & a3), ~(b0 & b1 & b2 & b3)
                    other_ac += _popcount((a0 ^ (c0 & coded_a)) | (a1 ^ c1) | (a2 ^ c2) | (a3 ^ c3))
                    other_ad += _popcount((a0 ^ (d0 & coded_a)) | (a1 ^ d1) | (a2 ^ d2) | (a3 ^ d3))
                    other_bc += _popcount((b0 ^ (c0 & coded_b)) | (b1 ^ c1) | (b2 ^ c2) | (b3 ^ c3))
                    other_bd += _popcount((b0 ^ (d0 & coded_b)) | (b1 ^ d1) | (b2 ^ d2) | (b3 ^ d3))
                slots = words * WORD_EXAMPLES
                both_RC[row, column] += slots - np.int64(wrong_ac)
                same_RC[row, column] += slots - np.int64(other_ac)
                if next_column > column:
                    both_RC[row, next_column] += slots - np.int64(wrong_ad)
                    same_RC[row, next_column] += slots - np.int64(other_ad)
                if next_row > row:
                    both_RC[next_row, column] += slots - np.int64(wrong_bc)
                    same_RC[next_row, column] += slots - np.int64(other_bc)
                if next_column > column and next_row > row:
                    both_RC[next_row, next_column] += slots - np.int64(wrong_bd)
                    same_RC[next_row, next_column] += slots - np.int64(other_bd)


@compiled
def _add_rare(
    members_M: NDArray[np.int32],
    group_starts_G: NDArray[np.int64],
    row_of_V: NDArray[np.int32],
    rows: tuple[int, int],
    first: int,
    same_RC: NDArray[np.int32],
) -> None:
    """Add what some of the rows share with columns by predicting the same rare class."""
    for group in range(len(group_starts_G) - 1):
        start, last = group_starts_G[group], group_starts_G[group + 1] - 1
        if members_M[last] < first:
            continue
        for member in range(start, last + 1):
            row = row_of_V[members_M[member]]
            if rows[0] <= row < rows[1]:
                other = last
                while other >= start and members_M[other] >= first:
                    same_RC[row, members_M[other] - first] += 1
                    other -= 1


@compiled
def _write_pairs(
    both_RC: NDArray[np.int32], same_RC: NDArray[np.int32], first: int, shared_4P: NDArray[np.int32]
) -> None:
    """Write a, b and what they share, for what lies above the diagonal of the rows from variant `first` on."""
    pair = 0
    for row in range(both_RC.shape[0]):
        for column in range(row + 1, both_RC.shape[1]):
            shared_4P[0, pair], shared_4P[1, pair] = first + row, first + column
            shared_4P[2, pair], shared_4P[3, pair] = both_RC[row, column], same_RC[row, column]
            pair += 1
