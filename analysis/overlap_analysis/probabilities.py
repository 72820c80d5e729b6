"""Logits to calibrated probabilities, and to the integer grid on which ensembles are exact.

Dimensions: `V` variants, `N` examples, `C` classes.
"""

import numpy as np
from numpy.typing import NDArray

from overlap_analysis.scores import GRID, probability_scores

Logits = NDArray[np.floating]


def calibrated_probabilities(logits_NC: Logits, *, temperature: float) -> NDArray[np.float64]:
    """softmax(logits / temperature), computed in float64.

    Args:
        logits_NC: finite logits; any constant may be added to a row.
        temperature: above 0; 1 leaves the probabilities as the model gives them.

    Returns:
        (N, C) float64, each row summing to 1 up to rounding.

    Raises:
        ValueError: a logit is NaN or infinite, or the temperature is not a number above 0.

    >>> calibrated_probabilities(np.log([[3.0, 1.0]]), temperature=1.0)
    array([[0.75, 0.25]])
    """
    check_temperature(temperature)
    scaled_NC = centered_logits(logits_NC)
    scaled_NC /= temperature
    np.exp(scaled_NC, out=scaled_NC)
    scaled_NC /= scaled_NC.sum(axis=1, keepdims=True)
    return scaled_NC


def probability_grid(logits_NC: Logits, *, temperature: float) -> NDArray[np.int32]:
    """Calibrated probabilities in units of 2**-30, rounded half to even.

    Classes within a unit of each other can tie, and ties go to the lowest class, so a row that is almost
    uniform over many classes can change its arg-max.

    Returns:
        (N, C) int32 in [0, 2**30].

    Raises:
        ValueError: as `calibrated_probabilities`.
    """
    check_temperature(temperature)
    centered_NC = centered_logits(logits_NC)
    log_partition_N = np.log(np.exp(centered_NC / temperature).sum(axis=1))
    return probability_scores(centered_NC, log_partition_N, temperature=temperature)


def centered_logits(logits_NC: Logits) -> NDArray[np.float64]:
    """A float64 copy of the logits, each row minus its maximum.

    Raises:
        ValueError: not two dimensions, no class, or a logit is NaN or infinite.
    """
    logits_NC = np.asarray(logits_NC)
    if logits_NC.ndim != 2 or logits_NC.shape[1] == 0:
        raise ValueError(f"logits: expected (N, C) with at least one class, got shape {logits_NC.shape}")
    bad = ~np.isfinite(logits_NC)
    if bad.any():
        rows = np.flatnonzero(bad.any(axis=1))
        column = int(np.argmax(bad[rows[0]]))
        raise ValueError(
            f"logits[{rows[0]}, {column}]: expected a finite number, got {logits_NC[rows[0], column]} "
            f"({len(rows)} of {len(logits_NC)} rows have such logits)"
        )
    centered_NC = logits_NC.astype(np.float64)
    centered_NC -= centered_NC.max(axis=1, keepdims=True)
    return centered_NC


def check_temperature(temperature: float) -> None:
    """Accept a temperature.

    Raises:
        ValueError: it is not a finite number above 0.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature: expected a finite number above 0, got {temperature!r}")


def check_labels(labels_N: NDArray[np.integer], *, examples: int, classes: int) -> NDArray[np.int64]:
    """The labels as int64.

    Raises:
        ValueError: their number is not `examples`, or one is outside [0, classes).
    """
    labels_N = np.asarray(labels_N)
    if labels_N.shape != (examples,):
        raise ValueError(f"labels: expected shape ({examples},), one for each example, got {labels_N.shape}")
    bad = (labels_N < 0) | (labels_N >= classes)
    if bad.any():
        where = int(np.argmax(bad))
        raise ValueError(f"labels[{where}]: expected a class in [0, {classes}), got {labels_N[where]}")
    return labels_N.astype(np.int64)


def check_grid(grid_VNC: NDArray[np.int32], labels_N: NDArray[np.integer]) -> NDArray[np.int64]:
    """The labels that go with a grid, as int64.

    Raises:
        ValueError: the grid is not (V, N, C) int32 in [0, 2**30], or the labels do not fit it.
    """
    if grid_VNC.ndim != 3 or grid_VNC.dtype != np.int32:
        raise ValueError(f"grid: expected (V, N, C) int32, got {grid_VNC.shape} {grid_VNC.dtype}")
    if grid_VNC.size and not 0 <= grid_VNC.min() <= grid_VNC.max() <= GRID:
        raise ValueError(f"grid: expected values in [0, {GRID}], got {grid_VNC.min()} to {grid_VNC.max()}")
    return check_labels(labels_N, examples=grid_VNC.shape[1], classes=grid_VNC.shape[2])
