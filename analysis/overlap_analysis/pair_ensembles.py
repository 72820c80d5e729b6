"""Exact accuracy of every two-model ensemble, by the mean of calibrated probabilities.

Dimensions: `V` variants, `N` examples, `C` classes, `P` pairs in the order of `pairs.pair_indices`.

On the integer grid the mean of two members is right unless a rival class has a larger sum than the label, or
an equal one and a lower index: the rule of an arg-max that takes the lowest class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.pairs import PairBlock, merge_blocks, pair_indices
from overlap_analysis.probabilities import check_grid
from overlap_analysis.uncertainty import wilson_interval


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnsembleCounts(PairBlock):
    """How often the ensemble of each pair is right, by how many of its members are.

    `one_right`, `both_wrong` and `both_right` add up to `examples`.

    Attributes:
        a_correct: (P,) int64, examples the first member gets right alone, on the same grid.
        b_correct: (P,) int64, examples the second member gets right alone.
        correct: (P,) int64, examples the ensemble gets right.
        one_right: (P,) int64, exactly one member is right.
        one_right_converted: (P,) int64, of those, the ensemble is right.
        both_wrong: (P,) int64.
        both_wrong_rescued: (P,) int64, of those, the ensemble is right.
        both_right: (P,) int64.
        both_right_lost: (P,) int64, of those, the ensemble is wrong; never, with the mean of probabilities.
    """

    a_correct: NDArray[np.int64]
    b_correct: NDArray[np.int64]
    correct: NDArray[np.int64]
    one_right: NDArray[np.int64]
    one_right_converted: NDArray[np.int64]
    both_wrong: NDArray[np.int64]
    both_wrong_rescued: NDArray[np.int64]
    both_right: NDArray[np.int64]
    both_right_lost: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnsembleMetrics:
    """What each two-model ensemble reaches, each (P,) float64.

    Attributes:
        accuracy: share of examples the ensemble gets right.
        accuracy_low: Wilson interval of `accuracy`.
        accuracy_high: the same.
        improvement: `accuracy` minus the mean accuracy of the two members.
        gain: `accuracy` minus the accuracy of the better member.
        conversion_rate: share of the examples with exactly one member right that the ensemble gets right; NaN
            if there are none.
    """

    accuracy: NDArray[np.float64]
    accuracy_low: NDArray[np.float64]
    accuracy_high: NDArray[np.float64]
    improvement: NDArray[np.float64]
    gain: NDArray[np.float64]
    conversion_rate: NDArray[np.float64]


def count_pair_ensembles(grid_VNC: NDArray[np.int32], labels_N: NDArray[np.int32]) -> EnsembleCounts:
    """Count how often the mean probability of each pair of variants is right.

    Args:
        grid_VNC: probabilities in units of 2**-30, see `probability_grid`. Any memory layout.
        labels_N: true classes.

    Returns:
        Exact counts; those of disjoint blocks of examples add up with `merge_ensemble_counts`.

    Raises:
        ValueError: the shapes, the type or the values do not fit.
    """
    classes_N = check_grid(grid_VNC, labels_N)
    label_VN, rival_VN, correct_VN = _strengths(grid_VNC, classes_N)
    outcomes_P32 = _count_outcomes(grid_VNC, classes_N, label_VN, rival_VN, correct_VN)
    wrong_P3, right_P3 = outcomes_P32[:, :, 0], outcomes_P32[:, :, 1]
    a, b = pair_indices(len(grid_VNC))
    correct_V = np.count_nonzero(correct_VN, axis=1)
    return EnsembleCounts(
        a=a,
        b=b,
        examples=len(classes_N),
        a_correct=correct_V[a],
        b_correct=correct_V[b],
        correct=right_P3.sum(axis=1),
        one_right=wrong_P3[:, 1] + right_P3[:, 1],
        one_right_converted=right_P3[:, 1],
        both_wrong=wrong_P3[:, 0] + right_P3[:, 0],
        both_wrong_rescued=right_P3[:, 0],
        both_right=wrong_P3[:, 2] + right_P3[:, 2],
        both_right_lost=wrong_P3[:, 2],
    )


def merge_ensemble_counts(parts: Sequence[EnsembleCounts]) -> EnsembleCounts:
    """Counts over the union of disjoint blocks of examples of the same variants.

    Raises:
        ValueError: there is no part, or the parts hold different pairs.
    """
    return merge_blocks(parts)


def ensemble_metrics(counts: EnsembleCounts, *, level: float = 0.95) -> EnsembleMetrics:
    """Accuracy of each two-model ensemble, and what it adds to its members.

    accuracy - mean of the members = one_right / N * (conversion_rate - 1/2) + both_wrong_rescued / N
    - both_right_lost / N.

    Args:
        counts: of one rule, over all evaluation examples.
        level: nominal coverage of the Wilson interval of the accuracy.

    Returns:
        NaN throughout without examples.

    Source: Gontijo-Lopes et al., ICLR 2022, section 4.2; the conversion rate is their "ensemble efficiency".
    """
    examples = np.float64(counts.examples or np.nan)
    one_right = np.where(counts.one_right > 0, counts.one_right, np.nan)
    low, high = wilson_interval(counts.correct, counts.examples, level=level)
    return EnsembleMetrics(
        accuracy=counts.correct / examples,
        accuracy_low=low,
        accuracy_high=high,
        improvement=(2 * counts.correct - counts.a_correct - counts.b_correct) / (2 * examples),
        gain=(counts.correct - np.maximum(counts.a_correct, counts.b_correct)) / examples,
        conversion_rate=counts.one_right_converted / one_right,
    )


@compiled
def _strengths(
    grid_VNC: NDArray[np.int32], labels_N: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Grid value of the label, of its strongest rival (-1 without one), and whether the variant is right."""
    variants, examples, classes = grid_VNC.shape
    label_VN = np.empty((variants, examples), dtype=np.int32)
    rival_VN = np.empty((variants, examples), dtype=np.int32)
    correct_VN = np.empty((variants, examples), dtype=np.bool_)
    for v in range(variants):
        for n in range(examples):
            row, y = grid_VNC[v, n], labels_N[n]
            before, after = np.int32(-1), np.int32(-1)
            for j in range(y):
                before = max(before, row[j])
            for j in range(y + 1, classes):
                after = max(after, row[j])
            label_VN[v, n] = row[y]
            rival_VN[v, n] = max(before, after)
            correct_VN[v, n] = row[y] > before and row[y] >= after
    return label_VN, rival_VN, correct_VN


@compiled
def _count_outcomes(
    grid_VNC: NDArray[np.int32],
    labels_N: NDArray[np.int64],
    label_VN: NDArray[np.int32],
    rival_VN: NDArray[np.int32],
    correct_VN: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """(P, 3, 2) examples by members right (0, 1, 2) and ensemble right (0, 1)."""
    variants, examples, _ = grid_VNC.shape
    outcomes_P32 = np.zeros((variants * (variants - 1) // 2, 3, 2), dtype=np.int64)
    block = 32  # examples whose rows of all variants stay in the cache
    for start in range(0, examples, block):
        pair = 0
        for a in range(variants):
            for b in range(a + 1, variants):
                for n in range(start, min(start + block, examples)):
                    label = np.int64(label_VN[a, n]) + label_VN[b, n]
                    if label > np.int64(rival_VN[a, n]) + rival_VN[b, n]:
                        right = 1
                    elif label < max(rival_VN[a, n], rival_VN[b, n]):
                        right = 0
                    else:
                        right = _mean_is_right(grid_VNC[a, n], grid_VNC[b, n], labels_N[n])
                    outcomes_P32[pair, np.int64(correct_VN[a, n]) + correct_VN[b, n], right] += 1
                pair += 1
    return outcomes_P32


@compiled
def _mean_is_right(row_a_C: NDArray[np.int32], row_b_C: NDArray[np.int32], y: int) -> int:
    """1 unless a class before the label reaches its sum, or one after it exceeds it; 0 then."""
    label = np.int64(row_a_C[y]) + row_b_C[y]
    for j in range(len(row_a_C)):
        if np.int64(row_a_C[j]) + row_b_C[j] + (j < y) > label:
            return 0
    return 1
