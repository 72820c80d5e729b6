"""Logits are rounded once, and every stored number is computed from the rounded row.

Array names: N examples, C classes, K kept classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP_CLASSES = 8
BLOCK = 4096  # rows at a time: whole float64 copies of large outputs would cost gigabytes
_SMALLEST = np.float16(-(2.0**-24))
_LARGEST = np.float16(-65504.0)


class Outputs(StrEnum):
    """How much is known of a variant's outputs: every logit, the largest probabilities, or the predicted class."""

    LOGITS = "logits"
    TOP = "top"
    PREDICTION = "prediction"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedSplit:
    """What a network hands to its classifier for the N examples of a split: (N, D) float32, and which they are."""

    ids_N: NDArray[np.int64]
    labels_N: NDArray[np.int32]
    values_ND: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """One variant's outputs over the N examples of a split, rounded as they are stored.

    `temperature` divides the logits; it was fitted on the calibration split, or is 1 without one.
    `embeddings` are those of each split, where they are to be kept; `batch_size` is what was used.
    """

    ids_N: NDArray[np.int64]
    labels_N: NDArray[np.int32]
    logits_NC: NDArray[np.float16]
    temperature: float
    embeddings: Mapping[str, EmbeddedSplit] = field(default_factory=dict)
    batch_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialPredictions:
    """Outputs over N examples of which only a part is known: the K largest probabilities, or just the prediction.

    `prediction_N` is -1 where there is none. `top_classes_NK` and `top_probabilities_NK` go from the most probable
    class down, and the first is the prediction; K is 0 where no probability is known.
    """

    ids_N: NDArray[np.int64]
    labels_N: NDArray[np.int32]
    prediction_N: NDArray[np.int32]
    top_classes_NK: NDArray[np.int32]
    top_probabilities_NK: NDArray[np.float32]

    @property
    def outputs(self) -> Outputs:
        """What is known."""
        return Outputs.TOP if self.top_classes_NK.shape[1] else Outputs.PREDICTION


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRows:
    """The per-example columns of a result, all computed from the rounded logits.

    Of `PartialPredictions` what is not known is NaN, and -inf for the label's logit; K may be 0.
    """

    prediction_N: NDArray[np.int32]
    correct_N: NDArray[np.bool_]
    label_probability_N: NDArray[np.float32]
    confidence_N: NDArray[np.float32]
    loss_N: NDArray[np.float32]
    log_partition_N: NDArray[np.float64]
    calibrated_log_partition_N: NDArray[np.float64]
    label_logit_N: NDArray[np.float16]
    top_classes_NK: NDArray[np.uint16 | np.uint32]
    top_logits_NK: NDArray[np.float16]


def round_logits(logits_NC: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
    """Centres each row by its maximum and rounds it to float16, keeping the arg-max exactly.

    The largest entry becomes 0; every other entry is at most -2⁻²⁴ and at least -65504, so the
    lowest class that held the maximum is the only one left with it.

    Raises:
        ValueError: a NaN, +inf or a row of -inf, which no softmax can read.
    """
    logits_NC = np.ascontiguousarray(logits_NC, np.float32)
    top_N = logits_NC.max(axis=1)
    unusable = np.flatnonzero(~np.isfinite(top_N))
    if len(unusable):
        bad = logits_NC[unusable[0]].max()
        raise ValueError(f"expected finite logits, got {bad} in {len(unusable):,} rows, first in row {unusable[0]}")
    with np.errstate(over="ignore"):
        rounded_NC: NDArray[np.float16] = (logits_NC - top_N[:, None]).astype(np.float16)
    np.clip(rounded_NC, _LARGEST, _SMALLEST, out=rounded_NC)
    rounded_NC[np.arange(len(logits_NC)), logits_NC.argmax(axis=1)] = 0
    return rounded_NC


def result_rows(logits_NC: NDArray[np.float16], labels_N: NDArray[np.int32], temperature: float = 1.0) -> ResultRows:
    """The columns of a result, in float64 from the rounded logits.

    Partitions stay float64, because ensembles are exact to what they say of probabilities; the rest is stored as
    float32. `temperature` divides the logits in `calibrated_log_partition_N` only.
    """
    logits_NC = np.ascontiguousarray(logits_NC)  # sums along rows of another layout have other last bits
    edges = range(0, max(len(labels_N), 1), BLOCK)  # no rows give one empty block
    blocks = [_block(logits_NC[i : i + BLOCK], labels_N[i : i + BLOCK], temperature) for i in edges]
    return ResultRows(
        **{f.name: np.concatenate([getattr(block, f.name) for block in blocks]) for f in fields(ResultRows)}
    )


def partial_rows(partial: PartialPredictions, classes: int) -> ResultRows:
    """The columns of a result of which only a part is known.

    Top logits are log probabilities, rounded as logits are: the first one is 0, and `log_partition` makes
    probabilities of them as it does of all logits.
    """
    labels_N, kept = partial.labels_N, partial.top_classes_NK.shape[1]
    top_NK = partial.top_probabilities_NK.astype(np.float64)
    with np.errstate(divide="ignore"):  # a known probability of 0
        log_ratios_NK = np.log(top_NK / top_NK[:, :1])
        log_partition_N = -np.log(np.minimum(top_NK[:, 0], 1.0)) if kept else np.full(len(labels_N), np.nan)
    top_logits_NK = round_logits(log_ratios_NK) if kept else np.empty((len(labels_N), 0), np.float16)
    is_label_NK = partial.top_classes_NK == labels_N[:, None]
    label_logit_N = np.where(is_label_NK, top_logits_NK, -np.inf).max(axis=1, initial=-np.inf)
    loss_N = np.where(np.isfinite(label_logit_N), log_partition_N - label_logit_N, np.nan).astype(np.float32)
    return ResultRows(
        prediction_N=partial.prediction_N,
        correct_N=partial.prediction_N == labels_N,
        label_probability_N=np.exp(-loss_N),
        confidence_N=np.exp(-log_partition_N).astype(np.float32),
        loss_N=loss_N,
        log_partition_N=log_partition_N,
        calibrated_log_partition_N=log_partition_N,
        label_logit_N=label_logit_N.astype(np.float16),
        top_classes_NK=partial.top_classes_NK.astype(_index_type(classes)),
        top_logits_NK=top_logits_NK,
    )


def _block(logits_NC: NDArray[np.float16], labels_N: NDArray[np.int32], temperature: float) -> ResultRows:
    rows_N = np.arange(len(labels_N))
    wide_NC = logits_NC.astype(np.float64)
    log_partition_N = np.log(np.exp(wide_NC).sum(axis=1))  # the maximum is 0: nothing overflows
    loss_N = log_partition_N - wide_NC[rows_N, labels_N]
    top_NK = _top_classes(logits_NC)
    prediction_N = top_NK[:, 0].astype(np.int32)
    return ResultRows(
        prediction_N=prediction_N,
        correct_N=prediction_N == labels_N,
        label_probability_N=np.exp(-loss_N).astype(np.float32),
        confidence_N=np.exp(-log_partition_N).astype(np.float32),
        loss_N=loss_N.astype(np.float32),
        log_partition_N=log_partition_N,
        calibrated_log_partition_N=np.log(np.exp(wide_NC / temperature).sum(axis=1)),
        label_logit_N=logits_NC[rows_N, labels_N],
        top_classes_NK=top_NK.astype(_index_type(logits_NC.shape[1])),
        top_logits_NK=np.take_along_axis(logits_NC, top_NK, axis=1),
    )


def _index_type(classes: int) -> type[np.uint16 | np.uint32]:
    return np.uint16 if classes <= 2**16 else np.uint32


def _top_classes(logits_NC: NDArray[np.float16]) -> NDArray[np.int64]:
    """(N, K) the classes of the largest logits in order, ties by class: a partial sort of them as one integer.

    All logits are 0 or below, so the bits of -logit as an integer grow as the logit falls.
    """
    kept = min(TOP_CLASSES, logits_NC.shape[1])
    magnitude_NC = np.negative(logits_NC).view(np.uint16) & np.uint16(0x7FFF)  # 0 and -0 are one
    ranks_NC = (magnitude_NC.astype(np.int64) << 32) | np.arange(logits_NC.shape[1])
    if kept < logits_NC.shape[1]:
        ranks_NC = np.partition(ranks_NC, kept - 1, axis=1)[:, :kept]
    return np.sort(ranks_NC, axis=1) & 0xFFFFFFFF
