"""Exact accuracy of every two-model ensemble, and what it adds to its members.

Dimensions: `V` variants, `N` examples, `C` classes, `P` pairs in the order of `pairs.pair_indices`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.contenders import contenders_of_grid
from overlap_analysis.ensemble_kernels import LENGTH
from overlap_analysis.ensemble_sums import (
    EnsembleSums,
    Rule,
    counted_places,
    merge_sums,
    settle,
    sum_ensembles,
)
from overlap_analysis.member_scores import ArrayScores
from overlap_analysis.pairs import PairBlock, merge_blocks, pair_count
from overlap_analysis.probabilities import check_labels
from overlap_analysis.uncertainty import wilson_interval
from overlap_analysis.undecided import decide

_PAIR_EXAMPLES = 2**26  # counted at once, as all of them may need dense rows


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
        both_right_lost: (P,) int64, of those, the ensemble is wrong; never, by any of the rules.
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


def count_pair_ensembles(
    grid_VNC: NDArray[np.int32], labels_N: NDArray[np.integer], *, rule: Rule = "mean_probability"
) -> EnsembleCounts:
    """Count how often each pair of variants is right as an ensemble.

    Args:
        grid_VNC: scores, see `contenders.Contenders`; of log-probabilities for the rule mean_logit. Any memory layout.
        labels_N: true classes.
        rule: how two members are combined, see `ensemble_sums`.

    Returns:
        Exact counts; those of disjoint blocks of examples add up with `merge_ensemble_counts`.

    Raises:
        ValueError: the shapes, the type or the values do not fit.
    """
    if grid_VNC.ndim != 3:
        raise ValueError(f"grid: expected (V, N, C), got shape {grid_VNC.shape}")
    variants, examples, classes = grid_VNC.shape
    classes_N = check_labels(labels_N, examples=examples, classes=classes)
    size = max(LENGTH, _PAIR_EXAMPLES // max(1, pair_count(variants)))
    parts = []
    for start in range(0, max(1, examples), size):
        block_VNC, block_N = grid_VNC[:, start : start + size], classes_N[start : start + size]
        contenders = contenders_of_grid(block_VNC, block_N)
        sums, undecided = sum_ensembles(contenders, block_N, rule)
        right_U = decide(undecided, contenders, block_N, ArrayScores(block_VNC))
        parts.append(settle(sums, undecided, right_U))
    return ensemble_counts(merge_sums(parts))


def ensemble_counts(sums: EnsembleSums) -> EnsembleCounts:
    """The counts of the pairs a < b that sums hold, in pair order.

    Raises:
        ValueError: something is left to be settled.
    """
    if sums.undecided:
        raise ValueError(f"sums: {sums.undecided} undecided are left; settle them with dense rows first")
    places = np.nonzero(counted_places(sums))
    row, column = sums.rows_R[places[0]], places[1] + sums.first
    a, b = np.minimum(row, column), np.maximum(row, column)
    order = np.lexsort((b, a))
    a, b = a[order].astype(np.int32), b[order].astype(np.int32)
    both_right, of_one, of_none = (
        sums_RW[places][order].astype(np.int64)
        for sums_RW in (sums.both_right_RW, sums.right_of_one_RW, sums.right_of_none_RW)
    )
    return counts_of_sums(a, b, sums.examples, sums.correct_V, both_right=both_right, converted=of_one, rescued=of_none)


def counts_of_sums(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    examples: int,
    correct_V: NDArray[np.int64],
    *,
    both_right: NDArray[np.integer],
    converted: NDArray[np.integer],
    rescued: NDArray[np.integer],
) -> EnsembleCounts:
    """All counts of some pairs, from how often their ensembles are right by how many of their members are.

    Args:
        a: (P,) first variants.
        b: (P,) second variants.
        examples: N.
        correct_V: what each variant gets right alone.
        both_right: (P,) both members are right.
        converted: (P,) one member is right, and the ensemble is.
        rescued: (P,) no member is right, but the ensemble is.
    """
    both_right, converted, rescued = (sums.astype(np.int64) for sums in (both_right, converted, rescued))
    a_correct, b_correct = correct_V[a], correct_V[b]
    one_right = a_correct + b_correct - 2 * both_right
    return EnsembleCounts(
        a=a,
        b=b,
        examples=examples,
        a_correct=a_correct,
        b_correct=b_correct,
        correct=both_right + converted + rescued,
        one_right=one_right,
        one_right_converted=converted,
        both_wrong=examples - one_right - both_right,
        both_wrong_rescued=rescued,
        both_right=both_right,
        both_right_lost=np.zeros_like(both_right),
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
