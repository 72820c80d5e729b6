"""What kept rivals leave open about two-model ensembles, decided by the scores of a few more classes.

Dimensions: `V` variants, `N` examples, `C` classes, `K` kept rivals, `U` undecided pairs and examples, `L` scores
that are looked up.

A class that one member keeps and the other does not is looked up in the other, if that could let it win. Only where
a class that neither keeps could win are all classes compared.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled
from overlap_analysis.contenders import NOTHING, Contenders
from overlap_analysis.ensemble_sums import Undecided, mean_is_right
from overlap_analysis.member_scores import MemberScores

_AT_ONCE = 2**20  # undecided whose lookups are held at once
_DENSE_BYTES = 256 * 2**20


def decide(
    undecided: Undecided,
    contenders: Contenders,
    labels_N: NDArray[np.integer],
    scores: MemberScores,
    *,
    threads: int = 1,
) -> NDArray[np.bool_]:
    """(U,) whether the ensembles are right.

    Args:
        undecided: as `sum_ensembles` left them.
        contenders: it was given.
        labels_N: true classes.
        scores: of the same grid, for any class of any of these examples.
        threads: that ask for scores, each of another variant.
    """
    right_U = np.ones(len(undecided.n), np.bool_)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(right_U), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            members = (undecided.a[some], undecided.b[some], undecided.n[some])
            right_U[some] = _decide_some(members, contenders, labels_N.astype(np.int64), scores, pool)
    return right_U


_Members = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


def _decide_some(
    members: _Members,
    contenders: Contenders,
    labels_N: NDArray[np.int64],
    scores: MemberScores,
    pool: ThreadPoolExecutor,
) -> NDArray[np.bool_]:
    lists = (contenders.label_VN, contenders.score_VNK, contenders.class_VNK, contenders.rest_VN)
    whole_U = np.zeros(len(members[2]), np.bool_)
    lookups_L5 = _lookups(members, lists, labels_N, whole_U)
    right_U = np.ones(len(whole_U), np.bool_)
    lookups_L5 = lookups_L5[np.argsort(lookups_L5[:, 0], kind="stable")]

    def beaten(start: int, stop: int) -> NDArray[np.int64]:
        variant, n, j, limit, u = lookups_L5[start:stop].T
        lost_U: NDArray[np.int64] = u[scores.at(int(variant[0]), n, j) > limit]
        return lost_U

    edges = _edges(lookups_L5[:, 0])
    for lost_U in pool.map(beaten, edges[:-1], edges[1:]):
        right_U[lost_U] = False
    open_U = np.flatnonzero(whole_U & right_U)
    if len(open_U):
        a, b, n = (member[open_U].astype(np.int64) for member in members)
        right_U[open_U] = _compare_all(a, b, n, labels_N, scores, pool)
    return right_U


def _compare_all(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    n: NDArray[np.int64],
    labels_N: NDArray[np.int64],
    scores: MemberScores,
    pool: ThreadPoolExecutor,
) -> NDArray[np.bool_]:
    """Whether ensembles are right, by all classes; each row of scores is asked for once, some examples at a time."""
    right_U = np.empty(len(n), np.bool_)
    classes = scores.rows(int(a[0]), n[:1]).shape[1]
    order_U = np.argsort(n, kind="stable")
    held = max(1, _DENSE_BYTES // (8 * classes))
    for start in range(0, len(order_U), held):
        some = order_U[start : start + held]
        keys = np.concatenate([a[some], b[some]]) * len(labels_N) + np.tile(n[some], 2)
        needed, places = np.unique(keys, return_inverse=True)
        variants, examples = np.divmod(needed, len(labels_N))
        edges = _edges(variants)
        asked = [(int(variants[first]), examples[first:stop]) for first, stop in pairwise(edges)]
        rows = np.concatenate(list(pool.map(lambda one: scores.rows(*one), asked)))
        right_U[some] = mean_is_right(rows[places[: len(some)]], rows[places[len(some) :]], labels_N[n[some]])
    return right_U


def _edges(sorted_values: NDArray[np.int64]) -> list[int]:
    """Where each run of equal values begins, and the end."""
    if not len(sorted_values):
        return [0]
    return [0, *(np.flatnonzero(np.diff(sorted_values)) + 1).tolist(), len(sorted_values)]


@compiled
def _lookups(
    members: _Members,
    lists: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
    labels_N: NDArray[np.int64],
    whole_U: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """(L, 5) variant, example, class, the score above which the class wins, and the undecided that it decides.

    Marks those that a class may win which neither member keeps.
    """
    a_U, b_U, n_U = members
    label_VN, score_VNK, class_VNK, rest_VN = lists
    kept = class_VNK.shape[2]
    found_L5, found = np.empty((1024, 5), dtype=np.int64), 0
    for u in range(len(n_U)):
        n = np.int64(n_U[u])
        y = labels_N[n]
        label = np.int64(label_VN[a_U[u], n]) + label_VN[b_U[u], n]
        rest_a, rest_b = np.int64(rest_VN[a_U[u], n]), np.int64(rest_VN[b_U[u], n])
        whole_U[u] = rest_a != NOTHING and rest_b != NOTHING and rest_a + rest_b + 1 > label
        if found + 2 * kept > len(found_L5):
            grown_L5 = np.empty((2 * len(found_L5) + 2 * kept, 5), dtype=np.int64)
            grown_L5[:found] = found_L5[:found]
            found_L5 = grown_L5
        for side in range(2):
            v, other = (a_U[u], b_U[u]) if side == 0 else (b_U[u], a_U[u])
            rest = rest_b if side == 0 else rest_a
            for k in range(kept):
                j = class_VNK[v, n, k]
                if j < 0:
                    break
                limit = label - score_VNK[v, n, k] - (j < y)
                if rest != NOTHING and rest > limit and not _keeps(class_VNK[other, n], j):
                    found_L5[found, 0], found_L5[found, 1], found_L5[found, 2] = other, n, j
                    found_L5[found, 3], found_L5[found, 4] = limit, u
                    found += 1
    return found_L5[:found]


@compiled
def _keeps(class_K: NDArray[np.int32], j: int) -> bool:
    for kept in class_K:  # noqa: SIM110 - compiled
        if kept == j:
            return True
    return False
