"""The threats of examples whose probabilities are all in memory: one look at every value, a second at few.

Dimensions: as in `threats`.
"""

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.contenders import NOTHING
from overlap_analysis.probabilities import check_labels
from overlap_analysis.scores import GRID
from overlap_analysis.threats import CONTESTED, RIGHT, WRONG, Threats

_TILE_VALUES = 2**18  # looked at twice while they are in a cache
_SLACK = 64  # units: differences of float32 and their rounding are off by less


def dense_threats(
    values_VNC: NDArray[np.floating] | NDArray[np.int32],
    labels_N: NDArray[np.integer],
    *,
    start: int = 0,
    stop: int | None = None,
    beats: int = 1,
    kept: int = 3,
) -> Threats:
    """Decide the examples of a block on which all ensembles agree, and list what threatens the others.

    Args:
        values_VNC: probabilities, or their scores on the grid; of all examples, because that is faster than a slice.
        labels_N: true classes of all examples.
        start: the first example of the block.
        stop: one behind the last; all the rest by default.
        beats: how many classes must lead for an ensemble to be wrong.
        kept: rivals to keep of each prediction.

    Raises:
        ValueError: the shapes or the values do not fit, or a number is below 1.
    """
    if values_VNC.ndim != 3:
        raise ValueError(f"probabilities: expected (V, N, C), got {values_VNC.shape}")
    if beats < 1:
        raise ValueError(f"beats: expected at least one class, got {beats}")
    if kept < 1:
        raise ValueError(f"kept: expected at least one rival, got {kept}")
    variants, examples, classes = values_VNC.shape
    labels = check_labels(labels_N, examples=examples, classes=classes)
    stop = examples if stop is None else stop
    size = max(0, stop - start)
    counted = values_VNC.dtype == np.int32
    if values_VNC.dtype == np.float16:  # which Numba does not know
        values_VNC, labels, start = values_VNC[:, start:stop].astype(np.float32), labels[start:stop], 0
    decided_N, example_E, start_E = np.empty(size, np.int8), np.empty(size, np.int64), np.zeros(size + 1, np.int64)
    label_VN, rest_EV = np.empty((variants, size), np.int32), np.empty((size, variants), np.int32)
    place_EVK = np.empty((size, variants, kept), np.int16 if classes < 2**15 else np.int32)
    score_EVK = np.empty(place_EVK.shape, np.int32)
    tile = max(1, min(64, _TILE_VALUES // max(1, variants * classes)))
    contested, threats_T4, fits = _find(
        values_VNC,
        labels,
        start,
        (beats, tile, 1.0 if counted else float(GRID), 0 if counted else _SLACK),
        decided_N,
        (example_E, start_E),
        label_VN,
        (rest_EV, place_EVK, score_EVK),
    )
    if not fits:
        raise ValueError("probabilities: expected numbers in [0, 1], or scores in [0, 2**30], got others")
    class_T, most_T, least_T, top_T = np.ascontiguousarray(threats_T4.T)
    return Threats(
        labels_N=labels[start : start + size],
        decided_N=decided_N,
        beats=beats,
        label_VN=label_VN,
        example_E=example_E[:contested].copy(),
        start_E=start_E[: contested + 1].copy(),
        class_T=class_T,
        most_T=most_T,
        least_T=least_T,
        top_T=top_T,
        rest_EV=rest_EV[:contested].copy(),
        place_EVK=place_EVK[:contested].copy(),
        score_EVK=score_EVK[:contested].copy(),
    )


_Kept = tuple[NDArray[np.int32], NDArray[np.integer], NDArray[np.int32]]


@compiled
def _find(
    values_VNC: NDArray[np.generic],
    labels_N: NDArray[np.int64],
    first: int,
    how: tuple[int, int, float, int],
    decided_N: NDArray[np.int8],
    contested: tuple[NDArray[np.int64], NDArray[np.int64]],
    label_VN: NDArray[np.int32],
    kept: _Kept,
) -> tuple[int, NDArray[np.int32], bool]:
    """Fill everything; gives how many examples are contested, their threats, and whether all values fit."""
    beats, tile, scale, slack = how
    example_E, start_E = contested
    classes = values_VNC.shape[2]
    examples, highest = len(decided_N), GRID / scale
    most_IC = np.empty((tile, classes), dtype=values_VNC.dtype)
    class_C = np.empty(classes, dtype=np.int64)
    bounds_3C = np.empty((3, classes), dtype=values_VNC.dtype)
    threats_T4, found, e = np.empty((max(1024, classes), 4), dtype=np.int32), 0, 0
    for start in range(0, examples, tile):
        stop = min(start + tile, examples)
        if not _most(values_VNC, labels_N, first, start, stop, scale, highest, most_IC, label_VN):
            return 0, threats_T4[:0], False
        for n in range(start, stop):
            y = labels_N[first + n]
            listed = _list_classes(most_IC[n - start], y, scale, slack, class_C)
            if listed < beats:
                decided_N[n] = RIGHT
                continue
            _keep(values_VNC, y, first + n, class_C[:listed], scale, bounds_3C, e, kept)
            surely = 0
            if found + listed > len(threats_T4):
                grown_T4 = np.empty((2 * len(threats_T4) + listed, 4), dtype=np.int32)
                grown_T4[:found] = threats_T4[:found]
                threats_T4 = grown_T4
            for i in range(listed):
                j = class_C[i]
                least = np.int64(np.rint(bounds_3C[1, i] * scale)) - slack
                surely += least + (j < y) > 0
                threats_T4[found + i, 0] = j
                threats_T4[found + i, 1] = np.int64(np.rint(bounds_3C[0, i] * scale)) + slack
                threats_T4[found + i, 2] = least
                threats_T4[found + i, 3] = np.int64(np.rint(bounds_3C[2, i] * scale))
            if surely >= beats:
                decided_N[n] = WRONG
                continue
            decided_N[n] = CONTESTED
            found += listed
            example_E[e] = n
            e += 1
            start_E[e] = found
    return e, threats_T4[:found], True


@compiled
def _most(
    values_VNC: NDArray[np.generic],
    labels_N: NDArray[np.int64],
    first: int,
    start: int,
    stop: int,
    scale: float,
    highest: float,
    most_IC: NDArray[np.generic],
    label_VN: NDArray[np.int32],
) -> bool:
    """Fill how far each class is above the label at most, and the labels' scores; False if a value does not fit."""
    variants, _, classes = values_VNC.shape
    low, high = values_VNC[0, first + start, 0], values_VNC[0, first + start, 0]
    for v in range(variants):
        for n in range(start, stop):
            own = values_VNC[v, first + n, labels_N[first + n]]
            label_VN[v, n] = np.int64(np.rint(own * scale))
            i = n - start
            if v == 0:
                for j in range(classes):
                    most_IC[i, j] = values_VNC[v, first + n, j] - own
            else:
                for j in range(classes):
                    most_IC[i, j] = max(most_IC[i, j], values_VNC[v, first + n, j] - own)
            low, high = min(low, own), max(high, own)
    for n in range(start, stop):
        for j in range(classes):
            high = max(high, most_IC[n - start, j])
    return bool(low >= 0 and high <= highest)


@compiled
def _list_classes(most_C: NDArray[np.generic], y: int, scale: float, slack: int, class_C: NDArray[np.int64]) -> int:
    """Fill the classes that may lead, those that lead most first: then few later ones are among a variant's best."""
    listed = 0
    for j in range(len(most_C)):
        if j != y and most_C[j] * scale + slack + (j < y) > 0:
            k = listed
            while k > 0 and most_C[class_C[k - 1]] < most_C[j]:
                class_C[k] = class_C[k - 1]
                k -= 1
            class_C[k] = j
            listed += 1
    return listed


@compiled
def _keep(
    values_VNC: NDArray[np.generic],
    y: int,
    n: int,
    class_L: NDArray[np.int64],
    scale: float,
    bounds_3C: NDArray[np.generic],
    e: int,
    kept: _Kept,
) -> None:
    """Fill the best of the listed classes of each variant, and the bounds of each class over all variants."""
    rest_EV, place_EVK, score_EVK = kept
    count, listed = place_EVK.shape[2], len(class_L)
    value_L = np.empty(listed, dtype=values_VNC.dtype)
    value_K, place_K = np.empty(count + 1, dtype=values_VNC.dtype), np.empty(count + 1, dtype=np.int64)
    most_L, least_L, top_L = bounds_3C[0], bounds_3C[1], bounds_3C[2]
    for v in range(len(values_VNC)):
        own = values_VNC[v, n, y]
        for i in range(listed):
            value_L[i] = values_VNC[v, n, class_L[i]]
        if v == 0:
            for i in range(listed):
                most_L[i] = least_L[i] = value_L[i] - own
                top_L[i] = value_L[i]
        else:
            for i in range(listed):
                most_L[i] = max(most_L[i], value_L[i] - own)
                least_L[i] = min(least_L[i], value_L[i] - own)
                top_L[i] = max(top_L[i], value_L[i])
        filled = 0
        for i in range(listed):
            value = value_L[i]
            if filled <= count or value > value_K[count]:
                k = min(filled, count)
                filled = min(filled + 1, count + 1)
                while k > 0 and value_K[k - 1] < value:
                    value_K[k], place_K[k] = value_K[k - 1], place_K[k - 1]
                    k -= 1
                value_K[k], place_K[k] = value, i
        rest_EV[e, v] = np.int64(np.rint(value_K[count] * scale)) if filled > count else NOTHING
        for k in range(count):
            place_EVK[e, v, k] = place_K[k] if k < filled else -1
            score_EVK[e, v, k] = np.int64(np.rint(value_K[k] * scale)) if k < filled else NOTHING
