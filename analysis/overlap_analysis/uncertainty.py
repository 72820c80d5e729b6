"""Intervals for proportions and for bootstrap samples."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray


def normal_quantile(level: float) -> float:
    """Half-width, in standard errors, of a two-sided normal interval.

    Raises:
        ValueError: the level is not strictly between 0 and 1.

    >>> normal_quantile(0.95)
    1.95996
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number strictly between 0 and 1, got {level!r}")
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson_interval(
    successes: ArrayLike, trials: ArrayLike, *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score interval for a binomial proportion.

    Args:
        successes: counts in [0, trials], any shape that broadcasts with `trials`.
        trials: counts.
        level: nominal coverage.

    Returns:
        (low, high), float64 with 0 <= low <= successes / trials <= high <= 1; NaN where trials == 0.

    Source: Wilson, JASA 22 (1927); recommended by Brown, Cai & DasGupta, Statistical Science 16 (2001). Its
        coverage oscillates around the level and falls to about 0.9 where the expected count is below 2.

    >>> [bound.round(3).item() for bound in wilson_interval(8, 10)]
    [0.49, 0.943]
    """
    z = normal_quantile(level)
    trials = np.asarray(trials, dtype=np.float64)
    n = np.where(trials > 0, trials, np.nan)
    share = np.asarray(successes, dtype=np.float64) / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At a share of 0 or 1 one bound equals it, but only up to rounding.
    return np.minimum(np.maximum(center - half, 0), share), np.maximum(np.minimum(center + half, 1), share)


def paired_difference(
    only_first: ArrayLike, only_second: ArrayLike, examples: ArrayLike, *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Difference of two accuracies on the same examples, with its interval.

    Args:
        only_first: counts of examples that only the first variant gets right.
        only_second: that only the second does, broadcast with the first.
        examples: all examples, broadcast likewise.
        level: nominal coverage.

    Returns:
        (difference, low, high), float64 with -1 <= low <= difference <= high <= 1; NaN where there is no example.

    Source: Agresti & Min, Statistics in Medicine 24 (2005): Wald's interval after half an example is added to each
        of the four joint outcomes.

    >>> [value.round(3).item() for value in paired_difference(30, 10, 200)]
    [0.1, 0.038, 0.16]
    """
    z = normal_quantile(level)
    first, second, total = (np.asarray(counts, np.float64) for counts in (only_first, only_second, examples))
    total = np.where(total > 0, total, np.nan)
    center = (first - second) / (total + 2)
    half = z * np.sqrt(np.maximum(first + second + 1 - (first - second) ** 2 / (total + 2), 0)) / (total + 2)
    difference = (first - second) / total
    return difference, np.clip(center - half, -1, difference), np.clip(center + half, difference, 1)


def percentile_interval(samples: NDArray[np.float64], *, level: float = 0.95) -> tuple[float, float]:
    """Equal-tailed interval of bootstrap samples.

    Args:
        samples: (R,) float64; NaN stands for a resample without a value and is left out.
        level: nominal coverage.

    Returns:
        (low, high); NaN where no sample has a value.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3.
    """
    normal_quantile(level)
    values = samples[~np.isnan(samples)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
