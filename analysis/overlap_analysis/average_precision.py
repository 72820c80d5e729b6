"""Eleven-point average precision of Pascal VOC, with intervals over the examples.

Dimensions: `N` examples, `L` labels, of which an example may have several, `R` resamples.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overlap_analysis.uncertainty import percentile_interval

_POINTS = 11


def eleven_point_precision(scores_N: ArrayLike, relevant_N: ArrayLike, weights_N: ArrayLike | None = None) -> float:
    """Mean, over recalls 0, 0.1, ..., 1, of the best precision at that recall or a higher one.

    Args:
        scores_N: the higher, the earlier an example is returned. Equal scores are returned together, so that the
            result does not depend on the order of the examples.
        relevant_N: which examples have the label.
        weights_N: how often each example counts, whole numbers; once by default.

    Returns:
        In [0, 1]; NaN if no example has the label.

    Raises:
        ValueError: the shapes do not fit, or a score is NaN.

    Source: Everingham et al., "The Pascal Visual Object Classes (VOC) challenge", IJCV 88 (2010), section 4.2.

    >>> eleven_point_precision([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
    0.848484
    """
    scores_N, relevant_N = np.asarray(scores_N, dtype=np.float64), np.asarray(relevant_N, dtype=np.bool_)
    weights_N = np.ones(len(scores_N)) if weights_N is None else np.asarray(weights_N, dtype=np.float64)
    if not scores_N.shape == relevant_N.shape == weights_N.shape or scores_N.ndim != 1:
        raise ValueError(f"expected three (N,), got {scores_N.shape}, {relevant_N.shape} and {weights_N.shape}")
    if np.isnan(scores_N).any():
        raise ValueError("scores: expected numbers, got NaN")
    order = np.argsort(-scores_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores_N[order])), len(order) - 1) if len(order) else order
    return _average(weights_N[order], relevant_N[order], ends)


def mean_average_precision(scores_NL: NDArray[np.floating], relevant_NL: NDArray[np.bool_]) -> float:
    """Mean of `eleven_point_precision` over the labels that some example has; NaN if none has any.

    Raises:
        ValueError: as in `eleven_point_precision`.
    """
    return _mean(_by_label(scores_NL, relevant_NL, np.ones(len(scores_NL))))


def mean_average_precision_interval(
    scores_NL: NDArray[np.floating],
    relevant_NL: NDArray[np.bool_],
    *,
    resamples: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of `mean_average_precision` over the choice of examples.

    Same seed and number of examples, same resamples: scores of several probes can be compared. A label that a
    resample has no example of is left out of its mean.

    Returns:
        (low, high), around the value itself; NaN if that is.
    """
    value, examples = mean_average_precision(scores_NL, relevant_NL), len(scores_NL)
    rng = np.random.default_rng(seed)
    drawn_RN = rng.multinomial(examples, np.full(examples, 1 / max(examples, 1)), size=resamples)
    samples_R = np.array([_mean(_by_label(scores_NL, relevant_NL, drawn_N)) for drawn_N in drawn_RN])
    low, high = percentile_interval(samples_R, level=level)
    return float(np.minimum(low, value)), float(np.maximum(high, value))


def _by_label(
    scores_NL: NDArray[np.floating], relevant_NL: NDArray[np.bool_], weights_N: NDArray[np.number]
) -> NDArray[np.float64]:
    columns = zip(scores_NL.T, relevant_NL.T, strict=True)
    return np.array([eleven_point_precision(score_N, relevant_N, weights_N) for score_N, relevant_N in columns])


def _mean(values_L: NDArray[np.float64]) -> float:
    known_L = values_L[~np.isnan(values_L)]
    return float(known_L.mean()) if len(known_L) else np.nan


def _average(weights_N: NDArray[np.float64], relevant_N: NDArray[np.bool_], ends: NDArray[np.int64]) -> float:
    """Of examples in the order in which they are returned; precision counts only at the ends of ties."""
    returned, found = np.cumsum(weights_N)[ends], np.cumsum(weights_N * relevant_N)[ends]
    if not len(ends) or found[-1] == 0:
        return np.nan
    some = returned > 0
    precision, found = found[some] / returned[some], found[some]
    best_after = np.maximum.accumulate(precision[::-1])[::-1]
    # Whole numbers on both sides: recall 0.3 is reached by 3 of 10.
    first = np.searchsorted((_POINTS - 1) * found, np.arange(_POINTS) * found[-1])
    return float(best_after[first].mean())
