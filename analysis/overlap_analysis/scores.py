"""Integer scores of classes: sums of them are exact, so that no order and no machine changes an ensemble.

Dimensions: `N` examples, `K` classes, all of them or some. Logits are those that are stored, relative to the
largest of their row: at most 0, and -inf where a class is known to have no probability.
"""

import math

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.compiled import compiled

GRID = 2**30
"""One, in units of a probability's score."""
LOGIT_GRID = 2**20
"""One, in units of a logit's score."""
LEAST_LOGIT_SCORE = -(2**30)

_LOG2_E = 1 / math.log(2)
# ln 2 in two parts: multiples of the first by up to 2**20 are exact (fdlibm, e_exp.c).
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_TO_INTEGER = 1.5 * 2.0**52  # added and taken away again, it rounds to the nearest integer
_LEAST_EXPONENT = -40.0  # exp of less than that is no unit
_POWERS = 2.0 ** np.arange(-64, 3)
_TERMS = tuple(1 / math.factorial(n) for n in range(14))


def probability_scores(
    logits_NK: NDArray[np.floating], log_partition_N: NDArray[np.float64], *, temperature: float
) -> NDArray[np.int32]:
    """Probabilities exp(logits / temperature - log partition) in units of 2**-30, rounded half to even.

    Computed with additions, multiplications and roundings alone, in a fixed order: the same bits on every machine.

    Args:
        logits_NK: at most 0.
        log_partition_N: logarithm of the sum over all classes of exp(logits / temperature).
        temperature: above 0.

    Returns:
        (N, K) int32 in [0, 2**30].
    """
    scores_NK = np.empty(logits_NK.shape, np.int32)
    wide_NK = np.ascontiguousarray(logits_NK, np.float64)
    _fill_probability_scores(wide_NK, np.asarray(log_partition_N, np.float64), float(temperature), scores_NK)
    return scores_NK


def logit_scores(logits_NK: NDArray[np.floating], *, temperature: float) -> NDArray[np.int32]:
    """Logits over the temperature in units of 2**-20, rounded half to even, those below -1024 taken for -1024.

    Their sum orders the classes as the mean of the members' logits, or of their log-probabilities, does.

    Returns:
        (N, K) int32 in [-2**30, 0].
    """
    scaled_NK = np.asarray(logits_NK, np.float64) / temperature
    scaled_NK *= LOGIT_GRID
    np.maximum(scaled_NK, LEAST_LOGIT_SCORE, out=scaled_NK)
    return np.rint(scaled_NK, out=scaled_NK).astype(np.int32)


@compiled
def _fill_probability_scores(
    logits_NK: NDArray[np.float64],
    log_partition_N: NDArray[np.float64],
    temperature: float,
    scores_NK: NDArray[np.int32],
) -> None:
    examples, classes = logits_NK.shape
    for n in range(examples):
        for k in range(classes):
            # Cody & Waite, "Software Manual for the Elementary Functions" (1980): exp(x) = 2**i * exp(rest)
            x = max(logits_NK[n, k] / temperature - log_partition_N[n], _LEAST_EXPONENT)
            whole = (x * _LOG2_E + _TO_INTEGER) - _TO_INTEGER
            rest = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
            series = _TERMS[13]
            for i in range(12, -1, -1):
                series = series * rest + _TERMS[i]
            scaled = series * _POWERS[int(whole) + 64] * GRID
            scores_NK[n, k] = np.int32(min((scaled + _TO_INTEGER) - _TO_INTEGER, GRID))
