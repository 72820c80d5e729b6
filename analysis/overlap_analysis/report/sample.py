"""What each variant does on a sample of examples, a byte each: right or wrong, and how sure.

Dimensions: `V` variants, `n` sampled examples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN_CONFIDENCE = 127
_RIGHT, _STEPS = 128, 126


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExampleSample:
    """Some of the examples, or all, with what every variant does on them.

    Attributes:
        ids: what the n examples are called, in the order of the dataset.
        codes_Vn: uint8, as `outcome_codes` gives them.
        images: an encoded image of each example, WebP; None without images.
    """

    ids: tuple[str, ...]
    codes_Vn: NDArray[np.uint8]
    images: tuple[bytes, ...] | None = None


def outcome_codes(
    correct_Vn: NDArray[np.bool_], log_confidence_Vn: NDArray[np.floating], classes: int
) -> NDArray[np.uint8]:
    """Outcomes and confidences as bytes.

    Bit 7 is set where a variant is right. The lower 7 bits hold q, with which its confidence in its own prediction is
    about `classes` ** -(q / 126)²: 126 is the lowest confidence that a prediction can have, 1 / `classes`, and the
    square makes steps fine near 1. The error of the logarithm is at most log(`classes`) / 126. q = 127 is unknown.

    Args:
        correct_Vn: whether a variant is right.
        log_confidence_Vn: logarithm of the probability of its prediction; NaN is unknown.
        classes: of the dataset.

    Returns:
        (V, n) uint8.

    >>> outcome_codes(np.array([[True, False]]), np.log([[1.0, 0.1]]), 10).tolist()
    [[128, 126]]
    """
    unlikely_Vn = -log_confidence_Vn.astype(np.float64) / np.log(max(classes, 2))
    q_Vn = np.rint(_STEPS * np.sqrt(np.clip(unlikely_Vn, 0, 1)))
    known_Vn = np.where(np.isnan(q_Vn), UNKNOWN_CONFIDENCE, q_Vn).astype(np.uint8)
    return known_Vn + _RIGHT * correct_Vn.astype(np.uint8)


def decoded_confidences(codes_Vn: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """The confidences that bytes stand for, NaN where unknown; what the page computes."""
    q_Vn = codes_Vn & (_RIGHT - 1)
    return np.where(q_Vn == UNKNOWN_CONFIDENCE, np.nan, float(max(classes, 2)) ** -((q_Vn / _STEPS) ** 2))
