"""The few scores of each prediction that decide nearly every two-model ensemble.

Dimensions: `V` variants, `N` examples, `C` classes, `K` kept rivals, `T` best classes of a row.

A *score* is an int32: a probability in units of 2**-30, at least 0, or a log-probability on a grid of its own,
in [-2**30, 0]. A *rival* is any class but the label. Among equal scores the lowest class wins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.probabilities import check_labels
from overlap_analysis.scores import GRID

NOTHING = -(2**31)
"""The score of no class; below every score."""
_SCANNED = 64  # classes whose maximum is compared with the last kept score at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contenders:
    """What is kept of every row of scores; blocks of examples or variants may be cut and joined freely.

    Attributes:
        label_VN: int32, score of the label.
        score_VNK: int32, scores of the best rivals, descending, ties by class; `NOTHING` where a slot is unused.
        class_VNK: int32, their classes; -1 where a slot is unused.
        rest_VN: int32, no rival that is not kept scores higher, one may equal it; `NOTHING` if all are kept.
            In a row that keeps none it is at most the label's score.
    """

    label_VN: NDArray[np.int32]
    score_VNK: NDArray[np.int32]
    class_VNK: NDArray[np.int32]
    rest_VN: NDArray[np.int32]

    def top_scores(self) -> NDArray[np.int32]:
        """(V, N) int32, the highest score of each row."""
        return np.maximum(self.label_VN, self.score_VNK[:, :, 0])

    def predictions(self, labels_N: NDArray[np.integer]) -> NDArray[np.int32]:
        """(V, N) int32, the class with the highest score, the lowest of equals."""
        best_VN, rival_VN = self.score_VNK[:, :, 0], self.class_VNK[:, :, 0]
        ties_VN = (self.label_VN == best_VN) & (labels_N < rival_VN)
        wins_VN = (self.label_VN > best_VN) | ties_VN
        return np.where(wins_VN, labels_N, rival_VN).astype(np.int32)


def contenders_of_grid(grid_VNC: NDArray[np.int32], labels_N: NDArray[np.integer], *, kept: int = 8) -> Contenders:
    """Keep the label's score and the best rivals of every row.

    Args:
        grid_VNC: scores, all in [0, 2**30] or all in [-2**30, 0]. Any memory layout.
        labels_N: true classes.
        kept: rivals to keep; fewer where there are fewer.

    Returns:
        `rest_VN` is the score of the best rival that is not kept.

    Raises:
        ValueError: the shapes, the type or the values do not fit, or no rival is to be kept.
    """
    if grid_VNC.ndim != 3 or grid_VNC.dtype != np.int32:
        raise ValueError(f"grid: expected (V, N, C) int32, got {grid_VNC.shape} {grid_VNC.dtype}")
    if kept < 1:
        raise ValueError(f"kept: expected at least one rival, got {kept}")
    variants, examples, classes = grid_VNC.shape
    classes_N = check_labels(labels_N, examples=examples, classes=classes)
    low, high = (grid_VNC.min(), grid_VNC.max()) if grid_VNC.size else (0, 0)
    if not (0 <= low <= high <= GRID or -GRID <= low <= high <= 0):
        raise ValueError(f"grid: expected values in [0, {GRID}] or in [{-GRID}, 0], got {low} to {high}")
    contenders = _empty(variants, examples, max(1, min(kept, classes - 1)))
    _keep_best(grid_VNC, classes_N, *_arrays(contenders))
    return contenders


def contenders_of_top(
    top_classes_VNT: NDArray[np.integer],
    top_scores_VNT: NDArray[np.int32],
    label_scores_VN: NDArray[np.int32],
    labels_N: NDArray[np.integer],
    *,
    classes: int,
) -> Contenders:
    """The contenders of rows of which only the best classes are known, and the label's score.

    Args:
        top_classes_VNT: the best classes of each row, ties by class, the label among them or not.
        top_scores_VNT: their scores, descending.
        label_scores_VN: scores of the labels.
        labels_N: true classes.
        classes: C, at least T.

    Returns:
        T slots, of which one stays unused where the label is among the best; `rest_VN` is the last known score.

    Raises:
        ValueError: the shapes or types do not fit, or a row is no such list.
    """
    shape = top_classes_VNT.shape
    fits = len(shape) == 3 and top_scores_VNT.shape == shape and label_scores_VN.shape == shape[:2]
    if not fits or not 1 <= shape[2] <= classes:
        raise ValueError(
            f"expected classes and scores (V, N, T) with T in [1, {classes}] and label scores (V, N), "
            f"got {shape}, {top_scores_VNT.shape} and {label_scores_VN.shape}"
        )
    if top_scores_VNT.dtype != np.int32 or label_scores_VN.dtype != np.int32:
        raise ValueError(f"scores: expected int32, got {top_scores_VNT.dtype} and {label_scores_VN.dtype}")
    classes_N = check_labels(labels_N, examples=shape[1], classes=classes)
    contenders = _empty(*shape)
    contenders.label_VN[:] = label_scores_VN
    bad = _keep_known(
        top_classes_VNT.astype(np.int32, copy=False), top_scores_VNT, classes, classes_N, *_arrays(contenders)
    )
    if bad >= 0:
        v, n = divmod(bad, shape[1])
        raise ValueError(
            f"top[{v}, {n}]: expected classes in [0, {classes}) in descending order of scores in "
            f"[{-GRID}, {GRID}], ties by class, that agree with the label's, got classes {top_classes_VNT[v, n]} with "
            f"{top_scores_VNT[v, n]}, label {labels_N[n]} with {label_scores_VN[v, n]}"
        )
    return contenders


def _empty(variants: int, examples: int, kept: int) -> Contenders:
    return Contenders(
        label_VN=np.empty((variants, examples), np.int32),
        score_VNK=np.full((variants, examples, kept), NOTHING, np.int32),
        class_VNK=np.full((variants, examples, kept), -1, np.int32),
        rest_VN=np.full((variants, examples), NOTHING, np.int32),
    )


def _arrays(
    contenders: Contenders,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    return contenders.label_VN, contenders.score_VNK, contenders.class_VNK, contenders.rest_VN


@compiled
def _keep_best(
    grid_VNC: NDArray[np.int32],
    labels_N: NDArray[np.int64],
    label_VN: NDArray[np.int32],
    score_VNK: NDArray[np.int32],
    class_VNK: NDArray[np.int32],
    rest_VN: NDArray[np.int32],
) -> None:
    variants, examples, _ = grid_VNC.shape
    kept = score_VNK.shape[2]
    score_K, class_K = np.empty(kept + 1, dtype=np.int32), np.empty(kept + 1, dtype=np.int32)  # and the best other
    for v in range(variants):
        for n in range(examples):
            score_K[:] = NOTHING
            class_K[:] = -1
            _best_rivals(grid_VNC[v, n], labels_N[n], score_K, class_K)
            label_VN[v, n] = grid_VNC[v, n, labels_N[n]]
            score_VNK[v, n], class_VNK[v, n], rest_VN[v, n] = score_K[:kept], class_K[:kept], score_K[kept]


@compiled
def _best_rivals(row_C: NDArray[np.int32], y: int, value_K: NDArray[np.int32], class_K: NDArray[np.int32]) -> None:
    """Fill the highest values of a row but the label's; the lists begin below every value."""
    last = len(value_K) - 1
    for start in range(0, len(row_C), _SCANNED):
        most = row_C[start]
        for value in row_C[start : start + _SCANNED]:
            most = max(most, value)
        if most > value_K[last]:
            for j in range(start, min(start + _SCANNED, len(row_C))):
                if row_C[j] > value_K[last] and j != y:
                    _insert(value_K, class_K, row_C[j], j)


@compiled
def _insert(score_K: NDArray[np.int32], class_K: NDArray[np.int32], score: int, label: int) -> None:
    """Put a class that beats the last one into its place, behind its equals."""
    k = len(score_K) - 1
    while k > 0 and score_K[k - 1] < score:
        score_K[k], class_K[k] = score_K[k - 1], class_K[k - 1]
        k -= 1
    score_K[k], class_K[k] = score, label


@compiled
def _keep_known(
    top_classes_VNT: NDArray[np.int32],
    top_scores_VNT: NDArray[np.int32],
    classes: int,
    labels_N: NDArray[np.int64],
    label_VN: NDArray[np.int32],
    score_VNK: NDArray[np.int32],
    class_VNK: NDArray[np.int32],
    rest_VN: NDArray[np.int32],
) -> int:
    """Fill the contenders but for the labels' scores; gives the flat index of the first bad row, -1 if all fit."""
    variants, examples, known = top_classes_VNT.shape
    for v in range(variants):
        for n in range(examples):
            row: int = v * examples + n
            class_T, score_T = top_classes_VNT[v, n], top_scores_VNT[v, n]
            score_K, class_K = score_VNK[v, n], class_VNK[v, n]
            y, own, rivals = labels_N[n], label_VN[v, n], 0
            if not -GRID <= own <= score_T[0] <= GRID or score_T[known - 1] < -GRID:
                return row
            for t in range(known):
                if not 0 <= class_T[t] < classes or (t > 0 and score_T[t] > score_T[t - 1]):
                    return row
                if class_T[t] != y:
                    _append(score_K, class_K, rivals, score_T[t], class_T[t])
                    rivals += 1
                elif score_T[t] != own:
                    return row
            if rivals == known and (own > score_T[known - 1] or (own == score_T[0] and y < class_K[0])):
                return row
            if rivals < classes - 1:
                rest_VN[v, n] = score_T[known - 1]
    return -1


@compiled
def _append(score_K: NDArray[np.int32], class_K: NDArray[np.int32], k: int, score: int, label: int) -> None:
    """Put a class behind the first k, but among its equals by class."""
    while k > 0 and score_K[k - 1] == score and class_K[k - 1] > label:
        score_K[k], class_K[k] = score_K[k - 1], class_K[k - 1]
        k -= 1
    score_K[k], class_K[k] = score, label
