"""What can make an ensemble wrong, whichever of the variants it is made of: the state before greedy selection.

Dimensions: `V` variants, `N` examples, `E` contested examples among them, `K` kept rivals of a prediction, `C`
classes, `T` threats: a contested example with one rival of its label, those of an example side by side.

With scores on the integer grid, `lead` of a class is its sum over an ensemble minus the label's, plus 1 where the
class has the lower index and so wins ties. The ensemble is right on an example if fewer than `beats` classes lead
by more than 0: 1 for top-1 accuracy, 5 for top-5.

Source: the bounds are those of `docs/greedy.md`; Caruana et al., ICML 2004, for the selection they speed up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.contenders import NOTHING, Contenders
from overlap_analysis.probabilities import check_labels

CONTESTED, RIGHT, WRONG = np.int8(0), np.int8(1), np.int8(2)
OTHERS = -1
"""The class of the threat that stands for all classes that no variant keeps; its lead is an upper bound."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Threats:
    """The contested examples of one block of examples, and what bounds every variant's part in them.

    Attributes:
        labels_N: int64, true classes.
        decided_N: int8, `RIGHT` and `WRONG` where every ensemble is, otherwise `CONTESTED`.
        beats: how many classes must lead for an ensemble to be wrong.
        label_VN: int32, scores of the labels, of all examples.
        example_E: int64, the contested examples in order.
        start_E: (E + 1) int64, first threat of each, and the end.
        class_T: int32, the class that may lead, or `OTHERS`.
        most_T: int32, no variant's score of the class exceeds its score of the label by more.
        least_T: int32, and none's by less; meaningless for `OTHERS`.
        top_T: int32, no variant's score of the class is higher.
        rest_EV: int32, no score of a rival that the variant does not keep is higher; `NOTHING` if it keeps all.
        place_EVK: int16 or int32, positions of the kept rivals among the example's threats; -1 for those that can
            never lead.
        score_EVK: int32, their scores.
    """

    labels_N: NDArray[np.int64]
    decided_N: NDArray[np.int8]
    beats: int
    label_VN: NDArray[np.int32]
    example_E: NDArray[np.int64]
    start_E: NDArray[np.int64]
    class_T: NDArray[np.int32]
    most_T: NDArray[np.int32]
    least_T: NDArray[np.int32]
    top_T: NDArray[np.int32]
    rest_EV: NDArray[np.int32]
    place_EVK: NDArray[np.int16 | np.int32]
    score_EVK: NDArray[np.int32]

    @property
    def nbytes(self) -> int:
        """Memory of all arrays."""
        return sum(array.nbytes for array in self.arrays())

    def arrays(self) -> Iterator[NDArray[np.generic]]:
        """All arrays, in the order of the attributes."""
        yield from (
            self.labels_N,
            self.decided_N,
            self.label_VN,
            self.example_E,
            self.start_E,
            self.class_T,
            self.most_T,
        )
        yield from (self.least_T, self.top_T, self.rest_EV, self.place_EVK, self.score_EVK)


def find_threats(contenders: Contenders, labels_N: NDArray[np.integer], *, classes: int, beats: int = 1) -> Threats:
    """Decide the examples on which all ensembles agree, and list what threatens the others.

    Args:
        contenders: of probabilities on the grid.
        labels_N: true classes, those that the contenders were made with.
        classes: C.
        beats: how many classes must lead for an ensemble to be wrong.

    Raises:
        ValueError: the labels do not fit, or fewer than one class is to lead.
    """
    if beats < 1:
        raise ValueError(f"beats: expected at least one class, got {beats}")
    variants, examples, kept = contenders.class_VNK.shape
    labels = check_labels(labels_N, examples=examples, classes=classes)
    lists = (contenders.label_VN, contenders.score_VNK, contenders.class_VNK, contenders.rest_VN)
    decided_N, size_N = np.empty(examples, np.int8), np.zeros(examples, np.int64)
    _decide(lists, labels, classes, beats, decided_N, size_N)
    example_E = np.flatnonzero(decided_N == CONTESTED)
    start_E = np.concatenate([[0], np.cumsum(size_N[example_E])])
    class_T, most_T, least_T, top_T = (np.empty(start_E[-1], np.int32) for _ in range(4))
    rest_EV = np.empty((len(example_E), variants), np.int32)
    place_EVK = np.empty((*rest_EV.shape, kept), np.int16 if classes < 2**15 else np.int32)
    score_EVK = np.empty(place_EVK.shape, np.int32)
    _list(lists, labels, classes, example_E, start_E, (class_T, most_T, least_T, top_T), rest_EV, place_EVK, score_EVK)
    return Threats(
        labels_N=labels,
        decided_N=decided_N,
        beats=beats,
        label_VN=contenders.label_VN,
        example_E=example_E,
        start_E=start_E,
        class_T=class_T,
        most_T=most_T,
        least_T=least_T,
        top_T=top_T,
        rest_EV=rest_EV,
        place_EVK=place_EVK,
        score_EVK=score_EVK,
    )


_Lists = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
_NO_LEAD = np.int32(NOTHING)


@compiled
def _decide(
    lists: _Lists,
    labels_N: NDArray[np.int64],
    classes: int,
    beats: int,
    decided_N: NDArray[np.int8],
    size_N: NDArray[np.int64],
) -> None:
    """Fill what is known of each example, and how many threats a contested one has."""
    bounds_C3 = np.empty((classes, 3), dtype=np.int32)
    kept_C, listed_C = np.zeros(classes, dtype=np.int64), np.empty(classes, dtype=np.int64)
    for n in range(len(labels_N)):
        y = labels_N[n]
        listed, others, _ = _bound(lists, n, bounds_C3, kept_C, listed_C)
        threats, surely = 0, 0
        for i in range(listed):
            j = listed_C[i]
            threats += np.int64(bounds_C3[j, 0]) + (j < y) > 0
            surely += np.int64(bounds_C3[j, 1]) + (j < y) > 0
            kept_C[j] = 0
        may_others = listed < classes - 1 and np.int64(others) + 1 > 0
        if surely >= beats:
            decided_N[n] = WRONG
        elif threats + (beats if may_others else 0) < beats:
            decided_N[n] = RIGHT
        else:
            decided_N[n] = CONTESTED
            size_N[n] = threats + may_others


@compiled
def _list(
    lists: _Lists,
    labels_N: NDArray[np.int64],
    classes: int,
    example_E: NDArray[np.int64],
    start_E: NDArray[np.int64],
    threats: _Lists,
    rest_EV: NDArray[np.int32],
    place_EVK: NDArray[np.integer],
    score_EVK: NDArray[np.int32],
) -> None:
    """Fill the threats of the contested examples, and each variant's part in them."""
    _, score_VNK, class_VNK, rest_VN = lists
    class_T, most_T, least_T, top_T = threats
    bounds_C3 = np.empty((classes, 3), dtype=np.int32)
    kept_C, listed_C = np.zeros(classes, dtype=np.int64), np.empty(classes, dtype=np.int64)
    place_C = np.empty(classes, dtype=np.int64)
    for e in range(len(example_E)):
        n = example_E[e]
        y, t = labels_N[n], start_E[e]
        listed, others, others_top = _bound(lists, n, bounds_C3, kept_C, listed_C)
        for i in range(listed):
            j = listed_C[i]
            kept_C[j] = 0
            place_C[j] = -1
            if np.int64(bounds_C3[j, 0]) + (j < y) > 0:
                class_T[t], most_T[t], least_T[t], top_T[t] = j, bounds_C3[j, 0], bounds_C3[j, 1], bounds_C3[j, 2]
                place_C[j] = t - start_E[e]
                t += 1
        if t < start_E[e + 1]:
            class_T[t], most_T[t], least_T[t], top_T[t] = OTHERS, others, _NO_LEAD, others_top
        for v in range(rest_EV.shape[1]):
            rest_EV[e, v] = rest_VN[v, n]
            for k in range(place_EVK.shape[2]):
                j = class_VNK[v, n, k]
                place_EVK[e, v, k] = place_C[j] if j >= 0 else -1
                score_EVK[e, v, k] = score_VNK[v, n, k]


@compiled
def _bound(
    lists: _Lists,
    n: int,
    bounds_C3: NDArray[np.int32],
    kept_C: NDArray[np.int64],
    listed_C: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Fill the bounds of the classes that any variant keeps on an example, by variants that do not keep them too.

    Gives how many they are, and the bounds of a class that none keeps. A variant's bound of what it does not keep
    holds for what it keeps as well: at most these scores, and none is below 0.
    """
    label_VN, score_VNK, class_VNK, rest_VN = lists
    variants, kept = label_VN.shape[0], class_VNK.shape[2]
    listed, others, others_top, most_label = 0, _NO_LEAD, _NO_LEAD, np.int32(0)
    for v in range(variants):
        label = label_VN[v, n]
        most_label = max(most_label, label)
        if rest_VN[v, n] != NOTHING:
            others = max(others, np.int32(rest_VN[v, n] - label))
            others_top = max(others_top, rest_VN[v, n])
        for k in range(kept):
            j = class_VNK[v, n, k]
            if j < 0:
                break
            score = score_VNK[v, n, k]
            lead = np.int32(score - label)
            if kept_C[j] == 0:
                listed_C[listed] = j
                listed += 1
                bounds_C3[j, 0], bounds_C3[j, 1], bounds_C3[j, 2] = lead, lead, score
            else:
                bounds_C3[j, 0] = max(bounds_C3[j, 0], lead)
                bounds_C3[j, 1] = min(bounds_C3[j, 1], lead)
                bounds_C3[j, 2] = max(bounds_C3[j, 2], score)
            kept_C[j] += 1
    for i in range(listed):
        j = listed_C[i]
        if kept_C[j] < variants:
            bounds_C3[j, 0] = max(bounds_C3[j, 0], others)
            bounds_C3[j, 1] = min(bounds_C3[j, 1], np.int32(-most_label))
            bounds_C3[j, 2] = max(bounds_C3[j, 2], others_top)
    return listed, int(others), int(others_top)
