"""Exact greedy forward selection of an ensemble, with replacement.

Dimensions: `V` variants, `N` examples, `C` classes, `S` picks.

An ensemble is the mean of its picks' probabilities. On the integer grid it is right on an example unless a
rival class has a larger sum than the label, or an equal one and a lower index: the rule of an arg-max that
takes the lowest class.

Source: Caruana et al., "Ensemble selection from libraries of models", ICML 2004.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.probabilities import check_grid


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyStep:
    """One member of a greedy path.

    Attributes:
        variant: its index.
        selection_correct: selection examples that the ensemble up to and with this member gets right.
    """

    variant: int
    selection_correct: int


def greedy_counts(grid_VNC: NDArray[np.int32], labels_N: NDArray[np.int32], picks: Sequence[int]) -> NDArray[np.int64]:
    """How many examples the picks and one more member get right, for every candidate for that member.

    Args:
        grid_VNC: probabilities in units of 2**-30, see `probability_grid`. Any memory layout.
        labels_N: true classes.
        picks: variants chosen so far, repeats allowed; none gives the variants' own counts.

    Returns:
        (V,) exact counts; those of disjoint blocks of examples add up.

    Raises:
        ValueError: the grid and the labels do not fit, or a pick is no variant.
    """
    classes_N = check_grid(grid_VNC, labels_N)
    return _count_candidates(grid_VNC, classes_N, _check_picks(picks, len(grid_VNC)))


def ensemble_correct(
    grid_VNC: NDArray[np.int32], labels_N: NDArray[np.int32], picks: Sequence[int]
) -> NDArray[np.int64]:
    """How many examples the ensemble gets right after each of its picks.

    Args:
        grid_VNC: as in `greedy_counts`, usually of the evaluation examples.
        labels_N: true classes.
        picks: the ensemble's members in order.

    Returns:
        (S,) exact counts; those of disjoint blocks of examples add up.

    Raises:
        ValueError: as `greedy_counts`.
    """
    classes_N = check_grid(grid_VNC, labels_N)
    return _count_prefixes(grid_VNC, classes_N, _check_picks(picks, len(grid_VNC)))


def choose(counts_V: NDArray[np.int64], picks: Sequence[int]) -> int:
    """The candidate with the highest count; among equals one already picked, then the lowest index.

    >>> choose(np.array([5, 7, 7]), picks=[2])
    2
    """
    best = np.flatnonzero(counts_V == np.max(counts_V))
    used = best[np.isin(best, np.asarray(picks, dtype=np.int64))]
    return int(used[0] if len(used) else best[0])


def greedy_path(
    count: Callable[[Sequence[int]], NDArray[np.int64]],
    *,
    steps: int,
    start: Sequence[int] = (),
    candidates: Sequence[int] | None = None,
) -> list[GreedyStep]:
    """Add, step by step, the variant that makes the ensemble right on the most selection examples.

    Args:
        count: picks -> (V,) counts, as `greedy_counts` over all selection examples; called once a step.
        steps: members of the ensemble, those of `start` included.
        start: the first members, given instead of chosen; not necessarily candidates.
        candidates: variants that may be chosen; all by default.

    Returns:
        `steps` members in order. Counts may fall along the path: the best prefix is the caller's choice.

    Raises:
        ValueError: fewer steps than members of `start`, or no candidate.
    """
    if steps < len(start):
        raise ValueError(f"steps: expected at least {len(start)}, the members of start, got {steps}")
    if candidates is not None and not candidates:
        raise ValueError("candidates: expected at least one variant, got none")
    path: list[GreedyStep] = []
    for step in range(steps):
        picks = [member.variant for member in path]
        counts_V = count(picks)
        allowed = np.arange(len(counts_V)) if candidates is None else np.unique(candidates)
        if step < len(start):
            variant = start[step]
        else:
            masked_V = np.full(len(counts_V), -1)
            masked_V[allowed] = counts_V[allowed]
            variant = choose(masked_V, picks)
        path.append(GreedyStep(variant=variant, selection_correct=int(counts_V[variant])))
    return path


def _check_picks(picks: Sequence[int], variants: int) -> NDArray[np.int64]:
    picks_S = np.asarray(picks, dtype=np.int64)
    bad = picks_S[(picks_S < 0) | (picks_S >= variants)]
    if len(bad):
        raise ValueError(f"picks: expected variants in [0, {variants}), got {bad[0]}")
    return picks_S


@compiled
def _count_candidates(
    grid_VNC: NDArray[np.int32], labels_N: NDArray[np.int64], picks_S: NDArray[np.int64]
) -> NDArray[np.int64]:
    variants, examples, classes = grid_VNC.shape
    right_V = np.zeros(variants, dtype=np.int64)
    lead_C = np.empty(classes, dtype=np.int64)
    for n in range(examples):
        y = labels_N[n]
        _start_leads(lead_C, y)
        for pick in picks_S:
            _add_leads(lead_C, grid_VNC[pick, n], y)
        for v in range(variants):
            row_C = grid_VNC[v, n]
            right = 1
            for j in range(classes):
                if lead_C[j] + row_C[j] > row_C[y]:
                    right = 0
                    break
            right_V[v] += right
    return right_V


@compiled
def _count_prefixes(
    grid_VNC: NDArray[np.int32], labels_N: NDArray[np.int64], picks_S: NDArray[np.int64]
) -> NDArray[np.int64]:
    _, examples, classes = grid_VNC.shape
    right_S = np.zeros(len(picks_S), dtype=np.int64)
    lead_C = np.empty(classes, dtype=np.int64)
    for n in range(examples):
        y = labels_N[n]
        _start_leads(lead_C, y)
        for s in range(len(picks_S)):
            _add_leads(lead_C, grid_VNC[picks_S[s], n], y)
            right_S[s] += np.max(lead_C) <= 0
    return right_S


@compiled
def _start_leads(lead_C: NDArray[np.int64], y: int) -> None:
    """Lead of every class over the label without members: 1 where it wins a tie, 0 for the label itself."""
    for j in range(len(lead_C)):
        lead_C[j] = j < y


@compiled
def _add_leads(lead_C: NDArray[np.int64], row_C: NDArray[np.int32], y: int) -> None:
    for j in range(len(lead_C)):
        lead_C[j] += np.int64(row_C[j]) - row_C[y]
