"""What a table says of a variant's outputs, checked row by row and brought into the form that a store keeps.

Array names: N examples, C classes, K kept classes.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from overlap.errors import ArgumentError
from overlap.imports.classes import class_numbers
from overlap.imports.examples import Examples, within
from overlap.imports.files import plain
from overlap.imports.rows import Rows
from overlap.store import PartialPredictions, Predictions, round_logits
from overlap.store.rows import BLOCK

TOLERANCE = 0.01  # of the sum of a row's probabilities: they may have been rounded to two or three digits
_NEAR_ZERO, _FAR = -1e-30, -1e30  # float32 can tell the one from 0 and the other from infinity

Values = NDArray[np.float32 | np.float64]


def read_outputs(rows: Rows, examples: Examples, classes: Sequence[str]) -> Predictions | PartialPredictions:
    """A table's outputs over its examples, in their order.

    All logits or probabilities become logits as `round_logits` keeps them; the largest one stays the largest,
    and of several the first. The temperature is 1: nothing was fitted.

    Raises:
        ArgumentError: a row is not what its column promises.
    """
    ids_N, labels_N = examples.ids_N, examples.labels_N
    if rows.table.kind in ("logits", "probabilities"):
        logits_NC = _logits(rows, classes) if rows.table.kind == "logits" else _log_probabilities(rows, classes)
        return Predictions(ids_N=ids_N, labels_N=labels_N, logits_NC=logits_NC, temperature=1.0)
    if rows.table.kind == "top_classes":
        top_classes_NK, top_probabilities_NK = _top(rows, classes)
        prediction_N = top_classes_NK[:, 0]
    else:
        prediction_N = _predictions(rows, classes)
        top_classes_NK = np.empty((len(ids_N), 0), np.int32)
        top_probabilities_NK = np.empty((len(ids_N), 0), np.float32)
    return PartialPredictions(
        ids_N=ids_N,
        labels_N=labels_N,
        prediction_N=prediction_N,
        top_classes_NK=top_classes_NK,
        top_probabilities_NK=top_probabilities_NK,
    )


def content_hash(outputs: Predictions | PartialPredictions) -> str:
    """SHA-256 of what a store keeps of the outputs, whatever file they came in."""
    if isinstance(outputs, Predictions):
        arrays: tuple[NDArray[np.generic], ...] = (outputs.logits_NC,)
    else:
        arrays = (outputs.prediction_N, outputs.top_classes_NK, outputs.top_probabilities_NK)
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _logits(rows: Rows, classes: Sequence[str]) -> NDArray[np.float16]:
    logits_NC = _all_outputs(rows, "logits", classes)
    unusable_N = np.any(np.isnan(logits_NC) | np.isposinf(logits_NC), axis=1)
    rows.require(~unusable_N, lambda i: f"expected logits that are numbers, got {_worst(logits_NC[i])}")
    rows.require(np.isfinite(logits_NC.max(axis=1)), lambda _: "expected a finite logit, got only -inf")
    return _rounded(logits_NC, lambda block: block - block.max(axis=1, keepdims=True))


def _log_probabilities(rows: Rows, classes: Sequence[str]) -> NDArray[np.float16]:
    probabilities_NC = _all_outputs(rows, "probabilities", classes)
    _require_probabilities(rows, probabilities_NC)
    sum_N = probabilities_NC.sum(axis=1, dtype=np.float64)
    rows.require(
        np.abs(sum_N - 1) <= TOLERANCE, lambda i: f"expected probabilities that add up to 1, got {sum_N[i]:.6g}"
    )
    return _rounded(probabilities_NC, lambda block: np.log(block / block.max(axis=1, keepdims=True)))


def _rounded(values_NC: Values, centred: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float16]:
    """Logits as they are stored; `centred` makes logits whose maximum is 0 of some rows, in float64."""
    rounded_NC = np.empty(values_NC.shape, np.float16)
    for start in range(0, len(values_NC), BLOCK):
        with np.errstate(divide="ignore", over="ignore"):  # a probability of 0, a difference beyond float64
            block = centred(values_NC[start : start + BLOCK].astype(np.float64))
        np.maximum(block, _FAR, out=block)
        np.minimum(block, _NEAR_ZERO, out=block, where=block < 0)
        rounded_NC[start : start + BLOCK] = round_logits(block)
    return rounded_NC


def _top(rows: Rows, classes: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    listed = rows.frame["top_classes"]
    probabilities_NK = _matrix(rows, "top_probabilities")
    flat = plain(_flat(rows, "top_classes"))
    numbers_NK = class_numbers(flat, classes).fill_null(-1).to_numpy().reshape(rows.frame.height, -1)
    if numbers_NK.shape != probabilities_NK.shape:
        shapes = f"{numbers_NK.shape[1]} top_classes and {probabilities_NK.shape[1]} top_probabilities"
        raise ArgumentError(f"{rows.table.place}: expected as many of both, got {shapes} a row")
    rows.require(
        np.all(numbers_NK >= 0, axis=1),
        lambda i: f"expected classes {within(classes)}, got {listed[i].to_list()[int(np.argmin(numbers_NK[i]))]!r}",
    )
    ordered_NK = np.sort(numbers_NK, axis=1)
    rows.require(
        np.all(np.diff(ordered_NK, axis=1) > 0, axis=1),
        lambda i: f"expected each class once, got {listed[i].to_list()}",
    )
    _require_probabilities(rows, probabilities_NK)
    sum_N = probabilities_NK.sum(axis=1, dtype=np.float64)
    rows.require(
        sum_N <= 1 + TOLERANCE, lambda i: f"expected probabilities that add up to at most 1, got {sum_N[i]:.6g}"
    )
    rows.require(
        np.all(np.diff(probabilities_NK, axis=1) <= 0, axis=1),
        lambda i: f"expected top_probabilities from the largest down, got {probabilities_NK[i].tolist()}",
    )
    small_NK = probabilities_NK.astype(np.float32)
    rows.require(small_NK[:, 0] > 0, lambda i: f"expected a first probability above 0, got {probabilities_NK[i, 0]}")
    return numbers_NK.astype(np.int32), small_NK


def _predictions(rows: Rows, classes: Sequence[str]) -> NDArray[np.int32]:
    """Predicted classes, -1 for no answer."""
    predicted = rows.frame["prediction"]
    numbers = class_numbers(predicted, classes)
    rows.require(
        (numbers.fill_null(0) >= 0).to_numpy(),
        lambda i: f"expected a prediction {within(classes)}, got {predicted[i]!r}",
    )
    return numbers.fill_null(-1).to_numpy().astype(np.int32)


def _require_probabilities(rows: Rows, probabilities_NK: Values) -> None:
    rows.require(
        np.all((probabilities_NK >= 0) & np.isfinite(probabilities_NK), axis=1),
        lambda i: f"expected probabilities of at least 0, got {_worst(probabilities_NK[i])}",
    )


def _worst(values: Values) -> float:
    """NaN or inf if there is one, else the smallest."""
    unusable = values[np.isnan(values) | np.isposinf(values)]
    return float(unusable[0] if len(unusable) else values.min())


def _all_outputs(rows: Rows, name: str, classes: Sequence[str]) -> Values:
    values_NC = _matrix(rows, name)
    if values_NC.shape[1] != len(classes):
        expected = f"expected {len(classes):,} {name} a row, one a class, got {values_NC.shape[1]:,}"
        raise ArgumentError(f"{rows.table.place}: {expected}")
    return values_NC


def _matrix(rows: Rows, name: str) -> Values:
    """(N, K) of a column of lists, a missing value as NaN."""
    flat = _flat(rows, name)
    if not flat.dtype.is_numeric():
        raise ArgumentError(f"{rows.table.place}: expected numbers in '{name}', got {flat.dtype}")
    kind = pl.Float32 if flat.dtype in (pl.Float32, pl.Float16) else pl.Float64
    return flat.cast(kind).fill_null(float("nan")).to_numpy().reshape(rows.frame.height, -1)


def _flat(rows: Rows, name: str) -> pl.Series:
    """All values of a column of lists, which must all be as long as the first one that is not empty."""
    series = rows.frame[name]
    if series.dtype == pl.List:
        lengths_N = series.list.len().fill_null(0).to_numpy()
    elif series.dtype == pl.Array:
        lengths_N = np.where(series.is_null().to_numpy(), 0, series.dtype.shape[0])  # type: ignore[attr-defined]
    else:
        raise ArgumentError(f"{rows.table.place}: expected lists in '{name}', got {series.dtype}")
    expected = int(lengths_N[np.argmax(lengths_N > 0)]) or 1
    rows.require(lengths_N == expected, lambda i: f"expected {expected} {name}, got {lengths_N[i]}")
    return series.explode()
