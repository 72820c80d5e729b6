"""How often every two-model ensemble is right, from contenders; what they leave undecided, dense rows decide.

Dimensions: `V` variants, `N` examples, `R` rows (first members), `W` columns (the variants from `first` on),
`U` undecided pairs and examples, `C` classes.

The ensemble of two members takes, by each rule, the lowest class among equals:

- mean_probability: the highest sum of probabilities.
- mean_logit: the highest sum of log-probabilities.
- vote: the class both predict; two different votes are equal.
- max_confidence: the prediction of the member whose top score is higher; equally confident members are equal.

Whatever the rule, an ensemble of two right members is right.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.contenders import Contenders
from overlap_analysis.ensemble_kernels import (
    LENGTH,
    MEAN_FIELDS,
    WINNER_FIELDS,
    pack_means,
    pack_winners,
    sum_means,
    sum_winners,
)
from overlap_analysis.probabilities import check_labels
from overlap_analysis.scores import GRID

Rule = Literal["mean_probability", "mean_logit", "vote", "max_confidence"]
RULES: tuple[Rule, ...] = get_args(Rule)
_PARTS = 16  # of the rows, whatever the number of threads that take them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnsembleSums:
    """How often ensembles of a row and a column are right; sums of disjoint blocks of examples add up.

    A pair whose members are both rows and columns is counted once, in the row of the first; the other places, and
    a variant with itself, are 0.

    Attributes:
        rows_R: int64, variants.
        first: the first column's variant.
        examples: number of examples.
        undecided: pairs and examples of them that are still to be settled, and count as wrong until then.
        correct_V: int64, examples each variant is right on alone.
        both_right_RW: int32, both members are right, and so is the ensemble.
        right_of_one_RW: int32, exactly one member is right and the ensemble is.
        right_of_none_RW: int32, no member is right but the ensemble is.
    """

    rows_R: NDArray[np.int64]
    first: int
    examples: int
    undecided: int
    correct_V: NDArray[np.int64]
    both_right_RW: NDArray[np.int32]
    right_of_one_RW: NDArray[np.int32]
    right_of_none_RW: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Undecided:
    """Pairs and examples that need dense rows, in an order that does not depend on the threads.

    Attributes:
        a: (U,) int32, the row's variant.
        b: (U,) int32, the column's variant.
        n: (U,) int32, the example.
        one_right: (U,) bool, exactly one of the members is right; none otherwise.
    """

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    n: NDArray[np.int32]
    one_right: NDArray[np.bool_]


def sum_ensembles(
    contenders: Contenders,
    labels_N: NDArray[np.integer],
    rule: Rule = "mean_probability",
    *,
    rows_R: NDArray[np.integer] | None = None,
    first: int = 0,
    threads: int = 1,
) -> tuple[EnsembleSums, Undecided]:
    """Count how often the ensembles of some rows with the columns from `first` on are right.

    Args:
        contenders: of probabilities; of log-probabilities for the rule mean_logit.
        labels_N: true classes, those that the contenders were made with.
        rule: how two members are combined.
        rows_R: variants in any order, each once; all by default.
        first: the first variant that is a column.
        threads: that share the rows; the result does not depend on it.

    Returns:
        Sums, and what is missing in them: none for the rules vote and max_confidence, none if all rivals are kept.

    Raises:
        ValueError: an argument does not fit the contenders, or their scores do not fit the rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule: expected one of {', '.join(RULES)}, got {rule!r}")
    classes_N = _check_contenders(contenders, labels_N, rule)
    variants, examples = contenders.label_VN.shape
    rows_R = _check_rows(rows_R, first, variants)
    wanted_RW = _wanted(rows_R, first, variants)
    prediction_VN = contenders.predictions(classes_N)
    correct_VN = prediction_VN == classes_N
    with ThreadPoolExecutor(threads) as pool:
        if rule in ("vote", "max_confidence"):
            top_VN = np.zeros_like(prediction_VN) if rule == "vote" else contenders.top_scores()
            count = _winners(pool, threads, prediction_VN, top_VN, classes_N)
        else:
            count = _means(pool, threads, contenders, correct_VN, classes_N, _floor(rule))
        parts = [slice(part, None, _PARTS) for part in range(_PARTS)]
        counted = list(pool.map(lambda part: count(rows_R[part], wanted_RW[part], first), parts))
    sums_3RW = np.empty((3, *wanted_RW.shape), np.int32)
    for part, (some_3RW, _) in zip(parts, counted, strict=True):
        sums_3RW[:, part] = some_3RW
    undecided_U4 = np.concatenate([undecided for _, undecided in counted])
    sums = EnsembleSums(
        rows_R=rows_R,
        first=first,
        examples=examples,
        undecided=len(undecided_U4),
        correct_V=np.count_nonzero(correct_VN, axis=1),
        both_right_RW=sums_3RW[0],
        right_of_one_RW=sums_3RW[1],
        right_of_none_RW=sums_3RW[2],
    )
    a, b, n, one_right = np.ascontiguousarray(undecided_U4.T)
    return sums, Undecided(a=a, b=b, n=n, one_right=one_right == 1)


def mean_is_right(
    rows_a_UC: NDArray[np.int32], rows_b_UC: NDArray[np.int32], labels_U: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """(U,) whether the label has the highest sum of two rows of scores, the lowest class among equals."""
    classes_U = check_labels(labels_U, examples=len(rows_a_UC), classes=rows_a_UC.shape[1])
    return _mean_is_right(rows_a_UC, rows_b_UC, classes_U)


def settle(sums: EnsembleSums, undecided: Undecided, right_U: NDArray[np.bool_]) -> EnsembleSums:
    """Add what dense rows decided.

    Args:
        sums: as counted together with `undecided`, or merged.
        undecided: all or some of those that `sums` lacks, each settled once.
        right_U: whether their ensembles are right.

    Raises:
        ValueError: there are more of them than `sums` lacks, or not as many decisions.
    """
    if len(right_U) != len(undecided.a) or len(right_U) > sums.undecided:
        raise ValueError(
            f"expected one decision for each of at most {sums.undecided} undecided, got {len(right_U)} decisions "
            f"for {len(undecided.a)}"
        )
    place_V = np.zeros(len(sums.correct_V), np.int64)
    place_V[sums.rows_R] = np.arange(len(sums.rows_R))
    one_RW, none_RW = sums.right_of_one_RW.copy(), sums.right_of_none_RW.copy()
    place = (place_V[undecided.a], undecided.b - sums.first)
    np.add.at(one_RW, place, right_U & undecided.one_right)
    np.add.at(none_RW, place, right_U & ~undecided.one_right)
    return replace(sums, undecided=sums.undecided - len(right_U), right_of_one_RW=one_RW, right_of_none_RW=none_RW)


def merge_sums(parts: Sequence[EnsembleSums]) -> EnsembleSums:
    """Sums over the union of disjoint blocks of examples, of the same rows and columns.

    Raises:
        ValueError: there is no part, or the parts hold different rows or columns.
    """
    if not parts:
        raise ValueError("parts: expected at least one block of sums, got none")
    start = parts[0]
    for index, part in enumerate(parts):
        same = part.first == start.first and len(part.correct_V) == len(start.correct_V)
        if not (same and np.array_equal(part.rows_R, start.rows_R)):
            raise ValueError(f"parts[{index}]: expected the rows and columns of parts[0], got others")
    names = ("examples", "undecided", "correct_V", "both_right_RW", "right_of_one_RW", "right_of_none_RW")
    return replace(start, **{name: sum(getattr(part, name) for part in parts) for name in names})


def counted_places(sums: EnsembleSums) -> NDArray[np.bool_]:
    """(R, W) where sums hold a pair; each of their pairs once."""
    return _wanted(sums.rows_R, sums.first, len(sums.correct_V))


def _wanted(rows_R: NDArray[np.int64], first: int, variants: int) -> NDArray[np.bool_]:
    """Every column above the row, and those below it that are no rows themselves."""
    columns_W = np.arange(first, variants)
    return (columns_W > rows_R[:, None]) | (~np.isin(columns_W, rows_R) & (columns_W < rows_R[:, None]))


def _floor(rule: Rule) -> int:
    """No score of the rule's grid is lower, and none is higher by more than 2**30."""
    return -GRID if rule == "mean_logit" else 0


def _check_contenders(contenders: Contenders, labels_N: NDArray[np.integer], rule: Rule) -> NDArray[np.int64]:
    rival_VN, top_VN = contenders.class_VNK[:, :, 0], contenders.top_scores()
    classes_N = check_labels(labels_N, examples=rival_VN.shape[1], classes=2**31)
    if np.any(rival_VN == classes_N):
        raise ValueError("labels: expected those that the contenders were made with, got one that is a rival")
    if rule in ("mean_probability", "mean_logit") and rival_VN.size:
        low, high = contenders.label_VN.min(), top_VN.max()
        floor = _floor(rule)
        if not floor <= low <= high <= floor + GRID:
            raise ValueError(f"{rule}: expected scores in [{floor}, {floor + GRID}], got {low} to {high}")
    return classes_N


def _check_rows(rows_R: NDArray[np.integer] | None, first: int, variants: int) -> NDArray[np.int64]:
    if not 0 <= first <= variants:
        raise ValueError(f"first: expected a variant in [0, {variants}], got {first}")
    rows = np.arange(variants) if rows_R is None else np.asarray(rows_R, dtype=np.int64)
    bad = rows[(rows < 0) | (rows >= variants)]
    if len(bad) or len(np.unique(rows)) < len(rows):
        raise ValueError(f"rows: expected variants in [0, {variants}), each once, got {bad[0] if len(bad) else rows}")
    return rows


Count = Callable[[NDArray[np.int64], NDArray[np.bool_], int], tuple[NDArray[np.int32], NDArray[np.int32]]]


def _means(
    pool: ThreadPoolExecutor,
    threads: int,
    contenders: Contenders,
    correct_VN: NDArray[np.bool_],
    classes_N: NDArray[np.int64],
    floor: int,
) -> Count:
    """The count of some rows by the mean of two members."""
    lists = (contenders.label_VN, contenders.score_VNK, contenders.class_VNK, contenders.rest_VN)
    fields_BVX = _empty_fields(correct_VN.shape, MEAN_FIELDS)
    _share(pool, threads, len(correct_VN), lambda *part: pack_means(lists, correct_VN, floor, fields_BVX, *part))
    return lambda rows_R, wanted_RW, first: sum_means(
        fields_BVX, lists, classes_N, floor, np.ascontiguousarray(rows_R), np.ascontiguousarray(wanted_RW), first
    )


def _winners(
    pool: ThreadPoolExecutor,
    threads: int,
    prediction_VN: NDArray[np.int32],
    top_VN: NDArray[np.int32],
    classes_N: NDArray[np.int64],
) -> Count:
    """The count of some rows by the member with the higher top."""
    fields_BVX = _empty_fields(prediction_VN.shape, WINNER_FIELDS)
    _share(pool, threads, len(top_VN), lambda *part: pack_winners(prediction_VN, top_VN, classes_N, fields_BVX, *part))
    none = np.empty((0, 4), np.int32)
    return lambda rows_R, wanted_RW, first: (
        sum_winners(fields_BVX, np.ascontiguousarray(rows_R), np.ascontiguousarray(wanted_RW), first),
        none,
    )


def _empty_fields(shape: tuple[int, ...], fields: int) -> NDArray[np.int32]:
    variants, examples = shape
    return np.empty((-(-examples // LENGTH), variants, fields * LENGTH), np.int32)


def _share(pool: ThreadPoolExecutor, threads: int, variants: int, work: Callable[[int, int], None]) -> None:
    """Call `work` with the bounds of each thread's variants."""
    bounds = [variants * thread // threads for thread in range(threads + 1)]
    list(pool.map(work, bounds[:-1], bounds[1:]))


@compiled
def _mean_is_right(
    rows_a_UC: NDArray[np.int32], rows_b_UC: NDArray[np.int32], labels_U: NDArray[np.int64]
) -> NDArray[np.bool_]:
    right_U = np.ones(len(labels_U), dtype=np.bool_)
    for u in range(len(labels_U)):
        y = labels_U[u]
        label = np.int64(rows_a_UC[u, y]) + rows_b_UC[u, y]
        for j in range(rows_a_UC.shape[1]):
            if np.int64(rows_a_UC[u, j]) + rows_b_UC[u, j] + (j < y) > label:
                right_U[u] = False
                break
    return right_U
