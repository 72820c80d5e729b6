"""What is compared of two-model ensembles: improvement, accuracy and conversion rate, also by groups of examples.

Array names: V variants, N examples, P pairs, G groups of examples.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from overlap.pairwise.ensemble_rows import Counted
from overlap_analysis import GroupedValue, ensemble_metrics, group_sums


def ensemble_values(one: Counted) -> dict[str, NDArray[np.float64]]:
    """Each metric of each pair: `improvement` over the mean of the two, `ensemble_accuracy`, `conversion_rate`."""
    metrics = ensemble_metrics(one.counts)
    return {
        "improvement": metrics.improvement,
        "ensemble_accuracy": metrics.accuracy,
        "conversion_rate": metrics.conversion_rate,
    }


def resampled_values(
    correct_VN: NDArray[np.bool_], one: Counted, groups: int
) -> Mapping[str, NDArray[np.float64] | GroupedValue]:
    """The same by groups of examples where those were kept apart, so that examples can be resampled too.

    Of a group it is known how many examples the ensemble gets right, but not how many of those its members both
    get wrong. These few (`both_wrong_rescued`) are spread evenly over the examples that both get wrong. The
    conversion rate is exact; its interval takes the few for conversions by chance, and is a little too wide.

    Args:
        correct_VN: which examples each member gets right.
        one: the ensembles.
        groups: that they were counted in.
    """
    if one.correct_PG is None:
        return ensemble_values(one)
    a, b = one.counts.a, one.counts.b
    sizes_G = group_sums(np.ones(correct_VN.shape[1]), groups)[:, np.newaxis]
    alone_GV = group_sums(correct_VN, groups).astype(np.float32)
    members_GP, both_GP = alone_GV[:, a] + alone_GV[:, b], _both_right(correct_VN, groups, a, b)
    right_GP = one.correct_PG.T.astype(np.float32)
    return {
        "improvement": GroupedValue(sums_GP=right_GP - members_GP / 2, examples_GP=sizes_G),
        "ensemble_accuracy": GroupedValue(sums_GP=right_GP, examples_GP=sizes_G),
        "conversion_rate": GroupedValue(
            sums_GP=_converted(one, right_GP - both_GP, sizes_G.astype(np.float32) - members_GP + both_GP),
            examples_GP=members_GP - 2 * both_GP,
        ),
    }


def _both_right(
    correct_VN: NDArray[np.bool_], groups: int, a: NDArray[np.int32], b: NDArray[np.int32]
) -> NDArray[np.float32]:
    """(G, P) examples of each group that both get right."""
    both_GP = np.empty((groups, len(a)), np.float32)
    for group in range(groups):
        block = correct_VN[:, group::groups].astype(np.float32)
        both_GP[group] = (block @ block.T)[a, b]
    return both_GP


def _converted(one: Counted, rest_GP: NDArray[np.float32], neither_GP: NDArray[np.float32]) -> NDArray[np.float32]:
    """(G, P) examples of each group that one member gets right and so does the ensemble; exact in their sum.

    `rest_GP` are those that the ensemble gets right and not both members do, `neither_GP` those that none does.
    """
    rescued_P = rest_GP.sum(axis=0, dtype=np.float64) - one.counts.one_right_converted
    neither_P = np.maximum(neither_GP.sum(axis=0, dtype=np.float64), 1)
    return np.asarray(rest_GP - neither_GP * (rescued_P / neither_P).astype(np.float32))
