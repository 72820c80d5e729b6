"""Greedy selection as it is defined, and by threat rows in NumPy alone: what the compiled form must equal.

Dimensions: `V` variants, `N` examples, `C` classes, `S` picks, `E` contested examples, `T` threats, `A` active ones.

Both are for reading and for tests; `greedy.score_blocks` and `accuracy_scorer` are many times faster.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.probabilities import check_grid


def greedy_counts(grid_VNC: NDArray[np.int32], labels_N: NDArray[np.int32], picks: Sequence[int]) -> NDArray[np.int64]:
    """How many examples the picks and one more member get right, for every candidate for that member.

    Args:
        grid_VNC: probabilities in units of 2**-30, see `probability_grid`. Any memory layout.
        labels_N: true classes.
        picks: variants chosen so far, repeats allowed; none gives the variants' own counts.

    Returns:
        (V,) exact counts; those of disjoint blocks of examples add up. Among equal classes the lowest wins.

    Raises:
        ValueError: the grid and the labels do not fit, or a pick is no variant.
    """
    classes_N = check_grid(grid_VNC, labels_N)
    sum_NC = grid_VNC[_check_picks(picks, len(grid_VNC))].sum(axis=0, dtype=np.int64)
    return np.array([np.count_nonzero((sum_NC + own_NC).argmax(axis=1) == classes_N) for own_NC in grid_VNC], np.int64)


def ensemble_correct(
    grid_VNC: NDArray[np.int32], labels_N: NDArray[np.int32], picks: Sequence[int]
) -> NDArray[np.int64]:
    """(S,) how many examples the ensemble gets right after each of its picks.

    Raises:
        ValueError: as `greedy_counts`.
    """
    classes_N = check_grid(grid_VNC, labels_N)
    sum_NC = np.zeros(grid_VNC.shape[1:], np.int64)
    right = []
    for pick in _check_picks(picks, len(grid_VNC)):
        sum_NC += grid_VNC[pick]
        right.append(np.count_nonzero(sum_NC.argmax(axis=1) == classes_N))
    return np.array(right, np.int64)


def threat_row_counts(
    grid_VNC: NDArray[np.int32], labels_N: NDArray[np.int32], picks: Sequence[int]
) -> list[NDArray[np.int64]]:
    """`greedy_counts` before the first pick and after each, by looking at few rows of differences only.

    Of every example and rival class, the lead is how far the rival's sum is above the label's. It can rise by the
    largest difference of any variant, fall by the smallest. Most leads can never get above zero; some examples
    have one that stays above; what is left is compared with the few rows of differences that can matter.

    Raises:
        ValueError: as `greedy_counts`.
    """
    y_N = check_grid(grid_VNC, labels_N)
    variants, examples, classes = grid_VNC.shape
    ties_NC = (np.arange(classes) < y_N[:, None]).astype(np.int64)
    row_VNC = grid_VNC.astype(np.int64) - np.take_along_axis(grid_VNC, y_N[None, :, None], axis=2)
    most_NC, least_NC, top_NC = row_VNC.max(axis=0), row_VNC.min(axis=0), grid_VNC.max(axis=0)
    possible_NC = (most_NC + ties_NC > 0) & (np.arange(classes) != y_N[:, None])
    never_N = ((least_NC + ties_NC > 0) & possible_NC).any(axis=1)
    contested_N = possible_NC.any(axis=1) & ~never_N
    example_T, class_T = np.nonzero(possible_NC & contested_N[:, None])
    start_E = np.flatnonzero(np.diff(example_T, prepend=-1))
    contested_T = np.cumsum(np.diff(example_T, prepend=-1) > 0) - 1
    lead_T = ties_NC[example_T, class_T]
    bounds = [bound_NC[example_T, class_T] for bound_NC in (most_NC, least_NC, top_NC)]
    most_T, least_T, top_T = bounds
    always = examples - len(start_E) - np.count_nonzero(never_N)
    counts = []
    for pick in [None, *_check_picks(picks, variants)]:
        if pick is not None:
            lead_T = lead_T + row_VNC[pick, example_T, class_T]
        if not len(start_E):
            counts.append(np.full(variants, always))
            continue
        wrong_E = np.logical_or.reduceat(lead_T + least_T > 0, start_E)
        peak_E = np.maximum.reduceat(lead_T, start_E)
        relevant_T = lead_T + top_T >= peak_E[contested_T]  # where another is higher, it leads whenever this does
        active_A = np.flatnonzero((lead_T + most_T > 0) & relevant_T & ~wrong_E[contested_T])
        right_V = np.full(variants, always + len(start_E) - np.count_nonzero(wrong_E))
        if len(active_A):
            first_A = np.flatnonzero(np.diff(contested_T[active_A], prepend=-1))
            leads_AV = row_VNC[:, example_T[active_A], class_T[active_A]].T + lead_T[active_A, None] > 0
            right_V -= np.count_nonzero(np.logical_or.reduceat(leads_AV, first_A, axis=0), axis=0)
        counts.append(right_V)
    return counts


def _check_picks(picks: Sequence[int], variants: int) -> NDArray[np.int64]:
    picks_S = np.asarray(picks, dtype=np.int64)
    bad = picks_S[(picks_S < 0) | (picks_S >= variants)]
    if len(bad):
        raise ValueError(f"picks: expected variants in [0, {variants}), got {bad[0]}")
    return picks_S
