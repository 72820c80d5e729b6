"""Compiled loops over pairs and examples: a vector unit decides most of them, the lists of rivals nearly all others.

Dimensions: `V` variants, `N` examples, `K` kept rivals, `R` rows, `W` columns from `first` on, `B` blocks of `LENGTH`
examples, `X` the fields of a variant in a block, each `LENGTH` long, `U` undecided.

Scores in fields are moved into [-2**29, 2**29], so that no sum of two leaves int32. Examples that fill up the last
block are wrong for every variant and every pair.
"""

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled

LENGTH = 256
MEAN_FIELDS = 6
WINNER_FIELDS = 2

_LABEL, _BEST, _SECOND, _BEST_CLASS, _SECOND_CLASS, _CORRECT = (field * LENGTH for field in range(MEAN_FIELDS))
_LEAD, _TOP = (field * LENGTH for field in range(WINNER_FIELDS))
_HALF = 2**29
_TILE = 32  # columns whose fields stay in the cache while every row meets them
_SHIFT = 16
_MEMBER = 1 << _SHIFT  # a right member, counted in the upper half of an int32
_NOTHING = -(2**31)
_RIGHT, _WRONG, _UNKNOWN = 1, 0, -1

Scores = NDArray[np.int32]


@compiled
def pack_means(
    lists: tuple[Scores, Scores, Scores, Scores],
    correct_VN: NDArray[np.bool_],
    floor: int,
    fields_BVX: Scores,
    start: int,
    stop: int,
) -> None:
    """Fill the fields of variants [start, stop): label, bounds of the two best rivals, their classes, correct.

    Args:
        lists: label_VN, score_VNK, class_VNK and rest_VN of `Contenders`.
        correct_VN: whether a variant is right.
        floor: no score is lower.
        fields_BVX: the result.
        start: the first variant.
        stop: the one after the last.
    """
    label_VN, score_VNK, class_VNK, rest_VN = lists
    examples, kept = score_VNK.shape[1:]
    zero = floor + _HALF
    for v in range(start, stop):
        for block in range(len(fields_BVX)):
            field_X = fields_BVX[block, v]
            for i in range(LENGTH):
                n = block * LENGTH + i
                if n >= examples:
                    field_X[_LABEL + i], field_X[_BEST + i], field_X[_SECOND + i] = -_HALF, _HALF, _HALF
                    field_X[_BEST_CLASS + i], field_X[_SECOND_CLASS + i], field_X[_CORRECT + i] = 0, -2, 0
                    continue
                lowest = max(floor, rest_VN[v, n])
                second = score_VNK[v, n, 1] if kept > 1 else lowest
                second_class = class_VNK[v, n, 1] if kept > 1 else -1
                field_X[_LABEL + i] = label_VN[v, n] - zero
                field_X[_BEST + i] = max(lowest, score_VNK[v, n, 0]) - zero
                field_X[_SECOND + i] = max(lowest, second) - zero
                field_X[_BEST_CLASS + i] = class_VNK[v, n, 0]
                field_X[_SECOND_CLASS + i] = second_class if second_class >= 0 else -2  # no best class is -2
                field_X[_CORRECT + i] = _MEMBER if correct_VN[v, n] else 0


@compiled
def pack_winners(
    prediction_VN: Scores, top_VN: Scores, labels_N: NDArray[np.int64], fields_BVX: Scores, start: int, stop: int
) -> None:
    """Fill the fields of variants [start, stop): prediction less label, and what the members are compared by."""
    examples = len(labels_N)
    for v in range(start, stop):
        for block in range(len(fields_BVX)):
            field_X = fields_BVX[block, v]
            for i in range(LENGTH):
                n = block * LENGTH + i
                field_X[_LEAD + i] = prediction_VN[v, n] - labels_N[n] if n < examples else 1
                field_X[_TOP + i] = top_VN[v, n] if n < examples else 0


@compiled
def sum_means(
    fields_BVX: Scores,
    lists: tuple[Scores, Scores, Scores, Scores],
    labels_N: NDArray[np.int64],
    floor: int,
    rows_R: NDArray[np.int64],
    wanted_RW: NDArray[np.bool_],
    first: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Count how often the sum of two rows is right.

    Returns:
        (3, R, W): both members right; exactly one right and the sum right; none right and the sum right. And
        (U, 4): row variant, column variant, example, and how many members are right, of those undecided.
    """
    label_VN, score_VNK, class_VNK, rest_VN = lists
    sums_3RW = np.zeros((3, *wanted_RW.shape), dtype=np.int32)
    undecided_U4, found = np.empty((_TILE * LENGTH, 4), dtype=np.int32), 0
    open_U2 = np.empty((_TILE * LENGTH + 8, 2), dtype=np.int64)
    words, marked = np.empty(LENGTH // 8, dtype=np.uint64), np.empty(LENGTH // 8 + 1, dtype=np.int64)
    marks = words.view(np.uint8)
    for block in range(len(fields_BVX)):
        for tile in range(0, wanted_RW.shape[1], _TILE):
            for r in range(len(rows_R)):
                a_X = fields_BVX[block, rows_R[r]]
                opened = 0
                for w in range(tile, min(tile + _TILE, wanted_RW.shape[1])):
                    if wanted_RW[r, w]:
                        right, right_members, both = _decide_means(a_X, fields_BVX[block, first + w], marks)
                        sums_3RW[0, r, w] += both
                        sums_3RW[1, r, w] += right_members - 2 * both
                        sums_3RW[2, r, w] += right - (right_members - 2 * both) - both
                        opened = _collect(words, marks, marked, w, open_U2, opened)
                if found + opened > len(undecided_U4):
                    undecided_U4 = _grown(undecided_U4)
                for u in range(opened):
                    w, i = open_U2[u, 0], open_U2[u, 1]
                    a, b, n = rows_R[r], first + w, block * LENGTH + i
                    members = (a_X[_CORRECT + i] + fields_BVX[block, b, _CORRECT + i]) >> _SHIFT
                    verdict = _decide_by_lists(score_VNK, class_VNK, rest_VN, a, b, n, label_VN, labels_N[n], floor)
                    sums_3RW[2 - members, r, w] += verdict == _RIGHT
                    undecided_U4[found, 0], undecided_U4[found, 1] = a, b
                    undecided_U4[found, 2], undecided_U4[found, 3] = n, members
                    found += verdict == _UNKNOWN
    return sums_3RW, undecided_U4[:found].copy()


@compiled
def sum_winners(
    fields_BVX: Scores, rows_R: NDArray[np.int64], wanted_RW: NDArray[np.bool_], first: int
) -> NDArray[np.int32]:
    """Count how often the member with the higher top is right, among equals the one that predicts the lower class.

    Returns:
        (3, R, W) as `sum_means`; the last is 0.
    """
    sums_3RW = np.zeros((3, *wanted_RW.shape), dtype=np.int32)
    for block in range(len(fields_BVX)):
        for tile in range(0, wanted_RW.shape[1], _TILE):
            for r in range(len(rows_R)):
                a_X = fields_BVX[block, rows_R[r]]
                for w in range(tile, min(tile + _TILE, wanted_RW.shape[1])):
                    if wanted_RW[r, w]:
                        right, both = _decide_winners(a_X, fields_BVX[block, first + w])
                        sums_3RW[0, r, w] += both
                        sums_3RW[1, r, w] += right - both
    return sums_3RW


@compiled
def _decide_means(a_X: Scores, b_X: Scores, marks: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Ensembles known to be right, the right members in them, both right; `marks` what is not decided.

    The label wins above a bound of all rivals and loses below the sum of one. With two best rivals, no other class
    reaches more than the best of one member and the second of the other.
    """
    total, both = np.int32(0), np.int32(0)
    for n in range(LENGTH):
        label = np.int32(a_X[_LABEL + n] + b_X[_LABEL + n])
        a_best, b_best = a_X[_BEST + n], b_X[_BEST + n]
        a_class, b_class = a_X[_BEST_CLASS + n], b_X[_BEST_CLASS + n]
        a_cross = np.int32(a_best + b_X[_SECOND + n])
        b_cross = np.int32(b_best + a_X[_SECOND + n])
        straight = np.int32(a_best + b_best)
        same = a_class == b_class
        a_correct, b_correct = a_X[_CORRECT + n], b_X[_CORRECT + n]
        bound = straight if same else max(a_cross, b_cross)
        right = (label > bound) | ((a_correct & b_correct) != 0)
        wrong = (
            (same & (label < straight))
            | ((a_class == b_X[_SECOND_CLASS + n]) & (label < a_cross))
            | ((b_class == a_X[_SECOND_CLASS + n]) & (label < b_cross))
            | (np.int32(label + _HALF) < max(a_best, b_best))
        )
        total = np.int32(total + (1 + a_correct + b_correct if right else 0))
        both = np.int32(both + (a_correct & b_correct))
        marks[n] = np.uint8(0) if right | wrong else np.uint8(1)
    return int(total & (_MEMBER - 1)), int(total >> _SHIFT), int(both >> _SHIFT)


@compiled
def _collect(
    words: NDArray[np.uint64],
    marks: NDArray[np.uint8],
    marked: NDArray[np.int64],
    w: int,
    open_U2: NDArray[np.int64],
    opened: int,
) -> int:
    """Append the marked places of a column, without a branch that a processor could mistake; gives their number."""
    count = 0
    for word in range(len(words)):
        marked[count] = word
        count += words[word] != 0
    for k in range(count):
        for i in range(8 * marked[k], 8 * marked[k] + 8):
            open_U2[opened, 0], open_U2[opened, 1] = w, i
            opened += marks[i]
    return opened


@compiled
def _decide_by_lists(
    score_VNK: Scores,
    class_VNK: Scores,
    rest_VN: Scores,
    a: int,
    b: int,
    n: int,
    label_VN: Scores,
    y: int,
    floor: int,
) -> int:
    """Whether the sum is right, from the kept rivals of both members.

    Fagin's threshold algorithm: both lists descend, so a walk down both of them at once ends where no class further
    down reaches the label. What a list does not keep scores from `floor` to its rest. Written without calls: they
    would cost more than what they do.
    """
    label, kept = np.int64(label_VN[a, n]) + label_VN[b, n], score_VNK.shape[2]
    a_rest, b_rest = np.int64(rest_VN[a, n]), np.int64(rest_VN[b, n])
    lowest = np.int64(floor)
    least = np.int64(2 * _NOTHING)  # that a rival reaches, plus 1 where it wins a tie with the label
    most = a_rest + b_rest + (y > 0) if min(a_rest, b_rest) >= floor else least
    for k in range(kept):
        a_class, b_class = class_VNK[a, n, k], class_VNK[b, n, k]
        a_score, b_score = np.int64(score_VNK[a, n, k]), np.int64(score_VNK[b, n, k])
        if (max(a_score, a_rest) + max(b_score, b_rest) < label) | (least > label):
            break
        a_known, b_known = np.int32(_NOTHING), np.int32(_NOTHING)
        for j in range(kept):
            a_other, b_other = score_VNK[a, n, j], score_VNK[b, n, j]
            a_known = max(a_known, b_other if class_VNK[b, n, j] == a_class else np.int32(_NOTHING))
            b_known = max(b_known, a_other if class_VNK[a, n, j] == b_class else np.int32(_NOTHING))
        a_found, b_found = np.int64(a_known), np.int64(b_known)
        if a_class >= 0:
            least = max(least, a_score + max(a_found, lowest) + (a_class < y))
            most = max(most, a_score + (a_found if a_found >= floor else b_rest) + (a_class < y))
        if b_class >= 0:
            least = max(least, b_score + max(b_found, lowest) + (b_class < y))
            most = max(most, b_score + (b_found if b_found >= floor else a_rest) + (b_class < y))
    unsure = _UNKNOWN if most > label else _RIGHT
    return _WRONG if least > label else unsure


@compiled
def _decide_winners(a_X: Scores, b_X: Scores) -> tuple[int, int]:
    right, both = np.int32(0), np.int32(0)
    for n in range(LENGTH):
        a_lead, b_lead = a_X[_LEAD + n], b_X[_LEAD + n]
        a_top, b_top = a_X[_TOP + n], b_X[_TOP + n]
        sure = a_lead if a_top > b_top else b_lead
        lead = min(a_lead, b_lead) if a_top == b_top else sure
        right = np.int32(right + (lead == 0))
        both = np.int32(both + ((a_lead | b_lead) == 0))
    return int(right), int(both)


@compiled
def _grown(undecided_U4: NDArray[np.int32]) -> NDArray[np.int32]:
    grown_U4 = np.empty((2 * len(undecided_U4), 4), dtype=np.int32)
    grown_U4[: len(undecided_U4)] = undecided_U4
    return grown_U4
