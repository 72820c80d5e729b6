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
