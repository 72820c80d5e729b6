"""Every pair metric, from joint outcome counts.

Dimensions: `P` pairs. Each metric is float64 (P,), symmetric in the two variants of a pair, and NaN where it
is undefined. `pair_intervals` gives their intervals.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overlap_analysis.pair_counts import PairCounts

PairMetric = Callable[[PairCounts], NDArray[np.float64]]


def error_inconsistency(counts: PairCounts) -> NDArray[np.float64]:
    """Share of examples on which exactly one of the two variants is right.

    Args:
        counts: joint outcomes of P pairs over the same N examples.

    Returns:
        (P,) float64 in [|a1 - a2|, min(a1 + a2, 2 - a1 - a2)], a1 and a2 the accuracies.

    Source: Gontijo-Lopes et al., ICLR 2022, section 3; the disagreement measure of Kuncheva & Whitaker,
        Machine Learning 51 (2003). Not chance-corrected: see `kappa`.
    """
    return _ratio(counts.only_a_correct + counts.only_b_correct, counts.examples)


def error_correlation(counts: PairCounts) -> NDArray[np.float64]:
    """Pearson correlation (φ) of the two variants' errors.

    Returns:
        (P,) float64 in [-1, 1]; NaN where a variant is always right or always wrong.

    Source: Kuncheva & Whitaker, Machine Learning 51 (2003).
    """
    right_a, right_b = _correct(counts)
    variance_a = (right_a * (counts.examples - right_a)).astype(np.float64)
    variance_b = (right_b * (counts.examples - right_b)).astype(np.float64)
    # One root of the product, not two roots: it makes the φ of equal variants exactly 1.
    return _ratio(_determinant(counts), np.sqrt(variance_a * variance_b))


def kappa(counts: PairCounts) -> NDArray[np.float64]:
    """Error consistency: agreement on which examples are right, beyond what the accuracies imply.

    Cohen's κ of the right/wrong table: 1 - error inconsistency / its value for independent errors.

    Returns:
        (P,) float64 in [-1, 1]; NaN where both variants are always right, or both always wrong. (The code of
        Geirhos et al. says 1 there, which Klein et al., NeurIPS 2025, call a bug.)

    Source: Geirhos, Meding & Wichmann, NeurIPS 2020.
    """
    differ = counts.only_a_correct + counts.only_b_correct
    return 1 - _ratio(differ * counts.examples, _independent_differences(counts))


def kappa_max(counts: PairCounts) -> NDArray[np.float64]:
    """Largest κ that two variants of these accuracies a1 and a2 can have.

    1 - |a1 - a2| / d, d the error inconsistency of independent errors: the least inconsistency is |a1 - a2|.

    Returns:
        (P,) float64 in [0, 1]; NaN where `kappa` is.
    """
    gap = np.abs(counts.only_a_correct - counts.only_b_correct)
    return 1 - _ratio(gap * counts.examples, _independent_differences(counts))


def agreement(counts: PairCounts) -> NDArray[np.float64]:
    """Share of examples on which the two variants predict the same class, right or wrong."""
    return _ratio(counts.same_prediction, counts.examples)


def agreement_both_wrong(counts: PairCounts) -> NDArray[np.float64]:
    """Among the examples that both variants get wrong, the share with the same class; NaN if there are none.

    Source: Kim et al., "Correlated errors in large language models", ICML 2025.
    """
    return _ratio(counts.both_wrong_same_class, counts.both_wrong)


def agreement_either_wrong(counts: PairCounts) -> NDArray[np.float64]:
    """Among the examples that at least one gets wrong, the share with the same class; NaN if there are none.

    Source: the code of Kim et al., "Correlated errors in large language models", ICML 2025.
    """
    return _ratio(counts.both_wrong_same_class, counts.examples - counts.both_correct)


def q_statistic(counts: PairCounts) -> NDArray[np.float64]:
    """Yule's Q of the right/wrong table: (OR - 1) / (OR + 1), OR its odds ratio.

    Returns:
        (P,) float64 in [-1, 1]; NaN where the odds ratio is 0 / 0.

    Source: Kuncheva & Whitaker, Machine Learning 51 (2003).
    """
    same = counts.both_correct * counts.both_wrong
    differ = counts.only_a_correct * counts.only_b_correct
    return _ratio(same - differ, same + differ)


def log_odds_ratio(counts: PairCounts) -> NDArray[np.float64]:
    """Logarithm of the odds ratio of the right/wrong table, 0.5 added to each cell so that it is finite.

    Returns:
        (P,) float64; NaN only without examples.

    Source: Haldane, Annals of Human Genetics 20 (1956); Anscombe, Biometrika 43 (1956).
    """
    both, only_a, only_b, neither = (np.log(cell + 0.5) for cell in outcome_cells(counts))
    return np.where(counts.examples > 0, both - only_a - only_b + neither, np.nan)


def double_fault(counts: PairCounts) -> NDArray[np.float64]:
    """Share of examples that both variants get wrong.

    Source: Giacinto & Roli, Image and Vision Computing 19 (2001).
    """
    return _ratio(counts.both_wrong, counts.examples)


def oracle_accuracy(counts: PairCounts) -> NDArray[np.float64]:
    """Share of examples that at least one variant gets right: what a perfect choice between them reaches."""
    return _ratio(counts.examples - counts.both_wrong, counts.examples)


def dominance(counts: PairCounts) -> NDArray[np.float64]:
    """Share of examples on which the less accurate variant is right and the more accurate one is wrong.

    The less accurate variant is the one that is alone right less often, so this is the smaller of the two
    shares, and with equal accuracies either.

    Source: Mania & Sra, "Why do classifier accuracies show linear trends under distribution shift?" (2020).
    """
    return _ratio(np.minimum(counts.only_a_correct, counts.only_b_correct), counts.examples)


def error_jaccard(counts: PairCounts) -> NDArray[np.float64]:
    """Among the examples that at least one gets wrong, the share both get wrong; NaN if there are none."""
    return _ratio(counts.both_wrong, counts.examples - counts.both_correct)


PAIR_METRICS: Mapping[str, PairMetric] = MappingProxyType(
    {
        metric.__name__: metric
        for metric in (
            error_inconsistency,
            error_correlation,
            kappa,
            kappa_max,
            agreement,
            agreement_both_wrong,
            agreement_either_wrong,
            q_statistic,
            log_odds_ratio,
            double_fault,
            oracle_accuracy,
            dominance,
            error_jaccard,
        )
    }
)
"""Every pair metric by name, in the order of the output columns."""


def outcome_cells(counts: PairCounts) -> tuple[NDArray[np.int64], ...]:
    """The right/wrong table of each pair, as four (P,) counts: both right, only a, only b, both wrong."""
    return counts.both_correct, counts.only_a_correct, counts.only_b_correct, counts.both_wrong


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Quotient of (P,) arrays or numbers; NaN, without a warning, where the denominator is zero."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def _correct(counts: PairCounts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return counts.both_correct + counts.only_a_correct, counts.both_correct + counts.only_b_correct


def _determinant(counts: PairCounts) -> NDArray[np.int64]:
    """Determinant of the right/wrong table, N² times the covariance of the errors."""
    return counts.both_correct * counts.both_wrong - counts.only_a_correct * counts.only_b_correct


def _independent_differences(counts: PairCounts) -> NDArray[np.int64]:
    """N² times the error inconsistency that independent errors of the same accuracies have."""
    right_a, right_b = _correct(counts)
    return right_a * (counts.examples - right_b) + right_b * (counts.examples - right_a)
