"""On which classes one of two variants is better: class by class, by groups of classes, by groups found in the data.

Dimensions: `V` variants, `N` examples, `C` classes, `P` pairs, `G` groups of classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from scipy.special import bdtr, fdtrc
from scipy.stats import false_discovery_control
from sklearn.metrics import silhouette_score

FEWEST_CLASSES = 6
"""Below it no groups of classes are looked for."""

_MOST_GROUPS = 8


def sign_test(only_a: NDArray[np.integer], only_b: NDArray[np.integer]) -> NDArray[np.float64]:
    """Two-sided p-values of McNemar's exact test: are the examples that one alone gets right split evenly?

    Args:
        only_a: counts of examples that only the first variant gets right, any shape.
        only_b: of the same shape, that only the second does.

    Returns:
        p-values in (0, 1], 1 where there is no such example.

    Source: McNemar, Psychometrika 12 (1947), with binomial probabilities.

    >>> sign_test(np.array([0, 5, 8]), np.array([0, 5, 1])).round(4).tolist()
    [1.0, 1.0, 0.0391]
    """
    fewer, both = np.minimum(only_a, only_b), only_a + only_b
    return np.minimum(2 * bdtr(fewer.astype(np.float64), both.astype(np.int64), 0.5), 1.0)


def false_discovery(p_values_PC: NDArray[np.float64]) -> NDArray[np.float64]:
    """q-values over the classes of each pair: the share of false discoveries if all classes up to this one count.

    Source: Benjamini & Hochberg, Journal of the Royal Statistical Society B 57 (1995).
    """
    if not p_values_PC.size:
        return p_values_PC
    q_values_PC: NDArray[np.float64] = false_discovery_control(p_values_PC, axis=-1)
    return q_values_PC


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupEffect:
    """How much of what two variants differ by, class by class, goes with groups of classes; (P,) each.

    Attributes:
        eta_squared: share of the variance over classes that lies between the groups, in [0, 1]; NaN if the classes
            do not differ.
        p_value: of the F test that it is chance, classes as units; NaN with fewer than two groups or without a
            class to spare.
    """

    eta_squared: NDArray[np.float64]
    p_value: NDArray[np.float64]


def group_effect(difference_PC: NDArray[np.float64], group_C: NDArray[np.integer]) -> GroupEffect:
    """One-way analysis of variance of the classes' differences.

    Args:
        difference_PC: accuracy of the first variant less that of the second on each class; NaN without examples.
        group_C: group of each class, -1 for none; such classes, and those without examples, are left out.

    Source: Fisher, "Statistical Methods for Research Workers" (1925). Classes weigh the same, whatever their size.
    """
    chosen_C = (group_C >= 0) & np.isfinite(difference_PC).all(axis=0)
    values_PC, codes_C = difference_PC[:, chosen_C], group_C[chosen_C]
    names, codes_C, sizes_G = np.unique(codes_C, return_inverse=True, return_counts=True)
    member_CG = np.equal(codes_C[:, np.newaxis], np.arange(len(names)))
    pairs, classes, groups = len(values_PC), len(codes_C), len(names)
    eta_P, p_P = np.full(pairs, np.nan), np.full(pairs, np.nan)
    if groups == 0:
        return GroupEffect(eta_squared=eta_P, p_value=p_P)
    mean_P = values_PC.mean(axis=1, keepdims=True)
    mean_PG = values_PC @ member_CG / sizes_G
    between_P = ((mean_PG - mean_P) ** 2 * sizes_G).sum(axis=1)
    total_P = ((values_PC - mean_P) ** 2).sum(axis=1)
    np.divide(between_P, total_P, out=eta_P, where=total_P > 0)
    eta_P = np.minimum(eta_P, 1.0)
    if groups > 1 and classes > groups:
        with np.errstate(divide="ignore"):
            f_P = eta_P / (groups - 1) / ((1 - eta_P) / (classes - groups))
        p_P = np.where(np.isnan(eta_P), np.nan, fdtrc(groups - 1, classes - groups, f_P))
    return GroupEffect(eta_squared=eta_P, p_value=p_P)


def class_accuracies(correct_VN: NDArray[np.bool_], labels_N: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """(V, C) share of each class's examples that a variant gets right, NaN without examples."""
    sizes_C = np.bincount(labels_N, minlength=classes)
    right_VC = np.array([np.bincount(labels_N[row], minlength=classes) for row in correct_VN])
    accuracy_VC = np.full(right_VC.shape, np.nan)
    np.divide(right_VC, sizes_C, out=accuracy_VC, where=sizes_C > 0)
    return accuracy_VC


def find_class_groups(accuracy_VC: NDArray[np.float64]) -> NDArray[np.int64]:
    """Groups of classes on which the same variants are better than elsewhere.

    What a variant and a class have by themselves is taken out (double centering); what is left are the profiles that
    Ward's clustering groups. The number of groups, from 2 to 8, is the one with the highest mean silhouette. The
    groups fit the examples they were found in: judge them on others.

    Returns:
        (C,) group of each class, the one of the first class first; all -1 with fewer than `FEWEST_CLASSES` classes or
        two variants, -1 for a class without examples.

    Source: Ward, JASA 58 (1963); Rousseeuw, Journal of Computational and Applied Mathematics 20 (1987).
    """
    known_C = np.isfinite(accuracy_VC).all(axis=0)
    group_C = np.full(accuracy_VC.shape[1], -1, np.int64)
    if np.count_nonzero(known_C) < FEWEST_CLASSES or len(accuracy_VC) < 2:
        return group_C
    profile_VC = accuracy_VC[:, known_C]
    profile_VC = profile_VC - profile_VC.mean(axis=0) - profile_VC.mean(axis=1, keepdims=True) + profile_VC.mean()
    distances = pdist(profile_VC.T)
    tree, distance_CC = linkage(profile_VC.T, "ward"), squareform(distances)
    most = min(_MOST_GROUPS, len(distance_CC) // 3)
    found = [fcluster(tree, count, "maxclust") for count in range(2, most + 1)]
    found = [codes_C for codes_C in found if len(np.unique(codes_C)) > 1]
    if not found:  # every class has the same profile
        return group_C
    best_C = max(found, key=lambda codes_C: silhouette_score(distance_CC, codes_C, metric="precomputed"))
    _, first, codes_C = np.unique(best_C, return_index=True, return_inverse=True)
    group_C[known_C] = np.argsort(np.argsort(first))[codes_C]
    return group_C
