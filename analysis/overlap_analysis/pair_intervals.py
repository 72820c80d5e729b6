"""An interval for every pair metric, from the same counts.

Dimensions: `P` pairs. The examples are taken as an independent sample of those the variants will meet; the
variants are fixed. `categories` gives intervals that also reckon with the choice of variants.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overlap_analysis.pair_counts import PairCounts
from overlap_analysis.pair_metrics import PAIR_METRICS, outcome_cells
from overlap_analysis.uncertainty import normal_quantile, wilson_interval

Interval = tuple[NDArray[np.float64], NDArray[np.float64]]
_Complex = NDArray[np.complex128]
# Probabilities of the right/wrong table to a number in (-1, 1); complex, to be differentiated.
_Coefficient = Callable[[_Complex, _Complex, _Complex, _Complex], _Complex]
_COMPLEX_STEP = 1e-30


def metric_intervals(name: str, counts: PairCounts, *, level: float = 0.95) -> Interval:
    """Interval of one pair metric for each pair.

    Shares have Wilson intervals, conditional ones given the number of examples that qualify. φ, κ and κ_max
    have delta-method intervals on Fisher's z scale; the log odds ratio and Q have Gart's.

    Simulated coverage of 95 % intervals with 1000 examples and accuracies of 0.25 to 0.95 is 0.945 to 0.98,
    above 0.96 only for `kappa_max` and `dominance`, which fold at equal accuracies. Where a cell is expected
    to hold about one example, that of φ, κ and κ_max falls to 0.85. With few examples that of the log odds
    ratio can fail altogether, because the added 0.5 then decides it.

    Args:
        name: a key of `PAIR_METRICS`.
        counts: joint outcomes of P pairs.
        level: nominal coverage of each interval alone; nothing corrects for looking at many pairs.

    Returns:
        (low, high), each (P,) float64 with low <= metric <= high; NaN where the metric is.

    Raises:
        ValueError: there is no such metric, or the level is not strictly between 0 and 1.
    """
    if name not in PAIR_METRICS:
        raise ValueError(f"name: expected one of {', '.join(PAIR_METRICS)}, got {name!r}")
    metric = PAIR_METRICS[name](counts)
    if name in _TRIALS:
        trials = np.asarray(_TRIALS[name](counts))
        low, high = wilson_interval(metric * trials, trials, level=level)
    else:
        low, high = _SMOOTH[name](counts, normal_quantile(level))
    # Smoothed cells can miss a metric at the end of its range; NumPy's minimum keeps the metric's NaN.
    return np.minimum(low, metric), np.maximum(high, metric)


def _fisher_interval(coefficient: _Coefficient, counts: PairCounts, z: float) -> Interval:
    """Delta method on the scale of artanh(coefficient), 0.5 added to each cell.

    Source: Agresti, "Categorical Data Analysis" (2013), section 16.1. The derivatives are complex steps
        (Squire & Trapp, SIAM Review 40 (1998)), exact to rounding.
    """
    probabilities_4P = (np.stack(outcome_cells(counts)) + 0.5) / (counts.examples + 2)
    center = coefficient(*probabilities_4P.astype(np.complex128)).real
    steps = 1j * _COMPLEX_STEP * np.eye(4)[:, :, np.newaxis]
    slopes_4P = np.stack([coefficient(*(probabilities_4P + step)).imag for step in steps]) / _COMPLEX_STEP
    mean = np.sum(probabilities_4P * slopes_4P, axis=0)
    variance = np.sum(probabilities_4P * (slopes_4P - mean) ** 2, axis=0) / (counts.examples + 2)
    half = z * np.sqrt(variance) / (1 - center**2)
    return np.tanh(np.arctanh(center) - half), np.tanh(np.arctanh(center) + half)


def _phi(both: _Complex, only_a: _Complex, only_b: _Complex, neither: _Complex) -> _Complex:
    variances = (both + only_a) * (neither + only_b) * (both + only_b) * (neither + only_a)
    return (both * neither - only_a * only_b) / np.sqrt(variances)


def _cohen_kappa(both: _Complex, only_a: _Complex, only_b: _Complex, neither: _Complex) -> _Complex:
    return 1 - (only_a + only_b) / _independent_inconsistency(both, only_a, only_b, neither)


def _accuracy_gap(both: _Complex, only_a: _Complex, only_b: _Complex, neither: _Complex) -> _Complex:
    return (only_a - only_b) / _independent_inconsistency(both, only_a, only_b, neither)


def _independent_inconsistency(both: _Complex, only_a: _Complex, only_b: _Complex, neither: _Complex) -> _Complex:
    return (both + only_a) * (neither + only_a) + (both + only_b) * (neither + only_b)


def _kappa_max_interval(counts: PairCounts, z: float) -> Interval:
    """The interval of the signed gap of the accuracies, folded: κ_max is 1 - its absolute value."""
    low, high = _fisher_interval(_accuracy_gap, counts, z)
    least = np.maximum(np.maximum(low, -high), 0)
    return 1 - np.maximum(-low, high), 1 - least


def _log_odds_interval(counts: PairCounts, z: float) -> Interval:
    """Source: Gart, Biometrika 53 (1966)."""
    center = PAIR_METRICS["log_odds_ratio"](counts)
    half = z * np.sqrt(np.sum(1 / (np.stack(outcome_cells(counts)) + 0.5), axis=0))
    return center - half, center + half


def _q_interval(counts: PairCounts, z: float) -> Interval:
    low, high = _log_odds_interval(counts, z)
    return np.tanh(low / 2), np.tanh(high / 2)


# Denominators of the metrics that are shares.
_TRIALS: Mapping[str, Callable[[PairCounts], ArrayLike]] = MappingProxyType(
    {
        "error_inconsistency": lambda counts: counts.examples,
        "agreement": lambda counts: counts.examples,
        "agreement_both_wrong": lambda counts: counts.both_wrong,
        "agreement_either_wrong": lambda counts: counts.examples - counts.both_correct,
        "double_fault": lambda counts: counts.examples,
        "oracle_accuracy": lambda counts: counts.examples,
        "dominance": lambda counts: counts.examples,
        "error_jaccard": lambda counts: counts.examples - counts.both_correct,
    }
)
_SMOOTH: Mapping[str, Callable[[PairCounts, float], Interval]] = MappingProxyType(
    {
        "error_correlation": partial(_fisher_interval, _phi),
        "kappa": partial(_fisher_interval, _cohen_kappa),
        "kappa_max": _kappa_max_interval,
        "q_statistic": _q_interval,
        "log_odds_ratio": _log_odds_interval,
    }
)
