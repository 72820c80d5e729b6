"""One step of greedy selection over the threats of a block, and when a decided example must be looked at again.

Dimensions: as in `threats`, and `M` candidates, `S` steps, `U` undecided places, `B` classes that must lead.
"""

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.contenders import NOTHING

OTHERS = -1  # as in `threats`

_Threats = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
_Parts = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.integer], NDArray[np.int32]]


@compiled
def count_step(
    step: int,
    beats: int,
    lead_T: NDArray[np.int64],
    threats: _Threats,
    parts: _Parts,
    weight_E: NDArray[np.int64],
    candidates_M: NDArray[np.int64],
    next_E: NDArray[np.int64],
    head_S: NDArray[np.int64],
    asleep_2S: NDArray[np.int64],
    right_M: NDArray[np.int64],
    unsure_M: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Look at the examples that are awake, put those to sleep that all ensembles agree on, count the others.

    Args:
        step: members that the ensemble has; `lead_T` is of these.
        beats: classes that must lead for an ensemble to be wrong.
        lead_T: lead of each threat; an upper bound for `OTHERS`.
        threats: `start_E`, `class_T`, `most_T`, `least_T`, `top_T`.
        parts: `label_EV`, `rest_EV`, `place_EVK`, `score_EVK`.
        weight_E: of the contested examples.
        candidates_M: variants to count.
        next_E: the next example in the same bucket, -1 at the end. Changed.
        head_S: the first example of the bucket of each step. Changed.
        asleep_2S: by step, weight of the examples that fall asleep as right and as wrong, minus what wakes. Changed.
        right_M: gains the weight of the examples that the ensemble with each candidate surely gets right.
        unsure_M: gains the weight of those that are left open.

    Returns:
        (U, 2) what is left open: contested example, position among the candidates.
    """
    start_E, class_T, most_T, least_T, top_T = threats
    steps = len(head_S)
    relevant_R = np.empty(np.max(start_E[1:] - start_E[:-1]) if len(weight_E) else 0, dtype=np.int64)
    wakes_B = np.empty(beats, dtype=np.int64)
    unsure_U2, unsure = np.empty((64, 2), dtype=np.int64), 0
    e = head_S[step]
    head_S[step] = -1
    while e >= 0:
        following = next_E[e]
        span = (start_E[e], start_E[e + 1])
        wrong, active = _standing(span, beats, lead_T, class_T, most_T, least_T)
        relevant = 0
        if wrong < beats <= active:
            relevant = _relevant(span, beats, lead_T, class_T, most_T, top_T, wakes_B, relevant_R)
        if wrong >= beats:
            wake = step + _wrong_for(span, lead_T, class_T, least_T, wakes_B)
            _sleep(e, step, min(wake, steps), weight_E[e], 1, next_E, head_S, asleep_2S)
        elif active < beats:
            wake = step + _right_for(span, lead_T, class_T, most_T, wakes_B)
            _sleep(e, step, min(wake, steps), weight_E[e], 0, next_E, head_S, asleep_2S)
        elif relevant == 0:
            _sleep(e, step, min(step + 1, steps), weight_E[e], 0, next_E, head_S, asleep_2S)
        else:
            if unsure + len(candidates_M) > len(unsure_U2):
                unsure_U2 = _grown(unsure_U2, unsure + len(candidates_M))
            unsure = _count_candidates(
                e, span[0], beats, lead_T, class_T, parts, weight_E[e], candidates_M, relevant_R[:relevant],
                right_M, unsure_M, unsure_U2, unsure,
            )  # fmt: skip
            _sleep(e, step, min(step + 1, steps), 0, 0, next_E, head_S, asleep_2S)
        e = following
    return unsure_U2[:unsure]


@compiled
def add_everyone(
    start_E: NDArray[np.int64],
    label_EV: NDArray[np.int32],
    rest_EV: NDArray[np.int32],
    place_EVK: NDArray[np.integer],
    score_EVK: NDArray[np.int32],
    low_T: NDArray[np.int64],
    high_T: NDArray[np.int64],
) -> None:
    """Add to each threat's bounds what all variants together add at least and at most to its lead."""
    for e in range(len(label_EV)):
        low, high = np.int64(0), np.int64(0)
        for v in range(label_EV.shape[1]):
            label, rest = np.int64(label_EV[e, v]), np.int64(max(rest_EV[e, v], 0))
            low -= label
            high += rest - label
            for k in range(place_EVK.shape[2]):
                if place_EVK[e, v, k] >= 0:
                    t = start_E[e] + place_EVK[e, v, k]
                    low_T[t] += score_EVK[e, v, k]
                    high_T[t] += score_EVK[e, v, k] - rest
        for t in range(start_E[e], start_E[e + 1]):
            low_T[t] += low
            high_T[t] += high


@compiled
def _standing(
    span: tuple[int, int],
    beats: int,
    lead_T: NDArray[np.int64],
    class_T: NDArray[np.int32],
    most_T: NDArray[np.int32],
    least_T: NDArray[np.int32],
) -> tuple[int, int]:
    """How many classes lead whoever joins, and how many may; the classes that no variant keeps count as enough."""
    wrong, active = 0, 0
    for t in range(span[0], span[1]):
        may = lead_T[t] + most_T[t] > 0
        if class_T[t] == OTHERS:
            active += beats if may else 0
        else:
            wrong += lead_T[t] + least_T[t] > 0
            active += may
    return wrong, active


@compiled
def _relevant(
    span: tuple[int, int],
    beats: int,
    lead_T: NDArray[np.int64],
    class_T: NDArray[np.int32],
    most_T: NDArray[np.int32],
    top_T: NDArray[np.int32],
    highest_B: NDArray[np.int64],
    relevant_R: NDArray[np.int64],
) -> int:
    """Fill the threats that may be among the `beats` highest; below those, another leads whenever they do."""
    highest_B[:] = np.int64(-(2**62))
    for t in range(span[0], span[1]):
        if class_T[t] != OTHERS:
            _keep_highest(highest_B, lead_T[t])
    relevant = 0
    for t in range(span[0], span[1]):
        if lead_T[t] + most_T[t] > 0 and lead_T[t] + top_T[t] >= highest_B[beats - 1]:
            relevant_R[relevant] = t
            relevant += 1
    return relevant


@compiled
def _count_candidates(
    e: int,
    start: int,
    beats: int,
    lead_T: NDArray[np.int64],
    class_T: NDArray[np.int32],
    parts: _Parts,
    weight: int,
    candidates_M: NDArray[np.int64],
    relevant_R: NDArray[np.int64],
    right_M: NDArray[np.int64],
    unsure_M: NDArray[np.int64],
    unsure_U2: NDArray[np.int64],
    unsure: int,
) -> int:
    """Count one example for every candidate; gives how many are left open so far."""
    label_EV, rest_EV, place_EVK, score_EVK = parts
    peak = lead_T[relevant_R[0]]
    for t in relevant_R:
        peak = max(peak, lead_T[t])
    for m in range(len(candidates_M)):
        v = candidates_M[m]
        label, rest = np.int64(label_EV[e, v]), np.int64(rest_EV[e, v])
        if peak + max(rest, np.int64(score_EVK[e, v, 0])) <= label:  # the highest rival with the highest lead
            right_M[m] += weight
            continue
        surely = 0
        for k in range(place_EVK.shape[2]):
            place = place_EVK[e, v, k]
            if place >= 0:
                surely += lead_T[start + place] + score_EVK[e, v, k] > label
        if surely >= beats:
            continue
        maybe = surely
        if rest != NOTHING and peak + rest > label:
            for t in relevant_R:
                if lead_T[t] + rest > label and not _keeps(place_EVK[e, v], t - start):
                    maybe += beats if class_T[t] == OTHERS else 1
                    surely += class_T[t] != OTHERS and lead_T[t] > label
        if maybe < beats:
            right_M[m] += weight
        elif surely < beats:
            unsure_M[m] += weight
            unsure_U2[unsure, 0], unsure_U2[unsure, 1] = e, m
            unsure += 1
    return unsure


@compiled
def _keeps(place_K: NDArray[np.integer], place: int) -> bool:
    for kept in place_K:  # noqa: SIM110 - compiled
        if kept == place:
            return True
    return False


@compiled
def _right_for(
    span: tuple[int, int],
    lead_T: NDArray[np.int64],
    class_T: NDArray[np.int32],
    most_T: NDArray[np.int32],
    wakes_B: NDArray[np.int64],
) -> int:
    """Steps until enough classes may lead: t more members add at most t times the most that one adds."""
    wakes_B[:] = np.int64(-(2**62))
    for t in range(span[0], span[1]):
        if most_T[t] > 0:
            wait = max(0, -lead_T[t] // most_T[t])
            for _ in range(len(wakes_B) if class_T[t] == OTHERS else 1):
                _keep_highest(wakes_B, -wait)
    return int(-wakes_B[-1])


@compiled
def _wrong_for(
    span: tuple[int, int],
    lead_T: NDArray[np.int64],
    class_T: NDArray[np.int32],
    least_T: NDArray[np.int32],
    wakes_B: NDArray[np.int64],
) -> int:
    """Steps until too few classes surely lead: t more members take away at most t times the most that one takes."""
    wakes_B[:] = 0
    for t in range(span[0], span[1]):
        if class_T[t] != OTHERS and lead_T[t] + least_T[t] > 0:
            _keep_highest(wakes_B, 2**62 if least_T[t] >= 0 else (lead_T[t] - 1) // -np.int64(least_T[t]))
    return int(wakes_B[-1])


@compiled
def _keep_highest(highest_B: NDArray[np.int64], value: int) -> None:
    """Put a value into its place among the highest, which descend."""
    k = len(highest_B) - 1
    if value <= highest_B[k]:
        return
    while k > 0 and highest_B[k - 1] < value:
        highest_B[k] = highest_B[k - 1]
        k -= 1
    highest_B[k] = value


@compiled
def _sleep(
    e: int,
    step: int,
    wake: int,
    weight: int,
    kind: int,
    next_E: NDArray[np.int64],
    head_S: NDArray[np.int64],
    asleep_2S: NDArray[np.int64],
) -> None:
    """Put an example into the bucket of the step it wakes at; behind the last step it sleeps for ever."""
    asleep_2S[kind, step] += weight
    asleep_2S[kind, wake] -= weight
    if wake < len(head_S):
        next_E[e] = head_S[wake]
        head_S[wake] = e


@compiled
def _grown(unsure_U2: NDArray[np.int64], needed: int) -> NDArray[np.int64]:
    grown_U2 = np.empty((max(needed, 2 * len(unsure_U2)), 2), dtype=np.int64)
    grown_U2[: len(unsure_U2)] = unsure_U2
    return grown_U2
