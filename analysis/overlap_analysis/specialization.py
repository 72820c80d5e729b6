"""Which of two variants is the more confident one, and whether that is the one that is right.

Dimensions: `V` variants, `N` examples, `C` cells that examples are counted in, classes say, `P` pairs, `B` bins of the
angle, `O` = 4 joint outcomes in the order of `JOINT_OUTCOMES`.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.uncertainty import normal_quantile

JOINT_OUTCOMES = ("both_correct", "both_wrong", "only_a_correct", "only_b_correct")
"""What two variants can make of an example; the last two are the inconsistent ones."""

ANGLE_BINS = 36
"""Bins of the angle's histogram: 2.5 degrees each."""

_BISECTIONS = 60
_LOOKUP = 1024
_PAIRS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Specialization:
    """How the confidences of two variants relate to which of them is right, for P pairs over the same examples.

    Attributes:
        a: (P,) index of the first variant.
        b: (P,) index of the second.
        angles: (P, O, B) int32, examples by joint outcome and angle, from -45 to 45 degrees in even steps; each bin
            holds its lower end, the last one also its upper.
        auroc: (P,) probability that the angle is larger on an example that only the first variant gets right than on
            one that only the second does, ties counted half; 0.5 says that confidence does not tell which of the two
            is right, NaN that there are no such examples.
        log_odds_auroc: (P,) the same of the difference of the confidences' log odds.
        angle_only_a: (P,) mean angle in degrees where only the first is right; NaN without such examples.
        angle_only_b: (P,) where only the second is.
        only_a: (P, C) int32, examples of each cell that only the first gets right.
        only_b: (P, C) int32, that only the second gets right.
    """

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    angles: NDArray[np.int32]
    auroc: NDArray[np.float64]
    log_odds_auroc: NDArray[np.float64]
    angle_only_a: NDArray[np.float64]
    angle_only_b: NDArray[np.float64]
    only_a: NDArray[np.int32]
    only_b: NDArray[np.int32]


def specialize(
    log_confidence_VN: NDArray[np.float32],
    correct_VN: NDArray[np.bool_],
    cell_N: NDArray[np.integer],
    pairs: tuple[NDArray[np.int32], NDArray[np.int32]],
    *,
    cells: int,
    threads: int = 1,
) -> Specialization:
    """Compares the confidences of two variants, example by example, for some pairs.

    The angle of an example is θ = atan2(confidence of the first, confidence of the second) - 45 degrees: 0 where both
    are equally confident, positive where the first is more so. The paper names the angle in the plane of the two
    confidences and prints no formula; the difference of log odds, which does not flatten near 1, is the other reading.

    Args:
        log_confidence_VN: logarithm of the probability that a variant gives to its prediction; not above 0.
        correct_VN: which examples each variant gets right.
        cell_N: the cell in [0, C) that each example is counted in.
        pairs: first and second variant of each pair.
        cells: C.
        threads: pairs are shared out to so many.

    Raises:
        ValueError: the shapes do not fit, a cell is out of range, or a confidence is NaN or above 1.

    Source: Gontijo-Lopes et al., ICLR 2022, section 4.3 and figures 3 and 4. The area is that of Mann and Whitney.
    """
    _check(log_confidence_VN, correct_VN, cell_N, cells)
    a_P, b_P = (np.asarray(side, np.int32) for side in pairs)
    inputs = (
        np.exp(log_confidence_VN.astype(np.float64)),
        _log_odds(log_confidence_VN),
        correct_VN,
        np.ascontiguousarray(cell_N, np.int64),
    )
    starts = range(0, len(a_P), _PAIRS_AT_ONCE)

    def some(start: int) -> Specialization:
        chosen = slice(start, start + _PAIRS_AT_ONCE)
        return _specialize(inputs, a_P[chosen], b_P[chosen], cells)

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(some, starts)) or [_specialize(inputs, a_P, b_P, cells)]
    names = [field.name for field in fields(Specialization)]
    return Specialization(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def auroc_interval(
    auroc_P: NDArray[np.float64],
    positives_P: NDArray[np.integer],
    negatives_P: NDArray[np.integer],
    *,
    level: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of an area under the ROC curve, from the sizes of the two groups.

    Returns:
        (low, high) with 0 <= low <= auroc <= high <= 1, also at areas of 0 and 1; NaN where the area is.

    Source: Newcombe, Statistics in Medicine 25 (2006), 559-573, method 5: the score interval of the variance that
        Hanley and McNeil give for exponential distributions. Its coverage is near the level for small groups and
        areas near 1, where those of DeLong and Wald fail.

    >>> [bound.round(3).tolist() for bound in auroc_interval(np.array([0.8]), np.array([20]), np.array([30]))]
    [[0.643], [0.894]]
    """
    z = normal_quantile(level)
    sizes_P = np.maximum(positives_P.astype(np.float64) * negatives_P, 1)
    half_P = (positives_P + negatives_P) / 2 - 1

    def excess(theta_P: NDArray[np.float64]) -> NDArray[np.float64]:
        spread = 1 + half_P * (1 - theta_P) / (2 - theta_P) + half_P * theta_P / (1 + theta_P)
        return (auroc_P - theta_P) ** 2 - z**2 * theta_P * (1 - theta_P) / sizes_P * spread

    ends = []
    for far in (0.0, 1.0):
        outside_P, inside_P = np.full(auroc_P.shape, far), auroc_P.copy()
        for _ in range(_BISECTIONS):
            middle_P = (outside_P + inside_P) / 2
            beyond_P = excess(middle_P) > 0
            outside_P = np.where(beyond_P, middle_P, outside_P)
            inside_P = np.where(beyond_P, inside_P, middle_P)
        ends.append(np.where(np.isnan(auroc_P), np.nan, outside_P))
    return np.minimum(ends[0], auroc_P), np.maximum(ends[1], auroc_P)


def _check(
    log_confidence_VN: NDArray[np.float32], correct_VN: NDArray[np.bool_], cell_N: NDArray[np.integer], cells: int
) -> None:
    if not log_confidence_VN.shape == correct_VN.shape == (len(log_confidence_VN), len(cell_N)):
        raise ValueError(
            f"expected confidences and correctness (V, {len(cell_N)}) of the same shape, "
            f"got {log_confidence_VN.shape} and {correct_VN.shape}"
        )
    if len(cell_N) and not 0 <= cell_N.min() <= cell_N.max() < cells:
        raise ValueError(f"cells: expected 0 to {cells - 1}, got {cell_N.min()} to {cell_N.max()}")
    if not (log_confidence_VN <= 0).all():
        v, n = np.argwhere(~(log_confidence_VN <= 0))[0]
        raise ValueError(f"log_confidence[{v}, {n}]: expected at most 0, got {log_confidence_VN[v, n]}")


def _log_odds(log_confidence_VN: NDArray[np.float32]) -> NDArray[np.float64]:
    """log(p / (1 - p)); finite also where p was rounded to 1."""
    below_VN = np.minimum(log_confidence_VN.astype(np.float64), -(2.0**-80))
    odds_VN: NDArray[np.float64] = below_VN - np.log(-np.expm1(below_VN))
    return odds_VN


_Inputs = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]


def _specialize(inputs: _Inputs, a_P: NDArray[np.int32], b_P: NDArray[np.int32], cells: int) -> Specialization:
    confidence_VN, odds_VN, correct_VN, cell_N = inputs
    pairs = len(a_P)
    edges_B = np.tan(np.radians(np.linspace(-45, 45, ANGLE_BINS + 1)))  # of (p - q) / (p + q) = tan θ
    edges_B[[0, -1]] = -np.inf, np.inf
    angles_POB = np.zeros((pairs, len(JOINT_OUTCOMES), ANGLE_BINS), np.int32)
    only_2PC = np.zeros((2, pairs, cells), np.int32)
    areas_2P = np.full((2, pairs), np.nan)
    sums_2P = np.zeros((2, pairs))
    tangent_2N, odds_2N = np.empty((2, len(cell_N))), np.empty((2, len(cell_N)))
    first_bin = np.searchsorted(edges_B, np.linspace(-1, 1, _LOOKUP + 1), side="right") - 1
    for p in range(pairs):
        a, b = int(a_P[p]), int(b_P[p])
        only_a, only_b = _compare(
            (confidence_VN[a], confidence_VN[b]),
            (odds_VN[a], odds_VN[b]),
            (correct_VN[a], correct_VN[b]),
            (cell_N, edges_B, first_bin),
            (angles_POB[p], only_2PC[:, p], sums_2P[:, p], tangent_2N, odds_2N),
        )
        if only_a and only_b:
            for area, values_2N in enumerate((tangent_2N, odds_2N)):
                areas_2P[area, p] = _area(np.sort(values_2N[0, :only_a]), np.sort(values_2N[1, :only_b]))
    counts_2P = only_2PC.sum(axis=2)
    means_2P = np.full((2, pairs), np.nan)
    np.divide(np.degrees(sums_2P), counts_2P, out=means_2P, where=counts_2P > 0)
    return Specialization(
        a=a_P,
        b=b_P,
        angles=angles_POB,
        auroc=areas_2P[0],
        log_odds_auroc=areas_2P[1],
        angle_only_a=means_2P[0],
        angle_only_b=means_2P[1],
        only_a=only_2PC[0],
        only_b=only_2PC[1],
    )


@compiled
def _compare(
    confidence: tuple[NDArray[np.float64], NDArray[np.float64]],
    odds: tuple[NDArray[np.float64], NDArray[np.float64]],
    correct: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    scale: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]],
    into: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> tuple[int, int]:
    """Counts one pair, and lists tangents and differences of log odds where exactly one is right; says how many."""
    cell_N, edges_B, first_bin = scale
    angles_OB, only_2C, sums_2, tangent_2N, odds_2N = into
    listed = np.zeros(2, np.int64)
    for n in range(len(cell_N)):
        p, q = confidence[0][n], confidence[1][n]
        tangent = (p - q) / (p + q)
        k = first_bin[int((tangent + 1) * (len(first_bin) - 1) / 2)]
        while tangent >= edges_B[k + 1]:
            k += 1
        if correct[0][n] == correct[1][n]:
            angles_OB[0 if correct[0][n] else 1, k] += 1
            continue
        side = 0 if correct[0][n] else 1
        angles_OB[2 + side, k] += 1
        only_2C[side, cell_N[n]] += 1
        sums_2[side] += np.arctan(tangent)
        tangent_2N[side, listed[side]] = tangent
        odds_2N[side, listed[side]] = odds[0][n] - odds[1][n]
        listed[side] += 1
    return listed[0], listed[1]


@compiled
def _area(high: NDArray[np.float64], low: NDArray[np.float64]) -> float:
    """Probability that one of the first is above one of the second, ties counted half; both sorted."""
    below, not_above, total = 0, 0, 0
    for value in high:
        while below < len(low) and low[below] < value:
            below += 1
        while not_above < len(low) and low[not_above] <= value:
            not_above += 1
        total += below + not_above
    return total / (2.0 * len(high) * len(low))
