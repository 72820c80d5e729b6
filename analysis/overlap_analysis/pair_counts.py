"""Joint outcomes of every pair of variants, from bit-packed correctness.

Dimensions: `V` variants, `N` examples, `P` pairs in the order of `pairs.pair_indices`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numkong
import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.pairs import PairBlock, merge_blocks, pair_indices


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


def count_pairs(predictions_VN: NDArray[np.int32], labels_N: NDArray[np.int32]) -> PairCounts:
    """Count the joint outcomes of every pair of variants over the same examples.

    Args:
        predictions_VN: predicted classes; a negative class is an unknown prediction, which is wrong and the
            same as no other prediction, another unknown one included.
        labels_N: true classes, never negative.

    Returns:
        Exact counts; those of disjoint blocks of examples add up with `merge_counts`.

    Raises:
        ValueError: the shapes do not fit, or a label is negative.
    """
    predictions_VN, labels_N = np.asarray(predictions_VN), np.asarray(labels_N)
    if predictions_VN.ndim != 2 or labels_N.shape != predictions_VN.shape[1:]:
        raise ValueError(
            f"expected predictions (V, N) and labels (N,), got {predictions_VN.shape} and {labels_N.shape}"
        )
    if np.any(labels_N < 0):
        where = int(np.argmax(labels_N < 0))
        raise ValueError(f"labels[{where}]: expected a class of at least 0, got {labels_N[where]}")
    correct_VN = predictions_VN == labels_N
    a, b = pair_indices(len(correct_VN))
    differ = _count_differences(correct_VN)[a, b]
    correct_V = np.count_nonzero(correct_VN, axis=1)
    both_correct = (correct_V[a] + correct_V[b] - differ) // 2
    same = _count_same(predictions_VN)
    return PairCounts(
        a=a,
        b=b,
        examples=correct_VN.shape[1],
        both_correct=both_correct,
        only_a_correct=correct_V[a] - both_correct,
        only_b_correct=correct_V[b] - both_correct,
        both_wrong=correct_VN.shape[1] - both_correct - differ,
        both_wrong_same_class=same - both_correct,
        same_prediction=same,
    )


def merge_counts(parts: Sequence[PairCounts]) -> PairCounts:
    """Counts over the union of disjoint blocks of examples of the same variants.

    Raises:
        ValueError: there is no part, or the parts hold different pairs.
    """
    return merge_blocks(parts)


def _count_differences(correct_VN: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Hamming distances of the correctness bits: (V, V) int64, of which the upper triangle is valid."""
    bits = np.ascontiguousarray(np.packbits(correct_VN, axis=1))  # packbits keeps a transposed layout
    return np.asarray(numkong.hammings_symmetric(bits, dtype="uint1")).astype(np.int64)


@compiled
def _count_same(predictions_VN: NDArray[np.int32]) -> NDArray[np.int64]:
    variants, examples = predictions_VN.shape
    same_P = np.zeros(variants * (variants - 1) // 2, dtype=np.int64)
    block = 2048  # rows of a block stay in the cache while every pair of them is compared
    for start in range(0, examples, block):
        pair = 0
        for a in range(variants):
            row_a = predictions_VN[a, start : start + block]
            for b in range(a + 1, variants):
                row_b = predictions_VN[b, start : start + block]
                same = 0
                for n in range(len(row_a)):
                    same += (row_a[n] == row_b[n]) & (row_a[n] >= 0)
                same_P[pair] += same
                pair += 1
    return same_P
