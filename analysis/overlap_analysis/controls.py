"""Controls for pair metrics: what chance gives, pairs of like accuracy, contested examples, duplicates.

Dimensions: `V` variants, `N` examples, `P` pairs in the order of `pairs.pair_indices`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.pair_counts import PairCounts
from overlap_analysis.pair_metrics import PAIR_METRICS
from overlap_analysis.pairs import pair_indices
from overlap_analysis.resampling import quotient

_Values = NDArray[np.float64]
_ROUNDING = 1e-9


def chance_level(name: str, accuracy_a: _Values, accuracy_b: _Values, *, classes: int) -> _Values:
    """Value of a pair metric that two variants of these accuracies have if their errors are independent.

    Independent: the outcome of one says nothing about that of the other, as if every example were equally hard.
    Real variants find the same examples hard, so they lie above it in agreement and below it in error
    inconsistency. The agreements also assume that a wrong prediction is any of the other classes with equal
    probability, which makes their chance levels low: real mistakes go to look-alikes.

    Args:
        name: one of `CHANCE_METRICS`.
        accuracy_a: (P,) in [0, 1].
        accuracy_b: (P,) in [0, 1].
        classes: C of the dataset, at least 2.

    Returns:
        (P,) float64; NaN where the metric is undefined at these accuracies.

    Raises:
        ValueError: there is no such metric, or there are fewer than two classes.

    Source: Geirhos, Meding & Wichmann, NeurIPS 2020, for error inconsistency, 1 - their expected consistency.
    """
    if name not in _CHANCE:
        raise ValueError(f"name: expected one of {', '.join(_CHANCE)}, got {name!r}")
    if classes < 2:
        raise ValueError(f"classes: expected at least 2, got {classes}")
    accuracy_a, accuracy_b = np.asarray(accuracy_a, dtype=np.float64), np.asarray(accuracy_b, dtype=np.float64)
    return _CHANCE[name](accuracy_a, accuracy_b, 1 / (classes - 1))


def chance_excess(name: str, counts: PairCounts, *, classes: int) -> _Values:
    """A pair metric less its chance level at the accuracies of the two variants.

    Of error inconsistency it is negative for variants that fail on the same examples, and 0 for independent
    ones; -excess / chance is κ.

    Args:
        name: one of `CHANCE_METRICS`.
        counts: joint outcomes of P pairs.
        classes: C of the dataset, at least 2.

    Returns:
        (P,) float64; NaN where the metric or its chance level is undefined.

    Raises:
        ValueError: there is no such metric, or there are fewer than two classes.
    """
    accuracy_a = quotient(counts.both_correct + counts.only_a_correct, counts.examples)
    accuracy_b = quotient(counts.both_correct + counts.only_b_correct, counts.examples)
    chance_P = chance_level(name, accuracy_a, accuracy_b, classes=classes)
    return PAIR_METRICS[name](counts) - chance_P


def matched_pairs(accuracy_V: _Values, *, tolerance: float = 0.01) -> NDArray[np.bool_]:
    """Which pairs have about the same accuracy, so that no metric of theirs merely tells the accuracies apart.

    Give it to `category_means` as `among_P`.

    Args:
        accuracy_V: in [0, 1].
        tolerance: largest difference, itself included; 0.01 is one percentage point.

    Returns:
        (P,) bool.
    """
    a, b = pair_indices(len(accuracy_V))
    return np.abs(accuracy_V[a] - accuracy_V[b]) <= tolerance + _ROUNDING


def contested_mask(correct_VN: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which examples some variants get right and others wrong.

    On the trivial and the impossible ones all variants agree, which hides how much they differ elsewhere: count
    pairs on the contested ones, `count_pairs(predictions_VN[:, contested_N], labels_N[contested_N])`. Which ones
    they are depends on the set of variants, so compare only numbers of one and the same set.

    Returns:
        (N,) bool; all false for a single variant.

    Source: Meding et al., "Trivial or impossible - dichotomous data difficulty masks model differences", ICLR
        2022.
    """
    right_N = np.asarray(correct_VN, dtype=np.bool_).sum(axis=0)
    contested_N: NDArray[np.bool_] = (right_N > 0) & (right_N < len(correct_VN))
    return contested_N


def duplicate_pairs(counts: PairCounts) -> NDArray[np.bool_]:
    """Which pairs predict the same class on every example: the same weights twice, as a rule.

    They are a control, since their error inconsistency must be exactly 0, and no pair of distinct models: leave
    them out of category means. Pairs with an unknown prediction are never duplicates.

    Returns:
        (P,) bool; all false without examples.
    """
    duplicate_P: NDArray[np.bool_] = (counts.same_prediction == counts.examples) & (counts.examples > 0)
    return duplicate_P


def _nothing(accuracy_a: _Values, accuracy_b: _Values, _: float) -> _Values:
    return np.where(np.isnan(accuracy_a + accuracy_b), np.nan, 0.0)


def _either_wrong(a: _Values, b: _Values) -> _Values:
    return 1 - a * b


# Accuracies, and the probability that a wrong prediction is one given class, to the value under independence.
_CHANCE: Mapping[str, Callable[[_Values, _Values, float], _Values]] = MappingProxyType(
    {
        "error_inconsistency": lambda a, b, _: a * (1 - b) + b * (1 - a),
        "error_correlation": _nothing,
        "kappa": _nothing,
        "agreement": lambda a, b, same: a * b + (1 - a) * (1 - b) * same,
        "agreement_both_wrong": lambda a, b, same: np.where((a < 1) & (b < 1), same, np.nan),
        "agreement_either_wrong": lambda a, b, same: quotient((1 - a) * (1 - b) * same, _either_wrong(a, b)),
        "q_statistic": _nothing,
        "log_odds_ratio": _nothing,
        "double_fault": lambda a, b, _: (1 - a) * (1 - b),
        "oracle_accuracy": lambda a, b, _: 1 - (1 - a) * (1 - b),
        "dominance": lambda a, b, _: np.minimum(a, b) * (1 - np.maximum(a, b)),
        "error_jaccard": lambda a, b, _: quotient((1 - a) * (1 - b), _either_wrong(a, b)),
    }
)
CHANCE_METRICS = tuple(_CHANCE)
"""The pair metrics that have a chance level: all but κ_max, which the accuracies alone decide."""
