"""One temperature for each variant, and how well calibrated it leaves the probabilities.

Dimensions: `N` examples, `C` classes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from overlap_analysis.probabilities import Logits, centered_logits, check_labels, check_temperature

TEMPERATURE_BOUNDS = (0.05, 20.0)


def fit_temperature(logits_NC: Logits, labels_N: NDArray[np.int32]) -> float:
    """The temperature in [0.05, 20] with the least mean negative log-likelihood.

    There is one minimum, because the likelihood is convex in 1 / temperature. Where it is at a bound, the
    result is within 0.001 % of it. Where all predictions are right, the loss is zero up to rounding from
    some temperature down, and the result is in that range.

    Args:
        logits_NC: finite logits of the calibration examples, never of those the result is reported on.
        labels_N: true classes.

    Returns:
        The temperature; 1 if none is better than that, as with a single class. Same inputs, same bits.

    Raises:
        ValueError: no example, a logit is not finite, or the labels do not fit.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2.
    """
    centered_NC, classes_N = _checked(logits_NC, labels_N)

    def loss(log_temperature: float) -> float:
        return _mean_loss(centered_NC, classes_N, float(np.exp(log_temperature)))

    low, high = np.log(TEMPERATURE_BOUNDS)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return 1.0 if loss(0.0) <= found.fun else float(np.exp(found.x))


def negative_log_likelihood(logits_NC: Logits, labels_N: NDArray[np.int32], *, temperature: float) -> float:
    """Mean of -log softmax(logits / temperature) at the true class, in nats.

    Raises:
        ValueError: no example, a logit is not finite, the labels do not fit, or the temperature is not
            above 0.
    """
    check_temperature(temperature)
    return _mean_loss(*_checked(logits_NC, labels_N), temperature)


def expected_calibration_error(
    probabilities_NC: NDArray[np.float64], labels_N: NDArray[np.int32], *, bins: int = 15
) -> float:
    """Mean distance between confidence and accuracy, over bins of equal width of the confidence.

    Args:
        probabilities_NC: calibrated or not; the largest of a row is its confidence.
        labels_N: true classes.
        bins: bin m of M holds confidences in ((m - 1) / M, m / M].

    Returns:
        A number in [0, 1]. It is biased upwards when bins hold few examples.

    Raises:
        ValueError: no example, or the labels do not fit.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3.
    """
    examples, classes = probabilities_NC.shape
    if examples == 0:
        raise ValueError("probabilities: expected at least one example, got none")
    correct_N = np.argmax(probabilities_NC, axis=1) == check_labels(labels_N, examples=examples, classes=classes)
    confidence_N = np.max(probabilities_NC, axis=1)
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_N, weights=correct_N - confidence_N, minlength=bins)
    return float(np.abs(gaps).sum() / examples)


def _checked(logits_NC: Logits, labels_N: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    centered_NC = centered_logits(logits_NC)
    if not len(centered_NC):
        raise ValueError("logits: expected at least one example, got none")
    return centered_NC, check_labels(labels_N, examples=len(centered_NC), classes=centered_NC.shape[1])


def _mean_loss(centered_NC: NDArray[np.float64], labels_N: NDArray[np.int64], temperature: float) -> float:
    """Rows have maximum 0, so their exponentials cannot overflow."""
    label_N = centered_NC[np.arange(len(labels_N)), labels_N] / temperature
    return float(np.mean(np.log(np.exp(centered_NC / temperature).sum(axis=1)) - label_N))
